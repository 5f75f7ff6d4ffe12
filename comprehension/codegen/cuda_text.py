"""Statements of one thread as source text.

In: KernelIR without tiles (but for those that fold).  Out: lines of Python for numba.cuda.
Invariant: a loop that is mapped to blocks or threads is strided by how many of them there are, so that the text is
right for every shape of grid and block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from comprehension.codegen.checks import Check, ScanIf, ScanLoop, ScanNode, checks_in_place
from comprehension.codegen.cuda_source import Source
from comprehension.codegen.cuda_value_text import Values
from comprehension.codegen.function import CodegenError
from comprehension.codegen.subscript import simplified, variables
from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.lang.types import ScalarType

STORAGE = {t: f"np.{t.value}" for t in ScalarType} | {ScalarType.BOOL: "np.uint8"}
_NUMBER = {"block": "cuda.blockIdx", "thread": "cuda.threadIdx"}
_COUNT = {"block": "cuda.gridDim", "thread": "cuda.blockDim"}


def storage(source: Source, dtype: ScalarType) -> str:
    """The type of elements in memory, as text."""
    return source.use("half_storage") if dtype is ScalarType.FLOAT16 else STORAGE[dtype]


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
                self._checks(node)
                source.definitions[name] = value
                source.line(f"{source.name('value', name)} = {values.value(value, added=True)}")
            case ir.Store():
                self._checks(node)
                self._store(node)
            case ir.Loop():
                self._loop(node)
            case ir.If(condition=condition, body=body):
                with source.block(f"if {values.condition(condition)}:"):
                    self.nodes(body)
            case ir.Tile():
                self._folding_tile(node)
            case ir.Barrier():
                source.line("cuda.syncthreads()")
            case _:
                assert_never(node)

    def _loop(self, loop: ir.Loop) -> None:
        source, values = self.source, Values(self.source)
        lower, upper = values.integer(loop.lower), values.integer(loop.upper)
        if loop.mapping is None:
            steps = [str(loop.step)] if loop.step != 1 else []
            head = f"for {source.variable(loop.variable)} in range({', '.join([lower, upper, *steps])}):"
        else:
            level, dimension = loop.mapping.split(".")
            number, count = f"{_NUMBER[level]}.{dimension}", f"{_COUNT[level]}.{dimension}"
            if is_pinned(loop):
                head = f"if {number} == 0:"
            else:
                if loop.step != 1:
                    number, count = f"{number} * {loop.step}", f"{count} * {loop.step}"
                first = number if lower == "0" else f"{lower} + {number}"
                head = f"for {source.variable(loop.variable)} in range({first}, {upper}, {count}):"
        with source.block(head):
            self.nodes(loop.body)

    def _checks(self, statement: ir.Define | ir.Store) -> None:
        """The checks that only this place can make."""
        if self.source.checked:
            for check in checks_in_place(self.source.kernel, statement, self.source.definitions):
                print_check(self.source, check)

    def _store(self, store: ir.Store) -> None:
        values = Values(self.source)
        dtype = self.source.kernel.buffer(store.buffer).dtype
        text = values.stored(values.value(store.value), dtype)
        self.source.line(f"{values.element(store.buffer, store.subscripts)} = {text}")

    # --- folds ----------------------------------------------------------------------------------------------------

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
        part, count, middle = (source.scope.fresh(name) for name in ("part", "count", "middle"))
        lane, start = source.variable(lanes.variable), values.integer(lanes.start)
        source.line(f"{part} = cuda.local.array({lanes.extent}, {storage(source, fold.dtype)})")
        last: ir.IntExpr = simplified(ir.IntOp("+", lanes.start, ir.Int(lanes.extent)))
        if lanes.limit is not None:
            last = ir.IntOp("min", last, lanes.limit)
        source.line(f"{count} = {values.integer(simplified(ir.IntOp('-', last, lanes.start)))}")
        with source.block(f"for {lane} in range({start}, {values.integer(last)}):"):
            place = values.integer(simplified(ir.IntOp("-", ir.Var(lanes.variable), lanes.start)))
            source.line(f"{part}[{place}] = {values.stored(values.value(fold.value), fold.dtype)}")
        with source.block(f"if {count} > 0:"):
            with source.block(f"while {count} > 1:"):
                source.line(f"{middle} = ({count} + 1) // 2")
                with source.block(f"for {lane} in range({count} - {middle}):"):
                    both = [values.loaded(f"{part}[{at}]", fold.dtype) for at in (lane, f"{lane} + {middle}")]
                    combined = values.combined(fold.op, both[0], both[1], fold.dtype)
                    source.line(f"{part}[{lane}] = {values.stored(combined, fold.dtype)}")
                source.line(f"{count} = {middle}")
            target = values.element(store.buffer, store.subscripts)
            total = Values(source, {id(fold): values.loaded(f"{part}[0]", fold.dtype)}).value(store.value)
            source.line(f"{target} = {values.stored(total, source.kernel.buffer(store.buffer).dtype)}")


def is_pinned(loop: ir.Loop) -> bool:
    """One iteration, for the first block or thread of a dimension, and nobody asks for its number."""
    return (loop.lower, loop.upper) == (ir.Int(0), ir.Int(1)) and loop.variable not in variables(loop.body)


# --- checks -------------------------------------------------------------------------------------------------------


def print_scan(source: Source, nodes: Sequence[ScanNode]) -> None:
    """The body of a function that checks subscripts before anything is written."""
    values = Values(source)
    for node in nodes:
        match node:
            case Check():
                print_check(source, node)
            case ir.Define(name=name, value=value):
                source.line(f"{source.name('value', name)} = {values.value(value, added=True)}")
            case ScanLoop(variable, lower, upper, step, body):
                bounds = [values.integer(lower), values.integer(upper), *([str(step)] if step != 1 else [])]
                with source.block(f"for {source.variable(variable)} in range({', '.join(bounds)}):"):
                    print_scan(source, body)
            case ScanIf(condition, body):
                with source.block(f"if {values.condition(condition)}:"):
                    print_scan(source, body)
            case _:
                assert_never(node)


def print_check(source: Source, check: Check) -> None:
    """A thread that meets a subscript out of range reports it and ends."""
    _guarded_check(source, check, check.guards)


def _guarded_check(source: Source, check: Check, guards: Sequence[ir.Value]) -> None:
    values = Values(source)
    if guards:
        with source.block(f"if {values.value(guards[0])}:"):
            _guarded_check(source, check, guards[1:])
        return
    found = source.scope.fresh("subscript")
    source.line(f"{found} = {values.integer(check.subscript)}")
    extent, wide = values.integer(check.extent), source.use("int64")
    with source.block(f"if {found} < 0 or {found} >= {extent}:"):
        code = source.message(check.message)
        source.line(f"{source.use('report')}(errors, {wide}({code}), {wide}({found}), {wide}({extent}))")
        source.line("return")
