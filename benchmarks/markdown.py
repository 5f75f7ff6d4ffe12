"""Tables, ratios and intervals as text: each is written in one way everywhere."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows of cells below a head."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def interval(low: float, middle: float, high: float, digits: int = 2) -> str:
    """A median with its 95 % interval.

    >>> interval(0.948, 1.005, 1.156)
    '1.00 (0.95–1.16)'
    """
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"
