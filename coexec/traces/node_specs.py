"""Specs of a new node: with symbols where its producers have them.

In: a path, the record that comes next on it and how its inputs are wired.  Out: input and output specs and attributes.
Invariant: where they have symbols, the operation has a comprehension with these, and its outputs are the record's for
the extents that the symbols have on the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product
from typing import Any

from coexec.graph.symbolic import Dim, SymbolicSpec
from coexec.traces.lifting import blame, lift
from coexec.traces.opaque import has_comprehension
from coexec.traces.prune import specs_of_feed
from coexec.traces.record import OpRecord
from coexec.traces.trace_graph import SHAPE_ATTRIBUTE, FromFeed, Kind, Wiring, only_source, operands_of_node
from coexec.traces.trace_path import TracePath
from minitensor.ops.opdef import OpDef, Operand

MOST_SHAPES = 32  # that are tried for a shape attribute

Specs = tuple[SymbolicSpec | None, ...]  # of inputs; None for scalars
Made = tuple[Specs, tuple[SymbolicSpec, ...], dict[str, Any]]  # of inputs and outputs, attributes


def make_specs(path: TracePath, record: OpRecord, wirings: Sequence[Wiring]) -> Made:
    """Input and output specs and attributes of a new node: with symbols where its producers have them.

    A feed that no other node reads, and a shape attribute, have the symbols of the operation whose gradient is being
    taken, or those of the other inputs where it cannot be done without.  Axes that the graph's lessons say to be lifted
    have the path's.
    """
    seen = tuple([None if spec is None else SymbolicSpec(spec.shape, spec.dtype) for spec in record.input_specs])
    outputs = tuple([SymbolicSpec(spec.shape, spec.dtype) for spec in record.output_specs])
    if not path.graph.symbols.origins:
        return seen, outputs, record.attributes
    forward = path.forward(record)
    kind = (record.op.name, record.location), None if forward is None else forward.place
    specs_of_forward = [] if forward is None else [s for s in (*forward.input_specs, *forward.output_specs) if s]
    of_forward = _symbolic(specs_of_forward)
    sources = [
        None if spec is None else _lifted(path, kind, position, spec) or _source(path, wiring, spec)
        for position, (wiring, spec) in enumerate(zip(wirings, seen, strict=True))
    ]
    inputs = tuple([s or (x and _fitting(path, of_forward, x)) or x for s, x in zip(sources, seen, strict=True)])
    known = [*_symbolic(inputs), *of_forward]
    lifted_shape = lift(path, kind, SHAPE_ATTRIBUTE, record.attributes.get(SHAPE_ATTRIBUTE))
    if not known and lifted_shape is None:
        return inputs, outputs, record.attributes
    choices = _Choices(path, known, sources)
    shapes = [] if lifted_shape is None else [lifted_shape]
    shapes += [spec.shape for spec in (*known, *specs_of_forward)]
    several = [*_symbolic_attributes(path, record, shapes, choices)]
    shapes_seen = [spec.shape for spec in outputs]

    def fitting(candidate: Sequence[SymbolicSpec | None]) -> Made | None:
        for attributes in several:
            made = infer_specs(record.op, operands_of_node(wirings, candidate), attributes)
            if made is not None and [_extents(path, spec.shape) for spec in made] == shapes_seen:
                return tuple(candidate), made, attributes
        return None

    all_known = tuple([s or (x and choices.first(x)) for s, x in zip(sources, inputs, strict=True)])
    for candidate in dict.fromkeys((inputs, all_known)):
        if (found := fitting(candidate)) is not None:
            return found
    blame(path, kind, wirings, inputs, lambda candidate: fitting(candidate) is not None)
    return seen, outputs, record.attributes


def _symbolic(specs: Iterable[SymbolicSpec | None]) -> list[SymbolicSpec]:
    return [spec for spec in specs if spec is not None and any(isinstance(d, str) for d in spec.shape)]


def _lifted(path: TracePath, kind: Kind, position: int, spec: SymbolicSpec) -> SymbolicSpec | None:
    """With the path's symbols where the graph's lessons say so; None where they say nothing."""
    shape = lift(path, kind, position, spec.shape)
    return None if shape is None else SymbolicSpec(shape, spec.dtype)


def _source(path: TracePath, wiring: Wiring, seen: SymbolicSpec | None) -> SymbolicSpec | None:
    """What the producer has: a node's output, or a feed as another node reads it; None where none does."""
    if not isinstance(wiring, FromFeed) or seen is None:
        return only_source(wiring)
    uses = specs_of_feed(path.graph, wiring.feed)
    return _fitting(path, _symbolic(uses), seen) or (seen if uses else None)


def _fitting(path: TracePath, specs: Iterable[SymbolicSpec], seen: SymbolicSpec) -> SymbolicSpec | None:
    """The first of the specs that is `seen` on this path."""
    return next((s for s in specs if s.dtype == seen.dtype and _extents(path, s.shape) == seen.shape), None)


class _Choices:
    """What an extent on this path can stand for: a symbol of the specs `known`, or itself.

    Itself first where one of the `sources` has it as a number.
    """

    def __init__(self, path: TracePath, known: Sequence[SymbolicSpec], sources: Sequence[SymbolicSpec | None]) -> None:
        self._fixed = {d for spec in sources if spec is not None for d in spec.shape if isinstance(d, int)}
        self._names: dict[int | None, list[str]] = {}
        for name in sorted({d for spec in known for d in spec.shape if isinstance(d, str)}):
            self._names.setdefault(path.symbols.get(name), []).append(name)

    def of(self, dim: Dim) -> list[Dim]:
        names: list[Dim] = [*self._names.get(dim, [])] if isinstance(dim, int) else []
        return [dim, *names] if dim in self._fixed else [*names, dim]

    def first(self, spec: SymbolicSpec) -> SymbolicSpec:
        return SymbolicSpec(tuple([self.of(d)[0] for d in spec.shape]), spec.dtype)


def _symbolic_attributes(
    path: TracePath, record: OpRecord, shapes: Sequence[tuple[Dim, ...]], choices: _Choices
) -> Iterator[dict[str, Any]]:
    """The attributes with one of the `shapes`; with symbols for extents; as they are."""
    shape = record.attributes.get(SHAPE_ATTRIBUTE)
    if isinstance(shape, tuple):
        several = [known for known in shapes if _extents(path, known) == shape]
        for possible in dict.fromkeys((*several, *islice(product(*map(choices.of, shape)), MOST_SHAPES))):
            yield {**record.attributes, SHAPE_ATTRIBUTE: possible}
    yield record.attributes


def infer_specs(op: OpDef, operands: Sequence[Operand], attributes: dict[str, Any]) -> tuple[SymbolicSpec, ...] | None:
    """The output specs for operands with symbols; None where the operation has no comprehension for them."""
    if not has_comprehension(op, operands, attributes):
        return None
    return tuple([SymbolicSpec(spec.shape, spec.dtype) for spec in op.infer_all(*operands, **attributes)])


def _extents(path: TracePath, shape: tuple[Dim, ...]) -> tuple[int | None, ...]:
    return tuple([path.symbols.get(d) if isinstance(d, str) else d for d in shape])
