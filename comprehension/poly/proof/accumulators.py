"""Private accumulators: the shapes of updates and combinations, and combinations that combine nothing.

In: an `Extraction` and where values come from.  Out: findings; the points at which a COMBINE passes an operand on.
Invariant: what is called an identity is one for the operator and the type of the store that uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comprehension.kernel import ir, scalars
from comprehension.lang.tree import ReduceOp
from comprehension.poly import isl
from comprehension.poly.proof.dataflow import Origins, Sink, action_of
from comprehension.poly.proof.extract import Action, Extraction
from comprehension.poly.proof.verdict import Finding, Property, Violation
from comprehension.poly.scop import Scop, ScopRole, ScopStatement


def op_of(statement: ScopStatement) -> ReduceOp:
    assert statement.source.reduction is not None
    return statement.source.reduction


def combined(value: ir.Value, op: ReduceOp) -> list[ir.Value]:
    """The operands of nested `op`s (folds and contracted products included), as the reduction combines them."""
    match value:
        case ir.BinaryOp(op=found, left=left, right=right) if found == op:
            return [*combined(left, op), *combined(right, op)]
        case ir.Fma(a=a, b=b, c=c, dtype=dtype) if op == "+":
            return [ir.BinaryOp("*", a, b, dtype), *combined(c, op)]
        case ir.Fold(op=found, value=inner) if found == op:
            return combined(inner, op)
        case _:
            return [value]


def check_shapes(scop: Scop, extraction: Extraction) -> Iterator[Finding]:
    """Updates combine their target with something else, by the operator of their reduction."""
    for action in extraction.stores(ir.StoreRole.EXECUTE):
        statement = scop.find(action.statement)
        if statement is None or statement.role is not ScopRole.UPDATE:
            continue
        assert action.store is not None
        own = len(statement.accesses) - 1
        parts = combined(action.store.value, op_of(statement))
        targets = [p for p in parts if isinstance(p, ir.Load) and p.access == own]
        if len(targets) != 1:
            what = f"does not combine the target of {statement.name} with one value by {op_of(statement)}"
            yield Violation(Property.DEPENDENCES, f"{action.place}: {what}")


def is_identity(store: ir.Store, op: ReduceOp) -> bool:
    value = store.value
    return isinstance(value, ir.Const) and bool(
        scalars.cast(value.value, value.dtype) == scalars.reduce_identity(op, value.dtype)
    )


def op_of_combination(store: ir.Store) -> ReduceOp | None:
    """The operator of a COMBINE store; None where it has none (a fold alone has)."""
    match store.value:
        case ir.BinaryOp(op="+" | "*" | "min" | "max" as op) | ir.Fold(op=op):
            return op
        case _:
            return None


def check_combinations(extraction: Extraction) -> Iterator[Finding]:
    """COMBINE stores combine loads, and nothing else."""
    for action in extraction.stores(ir.StoreRole.COMBINE):
        assert action.store is not None
        op = op_of_combination(action.store)
        if op is None or not all(isinstance(part, ir.Load) for part in combined(action.store.value, op)):
            yield Violation(Property.BUFFERS, f"{action.place}: is no combination of partial results")


def event_of(action: Action) -> isl.Map:
    """Points -> writes: the points that a Fold runs over are one write."""
    event = all_points(action)
    for position in reversed(action.folded):
        event = event.project_out(isl.dim_type.out, position, 1)
    return event.set_tuple_name(isl.dim_type.out, f"{action.name}e")


def all_points(action: Action) -> isl.Map:
    """The identity on an action's points."""
    return isl.Map.identity(action.domain.get_space().map_from_set()).intersect_domain(action.domain)


def passing(extraction: Extraction, sinks: list[Sink], found: Origins) -> dict[str, isl.Set]:
    """Operand (by the name of its read) -> the points at which a COMBINE stores just its value.

    There all other operands are accumulators that still hold the identity: their reductions have no updates.
    """
    result: dict[str, isl.Set] = {}
    buffers = {s.access.buffer for s in sinks if s.access is not None}
    fills = [a for a in extraction.stores(ir.StoreRole.FILL) if a.write is not None and a.write.buffer in buffers]
    combined_by: dict[str, list[Sink]] = {}
    for sink in sinks:
        if sink.action is not None and sink.action.role is ir.StoreRole.COMBINE:
            combined_by.setdefault(sink.action.name, []).append(sink)
    for operands in combined_by.values():
        action = action_of(operands[0])
        filled = {s.name: _holds_something(fills, action, s, found) for s in operands}
        left = action.domain
        for operand in operands:
            assert operand.access is not None
            if operand.access.folded:
                continue
            alone = left
            for other in operands:
                if other is not operand:
                    alone = alone.subtract(filled[other.name])
            result[operand.name] = alone
            left = left.subtract(alone)
    return result


def _holds_something(fills: Sequence[Action], action: Action, operand: Sink, found: Origins) -> isl.Set:
    """The points of a COMBINE at which an operand is more than the identity, for one of the points folded into it."""
    assert action.store is not None and operand.access is not None
    op = op_of_combination(action.store)
    space = action.domain.set_tuple_name(operand.name).get_space()
    reads = isl.UnionSet.from_set(isl.Set.universe(space))
    makers = found.makers.intersect_domain(reads)
    for fill in fills:
        assert fill.store is not None
        if op is not None and is_identity(fill.store, op):
            makers = makers.subtract_range(isl.UnionSet.from_set(fill.domain))
    some = makers.domain().union(
        found.initial.intersect_domain(isl.UnionSet.from_set(isl.Set.universe(space))).domain()
    )
    points = some.extract_set(space).set_tuple_name(action.name)
    event = event_of(action)
    return points.apply(event).apply(event.reverse())
