"""The docs' lists of all functions and names are what the code gives."""

from __future__ import annotations

import runpy
from pathlib import Path

import coexec
import comprehension
import minitensor as mt

DOCS = Path(__file__).parents[2] / "docs"


def test_the_pages_of_functions_and_names_are_up_to_date() -> None:
    listing = runpy.run_path(str(DOCS / "listing.py"))
    for name, made in (
        ("functions.md", listing["page"]()),
        ("reference.md", listing["reference"]()),
        ("modules.md", listing["modules"]()),
    ):
        assert (DOCS / name).read_text(encoding="utf-8") == made, f"{name}: run make refresh-docs"


def test_it_has_every_public_name_of_comprehension_and_coexec() -> None:
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    for prefix, module in (("tc", comprehension), ("coexec", coexec)):
        for name in module.__all__:
            elsewhere = name in ("config", "statistics", "ScalarType", "MalformedGraph")
            assert elsewhere or f"`{prefix}.{name}" in page or f"**`{name}`**" in page, name


def test_it_has_every_public_name() -> None:
    page = (DOCS / "functions.md").read_text(encoding="utf-8")
    for prefix, module in (("mt", mt), ("F", mt.functional), ("mt.nn", mt.nn), ("mt.linalg", mt.linalg)):
        for name in module.__all__:
            value = getattr(module, name)
            ours = str(getattr(value, "__module__", "")).startswith("minitensor")
            if ours and callable(value) and not name.startswith("_"):
                assert f"| `{prefix}.{name}` | " in page, name
