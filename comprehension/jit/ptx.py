"""Generated CUDA source to PTX and machine code, on machines with or without a GPU.

In: a `GeneratedCuda` and a compute capability.  Out: PTX text, a cubin, and what the assembler says of registers,
spills and memory.  Needs the extra `cuda` (numba-cuda with NVIDIA's compiler wheels).
Invariant: kernels are compiled with numba's own calling convention for pointers and integers, one PTX module an entry.
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from typing import Any

from comprehension.codegen.cuda import CudaEntry, GeneratedCuda, Parameter

Capability = tuple[int, int]
TOOLS = ("numba-cuda", "numba", "llvmlite", "nvidia-nvvm", "nvidia-nvjitlink", "cuda-bindings")
"""What makes the machine code: NVVM compiles to PTX, ptxas inside of nvJitLink assembles it."""


def toolchain() -> dict[str, str]:
    """The versions of the tools; "absent" for what is not installed."""
    found = {}
    for tool in TOOLS:
        try:
            found[tool] = importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            found[tool] = "absent"
    return found


class CudaCompileError(Exception):
    """The assembler refused; the text is its log."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one thread or block of a kernel takes: registers, bytes of spills, of stack and of shared memory."""

    registers: int
    spill_stores: int
    spill_loads: int
    stack_bytes: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class CudaObject:
    """One kernel: `symbol` is its name in `cubin`, machine code for `capability`."""

    entry: CudaEntry
    symbol: str
    capability: Capability
    ptx: str
    cubin: bytes
    resources: Resources


def compile_cuda(generated: GeneratedCuda, capability: Capability = (9, 0)) -> tuple[CudaObject, ...]:
    """Every entry compiled and assembled.

    Raises ModuleNotFoundError without the extra `cuda`, CudaCompileError if the assembler refuses.
    """
    namespace: dict[str, Any] = {}
    exec(compile(generated.text, "<generated CUDA>", "exec"), namespace)
    objects = []
    for entry in generated.entries:
        ptx = _ptx(namespace[entry.name], entry, capability)
        cubin, resources = _assembled(ptx, capability)
        objects.append(CudaObject(entry, _symbol(ptx), capability, ptx, cubin, resources))
    return tuple(objects)


def _ptx(function: Any, entry: CudaEntry, capability: Capability) -> str:
    from numba import cuda, types

    signature = types.void(*(_type(parameter) for parameter in entry.parameters))
    code, _ = cuda.compile(function, signature, device=False, abi="numba", cc=capability)
    return str(code)


def _type(parameter: Parameter) -> Any:
    from numba import types

    scalar = types.uint16 if parameter.dtype == "float16" else getattr(types, parameter.dtype)
    return scalar if parameter.kind in ("scalar", "size") else types.CPointer(scalar)


def _symbol(ptx: str) -> str:
    found = re.search(r"\.entry\s+([^\s(]+)", ptx)
    assert found, "PTX without an entry"
    return found.group(1)


def _assembled(ptx: str, capability: Capability) -> tuple[bytes, Resources]:
    from cuda.bindings import nvjitlink

    options = [f"-arch=sm_{capability[0]}{capability[1]}", "-Xptxas=-v", "-verbose"]
    handle = nvjitlink.create(len(options), options)
    try:
        data = ptx.encode()
        try:
            nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernel")
            nvjitlink.complete(handle)
        except nvjitlink.nvJitLinkError as error:
            log = bytearray(nvjitlink.get_error_log_size(handle))
            nvjitlink.get_error_log(handle, log)
            raise CudaCompileError(log.decode(errors="replace")) from error
        cubin = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, cubin)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    return bytes(cubin), resources_of(log.decode(errors="replace"))


def resources_of(log: str) -> Resources:
    """The figures in ptxas' log.

    >>> resources_of("ptxas info : Used 12 registers, 64 bytes smem\\n 8 bytes stack frame, 4 bytes spill stores")
    Resources(registers=12, spill_stores=4, spill_loads=0, stack_bytes=8, shared_bytes=64)
    """

    def figure(pattern: str) -> int:
        found = re.search(pattern, log)
        return int(found.group(1)) if found else 0

    return Resources(
        registers=figure(r"Used (\d+) registers"),
        spill_stores=figure(r"(\d+) bytes spill stores"),
        spill_loads=figure(r"(\d+) bytes spill loads"),
        stack_bytes=figure(r"(\d+) bytes stack frame"),
        shared_bytes=figure(r"(\d+) bytes smem"),
    )
