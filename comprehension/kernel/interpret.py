"""The meaning of KernelIR, spelt out: a slow interpreter, the oracle for every printer and transformation.

In: a Kernel, arrays for its INPUT and OUTPUT buffers, its sizes and scalars.  Out: the outputs, as new arrays.
Invariant: nothing is assumed that the IR does not say: every subscript is checked against its buffer, memory
that nobody wrote holds a poison value (NaN, or a large odd integer), SCRATCH and REGISTER buffers are fresh
for every unit of a parallel stage and every iteration of a loop that blocks or threads divide (SHARED ones: blocks),
and those run in the order asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, assert_never

import numpy as np

from comprehension.kernel import ir, scalars
from comprehension.kernel.scalars import Scalar
from comprehension.lang.types import ScalarType

Array = np.ndarray[Any, Any]
Trace = list[tuple[str, tuple[int, ...]]]
UnitOrder = Callable[[range], Iterable[int]]


class InterpretError(Exception):
    """A kernel did what its IR forbids; the text names the stage, the buffer and the subscripts."""


def interpret(
    kernel: ir.Kernel,
    arrays: Mapping[str, Array],
    sizes: Mapping[str, int] | None = None,
    scalar_values: Mapping[str, Any] | None = None,
    *,
    order: UnitOrder = iter,
    trace: Trace | None = None,
) -> dict[str, Array]:
    """Runs `kernel` on copies of `arrays` and returns its OUTPUT buffers.

    An output that `arrays` lacks starts as zeros.  `order` chooses the order of a parallel stage's units
    (`reversed` shows what depends on it).  `trace` receives every executed statement instance, in order.
    Raises InterpretError for a subscript out of range, KeyError for a missing input.
    """
    state = _State(kernel, dict(sizes or {}), trace, order)
    for name, dtype in kernel.scalars:
        state.scalars[name] = scalars.cast((scalar_values or {})[name], dtype)
        if dtype.is_integer:
            state.sizes[name] = int(state.scalars[name])
    for buffer in kernel.buffers:
        state.memory[buffer.name] = _provide(buffer, arrays, state)
    with np.errstate(all="ignore"):
        for stage in kernel.stages:
            _run_stage(stage, state)
    return {b.name: state.memory[b.name] for b in kernel.buffers if b.space is ir.Space.OUTPUT}


# --- memory -------------------------------------------------------------------------------------------

_OF_THREADS = (ir.Space.SCRATCH, ir.Space.REGISTER)
_PRIVATE = (*_OF_THREADS, ir.Space.SHARED)


@dataclass(slots=True)
class _State:
    kernel: ir.Kernel
    sizes: dict[str, int]
    trace: Trace | None
    order: UnitOrder
    memory: dict[str, Array] = field(default_factory=dict)
    scalars: dict[str, Scalar] = field(default_factory=dict)
    stage: str = ""


@dataclass(frozen=True, slots=True)
class _Env:
    """What is visible at a point: integer variables and values named by `Define`."""

    state: _State
    integers: Mapping[str, int]
    values: dict[str, Scalar]

    def bind(self, name: str, value: int) -> _Env:
        return _Env(self.state, {**self.integers, name: value}, dict(self.values))


def poison(dtype: ScalarType) -> Scalar:
    """What memory holds before anyone writes it."""
    if dtype.is_float:
        return dtype.numpy.type(np.nan)
    return np.bool_(True) if dtype is ScalarType.BOOL else scalars.cast(0x5A5A5A5A5A5A5A5B, dtype)


def _provide(buffer: ir.Buffer, arrays: Mapping[str, Array], state: _State) -> Array:
    env = _Env(state, state.sizes, {})
    shape = tuple(_integer(extent, env) for extent in buffer.shape)
    if buffer.space is ir.Space.INPUT or (buffer.space is ir.Space.OUTPUT and buffer.name in arrays):
        array = np.array(arrays[buffer.name])
        if array.shape != shape or array.dtype != buffer.dtype.numpy:
            raise InterpretError(f"{buffer.name}: {array.dtype}{array.shape} given, {buffer.dtype}{shape} expected")
        return array
    if buffer.space is ir.Space.OUTPUT:
        return np.zeros(shape, buffer.dtype.numpy)
    return np.full(shape, poison(buffer.dtype), buffer.dtype.numpy)


def _position(buffer: str, subscripts: tuple[ir.IntExpr, ...], env: _Env) -> tuple[int, ...]:
    position = tuple(_integer(s, env) for s in subscripts)
    shape = env.state.memory[buffer].shape
    if len(position) != len(shape) or not all(0 <= p < n for p, n in zip(position, shape, strict=True)):
        raise InterpretError(f"{env.state.stage}: {buffer}{list(position)} is outside of its shape {shape}")
    return position


# --- control ------------------------------------------------------------------------------------------


def _run_stage(stage: ir.Stage, state: _State) -> None:
    state.stage = f"{state.kernel.name}.{stage.name}"
    env = _Env(state, state.sizes, {})
    if stage.parallel is None:
        _run_unit(stage, env)
        return
    loop = stage.parallel
    for value in state.order(range(_integer(loop.lower, env), _integer(loop.upper, env), loop.step)):
        _run_unit(stage, env.bind(loop.variable, value))


def _run_unit(stage: ir.Stage, env: _Env) -> None:
    _forget(env.state, _PRIVATE)
    _run_body(stage.body, env)


def _forget(state: _State, spaces: tuple[ir.Space, ...]) -> None:
    for buffer in state.kernel.buffers:
        if buffer.space in spaces:
            state.memory[buffer.name].fill(poison(buffer.dtype))


def _run_body(body: tuple[ir.Node, ...], env: _Env) -> None:
    scope = _Env(env.state, env.integers, dict(env.values))
    for node in body:
        match node:
            case ir.Define(name=name, value=value):
                scope.values[name] = _value(value, scope)
            case ir.Store():
                _run_store(node, [scope])
            case ir.Loop():
                _run_loop(node, scope)
            case ir.If(condition=condition, body=inner):
                if _condition(condition, scope):
                    _run_body(inner, scope)
            case ir.Tile():
                _run_tile(node, scope)
            case ir.Barrier():
                pass  # one iteration after another, all threads have come here
            case _:
                assert_never(node)


def _run_loop(loop: ir.Loop, env: _Env) -> None:
    """Iterations of a mapped loop run in any order, and each starts with private memory of its own."""
    positions = range(_integer(loop.lower, env), _integer(loop.upper, env), loop.step)
    for position in positions if loop.mapping is None else env.state.order(positions):
        if loop.mapping is not None:
            _forget(env.state, _OF_THREADS if loop.mapping.startswith("thread.") else _PRIVATE)
        _run_body(loop.body, env.bind(loop.variable, position))


def _run_tile(tile: ir.Tile, env: _Env) -> None:
    axes = [axis for axis in (tile.rows, tile.lanes) if axis is not None]
    points = [env]
    for axis in axes:
        points = [p.bind(axis.variable, v) for p in points for v in _active(axis, env)]
    for statement in tile.body:
        if isinstance(statement, ir.Define):
            values = [_value(statement.value, p, points) for p in points]
            for point, value in zip(points, values, strict=True):
                point.values[statement.name] = value
        else:
            _run_store(statement, points)


def _active(axis: ir.Axis, env: _Env) -> range:
    start = _integer(axis.start, env)
    end = start + axis.extent
    return range(start, end if axis.limit is None else min(end, _integer(axis.limit, env)))


def _run_store(store: ir.Store, points: list[_Env]) -> None:
    """All points read and compute before any of them writes."""
    writes = []
    for point in points:
        position = _position(store.buffer, store.subscripts, point)
        writes.append((position, _value(store.value, point, points)))
        if store.instance is not None and point.state.trace is not None:
            where = tuple(_integer(p, point) for p in store.instance.point)
            point.state.trace.append((store.instance.statement, where))
    for position, value in writes:
        points[0].state.memory[store.buffer][position] = value


# --- integers and conditions --------------------------------------------------------------------------


def _integer(expr: ir.IntExpr, env: _Env) -> int:
    match expr:
        case ir.Int(value=value):
            return value
        case ir.Var(name=name):
            return env.integers[name]
        case ir.IntOp(op=op, left=left, right=right):
            return _INTEGER[op](_integer(left, env), _integer(right, env))
        case ir.IntSelect(condition=condition, then=then, otherwise=otherwise):
            return _integer(then if _condition(condition, env) else otherwise, env)
        case ir.FromValue(value=value):
            return int(_value(value, env))
    assert_never(expr)


_INTEGER: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b if b else 0,
    "%": lambda a, b: a % b if b else 0,
    "min": min,
    "max": max,
}


def _condition(condition: ir.Condition, env: _Env) -> bool:
    match condition:
        case ir.Compare(op=op, left=left, right=right):
            return _COMPARE[op](_integer(left, env), _integer(right, env))
        case ir.BoolOp(op="and", left=first, right=second):
            return _condition(first, env) and _condition(second, env)
        case ir.BoolOp(left=first, right=second):
            return _condition(first, env) or _condition(second, env)
    assert_never(condition)


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}

# --- values -------------------------------------------------------------------------------------------


def _value(value: ir.Value, env: _Env, tile: list[_Env] | None = None) -> Scalar:
    """The value at one point; `tile` has all active points, which a `Fold` combines."""
    match value:
        case ir.Const(value=constant, dtype=dtype):
            return scalars.cast(constant, dtype)
        case ir.Load(buffer=buffer, subscripts=subscripts):
            return env.state.memory[buffer][_position(buffer, subscripts, env)]
        case ir.Local(name=name):
            return env.values[name]
        case ir.ScalarArg(name=name):
            return env.state.scalars[name]
        case ir.IndexValue(index=index, dtype=dtype):
            return scalars.cast(_integer(index, env), dtype)
        case ir.UnaryOp(op=op, operand=operand, dtype=dtype):
            return scalars.unary(op, _value(operand, env, tile), dtype)
        case ir.BinaryOp(op="&&" | "||" as op, left=left, right=right):
            first = bool(_value(left, env, tile))
            return np.bool_(first) if first == (op == "||") else _value(right, env, tile)
        case ir.BinaryOp(op=op, left=left, right=right, dtype=dtype):
            return scalars.binary(op, _value(left, env, tile), _value(right, env, tile), dtype)
        case ir.Fma(a=a, b=b, c=c, dtype=dtype):
            return scalars.fma(_value(a, env, tile), _value(b, env, tile), _value(c, env, tile), dtype)
        case ir.SelectValue(condition=condition, then=then, otherwise=otherwise):
            return _value(then if _value(condition, env, tile) else otherwise, env, tile)
        case ir.Convert(operand=operand, dtype=dtype):
            return scalars.cast(_value(operand, env, tile), dtype)
        case ir.Builtin(function=function, arguments=arguments, dtype=dtype):
            return scalars.builtin(function, [_value(a, env, tile) for a in arguments], dtype)
        case ir.Fold():
            return _fold(value, env, tile or [env])
    assert_never(value)


def _fold(fold: ir.Fold, env: _Env, tile: list[_Env]) -> Scalar:
    """Halves the axis until one value is left; a masked point gives way to its partner."""
    others = {name: v for name, v in env.integers.items() if name != fold.axis}
    along = [p for p in tile if all(p.integers[name] == v for name, v in others.items())]
    values = [_value(fold.value, p, tile) for p in along]
    return fold_tree(values, lambda a, b: scalars.binary(fold.op, a, b, fold.dtype))


T = TypeVar("T")


def fold_tree(values: list[T], combine: Callable[[T, T], T]) -> T:
    """The fixed tree of `Fold`: element i meets element i + half, until one is left.

    >>> fold_tree(list("abcd"), lambda a, b: f"({a}{b})")
    '((ac)(bd))'
    """
    while len(values) > 1:
        half = (len(values) + 1) // 2
        values = [combine(values[i], values[i + half]) if i + half < len(values) else values[i] for i in range(half)]
    return values[0]
