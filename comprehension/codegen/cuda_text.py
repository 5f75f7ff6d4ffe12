"""Statements, integers and values of one thread as source text.

In: KernelIR without tiles (but for those that fold).  Out: lines of Python for numba.cuda.
Invariant (DESIGN "Numerics"): literals are typed, integers are cast back after each operation, float products that
are added are not contracted unless the IR says `Fma`, only the chosen side of a selection reads memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import assert_never

from comprehension.codegen.abi import dim_names
from comprehension.codegen.function import CodegenError
from comprehension.codegen.names import Scope
from comprehension.codegen.subscript import offset_of, simplified
from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.lang.types import ScalarType

NUMPY = {t: f"np.{t.value}" for t in ScalarType} | {ScalarType.BOOL: "np.uint8"}
_FLOATS = (ScalarType.FLOAT32, ScalarType.FLOAT64)
_RESERVED = frozenset({"thread", "rest", "cuda", "libm", "minimum", "maximum", *(t.value for t in ScalarType)})


def libm_name(function: str, dtype: ScalarType) -> str:
    """The name in libdevice of a builtin: those of float32 end in f.

    >>> libm_name("exp", ScalarType.FLOAT32), libm_name("cyl_bessel_i0", ScalarType.FLOAT64)
    ('expf', 'cyl_bessel_i0')
    """
    if dtype is ScalarType.FLOAT16:
        raise CodegenError("float16 has no functions of its own on CUDA: convert to float32 first")
    if function == "fdivide":
        return "fdiv_rn" if dtype is ScalarType.FLOAT32 else "ddiv_rn"
    return f"{function}f" if dtype is ScalarType.FLOAT32 else function


class Source:
    """Lines and names of one kernel function."""

    def __init__(self, kernel: ir.Kernel, taken: frozenset[str]) -> None:
        self.kernel = kernel
        self.scope = Scope(taken | _RESERVED)
        self.lines: list[str] = []
        self.indent = 1
        self.imports: set[str] = set()
        self.names: dict[tuple[str, str], str] = {}
        self.offsets: dict[str, str] = {}  # of a thread's part in a buffer that all threads share

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head)
        self.indent += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.line("pass")
        self.indent -= 1

    def use(self, name: str) -> str:
        self.imports.add(name)
        return name

    def name(self, kind: str, key: str) -> str:
        """The identifier of something; asking for a buffer, scalar or size makes it a parameter."""
        if (kind, key) not in self.names:
            self.names[kind, key] = self.scope.name(key, kind)
        return self.names[kind, key]

    def buffer(self, name: str) -> str:
        return self.name("buffer", name)

    def variable(self, name: str) -> str:
        dtypes = dict(self.kernel.scalars)
        if name in dtypes:
            text = self.name("scalar", name)
            return text if dtypes[name] is ScalarType.INT64 else f"{self.use('int64')}({text})"
        return self.name("size" if name in dim_names(self.kernel) else "loop", name)

    def integer(self, expr: ir.IntExpr) -> str:
        """An integer expression without values, for bounds of the grid."""
        return Values(self).integer(expr)


@dataclass(frozen=True, slots=True)
class Body:
    """Prints nodes."""

    source: Source

    def nodes(self, nodes: Sequence[ir.Node]) -> None:
        for node in nodes:
            self._node(node)

    def _node(self, node: ir.Node) -> None:
        source, values = self.source, Values(self.source)
        match node:
            case ir.Define(name=name, value=value):
                source.line(f"{source.name('value', name)} = {values.value(value, added=True)}")
            case ir.Store():
                self._store(node)
            case ir.Loop(variable=variable, lower=lower, upper=upper, body=body, step=step):
                bounds = [values.integer(lower), values.integer(upper), *([str(step)] if step != 1 else [])]
                with source.block(f"for {source.variable(variable)} in range({', '.join(bounds)}):"):
                    self.nodes(body)
            case ir.If(condition=condition, body=body):
                with source.block(f"if {values.condition(condition)}:"):
                    self.nodes(body)
            case ir.Tile():
                self._folding_tile(node)
            case ir.Barrier():
                raise CodegenError("a barrier: these threads do not wait for each other")
            case _:
                assert_never(node)

    def _store(self, store: ir.Store) -> None:
        values = Values(self.source)
        dtype = self.source.kernel.buffer(store.buffer).dtype
        text = values.value(store.value)
        if dtype is ScalarType.BOOL:
            text = f"{self.source.use('uint8')}({text})"
        self.source.line(f"{values.element(store.buffer, store.subscripts)} = {text}")

    def _folding_tile(self, tile: ir.Tile) -> None:
        """A tile of stores that fold over its lanes: each combines, then stores once a row."""
        if tile.rows is not None:
            end: ir.IntExpr = ir.IntOp("+", tile.rows.start, ir.Int(tile.rows.extent))
            if tile.rows.limit is not None:
                end = ir.IntOp("min", end, tile.rows.limit)
            rows = ir.Loop(tile.rows.variable, tile.rows.start, end, (ir.Tile(None, tile.lanes, tile.body),))
            self._node(rows)
            return
        for statement in tile.body:
            folds = list(nodes_of(statement.value, ir.Fold))
            if isinstance(statement, ir.Store) and len(folds) == 1 and folds[0].axis == tile.lanes.variable:
                self._fold(tile.lanes, statement, folds[0])
            else:
                raise CodegenError("a tile that folds must fold over its lanes in each of its statements")

    def _fold(self, lanes: ir.Axis, store: ir.Store, fold: ir.Fold) -> None:
        """Pairs halfway apart are combined until one value is left: the interpreter's tree."""
        source, values = self.source, Values(self.source)
        part, count, half = (source.scope.fresh(name) for name in ("part", "count", "half"))
        lane, start = source.variable(lanes.variable), values.integer(lanes.start)
        source.line(f"{part} = cuda.local.array({lanes.extent}, {NUMPY[fold.dtype]})")
        last: ir.IntExpr = simplified(ir.IntOp("+", lanes.start, ir.Int(lanes.extent)))
        if lanes.limit is not None:
            last = ir.IntOp("min", last, lanes.limit)
        source.line(f"{count} = {values.integer(simplified(ir.IntOp('-', last, lanes.start)))}")
        with source.block(f"for {lane} in range({start}, {values.integer(last)}):"):
            place = values.integer(simplified(ir.IntOp("-", ir.Var(lanes.variable), lanes.start)))
            source.line(f"{part}[{place}] = {values.value(fold.value)}")
        with source.block(f"if {count} > 0:"):
            with source.block(f"while {count} > 1:"):
                source.line(f"{half} = ({count} + 1) // 2")
                with source.block(f"for {lane} in range({count} - {half}):"):
                    both = (f"{part}[{lane}]", f"{part}[{lane} + {half}]")
                    source.line(f"{both[0]} = {values.combined(fold.op, *both, fold.dtype)}")
                source.line(f"{count} = {half}")
            target = values.element(store.buffer, store.subscripts)
            source.line(f"{target} = {Values(source, {id(fold): f'{part}[0]'}).value(store.value)}")


class Values:
    """Prints values and integers; `given` are texts for nodes that were computed before."""

    def __init__(self, source: Source, given: dict[int, str] | None = None) -> None:
        self.source = source
        self.given = given or {}

    # --- integers -------------------------------------------------------------------------------------

    def integer(self, expr: ir.IntExpr) -> str:
        match expr:
            case ir.Int(value=value):
                return str(value)
            case ir.Var(name=name):
                return self.source.variable(name)
            case ir.IntOp(op="min" | "max" as op, left=left, right=right):
                return f"{op}({self.integer(left)}, {self.integer(right)})"
            case ir.IntOp(op="/" | "%" as op, left=left, right=right):
                return self._division(op, left, right)
            case ir.IntOp(op=op, left=left, right=right):
                return f"{self._part(left)} {op} {self._part(right)}"
            case ir.IntSelect(condition=condition, then=then, otherwise=otherwise):
                return f"({self.integer(then)} if {self.condition(condition)} else {self.integer(otherwise)})"
            case ir.FromValue(value=value):
                return f"{self.source.use('int64')}({self.value(value)})"
        assert_never(expr)

    def _part(self, expr: ir.IntExpr) -> str:
        text = self.integer(expr)
        return f"({text})" if isinstance(expr, ir.IntOp) and expr.op in "+-*/%" else text

    def _division(self, op: str, left: ir.IntExpr, right: ir.IntExpr) -> str:
        if isinstance(right, ir.Int) and right.value > 0:
            return f"{self._part(left)} {'//' if op == '/' else op} {right.value}"
        wide = self.source.use("int64")
        name = self.source.use("floor_div" if op == "/" else "floor_mod")
        return f"{name}({wide}({self.integer(left)}), {wide}({self.integer(right)}))"

    def condition(self, condition: ir.Condition) -> str:
        match condition:
            case ir.Compare(op=op, left=left, right=right):
                return f"{self.integer(left)} {op} {self.integer(right)}"
            case ir.BoolOp(op=op, left=first, right=second):
                return f"({self.condition(first)}) {op} ({self.condition(second)})"
        assert_never(condition)

    def element(self, buffer: str, subscripts: tuple[ir.IntExpr, ...]) -> str:
        """`name[offset]`, an element of flat memory."""
        offset = self.integer(offset_of(self.source.kernel.buffer(buffer), subscripts))
        if buffer in self.source.offsets:
            offset = f"{self.source.offsets[buffer]} + {offset}"
        return f"{self.source.buffer(buffer)}[{offset}]"

    # --- values ---------------------------------------------------------------------------------------

    def value(self, value: ir.Value, *, added: bool = False) -> str:
        """`added`: the value may be added to another one, so that a product must be rounded by itself."""
        if id(value) in self.given:
            return self.given[id(value)]
        match value:
            case ir.Const(value=number, dtype=dtype):
                return self.literal(number, dtype)
            case ir.Load(buffer=buffer, subscripts=subscripts, dtype=dtype):
                text = self.element(buffer, subscripts)
                return f"({text} != 0)" if dtype is ScalarType.BOOL else text
            case ir.Local(name=name):
                return self.source.name("value", name)
            case ir.ScalarArg(name=name, dtype=dtype):
                text = self.source.name("scalar", name)
                return f"({text} != 0)" if dtype is ScalarType.BOOL else text
            case ir.IndexValue(index=index, dtype=dtype):
                return self.converted(self.integer(index), dtype)
            case ir.UnaryOp(op=op, operand=operand, dtype=dtype):
                inner = self.value(operand)
                return f"(not {inner})" if op == "!" else self.converted(f"-{inner}", dtype)
            case ir.BinaryOp():
                return self._binary(value, added=added)
            case ir.Fma(a=a, b=b, c=c, dtype=dtype):
                parts = ", ".join(self.value(part) for part in (a, b, c))
                return f"{self.source.use('libm')}.{libm_name('fma', dtype)}({parts})"
            case ir.SelectValue(condition=condition, then=then, otherwise=otherwise):
                sides = self.value(then, added=added), self.value(otherwise, added=added)
                return f"({sides[0]} if {self.value(condition)} else {sides[1]})"
            case ir.Convert(operand=operand, dtype=dtype):
                return self.converted(self.value(operand, added=added), dtype)
            case ir.Builtin(function=function, arguments=arguments, dtype=dtype):
                parts = ", ".join(self.converted(self.value(part), dtype) for part in arguments)
                return f"{self.source.use('libm')}.{libm_name(function, dtype)}({parts})"
            case ir.Fold():
                raise CodegenError("a fold outside of a tile")
        assert_never(value)

    def literal(self, number: float, dtype: ScalarType) -> str:
        if dtype is ScalarType.BOOL:
            return str(bool(number))
        if not math.isfinite(number):
            sign = "-" if number < 0 else ""
            return self.converted(f"{sign}np.{'nan' if math.isnan(number) else 'inf'}", dtype)
        return self.converted(repr(number), dtype)

    def converted(self, text: str, dtype: ScalarType) -> str:
        if dtype is ScalarType.BOOL:
            return f"({text} != 0)"
        return f"{self.source.use(dtype.value)}({text})"

    def _binary(self, value: ir.BinaryOp, *, added: bool) -> str:
        op, dtype = value.op, value.dtype
        if op in ("&&", "||"):
            word = "and" if op == "&&" else "or"
            return f"({self.value(value.left)} {word} {self.value(value.right)})"
        if op == "*" and added and dtype in _FLOATS:
            name = "fmul_rn" if dtype is ScalarType.FLOAT32 else "dmul_rn"
            return f"{self.source.use('libm')}.{name}({self.value(value.left)}, {self.value(value.right)})"
        sums = op in ("+", "-")
        return self.combined(op, self.value(value.left, added=sums), self.value(value.right, added=sums), dtype)

    def combined(self, op: str, left: str, right: str, dtype: ScalarType) -> str:
        """`left op right` of two texts, in the type of the result."""
        if op in ("min", "max"):
            return f"{self.source.use(op + 'imum')}({left}, {right})"
        if op in ("/", "%") and dtype.is_integer:
            return f"{self.source.use('floor_div' if op == '/' else 'floor_mod')}({left}, {right})"
        text = f"({left} {op} {right})"
        return self.converted(text, dtype) if dtype.is_integer or dtype is ScalarType.FLOAT16 else text
