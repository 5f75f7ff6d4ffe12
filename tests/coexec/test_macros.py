"""Macro operations: `backward()` and `step()` taken at once are the same as operation by operation."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import is_
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from plants import Plant, assert_is_found
from programs import data, parameter

import coexec
import minitensor as mt
from coexec.build import Program
from coexec.graph_side.runner_protocol import GraphRun
from coexec.python_side.macros import WORTH_WRITING
from coexec.python_side.python_runner import PythonRunner
from coexec.python_side.tape_match import make_leaves_matcher, make_tape_matcher, match_leaves, match_rows
from coexec.python_side.update_match import make_update_matcher, match_updates
from coexec.testing import LeaveEverywhere, assert_equivalent
from minitensor import functional as F
from minitensor.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from minitensor.tape import Node
from minitensor.value import Value

Step = Callable[[int], Any]
OPTIMIZERS: dict[str, Callable[[list[mt.Tensor]], Optimizer]] = {
    "sgd": lambda p: SGD(p, lr=2**-7),
    "momentum": lambda p: SGD(p, lr=2**-7, momentum=0.25),
    "nesterov": lambda p: SGD(p, lr=2**-7, momentum=0.25, nesterov=True, weight_decay=0.125),
    "adam": lambda p: Adam(p, lr=0.125),
    "adam with decay": lambda p: Adam(p, lr=0.125, weight_decay=0.25),
    "adamw": lambda p: AdamW(p, lr=0.125, weight_decay=0.25),
    "rmsprop": lambda p: RMSprop(p, lr=2**-7),
    "rmsprop with momentum": lambda p: RMSprop(p, lr=2**-7, momentum=0.25, weight_decay=0.125),
    "adagrad": lambda p: Adagrad(p, lr=0.125, lr_decay=0.125),
}


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


class Training:
    """Two layers and a loss; `events[i]` happens in step i.

    No step can overflow, whatever is drawn.  Each loss has a bounded slope in what `tanh` takes (2 at most, of "several
    outputs") and in `h` (1), inputs are at most 3, rows at most 7: with parameters of at most m a gradient is at most
    2 * 7 * 13 * m + 21.  Six events add up to eight of them, and momentum doubles them: SGD's m grows less than 24
    times a step at a rate of 1/128, from 3 to less than 1e23 in 16.  Other optimisers take steps that do not grow with
    the gradient.
    """

    def __init__(self, optimizer: str, events: dict[int, str], loss: str = "squares") -> None:
        self.params = [parameter(4, 3), parameter(3), parameter(3, 2)]
        self.optimizer = OPTIMIZERS[optimizer](self.params)
        self.events = events
        self.loss = loss
        self.leaves: list[mt.Tensor] = []  # of the step, beside the parameters
        self.seen: list[Any] = []

    def forward(self, i: int) -> mt.Tensor:
        w, b, v = self.params
        rows = 5 + i % 3 if self.loss in ("sizes", "mean", "sizes as numbers") else 5
        x = data(rows, 4, offset=i)
        if self.loss == "sizes":
            x.requires_grad = True
            self.leaves = [x]
        h = F.relu(x @ w + b)
        out = mt.tanh(h @ v)
        if self.loss == "labels":
            return F.cross_entropy(out, mt.asarray(np.arange(5) % 2))
        if self.loss == "rows":  # the gradient's rule can fail on the contents of the indices
            return (out[mt.asarray((np.arange(4) * i) % 5)] ** 2).sum() * 0.125
        if self.loss == "shared":
            return (out * out).sum() * 0.125 + (w + w).sum() * 0.5 + b.sum()
        if self.loss == "sizes":
            weights = data(rows, 2, offset=i)  # a feed of the gradient alone
            return (out * weights).sum() * 0.125
        if self.loss == "mean":
            return mt.mean(h)  # divided by another number for each size
        if self.loss == "sizes as numbers":  # an image has its sizes as numbers, so that 1 / n is another in each
            image = mt.reshape(out, (1, 1, rows, 2))
            return mt.mean(F.conv2d(image, mt.ones((1, 1, 2, 2)), padding=1))
        if self.loss == "numbers":
            return (out * (1.0 + i % 3)).sum() * 0.125
        if self.loss == "schedule":  # numbers that are new in each step, one of them unused by the gradient
            return ((out * (1.0 + i / 16)).sum() + i * 0.5) / (3.0 + i)
        if self.loss == "one object or two":  # the same number for two operands, then two numbers
            rate = 1.0 + i / 16
            other = rate if i < 8 else 2.0 * rate
            return (out * rate).sum() * 0.125 + h.sum() / other
        if self.loss == "powers":  # the rule computes others from them
            return ((out * out + 1.0) ** (1.0 + i / 16)).sum() * 0.125
        if self.loss == "several outputs":
            low, high = mt.min(out, axis=0), mt.max(out, axis=0)
            return (high - low).sum() + out.sum()
        return (out * out).sum() * 0.125

    def __call__(self, i: int) -> Any:
        event = self.events.get(i, "")
        if event != "accumulate":
            self.optimizer.zero_grad()
        before(event, self)
        loss = self.forward(i)
        if event == "two losses":
            (loss * 0.5).backward()
            self.forward(i + 1).backward()
        elif event == "again":
            loss.backward()
            loss.backward()
        elif event == "explicit":
            loss.backward(mt.asarray(2.0))
        elif event == "create graph":
            loss.backward(create_graph=True)
        else:
            loss.backward()
        behind(event, self)
        grads = [p.grad for p in (*self.params, *self.leaves)]
        self.optimizer.step()
        after(event, self)
        shared = [[a is b for b in grads] for a in grads]
        states = [list(state) for state in self.optimizer.state]
        return float(loss.detach()), shared, states, [g is None or (g.requires_grad, g.detach()) for g in grads]


def before(event: str, run: Training) -> None:
    w, b, _ = run.params
    if event == "freeze":
        b.requires_grad = False
    elif event == "thaw":
        b.requires_grad = True
    elif event == "rate":
        run.optimizer.lr *= 0.5
    elif event == "form":
        name = "betas" if isinstance(run.optimizer, Adam) else "momentum"
        setattr(run.optimizer, name, (0.5, 0.75) if name == "betas" else 0.5)
    elif event == "new leaf":
        w.requires_grad = False
        w.requires_grad = True


def behind(event: str, run: Training) -> None:
    w, b, v = run.params
    if event == "none":
        b.grad = None
    elif event == "clip" and w.grad is not None:
        w.grad = w.grad * 0.5
    elif event == "given":
        v.grad = data(3, 2, offset=1)
    elif event == "same":
        w.grad = None if w.grad is None else w.grad.detach()
    elif event == "read" and w.grad is not None:
        run.seen.append(float(w.grad.sum()))
    elif event == "update":
        run.optimizer.update = Patched(run)  # type: ignore[method-assign]
    elif event == "no update":
        run.optimizer.__dict__.pop("update", None)


def after(event: str, run: Training) -> None:
    w, _, v = run.params
    if event == "leave":
        run.seen.append((w * 0.5).sum() + v.sum())
    elif event == "load":
        run.optimizer.load_state_dict(run.optimizer.state_dict())
    elif event == "data":
        w.data = data(4, 3, offset=2)


class Patched:
    """An update that somebody put in the place of the optimiser's own."""

    def __init__(self, run: Training) -> None:
        self.run = run

    def __call__(self, param: mt.Tensor, grad: mt.Tensor, state: Any) -> None:
        self.run.seen.append(param.ndim)
        param -= grad * 2**-7


EVENTS = [
    "accumulate", "two losses", "again", "explicit", "create graph", "freeze", "thaw", "rate", "form", "new leaf",
    "none", "clip", "given", "same", "read", "update", "no update", "leave", "load", "data",
]  # fmt: skip
LOSSES = [
    "squares", "labels", "rows", "shared", "several outputs", "schedule",
    "sizes", "mean", "sizes as numbers", "numbers",
]  # fmt: skip
NEW_NUMBERS = ["one object or two", "powers"]  # for which not every call can be taken at once


def same_numbers(received: Any, expected: Any) -> None:
    """Bit by bit, NaN included: the reference runner uses the eager rules."""
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize(
    ("optimizer", "loss"), [*[(o, "labels") for o in OPTIMIZERS], *[("adamw", loss) for loss in LOSSES]]
)
def test_calls_are_taken_at_once(optimizer: str, loss: str) -> None:
    sizes = 3 if loss in LOSSES[6:] else 1
    report = assert_equivalent(lambda: Training(optimizer, {}, loss), steps=4 + 8 * sizes, coexecuted=8)
    assert report.whole_calls >= 2 * (report.coexecuted_steps - 2 * sizes), report


def test_each_group_of_parameters_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups with hyperparameters of their own, each with a rate that is another one in each step."""

    def grouped(params: list[mt.Tensor]) -> Optimizer:
        return SGD([{"params": params[:2]}, {"params": params[2:], "lr": 2**-6, "momentum": 0.25}], lr=2**-7)

    class Scheduled(Training):
        def __call__(self, i: int) -> Any:
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.5 if i % 2 else 2.0
            return super().__call__(i)

    monkeypatch.setitem(OPTIMIZERS, "grouped", grouped)
    report = assert_equivalent(lambda: Scheduled("grouped", {}), steps=12, coexecuted=8)
    assert report.whole_calls >= 3 * (report.coexecuted_steps - 2), report


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
def test_what_differs_is_noticed(optimizer: str, event: str) -> None:
    """Each event once without the graph knowing of it, and twice more when it does."""
    events = {5: event, 9: event, 11: event}
    report = assert_equivalent(lambda: Training(optimizer, events), steps=13, coexecuted=1)
    assert report.whole_calls, report


@pytest.mark.parametrize(("optimizer", "loss"), [("momentum", "shared"), ("adamw", "labels")])
def test_steps_that_leave_inside_and_behind(optimizer: str, loss: str) -> None:
    """A step leaves at every operation in turn: before, inside and behind calls that the step before took at once."""
    trouble = LeaveEverywhere()
    report = assert_equivalent(lambda: Training(optimizer, {}, loss), steps=110, trouble=trouble, coexecuted=20)
    assert trouble.left >= 40, trouble.left
    assert report.whole_calls, report


def test_leaves_die_as_they_do_eagerly() -> None:
    """A leaf of the step is gone when the step is, whether its `backward` was taken at once or not."""
    refs: list[Any] = []
    y = parameter(3)

    def step(i: int) -> Any:
        x = mt.asarray(np.full(3, i, np.float32), requires_grad=True)
        refs.append(weakref.ref(x))
        if i % 2:
            y.grad = None  # what was learned for the other steps is compared, and found not to fit, behind `x`
        (x * y).sum().backward()
        assert x.grad is not None
        return x.grad * 1.0

    wrapped = coexec.coexecute(step)
    for i in range(16):
        wrapped(i)
        coexec.wait()
        assert refs[-1]() is None, i
    assert wrapped.report().whole_calls


class Watched(PythonRunner):
    """Writes down what a step has done, in the end."""

    __slots__ = ("paths",)
    at_once = True

    def may_take(self, operations: int) -> bool:
        return self.at_once

    def end(self) -> Any:
        alive = sorted((p.index, p.output) for _, p in self.log.live())
        phis = [None if o is None else o.number for o in self.phis]
        bound = [x is not None if x is None or isinstance(x, Value) else x for x in self.bound]
        self.paths.append(([node.number for node in self.path], alive, phis, bound))
        return super().end()


class WatchedStepwise(Watched):
    __slots__ = ()
    at_once = False


def paths_of(kind: type[Watched], make: Callable[[], Step], steps: int) -> tuple[list[Any], list[Any], int]:
    paths: list[Any] = []

    def runner(program: Program, run: GraphRun, root: Any) -> PythonRunner:
        made = kind(program.walk, run, root)
        made.paths = paths
        return made

    step = coexec.coexecute(make())
    step.session.make_runner = runner
    results = []
    for i in range(steps):
        results.append(repr(step(i)))
        coexec.wait()
    return results, paths, step.report().whole_calls


@given(
    st.sampled_from(sorted(OPTIMIZERS)),
    st.sampled_from([*LOSSES, *NEW_NUMBERS]),
    st.dictionaries(st.integers(3, 13), st.sampled_from(EVENTS), max_size=6),
)
@settings(max_examples=12, deadline=None)
def test_at_once_is_operation_by_operation(optimizer: str, loss: str, events: dict[int, str]) -> None:
    """The same path, the same values alive, the same feeds sent, the same phis, in every step."""
    received = paths_of(Watched, lambda: Training(optimizer, events, loss), 16)
    expected = paths_of(WatchedStepwise, lambda: Training(optimizer, events, loss), 16)
    assert expected[2] == 0
    assert received[:2] == expected[:2]


def same_parts(found: Any, expected: Any) -> bool:
    """Whether two matchers say the same: both no, or lists of the very same objects."""
    if found is None or expected is None:
        return found is expected
    return len(found) == len(expected) and all(map(is_, found, expected))


@pytest.mark.parametrize("event", ["accumulate", "none", "new leaf"])
def test_leaves_and_updates_written_out_are_those_of_the_loops(event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On parameters and states that have the form and on those that do not."""
    answers: set[tuple[str, bool]] = set()

    def both_leaves(rows: Any) -> Any:
        written = make_leaves_matcher(rows)

        def match(leaves: Any, arguments: Any) -> Any:
            known = list(arguments)
            found, expected = written(leaves, arguments), match_leaves(rows, leaves, known)
            answers.add(("leaves", found is None))
            assert same_parts(found, expected)
            assert found is None or same_parts(arguments, known)
            return found

        return match

    def both_updates(patterns: Any) -> Any:
        written = make_update_matcher(patterns)

        def match(params: Any, states: Any) -> Any:
            found, expected = written(params, states), match_updates(patterns, params, states)
            answers.add(("update", found is None))
            assert (found is None) == (expected is None)
            if found is not None and expected is not None:
                assert same_parts(found[0], expected[0]) and found[1] is expected[1]
            return found

        return match

    monkeypatch.setattr("coexec.python_side.macros.make_leaves_matcher", both_leaves)
    monkeypatch.setattr("coexec.python_side.macros.make_update_matcher", both_updates)
    monkeypatch.setattr("coexec.python_side.macros.WORTH_WRITING", 1)
    for optimizer in ("nesterov", "adamw"):
        paths_of(Watched, partial(Training, optimizer, dict.fromkeys((5, 9, 11, 14), event)), 17)
    assert {("leaves", False), ("update", False)} < answers


def test_matchers_are_written_once_for_what_comes_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def counted(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def making(*arguments: Any) -> Any:
            written.append(name)
            return make(*arguments)

        return making

    for make in (make_tape_matcher, make_leaves_matcher, make_update_matcher):
        monkeypatch.setattr(f"coexec.python_side.macros.{make.__name__}", counted(make.__name__, make))
    counts = []
    step = coexec.coexecute(Training("adamw", {}))
    for i in range(12):
        step(i)
        coexec.wait()
        counts.append(len(written))
    assert sorted(written) == ["make_leaves_matcher", "make_tape_matcher", "make_update_matcher"]
    assert counts[-1] > counts[WORTH_WRITING - 1] == 0  # not before they have matched so often


def test_operations_that_have_one_form_are_validated_the_short_way() -> None:
    """Without the comparison that tells what is wrong with others."""
    compared: list[str] = []

    class Compared(PythonRunner):
        __slots__ = ()

        def matches(self, node: Any, op: Any, inputs: Any, attributes: Any) -> bool:
            compared.append(op.name)
            return super().matches(node, op, inputs, attributes)

    x = data(3, 4)
    step = coexec.coexecute(lambda k: mt.tanh((x + k) * x).sum())
    step.session.make_runner = lambda program, run, root: Compared(program.walk, run, root)
    for k in (1.0, 1.0, 1.0, 1.0, 2.0):
        step(k)
        coexec.wait()
    report = step.report()
    assert report.coexecuted_steps == 2 and report.fallbacks == 1, report
    assert set(compared) == {"add"}  # of the other number


@dataclass(frozen=True)
class Leaf:
    """A leaf of a tape, as far as matchers look."""

    order: int
    of: Any

    def tensor(self) -> Any:
        return self.of


tensors = [mt.asarray(np.float32(i)) for i in range(3)]
tensors[1].grad = mt.asarray(np.float32(3.0))


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([*tensors, None])), min_size=3, max_size=3),
)
@example([(True, False), (True, False)], [(3, tensors[0]), (2, tensors[0]), (1, None)])  # one tensor, two leaves
@example([(True, False), (True, False)], [(3, tensors[0]), (2, tensors[2]), (1, None)])
def test_any_leaves_are_matched_as_by_the_loop(rows: list[tuple[bool, bool]], drawn: list[tuple[int, Any]]) -> None:
    leaves = [Leaf(*leaf) for leaf in drawn[: len(rows)]]
    arguments: list[list[Any]] = [[], []]
    found, expected = make_leaves_matcher(rows)(leaves, arguments[0]), match_leaves(rows, leaves, arguments[1])
    assert same_parts(found, expected)
    assert found is None or same_parts(*arguments)


@pytest.mark.parametrize("loss", ["squares", "shared", "several outputs", "schedule"])
def test_a_matcher_written_out_says_what_the_loop_says(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On tapes that have the form and on those that do not."""
    answers: set[bool] = set()

    def both(rows: Any, leaves: Any) -> Any:
        written = make_tape_matcher(rows, leaves)

        def match(root: Any, made: Any) -> Any:
            found, expected = written(root, made), match_rows(rows, leaves, root, made)
            answers.add(found is None)
            assert (found is None) == (expected is None)
            for ours, theirs in zip(found or (), expected or (), strict=True):
                assert len(ours) == len(theirs) and all(map(is_, ours, theirs))
            return found

        return match

    monkeypatch.setattr("coexec.python_side.macros.make_tape_matcher", both)
    monkeypatch.setattr("coexec.python_side.macros.WORTH_WRITING", 1)
    events = dict.fromkeys((5, 9, 11), "freeze") | dict.fromkeys((14, 17, 19), "new leaf")
    paths_of(Watched, lambda: Training("momentum", events, loss), 21)
    assert answers == {False, True}


# --- a test of the tests ---------------------------------------------------------------------------------------


def operands_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.python_side.segment.Segment.admits", lambda self, runner, arguments: True)


def gradients_there_already_are_replaced(patch: pytest.MonkeyPatch) -> None:
    def targets(rows: Any, leaves: list[Any], arguments: list[Any]) -> list[Any]:
        return [leaf.tensor() for leaf in leaves]

    patch.setattr("coexec.python_side.macros.match_leaves", targets)
    patch.setattr("coexec.python_side.macros.make_leaves_matcher", lambda rows: partial(targets, rows))


def parents_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    """A parameter frozen since gets a gradient all the same, through the leaf that it had."""
    from coexec.python_side.macros import BackwardForm

    match = BackwardForm.match
    leaves: dict[int, Any] = {}

    def remembered(self: Any, root: Any, gradient: Any, made: Any) -> Any:
        found = match(self, root, gradient, made)
        if found is not None:
            leaves[id(self)] = (list(found), list(self.targets))
        elif id(self) in leaves:
            found, self.targets = leaves[id(self)]
        return found

    patch.setattr(BackwardForm, "match", remembered)
    patch.setattr("coexec.python_side.segment.Segment.admits", lambda self, runner, arguments: True)


def sizes_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.python_side.macros.BackwardForm.key", lambda self, runner, arguments: ((), ()))


def replaced_methods_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Optimizer, "is_plain", True)


def hyperparameters_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Optimizer, "is_plain", True)  # although these are replaced
    patch.setattr(SGD, "form", lambda self: ())
    patch.setattr(SGD, "numbers", lambda self, state: (2**-7, 0.25, 0.125))


def steps_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    from coexec.python_side.macros import UpdateForm

    finish = UpdateForm.finish

    def uncounted(self: Any, values: Any) -> None:
        counts = [state.get("step") for state in self._optimizer.state]
        optimizer = self._optimizer
        finish(self, values)
        for state, count in zip(optimizer.state, counts, strict=True):
            if count is not None:
                state["step"] = count

    patch.setattr(UpdateForm, "finish", uncounted)


def results_are_swapped(patch: pytest.MonkeyPatch) -> None:
    from coexec.python_side.segment import Segment

    take = Segment.take
    patch.setattr(Segment, "take", lambda self, *them: None if (v := take(self, *them)) is None else v[::-1])


def the_path_is_a_node_short(patch: pytest.MonkeyPatch) -> None:
    from coexec.python_side.segment import Segment

    take = Segment.take

    def short(self: Any, runner: Any, arguments: Any) -> Any:
        values = take(self, runner, arguments)
        del runner.path[-2:-1]
        return values

    patch.setattr(Segment, "take", short)


def selections_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    from coexec.python_side.segment import Segment

    take = Segment.take

    def forgetting(self: Any, runner: Any, arguments: Any) -> Any:
        phis = list(runner.phis)
        values = take(self, runner, arguments)
        runner.phis[:] = phis
        return values

    patch.setattr(Segment, "take", forgetting)


def all_rules_are_thought_to_pass_numbers_on(patch: pytest.MonkeyPatch) -> None:
    from coexec.python_side.macros import BackwardForm

    add = BackwardForm._add

    def every(self: Any, entry: Any, parents: Any, runner: Any) -> None:
        count = self._count
        add(self, entry, parents, runner)
        if type(entry) is Node:
            self.passed |= {count + k for k, x in enumerate(entry.inputs) if type(x) is float}
            self._compared = [k for k in self._compared if k not in self.passed]

    patch.setattr(BackwardForm, "_add", every)


def two_uses_of_a_number_are_taken_for_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.python_side.draft.Draft._is_passed", lambda self, position: position in self.passed)


BUGS: list[Plant] = [
    operands_are_not_compared, gradients_there_already_are_replaced, parents_are_not_compared,
    replaced_methods_are_not_noticed, hyperparameters_are_not_compared, steps_are_not_counted, results_are_swapped,
    the_path_is_a_node_short, selections_are_forgotten, sizes_are_not_compared,
    all_rules_are_thought_to_pass_numbers_on, two_uses_of_a_number_are_taken_for_one,
]  # fmt: skip


def find() -> None:
    """Runs trainings until one fails."""
    for events in ({5: "accumulate"}, {5: "freeze", 7: "thaw"}, {5: "update"}, {5: "rate", 8: "form"}):
        for optimizer in ("nesterov", "adamw"):
            make = partial(Training, optimizer, events)
            assert paths_of(Watched, make, 12)[:2] == paths_of(WatchedStepwise, make, 12)[:2], events
    for loss in ("sizes", "powers", "one object or two"):
        make = partial(Training, "momentum", {}, loss)
        assert paths_of(Watched, make, 16)[:2] == paths_of(WatchedStepwise, make, 16)[:2], loss


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__)
def test_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_is_found(plant, monkeypatch, find)


def test_nothing_is_found_without_a_bug() -> None:
    find()
