"""The probe that tells a disturbed core: benchmarks/quiet.py, with a clock of its own."""

from __future__ import annotations

import os

import pytest

from benchmarks import quiet
from benchmarks.quiet import Cores, usable


class Clock:
    """Stands for `time`: a nap takes what was asked for."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def cores_with(monkeypatch: pytest.MonkeyPatch, sums: list[float]) -> tuple[Cores, Clock]:
    """Cores calibrated at 1 ms a sum; afterwards each probe finds the next of `sums`, and then 1 ms again."""
    clock = Clock()
    following = iter(sums)
    calibrated = False

    def once(self: Cores) -> float:
        taken = next(following, 1e-3) if calibrated else 1e-3
        clock.now += taken
        return taken

    monkeypatch.setattr(quiet, "time", clock)
    monkeypatch.setattr(quiet, "_REPEATS", 1)
    monkeypatch.setattr(Cores, "_once", once)
    cores = Cores(usable()[:1])
    calibrated = True
    return cores, clock


def test_a_sum_that_takes_longer_than_it_can_says_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, _ = cores_with(monkeypatch, [1.8e-3, 1.1e-3, 1.31e-3])
    assert [cores.quiet() for _ in range(3)] == [False, True, False]


def test_a_shorter_sum_sets_the_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, _ = cores_with(monkeypatch, [0.5e-3, 1e-3])
    assert [cores.quiet(), cores.quiet()] == [True, False]


def test_waiting_ends_when_it_is_quiet_or_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, clock = cores_with(monkeypatch, [2e-3] * 5)
    start = clock.now
    assert cores.wait(start + 1.0)
    assert clock.now - start == pytest.approx(5 * (2e-3 + quiet._NAP_SECONDS) + 1e-3)
    cores, clock = cores_with(monkeypatch, [2e-3] * 500)
    start = clock.now
    assert not cores.wait(start + 0.1)
    assert 0.1 <= clock.now - start < 0.11


def test_all_cpus_are_probed_and_given_back() -> None:
    cpus = usable()
    cores = Cores(cpus)
    cores.quiet()
    assert cores.count == len(cpus)
    assert os.sched_getaffinity(0) == set(cpus)


def test_a_disturbed_sample_is_taken_again_until_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, clock = cores_with(monkeypatch, [1e-3, 2e-3, 1e-3, 1e-3])  # quiet, disturbed after it; quiet, quiet
    answers = iter([5.0, 4.0])
    assert cores.undisturbed(lambda: next(answers), patience=1.0) == (4.0, True)
    cores, clock = cores_with(monkeypatch, [1e-3, 2e-3])

    def long() -> float:
        clock.now += 3.0
        return 7.0

    assert cores.undisturbed(long, patience=1.0) == (7.0, False)
