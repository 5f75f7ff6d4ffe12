"""Tape matchers: one function for each form of a tape, which goes down a tape and says whether it has that form.

In: the rows of a `macros.BackwardForm` and what its leaves were like.  Out: a `TapeMatcher`, a `LeavesMatcher`.
Invariant: `match_rows` and `match_leaves` are the reference, and what is written is the same loop with each turn by
itself: a `backward()` that is taken at once costs little beside this, and a turn written out costs half of one in a
loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from minitensor.nn import Parameter
from minitensor.tape import Leaf, Node, Part
from minitensor.tensor import Tensor

# Of each entry: its class, record (None if it is no Node), output (its number in the walk, or the index of a Part; None
# for a leaf) and parents, by number in the order in which they are come to; None: no parent.
Row = tuple[Any, Any, int | None, tuple[int | None, ...]]
# (root, promises by output number) -> the operands, the entries in `leaves`; None where it is another tape.
TapeMatcher = Callable[[Any, Sequence[Any]], tuple[list[Any], list[Any]] | None]
# Of each leaf, in the order in which they get their gradients: whether its tensor lives, and has a gradient.
LeafRow = tuple[bool, bool]
# (leaves, operands) -> the tensors that live, and operands has their gradients; None where it is another tape.
LeavesMatcher = Callable[[list[Any], list[Any]], list[Any] | None]
KINDS = frozenset((Tensor, Parameter))  # whose operators are minitensor's


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
            assert number is not None
            if entry.op is not op or entry.outputs[0].pending is not made[number]:
                return None
            arguments += entry.inputs
            if op.outputs > 1:
                arguments += entry.outputs
            below = entry.parents
        elif kind is Part:
            if entry.index != number:
                return None
            below = (entry.node,)
        else:
            continue
        for parent, expected in zip(below, parents, strict=True):
            if expected == len(found):
                found.append(parent)
            elif parent is not (None if expected is None else found[expected]):
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
        elif kind is Part:
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
        tests = [f"{name} is not {'None' if expected is None else f'e{expected}'}" for name, expected in known]
        if tests:
            lines.append(f"    if {' or '.join(tests)}: return None")
    lines.append(f"    return [{', '.join(arguments)}], [{', '.join(f'e{i}' for i in leaves)}]")
    exec(compile("\n".join(lines), "<tape matcher>", "exec"), records)
    matcher: TapeMatcher = records["match"]
    return matcher


def match_leaves(rows: Sequence[LeafRow], leaves: Sequence[Any], arguments: list[Any]) -> list[Any] | None:
    """Whether the leaves come in the same order, live, and have gradients where they had: see `LeavesMatcher`."""
    targets = []
    for position, (leaf, (alive, has_gradient)) in enumerate(zip(leaves, rows, strict=True)):
        target = leaf.tensor()
        if (position and leaf.order >= leaves[position - 1].order) or (target is not None) != alive:
            return None
        if alive:
            gradient = target.grad
            if type(target) not in KINDS or (gradient is not None) != has_gradient:
                return None
            targets.append(target)
            if has_gradient:
                if type(gradient) not in KINDS:
                    return None
                arguments.append(gradient.value)
    return targets if len({id(target) for target in targets}) == len(targets) else None


def make_leaves_matcher(rows: Sequence[LeafRow]) -> LeavesMatcher:
    """`match_leaves` for these rows."""
    if not rows:
        return partial(match_leaves, rows)
    lines = ["def match(leaves, arguments):", f"    {' '.join(f'l{i},' for i in range(len(rows)))} = leaves"]
    if len(rows) > 1:
        lines.append(f"    if not {' > '.join(f'l{i}.order' for i in range(len(rows)))}: return None")
    living = [i for i, (alive, _) in enumerate(rows) if alive]
    for i, (alive, has_gradient) in enumerate(rows):
        lines.append(f"    t{i} = l{i}.tensor()")
        if not alive:
            lines.append(f"    if t{i} is not None: return None")
            continue
        lines.append(f"    if type(t{i}) not in KINDS: return None")
        lines.append(f"    gradient = t{i}.grad")
        if has_gradient:
            lines += ["    if type(gradient) not in KINDS: return None", "    arguments.append(gradient.value)"]
        else:
            lines.append("    if gradient is not None: return None")
    lines.append(f"    if len({{{', '.join(f'id(t{i})' for i in living)}}}) != {len(living)}: return None")
    lines.append(f"    return [{', '.join(f't{i}' for i in living)}]")
    names: dict[str, Any] = {"KINDS": KINDS}
    exec(compile("\n".join(lines), "<leaves matcher>", "exec"), names)
    matcher: LeavesMatcher = names["match"]
    return matcher
