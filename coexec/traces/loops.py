"""Loops in a trace: rounds of the same operations, and whether one body can stand for them.

In: the records of a trace.  Out: `Loop`s: the same keys, period after period.
Invariant: a loop is foldable only if, from its second round on, every input comes from the same round, the one before,
or always the same place outside, and nothing later wants a value that a further round has replaced.

The first round stays outside the body (its inputs come from elsewhere), so that folding needs no case of its own:
an input of the body has two producers, the first round's operation and the body's, and the one executed last counts.
Loops stay unrolled (which fuses better and needs no word a round) up to `MOST_UNROLLED` rounds and while few
different trip counts were seen.  Only innermost loops without branches are folded, and none under autograd: the tape
keeps the values of every round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from coexec.graph.keys import attribute_key, value_key
from coexec.traces.record import External, InputRef, OpRecord, Produced, Scalar, Trace

MOST_UNROLLED = 64
MOST_TRIP_COUNTS = 3  # different ones, before a loop is folded


@dataclass(frozen=True, slots=True)
class Loop:
    """Records `begin` to `begin + period * rounds` of a trace."""

    begin: int
    period: int
    rounds: int


def find_loops(records: Sequence[OpRecord]) -> list[Loop]:
    """The innermost loops of at least two rounds, in the order of the trace."""
    times = Counter([id(record.location) for record in records])
    numbers: dict[Any, int] = {}  # equal keys, equal numbers: each key is hashed once
    compared = [r if times[id(r.location)] == 1 else r.round_key or _key(r) for r in records]
    keys = [numbers.setdefault(key, len(numbers)) for key in compared]
    following: list[int | None] = [None] * len(keys)  # the next record with the same key
    last: dict[int, int] = {}
    for i in reversed(range(len(keys))):
        following[i] = last.get(keys[i])
        last[keys[i]] = i
    loops = []
    begin = 0
    while begin < len(keys):
        next_round = following[begin]
        period = 0 if next_round is None else next_round - begin
        rounds = _rounds(keys, begin, period) if period else 1
        if rounds > 1:
            loops.append(Loop(begin, period, rounds))
        begin += period * rounds if rounds > 1 else 1
    return loops


def _key(record: OpRecord) -> Any:
    """What is equal in every round; noted at the record, which is looked at again whenever its path grows."""
    if record.forward is not None:
        return record  # the gradient of one operation: like no other
    attributes = attribute_key(record.attributes) if record.attributes else ()
    # Locations and specs are one object each while the records hold them (`location`, `spec_of`).
    key = (id(record.op), id(record.location), tuple(map(id, record.input_specs)), attributes)
    record.round_key = key
    return key


def _rounds(keys: Sequence[int], begin: int, period: int) -> int:
    equal = 0
    while begin + period + equal < len(keys) and keys[begin + equal] == keys[begin + period + equal]:
        equal += 1
    return equal // period + 1


def is_foldable(trace: Trace, loop: Loop) -> bool:
    """Whether one body can stand for the rounds from the second on."""
    return _inputs_repeat(trace, loop) and _only_final_values_matter(trace, loop)


def _inputs_repeat(trace: Trace, loop: Loop) -> bool:
    base = len(trace.prefix)
    for offset in range(loop.period):
        possible: set[Any] | None = None
        for turn in range(1, loop.rounds):
            begin = base + loop.begin + turn * loop.period
            record = trace.records[loop.begin + turn * loop.period + offset]
            forms = [_forms(x, begin, offset, loop.period) for x in record.inputs]
            choices = {(i, form) for i, several in enumerate(forms) for form in several}
            possible = choices if possible is None else possible & choices
            if len({i for i, _ in possible}) < len(record.inputs):
                return False
    return True


def _forms(x: InputRef, begin: int, offset: int, period: int) -> list[tuple[Any, ...]]:
    """What an input of operation `offset` of the round at `begin` can be for every round alike."""
    match x:
        case External(number):
            return [("external", number)]
        case Scalar(value):
            return [("scalar", value_key(value))]
        case Produced(index, output):
            if begin <= index:
                return [("same round", index - begin, output)]
            forms: list[tuple[Any, ...]] = [("outside", index, output)]
            if begin - period + offset <= index:
                forms.append(("round before", index - begin + period, output))
            return forms
        case _:
            assert_never(x)


def _only_final_values_matter(trace: Trace, loop: Loop) -> bool:
    """Nothing behind the loop uses, keeps or reads what a round but the first and the last has made."""
    base = len(trace.prefix)
    first, last = loop.begin + loop.period, loop.begin + (loop.rounds - 1) * loop.period
    replaced = range(base + first, base + last)
    behind = trace.records[last + loop.period :]
    if any(isinstance(x, Produced) and x.index in replaced for record in behind for x in record.inputs):
        return False
    if any(kept.index in replaced for kept in trace.kept):
        return False
    return all(read.index not in replaced or position <= read.index + loop.period for position, read in trace.reads)
