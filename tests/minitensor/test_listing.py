"""The docs' list of all functions is what the code gives."""

from __future__ import annotations

import runpy
from pathlib import Path

import minitensor as mt

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_functions_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "listing.py"))["page"]()
    assert (DOCS / "functions.md").read_text(encoding="utf-8") == page, "run make refresh-docs"


def test_it_has_every_public_name() -> None:
    page = (DOCS / "functions.md").read_text(encoding="utf-8")
    for prefix, module in (("mt", mt), ("F", mt.functional), ("mt.nn", mt.nn), ("mt.linalg", mt.linalg)):
        for name in module.__all__:
            value = getattr(module, name)
            ours = str(getattr(value, "__module__", "")).startswith("minitensor")
            if ours and callable(value) and not name.startswith("_"):
                assert f"| `{prefix}.{name}` | " in page, name
