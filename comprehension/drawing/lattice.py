"""Lattices: integer points in the plane, what runs at once around them, arrows between them.

In: panels of rows and columns of points, each with the number of its group and of its time.
Out: an `<svg>` element; panels stand side by side, wrapped into lines.
Invariant: a place without a point is left blank; points of one time that fill a rectangle share an outline.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from comprehension.drawing import svg
from comprehension.drawing.theme import hue

NO_POINT = -1
PITCH, SMALLEST = 13.0, 6.0  # pixels from a point to the next
WIDEST, HIGHEST = 720.0, 420.0  # pixels of a panel's points
TITLE, LABELS, GAP = 40.0, 30.0, 30.0
FEW = 12  # links that are drawn one by one

Place = tuple[int, int]  # row, column
Rows = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Axis:
    """The index that an axis counts, its first value drawn, and whether the range goes on beyond the last."""

    name: str
    first: int = 0
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a point to one of the same panel that must come later; `dashed` if only a reduction asks for it."""

    source: Place
    target: Place
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """`groups[r][c]` chooses a colour, `times[r][c]` says what runs at once, in what order."""

    title: str
    caption: str
    groups: Rows
    times: Rows
    rows: Axis | None = None
    columns: Axis | None = None
    arrows: tuple[Arrow, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """Points of one panel that a point of another reads; both are numbers of panels."""

    source: int
    places: tuple[Place, ...]
    target: int
    at: Place
    number: int  # chooses the colour


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a panel stands and how far apart its points are."""

    x: float
    y: float
    pitch: float
    panel: Panel

    def centre(self, place: tuple[float, float]) -> tuple[float, float]:
        row, column = place
        return self.x + (column + 0.5) * self.pitch, self.y + (row + 0.5) * self.pitch


def draw_lattice(
    panels: Sequence[Panel], links: Sequence[Link] = (), *, width: float = 1060, paper: bool = False
) -> str:
    """The panels with their arrows, and links between panels on top.

    >>> square = Panel("S0", "", ((0, 0), (1, NO_POINT)), ((0, 0), (1, NO_POINT)), Axis("i"), Axis("j"))
    >>> draw_lattice([square]).count("<svg")
    1
    """
    frames, right, bottom = _place(panels, width)
    parts = [part for frame in frames for part in _panel(frame)]
    for link in links:
        parts.append(_link(frames[link.source], frames[link.target], link))
    return svg.svg(right, bottom, parts, label="; ".join(panel.title for panel in panels), paper=paper)


def _place(panels: Sequence[Panel], width: float) -> tuple[list[_Frame], float, float]:
    frames: list[_Frame] = []
    x, top, lowest, right = svg.MARGIN, svg.MARGIN, 0.0, 0.0
    for panel in panels:
        rows, columns = len(panel.groups), max(map(len, panel.groups), default=0)
        pitch = max(SMALLEST, min(PITCH, WIDEST / max(columns, 1), HIGHEST / max(rows, 1)))
        name = svg.width_of(f"→ {panel.columns.name}") if panel.columns else 0
        needed = max(LABELS + columns * pitch + name, svg.width_of(panel.title), svg.width_of(panel.caption))
        if x > svg.MARGIN and x + needed > width:
            x, top = svg.MARGIN, lowest + GAP / 2
        frames.append(_Frame(x + LABELS, top + TITLE + 14, pitch, panel))
        lowest = max(lowest, top + TITLE + 14 + rows * pitch + 10)
        right = max(right, x + needed)
        x += needed + GAP
    return frames, right + svg.MARGIN, lowest + svg.MARGIN


def _panel(frame: _Frame) -> Iterator[str]:
    panel = frame.panel
    yield svg.text(frame.x - LABELS, frame.y - TITLE, panel.title, "b")
    yield svg.text(frame.x - LABELS, frame.y - TITLE + 15, panel.caption, "d")
    yield from _axes(frame)
    yield from _outlines(frame)
    yield _course(frame)
    for group in sorted({g for row in panel.groups for g in row if g != NO_POINT}):
        points = "".join(_dot(frame, place) for place in _places(panel.groups, group))
        yield svg.path(points, stroke=hue(group), stroke_width=svg.number(frame.pitch * 0.42), stroke_linecap="round")
    for dashed in (False, True):
        arrows = "".join(_short_arrow(frame, a) for a in panel.arrows if a.dashed is dashed)
        if arrows:
            yield svg.path(arrows, "k", stroke_width=0.9, opacity=0.55 if dashed else 0.9)


def _places(rows: Rows, group: int) -> Iterator[Place]:
    return ((r, c) for r, row in enumerate(rows) for c, g in enumerate(row) if g == group)


def _dot(frame: _Frame, place: Place) -> str:
    x, y = frame.centre(place)
    return f"M{svg.number(x)} {svg.number(y)}h.1"


def _axes(frame: _Frame) -> Iterator[str]:
    panel, pitch = frame.panel, frame.pitch
    rows, columns = len(panel.groups), max(map(len, panel.groups), default=0)
    if panel.columns is not None:
        for column in _ticks(columns, pitch, 40):
            yield svg.text(
                frame.x + (column + 0.5) * pitch, frame.y - 4, str(panel.columns.first + column), "d", "middle"
            )
        yield svg.text(frame.x + columns * pitch + 4, frame.y - 4, f"→ {panel.columns.name}", "b")
        if panel.columns.goes_on:
            yield svg.text(frame.x + columns * pitch + 4, frame.y + pitch / 2 + 4, "…", "d")
    if panel.rows is not None:
        for row in _ticks(rows, pitch, 24):
            yield svg.text(frame.x - 6, frame.y + (row + 0.5) * pitch + 4, str(panel.rows.first + row), "d", "end")
        yield svg.text(frame.x - 6, frame.y - 4, f"{panel.rows.name} ↓", "b", "end")
        if panel.rows.goes_on:
            yield svg.text(frame.x + 4, frame.y + rows * pitch + 10, "⋮", "d")


def _ticks(count: int, pitch: float, apart: float) -> Iterable[int]:
    """Places to label: first of all round numbers."""
    step = next(s for s in (1, 2, 4, 8, 16, 32, 64, 128) if s * pitch >= apart or s == 128)
    return range(0, count, step)


def _outlines(frame: _Frame) -> Iterator[str]:
    """Rectangles around points of one time."""
    pitch, gap = frame.pitch, frame.pitch * 0.12
    for group, (top, left, bottom, right) in _tiles(frame.panel):
        width, height = (right - left + 1) * pitch - 2 * gap, (bottom - top + 1) * pitch - 2 * gap
        yield svg.box(frame.x + left * pitch + gap, frame.y + top * pitch + gap, width, height, hue(group))


def _tiles(panel: Panel) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """Group and box (top, left, bottom, right) of each time that has several points and fills its box."""
    boxes: dict[int, list[int]] = {}
    for r, row in enumerate(panel.times):
        for c, time in enumerate(row):
            if time != NO_POINT:
                box = boxes.setdefault(time, [r, c, r, c, 0, panel.groups[r][c]])
                box[0], box[1], box[2], box[3] = min(box[0], r), min(box[1], c), max(box[2], r), max(box[3], c)
                box[4] += 1
    for top, left, bottom, right, count, group in boxes.values():
        if count > 1 and count == (bottom - top + 1) * (right - left + 1):
            yield group, (top, left, bottom, right)


def _course(frame: _Frame) -> str:
    """Arrows along what runs one after the other: through points, or the middles of what runs at once.

    Steps in one direction are one arrow; jumps back to the start of a row are left out.
    """
    commands: list[str] = []
    for middles in _middles(frame).values():
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(middles)]
        shortest = min((abs(x) + abs(y) for x, y in steps), default=0.0)
        start = 0
        for position, (x, y) in enumerate([*steps, (0.0, 0.0)]):
            if position > start and (abs(x - steps[start][0]) > 0.1 or abs(y - steps[start][1]) > 0.1):
                if abs(steps[start][0]) + abs(steps[start][1]) <= 1.5 * shortest:
                    commands.append(svg.arrow(*middles[start], *middles[position], frame.pitch * 0.45))
                start = position
    return svg.path("".join(commands), stroke_width=1.3) if commands else ""


def _middles(frame: _Frame) -> dict[int, list[tuple[float, float]]]:
    """For each group the middles of what runs at once, in the order of time."""
    found: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for r, row in enumerate(frame.panel.times):
        for c, time in enumerate(row):
            if time != NO_POINT:
                found.setdefault((frame.panel.groups[r][c], time), []).append(frame.centre((r, c)))
    middles: dict[int, list[tuple[float, float]]] = {}
    for (group, _), points in sorted(found.items()):
        x, y = (sum(side) / len(points) for side in zip(*points, strict=True))
        middles.setdefault(group, []).append((x, y))
    return middles


def _short_arrow(frame: _Frame, arrow: Arrow) -> str:
    """An arrow that begins and ends at the rims of its points."""
    (x0, y0), (x1, y1) = frame.centre(arrow.source), frame.centre(arrow.target)
    length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-9)
    rim = frame.pitch * 0.24 / length
    dx, dy = (x1 - x0) * rim, (y1 - y0) * rim
    return svg.arrow(x0 + dx, y0 + dy, x1 - dx, y1 - dy, min(4.5, frame.pitch * 0.3))


def _link(source: _Frame, target: _Frame, link: Link) -> str:
    """What is read, ringed, and curves from there to the ringed reader; places that fill a box share a ring."""
    top, left = (min(side) for side in zip(*link.places, strict=True))
    bottom, right = (max(side) for side in zip(*link.places, strict=True))
    whole = len(link.places) == (bottom - top + 1) * (right - left + 1)
    if whole and len(link.places) > 1:
        rings = [_ring(source, (top, left), (bottom, right))]
        starts = [source.centre(((top + bottom) / 2, (left + right) / 2))]
    else:
        shown = link.places[:FEW]
        rings = [_ring(source, place, place) for place in shown]
        starts = [source.centre(place) for place in shown]
    x1, y1 = target.centre(link.at)
    curves = [_curve(x0, y0, x1, y1, target.pitch * 0.45) for x0, y0 in starts]
    drawn = "".join([*rings, _ring(target, link.at, link.at), *curves])
    return svg.path(drawn, stroke=hue(link.number), stroke_width=1.6)


def _ring(frame: _Frame, first: Place, last: Place) -> str:
    """A rounded box around the points from `first` to `last`."""
    r = frame.pitch * 0.46
    (x0, y0), (x1, y1) = frame.centre(first), frame.centre(last)
    a, b, c, d, e = (svg.number(v) for v in (x0, y0 - r, x1 - x0, y1 - y0, r))
    corner = f"a{e} {e} 0 0 1 "
    return f"M{a} {b}h{c}{corner}{e} {e}v{d}{corner}-{e} {e}h-{c}{corner}-{e} -{e}v-{d}{corner}{e} -{e}z"


def _curve(x0: float, y0: float, x1: float, y1: float, rim: float) -> str:
    """A bent arrow that ends at the rim of its target."""
    bend = (x0 + x1) / 2 - 0.14 * (y0 - y1), (y0 + y1) / 2 + 0.14 * (x0 - x1)
    length = max(((x1 - bend[0]) ** 2 + (y1 - bend[1]) ** 2) ** 0.5, 1e-9)
    dx, dy = (x1 - bend[0]) / length, (y1 - bend[1]) / length
    x, y = x1 - dx * rim, y1 - dy * rim
    numbers = (svg.number(v) for v in (x0, y0, *bend, x, y))
    a, b, c, d, e, f = numbers
    return f"M{a} {b}Q{c} {d} {e} {f}" + svg.arrow(x - dx, y - dy, x, y, 6)
