"""How long a launch takes, as an expression over its sizes: by it a launch chooses among versions of a kernel.

In: a Kernel.  Out: an `IntExpr` over sizes, in half cycles of a core.
Invariant: depends on the kernel's loops and accesses alone.  A whole tile's work is counted whether its points are
inside of the limits or not: that is what tells a tile that fits the sizes at hand from one that does not.

Loops count exactly where their bounds are expressions over sizes, and at the middle of the range of outer ones
elsewhere.  Everything is taken to be near: versions touch the same memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comprehension.kernel import ir
from comprehension.kernel.joined import join_edges
from comprehension.kernel.simplify import linear, simplify, varies_with

VECTOR = 16  # lanes
STEP = 8  # the least that a tile takes: a sum waits for the step before
FUNCTION = 24  # per vector of a builtin
APART = 2  # per element that is no neighbour of the one before
LOOP, SCALAR = 4, 4

Known = Mapping[str, ir.IntExpr]


def effort(kernel: ir.Kernel) -> ir.IntExpr:
    """Half cycles of one launch on one core, were all data near."""
    counter = _Counter(frozenset(b.name for b in kernel.buffers if b.space is ir.Space.REGISTER))
    total: ir.IntExpr = ir.Int(0)
    for stage in join_edges(kernel).stages:
        body: Sequence[ir.Node] = stage.body
        if stage.parallel is not None:
            body = (
                ir.Loop(
                    stage.parallel.variable, stage.parallel.lower, stage.parallel.upper, stage.body, stage.parallel.step
                ),
            )
        total = ir.IntOp("+", total, counter.of(body, {}))
    return simplify(total)


@dataclass(frozen=True, slots=True)
class _Counter:
    registers: frozenset[str]

    def of(self, nodes: Sequence[ir.Node], known: Known) -> ir.IntExpr:
        total: ir.IntExpr = ir.Int(0)
        for node in nodes:
            total = ir.IntOp("+", total, self._node(node, known))
        return simplify(total)

    def _node(self, node: ir.Node, known: Known) -> ir.IntExpr:
        match node:
            case ir.Loop(variable, lower, upper, body, step):
                low, high = _at(lower, known), _at(upper, known)
                width = ir.IntOp("-", high, low)
                trips = ir.IntOp("max", _divided(width, step), ir.Int(0))
                middle = simplify(ir.IntOp("+", low, ir.IntOp("/", ir.IntOp("max", width, ir.Int(0)), ir.Int(2))))
                each = ir.IntOp("+", self.of(body, {**known, variable: middle}), ir.Int(LOOP))
                return ir.IntOp("*", trips, each)
            case ir.If(body=body):
                return self.of(body, known)
            case ir.Tile(body=body):
                return ir.Int(max(STEP, sum(_Points(node, self.registers).statement(part) for part in body)))
            case _:
                return ir.Int(SCALAR)


@dataclass(frozen=True, slots=True)
class _Points:
    """Counts for the statements of one tile: an operation costs by the axes along which its value varies."""

    tile: ir.Tile
    registers: frozenset[str]

    @property
    def _rows(self) -> int:
        return self.tile.rows.extent if self.tile.rows is not None else 1

    def statement(self, part: ir.Define | ir.Store) -> int:
        cost, *_ = self._value(part.value)
        if isinstance(part, ir.Define) or part.buffer in self.registers:
            return cost
        return cost + self._access(part.subscripts)

    def _value(self, value: ir.Value) -> tuple[int, bool, bool]:
        """What a value costs, and along which axes it varies."""
        if isinstance(value, ir.Load):
            near = value.buffer in self.registers
            return 0 if near else self._access(value.subscripts), *self._varies(value.subscripts)
        parts = [self._value(part) for part in _operands(value)]
        by_rows = any(part[1] for part in parts) or (self._varies(value)[0] and not parts)
        by_lanes = any(part[2] for part in parts) or (self._varies(value)[1] and not parts)
        each = FUNCTION if isinstance(value, ir.Builtin) else 1 if parts else 0
        return sum(part[0] for part in parts) + each * self._vectors(by_rows, by_lanes), by_rows, by_lanes

    def _vectors(self, by_rows: bool, by_lanes: bool) -> int:
        return (self._rows if by_rows else 1) * (-(-self.tile.lanes.extent // VECTOR) if by_lanes else 1)

    def _varies(self, node: object) -> tuple[bool, bool]:
        rows = self.tile.rows is not None and varies_with(node, self.tile.rows.variable)
        return rows, varies_with(node, self.tile.lanes.variable)

    def _access(self, subscripts: Sequence[ir.IntExpr]) -> int:
        """Vectors read or written; elements where lanes are no neighbours."""
        by_rows, by_lanes = self._varies(tuple(subscripts))
        if not by_lanes:
            return self._vectors(by_rows, by_lanes)
        lane = ir.Var(self.tile.lanes.variable)
        near = linear(subscripts[-1]).coefficient(lane) in (1, -1)
        if near and not varies_with(tuple(subscripts[:-1]), lane.name):
            return self._vectors(by_rows, by_lanes)
        return APART * (self._rows if by_rows else 1) * self.tile.lanes.extent


def _operands(value: ir.Value) -> tuple[ir.Value, ...]:
    match value:
        case ir.BinaryOp(left=left, right=right):
            return left, right
        case ir.Fma(a, b, c):
            return a, b, c
        case ir.SelectValue(condition, then, otherwise):
            return condition, then, otherwise
        case ir.Builtin(arguments=arguments):
            return arguments
        case ir.UnaryOp(operand=operand) | ir.Convert(operand=operand) | ir.Fold(value=operand):
            return (operand,)
        case _:
            return ()


def _divided(width: ir.IntExpr, step: int) -> ir.IntExpr:
    return width if step == 1 else ir.IntOp("/", ir.IntOp("+", width, ir.Int(step - 1)), ir.Int(step))


def _at(expr: ir.IntExpr, known: Known) -> ir.IntExpr:
    """An expression over sizes: outer loops stand in the middle of their range, what data decides counts as 1."""
    match expr:
        case ir.Var(name):
            return known.get(name, expr)
        case ir.IntOp(op, left, right):
            return ir.IntOp(op, _at(left, known), _at(right, known))
        case ir.IntSelect(_, then, _):
            return _at(then, known)
        case ir.FromValue():
            return ir.Int(1)
        case _:
            return expr
