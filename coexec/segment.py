"""Segments: a run of operations whose validation is one comparison, learned from a call that went one by one.

In: how things stood before the call, its arguments, and the path that it took.  Out: a `Segment`, which later calls
with the same form are held against (`coexec.macros`).
Invariant: given that the call's operations are a function of its form and arguments, a segment admits arguments only
if `Validator.matches` would say yes to each of its operations; taking it leaves the runner as these would have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from coexec.keys import same_attributes, same_scalar
from coexec.match import Kind, Matcher, make_matcher
from coexec.opaque import values_to_check
from coexec.promise import Promise, empty_value, make_promise
from coexec.symbolic import ScalarValue
from coexec.walk import ExpectFeed, ExpectPhi, ExpectSame, ExpectScalar, WalkNode, WalkOutput
from minitensor.ops.opdef import OpDef
from minitensor.value import Value

if TYPE_CHECKING:
    from coexec.python_runner import PythonRunner

Arguments = list[Any]  # Values and Python scalars


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """What stands before an operation that can fail on the contents of its operands.

    `operands`: blanks of the right shape and dtype, and numbers; `contents`: (position, argument) of what is looked at.
    """

    op: OpDef
    attributes: dict[str, Any]
    operands: tuple[Any, ...]
    contents: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The operations of one call, as nodes of the walk, and what must hold of the call's arguments.

    `fits`: for arguments that the step made or has fed, and for numbers that do not vary.  `feeds`, `numbers`: for
    the others, (argument, what is expected).  `kept`: (operation, output) of what is left of the call.
    """

    nodes: tuple[WalkNode, ...]
    choices: tuple[tuple[int, int], ...]  # (case, target)
    fits: Matcher
    feeds: tuple[tuple[int, ExpectFeed], ...]
    numbers: tuple[tuple[int, ExpectScalar], ...]
    sends: tuple[tuple[int, int], ...]  # (argument, slot) of all these
    checks: tuple[Check, ...]
    kept: tuple[tuple[int, int], ...]
    selects: tuple[tuple[int, WalkOutput], ...]
    posted: frozenset[WalkOutput]

    def admits(self, runner: PythonRunner, arguments: Arguments) -> bool:
        """Whether each operation would be valid; changes nothing."""
        try:
            if not self.fits(runner.made, runner.bound, arguments):  # type: ignore[arg-type]
                return False
        except AttributeError:  # a number, where a tensor is expected
            return False
        for position, feed in self.feeds:
            x = arguments[position]
            if not runner.can_feed(feed, x) or not x.owned:
                return False
        return all(runner.can_send(scalar, arguments[position]) for position, scalar in self.numbers)

    def take(self, runner: PythonRunner, arguments: Arguments) -> list[Value] | None:
        """The values kept, in order; None where something fails, which the operation itself must then do."""
        for check in self.checks:
            if not _passes(runner, check, arguments):
                return None
        try:
            for position, slot in self.sends:
                if runner.bound[slot] is None:
                    runner.feed(slot, arguments[position])
        except Exception:  # the runner has left the graph: the operation that needs the value will raise it
            return None
        for case, target in self.choices:
            runner.run.choose(case, target)
        log, made, start = runner.log, runner.made, len(runner.path)
        values = []
        for offset, index in self.kept:
            output = self.nodes[offset].outputs[index]
            value = empty_value(output.known_shape, output.dtype)
            made[output.number] = make_promise(value, log, start + offset, index, output)
            values.append(value)
        for slot, selected in self.selects:
            runner.phis[slot] = selected
        runner.posted |= self.posted
        runner.path += self.nodes
        runner.at = self.nodes[-1]
        return values


def _passes(runner: PythonRunner, check: Check, arguments: Arguments) -> bool:
    """Whether an operation will find contents that it can use; reads them."""
    operands = list(check.operands)
    for position, argument in check.contents:
        value = arguments[argument]
        if not runner.is_at_hand(value):
            return False
        runner.on_read(value)
        if runner.recorder is not None or value.array is None:
            return False
        operands[position] = value.array
    assert check.op.check is not None
    try:
        check.op.check(*operands, **check.attributes)
    except Exception:
        return False
    return True


# --- learning ------------------------------------------------------------------------------------------------


class Form(Protocol):
    """What a call must be like to be the one that was learned."""

    numbers_vary: bool  # whether a number may differ from the one learned, where the graph has it as a feed

    def finish(self, values: list[Value]) -> None:
        """Puts in place what the call leaves."""

    def let_go(self) -> None:
        """Forgets what `match` has found: the program may want to see it die."""

    def result(self) -> list[Value] | None:
        """What the call has left, in order; None where that is more than can be put in place again."""


class Draft:
    """How things stood before a call that goes operation by operation, to learn from it."""

    def __init__(self, runner: PythonRunner, form: Form, arguments: Arguments) -> None:
        self.form = form
        self.arguments = arguments
        self.at = runner.at
        self.start = len(runner.path)
        self.promises = len(runner.log.made)
        self.bound = list(runner.bound)
        self.outside = _done_outside(runner)

    def segment(self, runner: PythonRunner, kept: list[Value]) -> Segment | None:
        """The call's operations, if they may be taken at once from now on; `kept`: all that is left of it."""
        nodes = runner.path[self.start :]
        if not nodes or runner.recorder is not None or _done_outside(runner) != self.outside:
            return None
        choices = _choices([self.at, *nodes])
        if choices is None or not all(map(_is_static, nodes)):
            return None
        left = {id(value) for value in kept}
        promises = runner.log.made[self.promises :]
        if len(left) != len(kept) or any((v := p()) is not None and id(v) not in left for p in promises):
            return None
        places = [(p.index - self.start, p.output) for p in map(promise_of, kept) if p is not None]
        if len(places) != len(kept) or any(offset < 0 for offset, _ in places):
            return None
        return self._assemble(runner, tuple(nodes), choices, tuple(places))

    def _assemble(
        self,
        runner: PythonRunner,
        nodes: tuple[WalkNode, ...],
        choices: tuple[tuple[int, int], ...],
        kept: tuple[tuple[int, int], ...],
    ) -> Segment | None:
        sent = {expected.slot: expected for node in nodes for expected in node.feeds}
        varying = {e.slot: e for node in nodes for e in node.others if isinstance(e, ExpectScalar)}
        fixed: list[tuple[Kind, int, Any]] = []
        feeds: list[tuple[int, ExpectFeed]] = []
        numbers: list[tuple[int, ExpectScalar]] = []
        for position, x in enumerate(self.arguments):
            if not isinstance(x, Value):
                slots = [slot for slot in varying if self._is_number(x, runner.bound[slot])]
                numbers += [(position, varying[slot]) for slot in slots]
                if not slots or any(same_scalar(x, value) for node in nodes for _, value in node.constants):
                    fixed.append(("constant", position, x))
            elif (promise := promise_of(x)) is not None and promise.owner is runner.log:
                if promise.source is None or runner.made[promise.source.number] is not promise:
                    return None
                fixed.append(("source", position, promise.source.number))
            elif not x.owned:
                return None
            else:
                slots = [slot for slot, bound in enumerate(runner.bound) if bound is x]
                fixed += [("fed", position, slot) for slot in slots if self.bound[slot] is x]
                feeds += [(position, sent[slot]) for slot in slots if self.bound[slot] is not x and slot in sent]
        fresh = {slot for node in nodes for slot, _ in node.sends if self.bound[slot] is None}
        sends = [*[(position, e.slot) for position, e in feeds], *[(position, e.slot) for position, e in numbers]]
        if fresh != {slot for _, slot in sends if self.bound[slot] is None}:
            return None  # something is fed that is no argument
        made = {number: position for kind, position, number in fixed if kind == "source"}
        fed = {slot: position for kind, position, slot in fixed if kind == "fed"}
        checks = _checks(nodes, made, fed | {slot: position for position, slot in sends})
        if checks is None:
            return None
        return Segment(
            nodes,
            choices,
            make_matcher(fixed),
            tuple(feeds),
            tuple(numbers),
            tuple(sends),
            checks,
            kept,
            tuple([select for node in nodes for select in node.selects]),
            frozenset().union(*[node.reads for node in nodes]),
        )

    def _is_number(self, x: ScalarValue, operand: ScalarValue) -> bool:
        """Whether an operand that varies is this argument and can be no other."""
        if not self.form.numbers_vary or not same_scalar(x, operand):
            return False
        return sum(same_scalar(x, y) for y in self.arguments if not isinstance(y, Value)) == 1


def promise_of(value: Value) -> Promise | None:
    return value.pending if type(value.pending) is Promise else None


def _done_outside(runner: PythonRunner) -> tuple[int, ...]:
    """What a call may not do if it is to be learned: look at contents, or leave operations to Python."""
    return runner.looks, len(runner.left_to_python), len(runner.attributes), len(runner.symbols)


def _is_static(node: WalkNode) -> bool:
    return not node.unifies and all(output.shape is not None for output in node.outputs)


def _choices(path: list[WalkNode]) -> tuple[tuple[int, int], ...] | None:
    """The choice words along a path; None where a location may have decided, which is not compared again."""
    choices = []
    for before, node in pairwise(path):
        if not all(child is node or _exclude(child, node) for child in before.children):
            return None
        if before.case is not None:
            choices.append((before.case, before.children.index(node)))
    return tuple(choices)


def _exclude(one: WalkNode, other: WalkNode) -> bool:
    """Whether no operation can be both, whatever the step has made and fed."""
    if one.op is not other.op or one.inputs != other.inputs or not same_attributes(one.attributes, other.attributes):
        return True
    for position in range(one.inputs):
        (kind, what), (others_kind, others) = _origin_of(one, position), _origin_of(other, position)
        if None in (kind, others_kind):
            continue
        if kind != others_kind or (None not in (what, others) and not _is_same(kind, what, others)):
            return True
    return False


def _is_same(kind: str | None, one: Any, other: Any) -> bool:
    return same_scalar(one, other) if kind == "number" else kind == "outside" or one == other


def _origin_of(node: WalkNode, position: int) -> tuple[str | None, Any]:
    """Whether an operand is made in the step (and which output), comes from outside or is a number (and which one).

    None where that depends.
    """
    for kind, known in (("made", node.sources), ("number", node.constants), ("outside", node.fed)):
        for at, what in known:
            if at == position:
                return kind, what
    if any(feed.position == position for feed in node.feeds):
        return "outside", None
    for expected in node.others:
        if expected.position == position and not isinstance(expected, ExpectSame):
            return ("made" if isinstance(expected, ExpectPhi) else "number"), None
    return None, None


def _checks(nodes: Iterable[WalkNode], made: dict[int, int], fed: dict[int, int]) -> tuple[Check, ...] | None:
    """What `PythonRunner._check_contents` does for each of the nodes; None where it looks at what is made inside.

    `made`, `fed`: arguments, by the number of the output or of the feed that they are.
    """
    checks = []
    for node in nodes:
        op = node.op
        if op is None or not op.may_raise:
            continue
        if op.check is None:
            return None
        operands = [
            value if spec is None else _blank(spec.shape, spec.dtype)
            for value, spec in zip(_constants(node), node.trace.input_specs, strict=True)
        ]
        wanted = [i for i, x in enumerate(operands) if isinstance(x, Value) and values_to_check(op, (x,))]
        sources = {position: made.get(number) for position, number in node.sources}
        slots = [*node.fed, *[(feed.position, feed.slot) for feed in node.feeds]]
        sources |= {position: fed.get(slot) for position, slot in slots}
        contents = [(i, argument) for i in wanted if (argument := sources.get(i)) is not None]
        if len(contents) != len(wanted):
            return None
        blanks = tuple([x.array if isinstance(x, Value) else x for x in operands])
        checks.append(Check(op, node.attributes, blanks, tuple(contents)))
    return tuple(checks)


def _constants(node: WalkNode) -> list[Any]:
    known = dict(node.constants)
    return [known.get(position) for position in range(node.inputs)]


def _blank(shape: tuple[Any, ...], dtype: np.dtype[Any]) -> Value:
    value = empty_value(shape, dtype)
    value.array = np.broadcast_to(np.zeros((), dtype), shape)  # takes no memory
    return value
