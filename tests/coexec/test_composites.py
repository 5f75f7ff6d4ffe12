"""Softmax, norms, attention, cross-entropy and optimiser updates become at most the kernels that a person would write.

Counted on clusters, which are compiled to one kernel each; what the compiler makes of them is measured by
`benchmarks/composites.py`.
"""

from __future__ import annotations

import pytest

import coexec
from benchmarks.composites import cases, compiled
from coexec.clusters.partition import partition
from coexec.graph.symbolic import SymbolicGraph

CASES = cases()


def graph_of(name: str, monkeypatch: pytest.MonkeyPatch) -> SymbolicGraph:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    (session,) = compiled(CASES[name][0]())._sessions
    assert session.compiled is not None
    return session.compiled.graph


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_at_most_those_of_a_person(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, written, because = CASES[name]
    clusters = list(partition(graph_of(name, monkeypatch)).clusters)
    assert 1 <= len(clusters) <= written, (because, [[node.op.name for node in c.nodes] for c in clusters])


@pytest.mark.parametrize("name", ["attention", "linear, gelu and backward"])
def test_without_fusion_they_are_more(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(list(partition(graph_of(name, monkeypatch), max_nodes=1).clusters)) > CASES[name][1]
