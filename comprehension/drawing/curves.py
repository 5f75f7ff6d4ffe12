"""Curves over their positions, one colour each, on one linear scale.

In: named sequences of numbers.  Out: an `<svg>` element.
Invariant: all curves share both axes.
"""

from __future__ import annotations

from collections.abc import Sequence

from comprehension.drawing import svg
from comprehension.drawing.theme import hue


def draw_curves(curves: Sequence[tuple[str, Sequence[float]]], width: int = 1100, height: int = 260) -> str:
    """All curves in one frame, their names below.

    >>> draw_curves([("loss", [3.0, 2.0, 1.0])]).count("<path")
    3
    """
    values = [v for _, curve in curves for v in curve]
    if not values:
        return svg.svg(2 * svg.MARGIN, 2 * svg.MARGIN, [])
    low, high, longest = min(values), max(values), max(len(c) for _, c in curves)
    left, bottom = 60.0, height - 24.0
    x_scale = (width - left - svg.MARGIN) / max(longest - 1, 1)
    y_scale = (bottom - svg.MARGIN) / ((high - low) or 1.0)
    parts = [
        svg.text(4, svg.MARGIN + 8, f"{high:.3g}", "d"),
        svg.text(4, bottom, f"{low:.3g}", "d"),
        svg.path(f"M{svg.number(left)} {svg.number(svg.MARGIN)}V{svg.number(bottom)}H{svg.number(width - svg.MARGIN)}"),
    ]
    for position, (name, curve) in enumerate(curves):
        points = (f"{svg.number(left + i * x_scale)} {bottom - (v - low) * y_scale:.1f}" for i, v in enumerate(curve))
        parts.append(svg.path("M" + "L".join(points), stroke=hue(position), stroke_width=1.4, opacity=0.85))
        x = left + 20 + position * 220
        parts.append(svg.path(f"M{svg.number(x - 16)} {height - 10}h12", stroke=hue(position), stroke_width=2))
        parts.append(svg.text(x, height - 6, name))
    return svg.svg(width, height, parts)
