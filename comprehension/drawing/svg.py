"""SVG elements as text: what every drawing is made of.

In: coordinates in pixels, texts of anybody.  Out: elements, and the `<svg>` around them.
Invariant: texts and titles are escaped, characters that XML forbids are replaced; numbers have one decimal at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from comprehension.drawing.theme import variables

CHARACTER = 6.62  # width of one character at 11 pixels
MARGIN = 12.0
_STYLE = (
    variables(".tc-drawing")
    + ".tc-drawing{max-width:100%;height:auto;background:none}"
    + ".tc-drawing text{font:11px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:var(--tc-ink)}"
    + ".tc-drawing .b{font-weight:600}.tc-drawing .d{fill:var(--tc-dim)}"
    + ".tc-drawing path{fill:none;stroke:var(--tc-line);stroke-width:1}"
    + ".tc-drawing .k{stroke:var(--tc-ink)}.tc-drawing .s{stroke-dasharray:4 3}"
    + ".tc-drawing rect{fill:none;stroke:var(--tc-line);stroke-width:.8}"
    + ".tc-drawing .t{fill-opacity:var(--tc-tint)}.tc-drawing .p{fill:var(--tc-paper);stroke:none}"
)
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg(width: float, height: float, parts: Iterable[str], *, label: str = "", paper: bool = False) -> str:
    """The element around `parts`; `label` says what is drawn to who cannot see it; `paper` draws the ground too.

    >>> svg(10, 5, []).startswith('<svg xmlns="http://www.w3.org/2000/svg" class="tc-drawing" viewBox="0 0 10 5"')
    True
    """
    body = "\n".join([*([ground(0, 0, width, height)] if paper else []), *parts])
    named = f' role="img" aria-label="{safe(label)}"' if label else ""
    size = f'viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" height="{number(height)}"'
    opened = f'<svg xmlns="http://www.w3.org/2000/svg" class="tc-drawing" {size}{named}>'
    return f"{opened}<style>{_STYLE}</style>\n{body}\n</svg>"


def safe(content: str) -> str:
    """A text as it may stand in an element or an attribute.

    >>> safe('a<b>"' + chr(0))
    'a&lt;b&gt;&quot;\ufffd'
    """
    return escape(printable(content))


def printable(content: str) -> str:
    """A text without the characters that neither XML nor HTML may hold, escaped or not."""
    return _FORBIDDEN.sub("\ufffd", content)


def number(value: float) -> str:
    """A coordinate.

    >>> number(3.0), number(2.26)
    ('3', '2.3')
    """
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, content: str, style: str = "", anchor: str = "start") -> str:
    """A line of text whose base line starts (or ends, or has its middle) at (x, y).

    `style` names classes: `b` bold, `d` dim.
    """
    classes = f' class="{style}"' if style else ""
    placed = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{number(x)}" y="{number(y)}"{classes}{placed}>{safe(content)}</text>'


def width_of(content: str) -> float:
    """Pixels that a line of text takes."""
    return len(content) * CHARACTER


def box(x: float, y: float, width: float, height: float, colour: str = "", *, solid: bool = False) -> str:
    """A rectangle, filled with a colour if one is given: tinted, fit for text upon it, unless `solid`."""
    filled = f' style="fill:{colour};stroke:{colour}"' if colour else ""
    tinted = ' class="t"' if colour and not solid else ""
    return f'<rect{tinted} {_place(x, y, width, height)} rx="{number(min(4, width / 2))}"{filled}/>'


def ground(x: float, y: float, width: float, height: float) -> str:
    """A rectangle in the colour of the page, to stand behind something tinted."""
    return f'<rect class="p" {_place(x, y, width, height)} rx="4"/>'


def _place(x: float, y: float, width: float, height: float) -> str:
    return f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'


def path(commands: str, style: str = "", **properties: str | float) -> str:
    """A line; `style` names classes: `k` in ink, `s` dashed; properties are CSS (`stroke_width=2`)."""
    classes = f' class="{style}"' if style else ""
    given = ";".join(f"{name.replace('_', '-')}:{value}" for name, value in properties.items())
    styled = f' style="{given}"' if given else ""
    return f'<path{classes} d="{commands}"{styled}/>'


def titled(title: str, parts: Sequence[str]) -> str:
    """A group that shows `title` under the pointer."""
    shown = f"<title>{safe(title)}</title>" if title else ""
    return f"<g>{shown}{''.join(parts)}</g>"


def arrow(x0: float, y0: float, x1: float, y1: float, head: float = 4.5) -> str:
    """Path commands of a straight arrow; no markers, whose names would meet in a page of several drawings."""
    length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-9)
    dx, dy = (x1 - x0) / length * head, (y1 - y0) / length * head
    left, right = (x1 - dx - dy / 2, y1 - dy + dx / 2), (x1 - dx + dy / 2, y1 - dy - dx / 2)
    points = [(x0, y0), (x1, y1), left, (x1, y1), right]
    (a, b), (c, d), (e, f), (g, h), (i, j) = ((number(x), number(y)) for x, y in points)
    return f"M{a} {b}L{c} {d}M{e} {f}L{g} {h}L{i} {j}"
