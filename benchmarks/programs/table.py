"""The results as a table and as a picture.

In: `benchmarks/results/programs.json`.  Out: text, and an SVG with one group of bars a program.
"""

from __future__ import annotations

import json
import math
from typing import Any

from benchmarks.programs.measure import SIDES
from benchmarks.timing import RESULTS

PICTURE = RESULTS / "programs.svg"
GOALS = {"eager": 2.0, "lazy": 1.0, "torch": 1.2}  # geometric means that are wanted


def saved() -> dict[str, Any]:
    """The rows by program, empty where nothing was measured yet."""
    path = RESULTS / "programs.json"
    return dict(json.loads(path.read_text())["results"]) if path.exists() else {}


def table(rows: dict[str, Any]) -> str:
    """Steps a second on every side, how much faster co-execution is, and milliseconds a step on both runners."""
    head = f"{'steps a second':<18}" + "".join(f"{side:>14}" for side in SIDES)
    lines = [head + "   ÷ eager  ÷ lazy ÷ torch   Python run/stall  graph run/stall ms"]
    for row in rows.values():
        cells = [
            f"{row['steps_per_second'][s]:>14.1f}" if s in row["steps_per_second"] else f"{'–':>14}" for s in SIDES
        ]
        ratios = [f"{row['faster_by'][s][1]:>8.2f}" if s in row["faster_by"] else f"{'–':>8}" for s in GOALS]
        ms = row["co-executed"]["milliseconds_a_step"]
        times = (
            f"{ms['python_run']:>11.2f} /{ms['python_stall']:>6.2f}{ms['graph_run']:>9.2f} /{ms['graph_stall']:>6.2f}"
        )
        lines.append(f"{row['title']:<18}" + "".join(cells) + "  " + "".join(ratios) + times)
    return "\n".join(lines)


def goals(rows: dict[str, Any]) -> str:
    """Whether the goals hold: the geometric means, and which programs are behind."""
    lines = []
    for side, wanted in GOALS.items():
        found = {row["title"]: row["faster_by"][side][1] for row in rows.values() if side in row["faster_by"]}
        if not found:
            continue
        mean = math.exp(sum(map(math.log, found.values())) / len(found))
        behind = [f"{title} {ratio:.2f}" for title, ratio in found.items() if ratio < (0.97 if side == "lazy" else 1.0)]
        lines.append(
            f"co-executed ÷ {side}: geometric mean {mean:.2f} over {len(found)} programs (wanted {wanted}); "
            f"behind: {', '.join(behind) or 'none'}"
        )
    return "\n".join(lines)


# --- picture ---------------------------------------------------------------------------------------------

COLOURS = {
    "eager": "#b8b8b8", "co-executed": "#2f6fb0", "lazy": "#8ab6e0", "torch": "#e08a3c", "torch.compile": "#f2c48d"
}  # fmt: skip
BAR, GAP, LEFT, SCALE, TOP = 9, 14, 140, 120.0, 40


def picture(rows: dict[str, Any]) -> str:
    """Steps a second over own eager's, one bar a side."""
    ratios = {row["title"]: _over_eager(row["steps_per_second"]) for row in rows.values()}
    widest = max((ratio for bars in ratios.values() for ratio in bars.values()), default=1.0)
    height = TOP + len(ratios) * (len(SIDES) * BAR + GAP) + 10
    parts, x = [], LEFT
    for side in SIDES:
        parts.append(f'<rect x="{x}" y="10" width="10" height="10" fill="{COLOURS[side]}"/>')
        parts.append(f'<text x="{x + 14}" y="19">{side}</text>')
        x += 30 + 7 * len(side)
    y = TOP
    for title, bars in ratios.items():
        parts.append(f'<text x="{LEFT - 8}" y="{y + len(SIDES) * BAR / 2 + 4:.0f}" text-anchor="end">{title}</text>')
        for k, side in enumerate(SIDES):
            if side in bars:
                width, top = bars[side] * SCALE, y + k * BAR
                box = f'x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR - 1}"'
                parts.append(f'<rect {box} fill="{COLOURS[side]}"/>')
                parts.append(f'<text x="{LEFT + width + 4:.1f}" y="{top + 8}" font-size="8">{bars[side]:.2f}</text>')
        y += len(SIDES) * BAR + GAP
    parts.append(f'<path d="M{LEFT + SCALE:.0f} {TOP - 6}V{height - 6}" stroke="#666" stroke-dasharray="3 3"/>')
    parts.insert(0, '<rect width="100%" height="100%" fill="white"/>')  # also where the page around is dark
    size = f'width="{max(x, LEFT + widest * SCALE + 50):.0f}" height="{height}"'
    style = 'font-family="sans-serif" font-size="11"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"


def _over_eager(speeds: dict[str, float]) -> dict[str, float]:
    return {side: speed / speeds["eager"] for side, speed in speeds.items()}
