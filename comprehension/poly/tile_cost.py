"""Cycles of a register tile: what one step of its reduction, its first and last touch and its packing cost.

In: a statement, which of its indices are rows and lanes, and how many.  Out: estimated cycles of one core.
Invariant: depends on strides, extents and the operators of the statement, not on what they are called: an
operator costs by the axes along which its value varies.

Figures are throughputs seen on AVX-512 cores; they rank choices, they do not predict times.  Such a core reads one
whole vector a cycle (or one element broadcast to a vector), or half a one that crosses a line, beside one or two
multiply-adds: so wide tiles, which need fewer elements of rows, are the better ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd, prod

from comprehension.kernel.interleave import STEPS
from comprehension.lang import tree
from comprehension.lang.loops import Role
from comprehension.machine import LINE_BYTES, Machine
from comprehension.poly.access import AccessPattern, AccessPatterns, innermost_axis
from comprehension.poly.extents import Extents
from comprehension.poly.scop import Scop, ScopRole
from comprehension.poly.tile_jam import LONGEST, moves_alike
from comprehension.poly.tile_traffic import Touched

LOAD, HALF_LOAD = (
    1.2,
    0.5,
)  # a vector of 512 bits, or an element broadcast to one; of narrower ones two a cycle are read
LATENCY = 4.0  # of a multiply-add: the next step of a sum waits for it
TILE = 16.0  # what begins and ends the loop of a tile
NARROW = 0.6  # an operation on half a vector or less, beside one on a whole vector
GATHERED = 4.0  # an element of a strided vector: a line of its own
SCATTERED = 2.5
TRANSPOSED = 3.0  # the rows of one lane, where a tile is contiguous along rows
PUSHED_OUT = 10.0  # a piece of a line that must come from the second cache again
MASKED = 4.0  # a choice that varies along rows and lanes, beside plain arithmetic
ASIDE = 0.15  # an operation on rows or lanes only: done beside the multiply-adds, or outside of the loop
FUNCTION = 12.0  # a polynomial
FROM_L2, FROM_L3, FROM_MEMORY = 0.3, 1.5, 4.0  # a line, beyond what is hidden behind arithmetic
STREAMS, LATE = 32, 15.0  # places that processors fetch ahead in at once; a line from beyond the second cache elsewhere
STREAMED = 0.1  # a line from the second cache that lies behind the line before: it is fetched ahead
PAGE, WAYS = 4096, 8  # addresses this far apart share a set of the first cache, which holds so many lines
CONFLICT = 1.0  # an element whose line others have pushed out
PAGES = 48  # that the first table of addresses holds beside what else there is
WALK = 2.0  # a step that needs a page beyond those
ADDED = 7.0  # the parts of a vector of accumulators, where steps stand side by side: permutations
COPIED = 0.5  # an element packed from contiguous memory to contiguous memory
TURNED, RUN = 0.7, 50.0  # an element that is transposed on the way, and the beginning of a run of them


@dataclass(frozen=True, slots=True)
class Varying:
    """Cycles of arithmetic and of loads that a value takes, and the axes along which it varies."""

    cycles: float
    by_rows: bool = False
    by_lanes: bool = False
    loads: float = 0.0


@dataclass(slots=True)
class TileCost:
    """One statement in a tile of `rows` × `lanes`; `packed` are the accesses that are made in panels.

    `copies` tiles stand side by side, one for each of several values of index `beside`; `innermost` is the last index
    of the reduction.
    """

    scop: Scop
    patterns: AccessPatterns
    extents: Extents
    machine: Machine
    statement: str
    row_dim: int
    lane_dim: int
    rows: int
    lanes: int
    packed: frozenset[int] = frozenset()
    innermost: int | None = None
    beside: int | None = None
    copies: int = 1
    interleaved: bool = False  # several steps stand side by side in a vector (`kernel.interleave`)

    def step(self) -> float:
        """Cycles of one instance of the statement for the whole tile, and for those beside it."""
        statement = self.scop.statement(self.statement)
        if statement.role is ScopRole.INIT:
            return self._operation(by_rows=True, by_lanes=True)
        source = statement.source
        reads = iter(self.patterns.of(self.statement)[1:])
        values = [self._value(expr, reads) for expr in (*(let.value for let in source.lets), source.value)]
        arithmetic, loads = self.copies * sum(v.cycles for v in values), sum(v.loads for v in values)
        if statement.role is ScopRole.UPDATE and not is_product(source.value):  # a product joins the sum
            arithmetic += self.copies * self._operation(by_rows=True, by_lanes=True)
        waits = LATENCY / self._steps_at_once if statement.role is ScopRole.UPDATE else 1.0
        return max(arithmetic, loads, waits)  # they run side by side

    def ending(self) -> float:
        """Cycles of adding up what several steps in a vector leave."""
        return ADDED * self.rows if self.interleaved else 0.0

    def store(self) -> float:
        """Cycles of writing the tile to memory, or of reading it."""
        write = self.patterns.of(self.statement)[0]
        return self.rows * self._vectors if write.number in self.packed else self._memory(write, SCATTERED)

    def conflicts(self, read: AccessPattern, reduced: Sequence[int], steps: int) -> float:
        """Cycles that an unpacked operand loses in one run through the reduction to lines that share a set."""
        size = self.scop.program.tensor(read.tensor).dtype.bits // 8
        total = 0.0
        if read.depends_on(self.row_dim):
            apart = abs(read.strides[self.row_dim] or 0) * size
            if apart > LINE_BYTES and self.rows > self._rows_that_fit(apart):
                total += CONFLICT * self.rows * steps
        if read.depends_on(self.lane_dim):
            moved = [abs(read.strides[d] or 0) * size for d in reduced if read.depends_on(d)]
            apart = min(moved, default=0)
            if apart >= PAGE // 2 and steps > self._rows_that_fit(apart):
                total += CONFLICT * self._vectors * steps
            if apart >= PAGE // 2 and steps > PAGES:
                total += WALK * steps
        return total

    def _rows_that_fit(self, stride: int) -> int:
        """How many lines, `stride` bytes apart, the first cache holds at once."""
        return max(1, PAGE // gcd(stride, PAGE)) * WAYS

    def touched(self, read: AccessPattern) -> Touched:
        """What the traffic between caches depends on."""
        rows = tuple(tuple(c or 0 for c in row) for row in read.subscripts)
        return Touched(rows, read.steps, read.number in self.packed)

    def packing(self, read: AccessPattern, dim: int, count: int, inside: Sequence[int]) -> float:
        """Cycles of copying panels for `count` values of index `dim` and all values of the indices `inside`."""
        axes = [axis for axis, row in enumerate(read.subscripts) if row[dim] == 0]
        elements = count * prod(self._span(read, axis, inside) for axis in axes)
        if read.strides[dim] in (1, -1):
            return elements * COPIED
        run = self._span(read, innermost_axis(read.steps), inside)
        return elements * (TURNED + RUN / run)

    def _span(self, read: AccessPattern, axis: int, dims: Sequence[int]) -> int:
        """How many elements an axis spans while the indices `dims` move."""
        row = read.subscripts[axis]
        return 1 + sum(abs(row[d] or 0) * (max(1, self.extents.extent(self.statement, d)) - 1) for d in dims)

    # --- operators ----------------------------------------------------------------------------------

    def _value(self, expr: tree.Expr, reads: Iterator[AccessPattern]) -> Varying:
        match expr:
            case tree.Number() | tree.SizeOf():
                return Varying(0.0)
            case tree.Name(id=name):
                dims = self.scop.statement(self.statement).dims
                return Varying(0.0, name == dims[self.row_dim], name == dims[self.lane_dim])
            case tree.Access():
                return self._load(expr, reads)
            case tree.Select(condition=condition, then=then, otherwise=otherwise):
                return self._select(*(self._value(part, reads) for part in (condition, then, otherwise)))
            case tree.Call(function=function) if function not in ("min", "max", "fma", "sqrt", "fabs"):
                return self._joined([self._value(a, reads) for a in tree.children(expr)], FUNCTION)
            case _:
                return self._joined([self._value(a, reads) for a in tree.children(expr)], 1.0)

    def _joined(self, parts: Sequence[Varying], weight: float) -> Varying:
        by_rows, by_lanes = any(p.by_rows for p in parts), any(p.by_lanes for p in parts)
        cycles = sum(p.cycles for p in parts) + weight * self._operation(by_rows=by_rows, by_lanes=by_lanes)
        return Varying(cycles, by_rows, by_lanes, sum(p.loads for p in parts))

    def _select(self, condition: Varying, then: Varying, otherwise: Varying) -> Varying:
        """A choice that is the same for the tile is a branch; any other evaluates both sides under masks."""
        if not (condition.by_rows or condition.by_lanes):
            by_rows, by_lanes = then.by_rows or otherwise.by_rows, then.by_lanes or otherwise.by_lanes
            loads = max(then.loads, otherwise.loads)
            return Varying(max(then.cycles, otherwise.cycles) + 1.0, by_rows, by_lanes, loads)
        joined = self._joined([condition, then, otherwise], 1.0)
        if not (joined.by_rows and joined.by_lanes):
            return joined
        masked = joined.cycles + MASKED * self._operation(by_rows=True, by_lanes=True)
        return Varying(masked, True, True, joined.loads)

    def _load(self, expr: tree.Access, reads: Iterator[AccessPattern]) -> Varying:
        read = next(reads)
        for part in expr.subscripts:  # indirect subscripts read too
            for node in tree.walk(part):
                if isinstance(node, tree.Access):
                    next(reads)
        by_rows, by_lanes = read.depends_on(self.row_dim), read.depends_on(self.lane_dim)
        times = self._times(read)
        if read.number in self.packed:
            return Varying(
                0.0, by_rows, by_lanes, times * self._load_cycles * (self.rows if by_rows else self._vectors)
            )
        if by_lanes:
            loads = self._memory(read, GATHERED) if by_rows else self._lane_load(read)
        else:
            loads = self._load_cycles * self._elements(read) / self._steps_at_once if by_rows else ASIDE
        return Varying(0.0, by_rows, by_lanes, times * loads)

    def _elements(self, read: AccessPattern) -> float:
        """Elements of rows read in a step: what the one before has read for the next row is there, if registers are."""
        vectors = -(-self.lanes // self.machine.lanes(32))
        fits = self.rows * (vectors * self.copies + 1) + vectors <= self.machine.vector_registers
        return self._new_each_step(read, self.row_dim, self.rows) if fits else self.rows

    def _times(self, read: AccessPattern) -> float:
        """How often an operand is read for the tiles side by side: once where it stays."""
        if self.beside is None or not read.depends_on(self.beside):
            return 1.0
        return self._new_each_step(read, self.beside, self.copies)

    def _new_each_step(self, read: AccessPattern, dim: int, count: int) -> float:
        """What is read anew in a step for `count` values of an index: the innermost loop of a reduction that moves an
        access as the index does reads most of it the step before; short ones are unrolled, which keeps it in registers.
        """
        length = 0 if self.innermost is None else self.extents.known(self.statement, self.innermost)
        if self.innermost is None or not 1 < length <= LONGEST or not moves_alike(read, dim, self.innermost):
            return count
        return (count + length - 1) / length

    def _lane_load(self, read: AccessPattern) -> float:
        if read.strides[self.lane_dim] not in (1, -1):
            return GATHERED * self.lanes
        crossing = 0.0 if self._begins_with_lines(read) else self.machine.vector_bits / (8 * LINE_BYTES)
        return self._load_cycles * self._vectors * (1.0 + crossing)

    def _begins_with_lines(self, read: AccessPattern) -> bool:
        """Whether tiles read whole lines: arguments begin anywhere (NumPy's large arrays 16 bytes past a line), what we
        make ourselves begins with one.
        """
        width = self.machine.lanes(32)
        ours = self.scop.program.tensor(read.tensor).role is Role.TEMPORARY
        return ours and all((step or 0) % width == 0 for d, step in enumerate(read.strides) if d != self.lane_dim)

    def _memory(self, pattern: AccessPattern, each: float) -> float:
        """A whole tile between registers and memory."""
        if pattern.strides[self.lane_dim] in (1, -1):
            return self.rows * self._vectors
        if pattern.strides[self.row_dim] == 1:
            pieces = (self.rows & (self.rows - 1)).bit_count() + 1  # of powers of two, in which a lane's rows are moved
            size = self.scop.program.tensor(pattern.tensor).dtype.bits // 8
            far = self.lanes > self._rows_that_fit(abs(pattern.strides[self.lane_dim] or 0) * size)
            return self.lanes * (pieces * TRANSPOSED + (PUSHED_OUT if far else 0.0))
        return each * self.rows * self.lanes

    @property
    def _steps_at_once(self) -> int:
        return STEPS if self.interleaved else 1

    @property
    def _load_cycles(self) -> float:
        return LOAD if self.machine.vector_bits >= 8 * LINE_BYTES else HALF_LOAD

    @property
    def _vectors(self) -> float:
        """Vectors along the lanes; a narrow one costs less than a whole."""
        width = self.machine.lanes(32)
        return NARROW if 2 * self.lanes <= width else -(-self.lanes // width)

    def _operation(self, *, by_rows: bool, by_lanes: bool) -> float:
        if by_rows and by_lanes:
            return self.rows * self._vectors / self.machine.fma_units
        return ASIDE * (self._vectors if by_lanes else self.rows if by_rows else 1.0)


def is_product(expr: tree.Expr) -> bool:
    return isinstance(expr, tree.Binary) and expr.op == "*"
