"""Comprehensions beside NumPy, PyTorch, torch.compile and JAX on the same arrays, in one run.

In: the cases below.  Out: `benchmarks/results/kernels-<threads>.json`: for each case the fraction of the measured
limit that each side reaches, and our ratio to each peer with a 95 % interval.  All sides write into memory that
they hold already, where they can (JAX cannot; it donates nothing here).  Each side has a process of its own, and
the sides take their samples in turn.
Invariant: every side's result is compared with float64 NumPy before any clock runs.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Call = Callable[[], object]

TEXTS = {
    "matmul": "def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }",
    "gelu": "def f(float(N) X) -> (Y) { Y(n) = 0.5 * X(n) * (1.0 + erf(X(n) * 0.70710678)) }",
    "softmax": """
        def f(float(M,N) X) -> (Y) {
            top(m) max=! X(m,n)
            e(m,n) = exp(X(m,n) - top(m))
            total(m) +=! e(m,n)
            Y(m,n) = e(m,n) / total(m)
        }""",
}


@dataclass(frozen=True, slots=True)
class Case:
    """`flops` or `bytes` is what the limit counts; `rtol` bounds the comparison (derived in `_tolerance`)."""

    name: str
    text: str
    inputs: tuple[Array, ...]
    expected: Array
    tolerance: Array
    flops: float = 0.0
    bytes: float = 0.0


def _matmul(size: int) -> Case:
    draw = np.random.default_rng(size)
    a, b = (draw.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    magnitude = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    gamma = size * 2.0**-24 / (1 - size * 2.0**-24)  # any order of summation, fused or not
    return Case(
        f"matmul {size}", "matmul", (a, b), a.astype(np.float64) @ b, gamma * magnitude + 1e-30, flops=2.0 * size**3
    )


def _gelu(count: int) -> Case:
    from scipy.special import erf

    x = np.random.default_rng(1).standard_normal(count).astype(np.float32)
    exact = 0.5 * x.astype(np.float64) * (1 + erf(x / np.sqrt(2.0)))
    # x/√2 rounds once (and its constant once), erf has a few ulp, 1 + erf cancels to an absolute error of some ulp of 1
    return Case(f"gelu {count // 1_000_000} M", "gelu", (x,), exact, 2.0**-21 * np.abs(x) + 1e-30, bytes=8.0 * count)


def _softmax(rows: int, columns: int) -> Case:
    x = np.random.default_rng(2).standard_normal((rows, columns)).astype(np.float32)
    shifted = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    exact = shifted / shifted.sum(axis=1, keepdims=True)
    gamma = (columns + 16) * 2.0**-24
    return Case(f"softmax {rows}×{columns}", "softmax", (x,), exact, 2 * gamma * exact, bytes=8.0 * x.size)


def cases() -> list[Case]:
    return [*(_matmul(n) for n in (256, 512, 768, 1024)), _gelu(4_000_000), _softmax(1024, 1024)]


def _ours(case: Case) -> tuple[Call, Array]:
    import comprehension as tc

    out = np.empty(case.expected.shape, np.float32)
    kernel = tc.define(TEXTS[case.text]).f.compile(*case.inputs)
    return lambda: kernel(*case.inputs, out=out), out


def _numpy(case: Case) -> tuple[Call, Array]:
    from scipy.special import erf

    out, scratch = np.empty(case.expected.shape, np.float32), np.empty(case.expected.shape, np.float32)
    x = case.inputs[0]

    def gelu() -> None:
        erf(np.multiply(x, np.float32(0.70710678), out=scratch), out=scratch)
        np.multiply(np.multiply(np.add(scratch, 1, out=scratch), x, out=scratch), np.float32(0.5), out=out)

    def softmax() -> None:
        np.exp(np.subtract(x, x.max(axis=1, keepdims=True), out=out), out=out)
        np.divide(out, out.sum(axis=1, keepdims=True), out=out)

    calls: dict[str, Call] = {"matmul": lambda: np.matmul(*case.inputs, out=out), "gelu": gelu, "softmax": softmax}
    return calls[case.text], out


def _torch(case: Case) -> tuple[Call, Array]:
    import torch

    inputs = [torch.from_numpy(x) for x in case.inputs]
    out = torch.empty(case.expected.shape)

    def gelu() -> None:
        torch._C._nn.gelu(inputs[0], out=out)

    def softmax() -> None:
        torch.softmax(inputs[0], 1, out=out)

    calls: dict[str, Call] = {"matmul": lambda: torch.mm(*inputs, out=out), "gelu": gelu, "softmax": softmax}
    return calls[case.text], out.numpy()


def _torch_compiled(case: Case) -> tuple[Call, Array]:
    import torch
    import torch.nn.functional as F

    inputs, out = [torch.from_numpy(x) for x in case.inputs], torch.empty(case.expected.shape)
    bodies: dict[str, Callable[..., torch.Tensor]] = {
        "matmul": lambda a, b: a @ b,
        "gelu": lambda x: F.gelu(x),
        "softmax": lambda x: F.softmax(x, 1),
    }
    body = bodies[case.text]
    compiled = torch.compile(lambda target, *xs: target.copy_(body(*xs)))
    return lambda: compiled(out, *inputs), out.numpy()


def _jax(case: Case) -> tuple[Call, Array]:
    import jax
    import jax.numpy as jnp

    inputs, out = [jnp.asarray(x) for x in case.inputs], np.empty(case.expected.shape, np.float32)
    bodies: dict[str, Callable[..., Any]] = {
        "matmul": jnp.matmul,
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "softmax": lambda x: jax.nn.softmax(x, axis=1),
    }
    compiled = jax.jit(bodies[case.text])
    np.copyto(out, compiled(*inputs))
    return lambda: compiled(*inputs).block_until_ready(), out


SIDES: dict[str, Callable[[Case], tuple[Call, Array]]] = {
    "ours": _ours,
    "numpy": _numpy,
    "torch": _torch,
    "torch.compile": _torch_compiled,
    "jax": _jax,
}


def _check(case: Case, side: str, result: Array) -> None:
    wrong = np.abs(result - case.expected) > 2 * case.tolerance
    if wrong.any():
        where = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise AssertionError(f"{case.name}, {side}: {result[where]} at {where}, expected {case.expected[where]}")


class Side:
    """One library in a process of its own, so that its idle threads, which may spin, disturb nobody else's samples."""

    def __init__(self, name: str, threads: int) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, str(threads))}
        if threads == 1:
            environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        command = [sys.executable, "-m", "benchmarks.kernels", "--serve", name, "--threads", str(threads)]
        self.name = name
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, question: str) -> str:
        """Sends a line, returns the answer (without its mark: libraries may print too)."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(question, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith(_MARK):
                return line.removeprefix(_MARK).strip()
        raise RuntimeError(f"{self.name} ended at {question!r}")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


_MARK = "answer: "
_PAUSE = 0.05  # seconds


def serve(name: str, threads: int) -> None:
    """The child: `prepare <case number>` checks the result; `sample <count>` times so many calls."""
    if name.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
    known = cases()
    call: Call = list  # until the first case is prepared
    for line in sys.stdin:
        verb, _, argument = line.strip().partition(" ")
        if verb == "prepare":
            case = known[int(argument)]
            call, out = SIDES[name](case)
            call()
            _check(case, name, out)
            for _ in range(3):
                call()
            print(_MARK, "ready", flush=True)
        else:
            start = time.perf_counter()
            for _ in range(int(argument)):
                call()
            print(_MARK, (time.perf_counter() - start) / int(argument), flush=True)


def measure(number: int, sides: list[Side], limit: float, rounds: int = 30) -> dict[str, Any]:
    """One row of the table: fractions of the limit, ratios to ours."""
    from benchmarks.timing import Timings

    calls = {}
    for side in sides:
        side.ask(f"prepare {number}")
        calls[side.name] = max(1, int(0.005 / float(side.ask("sample 10"))))
    samples: dict[str, list[float]] = {side.name: [] for side in sides}
    order, draw = list(sides), random.Random(1)
    for _ in range(rounds):
        draw.shuffle(order)
        for side in order:
            time.sleep(_PAUSE)  # the threads of the side before stop spinning
            side.ask(f"sample {calls[side.name]}")  # wakes this side's threads: what is measured is a library at work
            samples[side.name].append(float(side.ask(f"sample {calls[side.name]}")))
    timings = Timings(samples)
    row: dict[str, Any] = {"limit_seconds": limit}
    for side in samples:
        row[side] = {"seconds": timings.median(side), "of_limit": limit / timings.median(side)}
        if side != "ours" and "ours" in samples:
            row[side]["ours_faster_by"] = timings.ratio(side, "ours")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--serve", choices=list(SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.threads)
        return
    from benchmarks.timing import save
    from comprehension.bench.limits import copy_bandwidth, fma_peak

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])  # the children inherit it
    sides = [Side(name, options.threads) for name in options.sides]
    results = {}
    for number, case in enumerate(cases()):
        compute = case.flops / (fma_peak() * options.threads)
        limit = compute or case.bytes / copy_bandwidth(int(case.bytes))
        results[case.name] = row = measure(number, sides, limit)
        print(case.name, {s: f"{row[s]['of_limit']:.2f}" for s in options.sides}, flush=True)
    for side in sides:
        side.close()
    print(save(f"kernels-{options.threads}", results))


if __name__ == "__main__":
    main()
