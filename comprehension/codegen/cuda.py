"""KernelIR to readable Python for numba.cuda: one kernel per stage.

In: a verified kernel whose stages were mapped (`poly.transform.map_gpu`).  Out: `GeneratedCuda`: text, and for each
entry its parameters and how many threads it wants.
Invariant: arguments are flat pointers and int64s (no array descriptors: whoever launches needs no numba); a thread's
number is divided into the mapped loops, the last one fastest; every name went through `names.Scope`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from comprehension.codegen.abi import dim_names
from comprehension.codegen.cuda_text import NUMPY, Body, Source
from comprehension.codegen.function import CodegenError
from comprehension.codegen.names import identifier
from comprehension.codegen.subscript import elements_of, simplified
from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.size_text import text_of
from comprehension.lang.types import ScalarType

BLOCK = 128
"""Threads of a block."""
LOCAL_ELEMENTS = 1024
"""A larger local buffer is given to each thread in global memory."""

ParameterKind = Literal["buffer", "scalar", "size", "scratch"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a kernel.

    buffer: pointer to the tensor; scalar: the value; size: int64; scratch: pointer to `elements` (Python text over
    sizes) for each thread of the grid.
    """

    name: str
    kind: ParameterKind
    dtype: str
    elements: str = ""


@dataclass(frozen=True, slots=True)
class CudaEntry:
    """`threads` (Python text over sizes) have work; they are launched in blocks of `block`."""

    name: str
    parameters: tuple[Parameter, ...]
    threads: str
    block: int = BLOCK


@dataclass(frozen=True, slots=True)
class GeneratedCuda:
    """Python text and its kernels in the order in which they run."""

    text: str
    entries: tuple[CudaEntry, ...]


def generate_cuda(kernel: ir.Kernel) -> GeneratedCuda:
    """Source of all stages.

    Raises CodegenError for what no thread can run: float16 arithmetic, shared memory, stages that are not mapped.
    """
    stages = [_stage(kernel, stage) for stage in kernel.stages]
    head = "import numpy as np\nfrom numba import cuda\n"
    names = sorted(set().union(*(source.imports for source, _ in stages)))
    if names:
        head += f"from comprehension.codegen.cuda_functions import {', '.join(names)}\n"
    text = head + "".join("\n\n" + "\n".join(source.lines) + "\n" for source, _ in stages)
    return GeneratedCuda(text, tuple(entry for _, entry in stages))


def _stage(kernel: ir.Kernel, stage: ir.Stage) -> tuple[Source, CudaEntry]:
    if stage.parallel is not None:
        raise CodegenError(f"{stage.name} has a parallel range: map it to threads first")
    name = identifier(f"{kernel.name}_{stage.name}")
    source = Source(kernel, frozenset({name}))
    nest, body = _mapped_nest(stage)
    source.line("thread = cuda.grid(1)")
    threads = _threads(nest)
    with source.block(f"if thread < {source.integer(threads)}:"):
        _divide(source, nest)
        local = [b for b in kernel.buffers if _is_used(stage, b.name) and _is_local(b)]
        for buffer in local:
            _declare(source, buffer)
        Body(source).nodes(body)
    parameters = _parameters(kernel, source, [b for b in local if _is_large(b)])
    listed = ", ".join(source.names[p.kind, p.name] for p in parameters)
    source.lines.insert(0, f"def {name}({listed}):")
    return source, CudaEntry(name, parameters, text_of(threads))


def _mapped_nest(stage: ir.Stage) -> tuple[list[ir.Loop], tuple[ir.Node, ...]]:
    """The mapped loops, outermost first, and what each thread runs."""
    nest: list[ir.Loop] = []
    body = stage.body
    while len(body) == 1 and isinstance(loop := body[0], ir.Loop) and loop.mapping is not None:
        nest.append(loop)
        body = loop.body
    if any(loop.mapping is not None for loop in nodes_of(body, ir.Loop)):
        raise CodegenError(f"{stage.name}: a loop inside of a thread is mapped to threads")
    return nest, body


def _extent(loop: ir.Loop) -> ir.IntExpr:
    """How many iterations: ceil((upper - lower) / step), not below 0."""
    span = simplified(ir.IntOp("-", loop.upper, loop.lower))
    if loop.step != 1:
        span = ir.IntOp("/", simplified(ir.IntOp("+", span, ir.Int(loop.step - 1))), ir.Int(loop.step))
    return span if isinstance(span, ir.Int) and span.value >= 0 else ir.IntOp("max", span, ir.Int(0))


def _threads(nest: Sequence[ir.Loop]) -> ir.IntExpr:
    total: ir.IntExpr = ir.Int(1)
    for loop in nest:
        total = ir.IntOp("*", total, _extent(loop))
    return simplified(total)


def _divide(source: Source, nest: Sequence[ir.Loop]) -> None:
    """The thread's number as values of the mapped loops' variables: how far each is from its start, then the values."""
    rest, indices = "thread", {}
    for loop in reversed(nest[1:]):
        extent = source.integer(_extent(loop))
        extent = extent if extent.isidentifier() or extent.isdigit() else f"({extent})"
        index = source.scope.fresh(f"{loop.variable}_index")
        source.line(f"{index} = {rest} % {extent}")
        source.line(f"rest = {rest} // {extent}")
        rest, indices[loop.variable] = "rest", index
    for loop in nest:  # outer ones first: an inner lower bound may depend on them
        index = indices.get(loop.variable, rest)
        text = index if loop.step == 1 else f"{index} * {loop.step}"
        lower = source.integer(loop.lower)
        source.line(f"{source.variable(loop.variable)} = {text if lower == '0' else f'{lower} + {text}'}")


# --- buffers and parameters -------------------------------------------------------------------------------------


def _is_local(buffer: ir.Buffer) -> bool:
    if buffer.space is ir.Space.SHARED:
        raise CodegenError(f"{buffer.name}: shared memory is for blocks that work together, which these do not")
    return buffer.space in (ir.Space.SCRATCH, ir.Space.REGISTER)


def _is_used(stage: ir.Stage, name: str) -> bool:
    loads, stores = nodes_of(stage, ir.Load), nodes_of(stage, ir.Store)
    return any(n.buffer == name for n in loads) or any(n.buffer == name for n in stores)


def _is_large(buffer: ir.Buffer) -> bool:
    elements = elements_of(buffer)
    return not isinstance(elements, ir.Int) or elements.value > LOCAL_ELEMENTS


def _declare(source: Source, buffer: ir.Buffer) -> None:
    """A local array, or the thread's part of a scratch array in global memory."""
    name = source.buffer(buffer.name)
    elements = elements_of(buffer)
    if _is_large(buffer):
        whole = source.name("scratch", buffer.name)
        source.line(f"{name} = {whole}")
        source.offsets[buffer.name] = f"thread * ({source.integer(elements)})"
    else:
        assert isinstance(elements, ir.Int)
        source.line(f"{name} = cuda.local.array({max(elements.value, 1)}, {NUMPY[buffer.dtype]})")


def _parameters(kernel: ir.Kernel, source: Source, large: Sequence[ir.Buffer]) -> tuple[Parameter, ...]:
    """What the body used, in a fixed order: buffers, scratch, scalars, sizes."""
    found: list[Parameter] = []
    for buffer in kernel.buffers:
        if not _is_local(buffer) and ("buffer", buffer.name) in source.names:
            found.append(Parameter(buffer.name, "buffer", _stored(buffer.dtype)))
    for buffer in large:
        found.append(Parameter(buffer.name, "scratch", _stored(buffer.dtype), text_of(elements_of(buffer))))
    for name, dtype in kernel.scalars:
        if ("scalar", name) in source.names:
            found.append(Parameter(name, "scalar", _stored(dtype)))
    for name in dim_names(kernel):
        if ("size", name) in source.names:
            found.append(Parameter(name, "size", "int64"))
    return tuple(found)


def _stored(dtype: ScalarType) -> str:
    """The type of elements in memory: bool is a byte of 0 or 1."""
    return "uint8" if dtype is ScalarType.BOOL else dtype.value
