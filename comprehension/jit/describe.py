"""Kernel to manifest, inside the compiler process: what the program must know to call the object file.

In: the final `ir.Kernel`, what the code generator says of its functions, and the LoopProgram that it runs.
Out: a `Manifest`.
Invariant: slots stand in the order in which generated code reads its `buffers`: the kernel's tensors that the
caller provides (inputs, outputs, workspaces) as the kernel lists them, then the scalar parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from comprehension.jit.manifest import BufferSlot, Manifest, SlotKind, StageEntry
from comprehension.kernel import ir
from comprehension.kernel.outside import Outside
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.simplify import simplify
from comprehension.kernel.size_text import text_of, text_of_tree
from comprehension.kernel.values import shape_of
from comprehension.lang.loops import LoopProgram, Role

_KINDS: dict[ir.Space, SlotKind] = {
    ir.Space.INPUT: "input",
    ir.Space.OUTPUT: "output",
    ir.Space.WORKSPACE: "workspace",
}

# Picoseconds, for choosing between serial and parallel only: a factor of two either way does no harm.
_LOAD, _STORE, _ARITHMETIC, _FUNCTION, _LOOP = 200, 300, 300, 4_000, 500
_LANES = 16  # elements that one vector operation takes
_RANDOM = 12_000  # a line at a place that an index tensor names, in a table beyond the caches that a core has to itself
_LARGE = 4 << 20  # bytes of such a table


def manifest_of(
    kernel: ir.Kernel,
    program: LoopProgram,
    target: str,
    entries: Sequence[str],
    scratch_bytes: int | str,
    errors: Sequence[Outside] = (),
) -> Manifest:
    """The manifest of a generated kernel; `entries` are the functions of its stages, in order.

    Entries before those of the kernel's stages check launches: they run once, alone.
    """
    checks = len(entries) - len(kernel.stages)
    stages = [StageEntry(symbol, 1, 1, 0.0) for symbol in entries[:checks]]
    work = _Work(kernel)
    stages += [_entry(symbol, stage, work) for symbol, stage in zip(entries[checks:], kernel.stages, strict=True)]
    return Manifest(
        name=kernel.name,
        target=target,
        sizes=kernel.sizes,
        slots=(*_buffer_slots(kernel, program), *_scalar_slots(kernel)),
        stages=tuple(stages),
        scratch_bytes=scratch_bytes,
        preconditions=tuple((text_of_tree(p.condition), p.message) for p in program.preconditions),
        errors=tuple(errors),
    )


def _buffer_slots(kernel: ir.Kernel, program: LoopProgram) -> list[BufferSlot]:
    roles = {tensor.name: tensor.role for tensor in program.tensors}
    layouts = {tensor.name: tensor.layout for tensor in program.tensors}
    # the caller's shapes: those of the kernel's buffers may have fewer axes
    shapes = {tensor.name: shape_of(program, tensor.shape) for tensor in program.tensors}
    return [
        BufferSlot(
            name=buffer.name,
            kind=_KINDS[buffer.space],
            dtype=buffer.dtype.value,
            shape=tuple(_number_or_text(extent) for extent in shapes.get(buffer.name, buffer.shape)),
            layout=layouts.get(buffer.name),
            reads_initial=roles.get(buffer.name) is Role.ACCUMULATED,
            accumulates=roles.get(buffer.name) is Role.ACCUMULATED and _accumulates(program, buffer.name),
        )
        for buffer in kernel.buffers
        if buffer.space in _KINDS
    ]


def _scalar_slots(kernel: ir.Kernel) -> list[BufferSlot]:
    return [BufferSlot(name=name, kind="scalar", dtype=dtype.value, shape=()) for name, dtype in kernel.scalars]


def _accumulates(program: LoopProgram, output: str) -> bool:
    """Whether the first write of an output combines with what the caller's buffer holds."""
    first = next(s for s in program.statements if s.target == output)
    return first.reduction is not None and not first.initialise


def _number_or_text(expr: ir.IntExpr) -> int | str:
    expr = simplify(expr)
    return expr.value if isinstance(expr, ir.Int) else text_of(expr)


def _entry(symbol: str, stage: ir.Stage, work: _Work) -> StageEntry:
    loop = stage.parallel
    if loop is None:
        return StageEntry(symbol, _when(stage, ir.Int(1)), 1, _nanoseconds(work.of(stage.body, {})))
    width = ir.IntOp("-", loop.upper, loop.lower)
    extent = ir.IntOp("max", ir.IntOp("/", ir.IntOp("+", width, ir.Int(loop.step - 1)), ir.Int(loop.step)), ir.Int(0))
    middle = {loop.variable: _middle(loop.lower, loop.upper)}
    return StageEntry(symbol, _when(stage, extent), stage.grain, _nanoseconds(work.of(stage.body, middle)))


def _when(stage: ir.Stage, extent: ir.IntExpr) -> int | str:
    """The units of a stage; none where another version of it runs."""
    return _number_or_text(extent if stage.when is None else ir.IntSelect(stage.when, extent, ir.Int(0)))


def _nanoseconds(picoseconds: ir.IntExpr) -> float | str:
    picoseconds = simplify(picoseconds)
    if isinstance(picoseconds, ir.Int):
        return picoseconds.value / 1000
    return text_of(ir.IntOp("/", picoseconds, ir.Int(1000)))


# --- how much work a body is, loops taken at the middle of their range ----------------------------------------


class _Work:
    """Estimates in picoseconds; what lives in registers costs nothing to read or write."""

    def __init__(self, kernel: ir.Kernel) -> None:
        self._registers = {buffer.name for buffer in kernel.buffers if buffer.space is ir.Space.REGISTER}
        self._large = {buffer.name for buffer in kernel.buffers if _bytes(buffer) > _LARGE}

    def of(self, body: Sequence[ir.Node], known: dict[str, ir.IntExpr]) -> ir.IntExpr:
        """The work of a body; `known` holds a value for each loop variable around it."""
        total: ir.IntExpr = ir.Int(0)
        for node in body:
            total = ir.IntOp("+", total, self._node(node, known))
        return simplify(total)

    def _node(self, node: ir.Node, known: dict[str, ir.IntExpr]) -> ir.IntExpr:
        match node:
            case ir.Define() | ir.Store():
                return ir.Int(self._statement(node))
            case ir.If(body=body):
                return self.of(body, known)
            case ir.Loop(variable, lower, upper, body, step):
                low, high = _substitute(lower, known), _substitute(upper, known)
                trips = ir.IntOp("/", ir.IntOp("max", ir.IntOp("-", high, low), ir.Int(0)), ir.Int(step))
                inner = self.of(body, {**known, variable: _middle(low, high)})
                return ir.IntOp("*", ir.IntOp("+", trips, ir.Int(1)), ir.IntOp("+", inner, ir.Int(_LOOP)))
            case ir.Tile(rows, lanes, body):
                points = (rows.extent if rows is not None else 1) * lanes.extent
                vectors = -(-points // _LANES)
                return ir.Int(vectors * sum(self._statement(statement) for statement in body))
            case ir.Barrier():
                return ir.Int(0)

    def _statement(self, node: ir.Define | ir.Store) -> int:
        stores = isinstance(node, ir.Store) and node.buffer not in self._registers
        return _STORE * stores + self._value(node.value)

    def _value(self, value: ir.Value) -> int:
        match value:
            case ir.Const() | ir.Local() | ir.ScalarArg() | ir.IndexValue():
                return 0
            case ir.Load(buffer, subscripts):
                if buffer in self._large and any(nodes_of(subscripts, ir.FromValue)):
                    return _RANDOM
                return 0 if buffer in self._registers else _LOAD
            case ir.Builtin(arguments=arguments):
                return _FUNCTION + sum(self._value(argument) for argument in arguments)
            case ir.UnaryOp(operand=operand) | ir.Convert(operand=operand) | ir.Fold(value=operand):
                return _ARITHMETIC + self._value(operand)
            case ir.BinaryOp(left=left, right=right):
                return _ARITHMETIC + self._value(left) + self._value(right)
            case ir.Fma(a, b, c):
                return _ARITHMETIC + self._value(a) + self._value(b) + self._value(c)
            case ir.SelectValue(condition, then, otherwise):
                return _ARITHMETIC + self._value(condition) + self._value(then) + self._value(otherwise)


def _bytes(buffer: ir.Buffer) -> int:
    """Of a dense buffer; 0 where its shape is not known yet."""
    extents = [extent.value if isinstance(extent, ir.Int) else 0 for extent in buffer.shape]
    return prod(extents) * buffer.dtype.bits // 8


def _middle(lower: ir.IntExpr, upper: ir.IntExpr) -> ir.IntExpr:
    return simplify(ir.IntOp("/", ir.IntOp("+", lower, upper), ir.Int(2)))


def _substitute(expr: ir.IntExpr, known: dict[str, ir.IntExpr]) -> ir.IntExpr:
    """The expression with loop variables at the middle of their range; an indirect bound counts as 1."""
    match expr:
        case ir.Int():
            return expr
        case ir.Var(name):
            return known.get(name, expr)
        case ir.IntOp(op, left, right):
            return ir.IntOp(op, _substitute(left, known), _substitute(right, known))
        case ir.IntSelect(_, then, _):
            return _substitute(then, known)
        case ir.FromValue():
            return ir.Int(1)
