"""Segments: a run of operations whose validation is one comparison.

In: a `Segment`, learned from a call that went one by one (`draft`), and the arguments of a later call.  Out: whether
its operations are valid; then the values that are left of them.
Invariant: `admits` changes nothing; `take` leaves the runner as the operations would one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coexec.graph.match import Matcher
from coexec.graph.symbolic import ScalarValue
from coexec.location import Location, callers_frame, location
from coexec.python_side.walk import ExpectFeed, ExpectScalar, WalkNode, WalkOutput
from coexec.traces.promise import Promise
from minitensor.ops.opdef import OpDef
from minitensor.value import Value

if TYPE_CHECKING:
    from coexec.python_side.python_runner import PythonRunner

Arguments = list[Any]  # Values and Python scalars
new_value = Value.__new__


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

    `fits`: for arguments that the step made or has fed, and for numbers that do not vary.  For the others: `feeds`, at
    the arguments' positions, and `numbers` (argument, what is expected); `same`: arguments that are one feed.
    `computed`: numbers that the call's rules make of sizes, which stand behind the arguments.  `kept`: (operation,
    output, shape) of what is left of the call; `order`: see `Form.result`.  `selected`: by slot, what must be selected
    before the call; `selects`: what is selected behind it.  `binds`: symbols that the call has bound.  `attributes`: by
    operation, where the graph's hold symbols.  `location`: of the call, where that of an operation
    decided.
    """

    nodes: tuple[WalkNode, ...]
    choices: tuple[tuple[int, int], ...]  # (case, target)
    fits: Matcher
    feeds: tuple[ExpectFeed, ...]
    numbers: tuple[tuple[int, ExpectScalar], ...]
    same: tuple[tuple[int, int], ...]
    sends: tuple[tuple[int, int], ...]  # (argument, slot) of all these
    checks: tuple[Check, ...]
    kept: tuple[tuple[int, int, tuple[int, ...]], ...]
    selected: tuple[tuple[int, WalkOutput | None], ...]
    selects: tuple[tuple[int, WalkOutput], ...]
    posted: frozenset[WalkOutput]
    computed: tuple[ScalarValue, ...]
    order: tuple[int, ...]
    binds: dict[str, int]
    attributes: dict[int, dict[str, Any]]
    location: Location | None

    def admits(self, runner: PythonRunner, arguments: Arguments) -> bool:
        """Whether each operation would be valid; changes nothing."""
        arguments = [*arguments, *self.computed]
        try:
            if not self.fits(runner.made, runner.bound, arguments):  # type: ignore[arg-type]
                return False
        except AttributeError:  # a number, where a tensor is expected
            return False
        if self.feeds:
            fresh = runner.fresh(self.feeds, arguments)
            if fresh is None or not all(x.owned for _, x in fresh):
                return False
            for one, other in self.same:
                if arguments[one] is not arguments[other]:
                    return False
        phis = runner.phis
        for slot, output in self.selected:
            if phis[slot] is not output:
                return False
        if self.location is not None and location(callers_frame(), runner.root) != self.location:
            return False
        return all(runner.can_send(scalar, arguments[position]) for position, scalar in self.numbers)

    def take(self, runner: PythonRunner, arguments: Arguments) -> list[Value] | None:
        """The values kept, in order; None where something fails, which the operation itself must then do."""
        arguments = [*arguments, *self.computed]
        for check in self.checks:
            if not _passes(runner, check, arguments):
                return None
        runner.bind(self.binds)
        try:
            bound = runner.bound
            fresh = [(slot, arguments[position]) for position, slot in self.sends if bound[slot] is None]
            if fresh:
                runner.feed_all(fresh)
        except Exception:  # the runner has left the graph: the operation that needs the value will raise it
            return None
        for case, target in self.choices:
            runner.run.choose(case, target)
        log, made, start = runner.log, runner.made, len(runner.path)
        values = []
        for offset, index, shape in self.kept:  # `empty_value` and `make_promise`, written out: calls would double it
            output = self.nodes[offset].outputs[index]
            value = new_value(Value)
            value.array, value.owned, value.exported = None, True, False
            value.shape, value.dtype = shape, output.dtype
            value.pending = made[output.number] = promise = Promise(value)
            promise.owner, promise.index, promise.output, promise.source = log, start + offset, index, output
            log.made.append(promise)
            values.append(value)
        for slot, selected in self.selects:
            runner.phis[slot] = selected
        runner.posted |= self.posted
        for offset, attributes in self.attributes.items():
            runner.attributes[start + offset] = attributes
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
        runner.look(value)
        if runner.recorder is not None or value.array is None:
            return False
        operands[position] = value.array
    assert check.op.check is not None
    try:
        check.op.check(*operands, **check.attributes)
    except Exception:
        return False
    return True
