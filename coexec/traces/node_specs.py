"""Specs of a new node: with symbols where its producers have them.

In: a path, the record that comes next on it and how its inputs are wired.  Out: input and output specs and attributes.
Invariant: where they have symbols, the operation has a comprehension with these, and its outputs are the record's for
the extents that the symbols have on the path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from coexec.graph.symbolic import SymbolicSpec
from coexec.traces.opaque import has_comprehension
from coexec.traces.prune import symbolic_feeds
from coexec.traces.record import OpRecord, Scalar
from coexec.traces.trace_graph import SHAPE_ATTRIBUTE, FromFeed, Wiring, only_source
from coexec.traces.trace_path import TracePath
from minitensor.ops.opdef import TensorSpec


def make_specs(
    path: TracePath, record: OpRecord, wirings: Sequence[Wiring]
) -> tuple[tuple[SymbolicSpec | None, ...], tuple[SymbolicSpec, ...], dict[str, Any]]:
    """Input and output specs and attributes of a new node: with symbols where its producers have them."""
    seen = [None if spec is None else SymbolicSpec(spec.shape, spec.dtype) for spec in record.input_specs]
    inputs = tuple([_source(path, w) or spec for w, spec in zip(wirings, seen, strict=True)])
    outputs = tuple([SymbolicSpec(spec.shape, spec.dtype) for spec in record.output_specs])
    names = {d for spec in inputs if spec is not None for d in spec.shape if isinstance(d, str)}
    if not names:
        return inputs, outputs, record.attributes
    for attributes in _symbolic_attributes(path, record, inputs, names):
        inferred = _infer(record, inputs, attributes)
        if inferred is not None and [_extents(path, spec) for spec in inferred] == [spec.shape for spec in outputs]:
            return inputs, inferred, attributes
    path.graph.rigid.add((record.op.name, record.location))
    return tuple(seen), outputs, record.attributes


def _source(path: TracePath, wiring: Wiring) -> SymbolicSpec | None:
    """What the producer has: a node's output, or a feed as another node has it with symbols."""
    if isinstance(wiring, FromFeed) and path.graph.symbols.origins:
        return symbolic_feeds(path.graph).get(wiring.feed)
    return only_source(wiring)


def _symbolic_attributes(
    path: TracePath, record: OpRecord, inputs: Sequence[SymbolicSpec | None], names: set[str]
) -> Iterator[dict[str, Any]]:
    """The attributes with symbols for the sizes that only symbols of the inputs have, then as they are."""
    shape = record.attributes.get(SHAPE_ATTRIBUTE)
    if isinstance(shape, tuple):
        fixed = {d for spec in inputs if spec is not None for d in spec.shape if isinstance(d, int)}
        by_extent = {path.symbols[name]: name for name in sorted(names) if path.symbols.get(name) not in fixed}
        yield {**record.attributes, SHAPE_ATTRIBUTE: tuple([by_extent.get(d, d) for d in shape])}
    yield record.attributes


def _infer(
    record: OpRecord, inputs: Sequence[SymbolicSpec | None], attributes: dict[str, Any]
) -> tuple[SymbolicSpec, ...] | None:
    """The output specs for inputs with symbols; None where the operation has no comprehension for them."""
    scalars = [x.value if isinstance(x, Scalar) else None for x in record.inputs]
    operands: list[Any] = [
        scalar if spec is None else TensorSpec(spec.shape, spec.dtype)
        for spec, scalar in zip(inputs, scalars, strict=True)
    ]
    if not has_comprehension(record.op, operands, attributes):
        return None
    inferred = record.op.infer(*operands, **attributes)
    several = inferred if isinstance(inferred, tuple) else (inferred,)
    return tuple([SymbolicSpec(spec.shape, spec.dtype) for spec in several])


def _extents(path: TracePath, spec: SymbolicSpec) -> tuple[int | None, ...]:
    return tuple([path.symbols.get(d) if isinstance(d, str) else d for d in spec.shape])
