"""Timelines: one lane a row, time from left to right.

In: rows of intervals in seconds.  Out: an `<svg>` element.
Invariant: widths are to scale (half a pixel at least); the legend names every kind that is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comprehension.drawing import svg
from comprehension.drawing.theme import hue

LANE_HEIGHT, LANE_GAP = 24.0, 6.0


@dataclass(frozen=True, slots=True)
class Interval:
    """`start` and `stop` in seconds; `kind` chooses the colour."""

    start: float
    stop: float
    kind: str
    title: str = ""


def draw_timeline(
    rows: Sequence[tuple[str, Sequence[Interval]]], width: int = 1100, idle: frozenset[str] = frozenset()
) -> str:
    """The rows under each other, and a legend of the kinds; those that are `idle` are drawn pale.

    >>> "2.000 ms" in draw_timeline([("python", [Interval(0.0, 0.002, "run")])])
    True
    """
    intervals = [i for _, row in rows for i in row]
    if not intervals:
        return svg.svg(2 * svg.MARGIN, 2 * svg.MARGIN, [])
    begin, end = min(i.start for i in intervals), max(i.stop for i in intervals)
    label = max(svg.width_of(name) for name, _ in rows) + 2 * svg.MARGIN
    scale = (width - label - svg.MARGIN) / max(end - begin, 1e-9)
    kinds = sorted({i.kind for i in intervals}, key=lambda kind: (kind in idle, kind))
    parts: list[str] = []
    for position, (name, row) in enumerate(rows):
        y = svg.MARGIN + position * (LANE_HEIGHT + LANE_GAP)
        parts.append(svg.text(svg.MARGIN, y + 16, name))
        for i in row:
            x, length = label + (i.start - begin) * scale, max((i.stop - i.start) * scale, 0.5)
            lane = svg.box(x, y, length, LANE_HEIGHT, hue(kinds.index(i.kind)), solid=i.kind not in idle)
            parts.append(svg.titled(f"{i.title or i.kind}: {(i.stop - i.start) * 1e3:.3f} ms", [lane]))
    y = svg.MARGIN + len(rows) * (LANE_HEIGHT + LANE_GAP)
    x = label
    for position, kind in enumerate(kinds):
        parts.append(svg.box(x, y, 12, 12, hue(position), solid=kind not in idle))
        parts.append(svg.text(x + 16, y + 10, kind))
        x += svg.width_of(kind) + 34
    parts.append(svg.text(x + 20, y + 10, f"{(end - begin) * 1e3:.2f} ms in all", "d"))
    return svg.svg(width, y + 12 + svg.MARGIN, parts)
