"""The machine's limits, measured: multiply-adds a second, and copy bandwidth by size, on one core or several.

In: nothing.  Out: FLOP/s and bytes/s.  Invariant: measured in the run that quotes them; the loops are written
in LLVM so that nothing but the limit itself is in them.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Literal

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from comprehension.machine import host

Bits = Literal[32, 64]

_CHAINS = 12  # independent accumulators: above latency × throughput of any fma unit, below the registers
_ITERATIONS = 400_000
_COPIED = 2_000_000  # bytes a timed call copies at least


def _fma_module(lanes: int, bits: Bits) -> ir.Module:
    module = ir.Module("peak")
    scalar: ir.Type = ir.FloatType() if bits == 32 else ir.DoubleType()
    vector, i64 = ir.VectorType(scalar, lanes), ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(scalar, [i64, scalar]), "peak")
    fma = ir.Function(module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f{bits}")
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


def _best(calls: Sequence[Callable[[], object]], seconds: float = 0.25) -> float:
    """Shortest time of one round of `calls`, each on a thread of its own, within about `seconds`.

    Shortest, because a limit is what the machine can do.
    """
    if len(calls) == 1:
        return _shortest(calls[0], seconds)
    with ThreadPoolExecutor(len(calls)) as pool:
        return _shortest(lambda: [each.result() for each in [pool.submit(call) for call in calls]], seconds)


def _shortest(call: Callable[[], object], seconds: float) -> float:
    best, stop = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


@cache
def _peak_function(lanes: int, bits: Bits) -> tuple[Callable[[int, float], float], object]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(_fma_module(lanes, bits))), target)
    engine.finalize_object()
    number = ctypes.c_float if bits == 32 else ctypes.c_double
    prototype = ctypes.CFUNCTYPE(number, ctypes.c_int64, number)
    return prototype(engine.get_function_address("peak")), engine


def fma_peak(threads: int = 1, bits: Bits = 32) -> float:
    """FLOP/s of `threads` cores on floats of `bits`, over the vector widths that they have.

    A multiply-add counts as two operations.

    >>> fma_peak() > 1e8
    True
    """
    rates = []
    for width in {256, host().vector_bits}:
        lanes = max(1, width // bits)
        function, _ = _peak_function(lanes, bits)
        seconds = _best([lambda f=function: f(threads * _ITERATIONS, 0.5)] * threads)  # type: ignore[misc]
        rates.append(2.0 * _CHAINS * lanes * threads * threads * _ITERATIONS / seconds)
    return max(rates)


def copy_bandwidth(working_set: int, threads: int = 1) -> float:
    """Bytes/s read plus written by copying within `working_set` bytes (source and target together).

    Several threads share the working set.
    """
    copies = [_copy(working_set // threads, threads) for _ in range(threads)]
    return sum(copied for _, copied in copies) / _best([copy for copy, _ in copies])


def _copy(working_set: int, threads: int) -> tuple[Callable[[], object], float]:
    """A call that copies within `working_set` bytes again and again, and how many bytes it moves."""
    source = np.ones(max(working_set // 8, 64), dtype=np.float32)
    target = np.zeros_like(source)
    np.copyto(target, source)  # touches every page before the clock runs
    # Longer where threads start together: handing a call to a thread takes some 20 µs.
    repeats = max(1, (_COPIED if threads == 1 else 10 * _COPIED) // source.nbytes)

    def copy() -> None:
        for _ in range(repeats):
            np.copyto(target, source)

    return copy, 2.0 * source.nbytes * repeats


if __name__ == "__main__":
    print(f"fma peak of one core: {fma_peak() / 1e9:.1f} GFLOP/s")
    for size in (32 * 1024, 512 * 1024, 8 * 2**20, 256 * 2**20):
        print(f"copy within {size // 1024:7d} KiB: {copy_bandwidth(size) / 1e9:.1f} GB/s")
