"""Drawings of graphs and timelines as SVG text: no scripts, no fonts, no network.

In: boxes and arrows, or rows of intervals.  Out: one `<svg>` element to put into any page.
Invariant: every text of the user is escaped; the same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

BOX_HEIGHT, ROW_GAP, COLUMN_GAP, MARGIN, CHARACTER = 24, 22, 14, 12, 6.6
PALETTE = ("#dbe9f6", "#fde5cf", "#ddf1da", "#f6d9dc", "#e7e0f3", "#efe4dd", "#fbe0f0", "#e6e6e6", "#f3f3cd", "#d6f1f4")
_STYLE = (
    "text{font:11px ui-monospace,monospace;fill:#222}"
    "rect{stroke:#666;stroke-width:.8}"
    "path{fill:none;stroke:#888;stroke-width:1}"
    ".dashed{stroke-dasharray:4 3}"
)


@dataclass(frozen=True, slots=True)
class Box:
    """A node: `label` is shown, `title` appears under the pointer; boxes of one `group` share a colour."""

    label: str
    title: str = ""
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """From box `source` to box `target` (positions); `dashed` for loops and choices."""

    source: int
    target: int
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """`start` and `stop` in seconds; `kind` chooses the colour."""

    start: float
    stop: float
    kind: str
    title: str = ""


@dataclass(slots=True)
class _Placed:
    x: float
    y: float
    width: float = field(default=0.0)


def draw_graph(boxes: Sequence[Box], arrows: Sequence[Arrow], max_width: int = 1100) -> str:
    """Boxes in layers by their longest path from a source; arrows that lead back are drawn dashed."""
    if not boxes:
        return _svg(2 * MARGIN, 2 * MARGIN, [])
    layers = _layers(len(boxes), arrows)
    placed, width, height = _place(boxes, layers, max_width)
    parts = [
        _arrow(placed[a.source], placed[a.target], a.dashed or layers[a.target] <= layers[a.source]) for a in arrows
    ]
    parts += [_box(box, place) for box, place in zip(boxes, placed, strict=True)]
    return _svg(width, height, parts)


def draw_timeline(rows: Sequence[tuple[str, Sequence[Interval]]], width: int = 1100) -> str:
    """One lane a row, time from left to right; the legend names the kinds."""
    intervals = [i for _, row in rows for i in row]
    if not intervals:
        return _svg(2 * MARGIN, 2 * MARGIN, [])
    begin, end = min(i.start for i in intervals), max(i.stop for i in intervals)
    label = max(len(name) for name, _ in rows) * CHARACTER + 2 * MARGIN
    scale = (width - label - MARGIN) / max(end - begin, 1e-9)
    kinds = sorted({i.kind for i in intervals})
    parts: list[str] = []
    for number, (name, row) in enumerate(rows):
        y = MARGIN + number * (BOX_HEIGHT + 6)
        parts.append(f'<text x="{MARGIN}" y="{y + 16}">{escape(name)}</text>')
        for i in row:
            x, w = label + (i.start - begin) * scale, max((i.stop - i.start) * scale, 0.5)
            parts.append(
                f'<rect x="{x:.2f}" y="{y}" width="{w:.2f}" height="{BOX_HEIGHT}" style="stroke:none" '
                f'fill="{PALETTE[kinds.index(i.kind) % len(PALETTE)]}"><title>{escape(i.title or i.kind)}: '
                f"{(i.stop - i.start) * 1e3:.3f} ms</title></rect>"
            )
    y = MARGIN + len(rows) * (BOX_HEIGHT + 6)
    x = label
    for number, kind in enumerate(kinds):
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="12" height="12" fill="{PALETTE[number % len(PALETTE)]}"/>')
        parts.append(f'<text x="{x + 16:.1f}" y="{y + 10}">{escape(kind)}</text>')
        x += (len(kind) + 5) * CHARACTER
    parts.append(f'<text x="{x + 20:.1f}" y="{y + 10}">{(end - begin) * 1e3:.2f} ms in all</text>')
    return _svg(width, y + 12 + MARGIN, parts)


def draw_curves(curves: Sequence[tuple[str, Sequence[float]]], width: int = 1100, height: int = 260) -> str:
    """Curves over their positions, one colour each, on one linear scale."""
    colours = ("#1f6fb2", "#d1662b", "#3a8f3f", "#8a4fa3")
    values = [v for _, curve in curves for v in curve]
    if not values:
        return _svg(2 * MARGIN, 2 * MARGIN, [])
    low, high, longest = min(values), max(values), max(len(c) for _, c in curves)
    left, bottom = 60.0, height - 24.0
    x_scale, y_scale = (width - left - MARGIN) / max(longest - 1, 1), (bottom - MARGIN) / ((high - low) or 1.0)
    parts = [
        f'<text x="4" y="{MARGIN + 8}">{high:.3g}</text>',
        f'<text x="4" y="{bottom:.0f}">{low:.3g}</text>',
        f'<path d="M{left} {MARGIN} V{bottom} H{width - MARGIN}"/>',
    ]
    for number, (name, curve) in enumerate(curves):
        points = " ".join(f"{left + i * x_scale:.1f},{bottom - (v - low) * y_scale:.1f}" for i, v in enumerate(curve))
        colour = colours[number % len(colours)]
        parts.append(f'<polyline points="{points}" style="fill:none;stroke:{colour};stroke-width:1.4;opacity:.8"/>')
        parts.append(
            f'<text x="{left + 20 + number * 220}" y="{height - 6}" style="fill:{colour}">{escape(name)}</text>'
        )
    return _svg(width, height, parts)


def _layers(count: int, arrows: Sequence[Arrow]) -> list[int]:
    """Longest path from a source; arrows to an earlier position are taken as leading back."""
    layers = [0] * count
    forward = sorted((a for a in arrows if a.source < a.target), key=lambda a: a.source)
    for arrow in forward:
        layers[arrow.target] = max(layers[arrow.target], layers[arrow.source] + 1)
    return layers


def _place(boxes: Sequence[Box], layers: Sequence[int], max_width: int) -> tuple[list[_Placed], float, float]:
    placed = [_Placed(0.0, 0.0, len(b.label) * CHARACTER + 14) for b in boxes]
    y, widest = float(MARGIN), 0.0
    for layer in range(max(layers) + 1):
        x = float(MARGIN)
        for place in (p for p, at in zip(placed, layers, strict=True) if at == layer):
            if x > MARGIN and x + place.width > max_width:
                x, y = float(MARGIN), y + BOX_HEIGHT + 6
            place.x, place.y = x, y
            x += place.width + COLUMN_GAP
            widest = max(widest, x)
        y += BOX_HEIGHT + ROW_GAP
    return placed, widest + MARGIN, y


def _box(box: Box, at: _Placed) -> str:
    fill = "#fff" if box.group is None else PALETTE[box.group % len(PALETTE)]
    title = f"<title>{escape(box.title)}</title>" if box.title else ""
    return (
        f'<g>{title}<rect x="{at.x:.1f}" y="{at.y:.1f}" width="{at.width:.1f}" height="{BOX_HEIGHT}" rx="4" '
        f'fill="{fill}"/>'
        f'<text x="{at.x + 7:.1f}" y="{at.y + 16:.1f}">{escape(box.label)}</text></g>'
    )


def _arrow(source: _Placed, target: _Placed, dashed: bool) -> str:
    x0, y0 = source.x + source.width / 2, source.y + BOX_HEIGHT
    x1, y1 = target.x + target.width / 2, target.y
    middle = (y0 + y1) / 2
    style = ' class="dashed"' if dashed else ""
    return f'<path{style} d="M{x0:.1f} {y0:.1f} C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"/>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}"><style>{_STYLE}</style>\n{body}\n</svg>'
    )
