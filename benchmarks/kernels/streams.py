"""What memory allows, measured: copy bandwidth by size, and cache blocks gathered at random.

In: a size, a number of threads.  Out: bytes/s, seconds.  Invariant: the loops are written in LLVM so that nothing but
the limit itself is in them, and the best of several ways counts; on several threads all run at once.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from comprehension.machine import host

# One loop over `count` vectors of {lanes} floats, done `repeats` times; {hint} may be a non-temporal store.
_COPY = """
define void @copy(ptr %target, ptr %source, i64 %count, i64 %repeats) {{
entry:
  br label %again
again:
  %r = phi i64 [ 0, %entry ], [ %r1, %done ]
  br label %loop
loop:
  %i = phi i64 [ 0, %again ], [ %i4, %loop ]
  {body}
  %i4 = add i64 %i, 4
  %more = icmp slt i64 %i4, %count
  br i1 %more, label %loop, label %done
done:
  %r1 = add i64 %r, 1
  %another = icmp slt i64 %r1, %repeats
  br i1 %another, label %again, label %leave
leave:
  fence seq_cst
  ret void
}}
!0 = !{{i32 1}}
"""
_COPY_STEP = """
  %j{n} = add i64 %i, {n}
  %s{n} = getelementptr <{lanes} x float>, ptr %source, i64 %j{n}
  %t{n} = getelementptr <{lanes} x float>, ptr %target, i64 %j{n}
  %v{n} = load <{lanes} x float>, ptr %s{n}, align {bytes}
  store <{lanes} x float> %v{n}, ptr %t{n}, align {bytes}{hint}"""

# Adds up `count` blocks of 256 bytes, whose numbers are in `order`; asks for a block's first line {far} blocks ahead,
# so that its page is translated, and for all of its lines {ahead} ahead.
_GATHER = """
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
define float @gather(ptr %table, ptr %order, i64 %count) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i1, %loop ]
  {sums}
  %far = add i64 %i, {far}
  %farther = getelementptr i32, ptr %order, i64 %far
  %far32 = load i32, ptr %farther
  %far64 = sext i32 %far32 to i64
  %farat = mul i64 %far64, 256
  %first = getelementptr i8, ptr %table, i64 %farat
  call void @llvm.prefetch.p0(ptr %first, i32 0, i32 3, i32 1)
  %ahead = add i64 %i, {ahead}
  %later = getelementptr i32, ptr %order, i64 %ahead
  %later32 = load i32, ptr %later
  %later64 = sext i32 %later32 to i64
  %laterat = mul i64 %later64, 256
  {prefetches}
  %where = getelementptr i32, ptr %order, i64 %i
  %n32 = load i32, ptr %where
  %n = sext i32 %n32 to i64
  %at = mul i64 %n, 256
  {loads}
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %count
  br i1 %more, label %loop, label %leave
leave:
  {reduce}
  ret float %total
}}
"""
_WAYS = ((4, 4), (8, 8), (8, 16), (16, 16))  # blocks ahead: all lines, the first one
_MOST_AHEAD = 16
_BLOCK, _PAST = 256, 16  # bytes; where blocks begin beyond a line, as the rows of NumPy's large arrays do: 5 lines each


def _copy_module(lanes: int, past_caches: bool) -> str:
    hint = ", !nontemporal !0" if past_caches else ""
    body = "".join(_COPY_STEP.format(n=n, lanes=lanes, bytes=4 * lanes, hint=hint) for n in range(4))
    return _COPY.format(body=body)


def _gather_module(ahead: int, far: int) -> str:
    sums, loads, reduce = [], [], []
    for n in range(4):
        sums.append(f"%sum{n} = phi <16 x float> [ zeroinitializer, %entry ], [ %new{n}, %loop ]")
        loads += [
            f"%a{n} = add i64 %at, {64 * n}",
            f"%p{n} = getelementptr i8, ptr %table, i64 %a{n}",
            f"%v{n} = load <16 x float>, ptr %p{n}, align {_PAST}",
            f"%new{n} = fadd <16 x float> %sum{n}, %v{n}",
        ]
        reduce.append(f"%e{n} = extractelement <16 x float> %new{n}, i32 0")
    prefetches = [
        line
        for n, at in enumerate((*range(0, _BLOCK, 64), _BLOCK - 1))
        for line in (
            f"%b{n} = add i64 %laterat, {at}",
            f"%q{n} = getelementptr i8, ptr %table, i64 %b{n}",
            f"call void @llvm.prefetch.p0(ptr %q{n}, i32 0, i32 3, i32 1)",
        )
    ]
    reduce += ["%f0 = fadd float %e0, %e1", "%f1 = fadd float %e2, %e3", "%total = fadd float %f0, %f1"]
    parts = {"sums": sums, "loads": loads, "reduce": reduce, "prefetches": prefetches}
    return _GATHER.format(ahead=ahead, far=far, **{name: "\n  ".join(lines) for name, lines in parts.items()})


@cache
def _function(name: str, text: str, result: Any, arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], object]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), target)
    engine.finalize_object()
    return ctypes.CFUNCTYPE(result, *arguments)(engine.get_function_address(name)), engine


def _best(calls: Sequence[Callable[[], object]], seconds: float = 0.2) -> float:
    """Shortest time of all calls at once, each on a thread, within about `seconds`: what the machine can do."""
    best, stop = float("inf"), time.perf_counter() + seconds
    while True:
        best = min(best, _at_once(calls))
        if time.perf_counter() >= stop:
            return best


def _at_once(calls: Sequence[Callable[[], object]]) -> float:
    """Seconds from the first start to the last end of calls that release the GIL."""
    if len(calls) == 1:
        start = time.perf_counter()
        calls[0]()
        return time.perf_counter() - start
    barrier, times = threading.Barrier(len(calls)), []

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        start = time.perf_counter()
        call()
        times.append((start, time.perf_counter()))

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(end for _, end in times) - min(start for start, _ in times)


def _aligned(floats: int) -> np.ndarray[Any, Any]:
    """Ones at a multiple of 64 bytes."""
    raw = np.ones(floats + 16, np.float32)
    return raw[(-raw.ctypes.data // 4) % 16 :][:floats]


def copy_bandwidth(working_set: int, threads: int = 1) -> float:
    """Bytes/s read plus written by copying within `working_set` bytes, source and target and all threads together.

    The best of memmove and of vector loops with ordinary and with non-temporal stores.
    """
    lanes = host().vector_bits // 32
    floats = max(working_set // 8 // threads // (4 * lanes), 1) * 4 * lanes
    repeats = max(1, 32_000_000 // (4 * floats))
    pairs = [(_aligned(floats), _aligned(floats)) for _ in range(threads)]
    kind = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    ways: list[Callable[[int, int], object]] = []
    for past_caches in (False, True):
        function, _ = _function("copy", _copy_module(lanes, past_caches), None, kind)
        ways.append(lambda t, s, f=function: f(t, s, floats // lanes, repeats))  # type: ignore[misc]
    if repeats == 1:
        memmove = ctypes.CDLL(None).memmove
        memmove.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        ways.append(lambda t, s: memmove(t, s, 4 * floats))
    best = min(_best([lambda t=t, s=s: way(t.ctypes.data, s.ctypes.data) for t, s in pairs]) for way in ways)  # type: ignore[misc]  # noqa: B023
    return 8.0 * floats * repeats * threads / best


@cache
def _table() -> np.ndarray[Any, Any]:
    """1 GiB: beyond any cache, and beyond what the page tables' caches reach."""
    return _aligned((1 << 28) + 16)[_PAST // 4 :][: 1 << 28]


def gather_seconds(blocks: int, threads: int = 1) -> float:
    """Seconds to read so many blocks of 256 bytes at random places of a gibibyte, all threads together.

    The best of several ways to ask for them ahead.
    """
    kind = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    ways = [_function("gather", _gather_module(*way), ctypes.c_float, kind)[0] for way in _WAYS]
    table, count = _table(), 32_768  # 8 MB in a run: what it reads is not in the caches from the last
    drawing, best = np.random.default_rng(1), float("inf")
    for number in range(40):
        function = ways[number % len(ways)]
        orders = [drawing.integers(0, table.nbytes // _BLOCK, count + _MOST_AHEAD, np.int32) for _ in range(threads)]
        calls = [lambda o=order: function(table.ctypes.data, o.ctypes.data, count) for order in orders]  # type: ignore[misc]  # noqa: B023
        best = min(best, _best(calls, 0.0))
    return best * blocks / (count * threads)
