"""Where a value comes from: the last write before each read, through any number of copies.

In: accesses with times (of a kernel or of a Scop).  Out: for each read the write that it sees.
Invariant: exact last writers, not an approximation.  Accesses that are not affine have none and are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.proof.extract import Access, Action, Extraction
from comprehension.poly.proof.instances import PRIVATE
from comprehension.poly.proof.meetings import mapping_of
from comprehension.poly.proof.verdict import NotDecided
from comprehension.poly.proof.writers import Memory, Sources, Timed, last_writers, sources_in
from comprehension.poly.scop import Scop

MAX_COPIES = 6


# --- kernels ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Sink:
    """A read of the kernel, under its own name; an exit (`action` None) reads a whole output at the end."""

    name: str
    timed: Timed
    action: Action | None
    access: Access | None
    tensor: str = ""


def sinks_of(extraction: Extraction, buffers: set[str]) -> list[Sink]:
    """The reads of `buffers`, and an exit for each output among them."""
    sinks = []
    for action in _stores_touching(extraction, buffers):
        for number, access in enumerate(action.reads):
            if access.buffer not in buffers:
                continue
            name = f"{action.name}r{number}"
            relation = cells(extraction, action, access).set_tuple_name(isl.dim_type.in_, name)
            time = access.time.set_tuple_name(isl.dim_type.in_, name)
            sinks.append(Sink(name, Timed(relation, time), action, access))
    for buffer in sorted(buffers & extraction.outputs):
        sinks.append(_exit(extraction, extraction.buffer(buffer)))
    return sinks


def _exit(extraction: Extraction, buffer: ir.Buffer) -> Sink:
    end = len(extraction.kernel.stages)
    timed = _whole_at_the_end(buffer.name, len(buffer.shape), extraction.times, end, extraction.context)
    return Sink(exit_name(buffer.name), timed, None, None, buffer.name)


def exit_name(tensor: str) -> str:
    return f"exit_{tensor}"


def _whole_at_the_end(tensor: str, rank: int, times: isl.Space, first: int, context: isl.Set) -> Timed:
    """A read of every element at time [first, 0, 0, ...], after everything else."""
    parameters = isl.parameter_names(context)
    cell = isl.named_set_space(context.get_ctx(), parameters, tensor, [f"d{axis}" for axis in range(rank)])
    everything = isl.Set.universe(cell).intersect_params(context)
    end = isl.Set.universe(times)
    for position in range(times.dim(isl.dim_type.set)):
        end = end.fix_val(isl.dim_type.set, position, isl.Val(0 if position else first, times.get_ctx()))
    relation = isl.Map.identity(cell.map_from_set()).intersect_domain(everything)
    time = isl.Map.from_domain_and_range(everything, end)
    name = exit_name(tensor)
    return Timed(relation.set_tuple_name(isl.dim_type.in_, name), time.set_tuple_name(isl.dim_type.in_, name))


def memories_of(extraction: Extraction, sinks: list[Sink], buffers: set[str]) -> list[Memory]:
    """What these reads read, with all that writes there."""
    found: dict[str, Memory] = {}
    for sink in sinks:
        found.setdefault(sink.timed.memory, Memory(extraction.context.get_space())).reads.append(sink.timed)
    for action in _stores_touching(extraction, buffers):
        if action.write is not None and action.write.buffer in buffers:
            timed = Timed(cells(extraction, action, action.write), action.time)
            if timed.memory in found:
                found[timed.memory].writes.append(timed)
    return [found[name] for name in sorted(found)]


def _stores_touching(extraction: Extraction, buffers: Iterable[str]) -> list[Action]:
    """The stores that read or write some of the buffers, in program order."""
    found = {action.number: action for buffer in buffers for action in extraction.touching(buffer)}
    return [found[number] for number in sorted(found) if found[number].store is not None]


def cells(extraction: Extraction, action: Action, access: Access) -> isl.Map:
    """Points -> memory cells: those of a private buffer are told apart by stage and unit.

    What a thread keeps does not outlive an iteration of the innermost loop that threads divide: the next one that
    this thread takes finds it overwritten.  Under more or fewer loops of blocks than others an access has cells of its
    own: such a kernel is refused, by `barriers`.
    """
    if access.free:
        raise NotDecided(f"{action.place}: {access.buffer} is copied, and has a subscript that is not affine")
    space = extraction.buffer(access.buffer).space
    if space not in PRIVATE:
        return access.relation
    unit = isl.Map.identity(action.domain.get_space().map_from_set())
    kept, home = set(action.parallel), action.home
    if space is ir.Space.SHARED:
        kept, home = {dim for dim in kept if (mapping_of(action.loops[dim]) or "").startswith("block.")}, ""
    for position in reversed(range(unit.dim(isl.dim_type.out))):
        if position not in kept:
            unit = unit.project_out(isl.dim_type.out, position, 1)
    unit = unit.set_tuple_name(isl.dim_type.out, "unit")
    name = f"{access.buffer}@{action.stage}@{home}@{len(kept)}"
    return unit.flat_range_product(access.relation).set_tuple_name(isl.dim_type.out, name)


@dataclass(frozen=True, slots=True, eq=False)
class Origins:
    """Through copies: sink -> points of the action that made the value; sink -> cell never written before.

    `passed`: points of COMBINE stores that pass one operand on (the others hold the identity): copies, too.
    """

    makers: isl.UnionMap
    initial: isl.UnionMap
    passed: dict[str, isl.Set] = field(default_factory=dict)

    def passing_points(self, action: Action) -> isl.Set:
        """The points at which an action is one of these copies."""
        return self.passed.get(action.name, isl.Set.empty(action.domain.get_space()))


Passing = Callable[[Origins], dict[str, isl.Set]]
"""From what is known through copies alone: operand, by the name of its read -> points that pass it on."""


def origins(extraction: Extraction, sinks: list[Sink], buffers: set[str], passing: Passing) -> Origins:
    """Follows each value back to what computed it.  Raises NotDecided beyond MAX_COPIES copies in a row."""
    parameters = extraction.context.get_space()
    direct = sources_in(memories_of(extraction, sinks, buffers), parameters)
    copies = {s.name: action_of(s).domain for s in sinks if _role(s) is ir.StoreRole.COPY}
    found = _through(direct, _links(sinks, copies, parameters))
    if not any(_role(s) is ir.StoreRole.COMBINE for s in sinks):
        return found
    passed = passing(found)
    found = _through(direct, _links(sinks, copies | passed, parameters))
    by_action: dict[str, isl.Set] = {}
    for sink in sinks:
        if sink.name in passed:
            name = action_of(sink).name
            by_action[name] = passed[sink.name].union(by_action.get(name, isl.Set.empty(passed[sink.name].get_space())))
    return Origins(found.makers, found.initial, by_action)


def _through(direct: Sources, links: isl.UnionMap) -> Origins:
    """`links` map points of copies to their reads."""
    copied = links.domain()
    makers, initial, pending = direct.writers.subtract_range(copied), direct.initial, direct.writers
    for _ in range(MAX_COPIES):
        before = pending.intersect_range(copied).apply_range(links)  # sink -> the read of the copy that it saw
        if before.is_empty():
            return Origins(makers, initial)
        pending = before.apply_range(direct.writers)
        makers = makers.union(pending.subtract_range(copied))
        initial = initial.union(before.apply_range(direct.initial))
    raise NotDecided(f"a value passes through more than {MAX_COPIES} copies")


def _links(sinks: list[Sink], points: Mapping[str, isl.Set], parameters: isl.Space) -> isl.UnionMap:
    links = []
    for sink in sinks:
        if sink.name in points:
            same = isl.Map.identity(points[sink.name].get_space().map_from_set()).intersect_domain(points[sink.name])
            links.append(same.set_tuple_name(isl.dim_type.out, sink.name))
    return isl.union_map(parameters, links)


def action_of(sink: Sink) -> Action:
    """The action that reads; an exit has none."""
    assert sink.action is not None
    return sink.action


def _role(sink: Sink) -> ir.StoreRole | None:
    return None if sink.action is None else sink.action.role


# --- scops -------------------------------------------------------------------------------------------------


def read_name(statement: str, number: int) -> str:
    return f"{statement}r{number}"


def scop_sources(scop: Scop, tensors: set[str], outputs: Iterable[str]) -> Sources:
    """Reads `S0r1` (and exits `exit_T`) -> the instances whose values they see in the original order."""
    reads, writes = [], []
    for access in (access for tensor in sorted(tensors) for access in scop.accesses_to(tensor)):
        if not access.exact:
            raise NotDecided(f"{access.tensor} is copied, and {access.statement} reaches it by an indirect subscript")
        time = scop.times[access.statement]
        if access.is_write:
            writes.append(Timed(access.relation, time))
        else:
            name = read_name(access.statement, access.number)
            renamed = (m.set_tuple_name(isl.dim_type.in_, name) for m in (access.relation, time))
            reads.append(Timed(*renamed))
    for tensor in outputs if scop.times else ():
        times = next(iter(scop.times.values())).get_space().range()
        rank = len(scop.program.tensor(tensor).shape)
        reads.append(_whole_at_the_end(tensor, rank, times, len(scop.program.statements), scop.context))
    return last_writers(reads, writes, scop.context.get_space())
