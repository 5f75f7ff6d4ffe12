"""Pieces of HTML pages: a fragment with its style, parts to be opened, marks, tables.

In: texts of anybody, other pieces.  Out: HTML for any page, or a whole document.
Invariant: self-contained: no scripts, no fonts, nothing from the network; what is called a text is escaped here, what
is called content is HTML already; readable on light and dark grounds.
"""

from __future__ import annotations

from collections.abc import Sequence

from comprehension.drawing.svg import safe
from comprehension.drawing.theme import variables

_MONO = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
_RULES = {
    "": "color:var(--tc-ink);background:var(--tc-paper);font:14px/1.5 system-ui,sans-serif;padding:.6em 1em",
    "h3": "font-size:1.15em;margin:.2em 0 .6em",
    "p": "margin:.3em 0;color:var(--tc-dim)",
    "details": "border-top:1px solid var(--tc-line)",
    "summary": "cursor:pointer;padding:.25em 0;font-weight:600",
    "pre": f"background:var(--tc-shade);color:var(--tc-ink);font:12px/1.45 {_MONO};padding:.7em .9em;"
    "border-radius:5px;overflow:auto;max-height:34em;margin:.4em 0 1em",
    "table": "border-collapse:collapse;margin:.4em 0 1em;font-variant-numeric:tabular-nums",
    "td:first-child": "white-space:pre",
    "td,.tc-page th": "text-align:left;vertical-align:top;padding:.1em 1.6em .1em 0;border:0;background:none",
    "th": "color:var(--tc-dim);font-weight:600",
    ".tc-scroll": "overflow:auto;padding-bottom:.6em",
    ".tc-mark": "display:inline-block;border:1px solid var(--tc-line);border-radius:1em;padding:.05em .7em;"
    "margin:0 .4em .4em 0",
    ".tc-holds": "border-color:#3f9c55",
    ".tc-fails": "border-color:#d64545;font-weight:700",
    "pre :is(.k,.kt,.kd,.kn,.ow)": "color:#9b6bd6",
    "pre :is(.mi,.mf)": "color:#c4742f",
    "pre :is(.c,.c1,.ch)": "color:var(--tc-dim)",
    "pre :is(.nf,.nb)": "color:#3a80cf",
    "pre :is(.s1,.s2)": "color:#3f9c55",
}
_STYLE = variables(".tc-page") + "".join(f".tc-page {part}{{{rules}}}" for part, rules in _RULES.items())


def document(title: str, fragment: str) -> str:
    """A whole page around a fragment.

    >>> document("a<b", "").count("a&lt;b")
    1
    """
    scheme = '<meta name="color-scheme" content="light dark">'
    head = f'<meta charset="utf-8">{scheme}<title>{safe(title)}</title>'
    style = "<style>body{margin:0 auto;max-width:1240px}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}{style}</head>\n<body>\n{fragment}\n</body></html>\n'


def fragment(parts: Sequence[str]) -> str:
    """Contents one after the other, with the style that they need."""
    return f'<div class="tc-page"><style>{_STYLE}</style>\n{"".join(parts)}</div>'


def folded(title: str, content: str, *, is_open: bool = False) -> str:
    """Content under a title text, to be opened and closed."""
    return f"<details{' open' if is_open else ''}><summary>{safe(title)}</summary>{content}</details>\n"


def scroll(content: str) -> str:
    """Content that may be wider than the page."""
    return f'<div class="tc-scroll">{content}</div>'


def mark(told: str, kind: str = "") -> str:
    """A short text in a frame; `kind` names a class: `tc-holds` or `tc-fails`."""
    return f'<span class="tc-mark {kind}">{safe(told)}</span>'


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Rows of texts, under a row of headings.

    >>> table([("<a>", "1")])
    '<table><tr><td>&lt;a&gt;</td><td>1</td></tr></table>'
    """
    titles = "".join(f"<th>{safe(title)}</th>" for title in head)
    cells = ["".join(f"<td>{safe(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in ([titles] if head else []) + cells)}</table>"


def bullets(texts: Sequence[str]) -> str:
    """A list of texts; nothing where there are none."""
    return f"<ul>{''.join(f'<li>{safe(text)}</li>' for text in texts)}</ul>" if texts else ""
