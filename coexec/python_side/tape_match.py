"""Tape matchers: one function for each form of a tape, which goes down a tape and says whether it has that form.

In: the rows of a `macros.BackwardForm`.  Out: a `TapeMatcher`.
Invariant: `match_rows` is the reference, and what `make_tape_matcher` writes is the same loop with each turn by itself:
a `backward()` that is taken at once costs little beside this, and a turn written out costs half of one in a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minitensor.tape import Leaf, Node, Part

# Of each entry: its class, record (None if it is no Node), output (its number in the walk, or the index of a Part; -1
# for a leaf) and parents, by number in the order in which they are come to; -1: no parent.
Row = tuple[Any, Any, int, tuple[int, ...]]
# (root, promises by output number) -> the operands, the entries in `leaves`; None where it is another tape.
TapeMatcher = Callable[[Any, Sequence[Any]], tuple[list[Any], list[Any]] | None]


def match_rows(
    rows: Sequence[Row], leaves: Sequence[int], root: Any, made: Sequence[Any]
) -> tuple[list[Any], list[Any]] | None:
    """See `TapeMatcher`."""
    found: list[Any] = [root]
    arguments: list[Any] = []
    for i, (kind, op, number, parents) in enumerate(rows):
        entry = found[i]
        if type(entry) is not kind:
            return None
        if op is not None:
            if entry.op is not op or entry.outputs[0].pending is not made[number]:
                return None
            arguments += entry.inputs
            if op.outputs > 1:
                arguments += entry.outputs
            below = entry.parents
        elif number >= 0:
            if entry.index != number:
                return None
            below = (entry.node,)
        else:
            continue
        for parent, expected in zip(below, parents, strict=True):
            if expected == len(found):
                found.append(parent)
            elif parent is not (found[expected] if expected >= 0 else None):
                return None
    return arguments, [found[i] for i in leaves]


def make_tape_matcher(rows: Sequence[Row], leaves: Sequence[int]) -> TapeMatcher:
    """`match_rows` for these rows."""
    lines = ["def match(e0, made):"]
    arguments: list[str] = []
    records: dict[str, Any] = {"Node": Node, "Part": Part, "Leaf": Leaf}
    count = 1
    for i, (kind, op, number, parents) in enumerate(rows):
        lines.append(f"    if type(e{i}) is not {kind.__name__}: return None")
        if op is not None:
            records[f"op{i}"] = op
            lines.append(f"    outputs = e{i}.outputs")
            lines.append(f"    if e{i}.op is not op{i} or outputs[0].pending is not made[{number}]: return None")
            arguments += [f"*e{i}.inputs", *([f"*e{i}.outputs"] if op.outputs > 1 else [])]
            below = f"e{i}.parents"
        elif number >= 0:
            lines.append(f"    if e{i}.index != {number}: return None")
            below = f"(e{i}.node,)"
        else:
            continue
        names = []
        for position, expected in enumerate(parents):
            names.append(f"e{count}" if expected == count else f"p{position}")
            count += expected == count
        lines.append(f"    {', '.join(names)}, = {below}")
        known = [(name, expected) for name, expected in zip(names, parents, strict=True) if name[0] == "p"]
        tests = [f"{name} is not {'None' if expected < 0 else f'e{expected}'}" for name, expected in known]
        if tests:
            lines.append(f"    if {' or '.join(tests)}: return None")
    lines.append(f"    return [{', '.join(arguments)}], [{', '.join(f'e{i}' for i in leaves)}]")
    exec(compile("\n".join(lines), "<tape matcher>", "exec"), records)
    matcher: TapeMatcher = records["match"]
    return matcher
