"""Lifting: whose sizes should have been symbols.

In: a path and the operands of an operation that has no comprehension with them: of some the sizes are numbers, or
symbols of their own, where others have a symbol of the same extent.
Out: the axes of operands and of shape attributes, above on the path, from which those sizes come (`unlifted`); or what
cannot but make such a size, if anything does, or else the operation itself (`rigid`).
Invariant: no node of the graph changes.

A batch or a draw that a new branch brings is related to nothing before it: its sizes are numbers as long as one trace
came by, and it shows only further down that they are those of what it meets there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, combinations, islice
from typing import Any

from coexec.graph.dims import SPECIAL
from coexec.graph.symbolic import Dim, SymbolicSpec
from coexec.traces.trace_graph import (
    SHAPE_ATTRIBUTE,
    FromFeed,
    FromNodes,
    Kind,
    SizeOf,
    TraceFeed,
    TraceNode,
    TraceOutput,
    Wiring,
    operands_of_node,
)
from coexec.traces.trace_path import TracePath
from comprehension.errors import ComprehensionError
from minitensor.errors import MinitensorError, NoComprehension

MOST_TRIED = 64  # sets of axes

Specs = Sequence[SymbolicSpec | None]  # of operands; None for scalars
Axis = tuple[int | str, int]  # (the position of an operand or SHAPE_ATTRIBUTE, an axis)


def blame(path: TracePath, kind: Kind, wirings: Sequence[Wiring], specs: Specs, fits: Callable[[Specs], bool]) -> None:
    """Notes why an operation of this kind has no comprehension for its operands.

    `fits`: whether it takes such operands.
    """
    symbols = {dim for spec in specs if spec is not None for dim in spec.shape if isinstance(dim, str)}
    walk = _Walk(path)
    for symbol in [name for name in path.symbols if name in symbols]:
        extent = path.symbols[symbol]
        strangers = [
            (position, axis)
            for position, spec in enumerate(specs)
            for axis, dim in enumerate(spec.shape if spec is not None else ())
            if dim != symbol and (path.symbols.get(dim) if isinstance(dim, str) else dim) == extent
        ]
        for position, axis in _fewest(strangers, lambda axes, to=symbol: fits(_lifted(specs, axes, to))):  # type: ignore[misc]
            walk.trace_back(wirings[int(position)], axis, symbol)
    found = walk.found - path.graph.lessons.lifted
    path.graph.unlifted |= found
    if not found:
        path.graph.rigid |= walk.ends or {kind}


def lift(path: TracePath, kind: Kind, position: int | str, shape: Any) -> tuple[Dim, ...] | None:
    """The shape with the first symbols of the path that fit, where the graph's lessons say so; None if nowhere."""
    lifted = path.graph.lessons.lifted
    if not lifted or not isinstance(shape, tuple):
        return None
    axes = [axis for axis in range(len(shape)) if (kind, position, axis) in lifted and shape[axis] not in SPECIAL]
    named = tuple([_symbol_of(path, dim) if axis in axes else dim for axis, dim in enumerate(shape)])
    return None if named == shape else named


def _symbol_of(path: TracePath, extent: Dim) -> Dim:
    return next((name for name, has in path.symbols.items() if has == extent), extent)


def _fewest(axes: Sequence[Axis], works: Callable[[Sequence[Axis]], bool]) -> Sequence[Axis]:
    """The smallest set of these that works; none if none does."""
    every = chain.from_iterable(combinations(axes, count) for count in range(1, len(axes) + 1))
    return next((few for few in islice(every, MOST_TRIED) if works(few)), ())


def _lifted(specs: Specs, axes: Iterable[Axis], symbol: str) -> Specs:
    """The specs with the symbol on these axes."""
    return [
        spec and SymbolicSpec(_with(spec.shape, [a for p, a in axes if p == position], symbol), spec.dtype)
        for position, spec in enumerate(specs)
    ]


def _with(shape: tuple[Dim, ...], axes: Sequence[int], symbol: str) -> tuple[Dim, ...]:
    return tuple([symbol if axis in axes else dim for axis, dim in enumerate(shape)])


class _Walk:
    """From an operand back to all that gives one of its axes its size.

    `found`: what could give it another.  `ends`: operations that could not.
    """

    def __init__(self, path: TracePath) -> None:
        self._path = path
        self._seen: set[tuple[TraceOutput, int]] = set()
        self.found: set[SizeOf] = set()
        self.ends: set[Kind] = set()

    def trace_back(self, wiring: Wiring, axis: int, symbol: str) -> None:
        if isinstance(wiring, FromFeed):
            self._note_readers(wiring.feed, axis)
        for output in wiring.alternatives if isinstance(wiring, FromNodes) else ():
            if output.node in self._path.place and (output, axis) not in self._seen:
                self._seen.add((output, axis))
                self._look_at(output, axis, symbol)

    def _note_readers(self, feed: TraceFeed, axis: int) -> None:
        for node in self._path.nodes:
            for position, wiring in enumerate(node.inputs):
                if isinstance(wiring, FromFeed) and wiring.feed is feed:
                    self.found.add((node.kind, position, axis))

    def _look_at(self, output: TraceOutput, axis: int, symbol: str) -> None:
        node = output.node
        dim = node.output_specs[output.index].shape[axis]

        def makes(axes: Sequence[Axis]) -> bool:
            shapes = _inferred(node, axes, symbol)
            return len(shapes) > output.index and shapes[output.index][axis] == symbol

        fewest = _fewest([*_axes(node, dim)], makes)
        if not fewest:
            self.ends.add(node.kind)
        for position, at in fewest:
            if isinstance(position, str):
                self.found.add((node.kind, position, at))
            else:
                self.trace_back(node.inputs[position], at, symbol)


def _axes(node: TraceNode, dim: Dim) -> Iterator[Axis]:
    """Where the node is told this dimension."""
    for position, spec in enumerate(node.input_specs):
        for axis, known in enumerate(spec.shape if spec is not None else ()):
            if known == dim:
                yield position, axis
    shape = node.attributes.get(SHAPE_ATTRIBUTE)
    for axis, known in enumerate(shape if isinstance(shape, tuple) else ()):
        if known == dim:
            yield SHAPE_ATTRIBUTE, axis


def _inferred(node: TraceNode, axes: Sequence[Axis], symbol: str) -> list[tuple[Dim, ...]]:
    """The shapes that the node would make with the symbol on these axes; none if it does not take them."""
    assert node.op is not None
    attributes = dict(node.attributes)
    of_shape = [axis for position, axis in axes if position == SHAPE_ATTRIBUTE]
    if of_shape:
        attributes[SHAPE_ATTRIBUTE] = _with(attributes[SHAPE_ATTRIBUTE], of_shape, symbol)
    operands = operands_of_node(node.inputs, _lifted(node.input_specs, axes, symbol))
    try:
        return [spec.shape for spec in node.op.infer_all(*operands, **attributes)]
    except (MinitensorError, ComprehensionError, NoComprehension):
        return []
