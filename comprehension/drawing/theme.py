"""Colours of drawings and pages, for light and dark: as CSS variables, once.

In: a CSS selector.  Out: the rules that set the variables on it.
Invariant: a page's own choice (Jupyter, VS Code, Sphinx themes) beats the system's.

`--tc-ink` is text, `--tc-dim` text that matters less, `--tc-line` lines, `--tc-paper` the ground, `--tc-shade` a ground
that stands out from it, `--tc-tint` how strongly `PALETTE` fills a box under text.
"""

from __future__ import annotations

PALETTE = ("#4c8dd6", "#e08a3c", "#4fae62", "#d9636b", "#9b7bd0", "#a98467", "#d97bb6", "#8a8f98", "#b3a93a", "#3fb0b5")
"""Hues that can be told apart and stand out on white and on black alike."""

_LIGHT = "--tc-ink:#1f2328;--tc-dim:#656d76;--tc-line:#b4bcc5;--tc-paper:#fff;--tc-shade:#f5f6f8;--tc-tint:.2"
_DARK = "--tc-ink:#e6edf3;--tc-dim:#929ba5;--tc-line:#535c66;--tc-paper:#14181e;--tc-shade:#1f252c;--tc-tint:.34"
_LIGHT_PAGES = ("[data-jp-theme-light=true]", "[data-theme=light]", ".vscode-light")
_DARK_PAGES = ("[data-jp-theme-light=false]", "[data-theme=dark]", "[theme=dark]", ".vscode-dark")


def variables(selector: str) -> str:
    """The rules that give `selector` its colours.

    >>> variables(".a").startswith(".a{--tc-ink:")
    True
    """
    return (
        f"{selector}{{{_LIGHT}}}"
        f"@media (prefers-color-scheme:dark){{{selector}{{{_DARK}}}}}"
        f"{','.join(f'{page} {selector}' for page in _LIGHT_PAGES)}{{{_LIGHT}}}"
        f"{','.join(f'{page} {selector}' for page in _DARK_PAGES)}{{{_DARK}}}"
    )


def hue(number: int) -> str:
    """The colour of group `number`; they repeat.

    >>> hue(0) == hue(len(PALETTE))
    True
    """
    return PALETTE[number % len(PALETTE)]
