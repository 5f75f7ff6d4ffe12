"""KernelIR as text, for people: loops and tiles indented, values as arithmetic, roles and instances beside stores.

In: a Kernel or any part of one.  Out: text.
Invariant: depends on the nodes alone, so equal kernels print equally; two kernels that print equally mean the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from comprehension.kernel import ir


def to_text(kernel: ir.Kernel) -> str:
    """The whole kernel.

    >>> print(to_text(ir.Kernel("empty", ("N",), (), (), ())))
    kernel empty(N)
    """
    scalars = [f"{dtype} {name}" for name, dtype in kernel.scalars]
    lines = [f"kernel {kernel.name}({', '.join([*kernel.sizes, *scalars])})"]
    lines += [f"  {_buffer(buffer)}" for buffer in kernel.buffers]
    for stage in kernel.stages:
        lines += [f"  {line}" for line in _stage(stage)]
    return "\n".join(lines)


def _buffer(buffer: ir.Buffer) -> str:
    shape = ", ".join(index_text(extent) for extent in buffer.shape)
    strides = "" if buffer.strides is None else f" strides ({', '.join(index_text(s) for s in buffer.strides)})"
    promoted = "" if buffer.promoted_from is None else f" for {buffer.promoted_from}"
    return f"{buffer.space.value} {buffer.dtype} {buffer.name}({shape}){strides}{promoted}"


def _stage(stage: ir.Stage) -> Iterator[str]:
    if stage.parallel is None:
        yield f"stage {stage.name}:"
    else:
        yield f"stage {stage.name}: parallel {_loop_head(stage.parallel)} grain {stage.grain}"
    if stage.when is not None:
        yield f"  runs when {condition_text(stage.when)}"
    yield from _indented(stage.body)
    if stage.beyond is not None:
        yield f"  the same when {condition_text(stage.beyond.condition)}:"
        yield from _indented(stage.beyond.body)


def _indented(body: tuple[ir.Node, ...]) -> Iterator[str]:
    for node in body:
        yield from ("  " + line for line in node_lines(node))


def _loop_head(loop: ir.Loop) -> str:
    step = "" if loop.step == 1 else f" step {loop.step}"
    unroll = "" if loop.unroll == 1 else f" unroll {loop.unroll}"
    mapping = "" if loop.mapping is None else f" on {loop.mapping}"
    return f"{loop.variable} in {index_text(loop.lower)}:{index_text(loop.upper)}{step}{unroll}{mapping}"


def node_lines(node: ir.Node) -> Iterator[str]:
    """A statement, with what stands below it indented."""
    match node:
        case ir.Define(name, value):
            yield f"{name} := {value_text(value)}"
        case ir.Store():
            yield _store(node)
        case ir.Loop(body=body):
            yield f"for {_loop_head(node)}:"
            yield from (f"  {_ask(ask)}" for ask in node.asks)
            yield from _indented(body)
        case ir.If(condition, body):
            yield f"if {condition_text(condition)}:"
            yield from _indented(body)
        case ir.Tile(rows, lanes, body):
            axes = [axis for axis in (rows, lanes) if axis is not None]
            yield f"tile {' x '.join(_axis(axis) for axis in axes)}:"
            yield from _indented(body)
        case ir.Barrier():
            yield "barrier"
        case _:
            assert_never(node)


def _ask(ask: ir.Ask) -> str:
    text = f"ask for {ask.elements} of {ask.buffer} from {index_text(ask.first)} on"
    return text if ask.rows == 1 else f"{text}, and of {ask.rows - 1} more rows, {ask.apart} apart"


def _axis(axis: ir.Axis) -> str:
    limit = "" if axis.limit is None else f" below {index_text(axis.limit)}"
    return f"{axis.variable} in {index_text(axis.start)}+{axis.extent}{limit}"


def _store(store: ir.Store) -> str:
    role = "" if store.role is ir.StoreRole.EXECUTE else f"  # {store.role.value}"
    role = f"{role}  # past the caches" if store.streaming else role
    if store.instance is not None:
        role += f"  # {store.instance.statement}({', '.join(index_text(p) for p in store.instance.point)})"
    return f"{store.buffer}({', '.join(index_text(s) for s in store.subscripts)}) = {value_text(store.value)}{role}"


def index_text(expression: ir.IntExpr) -> str:
    """An integer expression, fully parenthesised.

    >>> index_text(ir.IntOp("+", ir.Var("i"), ir.Int(1)))
    '(i + 1)'
    """
    match expression:
        case ir.Int(value):
            return str(value)
        case ir.Var(name):
            return name
        case ir.IntOp("min" | "max" as op, left, right):
            return f"{op}({index_text(left)}, {index_text(right)})"
        case ir.IntOp(op, left, right):
            return f"({index_text(left)} {op} {index_text(right)})"
        case ir.IntSelect(condition, then, otherwise):
            return f"({condition_text(condition)} ? {index_text(then)} : {index_text(otherwise)})"
        case ir.FromValue(value):
            return f"[{value_text(value)}]"
        case _:
            assert_never(expression)


def _distance(load: ir.Load) -> str:
    text = str(load.ahead) if isinstance(load.ahead, int) else index_text(load.ahead)
    return text if load.ahead_lanes is None else f"{text}[{load.ahead_lanes[0]}:{load.ahead_lanes[1]}]"


def condition_text(condition: ir.Condition) -> str:
    match condition:
        case ir.Compare(op, left, right):
            return f"({index_text(left)} {op} {index_text(right)})"
        case ir.BoolOp(op, left, right):
            return f"({condition_text(left)} {op} {condition_text(right)})"
        case _:
            assert_never(condition)


def value_text(value: ir.Value) -> str:
    """A value; literals and conversions show their types.

    >>> from comprehension.lang.types import ScalarType
    >>> value_text(ir.Const(2.0, ScalarType.FLOAT32))
    'float32 2.0'
    """
    match value:
        case ir.Const(number, dtype):
            return f"{dtype} {number!r}"
        case ir.Load(buffer, subscripts, _, access, ahead):
            number_text = ("" if access is None else f"#{access}") + (f"+{_distance(value)}" if ahead else "")
            return f"{buffer}({', '.join(index_text(s) for s in subscripts)}){number_text}"
        case ir.Local(name) | ir.ScalarArg(name):
            return name
        case ir.IndexValue(index, dtype):
            return f"{dtype}{{{index_text(index)}}}"
        case ir.UnaryOp(op, operand):
            return f"({op}{value_text(operand)})"
        case ir.BinaryOp("min" | "max" as op, left, right):
            return f"{op}({value_text(left)}, {value_text(right)})"
        case ir.BinaryOp(op, left, right):
            return f"({value_text(left)} {op} {value_text(right)})"
        case ir.Fma(a, b, c):
            return f"fma({value_text(a)}, {value_text(b)}, {value_text(c)})"
        case ir.SelectValue(condition, then, otherwise):
            return f"({value_text(condition)} ? {value_text(then)} : {value_text(otherwise)})"
        case ir.Convert(operand, dtype):
            return f"{dtype}({value_text(operand)})"
        case ir.Builtin(function, arguments):
            return f"{function}({', '.join(value_text(a) for a in arguments)})"
        case ir.Fold(op, folded, axis):
            return f"fold[{op} over {axis}]({value_text(folded)})"
        case _:
            assert_never(value)
