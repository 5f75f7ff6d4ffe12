"""Drafts: a segment is learned from a call that goes one by one.

In: how things stood before the call, its arguments, and the path that it took.  Out: a `Segment`, which later calls
with the same form and the same sizes are held against (`coexec.python_side.macros`).
Invariant: given that the call's operations are a function of its form, sizes and arguments, the segment admits
arguments only if `Validator.matches` would say yes to each of its operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from coexec.graph.keys import same_scalar
from coexec.graph.match import Kind, make_matcher
from coexec.graph.symbolic import Dim, ScalarValue
from coexec.location import Location, callers_frame, location
from coexec.python_side.rivals import differ_in_producers, exclude, place_of
from coexec.python_side.segment import Arguments, Check, Segment
from coexec.python_side.walk import ExpectFeed, ExpectPhi, ExpectScalar, WalkNode, WalkOutput
from coexec.traces.opaque import values_to_check
from coexec.traces.promise import Promise, empty_value
from minitensor.value import Value

if TYPE_CHECKING:
    from coexec.python_side.python_runner import PythonRunner


class Form(Protocol):
    """What a call must be like to be the one that was learned."""

    numbers_vary: bool  # whether a number may differ from the one learned, where the graph has it as a feed
    passed: set[int]  # arguments that are numbers and may differ where not all may: an operand is one by identity
    has_sizes: bool  # whether calls of this form may have several sizes: then those are compared, and all numbers

    def finish(self, values: list[Value], order: tuple[int, ...]) -> None:
        """Puts in place what the call leaves."""

    def let_go(self) -> None:
        """Forgets what `match` has found: the program may want to see it die."""

    def result(self) -> tuple[list[Value], tuple[int, ...]] | None:
        """What the call has left, and the order of its use; None where that is more than can be put in place again."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The choice words of a call as (case, target); where it stands in the program, if that decided any of them."""

    words: tuple[tuple[int, int], ...]
    location: Location | None


@dataclass(slots=True)
class Roles:
    """What a call's arguments are to the graph.

    fixed: (kind, argument, which): compared as they are.  feeds: tensors that this call is the first to feed.
    numbers: (argument, what is expected): may differ.  computed: numbers that are no arguments; they stand behind them.
    """

    fixed: list[tuple[Kind, int, Any]] = field(default_factory=list)
    feeds: list[ExpectFeed] = field(default_factory=list)
    numbers: list[tuple[int, ExpectScalar]] = field(default_factory=list)
    computed: list[ScalarValue] = field(default_factory=list)

    def which(self, kind: Kind) -> dict[int, int]:
        """The arguments of a kind, by which output or feed they are."""
        return {which: position for kind_of_it, position, which in self.fixed if kind_of_it == kind}

    def sends(self) -> list[tuple[int, int]]:
        """(argument, slot) of all that may have to be sent."""
        return [*[(p, slot) for slot, p in self._first().items()], *[(p, e.slot) for p, e in self.numbers]]

    def same(self) -> list[tuple[int, int]]:
        """Pairs of arguments that are one feed."""
        first = self._first()
        return [(first[e.slot], e.position) for e in self.feeds if first[e.slot] != e.position]

    def _first(self) -> dict[int, int]:
        """The first argument that is a feed, by its slot."""
        return {e.slot: e.position for e in reversed(self.feeds)}


class Draft:
    """How things stood before a call that goes operation by operation, to learn from it."""

    def __init__(
        self, runner: PythonRunner, form: Form, arguments: Arguments, learn: Callable[[Segment], None]
    ) -> None:
        self.form = form
        self.passed = form.passed
        self.arguments = arguments
        self.learn = learn
        self.at = runner.at
        self.start = len(runner.path)
        self.promises = len(runner.log.made)
        self.bound = list(runner.bound)
        self.phis = list(runner.phis)
        self.symbols = dict(runner.symbols)
        self.outside = _done_outside(runner)
        self.location = location(callers_frame(), runner.root)

    def segment(self, runner: PythonRunner, kept: list[Value], order: tuple[int, ...]) -> Segment | None:
        """The call's operations, if they may be taken at once from now on; `kept`: all that is left of it."""
        nodes = runner.path[self.start :]
        if not nodes or runner.recorder is not None or _done_outside(runner) != self.outside:
            return None
        choices = self._choices(runner, nodes)
        if choices is None and self.passed:  # a number decided: it is compared, then
            self.passed = set()
            choices = self._choices(runner, nodes)
        if choices is None or not (self.form.has_sizes or all(map(_is_static, nodes))):
            return None
        left = {id(value) for value in kept}
        promises = runner.log.made[self.promises :]
        if len(left) != len(kept) or any((v := p()) is not None and id(v) not in left for p in promises):
            return None
        made = [(promise_of(value), value.shape) for value in kept]
        places = [(p.index - self.start, p.output, shape) for p, shape in made if p is not None]
        if len(places) != len(kept) or any(offset < 0 for offset, _, _ in places):
            return None
        return self._assemble(runner, tuple(nodes), choices, tuple(places), order)

    def _assemble(
        self,
        runner: PythonRunner,
        nodes: tuple[WalkNode, ...],
        choices: Choices,
        kept: tuple[tuple[int, int, tuple[int, ...]], ...],
        order: tuple[int, ...],
    ) -> Segment | None:
        roles = self._roles(runner, nodes)
        if roles is None:
            return None
        sends, before = roles.sends(), self.bound
        fresh = {slot for node in nodes for slot, _ in node.sends if before[slot] is None}
        if fresh != {slot for _, slot in sends if before[slot] is None}:
            return None  # something is fed that is no argument
        fed = roles.which("fed") | {slot: position for position, slot in sends}
        checks = _checks(nodes, roles.which("source"), fed, runner.symbols)
        if checks is None:
            return None
        return Segment(
            nodes,
            choices.words,
            make_matcher(roles.fixed),
            tuple(roles.feeds),
            tuple(roles.numbers),
            tuple(roles.same()),
            tuple(sends),
            checks,
            kept,
            tuple(self._selected_before(nodes)),
            tuple([select for node in nodes for select in node.selects]),
            frozenset().union(*[node.reads for node in nodes]),
            tuple(roles.computed),
            order,
            {name: extent for name, extent in runner.symbols.items() if name not in self.symbols},
            {index - self.start: a for index, a in runner.attributes.items() if index >= self.start},
            choices.location,
        )

    def _selected_before(self, nodes: Iterable[WalkNode]) -> list[tuple[int, WalkOutput | None]]:
        """What was selected when the call began, of what its operations read before they select."""
        found: dict[int, WalkOutput | None] = {}
        selected: set[int] = set()
        for node in nodes:
            slots = [e.slot for e in node.others if isinstance(e, ExpectPhi)]
            found |= {slot: self.phis[slot] for slot in slots if slot not in selected}
            selected |= {slot for slot, _ in node.selects}
        return list(found.items())

    def _roles(self, runner: PythonRunner, nodes: tuple[WalkNode, ...]) -> Roles | None:
        """What each argument is; None where one is a tensor that the graph cannot know again."""
        roles = Roles()
        varying = {e.slot: e for node in nodes for e in node.others if isinstance(e, ExpectScalar)}
        constants = [value for node in nodes for _, value in node.constants]
        sent = {e.slot: e for node in nodes for e in node.feeds}
        for position, x in enumerate(self.arguments):
            if not isinstance(x, Value):
                slots = [slot for slot in varying if self._is_number(position, runner.bound[slot])]
                roles.numbers += [(position, varying[slot]) for slot in slots]
                may_differ = bool(slots) or self._is_passed(position)
                if not may_differ or any(same_scalar(x, value) for value in constants):
                    roles.fixed.append(("constant", position, x))
            elif (promise := promise_of(x)) is not None and promise.owner is runner.log:
                roles.fixed.append(("source", position, promise.source.number))
            elif not x.owned:
                return None
            else:
                slots = [slot for slot, bound in enumerate(runner.bound) if bound is x]
                before = [slot for slot in slots if self.bound[slot] is x]
                roles.fixed += [("fed", position, slot) for slot in before]
                fresh = [sent[slot] for slot in slots if slot not in before and slot in sent]
                roles.feeds += [replace(feed, position=position, shape=x.shape) for feed in fresh]
        if not self.form.numbers_vary:
            known = {e.slot for _, e in roles.numbers}
            for slot, expected in varying.items():
                if slot not in known:
                    roles.numbers.append((len(self.arguments) + len(roles.computed), expected))
                    roles.computed.append(runner.bound[slot])
        return roles

    def _choices(self, runner: PythonRunner, nodes: list[WalkNode]) -> Choices | None:
        """The choice words of the call; None where something decided that is not compared again."""
        passed = [self.arguments[position] for position in self.passed]
        bound = None if self.form.numbers_vary else [None if any(x is p for p in passed) else x for x in runner.bound]
        words: list[tuple[int, int]] = []
        located = False
        for index, (before, node) in enumerate(pairwise([self.at, *nodes]), self.start):
            others = [c for c in before.children if c is not node and not exclude(c, node, bound)]
            rivals = [c for c in others if not differ_in_producers(c, node)]
            if rivals:
                if index not in runner.located or any(place_of(c) == place_of(node) for c in rivals):
                    return None
                located = True
            if before.case is not None:
                words.append((before.case, before.children.index(node)))
        return Choices(tuple(words), self.location if located else None)

    def _is_number(self, position: int, operand: ScalarValue) -> bool:
        """Whether an operand that varies is this argument and can be no other."""
        x = self.arguments[position]
        if not self.form.numbers_vary:
            return x is operand and self._is_passed(position)
        if not same_scalar(x, operand):
            return False
        return sum(same_scalar(x, y) for y in self.arguments if not isinstance(y, Value)) == 1

    def _is_passed(self, position: int) -> bool:
        """Whether this argument is a number that rules only pass on, and no other argument is the same object."""
        x = self.arguments[position]
        return position in self.passed and type(x) is float and sum(y is x for y in self.arguments) == 1


def promise_of(value: Value) -> Promise | None:
    return value.pending if type(value.pending) is Promise else None


def _done_outside(runner: PythonRunner) -> tuple[int, ...]:
    """What a call may not do if it is to be learned: look at contents, or leave operations to Python."""
    return runner.looks, len(runner.left_to_python)


def _is_static(node: WalkNode) -> bool:
    return not node.unifies and all(output.shape is not None for output in node.outputs)


def _checks(
    nodes: Iterable[WalkNode], made: dict[int, int], fed: dict[int, int], symbols: dict[str, int]
) -> tuple[Check, ...] | None:
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
            value if spec is None else _blank(_extents(spec.shape, symbols), spec.dtype)
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
        if node.shape_symbols:
            return None  # its attributes are those of one call
        checks.append(Check(op, node.attributes, blanks, tuple(contents)))
    return tuple(checks)


def _constants(node: WalkNode) -> list[Any]:
    known = dict(node.constants)
    return [known.get(position) for position in range(node.inputs)]


def _extents(dims: tuple[Dim, ...], symbols: dict[str, int]) -> tuple[int, ...]:
    return tuple([symbols[d] if isinstance(d, str) else d for d in dims])


def _blank(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
    value = empty_value(shape, dtype)
    value.array = np.broadcast_to(np.zeros((), dtype), shape)  # takes no memory
    return value
