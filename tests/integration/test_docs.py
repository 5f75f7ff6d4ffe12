"""The docs hold together: pictures are what the compiler draws, links lead somewhere, results can be refreshed.

The examples on the pages themselves run by `make check`.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import pages
from benchmarks.kernels.cases import CASES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*DOCS.glob("*.md"), *DOCS.glob("stages/*.md"), *DOCS.glob("decisions/*.md"), ROOT / "README.md"]
PAGES += [ROOT / "examples" / "README.md"]


def script(name: str) -> ModuleType:
    """A program of the docs' as a module; `docs` is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_are_what_the_compiler_draws() -> None:
    drawn = script("pictures").drawn()
    assert {path.name for path in (DOCS / "pictures").glob("*.svg")} == set(drawn)
    stale = [name for name, text in drawn.items() if (DOCS / "pictures" / name).read_text("utf-8") != text + "\n"]
    assert not stale, "the compiler draws them otherwise now: look at what `make refresh-docs` changes, and commit it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"```\{image\} (\S+)", page.read_text("utf-8"))
    local = [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing


def test_every_page_is_reached_from_the_first() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.exists():
            reached.add(page)
            for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text("utf-8"), flags=re.S):
                names = [line for line in tree.splitlines() if line and not line.startswith(":")]
                waiting += [found for name in names for found in page.parent.resolve().glob(f"{name}.md")]
                waiting += [(page.parent / f"{name}.md").resolve() for name in names if "*" not in name]
    assert {page.resolve() for page in PAGES if DOCS in page.parents} <= {page.resolve() for page in reached}


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_figures_are_those_that_were_measured(page: Path) -> None:
    text = page.read_text("utf-8")
    assert pages.refreshed(text) == text, "run python -m benchmarks.pages"
    shown = re.findall(r"^<!-- figures: (\S+) -->$", text, flags=re.M)
    assert len(shown) == text.count("<!-- end of figures -->") == len(set(shown))


def test_every_table_of_figures_is_shown_somewhere() -> None:
    shown = [name for page in pages.PAGES for name in re.findall(r"<!-- figures: (\S+) -->", page.read_text("utf-8"))]
    assert sorted(shown) == sorted(pages.FIGURES)


def test_what_limits_it_is_said_of_every_kernel() -> None:
    page = (DOCS / "performance-kernels.md").read_text("utf-8")
    rows = " ".join(re.findall(r"^\|([^|]*)\|", page, flags=re.M)) + " "
    assert not [case.name for case in CASES if not re.search(rf" {re.escape(case.name)}[ ,]", rows)]


def test_a_figure_changed_by_hand_is_written_anew() -> None:
    place = "before\n<!-- figures: start -->\n\n{}\n\n<!-- end of figures -->\nafter"
    right = place.format(pages.FIGURES["start"]())
    assert pages.refreshed(place.format("| 1 |")) == pages.refreshed(right) == right
    with pytest.raises(KeyError, match="nothing"):
        pages.refreshed(place.replace("start", "nothing"))


def test_the_code_in_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.S)
    for number, block in enumerate(blocks):
        exec(compile(block, f"README.md, block {number}", "exec"), {"__name__": "__main__"})
    told = capsys.readouterr().out
    assert "dependences  proved" in told and "co-execution of step" in told


def test_refreshing_changes_wrong_results_and_nothing_else() -> None:
    refreshed = script("refresh").refreshed
    right = "# Page\n\n```python\n>>> x = [1,\n...      2]\n>>> print(x)  # doctest: +ELLIPSIS\n[1...\n\n```\n\nwords\n"
    assert refreshed(right, "page") == right
    wrong = right.replace("[1...", "[7]").replace("words", ">>> {}['k']\n>>> print('a\\n\\nb')\nold\n")
    fixed = refreshed(wrong, "page")
    assert "\n[1, 2]\n" in fixed and "\nTraceback (most recent call last):\nKeyError: 'k'\n" in fixed
    assert "\na\n<BLANKLINE>\nb\n" in fixed and "old" not in fixed and fixed.startswith("# Page\n\n```python\n")


def test_refreshing_stops_at_an_example_that_fails() -> None:
    with pytest.raises(ZeroDivisionError):
        script("refresh").refreshed(">>> 1 / 0\n1\n", "page")
