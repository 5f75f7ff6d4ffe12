"""The steps of a partition become instructions in one line.

In: a `Partition` and the compiled kernel of each cluster.  Out: a `Sequence`: instructions, where each block
starts among them, and which runs of them may be executed again (loops).
Invariant: blocks that can reach each other stand side by side, so that a lifetime is an interval of instructions;
every place is set before it is read (`verify_sequence`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from coexec.clusters.lower import Cluster, Lowered, Parameter
from coexec.clusters.partition import Partition
from coexec.clusters.steps import Alias, Step
from coexec.errors import MalformedGraph
from coexec.graph.symbolic import (
    Block,
    Case,
    Constant,
    Dim,
    End,
    Feed,
    Fetch,
    Goto,
    Output,
    Phi,
    Select,
    Source,
    SymbolicGraph,
    successors,
)
from coexec.graph_side.instructions import (
    Await,
    Choose,
    Clear,
    Copy,
    Instruction,
    Jump,
    Launch,
    Move,
    PhiSlot,
    Place,
    Post,
    Row,
    Scalar,
    Sizes,
    Stop,
    Workspace,
    reads_of,
    to_text as instruction_text,
    writes_of,
)
from comprehension.jit.manifest import Manifest


@dataclass(frozen=True, slots=True, eq=False)
class CompiledCluster:
    """A cluster, its comprehension and its machine code; `stages[i]` is the address of the manifest's stage i.

    `kernel` is the compiler's own object: it keeps the code, and tells of itself.
    """

    cluster: Cluster
    lowered: Lowered
    manifest: Manifest
    stages: tuple[int, ...]
    kernel: Any


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """`starts[b]` is the first instruction of block b; `loops` are the (first, last) instructions of each cycle."""

    instructions: tuple[Instruction, ...]
    kernels: tuple[CompiledCluster, ...]
    starts: dict[int, int]
    loops: tuple[tuple[int, int], ...]
    looping: frozenset[int]  # blocks that may run more than once


def sequence(partition: Partition, compiled: Mapping[Cluster, CompiledCluster]) -> Sequence:
    """Instructions for the blocks of a partition, in an order that keeps cycles together."""
    graph = partition.graph
    kernels = tuple(dict.fromkeys(compiled[cluster] for cluster in partition.clusters))
    numbers = {id(kernel): number for number, kernel in enumerate(kernels)}
    order, cycles = block_order(graph)
    looping = frozenset(b for cycle in cycles for b in cycle)
    writer = _Writer(graph, looping, compiled, numbers)
    for position, number in enumerate(order):
        following = order[position + 1] if position + 1 < len(order) else None
        writer.block(graph.blocks[number], partition.blocks[number], following)
    ends = {number: writer.ends[number] for number in order}
    loops = tuple((min(writer.starts[b] for b in c), max(ends[b] for b in c)) for c in cycles)
    return Sequence(tuple(writer.instructions), kernels, writer.starts, loops, looping)


class _Writer:
    """Appends instructions; `awaited` is what the current block has waited for already."""

    def __init__(
        self,
        graph: SymbolicGraph,
        looping: frozenset[int],
        compiled: Mapping[Cluster, CompiledCluster],
        numbers: dict[int, int],
    ) -> None:
        self.compiled, self.numbers = compiled, numbers
        self.instructions: list[Instruction] = []
        self.starts: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.awaited: set[Feed | Sizes] = set()
        self.looping, self.in_loop = looping, False
        self.shape = {Output(n.id, i): s.shape for n in graph.nodes() for i, s in enumerate(n.outputs)}
        # A phi set inside a loop has memory of its own: what it was set from is written again in the next round.
        selects = [(b.id, item.phi) for b in graph.blocks for item in b.items if isinstance(item, Select)]
        self.copied = frozenset(phi for block, phi in selects if block in looping)

    def block(self, block: Block, steps: tuple[Step, ...], following: int | None) -> None:
        """Appends a block; a jump to the one that follows is left out."""
        self.starts[block.id] = len(self.instructions)
        self.awaited.clear()
        self.in_loop = block.id in self.looping
        for step in steps:
            self._step(step)
        match block.terminator:
            case Goto(target):
                if target != following:
                    self.instructions.append(Jump(target))
            case Case(slot, targets):
                self.instructions.append(Choose(slot, targets))
            case End():
                self.instructions.append(Stop())
            case _:
                assert_never(block.terminator)
        self.ends[block.id] = max(len(self.instructions) - 1, self.starts[block.id])

    def _step(self, step: Step) -> None:
        match step:
            case Cluster():
                self._launch(self.compiled[step])
            case Alias(node):
                self._place(Output(node.id), node.inputs[0], is_kept=any(node.kept))
            case Select(phi, source) if phi in self.copied:
                self._copy(PhiSlot(phi), source, self.shape[source])
            case Select(phi, source):
                self.instructions.append(Move(PhiSlot(phi), source))
            case Fetch(source):
                self.instructions.append(Post(source))
            case _:
                assert_never(step)

    def _place(self, target: Output, source: Source, *, is_kept: bool) -> None:
        """The target is the source's buffer; what a phi holds is copied, for its place says nothing of its end.

        So is what a loop around both may make again before it comes here again, if somebody keeps what it was.
        """
        match source:
            case Output() if self.in_loop and is_kept:
                self._copy(target, source, self.shape[target])
            case Phi(slot):
                self._copy(target, PhiSlot(slot), self.shape[target])
            case Output() | Feed():
                if isinstance(source, Feed):
                    self._await(source)
                self.instructions.append(Move(target, source))
            case Constant(value):
                raise MalformedGraph(f"%{target.node} is an alias of the number {value}")
            case _:
                assert_never(source)

    def _copy(self, target: Output | PhiSlot, source: Output | PhiSlot, shape: tuple[Dim, ...]) -> None:
        self._await_sizes(dim for dim in shape if isinstance(dim, str))
        self.instructions.append(Copy(target, source))

    def _launch(self, cluster: CompiledCluster) -> None:
        """The kernel's places in the order of its slots, after all that it waits for."""
        number = self.numbers[id(cluster)]
        for parameter in cluster.lowered.parameters:
            if isinstance(parameter.source, Feed):
                self._await(parameter.source)
        self._await_sizes(cluster.lowered.symbols)
        names = {f"x{i}": self._argument(parameter) for i, parameter in enumerate(cluster.lowered.parameters)}
        outputs = zip(cluster.lowered.definition.outputs, cluster.lowered.outputs, strict=True)
        names.update({parameter.name: output for parameter, output in outputs})
        places: list[Place] = []
        writes: list[Place] = []
        for slot in cluster.manifest.slots:
            place = Workspace(number, slot.name) if slot.kind == "workspace" else names[slot.name]
            places.append(place)
            if slot.kind in ("workspace", "output"):
                writes.append(place)
            if slot.kind == "output" and slot.reads_initial:
                assert isinstance(place, Output)
                self.instructions.append(Clear(place))
        reads = tuple(place for place in places if place not in writes)
        self.instructions.append(Launch(number, tuple(places), reads, tuple(writes)))

    def _argument(self, parameter: Parameter) -> Place:
        """Where a parameter is; a row is pointed to anew, since what it is part of may have moved."""
        place = _place_of(parameter)
        if not parameter.index:
            return place
        assert isinstance(place, Output | Feed | PhiSlot)
        row = Row(place, parameter.index, parameter.whole, parameter.spec.dtype)
        self._await_sizes(parameter.symbols)
        self.instructions.append(Move(row, place))
        return row

    def _await(self, what: Feed | Sizes) -> None:
        if what not in self.awaited:
            self.awaited.add(what)
            self.instructions.append(Await(what))

    def _await_sizes(self, symbols: Iterable[str]) -> None:
        found = frozenset(symbols)
        if found:
            self._await(Sizes(found))


def _place_of(parameter: Parameter) -> Place:
    match parameter.source:
        case Feed(scalar=True) | Constant():
            return Scalar(parameter.source, parameter.spec.dtype)
        case Phi(slot):
            return PhiSlot(slot)
        case Output() | Feed():
            return parameter.source
        case _:
            assert_never(parameter.source)


def block_order(graph: SymbolicGraph) -> tuple[tuple[int, ...], tuple[frozenset[int], ...]]:
    """Blocks in topological order of their strongly connected components, and those components that are cycles.

    Tarjan 1972, without recursion: components come out in reverse topological order.
    """
    following = {block.id: successors(block.terminator) for block in graph.blocks}
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: list[int] = []
    components: list[frozenset[int]] = []
    work: list[tuple[int, int]] = [(0, 0)]
    while work:
        block, child = work.pop()
        if child == 0:
            index[block] = low[block] = len(index)
            on_stack.append(block)
        if child < len(following[block]):
            work.append((block, child + 1))
            target = following[block][child]
            if target not in index:
                work.append((target, 0))
            continue
        for target in following[block]:
            if target in on_stack:
                low[block] = min(low[block], low[target])
        if low[block] == index[block]:
            at = on_stack.index(block)
            components.append(frozenset(on_stack[at:]))
            del on_stack[at:]
    components.reverse()
    cycles = tuple(c for c in components if len(c) > 1 or any(b in following[b] for b in c))
    return tuple(b for c in components for b in sorted(c, key=index.__getitem__)), cycles


def verify_sequence(program: Sequence) -> None:
    """Checks that every place is set before it is read (in a loop: somewhere in the loop), and jumps to blocks.

    Raises MalformedGraph naming the instruction.
    """
    first: dict[Place, int] = {}
    for at, instruction in enumerate(program.instructions):
        targets = (instruction.target,) if isinstance(instruction, Move) else writes_of(instruction)
        for place in targets:
            first.setdefault(place, at)
    for at, instruction in enumerate(program.instructions):
        latest = max([at - 1, *(last for begin, last in program.loops if begin <= at <= last)])
        sources = (instruction.source,) if isinstance(instruction, Move) else reads_of(instruction)
        for place in sources:
            if isinstance(place, Output | PhiSlot | Workspace) and first.get(place, latest + 1) > latest:
                raise MalformedGraph(f"instruction {at}, {instruction_text(instruction)}: nothing sets {place} before")
        match instruction:
            case Jump(block) if block not in program.starts:
                raise MalformedGraph(f"instruction {at} goes to block {block}, which is not in the sequence")
            case Choose(case, blocks) if not set(blocks) <= set(program.starts):
                raise MalformedGraph(f"instruction {at}: case {case} goes to {blocks}, not all in the sequence")


def to_text(program: Sequence) -> str:
    """The instructions by block, for people."""
    lines: list[str] = []
    starts = {start: block for block, start in sorted(program.starts.items(), reverse=True)}
    for at, instruction in enumerate(program.instructions):
        if at in starts:
            lines.append(f"block {starts[at]}:")
        lines.append(f"  {instruction_text(instruction)}")
    return "\n".join(lines) + "\n"
