"""The list of what is tested, in docs/testing-coexec.md, names programs and tests that there are, and all programs."""

from __future__ import annotations

import re
from pathlib import Path

from features import FEATURES
from odd_flow import ODD_FLOW
from odd_mixtures import ODD_MIXTURES
from odd_numbers import ODD_NUMBERS
from odd_state import ODD_STATE
from odd_training import ODD_TRAINING
from programs import PROGRAMS
from training import TRAINING

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "testing-coexec.md").read_text(encoding="utf-8")


def listed() -> set[str]:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) > 40
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.rpartition(" | ")[2])}


def test_every_name_on_the_list_is_there() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("*.py"))
    assert listed() <= set(re.findall(r"^def (\w+)\(", sources, re.MULTILINE))


def test_every_program_is_on_the_list() -> None:
    odd = ODD_NUMBERS + ODD_FLOW + ODD_STATE + ODD_TRAINING + ODD_MIXTURES
    assert {make.__name__ for make in FEATURES + TRAINING + PROGRAMS + odd} <= listed()
    assert f" {len(odd)} *odd programs*" in PAGE
