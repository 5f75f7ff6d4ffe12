"""Drawings and pages: well formed, self-contained, escaped whatever the names, and the same bytes each time."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from html_page import Page
from hypothesis import given, settings, strategies as st

import comprehension as tc
from comprehension.drawing import svg
from comprehension.drawing.curves import draw_curves
from comprehension.drawing.graph import Arrow, Box, draw_graph
from comprehension.drawing.html import document
from comprehension.drawing.lattice import NO_POINT, Axis, Link, Panel, draw_lattice
from comprehension.drawing.timeline import Interval, draw_timeline
from comprehension.drawing.tree import Branch, draw_tree
from comprehension.explain import Explanation, Section, explanation_of
from comprehension.highlight import ComprehensionLexer
from comprehension.kernel import portrait as records
from comprehension.kernel.certificate import Certificate
from comprehension.page import kernel_fragment
from comprehension.pictures import draw_domains, draw_schedule, legend

HOSTILE = "</style></svg></pre><script>alert('\"1\"')</script><img src=x onerror=alert(1)>&amp;\x00\x1b"
SOFTMAX = """
def softmax(float(N, M) X) -> (Y) {
    top(i) max=! X(i, j)
    E(i, j) = exp(X(i, j) - top(i))
    total(i) +=! E(i, j)
    Y(i, j) = E(i, j) / total(i)
}
"""


def assert_self_contained(text: str) -> Page:
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "object", "a"} & set(page.elements)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href", "id")]
    assert {value for _, value in page.attributes if value and "://" in value} <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"url\(|@import|@font-face", text)
    return page


@pytest.fixture(scope="module")
def kernel() -> tc.Kernel:
    return tc.define(SOFTMAX).softmax.compile(tc.Spec((8, 20), "float32"))


def hostile_portrait() -> records.Portrait:
    leaf = records.Node("statements", HOSTILE)
    kinds = ("stage", "loop", "parallel loop", "tile", "buffers", "accumulators")
    tree = tuple(records.Node(kind, HOSTILE, HOSTILE, (leaf,)) for kind in kinds)  # type: ignore[arg-type]
    axes = (records.Axis(HOSTILE, 0, 0, 2), records.Axis(HOSTILE, -3, -3, 9))
    plane = records.Plane(
        HOSTILE, axes, ((HOSTILE, 3),), ((0, 0), (1, -1)), ((0, 0), (1, -1)), (records.Order("raw", ((0, 0, 1, 0),)),)
    )
    flow = records.Flow(HOSTILE, HOSTILE, HOSTILE, (0, 0), ((0, 0), (0, 1)))
    return records.Portrait(tree, ((HOSTILE, HOSTILE),), ((HOSTILE, 4),), (plane,), (flow,), (HOSTILE,))


def test_hostile_names_are_shown_and_do_nothing() -> None:
    files = ("00-source.tc", "40-schedule.txt", "70-kernel.py")
    sections = tuple(Section(file, HOSTILE, HOSTILE) for file in files)
    certificate = Certificate({HOSTILE: True, "other": False}, (HOSTILE,))
    explanation = Explanation(HOSTILE, sections, hostile_portrait(), certificate, HOSTILE)
    page = assert_self_contained(explanation.page())
    shown = "".join(page.content)
    assert shown.count("<script>alert('\"1\"')</script>") > 20
    assert "\x00" not in explanation.page() and "\x1b" not in explanation.page()


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_escaped_in_every_drawing(text: str) -> None:
    for drawing in (
        draw_graph([Box(text, text), Box(text, group=1)], [Arrow(0, 1), Arrow(1, 0)]),
        draw_tree([Branch(text, text, text, "#123456", (Branch(text),))]),
        draw_lattice([Panel(text, text, ((0, NO_POINT),), ((0, NO_POINT),), Axis(text), Axis(text, 0, True))]),
        draw_timeline([(text, [Interval(0.0, 1.0, text, text)])]),
        draw_curves([(text, [1.0, 2.0])]),
    ):
        root = ElementTree.fromstring(drawing)  # well formed, or an exception
        assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
            "svg", "style", "g", "title", "rect", "path", "text"
        }  # fmt: skip


@pytest.mark.parametrize("text", ["a < b", "\x00", "\ud800", "\ufffe", "plain"])
def test_safe_text_parses_as_xml(text: str) -> None:
    assert ElementTree.fromstring(f'<a b="{svg.safe(text)}">{svg.safe(text)}</a>').text is not None


def test_a_kernels_page(kernel: tc.Kernel) -> None:
    text = kernel.explain().page()
    page = assert_self_contained(text)
    assert text.startswith("<!doctype html>") and page.elements.count("svg") == 2
    shown = "".join(page.content)
    for expected in (
        "kernel softmax(float32[8, 20]) for cpu",
        "dependences ✓",
        "def softmax",
        "Schedule tree",
        "S0: top(i) max=",
    ):
        assert expected in shown
    assert kernel._repr_html_() == kernel.explain()._repr_html_() and kernel._repr_html_() in text


def test_pages_are_the_same_bytes_each_time(kernel: tc.Kernel) -> None:
    portrait = kernel.explain().portrait
    assert portrait is not None
    again = records.Portrait.from_json(portrait.to_json())
    assert (draw_schedule(portrait), draw_domains(portrait)) == (draw_schedule(again), draw_domains(again))
    assert kernel_fragment(kernel.explain()) == kernel_fragment(kernel.explain())


def test_an_explanation_without_pictures_is_still_a_page() -> None:
    explanation = explanation_of("f", {"00-source.tc": b"def f"})
    assert explanation.portrait is None
    assert_self_contained(explanation.page())


def test_pages_of_a_module_and_a_comprehension(kernel: tc.Kernel) -> None:
    module = tc.define(SOFTMAX + "def twice(float(N) A) -> (B) { B(i) = 2.0 * A(i) }")
    module.softmax.compile(tc.Spec((8, 20), "float32"))
    page = assert_self_contained(document("module", module._repr_html_()))
    shown = "".join(page.content)
    assert page.elements.count("svg") == 2 and "twice(float(N) A) -> (float(N) B)" in shown
    assert "S3: Y(i, j) = E(i, j) / total(i)" in shown and "kernel softmax(float32[8, 20])" in shown
    assert "S0: i in 0:N    because X(i, j)" in "".join(Page(module.softmax._repr_html_()).content)


def test_the_legend_tells_what_is_drawn(kernel: tc.Kernel) -> None:
    portrait = kernel.explain().portrait
    assert portrait is not None
    told = "; ".join(legend(portrait))
    assert "dependences" in told and "whose results it reads" in told and "symbolic" not in told
    symbolic = tc.define(SOFTMAX, sizes="symbolic").softmax.compile(tc.Spec(("N", "M"), "float32")).explain().portrait
    assert symbolic is not None and "sizes are symbolic, drawn for N = 64, M = 64" in legend(symbolic)


def test_tiles_are_outlined_and_points_of_one_unit_share_a_path() -> None:
    panel = Panel("", "", ((0, 0, 1), (0, 0, 1)), ((0, 0, 1), (0, 0, 2)), Axis("i"), Axis("j"))
    drawn = ElementTree.fromstring(draw_lattice([panel]))
    space = "{http://www.w3.org/2000/svg}"
    assert len(drawn.findall(f"{space}rect")) == 1, "two times of one point each have none"
    dots = [p.get("d", "") for p in drawn.iter(f"{space}path") if "round" in (p.get("style") or "")]
    assert [d.count("M") for d in dots] == [4, 2]


def test_links_ring_what_is_read() -> None:
    panel = Panel("", "", ((0, 0, 0),), ((0, 1, 2),), None, Axis("j"))
    together = draw_lattice([panel, panel], [Link(0, ((0, 0), (0, 1)), 1, (0, 2), 0)])
    apart = draw_lattice([panel, panel], [Link(0, ((0, 0), (0, 2)), 1, (0, 2), 0)])
    assert together.count("z") == 2 and apart.count("z") == 3


def test_texts_are_coloured_without_loss() -> None:
    text = "def f(float(N) A) -> (B) { # note\n  B(i) = min(A(i), 1.5e3) where i in 0:N @ \x00\n}\n"
    assert "".join(part for _, part in ComprehensionLexer(stripnl=False).get_tokens(text)) == text


def test_pages_are_not_loaded_by_programs_that_only_compute() -> None:
    code = "import comprehension.api, sys; print(any(m in sys.modules for m in ('pygments', 'comprehension.page')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
