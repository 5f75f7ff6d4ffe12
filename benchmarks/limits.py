"""The machine's limits, measured: multiply-adds a second of one core, and copy bandwidth by size.

In: nothing.  Out: FLOP/s and bytes/s.  Invariant: measured in the run that quotes them; the loops are written
in LLVM so that nothing but the limit itself is in them.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import cache

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from comprehension.machine import host

_CHAINS = 12  # independent accumulators: above latency × throughput of any fma unit, below the registers


def _fma_module(lanes: int) -> ir.Module:
    module = ir.Module("peak")
    vector, i64 = ir.VectorType(ir.FloatType(), lanes), ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.FloatType(), [i64, ir.FloatType()]), "peak")
    fma = ir.Function(module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f32")
    entry, loop, leave = (function.append_basic_block(name) for name in ("entry", "loop", "leave"))
    builder = ir.IRBuilder(entry)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, function.args[1], ir.Constant(ir.IntType(32), 0))
    factor = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), None))
    builder.branch(loop)
    builder.position_at_end(loop)
    count = builder.phi(i64)
    count.add_incoming(ir.Constant(i64, 0), entry)
    chains = [builder.phi(vector) for _ in range(_CHAINS)]
    following = [builder.call(fma, [chain, factor, factor]) for chain in chains]
    for chain, after in zip(chains, following, strict=True):
        chain.add_incoming(factor, entry)
        chain.add_incoming(after, loop)
    more = builder.add(count, ir.Constant(i64, 1))
    count.add_incoming(more, loop)
    builder.cbranch(builder.icmp_signed("<", more, function.args[0]), loop, leave)
    builder.position_at_end(leave)
    total = following[0]
    for chain in following[1:]:
        total = builder.fadd(total, chain)
    builder.ret(builder.extract_element(total, ir.Constant(ir.IntType(32), 0)))
    return module


def _best(call: Callable[[], object], seconds: float = 0.25) -> float:
    """Shortest time of one call within about `seconds`: a limit is what the machine can do."""
    best, stop = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


@cache
def _peak_function(lanes: int) -> tuple[Callable[[int, float], float], object]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(_fma_module(lanes))), target)
    engine.finalize_object()
    prototype = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64, ctypes.c_float)
    return prototype(engine.get_function_address("peak")), engine


def fma_peak() -> float:
    """float32 FLOP/s of one core, over the vector widths it has (two operations a multiply-add)."""
    iterations, rates = 100_000, []
    for lanes in {8, host().vector_bits // 32}:
        function, _ = _peak_function(lanes)
        rates.append(2.0 * _CHAINS * lanes * iterations / _best(lambda f=function: f(iterations, 0.5)))
    return max(rates)


def copy_bandwidth(working_set: int) -> float:
    """Bytes/s read plus written by copying within `working_set` bytes (source and target together)."""
    source = np.ones(max(working_set // 8, 64), dtype=np.float32)
    target = np.zeros_like(source)
    np.copyto(target, source)  # touches every page before the clock runs
    repeats = max(1, 2_000_000 // source.nbytes)

    def copy() -> None:
        for _ in range(repeats):
            np.copyto(target, source)

    return 2.0 * source.nbytes * repeats / _best(copy)


if __name__ == "__main__":
    print(f"fma peak of one core: {fma_peak() / 1e9:.1f} GFLOP/s")
    for size in (32 * 1024, 512 * 1024, 8 * 2**20, 256 * 2**20):
        print(f"copy within {size // 1024:7d} KiB: {copy_bandwidth(size) / 1e9:.1f} GB/s")
