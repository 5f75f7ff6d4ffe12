"""A compiled def, other kernels of it, the machine's limit and NumPy, timed in one run.

In: a comprehension, inputs or their specs, settings, schedules of one's own.  Out: a `Measured`: prints as a table.
Invariant: sides are timed in turn, on the same inputs, into memory held already where a side can; whatever
another side computes is compared with our result before any clock runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np

from comprehension.bench.limits import Bits, copy_bandwidth, fma_peak
from comprehension.bench.numpy_side import NotDirect, numpy_function
from comprehension.comprehension import Comprehension
from comprehension.config import config
from comprehension.errors import ComprehensionError
from comprehension.jit.arguments import specs_of
from comprehension.jit.kernel import Kernel
from comprehension.jit.report import Report
from comprehension.jit.request import Math
from comprehension.lang.loops import Role
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec
from comprehension.options import MappingOptions
from comprehension.scheduling.schedule import Schedule

OURS, NUMPY = "comprehension", "NumPy"
_SHORTEST_SAMPLE = 50e-6  # seconds: below it the clock itself would be timed


@dataclass(frozen=True, slots=True)
class Side:
    """Seconds of one call: the best and the median over so many samples."""

    name: str
    best: float
    median: float
    samples: int


@dataclass(frozen=True, slots=True)
class Limit:
    """What the machine needs at least, in seconds, and in words why."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What `measure` found; `print` shows it as a table.

    `without_numpy` says why NumPy is not among the sides; `differences`: the largest of each other side's results from
    ours.
    """

    title: str
    sides: tuple[Side, ...]
    limit: Limit
    differences: Mapping[str, float]
    without_numpy: str | None

    def __str__(self) -> str:
        lines = [self.title, "", f"{'':<16}{'best':>12}{'median':>12}{'of the limit':>15}"]
        for side in self.sides:
            share = f"{self.limit.seconds / side.best:.0%}"
            lines.append(f"{side.name:<16}{_time(side.best):>12}{_time(side.median):>12}{share:>15}")
        lines.append(f"{'limit':<16}{_time(self.limit.seconds):>12}{'':>12}   {self.limit.reason}")
        if self.without_numpy is not None:
            lines.append(f"no NumPy beside it: {self.without_numpy}")
        lines += [f"largest difference from {name}: {by:.2g}" for name, by in self.differences.items()]
        return "\n".join(lines)


def measure(
    comprehension: Comprehension,
    inputs: Sequence[Any],
    options: MappingOptions | str | None = None,
    math: Math = "fast",
    seconds: float = 1.0,
    beside: Mapping[str, Schedule | Kernel] | None = None,
) -> Measured:
    """Times a def on `inputs` for about `seconds`, with `config.threads` threads.

    Args:
        inputs: arrays and numbers as in a call; random ones are drawn for what is a `Spec` (of static sizes).
        beside: other kernels of the same def to time in turn, by name: schedules, or kernels with other options.

    Raises ComprehensionError where the def cannot be compiled or run on such inputs.

    >>> import comprehension as tc
    >>> from comprehension.bench.measure import measure
    >>> f = tc.define("def f(float(M,K) A) -> (s) { s(m) +=! A(m, k) }").f
    >>> given = (tc.Spec((8, 64), "float32"),)
    >>> own = f.schedule(*given).vectorize("k", 32)
    >>> [side.name for side in measure(f, given, seconds=0.01, beside={"own": own}).sides]
    ['comprehension', 'own', 'NumPy']
    """
    if not isinstance(comprehension, Comprehension):
        goes_beside = isinstance(comprehension, Schedule | Kernel)
        hint = " (a schedule or a kernel goes into beside={...})" if goes_beside else ""
        raise ComprehensionError(f"measure: takes a comprehension such as module.f, not {comprehension!r:.60}{hint}")
    specs = specs_of(comprehension.interface, inputs)
    kernel = comprehension.compile(*specs, options=options, math=math)
    inputs = [sample(given) if isinstance(given, Spec) else given for given in inputs]
    sides: dict[str, Callable[[], object]] = {}
    results: dict[str, Any] = {}
    for name, one in {OURS: kernel, **_kernels(beside or {})}.items():
        results[name] = found = one(*inputs, out=_accumulators(comprehension, specs))
        sides[name] = partial(one, *inputs, out=found)
    differences = {name: _difference(results[OURS], _tuple_of(found)) for name, found in results.items()}
    del differences[OURS]
    reason = None
    try:
        theirs = numpy_side(comprehension, specs)
        arrays = [np.asarray(given)[()] for given in inputs]
        differences[NUMPY] = _difference(results[OURS], theirs(*arrays))
        sides[NUMPY] = partial(theirs, *arrays)
    except NotDirect as refused:
        reason = str(refused)
    timed = _in_turn(sides, seconds)
    return Measured(_title(kernel), timed, limit_of(kernel, specs), differences, reason)


def _kernels(beside: Mapping[str, Schedule | Kernel]) -> dict[str, Kernel]:
    """Raises ComprehensionError for a name that is taken, or what is no kernel."""
    found = {}
    for name, one in beside.items():
        if name in (OURS, NUMPY):
            raise ComprehensionError(f"measure: beside: {name!r} is the name of another side")
        if not isinstance(one, Schedule | Kernel):
            raise ComprehensionError(f"measure: beside: {name!r} is {one!r:.60}, neither a schedule nor a kernel")
        found[name] = one.compile() if isinstance(one, Schedule) else one
    return found


def numpy_side(comprehension: Comprehension, specs: Sequence[Spec]) -> Callable[..., tuple[np.ndarray[Any, Any], ...]]:
    """The def written with NumPy, on inputs in the order of its parameters; raises NotDirect."""
    program = infer(comprehension.definition, tuple(specs))
    function = numpy_function(program)
    names = [param.name for param in comprehension.interface.parameters]
    outputs = [t.name for t in program.tensors if t.role is Role.OUTPUT]

    def call(*inputs: Any) -> tuple[np.ndarray[Any, Any], ...]:
        found = function(dict(zip(names, inputs, strict=True)))
        return tuple(found[name] for name in outputs)

    return call


def sample(spec: Spec) -> Any:
    """Random contents, the same each time: [0, 1) for floats, 0 or 1 for anything else; a scalar for shape ()."""
    shape = tuple(int(dim) for dim in spec.shape)
    generator = np.random.default_rng(0)
    drawn = generator.random(shape) if spec.dtype.is_float else generator.integers(0, 2, shape)
    return np.asarray(drawn).astype(spec.dtype.numpy)[()]


def limit_of(kernel: Kernel, specs: Sequence[Spec]) -> Limit:
    """The longer of two times: of the arithmetic at the multiply-add peak, of the memory at copy speed."""
    report: Report = kernel.report
    threads, bits = config.threads, _bits(specs)
    peak, bandwidth = fma_peak(threads, bits), copy_bandwidth(max(1, report.bytes), threads)
    arithmetic, memory = report.flops / peak, report.bytes / bandwidth
    if arithmetic >= memory:
        return Limit(arithmetic, f"{report.flops:,} operations at {peak / 1e9:.0f} GFLOP/s")
    return Limit(memory, f"{report.bytes:,} bytes at {bandwidth / 1e9:.0f} GB/s, a copy of as many")


def _bits(specs: Sequence[Spec]) -> Bits:
    floats = [spec.dtype.bits for spec in specs if spec.dtype.is_float]
    return 64 if 64 in floats else 32


def _accumulators(comprehension: Comprehension, specs: Sequence[Spec]) -> Any:
    """Buffers of zeros for outputs that accumulate; None if none does."""
    program = infer(comprehension.definition, tuple(specs))
    outputs = [t for t in program.tensors if t.role in (Role.OUTPUT, Role.ACCUMULATED)]
    if not any(t.role is Role.ACCUMULATED for t in outputs):
        return None
    shapes = comprehension.infer(*specs)
    buffers = tuple(np.zeros(_static(spec), spec.dtype.numpy) for spec in _tuple_of(shapes))
    return buffers if len(buffers) > 1 else buffers[0]


def _static(spec: Spec) -> tuple[int, ...]:
    return tuple(int(dim) for dim in spec.shape)


def _tuple_of(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _difference(ours: Any, theirs: tuple[np.ndarray[Any, Any], ...]) -> float:
    largest = 0.0
    for mine, other in zip(_tuple_of(ours), theirs, strict=True):
        with np.errstate(all="ignore"):
            apart = np.abs(np.asarray(mine, np.float64) - np.asarray(other, np.float64))
        largest = max(largest, float(np.max(apart, initial=0.0)))
    return largest


def _in_turn(sides: dict[str, Callable[[], object]], seconds: float) -> tuple[Side, ...]:
    """Samples of all sides in turn until the time is over, three rounds at least."""
    repeats: dict[str, int] = {}
    samples: dict[str, list[float]] = {name: [] for name in sides}
    with _numpy_threads(config.threads):
        for name, side in sides.items():
            side()
            repeats[name] = max(1, int(_SHORTEST_SAMPLE / max(_timed(side, 1), 1e-9)))
        end = time.perf_counter() + seconds
        while len(samples[OURS]) < 3 or time.perf_counter() < end:
            for name, side in sides.items():
                samples[name].append(_timed(side, repeats[name]))
    return tuple(Side(name, min(s), float(np.median(s)), len(s)) for name, s in samples.items())


def _timed(side: Callable[[], object], repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        side()
    return (time.perf_counter() - started) / repeats


def _numpy_threads(threads: int) -> contextlib.AbstractContextManager[Any]:
    """NumPy's matrix products on as many threads as ours, where threadpoolctl is installed to say so."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return cast(contextlib.AbstractContextManager[Any], threadpool_limits(threads))


def _title(kernel: Kernel) -> str:
    inputs = ", ".join(f"{spec.dtype}{list(spec.shape)}" for spec in kernel.request.specs)
    threads = f"{config.threads} thread{'s' if config.threads != 1 else ''}"
    return f"{kernel.name}({inputs}), {threads}, {kernel.report.flops:,} operations, {kernel.report.bytes:,} bytes"


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.2f} µs"
