"""Intrinsics for loops that run without Python: atomics, waiting, waking, calls by address.

In: imported by the text of our own runtime loops (workers, plans, quick calls), inside the compiler process only.
Out: functions on int64 addresses and values.
Invariant: every atomic operation is sequentially consistent: the loops use the pattern "announce, then look
again", which weaker orders break.  The waiting primitive is chosen here and in `waiting`, nowhere else.

Semaphores are passed by address: `sem_t*` on Linux, `dispatch_semaphore_t` on macOS, where unnamed POSIX
semaphores do not exist.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from comprehension.codegen.extension import intrinsic
from comprehension.jit.quick_layout import LOCAL_WORDS

_I64 = ir.IntType(64)
_I32 = ir.IntType(32)
_PTR = ir.IntType(8).as_pointer()
_MACOS = platform.system() == "Darwin"


def _at(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _I64.as_pointer())


@intrinsic
def load(typing: Any, address: Any) -> Any:
    """The word at `address`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_at(builder, args[0]), "seq_cst", 8)

    return types.int64(types.int64), emit


@intrinsic
def store(typing: Any, address: Any, value: Any) -> Any:
    """Writes a word; returns it."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _at(builder, args[0]), "seq_cst", 8)
        return args[1]

    return types.int64(types.int64, types.int64), emit


@intrinsic
def add(typing: Any, address: Any, value: Any) -> Any:
    """Adds to a word; returns what it held before."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _at(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), emit


@intrinsic
def exchange(typing: Any, address: Any, value: Any) -> Any:
    """Writes a word; returns what it held before."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", _at(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), emit


@intrinsic
def compare_exchange(typing: Any, address: Any, expected: Any, value: Any) -> Any:
    """Writes `value` where the word is `expected`; returns 1 if it was."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pair = builder.cmpxchg(_at(builder, args[0]), args[1], args[2], "seq_cst", "seq_cst")
        return builder.zext(builder.extract_value(pair, 1), _I64)

    return types.int64(types.int64, types.int64, types.int64), emit


@intrinsic
def pause(typing: Any) -> Any:
    """Tells the core that this is a spinning loop."""
    instruction = {"x86_64": "pause", "amd64": "pause", "arm64": "isb", "aarch64": "isb"}.get(
        platform.machine().lower(), ""
    )

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.asm(ir.FunctionType(ir.VoidType(), []), instruction, "~{memory}", [], True)
        return ir.Constant(_I64, 0)

    return types.int64(), emit


def _of_words(count: int, emit: Any) -> Any:
    """An intrinsic of `count` words, a word out; numba reads the number of parameters off the function."""
    signature = types.int64(*[types.int64] * count)
    match count:
        case 0:
            return intrinsic(lambda typing: (signature, emit))
        case 1:
            return intrinsic(lambda typing, a: (signature, emit))
        case 2:
            return intrinsic(lambda typing, a, b: (signature, emit))
        case 3:
            return intrinsic(lambda typing, a, b, c: (signature, emit))
    raise AssertionError(f"no intrinsic has {count} words")


def _c_function(name: str, result: Any, *arguments: Any) -> Any:
    """An intrinsic that calls a C function; addresses go in as int64."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)
        passed = [
            builder.inttoptr(value, kind) if isinstance(kind, ir.PointerType) else value
            for value, kind in zip(args, arguments, strict=True)
        ]
        if isinstance(result, ir.VoidType):
            builder.call(function, passed)
            return ir.Constant(_I64, 0)
        answer = builder.call(function, passed)
        return builder.sext(answer, _I64) if answer.type.width < 64 else answer

    return _of_words(len(arguments), emit)


@intrinsic
def semaphore_wait(typing: Any, address: Any) -> Any:
    """Sleeps until the semaphore is posted; nonzero where a signal came instead (call again)."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_PTR, _I64]) if _MACOS else ir.FunctionType(_I32, [_PTR])
        name = "dispatch_semaphore_wait" if _MACOS else "sem_wait"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        forever = [ir.Constant(_I64, -1)] if _MACOS else []
        answer = builder.call(function, [builder.inttoptr(args[0], _PTR), *forever])
        return answer if _MACOS else builder.sext(answer, _I64)

    return types.int64(types.int64), emit


semaphore_post = _c_function("dispatch_semaphore_signal" if _MACOS else "sem_post", _I64 if _MACOS else _I32, _PTR)
yield_processor = _c_function("sched_yield", _I32)
release_memory = _c_function("free", ir.VoidType(), _PTR)
# posix_memalign(address of the word that takes the pointer, alignment, bytes): nonzero where there is none
take_memory = _c_function("posix_memalign", _I32, _PTR, _I64, _I64)


@intrinsic
def peek(typing: Any, address: Any) -> Any:
    """The word at `address`, read plainly: for what this thread wrote, or an atomic load made visible."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_at(builder, args[0]))

    return types.int64(types.int64), emit


@intrinsic
def poke(typing: Any, address: Any, value: Any) -> Any:
    """Writes a word plainly; returns it."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _at(builder, args[0]))
        return args[1]

    return types.int64(types.int64, types.int64), emit


@intrinsic
def copy_memory(typing: Any, target: Any, source: Any, size: Any) -> Any:
    """Copies `size` bytes between places that do not overlap."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, source = (builder.inttoptr(address, _PTR) for address in args[:2])
        cgutils.raw_memcpy(builder, target, source, args[2], 1)
        return ir.Constant(_I64, 0)

    return types.int64(types.int64, types.int64, types.int64), emit


@intrinsic
def clear_memory(typing: Any, target: Any, size: Any) -> Any:
    """Fills `size` bytes with zeros."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cgutils.memset(builder, builder.inttoptr(args[0], _PTR), args[1], 0)
        return ir.Constant(_I64, 0)

    return types.int64(types.int64, types.int64), emit


@intrinsic
def nanoseconds(typing: Any) -> Any:
    """The clock behind `time.perf_counter_ns`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pair = ir.LiteralStructType([_I64, _I64])
        kind = ir.FunctionType(_I32, [_I32, pair.as_pointer()])
        function = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        place = cgutils.alloca_once(builder, pair)
        builder.call(function, [ir.Constant(_I32, 8 if _MACOS else 1), place])
        seconds, rest = (builder.extract_value(builder.load(place), part) for part in (0, 1))
        return builder.add(builder.mul(seconds, ir.Constant(_I64, 10**9)), rest)

    return types.int64(), emit


@intrinsic
def call_stage(typing: Any, function: Any, buffers: Any, dims: Any, scratch: Any, lo: Any, hi: Any) -> Any:
    """Calls a stage (see `jit.manifest`) by its address; returns its code."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64, _I64, _I64, _I64, _I64])  # pointers travel as integers: one register each
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.int64(*[types.int64] * 6), emit


def _by_address(count: int) -> Any:
    """An intrinsic that calls a function of `count` words by its address."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64] * count)
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return _of_words(count + 1, emit)


# A function by its address, words (or pointers) in, a word out; what a `void` one leaves there means nothing.
call_0, call_1, call_2 = _by_address(0), _by_address(1), _by_address(2)


@intrinsic
def call_run_stages(
    typing: Any, function: Any, pool: Any, table: Any, count: Any, buffers: Any, dims: Any, scratch: Any
) -> Any:
    """Calls `run_stages` (see `jit.pool`) by its address; returns its code."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64] * 6)
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.int64(*[types.int64] * 7), emit


@intrinsic
def local_words(typing: Any) -> Any:
    """The address of `LOCAL_WORDS` words that live as long as this call."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once(builder, _I64, size=LOCAL_WORDS)
        return builder.ptrtoint(place, _I64)

    return types.int64(), emit


@intrinsic
def narrow(typing: Any, source: Any, target: Any) -> Any:
    """Writes the double at `source` as a float to `target`; returns 1 where a finite one became infinite."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = builder.load(builder.inttoptr(args[0], ir.DoubleType().as_pointer()))
        value = builder.fptrunc(wide, ir.FloatType())
        builder.store(value, builder.inttoptr(args[1], ir.FloatType().as_pointer()))
        back = builder.fpext(value, ir.DoubleType())
        infinities = [ir.Constant(ir.DoubleType(), sign * float("inf")) for sign in (1, -1)]
        became, was = (
            builder.or_(*[builder.fcmp_ordered("==", each, infinity) for infinity in infinities])
            for each in (back, wide)
        )
        return builder.zext(builder.and_(became, builder.not_(was)), _I64)

    return types.int64(types.int64, types.int64), emit


@intrinsic
def call_pool(
    typing: Any, function: Any, pool: Any, stage: Any, buffers: Any, dims: Any, extent: Any, grain: Any,
    scratch_bytes: Any, scratch: Any,
) -> Any:  # fmt: skip
    """Calls `pool_run` (see `jit.pool`) by its address; returns its code."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64] * 8)
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.int64(*[types.int64] * 9), emit
