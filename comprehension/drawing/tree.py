"""Trees: one row a node, indented, with an elbow from its parent; narrow however many branches there are.

In: nodes with their children.  Out: an `<svg>` element.
Invariant: rows stand in the order of a walk, parents before children.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comprehension.drawing import svg

ROW, HEIGHT, INDENT = 29.0, 22.0, 24.0


@dataclass(frozen=True, slots=True)
class Branch:
    """A node: a word in bold, what it is about, and a remark to its right; without a colour it has no box."""

    word: str
    label: str = ""
    remark: str = ""
    colour: str = ""
    children: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True)
class _Row:
    branch: Branch
    depth: int
    parent: int | None


def draw_tree(branches: Sequence[Branch], *, label: str = "", paper: bool = False) -> str:
    """The trees under each other.

    >>> drawn = draw_tree([Branch("for", "i", children=(Branch("S0", remark="B(i) = A(i)"),))])
    >>> drawn.count("<path"), "B(i) = A(i)" in drawn
    (1, True)
    """
    rows = list(_rows(branches))
    parts: list[str] = []
    widest = 0.0
    for position, row in enumerate(rows):
        x, y = svg.MARGIN + row.depth * INDENT, svg.MARGIN + position * ROW
        if row.parent is not None:
            parts.append(_elbow(x, y, svg.MARGIN + row.parent * ROW))
        drawn, width = _node(row.branch, x, y)
        parts += drawn
        widest = max(widest, x + width)
    return svg.svg(
        widest + svg.MARGIN, len(rows) * ROW + 2 * svg.MARGIN - (ROW - HEIGHT), parts, label=label, paper=paper
    )


def _rows(branches: Sequence[Branch]) -> Iterator[_Row]:
    stack = [_Row(branch, 0, None) for branch in reversed(branches)]
    count = 0
    while stack:
        row = stack.pop()
        yield row
        stack += [_Row(child, row.depth + 1, count) for child in reversed(row.branch.children)]
        count += 1


def _elbow(x: float, y: float, parent: float) -> str:
    left, middle = x - INDENT + 10, y + HEIGHT / 2
    a, b, c, d = (svg.number(v) for v in (left, parent + HEIGHT, middle - 5, x))
    return svg.path(f"M{a} {b}V{c}q0 5 5 5H{d}")


def _node(branch: Branch, x: float, y: float) -> tuple[list[str], float]:
    """A row's elements and their width."""
    parts: list[str] = []
    start = x + (8 if branch.colour else 4)
    word = svg.width_of(branch.word) * 1.02
    inside = word + (svg.width_of(f" {branch.label}") if branch.label else 0)
    if branch.colour:
        parts += [svg.ground(x, y, inside + 16, HEIGHT), svg.box(x, y, inside + 16, HEIGHT, branch.colour)]
    parts.append(svg.text(start, y + 15, branch.word, "b"))
    if branch.label:
        parts.append(svg.text(start + word + svg.CHARACTER, y + 15, branch.label))
    width = inside + 16
    if branch.remark:
        parts.append(svg.text(x + width + 6, y + 15, branch.remark, "d"))
        width += 6 + svg.width_of(branch.remark)
    return parts, width
