"""The kernel table as a picture: for each case the fraction of the limit that ours reaches, and the best other library.

In: rows by case.  Out: an SVG.
Invariant: bars are the figures of the table's "ours" column and of the peer that its last columns name, fresh outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from benchmarks.kernels.cases import CASES
from benchmarks.kernels.summary import Row, best_peer, fraction

OURS, PEER = "#2f6fb0", "#b8b8b8"
BAR, GAP, LEFT, WIDTH, TOP = 8, 7, 200, 480, 48


def picture(rows: Mapping[str, Row], threads: int) -> str:
    """Two bars a case; a scale from nothing to the limit of the machine."""
    shown = [case.name for case in CASES if case.name in rows and fraction(rows[case.name], "ours", "fresh")]
    height = TOP + len(shown) * (2 * BAR + GAP) + 12
    parts = ['<rect width="100%" height="100%" fill="white"/>']  # also where the page around is dark
    title = f"fraction of the machine's limit, {threads} {'thread' if threads == 1 else 'threads'}"
    parts.append(f'<text x="{LEFT}" y="16">{title}: </text>')
    for x, colour, name in ((LEFT + 240, OURS, "ours"), (LEFT + 300, PEER, "the fastest other library")):
        parts.append(
            f'<rect x="{x}" y="7" width="10" height="10" fill="{colour}"/><text x="{x + 14}" y="16">{name}</text>'
        )
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = LEFT + tick * WIDTH
        parts.append(f'<path d="M{x:.0f} {TOP - 8}V{height - 8}" stroke="#ccc"/>')
        parts.append(f'<text x="{x:.0f}" y="{TOP - 12}" text-anchor="middle" font-size="9">{tick:g}</text>')
    for number, name in enumerate(shown):
        row, y = rows[name], TOP + number * (2 * BAR + GAP)
        parts.append(f'<text x="{LEFT - 8}" y="{y + BAR + 3}" text-anchor="end">{escape(name)}</text>')
        peer = best_peer(row, "fresh")
        for k, (side, colour) in enumerate((("ours", OURS), (peer, PEER))):
            value = None if side is None else fraction(row, side, "fresh")
            if value is not None:
                told = f"{value:.2f}" + (f" {side}" if side == peer else "")
                box = f'x="{LEFT}" y="{y + k * BAR}" width="{value * WIDTH:.1f}" height="{BAR - 1}"'
                parts.append(f'<rect {box} fill="{colour}"/>')
                at = f'x="{LEFT + value * WIDTH + 4:.1f}" y="{y + k * BAR + 7}" font-size="8"'
                parts.append(f"<text {at}>{told}</text>")
    size = f'width="{LEFT + WIDTH + 90}" height="{height}"'
    style = 'font-family="sans-serif" font-size="11"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"
