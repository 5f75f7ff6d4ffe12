"""The public face: `define` and the module of comprehensions that it makes.

In: a text (or a tree).  Out: its defs, each a `Comprehension`.
Invariant: a text that has a fault raises here, with its place; one that has none means the same on every later call.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from comprehension.any_rank import AnyRank
from comprehension.comprehension import Comprehension
from comprehension.errors import ComprehensionError, ComprehensionWarning
from comprehension.jit import client
from comprehension.jit.kernel import Kernel as Kernel
from comprehension.jit.request import Sizes
from comprehension.lang import tree
from comprehension.lang.check import check
from comprehension.lang.expressions import propose
from comprehension.lang.frontend import analyse, read
from comprehension.lang.leading import at_rank, has_leading, uses_leading
from comprehension.lang.printer import to_text


def define(text: str | tree.Program, sizes: Sizes = "static") -> Module:
    """Parses and checks a text; its defs are the attributes of the result.

    With `sizes="symbolic"` a call compiles one kernel for all sizes, and so does `compile` with arrays; otherwise one
    for each.  A program may pass the tree itself.

    Raises ComprehensionError with line, column and caret for whatever is wrong with the text.

    >>> import numpy as np
    >>> module = define("def twice(float(N) A) -> (B) { B(i) = 2 * A(i) }")
    >>> module.defs
    ('twice',)
    >>> module.twice.reference(np.ones(2, np.float32))
    array([2., 2.], dtype=float32)
    """
    if sizes not in ("static", "symbolic"):
        raise ComprehensionError(f'define: sizes must be "static" or "symbolic", not {sizes!r}')
    if isinstance(text, str):
        program, source = read(text), text
    elif isinstance(text, tree.Program):
        program, source = text, None
    else:
        raise ComprehensionError(f"define: expected the text of a comprehension, found a {type(text).__name__}")
    canonical = to_text(program)
    checked = check(program, source) if client.is_analysed(canonical) else analyse(program, source)
    for definition in checked.values():
        for warning in definition.warnings:
            warnings.warn(str(warning), ComprehensionWarning, stacklevel=2)
    if not uses_leading(program):
        return Module(tuple(Comprehension(definition, canonical, sizes) for definition in checked.values()))
    return Module(
        tuple(
            AnyRank(definition, program, source, sizes)
            if has_leading(definition)
            else Comprehension(checked[definition.name], to_text(at_rank(program, definition.name, 0)), sizes)
            for definition in program.defs
        )
    )


class Module:
    """The defs of one text: `module.name`, `module["name"]`, `module.defs`."""

    def __init__(self, comprehensions: Sequence[Comprehension]) -> None:
        self._comprehensions = {each.name: each for each in comprehensions}

    @property
    def defs(self) -> tuple[str, ...]:
        """The names of the defs, in the order of the text."""
        return tuple(self._comprehensions)

    def __getitem__(self, name: str) -> Comprehension:
        try:
            return self._comprehensions[name]
        except KeyError:
            raise ComprehensionError(self._unknown(name)) from None

    def __getattr__(self, name: str) -> Comprehension:
        found = self.__dict__.get("_comprehensions", {}).get(name)
        if found is None:
            raise AttributeError(self._unknown(name))
        comprehension: Comprehension = found
        return comprehension

    def _unknown(self, name: str) -> str:
        return f"unknown function {name!r}; there are {', '.join(self.defs)}{propose(str(name), self.defs)}"

    def __iter__(self) -> Iterator[Comprehension]:
        return iter(self._comprehensions.values())

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.defs]

    def __repr__(self) -> str:
        return f"<module of comprehensions: {', '.join(self.defs)}>"

    def _repr_html_(self) -> str:
        from comprehension.page import module_fragment  # pages are rare, and a program that only computes stays small

        return module_fragment(self)
