"""The name space of one def: what each name is, and which names cannot be declared.

In: declarations in the order of the text.  Out: faults for clashes.
Invariant: sizes, tensors, scalars, indices and lets share it; a name keeps its kind within a def.
"""

from __future__ import annotations

import re

from comprehension.lang.builtins import BUILTINS
from comprehension.lang.expressions import Fault, quoted
from comprehension.lang.tree import Span
from comprehension.lang.types import ScalarType

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_KEYWORDS = {"def", "where", "in", "exists", "min", "max", "float", "double", *(t.value for t in ScalarType)}


def check_name(name: str, span: Span | None, declares: str) -> None:
    """Refuses what no text could hold (trees are made by programs too), and builtins where a name is declared."""
    if not _NAME.match(str(name)) or name in _KEYWORDS:
        raise Fault(f"{name!a:.60} cannot name {declares}", span)
    if declares != "an index" and name in BUILTINS:
        raise Fault(f"'{name}' is a builtin function and cannot be redefined as {declares}", span)


class Names:
    """Kinds by name; `declare` refuses a second kind for a name."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._kinds

    def kind(self, name: str) -> str | None:
        """`"a size"`, `"an input"`, `"a scalar"`, `"an output"`, `"a temporary"`, `"an index"`, `"a let"`."""
        return self._kinds.get(name)

    def declare(self, name: str, kind: str, span: Span | None, again: bool = False) -> None:
        """Records the name; with `again` a second declaration of the same kind is fine."""
        check_name(name, span, kind)
        known = self._kinds.get(name)
        if known is not None and not (again and known == kind):
            raise Fault(f"{quoted(name)} is already defined as {known}", span)
        self._kinds[name] = kind

    def fresh(self, like: str, kind: str) -> str:
        """An unused name that resembles `like`, recorded as `kind`."""
        name, number = like, 0
        while name in self._kinds or name in BUILTINS:
            number += 1
            name = f"{like}_{number}"
        self._kinds[name] = kind
        return name
