"""KernelIR to readable Python for numba.cuda: one kernel per stage.

In: a verified kernel whose stages were mapped (`poly.transform.map_gpu`).  Out: `GeneratedCuda`: text, and for each
entry its parameters and the shapes of its grid and blocks.
Invariant: arguments are flat pointers and int64s (no array descriptors: whoever launches needs no numba); every
mapped loop is strided by the number of its threads or blocks, so that the text is right for every shape, and the
shapes of an entry are 1 in every dimension that it does not use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from comprehension.codegen.abi import dim_names
from comprehension.codegen.checks import ScanLoop, ScanNode, scan_of
from comprehension.codegen.cuda_source import Source
from comprehension.codegen.cuda_text import EVERYBODY, Body, loop_head, plain_scan, print_scan, storage
from comprehension.codegen.cuda_value_text import Values
from comprehension.codegen.function import CodegenError
from comprehension.codegen.names import identifier
from comprehension.codegen.subscript import elements_of, simplified, variables
from comprehension.kernel import ir
from comprehension.kernel.outside import Outside
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.size_text import text_of
from comprehension.kernel.walk import accesses_in
from comprehension.lang.types import ScalarType

BLOCK = 128
"""Threads of a block of the kernels that check subscripts."""
MOST_THREADS = (1024, 1024, 64)
MOST_BLOCKS = ((1 << 31) - 1, 65_535, 65_535)
"""What the hardware allows of either, x first; beyond that, a thread takes several points."""
BLOCKS_WITH_SCRATCH: dict[str, int] = {"thread scratch": 128, "block scratch": 1024}
"""Blocks of a grid in all where threads or blocks have global memory of their own."""
LOCAL_ELEMENTS = 1024
"""A larger local buffer is given to each thread in global memory."""
SHARED_BYTES = 48 << 10
"""What a block may have of shared memory; what does not fit is given to each block in global memory."""

ParameterKind = Literal["buffer", "scalar", "size", "thread scratch", "block scratch", "errors"]
Shape = tuple[str, str, str]
_ALONE: Shape = ("1", "1", "1")


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a kernel.

    buffer: pointer to the tensor; scalar: the value; size: int64; thread scratch, block scratch: pointer to
    `elements` (Python text over sizes) for each thread or block of the grid; errors: pointer to three int64 that are
    0 (code of the message, subscript seen, how many elements there are).
    """

    name: str
    kind: ParameterKind
    dtype: str
    elements: str = ""


@dataclass(frozen=True, slots=True)
class CudaEntry:
    """One kernel: `threads` of a block and `blocks` of the grid, x first (Python texts over sizes and scalars)."""

    name: str
    parameters: tuple[Parameter, ...]
    threads: Shape
    blocks: Shape


@dataclass(frozen=True, slots=True)
class GeneratedCuda:
    """Python text and its kernels in the order in which they run; `errors` are what their checks find.

    The first `checks` kernels look at indirect subscripts before anything is written.  A kernel that finds a report
    in `errors` does nothing.
    """

    text: str
    entries: tuple[CudaEntry, ...]
    checks: int = 0
    errors: tuple[Outside, ...] = ()


def generate_cuda(kernel: ir.Kernel, checked: bool = True, shared: bool = True) -> GeneratedCuda:
    """Source of all stages.

    With `checked`, indirect subscripts are checked: those that depend on inputs alone by kernels that run first,
    others where they are used.  With `shared`, what the threads of a block share is kept in shared memory.
    Raises CodegenError for stages that are not mapped.
    """
    failures: list[Outside] = []
    stages = [_Function(kernel, stage.name, failures, checked, shared) for stage in kernel.stages]
    for function, stage in zip(stages, kernel.stages, strict=True):
        function.print_stage(stage)
    scans = [scan for stage in kernel.stages if (scan := scan_of(kernel, stage))] if checked else []
    checks = [_Function(kernel, f"check{number}", failures, checked, shared) for number in range(len(scans))]
    for function, scan in zip(checks, scans, strict=True):
        function.print_scan(scan)
    functions = [*checks, *stages]
    reported = False  # whether a kernel before may have reported an error
    for function in functions:
        function.finish(reported)
        reported = reported or function.source.reports
    head = "import numpy as np\nfrom numba import cuda\n"
    names = sorted(set().union(*(function.source.imports for function in functions)))
    if names:
        head += f"from comprehension.codegen.cuda_functions import {', '.join(names)}\n"
    text = head + "".join("\n\n" + "\n".join(function.source.lines) + "\n" for function in functions)
    return GeneratedCuda(text, tuple(f.entry for f in functions), len(checks), tuple(failures))


class _Function:
    """One kernel function: printed by `print_stage` or `print_scan`, then finished."""

    def __init__(self, kernel: ir.Kernel, name: str, failures: list[Outside], checked: bool, shared: bool) -> None:
        self.kernel = kernel
        self.source = Source(kernel, identifier(f"{kernel.name}_{name}"), failures, checked)
        self.shared_left = SHARED_BYTES if shared else 0
        self.scratch: list[Parameter] = []
        self.threads, self.blocks = _ALONE, _ALONE

    @property
    def entry(self) -> CudaEntry:
        return CudaEntry(self.source.function, self._parameters(), self.threads, self.blocks)

    def print_stage(self, stage: ir.Stage) -> None:
        if stage.parallel is not None:
            raise CodegenError(f"{stage.name} has a parallel range: divide it among blocks and threads first")
        used = {access.buffer for access in accesses_in(stage.body)}
        for buffer in self.kernel.buffers:
            if buffer.name in used:
                self._declare(buffer)
        self.threads = _shape(self.kernel, stage, "thread", stage.threads, MOST_THREADS)
        self.blocks = _shape(self.kernel, stage, "block", stage.blocks, self._most_blocks(stage))
        Body(self.source).nodes(stage.body)

    def _most_blocks(self, stage: ir.Stage) -> tuple[int, int, int]:
        """Fewer than the hardware allows where each needs memory in proportion."""
        if not self.scratch:
            return MOST_BLOCKS
        total = min(BLOCKS_WITH_SCRATCH[parameter.kind] for parameter in self.scratch)
        dimensions = len(
            {loop.mapping for loop in nodes_of(stage, ir.Loop) if (loop.mapping or "").startswith("block")}
        )
        each = int(total ** (1 / max(1, dimensions)))
        return each, each, each

    def print_scan(self, nodes: Sequence[ScanNode]) -> None:
        """Blocks divide the loop around all checks, threads the one inside; one thread where there is no loop."""
        nodes = plain_scan(nodes)
        if len(nodes) != 1 or not isinstance(outer := nodes[0], ScanLoop):
            print_scan(self.source, nodes)
            return
        self.threads = (str(BLOCK), "1", "1")
        if len(outer.body) != 1 or not isinstance(inner := outer.body[0], ScanLoop):
            blocks = ir.IntOp("/", ir.IntOp("+", _extent(outer), ir.Int(BLOCK - 1)), ir.Int(BLOCK))
            self.blocks = (_at_least_one(blocks, MOST_BLOCKS[0]), "1", "1")
            with self.source.block(loop_head(self.source, outer, EVERYBODY)):
                print_scan(self.source, outer.body)
            return
        self.blocks = (_at_least_one(_extent(outer), MOST_BLOCKS[0]), "1", "1")
        with self.source.block(loop_head(self.source, outer, "block.x")):  # noqa: SIM117 - as they are printed
            with self.source.block(loop_head(self.source, inner, "thread.x")):
                print_scan(self.source, inner.body)

    def finish(self, reported: bool) -> None:
        """Adds the head, now that it is known what the body uses; `reported`: an earlier kernel may have failed."""
        source = self.source
        self.takes_errors = reported or source.reports
        head = [f"def {source.function}({', '.join(source.names[p.kind, p.name] for p in self._parameters())}):"]
        if reported:
            head += ["    if errors[0] != 0:", "        return"]
        source.lines[:0] = head

    # --- buffers and parameters -------------------------------------------------------------------------------------

    def _declare(self, buffer: ir.Buffer) -> None:
        """Memory of a thread or block: an array of its own, or its part of an array in global memory."""
        elements = elements_of(buffer)
        dtype = storage(self.source, buffer.dtype)
        match buffer.space:
            case ir.Space.SCRATCH | ir.Space.REGISTER:
                if self.source.is_variable(buffer.name):
                    pass
                elif isinstance(elements, ir.Int) and elements.value <= LOCAL_ELEMENTS:
                    size = max(elements.value, 1)
                    self.source.line(f"{self.source.buffer(buffer.name)} = cuda.local.array({size}, {dtype})")
                else:
                    self._part_of_scratch(buffer, "thread scratch", elements)
            case ir.Space.SHARED:
                size = max(elements.value, 1) if isinstance(elements, ir.Int) else SHARED_BYTES
                if size * buffer.dtype.bits // 8 <= self.shared_left:
                    self.shared_left -= size * buffer.dtype.bits // 8
                    self.source.line(f"{self.source.buffer(buffer.name)} = cuda.shared.array({size}, {dtype})")
                else:
                    self._part_of_scratch(buffer, "block scratch", elements)
            case ir.Space.INPUT | ir.Space.OUTPUT | ir.Space.WORKSPACE:
                pass

    def _part_of_scratch(
        self, buffer: ir.Buffer, kind: Literal["thread scratch", "block scratch"], elements: ir.IntExpr
    ) -> None:
        source = self.source
        self.scratch.append(Parameter(buffer.name, kind, _stored(buffer.dtype), text_of(elements)))
        source.names["buffer", buffer.name] = source.name(kind, buffer.name)
        owner = "thread" if kind == "thread scratch" else "block"
        if not any(line.strip().startswith(f"{owner} = ") for line in source.lines):
            source.line(f"{owner} = {_NUMBERS[owner]}")
        source.offsets[buffer.name] = f"{owner} * ({Values(source).integer(elements)})"

    def _parameters(self) -> tuple[Parameter, ...]:
        """What the body used, in a fixed order: buffers, scratch, scalars, sizes, errors."""
        names = self.source.names
        found = [
            Parameter(buffer.name, "buffer", _stored(buffer.dtype))
            for buffer in self.kernel.buffers
            if ("buffer", buffer.name) in names and buffer.space in _ARGUMENTS
        ]
        found += self.scratch
        found += [Parameter(n, "scalar", _stored(dtype)) for n, dtype in self.kernel.scalars if ("scalar", n) in names]
        found += [Parameter(n, "size", "int64") for n in dim_names(self.kernel) if ("size", n) in names]
        if self.takes_errors:
            names["errors", "errors"] = "errors"
            found.append(Parameter("errors", "errors", "int64"))
        return tuple(found)


_ARGUMENTS = (ir.Space.INPUT, ir.Space.OUTPUT, ir.Space.WORKSPACE)
_BLOCK_NUMBER = "(cuda.blockIdx.z * cuda.gridDim.y + cuda.blockIdx.y) * cuda.gridDim.x + cuda.blockIdx.x"
_THREAD_IN_BLOCK = "(cuda.threadIdx.z * cuda.blockDim.y + cuda.threadIdx.y) * cuda.blockDim.x + cuda.threadIdx.x"
_BLOCK_SIZE = "(cuda.blockDim.x * cuda.blockDim.y * cuda.blockDim.z)"
_NUMBERS = {"block": _BLOCK_NUMBER, "thread": f"({_BLOCK_NUMBER}) * {_BLOCK_SIZE} + {_THREAD_IN_BLOCK}"}


def _extent(loop: ir.Loop | ScanLoop) -> ir.IntExpr:
    """How many iterations: ceil((upper - lower) / step), not below 0."""
    span = simplified(ir.IntOp("-", loop.upper, loop.lower))
    if loop.step != 1:
        span = ir.IntOp("/", simplified(ir.IntOp("+", span, ir.Int(loop.step - 1))), ir.Int(loop.step))
    return span if isinstance(span, ir.Int) and span.value >= 0 else ir.IntOp("max", span, ir.Int(0))


def _shape(
    kernel: ir.Kernel, stage: ir.Stage, level: str, wanted: tuple[int, ...], most: tuple[int, int, int]
) -> Shape:
    """Blocks or threads along x, y, z: as many as wanted, not more than there is work for; 1 where none is used."""
    known = {*kernel.sizes, *(name for name, _ in kernel.scalars)}
    shape = []
    for number, dimension in enumerate("xyz"):
        loops = [loop for loop in nodes_of(stage, ir.Loop) if loop.mapping == f"{level}.{dimension}"]
        limit = min(wanted[number], most[number]) if number < len(wanted) else most[number]
        extents = [_extent(loop) for loop in loops]
        if not loops:
            shape.append("1")
        elif all(variables(extent) <= known for extent in extents):
            total = extents[0]
            for extent in extents[1:]:
                total = simplified(ir.IntOp("max", total, extent))
            shape.append(_at_least_one(total, limit))
        else:
            shape.append(str(limit))
    return shape[0], shape[1], shape[2]


def _at_least_one(count: ir.IntExpr, most: int) -> str:
    clamped = simplified(ir.IntOp("max", ir.Int(1), simplified(ir.IntOp("min", simplified(count), ir.Int(most)))))
    return text_of(clamped)


def _stored(dtype: ScalarType) -> str:
    """The type of elements in memory: bool is a byte of 0 or 1."""
    return "uint8" if dtype is ScalarType.BOOL else dtype.value
