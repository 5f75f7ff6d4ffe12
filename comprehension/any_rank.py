"""Comprehensions with `...`: any number of leading dimensions.

In: a def with `...` and its program.  Out: a `Comprehension` for each number of leading dimensions that calls have.
Invariant: each of them is the def with `...` written out, so nothing behind it knows of leading dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from comprehension.comprehension import Comprehension, IndexRange, Shapes
from comprehension.errors import ComprehensionError
from comprehension.jit.arguments import rank_of
from comprehension.jit.kernel import Kernel
from comprehension.jit.request import Sizes
from comprehension.lang import tree
from comprehension.lang.binding import check_count
from comprehension.lang.check import check
from comprehension.lang.expressions import Fault
from comprehension.lang.frontend import SHOWN_LEADING, analyse, without_leading
from comprehension.lang.leading import leading_of
from comprehension.lang.printer import to_text
from comprehension.scheduling.schedule import Schedule
from comprehension.source import source_of


class AnyRank(Comprehension):
    """A def with `...`: a comprehension for each number of leading dimensions, made when a call has that many.

    What needs no inputs (`signature`, `definition`) shows one leading dimension.

    >>> import comprehension as tc
    >>> f = tc.define("def f(float(..., K) A, float(K) s) -> (B) { B(..., k) = A(..., k) * s(k) }").f
    >>> f.infer(tc.Spec((2, 3, 4), "float32"), tc.Spec((4,), "float32")).shape
    (2, 3, 4)
    >>> f.at_rank(2)
    <comprehension f(A, s)>
    """

    def __init__(self, definition: tree.Def, program: tree.Program, source: str | None, sizes: Sizes) -> None:
        shown = without_leading(program, definition.name, source)
        checked = check(shown, source)
        super().__init__(checked[definition.name], source_of(checked, to_text(shown)), sizes)
        self._tree = definition
        self._written = program, source
        self._ranks: dict[int, Comprehension] = {}

    def at_rank(self, leading: int) -> Comprehension:
        """The comprehension for so many leading dimensions.

        Raises ComprehensionError where the text has no meaning for that many.
        """
        known = self._ranks.get(leading)
        if known is None:
            program, source = self._written
            alone = without_leading(program, self.name, source, leading)
            checked = analyse(alone, source)
            made = Comprehension(checked[self.name], source_of(checked, to_text(alone)), self.sizes)
            known = self._ranks.setdefault(leading, made)  # of two threads the first
        return known

    def _of(self, inputs: Sequence[Any]) -> Comprehension:
        """The comprehension for inputs like these."""
        check_count(self.interface, len(inputs))
        names = (f"{self.name}: {param.name}" for param in self._tree.inputs)
        ranks = [rank_of(value, name) for value, name in zip(inputs, names, strict=True)]
        try:
            return self.at_rank(leading_of(self._tree, ranks))
        except Fault as fault:
            raise ComprehensionError(f"{self.name}: {fault}") from None

    def __call__(self, *inputs: Any, out: Any = None) -> Any:
        return self._of(inputs)(*inputs, out=out)

    def compile(self, *inputs: Any, **settings: Any) -> Kernel:
        return self._of(inputs).compile(*inputs, **settings)

    def compile_async(self, *inputs: Any, **settings: Any) -> Future[Kernel]:
        return self._of(inputs).compile_async(*inputs, **settings)

    def schedule(self, *inputs: Any, **settings: Any) -> Schedule:
        return (self._of(inputs) if inputs else self.at_rank(SHOWN_LEADING)).schedule(*inputs, **settings)

    def reference(self, *inputs: Any, out: Any = None) -> Any:
        return self._of(inputs).reference(*inputs, out=out)

    def infer(self, *inputs: Any) -> Shapes:
        return self._of(inputs).infer(*inputs)

    def ranges(self, *inputs: Any) -> tuple[IndexRange, ...]:
        return self._of(inputs).ranges(*inputs)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return tuple(kernel for each in self._ranks.values() for kernel in each.kernels)
