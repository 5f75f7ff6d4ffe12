"""Graphs: boxes in layers, arrows between them.

In: boxes and arrows by position.  Out: an `<svg>` element.
Invariant: a box stands below all boxes that it depends on by a forward arrow; arrows that lead back are dashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comprehension.drawing import svg
from comprehension.drawing.theme import hue

BOX_HEIGHT, ROW_GAP, COLUMN_GAP = 24.0, 22.0, 14.0
CAPTION = 14.0  # height of a line under a box


@dataclass(frozen=True, slots=True)
class Box:
    """A node: `label` is shown, `title` appears under the pointer; boxes of one `group` share a colour.

    `remark` stands to the right of the box, `caption` under it; both without a frame.
    """

    label: str
    title: str = ""
    group: int | None = None
    remark: str = ""
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Arrow:
    """From box `source` to box `target` (positions); `dashed` for loops and choices."""

    source: int
    target: int
    dashed: bool = False


@dataclass(slots=True)
class _Placed:
    x: float
    y: float
    width: float  # of the box
    room: float  # that it takes with its remark and caption


def draw_graph(boxes: Sequence[Box], arrows: Sequence[Arrow], max_width: int = 1100) -> str:
    """Boxes in layers by their longest path from a source; arrows that lead back are drawn dashed.

    >>> draw_graph([Box("a"), Box("<b>")], [Arrow(0, 1)]).count("&lt;b&gt;")
    1
    """
    if not boxes:
        return svg.svg(2 * svg.MARGIN, 2 * svg.MARGIN, [])
    layers = _layers(len(boxes), arrows)
    placed, width, height = _place(boxes, layers, max_width)
    parts = [
        _arrow(placed[a.source], placed[a.target], a.dashed or layers[a.target] <= layers[a.source]) for a in arrows
    ]
    parts += [_box(box, place) for box, place in zip(boxes, placed, strict=True)]
    return svg.svg(width, height, parts)


def _layers(count: int, arrows: Sequence[Arrow]) -> list[int]:
    """Longest path from a source; arrows to an earlier position are taken as leading back."""
    layers = [0] * count
    forward = sorted((a for a in arrows if a.source < a.target), key=lambda a: a.source)
    for arrow in forward:
        layers[arrow.target] = max(layers[arrow.target], layers[arrow.source] + 1)
    return layers


def _place(boxes: Sequence[Box], layers: Sequence[int], max_width: int) -> tuple[list[_Placed], float, float]:
    placed = [_unplaced(box) for box in boxes]
    below = CAPTION if any(box.caption for box in boxes) else 0.0
    rows: list[list[_Placed]] = [[] for _ in range(max(layers) + 1)]
    for place, layer in zip(placed, layers, strict=True):
        rows[layer].append(place)
    y, widest = svg.MARGIN, 0.0
    for row in rows:
        x = svg.MARGIN
        for place in row:
            if x > svg.MARGIN and x + place.room > max_width:
                x, y = svg.MARGIN, y + BOX_HEIGHT + below + 6
            place.x, place.y = x, y
            x += place.room + COLUMN_GAP
            widest = max(widest, x)
        y += BOX_HEIGHT + below + ROW_GAP
    return placed, widest + svg.MARGIN, y


def _unplaced(box: Box) -> _Placed:
    width = svg.width_of(box.label) + 14
    beside = svg.width_of(box.remark) + 8 if box.remark else 0.0
    return _Placed(0.0, 0.0, width, max(width + beside, svg.width_of(box.caption)))


def _box(box: Box, at: _Placed) -> str:
    place = (at.x, at.y, at.width, BOX_HEIGHT)
    frame = svg.box(*place, "" if box.group is None else hue(box.group))
    parts = [svg.ground(*place), frame, svg.text(at.x + 7, at.y + 16, box.label)]
    if box.remark:
        parts.append(svg.text(at.x + at.width + 8, at.y + 16, box.remark, "d"))
    if box.caption:
        parts.append(svg.text(at.x, at.y + BOX_HEIGHT + 11, box.caption, "d"))
    return svg.titled(box.title, parts)


def _arrow(source: _Placed, target: _Placed, dashed: bool) -> str:
    x0, y0 = source.x + source.width / 2, source.y + BOX_HEIGHT
    x1, y1 = target.x + target.width / 2, target.y
    middle = (y0 + y1) / 2
    a, b, c, d, m = (svg.number(v) for v in (x0, y0, x1, y1, middle))
    return svg.path(f"M{a} {b}C{a} {m} {c} {m} {c} {d}", "s" if dashed else "")
