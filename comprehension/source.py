"""Sources: texts and trees that were given to `define`, and what the cache knows of them.

In: a text or a tree.  Out: the interfaces of its defs; the checked defs when somebody needs more than that.
Invariant: a source is remembered once a kernel of it was made, so nothing is wrong with it; what is remembered is
what reading and checking it again would find.  A remembered text is neither parsed nor checked to call its kernels:
the grammar (0.2 s to set up in each process), the checker and range inference are loaded where a text is new, where a
tree is asked for, or a message is about an access or a range.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from comprehension.jit import client
from comprehension.jit.failure import note_fallback
from comprehension.jit.request import Sizes, key_of_source
from comprehension.lang import tree
from comprehension.lang.checked import CheckedDef
from comprehension.lang.interface import Interface, interface_from_data, interface_to_data
from comprehension.lang.limits import MAX_TEXT
from comprehension.lang.loops import LoopProgram
from comprehension.lang.printer import to_text
from comprehension.lang.types import Spec

Checked = Mapping[str, CheckedDef]


class Source:
    """Defs that belong together; `text` is canonical.

    `checked` makes the defs.  `key`: under which they are remembered, None where they are, or never will be.
    """

    __slots__ = ("_checked", "_defs", "_key", "interfaces", "text")

    def __init__(
        self, text: str, interfaces: tuple[Interface, ...], checked: Callable[[], Checked], key: str | None = None
    ) -> None:
        self.text = text
        self.interfaces = interfaces
        self._checked = checked
        self._defs: Checked | None = None
        self._key = key

    def definition(self, name: str) -> CheckedDef:
        """One def with its statements."""
        if self._defs is None:
            self._defs = self._checked()
        return self._defs[name]

    def program(self, name: str, specs: Sequence[Spec] | None, sizes: Sizes = "static") -> LoopProgram:
        """The loops of one def for inputs like these.

        Raises ComprehensionError where they do not fit, or an access would leave its tensor.
        """
        from comprehension.lang.ranges import infer

        return infer(self.definition(name), specs, sizes)

    def remember(self) -> None:
        """A kernel was made: later programs need not read the source again."""
        key, self._key = self._key, None
        if key is not None:
            data = {"text": self.text, "defs": [interface_to_data(each) for each in self.interfaces]}
            client.remember(key, json.dumps(data).encode())


def recall(given: str | tree.Program) -> Source | None:
    """The source as the cache knows it, or None."""
    key = _key(given)
    found = None if key is None else client.recall(key)
    if found is None:
        return None
    try:
        data = json.loads(found)
        text = given if isinstance(given, str) else None
        interfaces = tuple(interface_from_data(each, text) for each in data["defs"])
        return Source(str(data["text"]), interfaces, lambda: _checked(given))
    except (KeyError, TypeError, ValueError) as reason:  # written by hand: its hash is right
        note_fallback("source read again", f"what the cache says of it makes no sense ({reason!r})")
        return None


def source_of(checked: Checked, text: str, given: str | tree.Program | None = None) -> Source:
    """The source of defs that were checked just now; it is remembered where it is all that was `given`."""
    key = None if given is None else _key(given)
    return Source(text, tuple(checked.values()), lambda: checked, key)


def _key(given: str | tree.Program) -> str | None:
    """A text is remembered as it was written, because messages say places; a tree where it has none."""
    if isinstance(given, str):
        return key_of_source("text", given) if len(given) <= MAX_TEXT else None
    return None if any(each.span is not None for each in given.defs) else key_of_source("tree", to_text(given))


def _checked(given: str | tree.Program) -> Checked:
    from comprehension.lang.check import check

    if not isinstance(given, str):
        return check(given)
    from comprehension.lang.parser import parse

    return check(parse(given), given)
