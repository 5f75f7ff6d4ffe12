"""Logs by topic: what is asked for is told, once, with the user's lines; other topics are refused by name."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from programs import data

import coexec
import minitensor as mt
from coexec.errors import ConfigError


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    before = coexec.config.log
    yield
    coexec.config.log = before


def branching() -> None:
    """One fallback, one operation left to Python, two graphs."""

    @coexec.coexecute
    def step(limit: float) -> float:
        y = data(3) + mt.random.randint(0, 4, (3,))
        if limit > 0.5:
            y = y * 2.0
        return float(y.sum())

    for limit in (0.0, 0.0, 0.0, 1.0, 1.0):
        step(limit)
        coexec.wait()


def messages(caplog: pytest.LogCaptureFixture, topic: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == f"coexec.{topic}"]


def test_fallbacks_are_told_with_line_and_step(caplog: pytest.LogCaptureFixture) -> None:
    coexec.config.log = ("fallbacks",)
    branching()
    left, fell = messages(caplog, "fallbacks")
    assert "left to Python: random_integers at" in left and __file__ in left
    assert f", step 4: multiply at {__file__}:" in fell
    assert not messages(caplog, "graphs")


def test_graphs_are_told_from_beginning_to_end(caplog: pytest.LogCaptureFixture) -> None:
    coexec.config.log = "graphs"
    branching()
    told = [message.partition(": ")[2] for message in messages(caplog, "graphs")]
    assert told[0] == "compiling" and told[1] == "graph 1 goes to the compiler"
    assert any(message.startswith("graph 2 comes back after") for message in told)
    assert "coexecute" in told
    assert sum("is taken into use" in message for message in told) == 2


def test_kernels_are_told_with_their_operations(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coexec.config, "runner", "native")
    coexec.config.log = ("kernels",)

    @coexec.coexecute
    def step() -> float:
        return float((data(3) * 2.0 + 1.0).sum())

    for _ in range(3):
        step()
        coexec.wait()
    (told,) = messages(caplog, "kernels")
    assert f"multiply ({__file__}:" in told and "add (" in told and "sum (" in told


def test_without_topics_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    coexec.config.log = ()
    branching()
    assert not caplog.records


def test_another_topic_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="fallbacks, graphs, kernels.*'graph'"):
        coexec.config.log = "fallbacks,graph"
    with pytest.raises(ConfigError, match="'kernel'"):
        coexec.config.log = ("kernel",)
    code = "import coexec"
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "COEXEC_LOG": "all"}, capture_output=True, text=True
    )
    assert run.returncode == 1 and "topics out of fallbacks, graphs, kernels" in run.stderr and "'all'" in run.stderr


@pytest.mark.parametrize("own", ["", "import logging; logging.basicConfig(format='own %(message)s')\n"])
def test_each_record_comes_once(own: str) -> None:
    code = own + "from coexec import logs; logs.graphs.info('a graph'); logs.kernels.info('a kernel')"
    environment = {**os.environ, "COEXEC_LOG": " graphs ,"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    (line,) = run.stderr.splitlines()
    assert line.endswith("a graph") and line.startswith("own ") == bool(own)


def test_levels_are_the_standard_ones() -> None:
    coexec.config.log = ("graphs",)
    assert logging.getLogger("coexec.graphs").isEnabledFor(logging.INFO)
    coexec.config.log = ()
    assert not logging.getLogger("coexec.graphs").isEnabledFor(logging.INFO)
