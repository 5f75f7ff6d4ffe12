"""Forms of `backward()` and `step()`: what is compared of a call, what is kept of those that were learned, and for how
long one goes on looking at calls to learn from them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from alone import begin, observed, walk_of

import coexec
import minitensor as mt
from coexec.python_side.macros import (
    BackwardForm,
    Macro,
    NotLearned,
    Place,
    UpdateForm,
    _learn_form,
    _take,
    take_backward,
    take_update,
)
from coexec.python_side.python_runner import PythonRunner
from coexec.python_side.walk import Walk
from coexec.reports.report import Report
from coexec.traces.promise import empty_value, make_promise
from minitensor import functional as F
from minitensor.ops.opdef import REGISTRY
from minitensor.optim import SGD, Adagrad, Adam
from minitensor.tape import Node, Part
from minitensor.value import local


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


def parameter(*shape: int) -> mt.Tensor:
    tensor = mt.asarray(np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape) / 8.0)
    tensor.requires_grad = True
    return tensor


def whole_calls(step: Any, inputs: list[Any]) -> list[int]:
    """How many calls were taken at once in each step with these inputs."""
    found, before = [], 0
    for x in inputs:
        step(x)
        coexec.wait()
        found.append(step.report().whole_calls - before)
        before += found[-1]
    return found


# --- what is kept -------------------------------------------------------------------------------------------------


class Learned:
    """A segment, as far as a macro looks."""

    def __init__(self, *admitted: int) -> None:
        self.admitted = admitted

    def admits(self, runner: Any, arguments: list[int]) -> bool:
        return arguments[0] in self.admitted


def key(number: int) -> Any:
    return (("n", number),), ()


def test_the_first_segment_that_admits_a_call_is_found() -> None:
    macro: Any = Macro(SimpleNamespace())
    first, second, other = Learned(1), Learned(1, 2), Learned(3)
    for k, segment in ((1, first), (1, second), (2, other)):
        macro.learn(key(k), segment)
    assert macro.find(None, [1], key(1)) is first and macro.find(None, [2], key(1)) is second
    assert macro.find(None, [3], key(1)) is None and macro.find(None, [3], key(2)) is other
    assert macro.find(None, [3], key(3)) is None


def test_of_one_size_the_four_latest_segments_are_kept() -> None:
    macro: Any = Macro(SimpleNamespace())
    segments = [Learned(i) for i in range(6)]
    for count, segment in enumerate(segments, 1):
        macro.learn(key(1), segment)
        assert macro.segments == {key(1): segments[max(0, count - 4) : count]}
    assert macro.unused == {key(1)}


def test_of_one_form_sixty_four_sizes_are_kept() -> None:
    macro: Any = Macro(SimpleNamespace())
    for k in range(64):
        macro.learn(key(k), Learned(k))
    macro.learn(key(0), Learned(0))  # one that is known drives none out
    assert list(macro.segments) == [key(k) for k in range(64)] and len(macro.segments[key(0)]) == 2
    macro.learn(key(64), Learned(64))
    assert list(macro.segments) == [key(k) for k in range(1, 65)]
    assert macro.unused == {key(k) for k in range(1, 65)}


def test_of_one_place_eight_forms_are_kept() -> None:
    known: list[Any] = []
    forms: list[Any] = [SimpleNamespace(name=i) for i in range(10)]
    for form in forms:
        segment: Any = Learned(1)
        _learn_form(known, form, key(1), segment)
        assert known[-1].form is form and known[-1].segments == {key(1): [segment]}
    assert [macro.form for macro in known] == forms[2:]


# --- how long one looks -------------------------------------------------------------------------------------------


GRADIENT = mt.asarray(np.ones(3, np.float32))
BORROWED = mt.asarray(np.ones(3, np.float32), copy=False)  # of a call with memory of others nothing is learned


def given(gradient: mt.Tensor) -> None:
    W.grad = None
    mt.tanh(W * 2.0).backward(gradient)


W = parameter(3)


class Looked(PythonRunner):
    """Notes whether a call was looked at, to learn from it."""

    __slots__ = ("looked",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.looked = False

    def note_backward(self) -> None:
        self.looked |= self.draft is not None
        super().note_backward()


def go(walk: Walk, function: Callable[..., Any], *inputs: Any) -> str:
    """What a step does with its call."""
    runner, _ = begin(walk, Looked)
    with observed(runner):
        function(*inputs)
    assert isinstance(runner, Looked) and runner.recorder is None and runner.at.ends is not None
    assert runner.draft is None
    return "taken" if runner.whole_calls else "looked at" if runner.looked else "passed by"


def place_of(walk: Walk) -> Place:
    node = walk.start
    while node.macros is None:
        (node,) = node.children
    place: Place = node.macros
    return place


def test_calls_of_which_nothing_was_learned_are_looked_at_sixteen_times() -> None:
    walk = walk_of(given, (GRADIENT,))
    assert [go(walk, given, BORROWED) for _ in range(18)] == ["looked at"] * 16 + ["passed by"] * 2
    assert not place_of(walk).backward
    assert [go(walk, given, GRADIENT) for _ in range(2)] == ["passed by"] * 2


def test_what_was_of_use_makes_calls_worth_looking_at_again() -> None:
    walk = walk_of(given, (GRADIENT,))
    assert go(walk, given, GRADIENT) == "looked at" and place_of(walk).tries == 1
    assert [go(walk, given, BORROWED) for _ in range(15)] == ["looked at"] * 15
    assert go(walk, given, GRADIENT) == "taken" and place_of(walk).tries == 0  # it is of use now
    assert [go(walk, given, BORROWED) for _ in range(15)] == ["looked at"] * 15
    assert go(walk, given, GRADIENT) == "taken" and place_of(walk).tries == 15  # as was known
    assert [go(walk, given, BORROWED) for _ in range(2)] == ["looked at", "passed by"]
    assert len(place_of(walk).backward) == 1


def test_a_call_of_a_form_that_is_known_is_learned_beside_the_others() -> None:
    """Another number, which the rule computes with, is another key of one form."""

    def function(k: float) -> None:
        W.grad = None
        (W**k).backward(GRADIENT)

    walk = walk_of(function, (2.5,), (3.5,))
    for number in (4.5, 5.5):
        assert [go(walk, function, number) for _ in range(2)] == ["looked at", "taken"]
    (macro,) = place_of(walk).backward
    assert [numbers for _, numbers in macro.segments] == [(4.5,), (5.5,)] and not macro.unused


def test_calls_of_several_forms_are_each_taken_at_once() -> None:
    """Where the gradient is given, and where it is not."""

    def function(ways: list[bool]) -> None:
        W.grad = None
        y = mt.exp(W).sum()
        y.backward(ONE if ways[0] else None)

    walk = walk_of(function, ([True],), ([False],))
    found = [go(walk, function, [way]) for way in (True, False, True, False)]
    assert found == ["looked at"] * 2 + ["taken"] * 2
    assert len(place_of(walk).backward) == 2


ONE = mt.asarray(np.float32(1.0))


# --- which calls are considered ---------------------------------------------------------------------------------


def test_a_graph_with_folded_loops_has_no_macros() -> None:
    def function(rounds: int) -> None:
        W.grad = None
        with mt.no_grad():
            x = mt.exp(W)
            for _ in range(rounds):
                x = mt.sin(mt.abs(x))
        (W * x).backward(GRADIENT)

    step = coexec.coexecute(function)
    assert sum(whole_calls(step, [2, 3, 4, 5, 6, 7, 8, 4, 4, 4])) == 0
    assert step.session.traces.lessons.folded and step.report().coexecuted_steps > 2


def test_nothing_is_considered_without_a_tape_behind_the_graph_or_with_other_operators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walk = walk_of(given, (GRADIENT,))
    for change, considered in ((False, True), (True, False)):
        with monkeypatch.context() as patch:
            if change:
                patch.setattr(mt.Tensor, "__add__", lambda self, other: self)
            runner, _ = begin(walk)
            with observed(runner):
                y = mt.tanh(W * 2.0)
                assert not take_backward(runner, y, GRADIENT) and (runner.draft is not None) == considered
                assert not take_backward(runner, GRADIENT, GRADIENT) and runner.draft is None  # it has no tape
                runner.leave("planned")
                assert not take_backward(runner, y, GRADIENT) and runner.draft is None


def test_a_backward_within_a_backward_is_not_considered() -> None:
    walk = walk_of(given, (GRADIENT,))
    runner, _ = begin(walk)
    with observed(runner):
        y = mt.tanh(W * 2.0)
        local.differentiating = y.node
        try:
            assert not take_backward(runner, y, GRADIENT) and runner.draft is None
        finally:
            local.differentiating = None
        assert not take_backward(runner, y, GRADIENT) and runner.draft is not None


# --- backward -----------------------------------------------------------------------------------------------------


def form_of(function: Callable[[], mt.Tensor], gradient: mt.Tensor | None = GRADIENT) -> tuple[Any, Any, PythonRunner]:
    """The form of `backward` of what a step makes; its root."""
    runner, _ = begin(walk_of(function))
    with observed(runner):
        root = function()
    return BackwardForm(root.node, gradient, runner), root, runner


def test_the_form_of_a_tape_has_entries_in_the_order_in_which_they_are_come_to() -> None:
    v = parameter(3)
    form, root, runner = form_of(lambda: mt.tanh(v * 2.0) + W * v)
    left, right = root.node.parents
    names = [None if op is None else op.name for _, op, _, _ in form.rows]
    assert names == ["add", "tanh", "multiply", "multiply", None, None]
    assert [parents for *_, parents in form.rows] == [(1, 2), (3,), (4, 5), (5, None), (), ()]
    numbers = [node.outputs[0].pending.source.number for node in (root.node, left, right, left.parents[0])]
    assert [number for _, _, number, _ in form.rows] == [*numbers, None, None]
    W.grad, v.grad = None, GRADIENT
    assert W.node is not None and v.node is not None and W.node.order < v.node.order
    found = BackwardForm(root.node, None, runner).leaves  # the youngest leaf first
    assert found == [(5, True, True), (4, True, False)]


def test_numbers_that_rules_pass_on_are_told_from_those_that_they_compute_with() -> None:
    """By their positions among all operands, behind each other entry by entry; outputs count where they are several."""
    form, root, runner = form_of(lambda: mt.exp(W * 2.0) ** 3.0)
    arguments = form.match(root.node, GRADIENT, runner.made)
    assert arguments is not None
    assert [arguments[k] for k in sorted(form.passed)] == [2.0]
    assert form.key(runner, arguments) == ((), (3.0,))

    batch, vector = parameter(4, 3), mt.ones((3,))

    def normalised() -> mt.Tensor:
        mean, var = mt.ones((3,)), mt.ones((3,))
        return F.batch_norm(batch * 2.0, mean, var, W, vector, training=True) ** 3.0

    form, root, runner = form_of(normalised)
    assert [kind for kind, *_ in form.rows[1:3]] == [Part, Node]  # one of several outputs
    arguments = form.match(root.node, GRADIENT, runner.made)
    assert arguments is not None and form.key(runner, arguments) == ((), (3.0, 0.1))
    assert [arguments[k] for k in sorted(form.passed)] == [2.0]


def test_operations_of_several_outputs_have_these_among_the_operands() -> None:
    """An operation of two outputs between two with a number, as none of this project is yet that a graph can have."""
    walk = walk_of(lambda: mt.exp(W))
    runner, _ = begin(walk)

    def made(name: str, *inputs: Any, parents: tuple[Any, ...], outputs: int = 1) -> Node:
        values = tuple([empty_value((3,), GRADIENT.dtype) for _ in range(outputs)])
        for i, value in enumerate(values):
            make_promise(value, runner.log, 0, i, walk.outputs[0])
        return Node(REGISTRY[name], inputs, parents, values, {})

    leaf = W.node
    below = made("pow", W.value, 2.5, parents=(leaf, None))
    several = made("eigh", below.outputs[0], parents=(below,), outputs=2)
    part = Part(several, 1)
    root = made("pow", several.outputs[1], 3.0, parents=(part, None))
    form = BackwardForm(root, None, runner)
    assert form._compared == [1, 6] and [row[2] for row in form.rows] == [0, 1, 0, 0, None]


def test_sizes_are_part_of_the_key() -> None:
    form, root, runner = form_of(lambda: mt.exp(W * 2.0))
    arguments = form.match(root.node, GRADIENT, runner.made)
    assert arguments is not None
    runner.symbols.update(n=3, m=4)
    assert form.key(runner, arguments) == ((("n", 3), ("m", 4)), ())


@pytest.mark.parametrize(("learned", "later", "same"), [
    (None, None, True), (GRADIENT, GRADIENT, True), (GRADIENT, BORROWED, True), (None, GRADIENT, False),
    (GRADIENT, None, False), (GRADIENT, mt.ones((1,)), False), (GRADIENT, mt.astype(GRADIENT, mt.float64), False),
    (GRADIENT, mt.nn.Parameter(GRADIENT), True),
])  # fmt: skip
def test_a_gradient_that_is_given_is_of_the_same_type(learned: Any, later: Any, same: bool) -> None:
    form, root, runner = form_of(lambda: mt.exp(W), learned)
    for _ in range(5):  # written out from the third on
        found = form.match(root.node, later, runner.made)
        assert (found is not None) == same
        if same and later is not None:
            assert found is not None and found[-1] is later.value


class OtherTensor(mt.Tensor):
    """A tensor whose operators may be any."""


def test_a_gradient_with_other_operators_is_not_known() -> None:
    form, root, runner = form_of(lambda: mt.exp(W))
    assert form.match(root.node, OtherTensor(GRADIENT.value), runner.made) is None


def test_matchers_are_written_out_at_the_third_call_that_fits() -> None:
    form, root, runner = form_of(lambda: mt.exp(W))
    before = form._matcher, form._leaves_matcher
    form.match(runner.made, GRADIENT, runner.made)  # some other root
    for call in range(1, 5):
        form.match(root.node, GRADIENT, runner.made)
        assert (form._matcher is before[0], form._leaves_matcher is before[1]) == (call < 3,) * 2
        if call == 3:
            written = form._matcher, form._leaves_matcher
    assert written == (form._matcher, form._leaves_matcher)


def test_what_no_rule_of_this_project_makes_is_not_learned() -> None:
    def learned(function: Callable[[], mt.Tensor], root: mt.Tensor | None = None) -> bool:
        runner, _ = begin(walk_of(function))
        with observed(runner):
            made = function()
        try:
            BackwardForm((made if root is None else root).node, None, runner)
        except NotLearned:
            return False
        return True

    smooth = mt.operator(
        "def smooth(float(N) x) -> (y) { y(i) = x(i) * x(i) }",
        grad="def smooth_grad(float(N) x, float(N) d_y) -> (d_x) { d_x(i) = 2.0 * x(i) * d_y(i) }",
    )
    before = mt.exp(W)
    assert learned(lambda: mt.exp(W))
    assert not learned(lambda: smooth(W)) and not learned(lambda: mt.exp(smooth(W)))
    assert not learned(lambda: mt.exp(W), before)  # made before the step
    assert not learned(lambda: mt.exp(before))
    assert not learned(lambda: mt.exp(W), W)  # a leaf itself


def test_a_call_that_cannot_be_learned_goes_one_by_one() -> None:
    def function(before: mt.Tensor) -> None:
        W.grad = None
        mt.exp(before).backward(GRADIENT)

    walk, before = walk_of(function, (mt.tanh(W),)), mt.tanh(W)
    assert [go(walk, function, before) for _ in range(2)] == ["passed by"] * 2
    assert place_of(walk).tries == 2
    optimizer = Adam([leaf(GRADIENT)], lr=0.5)
    optimizer.betas = [0.5, 0.75]  # type: ignore[assignment]
    runner, _ = begin(walk)
    assert not take_update(runner, optimizer) and runner.draft is None and walk.start.macros.tries == 1


def leaf(gradient: mt.Tensor | None = None) -> mt.Tensor:
    found = parameter(3)
    found.grad = gradient
    return found


def form_with(*targets: mt.Tensor) -> Any:
    form, _, _ = form_of(lambda: mt.exp(W))
    form.targets = list(targets)
    return form


def test_the_result_of_a_backward_is_its_gradients_each_once() -> None:
    g, h = mt.ones((3,)), mt.ones((3,))
    found = form_with(leaf(g), leaf(h), leaf(g), leaf(h)).result()
    assert found is not None
    values, order = found
    assert [value is x.value for value, x in zip(values, (g, h), strict=True)] == [True, True]
    assert order == (0, 1, 0, 1)
    recorded = mt.exp(parameter(3))
    for odd in (None, OtherTensor(g.value), recorded):  # a gradient that is on a tape came of `create_graph`
        assert form_with(leaf(g), leaf(odd)).result() is None


def test_leaves_get_the_gradients_that_they_shared() -> None:
    targets = [leaf(), leaf(), leaf()]
    form = form_with(*targets)
    values = [mt.ones((3,)).value, mt.ones((3,)).value]
    form.finish(values, (1, 0, 1))
    first, second, third = (target.grad for target in targets)
    assert first is third and first is not second
    assert first is not None and second is not None and first.value is values[1] and second.value is values[0]
    form.let_go()
    assert form.targets == []


def test_what_may_differ_between_calls_of_one_form() -> None:
    """Sizes of a tape, which are part of its key; numbers of an update, of which it makes no others."""
    backward, _, _ = form_of(lambda: mt.exp(W))
    update = UpdateForm(SGD([leaf(GRADIENT)], lr=0.5))
    assert (backward.numbers_vary, backward.has_sizes) == (False, True)
    assert (update.numbers_vary, update.has_sizes, update.passed) == (True, False, set())
    runner, _ = begin(walk_of(mt.exp, (W,)))
    assert update.key(runner, []) == ((), ())


@pytest.mark.parametrize(
    ("may", "values", "taken"), [(True, [1, 2], True), (True, None, False), (False, [1, 2], False)]
)
def test_a_call_is_finished_if_its_operations_were_taken(may: bool, values: Any, taken: bool) -> None:
    done: list[Any] = []
    runner: Any = SimpleNamespace(whole_calls=0, may_take=lambda count: done.append(count) or may)
    form: Any = SimpleNamespace(finish=lambda *them: done.append(them), let_go=lambda: done.append("let go"))
    segment: Any = SimpleNamespace(nodes=[None] * 3, order=(0, 1), take=lambda *them: values)
    assert _take(runner, form, segment, []) == taken == bool(runner.whole_calls)
    assert done == [3, *([([1, 2], (0, 1))] if taken else []), "let go"]


# --- updates ------------------------------------------------------------------------------------------------------


def with_gradients(*shapes: int) -> list[mt.Tensor]:
    return [leaf(mt.ones((3,))) for _ in shapes]


def test_an_update_has_the_form_of_its_class_numbers_and_states() -> None:
    params = with_gradients(3, 3)
    optimizer = SGD(params, lr=0.5, momentum=0.25)
    optimizer.step()
    form = UpdateForm(optimizer)
    assert form.patterns == [(("velocity",), ())] * 2 or [len(p[0]) for p in form.patterns if p] == [1, 1]
    for _ in range(5):
        arguments = form.match(optimizer)
        assert arguments is not None and arguments[-len(optimizer.numbers({})) :] == list(optimizer.numbers({}))
        state = [next(iter(s.values())).value for s in optimizer.state]
        expected = [x for p, s in zip(params, state, strict=True) for x in (p.value, p.grad.value, s)]  # type: ignore[union-attr]
        assert list(map(id, arguments[: len(expected)])) == list(map(id, expected))
    optimizer.lr = 0.125
    assert form.match(optimizer) is not None  # it is an operand
    optimizer.momentum = 0.5
    assert form.match(optimizer) is None
    optimizer.momentum = float("0.25")  # an equal number, not the same object
    assert form.match(optimizer) is not None
    assert form.match(SGD(params, lr=0.5, momentum=0.25)) is None  # it has no state yet
    assert form.match(SGD(params[:1], lr=0.5, momentum=0.25)) is None
    assert form.match(Adam(params, lr=0.5)) is None
    params[1].grad = None
    assert form.match(optimizer) is None


class Own(SGD):
    """With the numbers of another class, and an update that may be any."""


def test_classes_with_the_same_numbers_are_different_forms() -> None:
    params = with_gradients(3)
    form = UpdateForm(SGD(params, lr=0.5))
    assert Own(params, lr=0.5).form() == form.form
    assert form.match(SGD(params, lr=0.5)) is not None and form.match(Own(params, lr=0.5)) is None


def test_an_updates_matcher_is_written_out_at_the_third_call_that_fits() -> None:
    optimizer = SGD(with_gradients(3), lr=0.5)
    form = UpdateForm(optimizer)
    before = form._matcher
    written = []
    for _ in range(5):
        assert form.match(Adam(optimizer.params, lr=0.5)) is None
        form.match(optimizer)
        written.append(form._matcher)
    assert [matcher is before for matcher in written] == [True, True, False, False, False]
    assert written[2] is written[4]


def test_equal_numbers_of_another_type_are_another_form() -> None:
    optimizer = SGD(with_gradients(3), lr=0.5, momentum=0)
    form = UpdateForm(optimizer)
    assert form.match(optimizer) is not None
    optimizer.momentum = 0.0
    assert form.match(optimizer) is None


def test_an_update_that_will_raise_is_left_to_itself() -> None:
    optimizer = SGD(with_gradients(3), lr=0.5)
    form = UpdateForm(optimizer)

    def broken(state: Any) -> Any:
        raise ZeroDivisionError("planned")

    optimizer.numbers = broken  # type: ignore[method-assign]
    assert form.match(optimizer) is None


def test_hyperparameters_that_may_be_changed_in_place_are_not_learned() -> None:
    optimizer = Adam(with_gradients(3), lr=0.5)
    UpdateForm(optimizer)
    optimizer.betas = [0.5, 0.75]  # type: ignore[assignment]
    with pytest.raises(NotLearned):
        UpdateForm(optimizer)


@pytest.mark.parametrize(("kind", "count"), [(Adam, 6), (Adagrad, 4)])
def test_the_result_of_an_update_is_parameters_and_states_that_took_part(kind: Any, count: int) -> None:
    params = [leaf(mt.ones((3,))), leaf(), leaf(mt.ones((3,)))]
    optimizer = kind(params, lr=0.5)
    optimizer.step()
    form = UpdateForm(optimizer)
    assert form.match(optimizer) is not None
    found = form.result()
    tensors = [[x for x in state.values() if isinstance(x, mt.Tensor)] for state in optimizer.state]
    expected = [x.value for p, s in zip(params, tensors, strict=True) if s for x in (p, *s)]
    assert found is not None and list(map(id, found[0])) == list(map(id, expected)) and found[1] == ()
    assert len(expected) == count
    name = next(name for name, x in optimizer.state[2].items() if isinstance(x, mt.Tensor))
    kept = optimizer.state[2][name]
    for odd in (OtherTensor(kept.value), 2.0):
        optimizer.state[2][name] = odd
        assert form.result() is None
    del optimizer.state[2][name]
    assert form.result() is None
    optimizer.state[2][name] = kept
    assert form.result() is not None
    optimizer.state[0]["more"] = 1
    assert form.result() is None


def test_an_update_puts_its_results_in_place_and_counts() -> None:
    params = [leaf(mt.ones((3,))), leaf(), leaf(mt.ones((3,)))]
    optimizer = Adam(params, lr=0.5)
    optimizer.step()
    form = UpdateForm(optimizer)
    assert form.match(optimizer) is not None
    untouched = params[1].value
    names = [name for name, x in optimizer.state[0].items() if isinstance(x, mt.Tensor)]
    values = [mt.ones((3,)).value for _ in range(6)]
    counts = [state.get("step") for state in optimizer.state]
    form.finish(values, ())
    placed = [x for k in (0, 2) for x in (params[k].value, *[optimizer.state[k][name].value for name in names])]
    assert list(map(id, placed)) == list(map(id, values)) and params[1].value is untouched
    assert [state.get("step") for state in optimizer.state] == [counts[0] + 1, None, counts[2] + 1]
    form.let_go()
    assert form._optimizer is None


def test_updates_are_considered_if_they_are_what_was_written() -> None:
    w = leaf(GRADIENT)
    optimizer = SGD([w], lr=0.5)

    def function() -> None:
        w.grad = GRADIENT
        optimizer.step()

    walk = walk_of(function)
    for change, considered in ((None, True), ("numbers", False), ("state", False)):
        runner, _ = begin(walk)
        w.grad = GRADIENT
        if change == "numbers":
            optimizer.numbers = optimizer.numbers  # type: ignore[method-assign]
        elif change == "state":
            del optimizer.numbers
            optimizer.state = [{}, {}]
        assert not take_update(runner, optimizer) and (runner.draft is not None) == considered, change


def test_reports_count_what_was_taken_at_once() -> None:
    w = parameter(3)
    optimizer = SGD([w], lr=0.5)

    def function(i: int) -> None:
        w.grad = None
        (w * 2.0).sum().backward()
        optimizer.step()

    step = coexec.coexecute(function)
    assert whole_calls(step, list(range(6))) == [0, 0, 0, 2, 2, 2]
    report: Report = step.report()
    assert report.coexecuted_steps == 4
