"""Cycles of a register tile: what one step of its reduction, its first and last touch and its packing cost.

In: a statement, which of its indices are rows and lanes, and how many.  Out: estimated cycles of one core.
Invariant: depends on strides, extents and the operators of the statement, not on what they are called: an
operator costs by the axes along which its value varies.

Figures are throughputs seen on an AVX-512 core with one wide multiply-add a cycle; they rank choices, they do
not predict times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd, prod

from comprehension.lang import tree
from comprehension.machine import Machine
from comprehension.poly.access import AccessPattern, AccessPatterns
from comprehension.poly.extents import Extents
from comprehension.poly.scop import Scop, ScopRole

LOAD = 0.5  # a vector, or an element broadcast to one
NARROW = 0.6  # an operation on half a vector or less, beside one on a whole vector
GATHERED = 4.0  # an element of a strided vector: a line of its own
SCATTERED = 2.5
TRANSPOSED = 3.0  # a vector of a tile that is contiguous along rows
MASKED = 4.0  # a choice that varies along rows and lanes, beside plain arithmetic
ASIDE = 0.15  # an operation on rows or lanes only: done beside the multiply-adds, or outside of the loop
FUNCTION = 12.0  # a polynomial
LINE = 16  # elements of a cache line (float32)
NEAR_LINE, FAR_LINE = 0.5, 1.0  # a line fetched in sequence, or out of it
PAGE, WAYS = 4096, 8  # addresses this far apart share a set of the first cache, which holds so many lines
CONFLICT = 1.0  # an element whose line other rows have pushed out
COPIED = 0.5  # an element packed from contiguous memory to contiguous memory
TURNED = 6.0  # one run of contiguous elements that is transposed on the way, beside its elements


@dataclass(frozen=True, slots=True)
class Varying:
    """Cycles of arithmetic and of loads that a value takes, and the axes along which it varies."""

    cycles: float
    by_rows: bool = False
    by_lanes: bool = False
    loads: float = 0.0


@dataclass(slots=True)
class TileCost:
    """One statement in a tile of `rows` × `lanes`; `packed` are the accesses that read panels."""

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

    def step(self) -> float:
        """Cycles of one instance of the statement for the whole tile."""
        statement = self.scop.statement(self.statement)
        if statement.role is ScopRole.INIT:
            return self._operation(by_rows=True, by_lanes=True)
        source = statement.source
        reads = iter(self.patterns.of(self.statement)[1:])
        values = [self._value(expr, reads) for expr in (*(let.value for let in source.lets), source.value)]
        arithmetic, loads = sum(v.cycles for v in values), sum(v.loads for v in values)
        if statement.role is ScopRole.UPDATE and not _is_product(source.value):  # a product joins the sum
            arithmetic += self._operation(by_rows=True, by_lanes=True)
        return max(arithmetic, loads, 1.0)  # they run side by side

    def store(self) -> float:
        """Cycles of writing the tile to memory."""
        write = self.patterns.of(self.statement)[0]
        return self._memory(write, SCATTERED)

    def row_fetches(self, read: AccessPattern, reduced: Sequence[int], steps: int) -> float:
        """Cycles of bringing the lines of an unpacked row operand near, for one run through the reduction."""
        lines, last = self._lines(read, reduced)
        apart = abs(read.strides[self.row_dim] or 0)
        together = max(1, LINE // apart) if apart else self.rows
        total = lines * max(1.0, self.rows / together) * (NEAR_LINE if last >= 2 * LINE else FAR_LINE)
        size = self.scop.program.tensor(read.tensor).dtype.bits // 8
        if apart and self.rows > self._rows_that_fit(apart * size):
            total += CONFLICT * self.rows * steps
        return total

    def lane_fetches(self, read: AccessPattern, reduced: Sequence[int], reuses: int) -> float:
        """The same for an unpacked lane operand that `reuses` row tiles use in turn."""
        steps = prod(max(1, self.extents.extent(self.statement, d)) for d in reduced if read.depends_on(d))
        lines = steps * max(1, self.lanes // LINE)
        size = self.scop.program.tensor(read.tensor).dtype.bits // 8
        apart = min((abs(read.strides[d] or 0) for d in reduced if read.depends_on(d)), default=0) * size
        if lines * LINE * size <= self.machine.l1_bytes // 2 and apart % PAGE:
            return NEAR_LINE * lines / reuses
        return lines * (FAR_LINE if apart < PAGE else 4.0 * FAR_LINE)

    def _lines(self, read: AccessPattern, dims: Sequence[int]) -> tuple[int, int]:
        """Cache lines that one row touches while `dims` move, and how long the runs along the last axis are."""
        if not read.subscripts:
            return 1, 1
        others = (axis for axis in range(len(read.subscripts)) if axis != read.innermost)
        per_row = prod(self._span(read, axis, dims) for axis in others)
        last = self._span(read, read.innermost, dims)
        return per_row * -(-last // LINE), last

    def _rows_that_fit(self, stride: int) -> int:
        """How many lines, `stride` bytes apart, the first cache holds at once."""
        return max(1, PAGE // gcd(stride, PAGE)) * WAYS

    def packing(self, read: AccessPattern, dim: int, count: int, inside: Sequence[int]) -> float:
        """Cycles of copying panels for `count` values of index `dim` and all values of the indices `inside`."""
        axes = [axis for axis, row in enumerate(read.subscripts) if row[dim] == 0]
        elements = count * prod(self._span(read, axis, inside) for axis in axes)
        if read.strides[dim] in (1, -1):
            return elements * COPIED
        run = self._span(read, read.innermost, inside)
        return elements * (COPIED + TURNED / run)

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
        if read.number in self.packed:
            return Varying(0.0, by_rows, by_lanes, LOAD * (self.rows if by_rows else self._vectors))
        if by_lanes:
            loads = self._memory(read, GATHERED) if by_rows else self._lane_load(read)
        else:
            loads = LOAD * self.rows if by_rows else LOAD
        return Varying(0.0, by_rows, by_lanes, loads)

    def _lane_load(self, read: AccessPattern) -> float:
        return LOAD * self._vectors if read.strides[self.lane_dim] in (1, -1) else GATHERED * self.lanes

    def _memory(self, pattern: AccessPattern, each: float) -> float:
        """A whole tile between registers and memory."""
        if pattern.strides[self.lane_dim] in (1, -1):
            return self.rows * self._vectors
        if pattern.strides[self.row_dim] == 1:
            return TRANSPOSED * self.rows * self._vectors
        return each * self.rows * self.lanes

    @property
    def _vectors(self) -> float:
        """Vectors along the lanes; a narrow one costs less than a whole."""
        width = self.machine.lanes(32)
        return NARROW if 2 * self.lanes <= width else -(-self.lanes // width)

    def _operation(self, *, by_rows: bool, by_lanes: bool) -> float:
        if by_rows and by_lanes:
            return self.rows * self._vectors
        return ASIDE * (self._vectors if by_lanes else self.rows if by_rows else 1.0)


def _is_product(expr: tree.Expr) -> bool:
    return isinstance(expr, tree.Binary) and expr.op == "*"
