"""Branch-heavy programs fall back hardly more often than under a merger that knows them (benchmarks/branchy.py)."""

from __future__ import annotations

import pytest

import coexec
from benchmarks.branchy import IdealMerger, compare, summary


@pytest.mark.parametrize("first", [0, 100])
def test_fallbacks_beside_those_of_the_ideal_merger(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    found = summary([compare(seed) for seed in range(first, first + 10)], 200)
    assert found["fallbacks over ideal"] <= 1.2
    assert found["co-executed"] >= 0.75


def test_the_ideal_merger_falls_back_on_new_edges_only() -> None:
    ideal = IdealMerger()
    for path in ([0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 2], [0, 2], [1]):
        ideal.step(path)
    assert (ideal.coexecuted, ideal.fallbacks) == (2, 2)
