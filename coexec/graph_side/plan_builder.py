"""A plan is written: words of the frame are handed out while the tables are filled.

In: a `Sequence`, its `BufferPlan` and the shapes of all places.  Out: a `Plan`.
Invariant: each word of the frame is given to one use; each instruction has one row, in the sequence's order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import numpy as np

from coexec.clusters.lower import Parameter
from coexec.errors import CompilationFailed
from coexec.graph.symbolic import Constant, Feed, Output, SymbolicGraph
from coexec.graph_side.buffers import BufferPlan, Shape
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
    writes_of,
)
from coexec.graph_side.plan import (
    AWAIT,
    BUFFERS,
    CASE,
    CLEAR,
    CODE,
    COPY,
    DIMS,
    END,
    ERROR_WORDS,
    FIRST_WORD,
    JUMP,
    KERNEL_WIDTH,
    KERNELS,
    LOOP_RING,
    MOVE,
    OPERANDS,
    POST,
    RUN,
    STAGE_WIDTH,
    WIDTH,
    Choice,
    Group,
    Plan,
    ScalarFeed,
    StageRow,
    table_of,
)
from coexec.graph_side.sequence import CompiledCluster, Sequence
from comprehension.lang.types import ScalarType


def make_plan(graph: SymbolicGraph, program: Sequence, buffers: BufferPlan, shapes: dict[Place, Shape]) -> Plan:
    """The plan of a sequence; `shapes` holds every place that some instruction writes."""
    builder = _Builder(graph, program, buffers, shapes)
    return builder.plan()


def shapes_of(graph: SymbolicGraph, program: Sequence) -> dict[Place, Shape]:
    """The shapes of outputs, phis and workspaces, over the graph's symbols."""
    shapes: dict[Place, Shape] = {}
    for node in graph.nodes():
        for index, spec in enumerate(node.outputs):
            names = tuple((dim, dim) for dim in dict.fromkeys(spec.shape) if isinstance(dim, str))
            shapes[Output(node.id, index)] = Shape(spec.shape, spec.dtype, names)
    for instruction in program.instructions:
        if isinstance(instruction, Copy) and isinstance(instruction.target, PhiSlot):
            assert isinstance(instruction.source, Output)
            shapes[instruction.target] = shapes[instruction.source]
        elif isinstance(instruction, Move) and isinstance(instruction.target, Row):
            shapes[instruction.target] = _before(instruction.target)
    for number, kernel in enumerate(program.kernels):
        for slot in kernel.manifest.slots:
            if slot.kind == "workspace":
                place = Workspace(number, slot.name)
                shapes[place] = Shape(slot.shape, ScalarType(slot.dtype).numpy, _names(kernel, slot.shape))
    return shapes


def _names(kernel: CompiledCluster, texts: Iterable[int | str]) -> tuple[tuple[str, str], ...]:
    """(name in the manifest, symbol of the graph) for the kernel's sizes, if any text needs them."""
    if not any(isinstance(text, str) for text in texts):
        return ()
    return tuple((f"N{k}", symbol) for k, symbol in enumerate(kernel.lowered.sizes))


def _before(row: Row) -> Shape:
    """The shape of what lies in front of a row, in rows of the same shape.

    >>> _before(Row(Output(7), (2, 1), (4, 3, 5, "n0"), ScalarType.FLOAT32)).extents
    (7, 5, 'n0')
    """
    count: int | str = row.index[0]
    for number, extent in zip(row.index[1:], row.whole[1:], strict=False):
        if isinstance(count, int) and isinstance(extent, int):
            count = count * extent + number
        else:
            count = f"({count}) * {extent} + {number}"
    names = tuple((dim, dim) for dim in dict.fromkeys(row.whole) if isinstance(dim, str))
    return Shape((count, *row.whole[len(row.index) :]), row.dtype.numpy, names)


def _within(parameters: Iterable[Parameter]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The conditions under which all rows are inside of their tensors, and the names in them."""
    bounds = [(k, dim) for p in parameters for k, dim in zip(p.index, p.whole, strict=False) if isinstance(dim, str)]
    conditions = dict.fromkeys(f"{k} < {dim}" for k, dim in bounds)
    return tuple(conditions), tuple(dict.fromkeys((dim, dim) for _, dim in bounds))


class _Builder:
    """Hands out words of the frame while tables are written."""

    def __init__(
        self, graph: SymbolicGraph, program: Sequence, buffers: BufferPlan, shapes: dict[Place, Shape]
    ) -> None:
        self.graph, self.program, self.buffers, self.shapes = graph, program, buffers, shapes
        self.words = FIRST_WORD
        self.stages = 0
        self.initial: dict[int, int] = {}
        self.within: list[tuple[int, int]] = []
        self.operands: list[int] = []
        self.slots: dict[Place, int] = {feed: self.word() for feed in graph.feeds}
        self.scalars: list[list[ScalarFeed]] = [[] for _ in graph.feeds]
        self.symbols = {symbol: self.word() for symbol in graph.symbols}
        self.groups: dict[frozenset[str], Group] = {frozenset(): Group(frozenset())}
        self.posts: dict[Output, int] = {}
        self.byte_words: dict[Place, int] = {}
        self.nothing = self.word()  # always 0
        self.record = self.word(ERROR_WORDS)
        self.record_address = self.word()
        self.within.append((self.record_address, self.record))
        self.choices = tuple(self.choice(case) for case in range(graph.cases))

    def plan(self) -> Plan:
        kernels = [self.kernel(number, kernel) for number, kernel in enumerate(self.program.kernels)]
        code = [self.instruction(instruction) for instruction in self.program.instructions]
        for output in self.buffers.owned:
            self.group(self.shapes[output].symbols).owned.append(output)
            self.slot(output)
        for life in self.buffers.arena:
            self.group(self.shapes[life.place].symbols).arena.append(life)
            self.slot(life.place)
        most = max((len(kernel.manifest.slots) for kernel in self.program.kernels), default=0) + 1
        sizes = max((len(kernel.manifest.sizes) for kernel in self.program.kernels), default=0) + 1
        self.within += [(BUFFERS, self.word(most)), (DIMS, self.word(sizes))]
        template = np.zeros(self.words, np.int64)
        tables = [
            table_of(code or [[0] * WIDTH]),
            table_of(kernels or [[0] * KERNEL_WIDTH]),
            table_of(self.operands or [0]),
        ]
        for word, table in zip((CODE, KERNELS, OPERANDS), tables, strict=True):
            template[word] = table.ctypes.data
        template[list(self.initial)] = list(self.initial.values())
        return Plan(
            graph=self.graph,
            program=self.program,
            buffers=self.buffers,
            shapes=self.shapes,
            tables=(tables[0], tables[1], tables[2]),
            template=template,
            within=table_of(self.within),
            slots=self.slots,
            feeds=tuple(0 if feed.scalar else self.slots[feed] for feed in self.graph.feeds),
            scalars=tuple(map(tuple, self.scalars)),
            posts=self.posts,
            choices=self.choices,
            stages=self.stages,
            symbols=tuple(self.symbols.values()),
            groups=tuple(self.groups.values()),
            written=_written(self.program),
            needed_to={life.place: life.last for life in self.buffers.arena},
        )

    def word(self, count: int = 1) -> int:
        """The first of `count` words not used yet."""
        first = self.words
        self.words += count
        return first

    def group(self, symbols: frozenset[str]) -> Group:
        return self.groups.setdefault(symbols, Group(symbols))

    def ready(self, symbols: frozenset[str]) -> int:
        group = self.group(symbols)
        group.ready = group.ready or self.word()
        return group.ready

    def choice(self, case: int) -> Choice:
        repeats = any(
            isinstance(i, Choose) and i.case == case and any(a <= at <= b for a, b in self.program.loops)
            for at, i in enumerate(self.program.instructions)
        )
        ring = LOOP_RING if repeats else 1
        return Choice(self.word(2 + ring), ring)

    def slot(self, place: Place) -> int:
        """The word that holds the address of what a place stands for."""
        if place not in self.slots:
            self.slots[place] = self.word()
            if isinstance(place, Scalar):
                self.scalar(place, self.slots[place])
        return self.slots[place]

    def scalar(self, place: Scalar, slot: int) -> None:
        data = self.word(2)  # the widest type is 8 bytes; a word to spare keeps vector loads inside the frame
        match place.source:
            case Constant(value):
                bits = np.zeros(1, np.int64)
                bits.view(place.dtype.numpy)[0] = value
                self.initial[data] = int(bits[0])
                self.within.append((slot, data))
            case Feed(slot=number):
                self.scalars[number].append(ScalarFeed(slot, data, place.dtype.numpy))
            case _:
                assert_never(place.source)

    def bytes_word(self, place: Place) -> int:
        """The word that holds the number of bytes of a place."""
        if place not in self.byte_words:
            self.byte_words[place] = self.word()
            self.group(self.shapes[place].symbols).sizes.append((self.byte_words[place], place))
        return self.byte_words[place]

    def kernel(self, number: int, kernel: CompiledCluster) -> list[int]:
        """The kernel's row; its stages' rows go to the frame, its operands are added by its `Launch`."""
        manifest, names = kernel.manifest, tuple((f"N{k}", s) for k, s in enumerate(kernel.lowered.sizes))
        if any(slot.layout is not None for slot in manifest.slots):
            raise CompilationFailed(f"kernel {manifest.name} asks for strides, and a plan's buffers are dense")
        first = self.word(STAGE_WIDTH * len(manifest.stages))
        group = self.group(kernel.lowered.symbols)
        within, outer = _within(kernel.lowered.parameters)
        conditions = (*[condition for condition, _ in manifest.preconditions], *within)
        for k, (entry, address) in enumerate(zip(manifest.stages, kernel.stages, strict=True)):
            word, scratch = first + STAGE_WIDTH * k, manifest.scratch_bytes
            group.stages.append(StageRow(word, self.stages, entry, address, scratch, names + outer, conditions))
            self.stages += 1
        launch = next(i for i in self.program.instructions if isinstance(i, Launch) and i.kernel == number)
        buffers_at = len(self.operands)
        self.operands += [*(self.slot(place) for place in launch.buffers), self.record_address]
        dims_at = len(self.operands)
        symbol_of = dict(names)
        self.operands += [self.symbols[symbol_of[size]] for size in manifest.sizes]
        return [len(launch.buffers) + 1, buffers_at, len(manifest.sizes), dims_at, len(manifest.stages), first]

    def post(self, output: Output) -> int:
        """The word that counts arrivals of a fetched output."""
        if output not in self.posts:
            self.posts[output] = self.word()
        return self.posts[output]

    def awaited(self, what: Feed | Sizes) -> int:
        """The word that Python writes last of what is awaited."""
        match what:
            case Feed(slot=slot, scalar=True):
                return self.scalars[slot][-1].slot
            case Feed():
                return self.slots[what]
            case Sizes(symbols):
                return self.ready(symbols)
            case _:
                assert_never(what)

    def instruction(self, instruction: Instruction) -> list[int]:
        """The instruction's words."""
        match instruction:
            case Await(what):
                words = [AWAIT, self.awaited(what)]
            case Launch(kernel):
                words = [RUN, kernel]
            case Clear(cleared):
                words = [CLEAR, self.slot(cleared), 0, self.bytes_word(cleared)]
            case Move(target, source):
                further = self.bytes_word(target) if isinstance(target, Row) else self.nothing
                words = [MOVE, self.slot(target), self.slot(source), further]
            case Copy(target, origin):
                words = [COPY, self.slot(target), self.slot(origin), self.bytes_word(target)]
            case Post(output):
                words = [POST, self.post(output)]
            case Jump(block):
                words = [JUMP, self.program.starts[block]]
            case Choose(case, blocks):
                words = [CASE, self.choices[case].sent, self.choices[case].ring, len(self.operands)]
                self.operands += [self.program.starts[block] for block in blocks]
            case Stop():
                words = [END]
            case _:
                assert_never(instruction)
        return words + [0] * (WIDTH - len(words))


def _written(program: Sequence) -> dict[Place, tuple[int, int]]:
    written: dict[Place, tuple[int, int]] = {}
    for at, instruction in enumerate(program.instructions):
        for place in writes_of(instruction):
            written[place] = (written.get(place, (at, at))[0], at)
    return written
