"""The verifier of KernelIR: what every kernel must satisfy, whichever pass made it.

In: a Kernel.  Out: nothing, or one `KernelError` that lists everything that is wrong, each with its place.
Invariant: reads only; never stops at the first fault.  What needs isl (bounds, order, coverage) is the
certificate's business, not this one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from comprehension.errors import ComprehensionError
from comprehension.kernel import ir
from comprehension.kernel.large_sizes import unmarked
from comprehension.kernel.printer import index_text, node_lines, value_text
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.simplify import bounds_of, linear
from comprehension.lang.builtins import BUILTINS
from comprehension.lang.types import ScalarType

_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
_MAPPINGS = frozenset(f"{level}.{dimension}" for level in ("block", "thread") for dimension in "xyz")
_MAX_TILE = 4096  # points; a tile is held in registers


class KernelError(ComprehensionError):
    """A malformed kernel: a bug of the pass that made it."""


def verify_kernel(kernel: ir.Kernel) -> None:
    """Raises KernelError if names, types, ranks, tiles or roles are inconsistent."""
    faults: list[str] = []
    _check_names(kernel, faults)
    for buffer in kernel.buffers:
        _check_buffer(kernel, buffer, faults)
    for stage in kernel.stages:
        _check_stage(kernel, stage, faults)
    if faults:
        raise KernelError(f"kernel {kernel.name!r} is malformed:\n  " + "\n  ".join(faults))


def _check_names(kernel: ir.Kernel, faults: list[str]) -> None:
    seen: set[str] = set()
    names = [*kernel.sizes, *(n for n, _ in kernel.scalars), *(b.name for b in kernel.buffers)]
    for name in names:
        if name in seen:
            faults.append(f"the name {name!r} is declared twice")
        seen.add(name)
    stages = [stage.name for stage in kernel.stages]
    for name in sorted({n for n in stages if stages.count(n) > 1}):
        faults.append(f"two stages are called {name!r}")


def _check_buffer(kernel: ir.Kernel, buffer: ir.Buffer, faults: list[str]) -> None:
    where = f"buffer {buffer.name}"
    known = frozenset(kernel.sizes) | {n for n, dtype in kernel.scalars if dtype.is_integer}
    checker = Checker(kernel, faults, where, frozenset(known))
    for extent in buffer.shape:
        checker.index(extent)
        if buffer.space is ir.Space.REGISTER and not isinstance(extent, ir.Int):
            faults.append(f"{where}: a {buffer.space.value} buffer has a constant shape, not {index_text(extent)}")
    if buffer.strides is not None and len(buffer.strides) != len(buffer.shape):
        faults.append(f"{where}: {len(buffer.strides)} strides for {len(buffer.shape)} dimensions")
    for axis, stride in enumerate(buffer.strides or ()):
        if stride != ir.stride_variable(buffer.name, axis):
            checker.index(stride)
    # A temporary that lives in local buffers alone has no buffer of its own: what stands for it may be all there is.
    for tensor in kernel.buffers:
        if tensor.name == buffer.promoted_from and tensor.dtype is not buffer.dtype:
            faults.append(f"{where}: {buffer.dtype} stands for {tensor.name!r}, which is {tensor.dtype}")


def _check_stage(kernel: ir.Kernel, stage: ir.Stage, faults: list[str]) -> None:
    known = frozenset(kernel.sizes) | {n for n, dtype in kernel.scalars if dtype.is_integer}
    checker = Checker(kernel, faults, f"stage {stage.name}", frozenset(known))
    if stage.grain < 1:
        faults.append(f"stage {stage.name}: grain {stage.grain} is not positive")
    if stage.parallel is not None:
        if stage.parallel.body:
            faults.append(f"stage {stage.name}: its parallel loop has a body of its own")
        checker.loop(stage.parallel)
        checker = checker.inside(stage.parallel.variable)
    checker.body(stage.body)
    if stage.beyond is not None and unmarked(stage.beyond.body) != unmarked(stage.body):
        faults.append(f"stage {stage.name}: its body for large sizes does something else")


@dataclass(frozen=True, slots=True)
class Checker:
    """What is known at one place of a stage: variables, locals, and the axes of the tile around it."""

    kernel: ir.Kernel
    faults: list[str]
    where: str
    variables: frozenset[str]
    axes: frozenset[str] = frozenset()
    locals: dict[str, ScalarType] = field(default_factory=dict)
    divided: frozenset[str] = frozenset()  # dimensions of blocks and threads that divide loops around it

    def fault(self, message: str) -> None:
        self.faults.append(f"{self.where}: {message}")

    def inside(self, *variables: str) -> Checker:
        for variable in variables:
            if variable in self.variables:
                self.fault(f"variable {variable!r} hides another of that name")
        return replace(self, variables=self.variables | set(variables), locals=dict(self.locals))

    # --- statements ---------------------------------------------------------------------------------

    def body(self, body: Sequence[ir.Node]) -> None:
        for node in body:
            here = replace(self, where=f"{self.where}, {_head(node)}")
            here.node(node)

    def node(self, node: ir.Node) -> None:
        match node:
            case ir.Define(name, value):
                self.value(value)
                self.locals[name] = value.dtype
            case ir.Store():
                self.store(node)
            case ir.Loop():
                self.loop(node)
                own = frozenset() if node.mapping is None else frozenset({node.mapping})
                inside = replace(self.inside(node.variable), divided=self.divided | own)
                for ask in node.asks:
                    inside.ask(ask)
                inside.body(node.body)
            case ir.If(condition, body):
                self.condition(condition)
                replace(self, locals=dict(self.locals)).body(body)
            case ir.Tile():
                self.tile(node)
            case ir.Barrier():
                for mapping in sorted(m for m in self.divided if m.startswith("thread.")):
                    self.fault(f"a barrier in a loop that {mapping} divides: not all threads come to it")
            case _:
                assert_never(node)

    def loop(self, loop: ir.Loop) -> None:
        self.index(loop.lower)
        self.index(loop.upper)
        if loop.step < 1 or loop.unroll < 1:
            self.fault(f"step {loop.step} and unroll {loop.unroll} must be positive")
        if loop.mapping is not None and loop.mapping not in _MAPPINGS:
            self.fault(f"{loop.mapping!r} is no dimension of blocks or threads")
        if loop.mapping in self.divided:
            self.fault(f"{loop.mapping} divides two loops, one in the other")

    def ask(self, ask: ir.Ask) -> None:
        self.index(ask.first)
        if ask.elements < 1 or ask.rows < 1:
            self.fault(f"{ask.elements} elements of {ask.rows} rows of {ask.buffer!r} are asked for")
        if all(buffer.name != ask.buffer for buffer in self.kernel.buffers):
            self.fault(f"there is no buffer {ask.buffer!r}")
        for load in nodes_of(ask.first, ir.Load):
            self.within(load)

    def within(self, load: ir.Load) -> None:
        """No part of the proof, so a load that says what to ask for must be in bounds whatever the loops do."""
        buffer = next((b for b in self.kernel.buffers if b.name == load.buffer), None)
        for subscript, extent in zip(load.subscripts, buffer.shape if buffer else (), strict=False):
            low, high = bounds_of(linear(subscript), {})
            if not isinstance(extent, ir.Int) or low is None or low < 0 or high is None or high >= extent.value:
                self.fault(f"{load.buffer!r} may be read out of bounds: {index_text(subscript)}")

    def tile(self, tile: ir.Tile) -> None:
        axes = [axis for axis in (tile.rows, tile.lanes) if axis is not None]
        points = 1
        for axis in axes:
            points *= axis.extent
            self.index(axis.start)
            if axis.limit is not None:
                self.index(axis.limit)
            if axis.extent < 1:
                self.fault(f"axis {axis.variable!r} has extent {axis.extent}")
        if points > _MAX_TILE:
            self.fault(f"a tile of {points} points; at most {_MAX_TILE} are held in registers")
        names = [axis.variable for axis in axes]
        if len(set(names)) != len(names):
            self.fault(f"both axes are called {names[0]!r}")
        inner = self.inside(*sorted(set(names)))
        replace(inner, axes=frozenset(names)).body(tile.body)

    def store(self, store: ir.Store) -> None:
        self.value(store.value)
        buffer = self.access(store.buffer, store.subscripts, store.value.dtype, "store to")
        if buffer is not None and buffer.space is ir.Space.INPUT:
            self.fault(f"writes to the input {buffer.name!r}")
        if store.role is ir.StoreRole.COPY and not isinstance(store.value, ir.Load):
            self.fault("a copy moves one element: its value is a load")
        if store.role is ir.StoreRole.FILL and not isinstance(store.value, ir.Const):
            self.fault("a fill stores a constant")
        if store.instance is not None:
            if store.role is not ir.StoreRole.EXECUTE:
                self.fault(f"a {store.role.value} executes no instance")
            for part in store.instance.point:
                self.index(part)
        for axis in sorted(self.axes & varying_along(store.value)):
            if not any(axis in index_variables(s) for s in store.subscripts):
                self.fault(f"the value varies along {axis!r}, the place it is stored to does not: fold it")

    def access(self, name: str, subscripts: tuple[ir.IntExpr, ...], dtype: ScalarType, what: str) -> ir.Buffer | None:
        """Checks a reference to a buffer; None where there is no such buffer."""
        buffer = next((b for b in self.kernel.buffers if b.name == name), None)
        if buffer is None:
            self.fault(f"{what} {name!r}, which is no buffer")
            return None
        if len(subscripts) != len(buffer.shape):
            self.fault(f"{what} {name!r} with {len(subscripts)} subscripts, it has {len(buffer.shape)} dimensions")
        if dtype is not buffer.dtype:
            self.fault(f"{what} {name!r} as {dtype}, it holds {buffer.dtype}")
        for subscript in subscripts:
            self.index(subscript)
        return buffer

    # --- integer expressions --------------------------------------------------------------------------

    def index(self, expression: ir.IntExpr) -> None:
        match expression:
            case ir.Int():
                pass
            case ir.Var(name):
                if name not in self.variables and not self._is_stride(name):
                    self.fault(f"variable {name!r} is not defined here")
            case ir.IntOp(op, left, right):
                self.index(left)
                self.index(right)
                if op in ("/", "%") and isinstance(right, ir.Int) and right.value <= 0:
                    self.fault(f"divides by {right.value}: {index_text(expression)}")
            case ir.IntSelect(condition, then, otherwise):
                self.condition(condition)
                self.index(then)
                self.index(otherwise)
            case ir.FromValue(value):
                self.value(value)
                if not value.dtype.is_integer:
                    self.fault(f"a subscript of type {value.dtype}: {value_text(value)}")
            case _:
                assert_never(expression)

    def _is_stride(self, name: str) -> bool:
        return any(ir.Var(name) in (b.strides or ()) for b in self.kernel.buffers)

    def condition(self, condition: ir.Condition) -> None:
        match condition:
            case ir.Compare(_, left, right):
                self.index(left)
                self.index(right)
            case ir.BoolOp(_, left, right):
                self.condition(left)
                self.condition(right)
            case _:
                assert_never(condition)

    # --- values -------------------------------------------------------------------------------------------

    def value(self, value: ir.Value) -> None:
        match value:
            case ir.Const():
                self._const(value)
            case ir.Load(buffer, subscripts, dtype):
                self.access(buffer, subscripts, dtype, "load from")
            case ir.Local(name, dtype):
                if self.locals.get(name) is not dtype:
                    self.fault(f"local {name!r} of type {dtype} is {self.locals.get(name, 'not defined here')}")
            case ir.ScalarArg(name, dtype):
                if (name, dtype) not in self.kernel.scalars:
                    self.fault(f"no scalar parameter {dtype} {name}")
            case ir.IndexValue(index, dtype):
                self.index(index)
                if not dtype.is_integer:
                    self.fault(f"an index as {dtype}")
            case ir.UnaryOp(op, operand, dtype):
                self._operands(value, [operand], ScalarType.BOOL if op == "!" else dtype, dtype)
            case ir.BinaryOp():
                self._binary(value)
            case ir.Fma(a, b, c, dtype):
                self._operands(value, [a, b, c], dtype, dtype)
                self._require_float(value, dtype)
            case ir.SelectValue(condition, then, otherwise, dtype):
                self._operands(value, [condition], ScalarType.BOOL, ScalarType.BOOL)
                self._operands(value, [then, otherwise], dtype, dtype)
            case ir.Convert(operand):
                self.value(operand)
            case ir.Builtin(function, arguments, dtype):
                self._operands(value, arguments, dtype, dtype)
                if (own := BUILTINS[function].works_in) is None:
                    self._require_float(value, dtype)
                elif dtype is not own:
                    self.fault(f"{value_text(value)} works on {own}, not {dtype}")
            case ir.Fold(_, folded, axis, dtype):
                self._operands(value, [folded], dtype, dtype)
                if axis not in self.axes:
                    self.fault(f"folds along {axis!r}, which is no axis of a tile around it")
            case _:
                assert_never(value)

    def _const(self, const: ir.Const) -> None:
        if const.dtype.is_integer:
            bits = const.dtype.bits
            low, high = (-(1 << bits - 1), 1 << bits - 1) if const.dtype.is_signed else (0, 1 << bits)
            if not (isinstance(const.value, int) and low <= const.value < high):
                self.fault(f"{const.value!r} is no {const.dtype}")

    def _operands(
        self, value: ir.Value, operands: Sequence[ir.Value], expected: ScalarType, result: ScalarType
    ) -> None:
        for operand in operands:
            self.value(operand)
            if operand.dtype is not expected:
                self.fault(f"{value_text(operand)} is {operand.dtype}, not {expected}, in {value_text(value)}")
        if expected is ScalarType.BOOL and result is not ScalarType.BOOL:
            self.fault(f"{value_text(value)} gives bool, not {result}")

    def _require_float(self, value: ir.Value, dtype: ScalarType) -> None:
        if not dtype.is_float:
            self.fault(f"{value_text(value)} works on floats, not {dtype}")

    def _binary(self, value: ir.BinaryOp) -> None:
        operand = value.left.dtype
        if value.op in ("&&", "||"):
            operand = ScalarType.BOOL
        elif value.op in _COMPARISONS:
            if value.dtype is not ScalarType.BOOL:
                self.fault(f"{value_text(value)} gives bool, not {value.dtype}")
        elif operand is ScalarType.BOOL or value.dtype is not operand:
            self.fault(f"{value_text(value)} of {operand} gives {value.dtype}")
        self._operands(
            value, [value.left, value.right], operand, value.dtype if operand is ScalarType.BOOL else operand
        )


def _head(node: ir.Node) -> str:
    return next(node_lines(node))


def index_variables(expression: ir.IntExpr | ir.Condition) -> frozenset[str]:
    """The variables that an integer expression depends on, through values too (locals stand for themselves)."""
    match expression:
        case ir.Int():
            return frozenset()
        case ir.Var(name):
            return frozenset({name})
        case ir.IntOp(_, left, right) | ir.Compare(_, left, right) | ir.BoolOp(_, left, right):
            return index_variables(left) | index_variables(right)
        case ir.IntSelect(condition, then, otherwise):
            return index_variables(condition) | index_variables(then) | index_variables(otherwise)
        case ir.FromValue(value):
            return varying_along(value)
        case _:
            assert_never(expression)


def varying_along(value: ir.Value) -> frozenset[str]:
    """The variables that a value depends on, folded axes excepted; locals are not looked into."""
    match value:
        case ir.Const() | ir.Local() | ir.ScalarArg():
            return frozenset()
        case ir.Load(subscripts=subscripts):
            return frozenset().union(*map(index_variables, subscripts))
        case ir.IndexValue(index):
            return index_variables(index)
        case ir.UnaryOp(operand=operand) | ir.Convert(operand=operand):
            return varying_along(operand)
        case ir.BinaryOp(left=left, right=right):
            return varying_along(left) | varying_along(right)
        case ir.Fma(a, b, c):
            return varying_along(a) | varying_along(b) | varying_along(c)
        case ir.SelectValue(condition, then, otherwise):
            return varying_along(condition) | varying_along(then) | varying_along(otherwise)
        case ir.Builtin(arguments=arguments):
            return frozenset().union(*map(varying_along, arguments))
        case ir.Fold(_, folded, axis):
            return varying_along(folded) - {axis}
        case _:
            assert_never(value)
