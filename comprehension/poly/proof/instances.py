"""Properties 2 and 3, and addresses: what runs, what it touches, and that this is inside of the buffers.

In: a Scop and an `Extraction`.  Out: findings.
Invariant: "inside" restricts an action to the points that run an instance of its statement's domain; the
others (padding) may only write to private buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.proof.extract import Access, Action, Extraction
from comprehension.poly.proof.integers import IntegerSpace
from comprehension.poly.proof.verdict import Finding, Guard, Property, Violation, clashes, must_be_empty, sample
from comprehension.poly.scop import Scop, ScopAccess, ScopStatement

PRIVATE = (ir.Space.SCRATCH, ir.Space.REGISTER, ir.Space.SHARED)


def inside(action: Action, statement: ScopStatement) -> isl.Map:
    """Points -> instances, for the points that run an instance of the domain."""
    assert action.instance is not None
    return action.instance.intersect_range(statement.domain)


def meaning_of(read: Access, statement: ScopStatement) -> ScopAccess | None:
    """The access of the statement that a load performs; None if its number is none of them."""
    return next((access for access in statement.reads if access.number == read.number), None)


def check_instances(scop: Scop, extraction: Extraction) -> Iterator[Finding]:
    """Every instance runs exactly once; what runs besides writes private buffers only."""
    for action in extraction.stores(ir.StoreRole.EXECUTE):
        if scop.find(action.statement) is None:
            yield Violation(Property.INSTANCES, f"{action.place}: runs {action.statement}, which the program has not")
    for statement in scop.statements:
        actions = extraction.executing(statement.name)
        yield from _once(scop, statement, actions)
        for action in actions:
            yield from _padding(extraction, statement, action)


def _once(scop: Scop, statement: ScopStatement, actions: Sequence[Action]) -> Iterator[Finding]:
    missing = statement.domain.intersect_params(scop.context)
    for action in actions:
        missing = missing.subtract(inside(action, statement).range())
    yield from must_be_empty(Property.INSTANCES, missing, f"an instance of {statement.name} never runs")
    runs = isl.union_map(scop.context.get_space(), (inside(a, statement) for a in actions))
    for pairs in clashes(runs):
        yield Violation(Property.INSTANCES, f"an instance of {statement.name} runs twice", sample(pairs))


def _padding(extraction: Extraction, statement: ScopStatement, action: Action) -> Iterator[Finding]:
    assert action.instance is not None and action.write is not None
    if extraction.buffer(action.write.buffer).space in PRIVATE:
        return
    outside = action.instance.subtract(isl.Map.from_domain_and_range(action.domain, statement.domain))
    what = f"{action.place}: runs {statement.name} outside of its domain and writes {action.write.buffer}"
    yield from must_be_empty(Property.INSTANCES, outside, what)


# --- addresses ------------------------------------------------------------------------------------------


def check_addresses(scop: Scop, extraction: Extraction) -> Iterator[Finding]:
    """Each access to a tensor touches the element that its statement names (private buffers: property 5)."""
    for action in extraction.stores(ir.StoreRole.EXECUTE):
        statement = scop.find(action.statement)
        if statement is None:
            continue  # a violation of property 2 already
        assert action.write is not None
        points = inside(action, statement)
        yield from _same_element(extraction, action, action.write, statement.write, points)
        for read in action.reads:
            meant = meaning_of(read, statement)
            if meant is None:
                what = f"{action.place}: a read of {read.buffer} is no access of {statement.name} ({read.number})"
                yield Violation(Property.DEPENDENCES, what)
            else:
                yield from _same_element(extraction, action, read, meant, points)


def _same_element(
    extraction: Extraction, action: Action, access: Access, meant: ScopAccess, points: isl.Map
) -> Iterator[Finding]:
    if extraction.buffer(access.buffer).space in PRIVATE:
        return
    verb = "writes" if meant.is_write else "reads"
    if access.buffer != meant.tensor:
        what = f"{action.place}: {verb} {access.buffer} where {meant.statement} {verb} {meant.tensor}"
        yield Violation(Property.DEPENDENCES, what)
        return
    if access.free and meant.exact:
        what = f"{action.place}: {verb} {access.buffer} at an address that is not affine"
        yield Violation(Property.DEPENDENCES, what)
        return
    touched = access.relation.intersect_domain(points.domain())
    if access.free:  # both then stand for "some element of the buffer": checked at launch
        touched = touched.intersect_range(
            elements(extraction.buffer(access.buffer), access.relation.range().get_space())
        )
    wrong = touched.subtract(points.apply_range(meant.relation))
    what = f"{action.place}: {verb} another element of {access.buffer} than {meant.statement} does"
    yield from must_be_empty(Property.DEPENDENCES, wrong, what)


# --- bounds -----------------------------------------------------------------------------------------------


def check_bounds(scop: Scop, extraction: Extraction) -> Iterator[Finding]:
    """Every access, padding included, is inside of its buffer; indirect subscripts are guarded."""
    inexact = {(s.name, a.number) for s in scop.statements for a in s.accesses if not a.exact}
    outside: dict[tuple[str, tuple[int, ...]], isl.Set] = {}
    for action in extraction.actions:
        for access in action.accesses:
            buffer, key = extraction.buffer(access.buffer), (access.buffer, access.free)
            if access.free:
                yield _guarded(action, access, (action.statement or "", access.number or 0) in inexact)
            if key not in outside:
                outside[key] = outside_of(buffer, access.relation.get_space().range(), access.free)
            beyond = access.relation.intersect_range(outside[key])
            what = f"{action.place}: {access.buffer} is touched outside of its shape"
            yield from must_be_empty(Property.BOUNDS, beyond, what)
    for buffer in extraction.kernel.buffers:
        yield from _unknown_extents(buffer, extraction)


def _unknown_extents(buffer: ir.Buffer, extraction: Extraction) -> Iterator[Finding]:
    """An extent that is no affine function of the sizes is what range inference computed for the subscripts."""
    space = extraction.context.get_space().set_from_params()
    where = IntegerSpace.of(space, {}, {})
    if all(where.function(extent) is not None for extent in buffer.shape):
        return
    what = f"an extent of {buffer.name} is not affine"
    if buffer.space in PRIVATE:
        yield Violation(Property.BOUNDS, what)
    else:
        yield Guard(Property.BOUNDS, f"{what}: it is computed at launch from the subscripts' largest values")


def _guarded(action: Action, access: Access, indirect: bool) -> Finding:
    what = f"{action.place}: subscripts {list(access.free)} of {access.buffer}"
    if indirect or action.store is None:
        return Guard(Property.BOUNDS, f"{what} are not affine; their values are checked at launch")
    return Violation(Property.BOUNDS, f"{what} are not affine, although those of the text are")


def elements(buffer: ir.Buffer, space: isl.Space) -> isl.Set:
    """All elements of a buffer."""
    return isl.Set.universe(space).subtract(outside_of(buffer, space))


def outside_of(buffer: ir.Buffer, space: isl.Space, free: tuple[int, ...] = ()) -> isl.Set:
    """Positions with a subscript below 0 or at least the extent, along the axes that are not `free`."""
    where = IntegerSpace.of(space, {f"d{axis}": axis for axis in range(len(buffer.shape))}, {})
    outside = isl.Set.empty(space)
    for axis, extent in enumerate(buffer.shape):
        if axis in free:
            continue
        position, limit = where.variables[f"d{axis}"], where.function(extent)
        outside = outside.union(position.lt_set(where.constant(0)))
        if limit is not None:
            outside = outside.union(position.ge_set(limit))
    return outside
