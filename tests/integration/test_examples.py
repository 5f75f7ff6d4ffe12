"""The examples beside the digits demo run, at small sizes, and check themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import coexec
from examples import gallery, local_attention, own_loop, test_own_step, user_operator


def test_local_attention() -> None:
    result = CliRunner().invoke(local_attention.main, ["--length", "96", "--features", "8"])
    assert result.exit_code == 0, result.output
    assert "proved" in result.output


def test_user_operator() -> None:
    result = CliRunner().invoke(user_operator.main, ["--rows", "32", "--steps", "24"])
    assert result.exit_code == 0, result.output
    assert "gated_grad_" in result.output  # fused under its own name


def test_own_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")  # the compiler has its own tests
    result = CliRunner().invoke(own_loop.main, ["--steps", "60", "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "60 of 60 steps" in result.output and "co-executed" in result.output
    page = (tmp_path / "own_loop.html").read_text("utf-8")
    assert "loss = F.cross_entropy(model(x), y)" in page and "random_uniform" in page
    trace = json.loads((tmp_path / "own_loop.trace.json").read_text("utf-8"))["traceEvents"]
    assert {event["name"] for event in trace} >= {"traced", "co-executed", "fallback", "compile"}


@pytest.mark.parametrize("example", gallery.EXAMPLES, ids=lambda example: example.plain.__name__)
def test_gallery(example: gallery.Example) -> None:
    kernel = gallery.check(example, 40)
    assert kernel.certificate and kernel.name == example.plain.__name__


def test_gallery_as_a_program() -> None:
    result = CliRunner().invoke(gallery.main, ["--size", "40"])
    assert result.exit_code == 0, result.output
    assert all(example.note in result.output for example in gallery.EXAMPLES)


def test_a_test_of_ones_own_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    test_own_step.test_my_step_is_unchanged()
    test_own_step.test_my_step_leaves_its_graph_anywhere()
    test_own_step.test_my_steps_overlap()
