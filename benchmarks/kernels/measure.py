"""Rounds over all sides: each a process that is stopped while another is timed.

In: a case and the sides' processes.  Out: a row of the table: samples by side and column, and the limit.
Invariant: within a round every side takes its sample, in a drawn order, so that a machine that slows down slows
them all, and ratios are taken within rounds; a process that is not timed is stopped by a signal, so that worker
threads that spin between calls take nothing from the others.

Before the rounds all are silent for SETTLE_SECONDS, in which a virtual machine's kernel gives back some of the memory
that the comparison has freed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kernels.case import Case
from benchmarks.kernels.limit import limit_of
from benchmarks.kernels.serve import MARK
from benchmarks.quiet import Cores
from benchmarks.timing import THREAD_VARIABLES

SAMPLE_SECONDS = 0.006  # a fast call is repeated until about this long
LEAST_ROUNDS, MOST_ROUNDS = 7, 31
PATIENCE = 90.0  # seconds for one answer (a compilation, a comparison); a side that takes longer has failed the case
SETTLE_SECONDS = 1.0
LARGE_VISITS = 3  # how often a side gets its turn with arrays that only one side may hold

_TUNED_BY_OTHERS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE", "OMP_WAIT_POLICY")


class SideFailed(Exception):
    """A side could not do a case; the message says why."""


class Side:
    """One library's process: asked by lines, stopped between questions."""

    def __init__(self, name: str, threads: int, cpus: Sequence[int]) -> None:
        self.name, self._threads, self._cpus = name, threads, cpus
        self._start()

    def _start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in _TUNED_BY_OTHERS}
        environment |= dict.fromkeys(THREAD_VARIABLES, str(self._threads))
        environment |= {"TORCHINDUCTOR_COMPILE_THREADS": "1", "JAX_PLATFORMS": "cpu"}
        if self._threads == 1:
            environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        cpus = ",".join(map(str, self._cpus))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.kernels.serve", self.name, str(self._threads), cpus],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def ask(self, *question: object) -> Any:
        """Raises SideFailed if the side reports an error, ends or lets one wait (then it is started anew)."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        os.killpg(process.pid, signal.SIGCONT)
        late = threading.Event()
        alarm = threading.Timer(PATIENCE, lambda: (late.set(), os.killpg(process.pid, signal.SIGKILL)))
        alarm.start()
        try:
            print(*question, sep="\t", file=process.stdin, flush=True)
            for line in process.stdout:
                if line.startswith(MARK):
                    answer = json.loads(line.removeprefix(MARK))
                    if isinstance(answer, dict) and "error" in answer:
                        raise SideFailed(answer["error"])
                    return answer
        except BrokenPipeError:
            pass
        finally:
            alarm.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGSTOP)
        process.wait()
        self._start()
        if late.is_set():
            raise SideFailed(f"no answer from {self.name} within {PATIENCE:.0f} s")
        raise SideFailed(f"{self.name}'s process ended with code {process.returncode}")

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _save_exact(case: Case, folder: Path) -> float:
    """Writes values and bounds for the sides to compare with; returns the bytes that a call must move."""
    inputs = case.inputs()[0]
    outputs = case.exact(*inputs)
    for number, output in enumerate(outputs):
        bound = np.broadcast_to(output.bound, output.value.shape).astype(np.float32) * np.float32(1 + 1e-6)
        np.save(folder / f"value{number}.npy", output.value)
        np.save(folder / f"bound{number}.npy", bound)
    return case.moved or float(sum(x.nbytes for x in inputs) + sum(4 * o.value.size for o in outputs))


class _Row:
    """The samples of one case as they come."""

    def __init__(self, sides: Sequence[Side], columns: Sequence[str]) -> None:
        self.sides, self._columns = list(sides), columns
        self.counts: dict[str, dict[str, int]] = {}
        self.samples: dict[str, dict[str, list[float]]] = {}
        self.failed: dict[str, str] = {}
        self.disturbed = self.taken = 0
        self.round_seconds = 0.0

    def prepare(self, side: Side, case: Case, folder: Path) -> bool:
        try:
            estimates = side.ask("prepare", case.name, folder)
        except SideFailed as error:
            self.failed[side.name] = str(error)
            return False
        wanted = {column: seconds for column, seconds in estimates.items() if column in self._columns}
        if side.name not in self.counts:
            self.counts[side.name] = {c: max(1, int(SAMPLE_SECONDS / max(s, 1e-7))) for c, s in wanted.items()}
            self.samples[side.name] = {c: [] for c in wanted}
            self.round_seconds += sum(s * (self.counts[side.name][c] + 1) for c, s in wanted.items())
        return True

    def sample(self, side: Side) -> None:
        for column, count in self.counts.get(side.name, {}).items():
            if side.name not in self.failed:
                try:
                    seconds, quiet = side.ask("sample", column, count)
                except SideFailed as error:
                    self.failed[side.name] = str(error)
                    continue
                self.samples[side.name][column].append(seconds)
                self.disturbed += not quiet
                self.taken += 1

    def finished(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, columns in self.samples.items():
            if name not in self.failed:
                found[name] = {c: [float(f"{s:.4g}") for s in samples] for c, samples in columns.items()}
        return found | {name: {"error": message} for name, message in self.failed.items()}


def measure(
    case: Case,
    sides: Sequence[Side],
    columns: Sequence[str],
    cores: Cores,
    seconds: float,
    rounds: int | None,
) -> dict[str, Any]:
    """One row: the limit's seconds, seconds a call by side, column and round, and the share of disturbed samples.

    `seconds`: about how long the rounds may take; `rounds` overrides the number that follows from it.
    """
    row = _Row(sides, columns)
    order, drawing = list(sides), random.Random(1)
    with tempfile.TemporaryDirectory(prefix="comprehension-kernels-") as name:
        folder = Path(name)
        moved = _save_exact(case, folder)
        if not case.large:
            for side in sides:
                row.prepare(side, case, folder)
            time.sleep(SETTLE_SECONDS)
            count = rounds or max(LEAST_ROUNDS, min(MOST_ROUNDS, int(seconds / max(row.round_seconds, 1e-9))))
            for _ in range(count):
                drawing.shuffle(order)
                for side in order:
                    row.sample(side)
            _drop(sides)
        else:
            _visits(row, case, order, drawing, folder, rounds or MOST_ROUNDS)
    disturbed = round(row.disturbed / max(row.taken, 1), 3)
    return {"limit": limit_of(case, moved, cores), "sides": row.finished(), "disturbed": disturbed}


def _visits(row: _Row, case: Case, order: list[Side], drawing: random.Random, folder: Path, rounds: int) -> None:
    """Rounds where only one side at a time holds the arrays: a few visits, several samples in each."""
    for _ in range(LARGE_VISITS):
        drawing.shuffle(order)
        for side in order:
            if side.name not in row.failed and row.prepare(side, case, folder):
                time.sleep(SETTLE_SECONDS)
                for _ in range(-(-rounds // LARGE_VISITS)):
                    row.sample(side)
            _drop([side])


def _drop(sides: Sequence[Side]) -> None:
    for side in sides:
        side.ask("drop")
