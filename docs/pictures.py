"""Draws the pictures of the docs: `python docs/pictures.py` (`make refresh-docs`) writes `docs/pictures/*.svg`.

In: nothing.  Out: a dictionary of file names and SVG texts; run as a program, the files.
Invariant: the same compiler gives the same bytes; a test holds the files against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from comprehension.drawing import svg
from comprehension.drawing.theme import hue
from comprehension.kernel.portrait import Portrait
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec
from comprehension.machine import Machine
from comprehension.pictures import draw_domains, draw_schedule
from comprehension.poly.dependence import find_dependences
from comprehension.poly.portrait import portrait_of
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop

FOLDER = Path(__file__).parent / "pictures"
AVX512 = Machine("some", "", 512, 32, 32 << 10, 1 << 20, 16 << 20, 2)
SMOOTH = """
def smooth(float(N) X, float(K) W) -> (Y) {
    S(i) +=! X(i + k) * W(k)
    Y(i) = max(S(i), 0.0)
}
"""
HEAT = """
def heat(float(N) X) -> (U) {
    U(t, i) = X(i) where t in 0:8
    U(t, i) = 0.25 * U(t - 1, i - 1) + 0.5 * U(t - 1, i) + 0.25 * U(t - 1, i + 1) where t in 1:8, i in 1:N - 1
}
"""
PRODUCT = "def product(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }"


def drawn() -> dict[str, str]:
    """All pictures by the names of their files."""
    smooth, heat = portrait(SMOOTH, (1028,), (5,)), portrait(HEAT, (20,))
    return {
        "smooth-schedule.svg": draw_schedule(smooth, paper=True),
        "smooth-domains.svg": draw_domains(smooth, paper=True),
        "heat-domains.svg": draw_domains(heat, paper=True),
        "product-domains.svg": draw_domains(portrait(PRODUCT, (64, 64), (64, 64)), paper=True),
        "path.svg": draw_path(),
    }


def portrait(text: str, *shapes: tuple[int, ...]) -> Portrait:
    """The portrait of a text's only def for float32 inputs of these shapes."""
    (definition,) = load(text).values()
    scop = build_scop(infer(definition, tuple(Spec(shape, "float32") for shape in shapes)))
    dependences = find_dependences(scop)
    return portrait_of(scop, dependences, schedule(scop, dependences, machine=AVX512))


# --- the path of an operation ---------------------------------------------------------------------------------------

LANES = ("minitensor", "coexec", "comprehension", "compiler process")
LANE, BOX, LEFT, WIDTH = 66.0, 26.0, 138.0, 980.0
# name: lane, x, label
STATIONS = {
    "op": (0, LEFT, "x @ w"),
    "value": (0, 250.0, "value now"),
    "record": (1, LEFT, "OpRecord"),
    "traces": (1, 250.0, "TraceGraph"),
    "symbolic": (1, 386.0, "SymbolicGraph"),
    "cluster": (1, 546.0, "Cluster"),
    "plan": (1, 766.0, "Plan"),
    "runners": (1, 866.0, "two runners"),
    "text": (2, 526.0, "comprehension"),
    "loops": (2, 250.0, "loops"),
    "kernel": (2, 766.0, "Kernel"),
    "scop": (3, 250.0, "Scop"),
    "tree": (3, 330.0, "schedule tree"),
    "ir": (3, 474.0, "KernelIR"),
    "proof": (3, 576.0, "certificate"),
    "source": (3, 698.0, "source"),
    "object": (3, 790.0, "object file"),
}
ARROWS = (
    ("op", "value"), ("op", "record"), ("record", "traces"), ("traces", "symbolic"), ("symbolic", "cluster"),
    ("cluster", "text"), ("text", "loops"), ("loops", "scop"), ("scop", "tree"), ("tree", "ir"), ("ir", "proof"),
    ("proof", "source"), ("source", "object"), ("object", "kernel"), ("kernel", "plan"), ("plan", "runners"),
)  # fmt: skip


def draw_path() -> str:
    """Every representation on the way of one product, in the lane of who makes it."""
    parts = [part for number, lane in enumerate(LANES) for part in _lane(number, lane)]
    parts.append(svg.path("".join(_connection(a, b) for a, b in ARROWS), "k", stroke_width=1.1, opacity=0.75))
    for lane, x, label in STATIONS.values():
        place = (x, _top(lane), svg.width_of(label) + 16, BOX)
        parts += [svg.ground(*place), svg.box(*place, hue(lane)), svg.text(x + 8, _top(lane) + 17, label)]
    return svg.svg(WIDTH, len(LANES) * LANE + 2 * svg.MARGIN, parts, label="the path of an operation", paper=True)


def _lane(number: int, name: str) -> Iterator[str]:
    y = svg.MARGIN + number * LANE
    yield svg.text(svg.MARGIN, y + LANE / 2 + 4, name, "b")
    if number:
        yield svg.path(f"M{svg.number(svg.MARGIN)} {svg.number(y)}H{svg.number(WIDTH - svg.MARGIN)}", "s")


def _top(lane: int) -> float:
    return svg.MARGIN + lane * LANE + (LANE - BOX) / 2


def _connection(source: str, target: str) -> str:
    (lane0, x0, label0), (lane1, x1, label1) = STATIONS[source], STATIONS[target]
    width0, width1 = svg.width_of(label0) + 16, svg.width_of(label1) + 16
    if lane0 == lane1:
        y = _top(lane0) + BOX / 2
        return svg.arrow(x0 + width0, y, x1, y, 6) if x1 > x0 else svg.arrow(x0, y, x1 + width1, y, 6)
    down = lane1 > lane0
    x = max(x0, x1) + min(width0, width1, x0 + width0 - max(x0, x1), x1 + width1 - max(x0, x1)) / 2
    return svg.arrow(x, _top(lane0) + (BOX if down else 0), x, _top(lane1) + (0 if down else BOX), 6)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in drawn().items():
        (FOLDER / name).write_text(text + "\n", encoding="utf-8")
        print(f"drawn: {FOLDER / name}")
