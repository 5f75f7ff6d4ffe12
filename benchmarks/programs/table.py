"""The results as tables and as a picture.

In: `benchmarks/results/programs.json`.  Out: text, Markdown, and an SVG with one group of bars a program.
"""

from __future__ import annotations

import json
import math
from typing import Any

from benchmarks.markdown import interval, markdown_table
from benchmarks.programs.measure import SIDES
from benchmarks.timing import RESULTS

PICTURE = RESULTS / "programs.svg"
GOALS = {"eager": 2.0, "lazy": 1.0, "torch": 1.2}  # geometric means that are wanted
LEAST = {"eager": 1.0, "lazy": 0.97, "torch": 0.0}  # what is wanted of each program
NAMES_OF_SIDES = {"eager": "own eager", "lazy": "lazy mode", "torch": "PyTorch eager"}


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


def over(rows: dict[str, Any], side: str) -> dict[str, float]:
    """By title, how many times as fast as a side the co-executed program is."""
    return {row["title"]: row["faster_by"][side][1] for row in rows.values() if side in row["faster_by"]}


def mean_over(rows: dict[str, Any], side: str) -> float:
    """The geometric mean of `over`, which has to have a row."""
    found = over(rows, side).values()
    return math.exp(sum(map(math.log, found)) / len(found))


def goals(rows: dict[str, Any]) -> str:
    """Whether the goals hold: the geometric means, and which programs are behind."""
    return "\n".join(
        f"co-executed ÷ {side}: geometric mean {mean_over(rows, side):.2f} over {len(over(rows, side))} programs "
        f"(wanted {wanted}); behind: {', '.join(_behind(rows, side)) or 'none'}"
        for side, wanted in GOALS.items()
        if over(rows, side)
    )


def _behind(rows: dict[str, Any], side: str) -> list[str]:
    least = LEAST[side] or 1.0
    return [f"{title} {ratio:.2f}" for title, ratio in over(rows, side).items() if ratio < least]


# --- Markdown --------------------------------------------------------------------------------------------


def markdown(rows: dict[str, Any]) -> str:
    """Steps a second, ratios with 95 % intervals, size and times of both runners."""
    head = ["steps a second", "own eager", "co-executed", "lazy", "PyTorch eager", "torch.compile", "÷ own eager"]
    head += ["÷ lazy", "÷ PyTorch", "operations / kernels", "Python works / waits, ms", "graph works / waits, ms"]
    lines = []
    for row in rows.values():
        speeds, ratios, ours = row["steps_per_second"], row["faster_by"], row["co-executed"]
        ms = ours["milliseconds_a_step"]
        cells = [row["title"], *(f"{speeds[s]:.1f}" if s in speeds else "–" for s in SIDES)]
        cells += [interval(*ratios[s]) if s in ratios else "–" for s in GOALS]
        cells += [f"{ours['operations']} / {ours['kernels']}"]
        cells += [f"{ms[f'{who}_run']:.1f} / {ms[f'{who}_stall']:.1f}" for who in ("python", "graph")]
        lines.append(cells)
    return markdown_table(head, lines)


def goals_markdown(rows: dict[str, Any]) -> str:
    """The aims and what is reached."""
    lines = []
    for side, wanted in GOALS.items():
        each = f"≥ {LEAST[side]:g}" if LEAST[side] else ""
        behind = (", ".join(_behind(rows, side)) or "none") if each else ""
        lines.append([NAMES_OF_SIDES[side], f"{wanted:g}", f"{mean_over(rows, side):.2f}", each, behind])
    return markdown_table(["co-executed over", "aim, geometric mean", "reached", "aim for each", "behind it"], lines)


def census_markdown(rows: dict[str, Any]) -> str:
    """What each program is made of."""
    head = ["", "the named feature", "operations a step", "fewest and most", "parameters", "changes of the trace"]
    lines = []
    for row in rows.values():
        c = row["census"]
        span = f"{c['fewest']}–{c['most']}" if c["fewest"] < c["most"] else f"{c['most']}"
        lines.append([row["title"], row["feature"], c["operations"], span, f"{c['parameters']:,}", c["changes"]])
    return markdown_table(head, lines)


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
