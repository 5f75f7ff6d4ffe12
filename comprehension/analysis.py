"""What `define` does with a source that no earlier program compiled: read, check, infer.

In: a text, or a tree made by a program.  Out: a comprehension for each of its defs.
Invariant: whatever no size could make right is refused here.
"""

from __future__ import annotations

from comprehension.any_rank import AnyRank
from comprehension.comprehension import Comprehension
from comprehension.jit.request import Sizes
from comprehension.lang import tree
from comprehension.lang.frontend import analyse, read
from comprehension.lang.leading import at_rank, has_leading, uses_leading
from comprehension.lang.printer import to_text
from comprehension.source import source_of


def comprehensions_of(given: str | tree.Program, sizes: Sizes) -> list[Comprehension]:
    """The defs of a source, in its order.

    Raises ComprehensionError.
    """
    program, text = (read(given), given) if isinstance(given, str) else (given, None)
    checked = analyse(program, text)
    if not uses_leading(program):
        source = source_of(checked, to_text(program), given)
        return [Comprehension(each, source, sizes) for each in checked.values()]
    return [
        AnyRank(definition, program, text, sizes)
        if has_leading(definition)
        else Comprehension(
            checked[definition.name], source_of(checked, to_text(at_rank(program, definition.name, 0))), sizes
        )
        for definition in program.defs
    ]
