"""Values as source text: one printer for scalar statements and for tile statements.

In: `Value`s.  Out: `Expr`s, typed exactly as the IR says.
Invariant (DESIGN "Numerics"): literals are typed, integers are cast back after each operation (numba widens
them), float16 is float32 rounded after each operation, only the chosen side of a selection reads memory.
In a tile, values that do not vary along an axis stay narrow; broadcasting is the operations' business.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np

from comprehension.codegen.function import NUMPY, CodegenError, Expr, Function, varying
from comprehension.codegen.index_text import index_text
from comprehension.codegen.subscript import (
    expression_of,
    offset_of,
    polynomial,
    simplified,
    step_along,
    strides_of,
    substitute,
    variables,
)
from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.lang.types import ScalarType

_FOLD_NAMES = {"+": "sum", "*": "product", "min": "min", "max": "max"}
_NATIVE = (ScalarType.INT64, ScalarType.FLOAT32, ScalarType.FLOAT64, ScalarType.BOOL)  # numba keeps their type
SPREADS = {(True, True): "spread", (True, False): "spread_rows", (False, True): "spread_lanes"}
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


@dataclass(frozen=True, slots=True)
class TileContext:
    """The tile whose statements are being printed: its axes and the name of its region."""

    node: ir.Tile
    region: str
    starts: dict[str, ir.IntExpr]

    @property
    def rows(self) -> str | None:
        return self.node.rows.variable if self.node.rows else None

    @property
    def lanes(self) -> str:
        return self.node.lanes.variable

    @property
    def is_limited(self) -> bool:
        return self.node.lanes.limit is not None or (self.node.rows is not None and self.node.rows.limit is not None)


def reads_memory(value: ir.Value) -> bool:
    """Whether evaluating the value reads any buffer."""
    return any(True for _ in nodes_of(value, ir.Load))


class Printer:
    """Prints values inside one function, and inside one tile where `tile` is given."""

    def __init__(self, function: Function, tile: TileContext | None = None) -> None:
        self.function, self.tile = function, tile
        self._ramps: dict[str, Expr] = {}
        self._guard: Expr | None = None

    # --- indices -------------------------------------------------------------------------------------

    def variable(self, name: str) -> Expr:
        """A variable as int64; a tile axis is a ramp, named at its first use."""
        if self.tile is None or name not in self.tile.starts:
            return Expr(self.function.variable(name))
        if name not in self._ramps:
            by_rows = name == self.tile.rows
            start = index_text(self, self.tile.starts[name]).text
            steps = "1, 0" if by_rows else "0, 1"
            text = self.function.variable(name)
            self.function.line(f"{text} = {self.function.use('ramp')}({self.tile.region}, {start}, {steps})")
            self._ramps[name] = Expr(text, by_rows, not by_rows)
        return self._ramps[name]

    def index(self, expression: ir.IntExpr) -> Expr:
        return index_text(self, simplified(expression))

    def offset(self, buffer: ir.Buffer, subscripts: Sequence[ir.IntExpr]) -> ir.IntExpr:
        """Where an element stands in its buffer's memory.

        Strides that sizes are multiplied for have names: written out, an offset of five axes has dozens of products,
        and numba takes its time for each.
        """
        return offset_of(buffer, subscripts, [self._stride(buffer, stride) for stride in strides_of(buffer)])

    def _stride(self, buffer: ir.Buffer, stride: ir.IntExpr) -> ir.IntExpr:
        if sum(1 for _ in nodes_of(stride, ir.Var)) < 2:
            return stride
        return ir.Var(self.function.stride(self.function.scope.name(buffer.name, "buffer"), self._head(stride)))

    def _head(self, expression: ir.IntExpr) -> str:
        """The text of an expression over sizes."""
        return index_text(Printer(self.function), expression).text

    def steps(self, expression: ir.IntExpr) -> tuple[ir.IntExpr, ir.IntExpr, ir.IntExpr] | None:
        """(value at the tile's first point, step along rows, step along lanes), or None if not regular."""
        if self.tile is None:
            return expression, ir.Int(0), ir.Int(0)
        if self._has_varying_local(expression) or self._is_read_by_point(expression):
            return None
        by_rows = ir.Int(0) if self.tile.rows is None else step_along(expression, self.tile.rows)
        by_lanes = step_along(expression, self.tile.lanes)
        if by_rows is None or by_lanes is None:
            return None
        axes = set(self.tile.starts)
        if axes & (variables(by_rows) | variables(by_lanes)):
            return None
        return simplified(substitute(expression, self.tile.starts)), by_rows, by_lanes

    def _has_varying_local(self, expression: ir.IntExpr) -> bool:
        """Whether a subscript comes from a value that was defined for each point of this tile."""
        names = [node.name for node in nodes_of(expression, ir.Local)]
        return any(not self.function.locals[name].is_scalar for name in names)

    def _is_read_by_point(self, expression: ir.IntExpr) -> bool:
        """Whether a subscript comes from memory that some points of this tile must not read."""
        guard = self._guard
        return guard is not None and not guard.is_scalar and any(True for _ in nodes_of(expression, ir.Load))

    # --- values -----------------------------------------------------------------------------------------

    def value(self, value: ir.Value) -> Expr:
        match value:
            case ir.Const(number, dtype):
                return Expr(literal_text(number, dtype))
            case ir.Load():
                return self._load(value)
            case ir.Local(name):
                return self.function.locals[name]
            case ir.ScalarArg(name):
                return Expr(self.function.scalar(name))
            case ir.IndexValue(index, dtype):
                return self._index_value(index, dtype)
            case ir.UnaryOp(op, operand, dtype):
                return self._unary(op, self.value(operand), dtype)
            case ir.BinaryOp():
                return self._binary(value)
            case ir.Fma(a, b, c, dtype):
                return self._called("fma", [self.value(v) for v in (a, b, c)], dtype)
            case ir.SelectValue():
                return self._select(value)
            case ir.Convert(operand, dtype):
                return self._convert(operand, dtype)
            case ir.Builtin(function, arguments, dtype):
                return self._builtin(function, arguments, dtype)
            case ir.Fold():
                return self._fold(value)
            case _:
                assert_never(value)

    def _rounded(self, found: Expr, dtype: ScalarType) -> Expr:
        """Back to `dtype` where numba's arithmetic leaves it."""
        if dtype is ScalarType.FLOAT16:
            return varying(f"{self.function.use('half')}({found.text})", found)
        if found.is_scalar and dtype not in _NATIVE:
            return varying(f"{NUMPY[dtype]}({found.text})", found)
        return found

    def _called(self, name: str, arguments: list[Expr], dtype: ScalarType) -> Expr:
        text = f"{self.function.use(name)}({', '.join(a.text for a in arguments)})"
        found = varying(text, *arguments)
        return self._rounded(found, dtype) if dtype is ScalarType.FLOAT16 else found

    def _unary(self, op: str, operand: Expr, dtype: ScalarType) -> Expr:
        if op == "!":
            return self._called("logical_not", [operand], dtype)
        return self._rounded(varying(f"(-{operand.text})", operand), dtype)

    def _binary(self, value: ir.BinaryOp) -> Expr:
        if value.op == "+" and (added := self._neighbours(value)) is not None:
            return added
        left, right = self.value(value.left), self.value(value.right)
        operand_type = value.left.dtype
        match value.op:
            case "min" | "max":
                return self._called(value.op + "imum", [left, right], value.dtype)
            case "/" if not operand_type.is_float:
                return self._called("floor_div", [left, right], value.dtype)
            case "/" if left.by_lanes and not right.by_lanes and self._multiplies_instead(value.right):
                return self._called("quotient", [left, right], value.dtype)
            case "%":
                return self._called("floor_mod", [left, right], value.dtype)
            case "&&" | "||":
                word = "&" if value.op == "&&" else "|"
                return varying(f"({left.text} {word} {right.text})", left, right)
            case op:
                found = varying(f"({left.text} {op} {right.text})", left, right)
                return found if op in _COMPARISONS else self._rounded(found, value.dtype)

    def _multiplies_instead(self, divisor: ir.Value) -> bool:
        """Whether division by one value for all lanes is better done by multiply-adds (`codegen.quotient`)."""
        wide = self.function.vector_bits >= 512 and divisor.dtype in (ScalarType.FLOAT32, ScalarType.FLOAT64)
        return wide and not _is_power_of_two(divisor)

    def _index_value(self, index: ir.IntExpr, dtype: ScalarType) -> Expr:
        regular = self.steps(index)
        if regular is None or all(step == ir.Int(0) for step in regular[1:]):
            found = self.index(index)
        else:
            assert self.tile is not None
            start, by_rows, by_lanes = (self.index(part).text for part in regular)
            text = f"{self.function.use('ramp')}({self.tile.region}, {start}, {by_rows}, {by_lanes})"
            found = Expr(text, by_rows != "0", by_lanes != "0")
        return varying(f"{self.function.use('convert')}({found.text}, {NUMPY[dtype]})", found)

    def _convert(self, operand: ir.Value, dtype: ScalarType) -> Expr:
        found, source = self.value(operand), operand.dtype
        if source is dtype:
            return found
        if dtype is ScalarType.FLOAT16:
            if not source.is_float:
                found = varying(f"{self.function.use('convert')}({found.text}, np.float32)", found)
            return varying(f"{self.function.use('half')}({found.text})", found)
        if source is ScalarType.FLOAT16 and dtype is ScalarType.FLOAT32:
            return found
        return varying(f"{self.function.use('convert')}({found.text}, {NUMPY[dtype]})", found)

    def _builtin(self, name: str, arguments: tuple[ir.Value, ...], dtype: ScalarType) -> Expr:
        parts = [self.value(argument) for argument in arguments]
        if name in ("min", "max"):
            return self._called(name + "imum", parts, dtype)
        text = f"{self.function.builtin(name)}({', '.join(p.text for p in parts)})"
        found = varying(text, *parts)
        return self._rounded(found, dtype) if dtype is ScalarType.FLOAT16 else found

    def _fold(self, fold: ir.Fold) -> Expr:
        if self.tile is None or fold.axis not in self.tile.starts:
            raise CodegenError(f"a fold along {fold.axis!r} outside a tile with that axis")
        window = self._window(fold)
        if window is not None:
            return window
        found = self.value(fold.value)
        axis = "rows" if fold.axis == self.tile.rows else "lanes"
        text = f"{self.function.use(f'{_FOLD_NAMES[fold.op]}_{axis}')}({self.tile.region}, {found.text})"
        folded = Expr(text, found.by_rows and axis != "rows", found.by_lanes and axis != "lanes")
        return self._rounded(folded, fold.dtype) if fold.dtype is ScalarType.FLOAT16 else folded

    def _window(self, fold: ir.Fold) -> Expr | None:
        """A fold over neighbours of which the next lane has all but one, by an operator that may take one twice."""
        assert self.tile is not None
        load, rows = fold.value, self.tile.node.rows
        if fold.op not in ("min", "max") or not isinstance(load, ir.Load) or self._guard is not None or rows is None:
            return None
        buffer = self.function.kernel.buffer(load.buffer)
        if buffer.space is ir.Space.REGISTER or fold.axis != self.tile.rows or rows.limit is not None:
            return None
        regular = self.steps(self.offset(buffer, load.subscripts))
        if regular is None or regular[1:] != (ir.Int(1), ir.Int(1)):
            return None
        arguments = f"{self.tile.region}, {self.function.buffer(load.buffer)}, {self.index(regular[0]).text}"
        return Expr(f"{self.function.use(f'{fold.op}_window')}({arguments})", False, True)

    # --- selection --------------------------------------------------------------------------------------------

    def _select(self, value: ir.SelectValue) -> Expr:
        condition = self.value(value.condition)
        if not (reads_memory(value.then) or reads_memory(value.otherwise)):
            parts = [condition, self.value(value.then), self.value(value.otherwise)]
            return varying(f"{self.function.use('select')}({', '.join(p.text for p in parts)})", *parts)
        if self.tile is None:
            then, otherwise = self.value(value.then), self.value(value.otherwise)
            return Expr(f"({then.text} if {condition.text} else {otherwise.text})")
        chosen = self.named("chosen", condition)
        then = self._guarded(chosen, value.then)
        inverse = varying(f"{self.function.use('logical_not')}({chosen.text})", chosen)
        otherwise = self._guarded(inverse, value.otherwise)
        text = f"{self.function.use('select')}({chosen.text}, {then.text}, {otherwise.text})"
        return varying(text, chosen, then, otherwise)

    def named(self, wish: str, found: Expr) -> Expr:
        """Gives a value a name on a line of its own."""
        name = self.function.scope.fresh(wish)
        self.function.line(f"{name} = {found.text}")
        return Expr(name, found.by_rows, found.by_lanes)

    def _guarded(self, condition: Expr, value: ir.Value) -> Expr:
        """A value whose reads happen only where the condition holds."""
        if not reads_memory(value):
            return self.value(value)
        with self.guarding(condition):
            return self.value(value)

    @contextmanager
    def guarding(self, condition: Expr) -> Iterator[None]:
        """Loads inside happen only where the condition holds, too."""
        outer = self._guard
        if outer is not None:
            condition = varying(f"({outer.text} & {condition.text})", outer, condition)
        self._guard = condition
        yield
        self._guard = outer

    # --- memory ---------------------------------------------------------------------------------------------------

    def _load(self, load: ir.Load) -> Expr:
        buffer = self.function.kernel.buffer(load.buffer)
        if buffer.space is ir.Space.REGISTER:
            return self.register_value(buffer, load.subscripts)
        offset, name = self.offset(buffer, load.subscripts), self.function.buffer(load.buffer)
        if self.tile is None:
            return Expr(f"{name}[{self.index(offset).text}]")
        return self._tile_load(name, offset, load)

    def _tile_load(self, name: str, offset: ir.IntExpr, load: ir.Load) -> Expr:
        assert self.tile is not None
        guard = self._guard or Expr("")
        arguments = [self.tile.region] + ([guard.text] if guard.text else []) + [name]
        suffix = "_where" if guard.text else ""
        regular = self.steps(offset)
        if regular is None:
            if not guard.text and (cycle := self._cycle(offset)) is not None:
                return self._call_of_cycle(name, *cycle)
            found = self.index(offset)
            text = f"{self.function.use('gather' + suffix)}({', '.join([*arguments, found.text])})"
            return varying(text, found, guard)
        start, by_rows, by_lanes = (self.index(part).text for part in regular)
        if by_rows == by_lanes == "0" and not guard.text and not self.tile.is_limited:
            return Expr(f"{name}[{start}]")
        if load.ahead and not guard.text and by_lanes == "1":
            self._ask_ahead(f"{name}, {start}, {by_rows}", load)
        if self._slides(regular):
            start = f"{self.function.use('afresh')}({start})"
        text = f"{self.function.use('load' + suffix)}({', '.join([*arguments, start, by_rows, by_lanes])})"
        return Expr(text, by_rows != "0" or guard.by_rows, by_lanes != "0" or guard.by_lanes)

    def _cycle(self, offset: ir.IntExpr) -> tuple[tuple[ir.IntExpr, ir.IntExpr], int] | None:
        """(first element, step along rows) and the length of a cycle that the lanes go round in memory."""
        assert self.tile is not None
        lanes, terms = self.tile.node.lanes, polynomial(offset)
        for monomial, factor in terms.items():
            match monomial:
                case (ir.IntOp("%", ir.Var(name), ir.Int(length)),) if name == lanes.variable and factor == 1:
                    rest = self.steps(expression_of({m: f for m, f in terms.items() if m != monomial}))
                    whole = lanes.start == ir.Int(0) and lanes.limit is None and length in (2, 4, 8)
                    if rest is None or rest[2] != ir.Int(0) or not whole or lanes.extent % length:
                        return None
                    return rest[:2], length
        return None

    def _call_of_cycle(self, name: str, place: tuple[ir.IntExpr, ir.IntExpr], length: int) -> Expr:
        assert self.tile is not None
        start, by_rows = (self.index(part).text for part in place)
        text = f"{self.function.use('load_cycle')}({self.tile.region}, {name}, {start}, {by_rows}, {length})"
        return Expr(text, by_rows != "0", True)

    def _ask_ahead(self, place: str, load: ir.Load) -> None:
        assert self.tile is not None
        region, distance = self.tile.region, ir.Int(load.ahead) if isinstance(load.ahead, int) else load.ahead
        if load.ahead_lanes is not None:
            first, end = load.ahead_lanes
            region, distance = self.function.scope.fresh("t"), simplified(ir.IntOp("+", distance, ir.Int(first)))
            rows = self.tile.node.rows.extent if self.tile.node.rows else 1
            self.function.line(f"{region} = {self.function.use('tile')}({rows}, {end - first})")
        self.function.line(f"{self.function.use('ahead')}({region}, {place}, {self.index(distance).text})")

    def moved(self, store: ir.Store) -> str | None:
        """The arguments of `move` where a whole tile is copied and turned round on the way, None elsewhere."""
        load, tile = store.value, self.tile
        if not isinstance(load, ir.Load) or tile is None or tile.is_limited or store.buffer == load.buffer:
            return None
        if load.ahead:
            return None
        target, source = (self.function.kernel.buffer(name) for name in (store.buffer, load.buffer))
        if self._guard is not None or ir.Space.REGISTER in (target.space, source.space):
            return None
        to, come = self.steps(self.offset(target, store.subscripts)), self.steps(self.offset(source, load.subscripts))
        if to is None or come is None or ir.Int(0) in (*to[1:], *come[1:]):
            return None
        if not (_is_turned(come) or (_is_turned(to) and come[2] == ir.Int(1))):
            return None
        arguments = [tile.region]
        for name, steps in ((store.buffer, to), (load.buffer, come)):
            arguments += [self.function.buffer(name), *(self.index(part).text for part in steps)]
        return ", ".join(arguments)

    def _slides(self, regular: tuple[ir.IntExpr, ir.IntExpr, ir.IntExpr]) -> bool:
        """Whether a loop moves this row-varying read by one row, in a tile with no registers to spare for it."""
        start, by_rows, by_lanes = regular
        assert self.tile is not None
        node = self.tile.node
        if node.rows is None or by_rows == ir.Int(0) or by_lanes != ir.Int(0):
            return False
        vectors = -(-node.lanes.extent * 32 // self.function.vector_bits)
        if node.rows.extent * (vectors + 1) < self.function.vector_registers - 2:
            return False
        return any(by_rows == step_along(start, name) for name in sorted(variables(start)))

    def register_value(self, buffer: ir.Buffer, subscripts: tuple[ir.IntExpr, ...]) -> Expr:
        """The variable as a value; one that no line above has assigned gets a value at the head of the function."""
        target, function = self.register(buffer, subscripts), self.function
        if target.text not in function.assigned:
            function.assigned.add(target.text)
            zero = literal_text(0, buffer.dtype)
            if not target.is_scalar:
                assert self.tile is not None
                rows = self.tile.node.rows.extent if self.tile.node.rows else 1
                region = f"{function.use('tile')}({rows}, {self.tile.node.lanes.extent})"
                zero = f"{function.use(SPREADS[target.by_rows, target.by_lanes])}({region}, {zero})"
            function.presets.append(f"{target.text} = {zero}")
        return target

    def _neighbours(self, value: ir.BinaryOp) -> Expr | None:
        """The sum, by halves, of all elements of a register tile that belong to a lane: 4 l, 4 l + 1, ... + 3."""
        loads = _halves(value)
        if self.tile is None or loads is None or len({(load.buffer, load.subscripts[:-1]) for load in loads}) > 1:
            return None
        buffer, lane = self.function.kernel.buffer(loads[0].buffer), ir.Var(self.tile.lanes)
        first = ir.IntOp("*", lane, ir.Int(len(loads)))
        wanted = [simplified(ir.IntOp("+", first, ir.Int(number))) for number in range(len(loads))]
        if buffer.space is not ir.Space.REGISTER or [simplified(load.subscripts[-1]) for load in loads] != wanted:
            return None
        whole = self.register_value(buffer, (*loads[0].subscripts[:-1], lane))
        text = f"{self.function.use('sum_neighbours')}({self.tile.region}, {whole.text}, {len(loads)})"
        return Expr(text, whole.by_rows, True)

    def register(self, buffer: ir.Buffer, subscripts: tuple[ir.IntExpr, ...]) -> Expr:
        """The variable that holds a register buffer (or one plane of it, where a subscript is constant)."""
        axes, planes = set(), []
        for subscript in subscripts:
            axis = self._axis_of(subscript)
            if axis is None:
                constant = simplified(subscript)
                if not isinstance(constant, ir.Int):
                    raise CodegenError(
                        f"register buffer {buffer.name!r} is indexed by {subscript}, neither a tile axis nor a constant"
                    )
                planes.append(str(constant.value))
            else:
                axes.add(axis)
        key = "_".join([buffer.name, *(planes if axes or any(p != "0" for p in planes) else [])])
        name = self.function.scope.name(key, "register")
        rows = self.tile.rows if self.tile else None
        lanes = self.tile.lanes if self.tile else None
        return Expr(name, rows is not None and rows in axes, lanes is not None and lanes in axes)

    def _axis_of(self, subscript: ir.IntExpr) -> str | None:
        """The tile axis that a subscript counts from that axis' start."""
        if self.tile is None:
            return None
        for axis, start in self.tile.starts.items():
            if simplified(ir.IntOp("-", subscript, ir.IntOp("-", ir.Var(axis), start))) == ir.Int(0):
                return axis
        return None


def _is_turned(steps: tuple[ir.IntExpr, ir.IntExpr, ir.IntExpr]) -> bool:
    """Whether a tile's rows lie side by side in memory, its lanes apart."""
    return steps[1] == ir.Int(1) and steps[2] not in (ir.Int(0), ir.Int(1), ir.Int(-1))


def _halves(value: ir.Value) -> list[ir.Load] | None:
    """The loads that are added by halves, as many on one side as on the other; None where it is no such sum."""
    match value:
        case ir.Load():
            return [value]
        case ir.BinaryOp(op="+", left=left, right=right):
            first, second = _halves(left), _halves(right)
            alike = first is not None and second is not None and len(first) == len(second)
            return [*first, *second] if first is not None and second is not None and alike else None
        case _:
            return None


def _is_power_of_two(value: ir.Value) -> bool:
    """A constant whose reciprocal is exact: LLVM multiplies by it without being told."""
    match value:
        case ir.Convert(operand=operand):
            return _is_power_of_two(operand)
        case ir.Const(value=number) | ir.IndexValue(index=ir.Int(value=number)):
            return number != 0 and math.isfinite(number) and abs(math.frexp(number)[0]) == 0.5
        case _:
            return False


def literal_text(number: Any, dtype: ScalarType) -> str:
    """A typed literal.

    >>> literal_text(2.0, ScalarType.FLOAT32), literal_text(-3, ScalarType.INT8), literal_text(7, ScalarType.INT64)
    ('np.float32(2.0)', 'np.int8(-3)', 'np.int64(7)')
    """
    if dtype is ScalarType.BOOL:
        return str(bool(number))
    if not dtype.is_float:
        return f"{NUMPY[dtype]}({int(number)})"
    with np.errstate(over="ignore"):
        held = float(dtype.numpy.type(number))
    name = "np.float64" if dtype is ScalarType.FLOAT64 else "np.float32"
    if math.isnan(held):
        return f"{name}(np.nan)"
    if math.isinf(held):
        return f"{name}({'-' if held < 0 else ''}np.inf)"
    text = str(dtype.numpy.type(number)) if dtype is ScalarType.FLOAT32 else repr(held)
    return f"{name}({text})"
