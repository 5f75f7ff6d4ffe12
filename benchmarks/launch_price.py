"""What a call costs beyond its kernel, and what a kernel costs to make: cold, from the disk cache, to load.

In: nothing.  Out: `results/launch_price.json`, a table on standard output.
Run: `python -m benchmarks.launch_price`.
"""

from __future__ import annotations

import ctypes
import tempfile
import time
from pathlib import Path

import numpy as np

import comprehension as tc
from benchmarks.timing import save, time_sides
from comprehension.jit import client
from comprehension.jit.load import load_object
from comprehension.jit.native_function import prepare

TEXTS = {
    "pointwise": ("def f(float(N) A) -> (B) { B(i) = max(A(i), 0.0) + %d.0 }", [(4096,)]),
    "product": ("def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) * %d.0 }", [(256, 256)] * 2),
    "softmax": (
        """def f(float(N,D) X) -> (Y) {
          m(n) max=! X(n,d)
          e(n,d) = exp(X(n,d) - m(n) - %d.0)
          s(n) +=! e(n,d)
          Y(n,d) = e(n,d) / s(n)
        }""",
        [(1024, 1024)],
    ),
}


def call_prices() -> dict[str, float]:
    """Microseconds of a call on 8 x 8 matrices, through every door."""
    text, _ = TEXTS["product"]
    function = tc.define(text % 1).f
    a, b = (np.random.default_rng(0).random((8, 8), np.float32) for _ in range(2))
    out = np.empty((8, 8), np.float32)
    kernel = function.compile(a, b)
    prepare()  # what a program gets in the background after its first launches
    kernel(a, b)
    function(a, b)
    scaled = tc.define("def f(float(N) A, float s) -> (B) { B(i) = A(i) * s }").f
    scaled(a[0], 2.0)
    columns = a[:, ::2], b[::2]
    strided = function.compile(*columns)
    strided(*columns)
    outer = np.empty((4096, 64), np.float32)
    broad = tc.define("def f(float(M) A, float(N) B) -> (C) { C(m,n) = A(m) * B(n) }").f
    column, row = np.ones(4096, np.float32), np.ones(64, np.float32)
    broad(column, row, out=outer)
    pointers = (ctypes.c_int64 * 4)(a.ctypes.data, b.ctypes.data, out.ctypes.data, 0)
    (symbol,) = kernel.addresses
    stage = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 5)(kernel.addresses[symbol])
    extent = int(kernel.manifest.stages[0].extent)
    buffers = ctypes.addressof(pointers)
    timings = time_sides(
        {
            "stage by ctypes": lambda: stage(buffers, 0, 0, 0, extent),
            "numpy.matmul(a, b, out)": lambda: np.matmul(a, b, out),
            "kernel(a, b, out=out)": lambda: kernel(a, b, out=out),
            "kernel(a, b)": lambda: kernel(a, b),
            "function(a, b)": lambda: function(a, b),
            "function(row, 2.0)": lambda: scaled(a[0], 2.0),
            "kernel(columns, rows)": lambda: strided(*columns),
            "the long way": lambda: kernel.launcher.launch_slowly((a, b), out),
            "1 MB, out= held": lambda: broad(column, row, out=outer),
            "1 MB, out made": lambda: broad(column, row),
        }
    )
    return {name: round(1e6 * timings.median(name), 3) for name in timings.samples}


def compile_prices() -> dict[str, dict[str, float]]:
    """Seconds to make a kernel: in a process that has compiled once, from the disk cache, and loading alone."""
    prices: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        tc.config.cache_dir = Path(folder)
        tc.define(TEXTS["pointwise"][0] % 99).f.compile(tc.Spec((10,), "float32"))
        for name, (text, shapes) in TEXTS.items():
            specs = [tc.Spec(shape, "float32") for shape in shapes]
            cold = [_timed(lambda n=n: tc.define(text % n).f.compile(*specs)) for n in range(5)]  # noqa: B023
            warm = [_timed(lambda n=n: tc.define(text % n).f.compile(*specs)) for n in range(5)]  # noqa: B023
            kernel = tc.define(text % 0).f.compile(*specs)
            data, symbols = kernel._artifact["kernel.o"], list(kernel.addresses)
            load = [_timed(lambda: load_object("f", data, symbols)) for _ in range(20)]  # noqa: B023
            stages = {stage: round(seconds, 4) for stage, seconds in kernel.report.seconds.items()}
            prices[name] = {
                "cold": round(float(np.median(cold)), 4),
                "from cache": round(float(np.median(warm)), 4),
                "load": round(float(np.median(load)), 5),
                **stages,
            }
    tc.config.cache_dir = None
    client.close()
    return prices


def _timed(work: object) -> float:
    assert callable(work)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    calls, compilations = call_prices(), compile_prices()
    for name, microseconds in calls.items():
        print(f"{name:<26} {microseconds:8.2f} µs")
    for name, prices in compilations.items():
        print(f"\n{name}")
        for what, seconds in prices.items():
            print(f"  {what:<14} {1000 * seconds:8.1f} ms")
    print(save("launch_price", {"calls_us": calls, "compilations_s": compilations}))


if __name__ == "__main__":
    main()
