"""Runs KernelIR through source, object file and loader: the native twin of `kernel.interpret.interpret`."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from comprehension.codegen.abi import dim_names, slot_names
from comprehension.codegen.cpu import GeneratedSource, generate
from comprehension.jit.emit import STAGE_SIGNATURE, emit_by_numba, emit_kernel
from comprehension.jit.load import LoadedObject, load_object
from comprehension.kernel import ir
from comprehension.kernel.verify import verify_kernel
from comprehension.machine import host

Array = np.ndarray[Any, Any]
STAGE = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)
_LOADED: dict[str, LoadedObject] = {}


def compiled(source: GeneratedSource, by_numba: bool = False) -> LoadedObject:
    """The object of a generated module, made by our own lowering or by numba's; equal texts are compiled once."""
    key = f"{hashlib.sha256(source.text.encode()).hexdigest()} {by_numba}"
    if key not in _LOADED:
        if by_numba:
            data = emit_by_numba("kernel", source.text, dict.fromkeys(source.entries, STAGE_SIGNATURE), host())
        else:
            data = emit_kernel("kernel", source.text, host())
        _LOADED[key] = load_object("kernel", data, source.entries)
    return _LOADED[key]


def aligned(shape: tuple[int, ...], dtype: Any, past: int = 0) -> Array:
    """An array of zeros that begins at a multiple of 64 bytes, or so many bytes past one."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(count + 64 + past, np.uint8)
    start = -raw.ctypes.data % 64 + past
    return raw[start : start + count].view(dtype).reshape(shape)


def evaluate(expression: ir.IntExpr, values: Mapping[str, int]) -> int:
    """A shape or bound over sizes."""
    match expression:
        case ir.Int(value):
            return value
        case ir.Var(name):
            return values[name]
        case ir.IntOp(op, left, right):
            a, b = evaluate(left, values), evaluate(right, values)
            table = {"+": a + b, "-": a - b, "*": a * b, "min": min(a, b), "max": max(a, b)}
            return table[op] if op in table else (a // b if op == "/" else a % b)
        case _:
            raise ValueError(f"no size: {expression}")


class Native:
    """One kernel's machine code with memory for its buffers."""

    def __init__(
        self, kernel: ir.Kernel, sizes: Mapping[str, int] | None = None, checked: bool = True, by_numba: bool = False
    ) -> None:
        verify_kernel(kernel)
        self.kernel, self.sizes = kernel, dict(sizes or {})
        self.source = generate(kernel, host(), checked)
        self.code = compiled(self.source, by_numba)
        self.record = np.zeros(8, np.int64)
        self.stages = [STAGE(self.code.addresses[entry]) for entry in self.source.entries]

    def shape(self, buffer: ir.Buffer) -> tuple[int, ...]:
        return tuple(evaluate(extent, self.sizes) for extent in buffer.shape)

    def bind(
        self, arrays: Mapping[str, Array], scalars: Mapping[str, Any] | None = None, past: int = 0
    ) -> dict[str, Array]:
        """Sets the arguments; returns every slot's array (contiguous copies, workspaces included).

        They begin `past` bytes after a multiple of 64.
        """
        self.memory: dict[str, Array] = {}
        for buffer in self.kernel.buffers:
            if buffer.name in slot_names(self.kernel):
                memory = aligned(self.shape(buffer), buffer.dtype.numpy, past)
                if buffer.name in arrays:
                    memory[...] = arrays[buffer.name]
                self.memory[buffer.name] = memory
        for name, dtype in self.kernel.scalars:
            self.memory[name] = np.array([(scalars or {})[name]], dtype.numpy)
        pointers = [self.memory[name].ctypes.data for name in slot_names(self.kernel)] + [self.record.ctypes.data]
        self.pointers = (ctypes.c_void_p * len(pointers))(*pointers)
        dims = [self.sizes[name] for name in dim_names(self.kernel)]
        self.dims = (ctypes.c_int64 * (len(dims) + 1))(*dims, 0)
        need = self.source.scratch_bytes
        size = need if isinstance(need, int) else int(eval(need, {"min": min, "max": max}, dict(self.sizes)))
        self.scratch = aligned((size + 64,), np.uint8)
        return self.memory

    def units(self, stage: ir.Stage) -> int:
        if stage.parallel is None:
            return 1
        loop = stage.parallel
        extent = evaluate(loop.upper, self.sizes) - evaluate(loop.lower, self.sizes)
        return max(0, -(-extent // loop.step))

    def run(self) -> int:
        """All stages, each over its whole range; the first nonzero code stops."""
        ranges = [1] * self.source.checks + [self.units(stage) for stage in self.kernel.stages]
        for stage, count in zip(self.stages, ranges, strict=True):
            code = stage(self.pointers, self.dims, self.scratch.ctypes.data, 0, count)
            if code:
                return int(code)
        return 0


def run_native(
    kernel: ir.Kernel,
    arrays: Mapping[str, Array],
    sizes: Mapping[str, int] | None = None,
    scalars: Mapping[str, Any] | None = None,
    by_numba: bool = False,
) -> dict[str, Array]:
    """The outputs, as new arrays (as `interpret` gives them)."""
    native = Native(kernel, sizes, by_numba=by_numba)
    memory = native.bind(arrays, scalars)
    assert native.run() == 0
    return {b.name: memory[b.name] for b in kernel.buffers if b.space is ir.Space.OUTPUT}
