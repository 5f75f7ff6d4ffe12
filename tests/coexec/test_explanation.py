"""Explanations: each operation's kernel, every fusion refused, the user's lines; drawings and page show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from graphs import GraphBuilder
from html_page import Page
from hypothesis import given
from op_programs import OpProgram, op_programs
from programs import data
from test_report import HOSTILE

import coexec
import minitensor as mt
from coexec.clusters.partition import MAX_NODES, Partition, partition, refusals_between, split
from coexec.clusters.placement import Placement, place, placements_text
from coexec.clusters.profile import Kind
from coexec.graph.symbolic import Case, End, Goto, Output, SymbolicGraph
from coexec.reports.explanation import Explanation, explanation_of
from coexec.reports.pictures import draw_symbolic, draw_traces
from coexec.reports.report import Report
from coexec.source import name_and_line, short, text_of
from coexec.traces.trace_graph import TraceGraph


def placed(graph: SymbolicGraph, parts: Partition | None = None) -> dict[int, Placement]:
    """Placements as if each cluster had been compiled, by node."""
    parts = parts or partition(graph)
    placements = place(parts, {cluster: number for number, cluster in enumerate(parts.clusters)})
    return {placement.node.id: placement for placement in placements}


def reasons(graph: SymbolicGraph) -> list[str]:
    return [reason for placement in placed(graph).values() for reason in placement.reasons()]


# --- where operations go, and why not elsewhere -----------------------------------------------------------------


def test_what_is_fused_has_one_kernel_and_no_refusal() -> None:
    build = GraphBuilder()
    y = build.op("exp", build.op("multiply", build.feed((4, 8)), 2.0))
    placements = placed(build.graph(kept=(y,)))
    assert [placement.told for placement in placements.values()] == ["kernel 0", "kernel 0"]
    assert not any(placement.refused for placement in placements.values())


def test_two_contractions_are_apart() -> None:
    build = GraphBuilder()
    a = build.op("matmul", build.feed((4, 8)), build.feed((8, 16)))
    b = build.op("matmul", a, build.feed((16, 4)))
    (reason,) = reasons(build.graph(kept=(b,)))
    assert reason == "not with matmul (test.py:1): a kernel has one contraction at most"


def test_a_reader_over_other_loops_is_apart() -> None:
    build = GraphBuilder()
    a = build.op("exp", build.feed((8,)))
    b = build.op("add", a, build.feed((4, 8)))
    (reason,) = reasons(build.graph(kept=(b,)))
    assert reason == "not with exp (test.py:1): add runs over (4, 8), which is not part of (8)"


def test_a_read_in_between_keeps_apart() -> None:
    build = GraphBuilder()
    a = build.op("exp", build.feed((8,)))
    build.fetch(a)
    b = build.op("multiply", a, build.feed((8,)))
    (reason,) = reasons(build.graph(kept=(b,)))
    assert reason.endswith("Python reads a value between them")


def test_scans_are_alone() -> None:
    build = GraphBuilder()
    a = build.op("exp", build.feed((8,)))
    b = build.op("cumulative_sum", a, axis=0)
    c = build.op("negative", b)
    told = reasons(build.graph(kept=(c,)))
    assert len(told) == 2 and all("cumulative_sum scans" in reason for reason in told)


def test_too_many_are_apart() -> None:
    build = GraphBuilder()
    y = build.feed((8,))
    for _ in range(MAX_NODES + 4):
        y = build.op("exp", y)
    (reason,) = reasons(build.graph(kept=(y,)))
    said = f"{MAX_NODES + 1} operations would be more than the {MAX_NODES} that are analysed together"
    assert reason.endswith(said)


def test_control_flow_keeps_apart() -> None:
    build = GraphBuilder()
    a = build.op("exp", build.feed((8,)))
    build.close(Case(0, (1, 2)))
    b = build.op("negative", a)
    build.close(Goto(2))
    build.close(End())
    (reason,) = reasons(build.graph(kept=(a, b)))
    assert "control flow" in reason


def test_movement_is_in_each_reader_and_views_are_nothing() -> None:
    build = GraphBuilder()
    moved = build.op("permute_dims", build.feed((4, 8)), axes=(1, 0))
    first = build.op("matmul", moved, build.feed((4, 8)))
    second = build.op("matmul", moved, build.feed((4, 2)))
    view = build.op("reshape", build.feed((4, 2)), shape=(8,))
    placements = placed(build.graph(kept=(first, second, view)))
    assert placements[moved.node].told == "in the readers' kernels 0, 1"
    assert placements[view.node].told == "a view: nothing is computed"


def test_halves_say_why_they_are_halves() -> None:
    build = GraphBuilder()
    y = build.op("exp", build.op("multiply", build.feed((4, 8)), 2.0))
    parts = partition(build.graph(kept=(y,)))
    (cluster,) = parts.clusters
    halves = split(cluster)
    told = tuple(refusals_between(halves, "compiled in halves, because together: too deep"))
    parts = Partition(parts.graph, (halves,), parts.profiles, told)
    assert placed(parts.graph, parts)[y.node].reasons() == [
        "not with multiply (test.py:1): compiled in halves, because together: too deep"
    ]


@given(op_programs())
def test_every_separation_has_a_reason_and_every_reason_a_separation(program: OpProgram) -> None:
    parts = partition(program.graph)
    placements = placed(program.graph, parts)
    for placement in placements.values():
        if parts.profiles[placement.node.id].kind is Kind.MOVEMENT:
            continue  # taken in by its readers, which answer for it
        told = {node.id for node, _ in placement.refused}
        assert all(not {*placement.kernels} & {*placements[node].kernels} for node in told)
        for source in placement.node.inputs:
            if isinstance(source, Output) and placement.kernels and placements[source.node].kernels:
                apart = not {*placement.kernels} & {*placements[source.node].kernels}
                assert not apart or source.node in told, placements_text(tuple(placements.values()))


# --- the whole of a step ----------------------------------------------------------------------------------------


def explained(runner: str, monkeypatch: pytest.MonkeyPatch) -> Explanation:
    monkeypatch.setattr(coexec.config, "runner", runner)
    weights = data(4, 4)

    @coexec.coexecute
    def step(bend: bool) -> float:
        hidden = data(2, 4) @ weights
        if bend:
            hidden = mt.exp(hidden)
        return float((hidden @ weights).sum())

    for bend in (False, False, False, True, True):
        step(bend)
        coexec.wait()
    return coexec.explain(step)


def test_explain_shows_kernels_refusals_and_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = explained("native", monkeypatch)
    operations = {placement.node.op.name: placement for placement in explanation.operations}
    assert set(operations) == {"matmul", "exp", "sum"}
    assert all(placement.kernels for placement in explanation.operations)
    assert max(kernel for p in explanation.operations for kernel in p.kernels) == explanation.report.kernels - 1
    text = explanation.section("operations")
    assert "test_explanation.py:" in text and "hidden = mt.exp(hidden)" in text
    assert "not with matmul (test_explanation.py:" in text
    assert str(explanation).index("# operations") < str(explanation).index("# traces")
    with pytest.raises(KeyError, match="operations, traces, symbolic, compiled"):
        explanation.section("plans")


def test_drawings_have_the_users_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = explained("reference", monkeypatch)
    assert explanation.operations == ()
    for drawing in (explanation.traces, explanation.symbolic):
        texts = "".join(ElementTree.fromstring(drawing).itertext())
        for line in ("hidden = data(2, 4) @ weights", "hidden = mt.exp(hidden)", "return float((hidden"):
            assert line in texts
        assert f"{__file__}:" in texts  # under the pointer, in full


def test_the_page_has_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(explained("reference", monkeypatch).page())
    shown = "".join(page.content)
    assert {"svg", "table", "pre"} <= page.kinds and not page.kinds & {"script", "img"}
    for text in ("2 of 5 steps co-executed", "hidden = mt.exp(hidden)", "feed 0: float32[2, 4]"):
        assert text in shown


def test_before_the_first_graph_there_are_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "mode", "trace")
    step = coexec.coexecute(lambda x: x + 1.0)
    assert coexec.explain(step).sections == () and Page(coexec.explain(step).page()).opened == []
    step(data(3))
    explanation = coexec.explain(step)
    assert [section.name for section in explanation.sections] == ["traces"]
    assert explanation.symbolic == "" and "add" in explanation.traces
    assert Page(explanation.page()).opened == []


def test_users_texts_are_escaped_in_drawings_and_pages(tmp_path: Path) -> None:
    file = tmp_path / "<b>.py"
    file.write_text(f"# {HOSTILE!r}\n", "utf-8")
    build = GraphBuilder()
    y = build.op("exp", build.feed((8,)))
    graph = build.graph(kept=(y,))
    object.__setattr__(next(graph.nodes()), "where", f"{file}:1")
    ElementTree.fromstring(draw_symbolic(graph, {y.node: 0}))

    class Compiled:
        placements = tuple(placed(graph).values())
        kernels = 1

        def explain(self) -> str:
            return HOSTILE

    compiled: Any = Compiled()
    compiled.graph = graph
    page = Page(explanation_of(Report(HOSTILE), TraceGraph(), compiled).page())
    assert not page.kinds & {"script", "img", "b"}
    assert "<script>" in "".join(page.content)
    ElementTree.fromstring(draw_traces(TraceGraph()))


# --- lines ------------------------------------------------------------------------------------------------------


def test_lines_of_files_that_are_gone_have_no_text(tmp_path: Path) -> None:
    assert text_of(f"{tmp_path / 'gone.py'}:3") == text_of("<stdin>:1") == text_of("start") == text_of("?") == ""
    assert (short("start"), short("<stdin>:1")) == ("start", "<stdin>:1")
    file = tmp_path / "long.py"
    file.write_text(f"x = 1\n    y = {'1' * 200}\n", "utf-8")
    assert text_of(f"{file}:2", 10) == "y = 11111…" and text_of(f"{file}:9") == ""
    assert name_and_line("add", f"{file}:1", with_text=True) == "add (long.py:1)  x = 1"
