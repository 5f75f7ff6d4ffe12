"""Statements of one thread as source text.

In: KernelIR without tiles.  Out: lines of Python for numba.cuda.
Invariant: a loop that is mapped to blocks or threads is strided by how many of them there are, so that the text is
right for every shape of grid and block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from comprehension.codegen.checks import Check, ScanIf, ScanLoop, ScanNode, checks_in_place
from comprehension.codegen.cuda_source import Source
from comprehension.codegen.cuda_value_text import Values
from comprehension.codegen.function import CodegenError
from comprehension.codegen.subscript import variables
from comprehension.kernel import ir
from comprehension.kernel.simplify import truth
from comprehension.lang.types import ScalarType

STORAGE = {t: f"np.{t.value}" for t in ScalarType} | {ScalarType.BOOL: "np.uint8"}
EVERYBODY = "everybody"
"""What divides a loop among all threads of the grid."""
_DIVIDED = {f"block.{d}": (f"cuda.blockIdx.{d}", f"cuda.gridDim.{d}") for d in "xyz"}
_DIVIDED |= {f"thread.{d}": (f"cuda.threadIdx.{d}", f"cuda.blockDim.{d}") for d in "xyz"}
_DIVIDED |= {EVERYBODY: ("cuda.grid(1)", "cuda.gridsize(1)")}


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
                raise CodegenError("a tile: threads are made from plain loops")
            case ir.Barrier():
                source.line("cuda.syncthreads()")
            case _:
                assert_never(node)

    def _loop(self, loop: ir.Loop) -> None:
        if loop.mapping is not None and is_pinned(loop):
            head = f"if {_DIVIDED[loop.mapping][0]} == 0:"
        else:
            head = loop_head(self.source, loop, loop.mapping)
        with self.source.block(head):
            self.nodes(loop.body)

    def _checks(self, statement: ir.Define | ir.Store) -> None:
        """The checks that only this place can make."""
        if self.source.checked:
            for check in checks_in_place(self.source.kernel, statement, self.source.definitions):
                print_check(self.source, check)

    def _store(self, store: ir.Store) -> None:
        values = Values(self.source)
        dtype = self.source.kernel.buffer(store.buffer).dtype
        text = values.written(store.buffer, values.value(store.value), dtype)
        self.source.line(f"{values.element(store.buffer, store.subscripts)} = {text}")


def loop_head(source: Source, loop: ir.Loop | ScanLoop, mapping: str | None) -> str:
    """`for variable in range(...)`, strided by how many blocks or threads divide it."""
    values = Values(source)
    first, last, step = values.integer(loop.lower), values.integer(loop.upper), str(loop.step)
    if mapping is not None:
        number, step = _DIVIDED[mapping]
        if loop.step != 1:
            number, step = f"{number} * {loop.step}", f"{step} * {loop.step}"
        first = number if first == "0" else f"{first} + {number}"
    bounds = [first, last] if step == "1" else [first, last, step]
    return f"for {source.variable(loop.variable)} in range({', '.join(bounds)}):"


def is_pinned(loop: ir.Loop) -> bool:
    """One iteration, for the first block or thread of a dimension, and nobody asks for its number."""
    return (loop.lower, loop.upper) == (ir.Int(0), ir.Int(1)) and loop.variable not in variables(loop.body)


# --- checks -------------------------------------------------------------------------------------------------------


def plain_scan(nodes: Sequence[ScanNode]) -> tuple[ScanNode, ...]:
    """The nodes without conditions whose outcome is known."""
    result: list[ScanNode] = []
    for node in nodes:
        match node:
            case ScanIf(condition, body):
                known = truth(condition)
                result += [ScanIf(condition, plain_scan(body))] if known is None else plain_scan(body) if known else ()
            case ScanLoop(body=body):
                result.append(replace(node, body=plain_scan(body)))
            case Check() | ir.Define():
                result.append(node)
            case _:
                assert_never(node)
    return tuple(result)


def print_scan(source: Source, nodes: Sequence[ScanNode]) -> None:
    """The body of a function that checks subscripts before anything is written."""
    values = Values(source)
    for node in nodes:
        match node:
            case Check():
                print_check(source, node)
            case ir.Define(name=name, value=value):
                source.line(f"{source.name('value', name)} = {values.value(value, added=True)}")
            case ScanLoop(body=body):
                with source.block(loop_head(source, node, None)):
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
        code = source.failure(check.outside)
        source.line(f"{source.use('report')}(errors, {wide}({code}), {wide}({found}), {wide}({extent}))")
        source.line("return")
