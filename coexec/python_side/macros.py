"""Macro operations: a whole `backward()` or `optimizer.step()` taken at once, once it was validated.

In: a validated step that has come to such a call.  Out: the step behind it, as if each operation had been validated.
Invariant: what the call does is a function of what is compared here.  For `backward()` that is the tape (records,
parents, attributes, numbers, sizes, leaves and which of them have a gradient; rules of this project only), for
`step()` the optimiser's class, form and states, and which parameters have a gradient.  So the operations are those of
the call that was validated one by one, and they are wired alike: left to compare is where the operands come from that
are not made inside.  (Floats that rules only pass on, `OpDef.passes_numbers`, may be others in each call: the operand
that is the very object that was passed on will be the next call's.)  Whatever is not so goes operation by operation,
which is the reference that tests hold this against.

Learned from a call that went operation by operation, and kept at the walk's node before it, where sizes vary once for
each; a graph with folded loops has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import is_
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from coexec.graph.keys import same_attributes
from coexec.python_side.draft import Draft, Form, promise_of
from coexec.python_side.segment import Arguments, Segment
from coexec.python_side.tape_match import (
    KINDS,
    LeavesMatcher,
    Row,
    TapeMatcher,
    make_leaves_matcher,
    make_tape_matcher,
    match_leaves,
    match_rows,
)
from coexec.python_side.update_match import Pattern, UpdateMatcher, make_update_matcher, match_updates
from minitensor.dispatch import local, rebind
from minitensor.methods import are_as_written
from minitensor.nn import Parameter
from minitensor.optim import Optimizer
from minitensor.tape import Leaf, Node, Part
from minitensor.tensor import Tensor
from minitensor.value import Value

if TYPE_CHECKING:
    from coexec.python_side.python_runner import PythonRunner

MOST_FORMS = 8  # of calls at one place of the walk
MOST_SIZES = 64  # of calls of one form
MOST_KEPT = 4  # segments of one form with the same sizes
WORTH_WRITING = 3  # calls of one form from which on its matcher is written out
MOST_TRIES = 16  # calls at one place that were looked at to learn from since something learned was of use
Key = tuple[tuple[tuple[str, int], ...], tuple[Any, ...]]  # symbols with their values, numbers
_OUR_RULES = "minitensor.ops."
_IMMUTABLE = frozenset((bool, int, float, tuple))  # of hyperparameters


def _is_known(x: Any) -> bool:
    """Whether this is a tensor whose operators are minitensor's."""
    return type(x) in KINDS


def _are_classes_as_written() -> bool:
    return are_as_written(Parameter)  # which has its operators from Tensor


class BackwardForm:
    """The tape below a tensor.

    `rows`: of each entry, in the order in which they are come to: see `tape_match`.
    `leaves`: entries, in the order in which they get their gradients, each with whether its tensor lives and has one.
    """

    __slots__ = (
        "_compared", "_count", "_leaves_matcher", "_matcher", "_matches", "gradient", "has_sizes", "leaves",
        "numbers_vary", "passed", "rows", "targets",
    )  # fmt: skip

    def __init__(self, root: Any, gradient: Tensor | None, runner: PythonRunner) -> None:
        self.numbers_vary = False  # a rule may compute others from them
        self.passed: set[int] = set()  # but for these arguments, which rules only pass on
        self._compared: list[int] = []  # the other arguments that are numbers
        self._count = 0  # of the arguments that the entries have
        self.has_sizes = True
        self.gradient = None if gradient is None else (gradient.shape, gradient.dtype)
        self.rows: list[Row] = []
        self.leaves: list[tuple[int, bool, bool]] = []
        self.targets: list[Tensor] = []
        entries = [root]
        numbers = {root.order: 0}
        for entry in entries:
            parents = (entry.node,) if type(entry) is Part else () if type(entry) is Leaf else entry.parents
            for parent in parents:
                if parent is not None and parent.order not in numbers:
                    numbers[parent.order] = len(entries)
                    entries.append(parent)
            self._add(entry, tuple([None if p is None else numbers[p.order] for p in parents]), runner)
        leaves = sorted([e for e in entries if type(e) is Leaf], key=lambda leaf: -leaf.order)
        for leaf in leaves:
            target = leaf.tensor()
            has_gradient = target is not None and target.grad is not None
            self.leaves.append((numbers[leaf.order], target is not None, has_gradient))
        self._matches = 0
        self._matcher: TapeMatcher = partial(match_rows, self.rows, [i for i, _, _ in self.leaves])
        self._leaves_matcher: LeavesMatcher = partial(match_leaves, [row[1:] for row in self.leaves])

    def _add(self, entry: Any, parents: tuple[int | None, ...], runner: PythonRunner) -> None:
        """Raises NotLearned for what is not an operation of this step with a rule of this project."""
        kind, op, number = type(entry), None, None
        if kind is Part:
            number = entry.index
        elif kind is Node:
            op = entry.op
            promise = promise_of(entry.outputs[0])
            if promise is None or promise.owner is not runner.log or not op.vjp.__module__.startswith(_OUR_RULES):
                raise NotLearned
            number = promise.source.number
            for k, x in enumerate(entry.inputs, self._count):
                if op.passes_numbers and type(x) is float:
                    self.passed.add(k)
                elif not isinstance(x, Value):
                    self._compared.append(k)
            self._count += len(entry.inputs) + (len(entry.outputs) if len(entry.outputs) > 1 else 0)
        elif not self.rows:
            raise NotLearned  # a leaf itself: its size is not known from the walk
        self.rows.append((kind, op, number, parents))

    def match(self, root: Any, gradient: Tensor | None, made: list[Any]) -> Arguments | None:
        """The values and numbers that the call's operations can have as operands; None where it is another call."""
        found = self._matcher(root, made)
        if found is None:
            return None
        arguments, leaves = found
        targets = self._leaves_matcher(leaves, arguments)
        if targets is None:
            return None
        self.targets = targets
        self._matches += 1
        if self._matches == WORTH_WRITING:
            self._matcher = make_tape_matcher(self.rows, [i for i, _, _ in self.leaves])
            self._leaves_matcher = make_leaves_matcher([row[1:] for row in self.leaves])
        if (gradient is None) != (self.gradient is None):
            return None
        if gradient is not None:
            if not _is_known(gradient) or (gradient.shape, gradient.dtype) != self.gradient:
                return None
            arguments.append(gradient.value)
        return arguments

    def key(self, runner: PythonRunner, arguments: Arguments) -> Key:
        """Sizes and numbers, of which rules may make others."""
        sizes = tuple(runner.symbols.items()) if runner.symbols else ()
        return sizes, tuple([arguments[i] for i in self._compared])

    def result(self) -> tuple[list[Value], tuple[int, ...]] | None:
        """The gradients, and of each living leaf which of them is its own."""
        gradients: list[Tensor] = []
        order: list[int] = []
        for target in self.targets:
            gradient = target.grad
            if gradient is None or type(gradient) is not Tensor or gradient.node is not None:
                return None
            places = [i for i, other in enumerate(gradients) if other is gradient]
            order.append(places[0] if places else len(gradients))
            if not places:
                gradients.append(gradient)
        return [gradient.value for gradient in gradients], tuple(order)

    def finish(self, values: list[Value], order: tuple[int, ...]) -> None:
        """The leaves get their gradients."""
        gradients = [Tensor(value) for value in values]
        for target, place in zip(self.targets, order, strict=True):
            target.grad = gradients[place]

    def let_go(self) -> None:
        """Forgets the tensors of the call at hand: the program may want to see them die."""
        self.targets = []


class UpdateForm:
    """An optimiser of this project, what decides its operations, and which parameters and states take part.

    `patterns`: of each parameter the names in its state that are tensors, and those that are numbers; None: without a
    gradient.
    """

    __slots__ = (
        "_matcher", "_matches", "_optimizer", "form", "has_sizes", "kind", "numbers_vary", "passed", "patterns",
    )  # fmt: skip

    def __init__(self, optimizer: Optimizer) -> None:
        self.numbers_vary = True
        self.passed: set[int] = set()
        self.has_sizes = False
        self._optimizer: Optimizer | None = None
        self.kind = type(optimizer)
        self.form = optimizer.form()
        if not all(type(x) in _IMMUTABLE for x in self.form):  # it may be changed in place
            raise NotLearned
        self.patterns: list[Pattern] = []
        for param, state in zip(optimizer.params, optimizer.state, strict=True):
            tensors = tuple([name for name, x in state.items() if isinstance(x, Tensor)])
            plain = tuple([name for name in state if name not in tensors])
            self.patterns.append(None if param.grad is None else (tensors, plain))
        if len({pattern[1] for pattern in self.patterns if pattern is not None}) > 1:
            raise NotLearned  # one is updated for the first time: its numbers are not those of the others
        self._matches = 0
        self._matcher: UpdateMatcher = partial(match_updates, self.patterns)

    def match(self, optimizer: Optimizer) -> Arguments | None:
        """As `BackwardForm.match`, for an optimiser that `is_plain` and has a state for each parameter."""
        if type(optimizer) is not self.kind or len(optimizer.params) != len(self.patterns):
            return None
        form = optimizer.form()
        if not all(map(is_, form, self.form)) and not same_attributes({"form": form}, {"form": self.form}):
            return None
        found = self._matcher(optimizer.params, optimizer.state)
        if found is None:
            return None
        self._matches += 1
        if self._matches == WORTH_WRITING:
            self._matcher = make_update_matcher(self.patterns)
        arguments, first = found
        try:
            arguments += optimizer.numbers(first)
        except Exception:  # the update itself will raise it
            return None
        self._optimizer = optimizer
        return arguments

    def key(self, runner: PythonRunner, arguments: Arguments) -> Key:
        """Nothing: parameters keep their sizes, and no number is made of others."""
        return (), ()

    def result(self) -> tuple[list[Value], tuple[int, ...]] | None:
        optimizer = self._optimizer
        assert optimizer is not None
        values = []
        for param, state, pattern in zip(optimizer.params, optimizer.state, self.patterns, strict=True):
            if pattern is None:
                continue
            tensors = [state[name] for name in pattern[0] if name in state]
            if len(state) != len(pattern[0]) + len(pattern[1]) or any(type(t) is not Tensor for t in tensors):
                return None
            values += [param.value, *[t.value for t in tensors]]
        return values, ()

    def finish(self, values: list[Value], order: tuple[int, ...]) -> None:
        """Parameters and states get what the update has made of them."""
        optimizer = self._optimizer
        assert optimizer is not None
        following = iter(values)
        for param, state, pattern in zip(optimizer.params, optimizer.state, self.patterns, strict=True):
            if pattern is not None:
                rebind(param, next(following))
                for name in pattern[0]:
                    state[name] = Tensor(next(following))
                optimizer.count(state)

    def let_go(self) -> None:
        """Forgets the optimiser of the call at hand."""
        self._optimizer = None


AnyForm = TypeVar("AnyForm", BackwardForm, UpdateForm)


@dataclass(frozen=True, slots=True, eq=False)
class Macro(Generic[AnyForm]):
    """Calls of one form: what was learned of them, by sizes and numbers; `unused`: what was in vain so far."""

    form: AnyForm
    segments: dict[Key, list[Segment]] = field(default_factory=dict)
    unused: set[Key] = field(default_factory=set)

    def find(self, runner: PythonRunner, arguments: Arguments, key: Key) -> Segment | None:
        """What was learned of a call like this one."""
        for segment in self.segments.get(key, ()):
            if segment.admits(runner, arguments):
                return segment
        return None

    def learn(self, key: Key, segment: Segment) -> None:
        if key not in self.segments and len(self.segments) >= MOST_SIZES:
            oldest = next(iter(self.segments))
            del self.segments[oldest]
            self.unused.discard(oldest)
        self.unused.add(key)
        self.segments[key] = [*self.segments.get(key, [])[1 - MOST_KEPT :], segment]


@dataclass(slots=True, eq=False)
class Place:
    """The macros known behind one node of the walk, and how many calls were looked at in vain to learn from."""

    backward: list[Macro[BackwardForm]] = field(default_factory=list)
    update: list[Macro[UpdateForm]] = field(default_factory=list)
    tries: int = 0


class NotLearned(Exception):
    """This call has to go operation by operation, always."""


def take_backward(runner: PythonRunner, tensor: Tensor, gradient: Tensor | None) -> bool:
    """See `WholeCalls.take_backward`."""
    root = tensor.node
    place = _place(runner)
    if place is None or root is None or local.differentiating is not None:
        return False
    return _take_or_learn(
        runner,
        place,
        place.backward,
        lambda form: form.match(root, gradient, runner.made),
        lambda: BackwardForm(root, gradient, runner),
    )


def take_update(runner: PythonRunner, optimizer: Optimizer) -> bool:
    """See `WholeCalls.take_update`."""
    place = _place(runner)
    if place is None or not optimizer.is_plain or len(optimizer.params) != len(optimizer.state):
        return False
    return _take_or_learn(
        runner, place, place.update, lambda form: form.match(optimizer), lambda: UpdateForm(optimizer)
    )


def _take_or_learn(
    runner: PythonRunner,
    place: Place,
    known: list[Macro[AnyForm]],
    match: Callable[[AnyForm], Arguments | None],
    make: Callable[[], AnyForm],
) -> bool:
    """Takes the call at once if it is one of those `known`; otherwise it is looked at, to learn it (`note`)."""
    learn: Callable[[Key, Segment], None] | None = None
    for macro in known:
        arguments = match(macro.form)
        if arguments is not None:
            key = macro.form.key(runner, arguments)
            segment = macro.find(runner, arguments, key)
            if segment is not None:
                if key in macro.unused:
                    macro.unused.discard(key)
                    place.tries = 0
                return _take(runner, macro.form, segment, arguments)
            learn = macro.learn
        macro.form.let_go()
    place.tries += 1
    if place.tries > MOST_TRIES or runner.recorder is not None:
        return False
    try:
        form = make()
    except NotLearned:
        return False
    arguments = match(form)
    if arguments is not None:
        learn = learn or partial(_learn_form, known, form)
        runner.draft = Draft(runner, form, arguments, partial(learn, form.key(runner, arguments)))
    return False


def _learn_form(known: list[Macro[AnyForm]], form: AnyForm, key: Key, segment: Segment) -> None:
    del known[: 1 - MOST_FORMS]  # the oldest, if there are so many
    macro = Macro(form)
    macro.learn(key, segment)
    known.append(macro)


def note(runner: PythonRunner) -> None:
    """A call that was not taken has ended: learns it."""
    draft, runner.draft = runner.draft, None
    if draft is None:
        return
    left = draft.form.result() if runner.recorder is None else None
    draft.form.let_go()
    segment = None if left is None else draft.segment(runner, *left)
    if segment is not None:
        draft.learn(segment)


def _place(runner: PythonRunner) -> Place | None:
    runner.draft = None
    at = runner.at
    if not runner.walk.may_have_macros or runner.recorder is not None or not _are_classes_as_written():
        return None
    if at.macros is None:
        at.macros = Place()
    place: Place = at.macros
    return place


def _take(runner: PythonRunner, form: Form, segment: Segment, arguments: Arguments) -> bool:
    try:
        values = segment.take(runner, arguments) if runner.may_take(len(segment.nodes)) else None
        if values is None:
            return False
        form.finish(values, segment.order)
        runner.whole_calls += 1
        return True
    finally:
        form.let_go()
