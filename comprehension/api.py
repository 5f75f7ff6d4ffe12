"""The public face: `define` and the module of comprehensions that it makes.

In: a text (or a tree).  Out: its defs, each a `Comprehension`.
Invariant: a text that has a fault raises here, with its place; one that has none means the same on every later call.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from comprehension.comprehension import Comprehension
from comprehension.errors import ComprehensionError, ComprehensionWarning
from comprehension.jit.kernel import Kernel as Kernel
from comprehension.jit.request import Sizes
from comprehension.lang import tree
from comprehension.source import recall


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
    if not isinstance(text, (str, tree.Program)):
        raise ComprehensionError(f"define: expected the text of a comprehension, found a {type(text).__name__}")
    known = recall(text)
    if known is not None:
        comprehensions = [Comprehension(each, known, sizes) for each in known.interfaces]
    else:
        from comprehension.analysis import comprehensions_of  # the whole front end: not for what was seen before

        comprehensions = comprehensions_of(text, sizes)
    for comprehension in comprehensions:
        for warning in comprehension.interface.warnings:
            warnings.warn(str(warning), ComprehensionWarning, stacklevel=2)
    return Module(comprehensions)


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
        from comprehension.lang.expressions import propose

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
