"""Variants: the runner of a kernel for arrays of given strides, compiled at first need.

In: arrays that are addressable, inputs first, then outputs.  Out: the `Runner` made for their layouts.
Invariant: a runner that comes out may run these arrays where they are; nothing is compiled twice, and no more than
`MOST_LAYOUTS` kernels and one for all strides are made of one kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comprehension.config import statistics
from comprehension.jit.arrays import Array, layout_of_array
from comprehension.jit.failure import CompilationError, note_fallback
from comprehension.jit.manifest import BufferSlot
from comprehension.jit.runner import Runner
from comprehension.layout import MOST_LAYOUTS, Layouts, any_strides

Compile = Callable[[Layouts], Runner]
MOST_STRIDES = 1024  # whose runners are remembered


class Variants:
    """The runners of one kernel.  `slots` are those of the arrays, in their order; `compile` makes further ones.

    Without `compile` there is the first runner and no other.
    """

    def __init__(self, first: Runner, slots: Sequence[BufferSlot], compile: Compile | None) -> None:
        self._slots = tuple(slots)
        self._compile = compile
        self._by_layouts: dict[Layouts, Runner] = {first.layouts: first}
        self._by_strides: dict[tuple[tuple[tuple[int, ...], tuple[int, ...]], ...], Runner] = {}

    def find(self, arrays: Sequence[Array]) -> Runner | None:
        """The runner for these arrays; None where none could be compiled.

        Raises CompilationError where not even the one for dense arrays came about.
        """
        strides = tuple([(array.shape, array.strides) for array in arrays])
        found = self._by_strides.get(strides) or self._by_layout(arrays)
        if found is not None:
            if len(self._by_strides) >= MOST_STRIDES:
                self._by_strides.clear()
            self._by_strides[strides] = found
        return found

    def _by_layout(self, arrays: Sequence[Array]) -> Runner | None:
        known = zip([slot.name for slot in self._slots], map(layout_of_array, arrays), strict=True)
        layouts = tuple(sorted((name, layout) for name, layout in known if layout is not None))
        return self._by_layouts.get(layouts) or self._compiled(layouts)

    def _compiled(self, layouts: Layouts) -> Runner | None:
        if self._compile is None:
            return None
        if len(self._by_layouts) >= MOST_LAYOUTS:
            statistics.fallbacks["strides left open"] += 1
            ranks = {slot.name: len(slot.shape) for slot in self._slots}
            layouts = tuple(sorted((name, any_strides(rank)) for name, rank in ranks.items() if rank))
            if layouts in self._by_layouts:
                return self._by_layouts[layouts]
        try:
            return self._by_layouts.setdefault(layouts, self._compile(layouts))
        except CompilationError as reason:
            if not layouts:
                raise
            note_fallback("no kernel for these strides", f"{reason}; strided arguments are copied")
            return None
