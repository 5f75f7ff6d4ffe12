"""Dimensions of the TraceGraph: ints as long as all traces agree, symbols afterwards.

In: a dimension as the graph has it and as a trace has it.  Out: the dimension that covers both.
Invariant (anti-unification): two dimensions get the same symbol only if they agreed in every trace compared; so
what has one symbol was always equal, and validation sees to it that it stays so.

Extents 0 and 1 never become symbols, nor does a symbol take them: 1 broadcasts and 0 has no elements, so
operations mean something else there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coexec.graph.symbolic import Dim, SymbolicSpec

SPECIAL = (0, 1)


class Symbols:
    """The symbols of a graph: `origins[name]` is the extent that stood in the place of the symbol before."""

    __slots__ = ("origins",)

    def __init__(self) -> None:
        self.origins: dict[str, int] = {}


class Unifier:
    """Compares the dimensions of one node with those of one trace, which has bound some symbols already.

    `numbers`: dimensions that differ are different dimensions; none becomes a symbol.
    Nothing reaches the graph or the trace before `commit`, so that a node can be tried and refused.
    """

    __slots__ = ("_bound", "_fresh", "_numbers", "_symbols", "changes")

    def __init__(self, symbols: Symbols, bound: dict[str, int], numbers: bool = False) -> None:
        self._symbols = symbols
        self._numbers = numbers
        self._bound = dict(bound)
        self._fresh: dict[tuple[int, int], str] = {}
        self.changes = 0

    def dim(self, known: Dim, seen: int, source: Dim | None = None) -> Dim | None:
        """The dimension that covers `known` and `seen`; None where there is none.

        `source`: what the only producer has; the reader takes over its symbol.
        """
        if isinstance(source, str) and source != known and self._bound.get(source) == seen:
            self.changes += 1
            return source
        if known == seen:
            return known
        if self._numbers:
            return None
        if isinstance(known, str):
            if seen in SPECIAL:
                return None
            if known not in self._bound:
                self._bound[known] = seen
                return known
            if self._bound[known] == seen:
                return known
            origin = self._symbols.origins.get(known)
            return None if origin is None else self._split(origin, seen)
        if known in SPECIAL or seen in SPECIAL:
            return None
        return self._split(known, seen)

    def shape(
        self, known: tuple[Dim, ...], seen: tuple[Any, ...], source: tuple[Dim, ...] | None = None
    ) -> tuple[Dim, ...] | None:
        """The shape that covers both; None where there is none."""
        if len(known) != len(seen):
            return None
        sources = source or (None,) * len(seen)
        dims = [self.dim(k, s, o) for k, s, o in zip(known, seen, sources, strict=True)]
        return None if None in dims else tuple([d for d in dims if d is not None])

    def extents(self, shape: tuple[Dim, ...]) -> tuple[int | None, ...]:
        """What a shape is in this trace; None for a symbol that it does not have."""
        return tuple([self._bound.get(dim) if isinstance(dim, str) else dim for dim in shape])

    def with_fewest_symbols(
        self, specs: Sequence[SymbolicSpec | None], shape: tuple[Dim, ...] | None
    ) -> tuple[tuple[SymbolicSpec | None, ...], tuple[Dim, ...] | None]:
        """The specs and the shape with one symbol for all that have the same extent in this trace."""
        names: dict[int | None, str] = {}

        def fewest(dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
            return tuple([names.setdefault(self._bound.get(d), d) if isinstance(d, str) else d for d in dims])

        renamed = tuple([None if spec is None else SymbolicSpec(fewest(spec.shape), spec.dtype) for spec in specs])
        return renamed, None if shape is None else fewest(shape)

    def _split(self, origin: int, seen: int) -> str:
        """The symbol for what was `origin` and is `seen` now: a known one that fits, or a new one."""
        self.changes += 1
        for name, extent in self._symbols.origins.items():
            if extent == origin and self._bound.get(name) == seen:
                return name
        if (origin, seen) not in self._fresh:
            fresh = f"n{len(self._symbols.origins) + len(self._fresh)}"
            self._fresh[origin, seen] = fresh
            self._bound[fresh] = seen
        return self._fresh[origin, seen]

    def commit(self, bound: dict[str, int]) -> None:
        """The node was taken: its symbols are the graph's and the trace's."""
        for (origin, _), name in self._fresh.items():
            self._symbols.origins[name] = origin
        bound.update(self._bound)
