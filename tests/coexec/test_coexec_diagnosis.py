"""A failing program is told by its first difference and the guilty stage, and written as a script that fails too."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import coexec
from coexec.testing import NotEquivalent, assert_program_equivalent, guilty_stage
from coexec.testing.imperative import render

PROGRAM = render(["a = mt.clip(a * (1.0 + i % 3), -8.0, 8.0)", "print(float(a.sum()))"])


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    monkeypatch.setattr("coexec.testing.diagnosis.STAGES", coexec.testing.diagnosis.STAGES[:2])


def test_a_sound_program_is_not_written(tmp_path: Path) -> None:
    assert_program_equivalent(PROGRAM, tmp_path / "failing.py")
    assert guilty_stage(PROGRAM.make) is None and not list(tmp_path.iterdir())


def test_a_failing_program_becomes_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "failing.py"
    with monkeypatch.context() as patch:
        every_read_off_by_one = "coexec.graph_side.reference_runner._filled"
        patch.setattr(every_read_off_by_one, lambda value: value.array + 1)
        with pytest.raises(NotEquivalent) as failure:
            assert_program_equivalent(PROGRAM, script)
        assert any("guilty: merging, validation or replay" in note for note in failure.value.__notes__)
        text = script.read_text()
        assert "guilty: merging" in text and failure.value.what in text
        with pytest.raises(NotEquivalent):
            runpy.run_path(str(script))
    runpy.run_path(str(script))  # sound again
