"""Names of generated code: the user's own, made harmless.

In: names of kernels, buffers, loops and values, which may come from any text.  Out: Python identifiers.
Invariant: a result consists of ASCII letters, digits and underscores, is no keyword, no dunder and no name
that generated code itself uses; two different names of one scope never become one.
"""

from __future__ import annotations

import keyword
import re

_FOREIGN = re.compile(r"[^A-Za-z0-9_]")

_OURS = (
    "buffers dims scratch lo hi np min max range True False None unit buffer scratch_buffer tile tile_part tile_within"
    " load store gather scatter load_where gather_where keep ramp spread spread_rows spread_lanes select fma"
    " minimum maximum half afresh move convert floor_div floor_mod logical_not vecmath print exec eval int float bool"
    " len sum_lanes product_lanes min_lanes max_lanes sum_rows product_rows min_rows max_rows"
)
RESERVED = frozenset(_OURS.split())


def identifier(name: str) -> str:
    """`name` as an identifier that is safe to print into source.

    >>> identifier("A.stride0"), identifier("lambda"), identifier("__import__"), identifier("C")
    ('A_stride0', 'lambda_', 'v___import__', 'C')
    """
    text = _FOREIGN.sub("_", name)
    if not text or text[0].isdigit() or text.startswith("__"):
        text = f"v_{text}"
    if keyword.iskeyword(text) or keyword.issoftkeyword(text) or text in RESERVED:
        text += "_"
    return text


class Scope:
    """Hands out identifiers of one function; the same key always gets the same one.

    >>> scope = Scope()
    >>> scope.name("x"), scope.fresh("x"), scope.name("x"), scope.name("x_1")
    ('x', 'x_1', 'x', 'x_1_1')
    """

    def __init__(self, taken: frozenset[str] = frozenset()) -> None:
        self._taken = set(taken)
        self._of: dict[tuple[str, str], str] = {}

    def name(self, key: str, kind: str = "") -> str:
        """The identifier of `key` among its kind (a buffer and a loop may share a name), made at the first request."""
        if (kind, key) not in self._of:
            self._of[kind, key] = self.fresh(key)
        return self._of[kind, key]

    def fresh(self, wish: str) -> str:
        """An identifier like `wish` that nothing else has."""
        base = identifier(wish)
        text, count = base, 0
        while text in self._taken:
            count += 1
            text = f"{base}_{count}"
        self._taken.add(text)
        return text
