"""Shapes of KernelIR that the CPU printer turns into fast code, written by hand and measured on one core.

In: nothing.  Out: a table, and `benchmarks/results/codegen_shapes.json`: for each shape its compile time, its
speed and the fraction of the measured limit (multiply-adds a second, or copied bytes a second).
Invariant: every result is compared with NumPy before any clock runs.

What the scheduler should aim at is said in `comprehension.codegen`; this module is where those claims come from.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.timing import save, time_sides
from comprehension.bench.limits import copy_bandwidth, fma_peak
from comprehension.codegen.cpu import generate
from comprehension.jit.emit import emit_kernel
from comprehension.jit.load import load_object
from comprehension.kernel import ir
from comprehension.kernel.ir import Axis, Buffer, Const, Fma, Int, IntExpr, Load, Loop, Space, Stage, StoreRole, Tile
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.types import ScalarType
from comprehension.machine import host

F32 = ScalarType.FLOAT32
Array = np.ndarray[Any, Any]


# --- a little notation ------------------------------------------------------------------------------------------


def v(name: str) -> ir.Var:
    return ir.Var(name)


def add(a: IntExpr, b: IntExpr | int) -> IntExpr:
    return ir.IntOp("+", a, Int(b) if isinstance(b, int) else b)


def sub(a: IntExpr, b: IntExpr | int) -> IntExpr:
    return ir.IntOp("-", a, Int(b) if isinstance(b, int) else b)


def mul(a: IntExpr, b: int) -> IntExpr:
    return ir.IntOp("*", a, Int(b))


def load(name: str, *at: IntExpr) -> Load:
    return Load(name, at, F32)


def store(name: str, at: tuple[IntExpr, ...], value: ir.Value, role: StoreRole = StoreRole.EXECUTE) -> ir.Store:
    return ir.Store(name, at, value, role)


def op(symbol: Any, a: ir.Value, b: ir.Value) -> ir.BinaryOp:
    return ir.BinaryOp(symbol, a, b, F32)


def buffer(name: str, space: Space, *shape: int) -> Buffer:
    return Buffer(name, F32, tuple(Int(n) for n in shape), space)


def number(value: float) -> Const:
    return Const(value, F32)


def limit(extent: int, block: int) -> Int | None:
    """A limit where blocks do not fill the extent."""
    return None if extent % block == 0 else Int(extent)


def blocks(extent: int, block: int) -> int:
    return -(-extent // block)


# --- the shapes ---------------------------------------------------------------------------------------------------


def product(m: int, n: int, k: int, rows: int, lanes: int, deep: int = 256, tall: int = 96) -> ir.Kernel:
    """C = A B: B packed once into panels of `lanes` columns, A by each worker into panels of `rows` rows.

    for each block of `tall` rows (parallel), for each block of `deep` of k:
        pack A; for each panel of B: for each panel of A: a register tile runs over k and is added to C
    """
    panels_n, panels_m = blocks(n, lanes), blocks(tall, rows)
    i0, j0, k0 = v("i0"), mul(v("jb"), lanes), v("k0")
    row0 = add(i0, mul(v("ib"), rows))
    r, l, here = v("r"), v("l"), (sub(v("r"), row0), sub(v("l"), j0))
    to_b = store("B_packed", (v("jb"), v("k"), sub(l, j0)), load("B", v("k"), l), StoreRole.COPY)
    copy_b = Tile(None, Axis("l", j0, lanes, limit(n, lanes)), (to_b,))
    column0 = add(k0, mul(v("kb"), 16))
    to_a = store("A_packed", (v("ib"), sub(l, k0), sub(r, row0)), load("A", r, l), StoreRole.COPY)
    copy_a = Tile(Axis("r", row0, rows, limit(m, tall)), Axis("l", column0, 16, limit(k, deep)), (to_a,))
    whole = (Axis("r", row0, rows), Axis("l", j0, lanes))
    edge = (Axis("r", row0, rows, limit(m, tall)), Axis("l", j0, lanes, limit(n, lanes)))
    step = Fma(load("A_packed", v("ib"), v("k"), here[0]), load("B_packed", v("jb"), add(k0, v("k")), here[1]),
               load("acc", *here), F32)  # fmt: skip
    depth = Int(deep) if k % deep == 0 else ir.IntOp("min", Int(deep), sub(Int(k), k0))
    micro = (
        Tile(*whole, (store("acc", here, number(0.0), StoreRole.FILL),)),
        Loop("k", Int(0), depth, (Tile(*whole, (store("acc", here, step),)),)),
        Tile(*edge, (store("C", (r, l), op("+", load("C", r, l), load("acc", *here)), StoreRole.COMBINE),)),
    )
    clear = Tile(None, Axis("l", mul(v("nb"), 16), 16, limit(n, 16)), (store("C", (v("m"), l), number(0.0)),))
    until = ir.IntOp("min", Int(m), add(i0, tall))
    main = (
        Loop("m", i0, until, (Loop("nb", Int(0), Int(blocks(n, 16)), (clear,)),)),
        Loop("k0", Int(0), Int(k), (
            Loop("ib", Int(0), Int(panels_m), (Loop("kb", Int(0), Int(deep // 16), (copy_a,)),)),
            Loop("jb", Int(0), Int(panels_n), (Loop("ib", Int(0), Int(panels_m), micro),)),
        ), step=deep),
    )  # fmt: skip
    buffers = (
        buffer("A", Space.INPUT, m, k), buffer("B", Space.INPUT, k, n), buffer("C", Space.OUTPUT, m, n),
        buffer("B_packed", Space.WORKSPACE, panels_n, blocks(k, deep) * deep, lanes),
        buffer("A_packed", Space.SCRATCH, panels_m, deep, rows), buffer("acc", Space.REGISTER, rows, lanes),
    )  # fmt: skip
    stages = (
        Stage("pack", (Loop("k", Int(0), Int(k), (copy_b,)),), Loop("jb", Int(0), Int(panels_n), ())),
        Stage("main", main, Loop("i0", Int(0), Int(m), (), step=tall)),
    )
    return ir.Kernel("product", (), (), buffers, stages)


def gelu(count: int, lanes: int) -> ir.Kernel:
    """Y = X / 2 (1 + erf(X / sqrt 2)), a tile of `lanes` at a time."""
    start = mul(add(mul(v("b"), 1024), v("j")), lanes)
    x = load("X", v("l"))
    inner = ir.Builtin("erf", (op("*", x, number(0.7071067811865476)),), F32)
    value = op("*", op("*", x, number(0.5)), op("+", number(1.0), inner))
    tile = Tile(None, Axis("l", start, lanes, limit(count, 1024 * lanes)), (store("Y", (v("l"),), value),))
    stage = Stage(
        "s", (Loop("j", Int(0), Int(1024), (tile,)),), Loop("b", Int(0), Int(blocks(count, 1024 * lanes)), ())
    )
    return ir.Kernel("gelu", (), (), (buffer("X", Space.INPUT, count), buffer("Y", Space.OUTPUT, count)), (stage,))


def softmax(rows: int, columns: int, lanes: int) -> ir.Kernel:
    """Row by row: maximum and sum in `lanes` private accumulators each, folded by a tree."""
    i, l, start = v("i"), v("l"), mul(v("j"), lanes)
    count = Int(blocks(columns, lanes))
    here = sub(l, start)

    def sweep(*statements: ir.Store) -> Loop:
        return Loop("j", Int(0), count, (Tile(None, Axis("l", start, lanes, limit(columns, lanes)), statements),))

    def whole(statement: ir.Store) -> Tile:
        return Tile(None, Axis("l", Int(0), lanes), (statement,))

    shifted = ir.Builtin("exp", (op("-", load("X", i, l), load("greatest")),), F32)
    body = (
        whole(store("top", (l,), number(-np.inf), StoreRole.FILL)),
        sweep(store("top", (here,), op("max", load("top", here), load("X", i, l)))),
        whole(store("greatest", (), ir.Fold("max", load("top", l), "l", F32), StoreRole.COMBINE)),
        whole(store("sums", (l,), number(0.0), StoreRole.FILL)),
        sweep(store("Y", (i, l), shifted), store("sums", (here,), op("+", load("sums", here), load("Y", i, l)))),
        whole(store("scale", (), op("/", number(1.0), ir.Fold("+", load("sums", l), "l", F32)), StoreRole.COMBINE)),
        sweep(store("Y", (i, l), op("*", load("Y", i, l), load("scale")))),
    )
    registers = [Buffer(name, F32, (Int(lanes),), Space.REGISTER) for name in ("top", "sums")]
    scalars = [Buffer(name, F32, (), Space.REGISTER) for name in ("greatest", "scale")]
    tensors = (buffer("X", Space.INPUT, rows, columns), buffer("Y", Space.OUTPUT, rows, columns))
    return ir.Kernel(
        "softmax", (), (), (*tensors, *registers, *scalars), (Stage("s", body, Loop("i", Int(0), Int(rows), ())),)
    )


@dataclass(frozen=True, slots=True)
class Convolution:
    """R(n,o,h,w) = sum over c, kh, kw of I(n,c,h+kh,w+kw) W(o,c,kh,kw), without padding."""

    n: int
    c: int
    o: int
    size: int
    kernel: int = 3

    @property
    def out(self) -> int:
        return self.size - self.kernel + 1

    def tensors(self) -> tuple[Buffer, ...]:
        return (
            buffer("I", Space.INPUT, self.n, self.c, self.size, self.size),
            buffer("W", Space.INPUT, self.o, self.c, self.kernel, self.kernel),
            buffer("R", Space.OUTPUT, self.n, self.o, self.out, self.out),
        )

    @property
    def flops(self) -> float:
        return 2.0 * self.n * self.o * self.out**2 * self.c * self.kernel**2


def _taps(shape: Convolution, body: tuple[ir.Node, ...]) -> Loop:
    """for c, for kh, for kw."""
    window = Loop("kh", Int(0), Int(shape.kernel), (Loop("kw", Int(0), Int(shape.kernel), body),))
    return Loop("c", Int(0), Int(shape.c), (window,))


def convolution(shape: Convolution, pixels_in_lanes: bool, rows: int, lanes: int) -> ir.Kernel:
    """Direct convolution with a register tile of output channels × pixels of one image row, either way round.

    The weights are packed once as (block, c, kh, kw, channel).  With pixels in lanes the image is read as
    unaligned vectors; with channels in lanes it is broadcast, and the tile is stored transposed.
    """
    o_block, w_block = (rows, lanes) if pixels_in_lanes else (lanes, rows)
    o_blocks, w_blocks = blocks(shape.o, o_block), blocks(shape.out, w_block)
    o0, w0 = mul(v("ob"), o_block), mul(v("wb"), w_block)
    o, w = (v("r"), v("l")) if pixels_in_lanes else (v("l"), v("r"))
    taps = (v("c"), v("kh"), v("kw"))
    to_packed = store("W_packed", (v("ob"), *taps, sub(v("p"), o0)), load("W", v("p"), *taps), StoreRole.COPY)
    pack = Tile(None, Axis("p", o0, o_block, limit(shape.o, o_block)), (to_packed,))

    def axes(channels_limited: bool, pixels_limited: bool) -> tuple[Axis, Axis]:
        channel = (o0, o_block, limit(shape.o, o_block) if channels_limited else None)
        pixel = (w0, w_block, limit(shape.out, w_block) if pixels_limited else None)
        first, second = (channel, pixel) if pixels_in_lanes else (pixel, channel)
        return Axis("r", *first), Axis("l", *second)

    here = (sub(v("r"), o0 if pixels_in_lanes else w0), sub(v("l"), w0 if pixels_in_lanes else o0))
    image = load("I", v("n"), v("c"), add(v("h"), v("kh")), add(w, v("kw")))
    weight = load("W_packed", v("ob"), *taps, sub(o, o0))
    step = Fma(weight, image, load("acc", *here), F32)
    tile = (
        Tile(*axes(False, False), (store("acc", here, number(0.0), StoreRole.FILL),)),
        _taps(shape, (Tile(*axes(False, True), (store("acc", here, step),)),)),  # packed channels are padded
        Tile(*axes(True, True), (store("R", (v("n"), o, v("h"), w), load("acc", *here), StoreRole.COMBINE),)),
    )
    rows_of_image = Loop("h", Int(0), Int(shape.out), (Loop("wb", Int(0), Int(w_blocks), tile),))
    main = (Loop("ob", Int(0), Int(o_blocks), (rows_of_image,)),)
    buffers = (
        *shape.tensors(),
        buffer("W_packed", Space.WORKSPACE, o_blocks, shape.c, shape.kernel, shape.kernel, o_block),
        buffer("acc", Space.REGISTER, rows, lanes),
    )
    stages = (
        Stage("pack", (_taps(shape, (pack,)),), Loop("ob", Int(0), Int(o_blocks), ())),
        Stage("main", main, Loop("n", Int(0), Int(shape.n), ())),
    )
    return ir.Kernel("convolution", (), (), buffers, stages)


# --- running --------------------------------------------------------------------------------------------------------


class Runner:
    """A kernel's machine code with memory of its own, run on one core."""

    def __init__(self, kernel: ir.Kernel, inputs: dict[str, Array]) -> None:
        verify_kernel(kernel)
        source = generate(kernel, host())
        start = time.perf_counter()
        self.object = emit_kernel("shape", source.text, host())
        self.compile_seconds = time.perf_counter() - start
        self._code = load_object("shape", self.object, source.entries)
        stage = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 2)
        self._stages = [stage(self._code.addresses[entry]) for entry in source.entries]
        self._units = [_units(s) for s in kernel.stages]
        slots = [b for b in kernel.buffers if b.space in (Space.INPUT, Space.OUTPUT, Space.WORKSPACE)]
        self.memory = {b.name: _aligned(tuple(_constant(extent) for extent in b.shape)) for b in slots}
        for name, array in inputs.items():
            self.memory[name][...] = array
        self._pointers = (ctypes.c_void_p * len(slots))(*[self.memory[b.name].ctypes.data for b in slots])
        self._scratch = _aligned((int(source.scratch_bytes) // 4 + 1,))
        self._dims = (ctypes.c_int64 * 1)()

    def __call__(self) -> None:
        for stage, count in zip(self._stages, self._units, strict=True):
            stage(self._pointers, self._dims, self._scratch.ctypes.data, 0, count)


def _units(stage: Stage) -> int:
    loop = stage.parallel
    return 1 if loop is None else blocks(_constant(loop.upper) - _constant(loop.lower), loop.step)


def _constant(extent: IntExpr) -> int:
    if not isinstance(extent, Int):
        raise ValueError(f"shapes here are static, not {extent}")
    return extent.value


def _aligned(shape: tuple[int, ...]) -> Array:
    count = int(np.prod(shape)) * 4
    raw = np.zeros(count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count].view(np.float32).reshape(shape)


@dataclass(frozen=True, slots=True)
class Case:
    """`work` is counted against `limit` (operations or bytes a second)."""

    name: str
    kernel: ir.Kernel
    inputs: dict[str, Array]
    output: str
    expected: Array
    work: float
    unit: str


def product_case(size: int, rows: int, lanes: int) -> Case:
    rng = np.random.default_rng(size)
    a, b = (rng.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    kernel = product(size, size, size, rows, lanes)
    return Case(f"product {size} as {rows}x{lanes}", kernel, {"A": a, "B": b}, "C", a @ b, 2.0 * size**3, "FLOP")


def convolution_case(shape: Convolution, pixels_in_lanes: bool, rows: int, lanes: int) -> Case:
    rng = np.random.default_rng(1)
    image = rng.standard_normal((shape.n, shape.c, shape.size, shape.size)).astype(np.float32)
    weights = rng.standard_normal((shape.o, shape.c, shape.kernel, shape.kernel)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(image, (shape.kernel, shape.kernel), axis=(2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, weights, optimize=True)
    way = "pixels" if pixels_in_lanes else "channels"
    name = f"convolution {shape.n}x{shape.c}x{shape.size}^2 to {shape.o} with {way} in lanes, {rows}x{lanes}"
    kernel = convolution(shape, pixels_in_lanes, rows, lanes)
    return Case(name, kernel, {"I": image, "W": weights}, "R", expected, shape.flops, "FLOP")


def gelu_case(count: int, lanes: int) -> Case:
    from scipy.special import erf

    x = np.random.default_rng(2).standard_normal(count).astype(np.float32)
    expected = 0.5 * x * (1 + erf(x / np.sqrt(2.0)))
    return Case(f"gelu {count} in {lanes} lanes", gelu(count, lanes), {"X": x}, "Y", expected, 8.0 * count, "byte")


def softmax_case(rows: int, columns: int, lanes: int) -> Case:
    x = np.random.default_rng(3).standard_normal((rows, columns)).astype(np.float32)
    shifted = np.exp(x - x.max(axis=1, keepdims=True))
    expected = shifted / shifted.sum(axis=1, keepdims=True)
    name = f"softmax {rows}x{columns} in {lanes} lanes"
    return Case(name, softmax(rows, columns, lanes), {"X": x}, "Y", expected, 8.0 * x.size, "byte")


def cases() -> list[Case]:
    middle, small = Convolution(8, 64, 64, 28), Convolution(64, 16, 32, 8)
    return [
        *(product_case(size, 12, 32) for size in (256, 512, 768, 1024)),
        product_case(768, 24, 16),
        product_case(1000, 12, 32),
        convolution_case(middle, True, 12, 32),
        convolution_case(middle, False, 13, 32),
        convolution_case(small, True, 16, 16),
        convolution_case(small, False, 6, 32),
        gelu_case(1 << 22, 32),
        softmax_case(1024, 1024, 64),
        softmax_case(1024, 1000, 64),
    ]


def measure(case: Case, peak: float, bandwidth: Callable[[int], float]) -> dict[str, Any]:
    """Checks, times, and relates to the limit."""
    runner = Runner(case.kernel, case.inputs)
    runner()
    scale = float(np.abs(case.expected).max())
    error = float(np.abs(runner.memory[case.output] - case.expected).max()) / scale
    if not error < 1e-4:
        raise AssertionError(f"{case.name}: relative error {error}")
    seconds = min(time_sides({"kernel": runner}, rounds=80).samples["kernel"])  # the limits are best times too
    limit_ = peak if case.unit == "FLOP" else bandwidth(int(case.work))
    return {
        "name": case.name,
        "compile_seconds": round(runner.compile_seconds, 3),
        "milliseconds": round(seconds * 1e3, 3),
        "rate": case.work / seconds / 1e9,
        "unit": f"G{case.unit}/s",
        "of_limit": round(case.work / seconds / limit_, 3),
    }


def main() -> None:
    """Prints and saves the table."""
    peak = fma_peak()
    print(f"limit: {peak / 1e9:.0f} GFLOP/s on one core")
    results = []
    for case in cases():
        result = measure(case, peak, copy_bandwidth)
        results.append(result)
        print(
            f"{result['name']:<66} {result['milliseconds']:8.3f} ms {result['rate']:7.1f} {result['unit']:<8}"
            f" {100 * result['of_limit']:4.0f} % of the limit, compiled in {result['compile_seconds']:.2f} s"
        )
    save("codegen_shapes", results)


if __name__ == "__main__":
    main()
