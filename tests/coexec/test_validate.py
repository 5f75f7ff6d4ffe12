"""Validation by itself: which operations a node is, which symbols they bind, and where their places decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alone import begin, observed, placed, walk_of

import minitensor as mt
from coexec.python_side.python_runner import PythonRunner
from coexec.python_side.walk import ExpectFeed, ExpectPhi, ExpectSame, ExpectScalar, Walk, WalkNode
from minitensor.value import Value, local

X = mt.reshape(mt.arange(6.0), (2, 3)) / 8.0
Y = X + 1.0


def ones(*shape: int) -> mt.Tensor:
    return mt.asarray(np.ones(shape, np.float32))


def last_of(walk: Walk) -> WalkNode:
    node = walk.start
    while node.children and node.children[0].op is not None:
        node = node.children[0]
    return node


def up_to(walk: Walk, before: Callable[[], Any]) -> tuple[PythonRunner, Any]:
    """A step behind `before`, and what that gave."""
    runner, _ = begin(walk)
    with observed(runner):
        found = before()
    assert runner.recorder is None
    return runner, found


def matches(runner: PythonRunner, node: WalkNode, *inputs: Any, **attributes: Any) -> bool:
    """Whether an operation with the node's record is the node; nothing may change."""
    assert node.op is not None
    before = [list(runner.bound), dict(runner.symbols), list(runner.path)]
    values = tuple([x.value if isinstance(x, mt.Tensor) else x for x in inputs])
    found = runner.matches(node, node.op, values, attributes)
    assert before == [runner.bound, runner.symbols, runner.path]
    return found


# --- attributes and operands --------------------------------------------------------------------------------------


def test_attributes_are_the_same_with_their_types() -> None:
    node = last_of(walk := walk_of(lambda: mt.sum(X, axis=0, keepdims=True)))
    runner, _ = begin(walk)
    assert matches(runner, node, X, axis=(0,), keepdims=True)
    for axis, keepdims in (((1,), True), ((0,), False), ((0,), 1), ([0], True)):
        assert not matches(runner, node, X, axis=axis, keepdims=keepdims)
    assert not matches(runner, node, X, axis=(0,))
    assert not matches(runner, node, X, axis=(0,), keepdims=True, more=1)
    assert not matches(runner, node, X, X, axis=(0,), keepdims=True)
    assert not matches(runner, node, axis=(0,), keepdims=True)
    assert node.op is not None
    assert not runner.matches(node, last_of(walk_of(mt.exp, (X,))).op, (X.value,), {})  # type: ignore[arg-type]


def test_a_shape_with_symbols_is_a_tuple_of_as_many_numbers() -> None:
    walk = walk_of(lambda n: mt.exp(mt.broadcast_to(X[0, 0], (n, 3))), (2,), (4,), (5,))
    node = next(node for node in nodes_of(walk) if node.shape_symbols)
    runner, x = up_to(walk, lambda: X[0, 0])
    assert matches(runner, node, x, shape=(7, 3)) and matches(runner, node, x, shape=(2, 3))
    for shape in ((7, 4), (7,), (7, 3, 1), [7, 3], (1, 3), (0, 3)):
        assert not matches(runner, node, x, shape=shape)


def nodes_of(walk: Walk) -> list[WalkNode]:
    found, node = [], walk.start
    while node.children and node.children[0].op is not None:
        node = node.children[0]
        found.append(node)
    return found


def test_a_number_that_varies_is_of_its_type_and_the_one_that_was_sent() -> None:
    walk = walk_of(lambda k: mt.exp(X) * k, (1.0,), (2.0,))
    node = last_of(walk)
    runner, a = up_to(walk, lambda: mt.exp(X))
    (expected,) = node.others
    assert isinstance(expected, ExpectScalar)
    for number, fits in ((3.0, True), (-0.0, True), (3, False), (True, False), (Y, False)):
        assert matches(runner, node, a, number) == fits
    runner.bound[expected.slot] = 0.0  # in an earlier round
    for number, fits in ((0.0, True), (-0.0, False), (3.0, False)):
        assert matches(runner, node, a, number) == fits


@pytest.mark.parametrize(("number", "fits"), [(-128, True), (127, True), (-129, False), (128, False), (1.0, False)])
def test_an_integer_is_one_that_its_type_holds(number: float, fits: bool) -> None:
    small = mt.asarray(np.array([1, 2], np.int8))
    node = last_of(walk := walk_of(lambda k: small + k, (1,), (2,)))
    runner, _ = begin(walk)
    assert matches(runner, node, small, number) == fits


def test_one_feed_for_two_operands_is_one_tensor() -> None:
    node = last_of(walk := walk_of(lambda x: x * x, (X,)))
    assert isinstance(node.others[0], ExpectSame)
    runner, _ = begin(walk)
    assert matches(runner, node, X, X) and matches(runner, node, Y, Y) and not matches(runner, node, X, Y)


def test_of_several_producers_the_one_that_was_executed_last_counts() -> None:
    def function(other: bool) -> mt.Tensor:
        return mt.tanh(mt.exp(X) if other else mt.sin(X))

    walk = walk_of(function, (True,), (False,))
    node = walk.start.children[0].children[0]
    (expected,) = node.others
    assert isinstance(expected, ExpectPhi)
    for first in (mt.exp, mt.sin):
        runner, made = up_to(walk, lambda first=first: first(X))  # type: ignore[misc]
        assert matches(runner, node, made) and not matches(runner, node, X) and not matches(runner, node, 2.0)
        runner.phis[expected.slot] = None
        assert not matches(runner, node, made)


# --- sizes --------------------------------------------------------------------------------------------------------


def squared(x: mt.Tensor, y: mt.Tensor) -> mt.Tensor:
    return x @ y


def test_symbols_are_bound_by_what_they_stand_for_and_are_one_size_each() -> None:
    """n by m times m by n; a size of one broadcasts, so it is no size like others."""
    walk = walk_of(squared, *[(ones(n, m), ones(m, n)) for n, m in ((2, 3), (4, 5), (3, 7), (5, 2))])
    node = last_of(walk)
    assert node.unifies and node.op is not None
    runner, _ = begin(walk)
    x, y = ones(6, 7), ones(7, 6)
    assert matches(runner, node, x, y)
    found = runner.unify(node, (x.value, y.value), {})
    assert found is not None and sorted(found.values()) in ([6, 7], [6, 6, 7])
    for wrong in ((ones(1, 7), ones(7, 6)), (ones(6, 1), ones(1, 6)), (ones(6), ones(6, 6)), (ones(2, 6, 7), y)):
        assert not matches(runner, node, *wrong)
    runner.symbols.update(found)
    assert matches(runner, node, x, y) and runner.unify(node, (x.value, y.value), {}) == {}
    assert not matches(runner, node, ones(7, 6), x)


def test_dimensions_are_compared_with_numbers_and_with_each_other() -> None:
    runner, _ = begin(walk_of(mt.exp, (X,)))
    runner.symbols["k"] = 5
    for dims, shape, expected in [
        ((2, 3), (2, 3), {}), ((2, 3), (2, 4), None), ((2,), (2, 3), None), (("n",), (4,), {"n": 4}),
        (("n",), (1,), None), (("n",), (2,), {"n": 2}), (("k", 3), (5, 3), {}), (("k", 3), (6, 3), None),
        (("n", "n"), (4, 4), {"n": 4}), (("n", "n"), (4, 5), None), (("n", "m"), (4, 5), {"n": 4, "m": 5}),
        ((), (), {}),
    ]:  # fmt: skip
        fresh: dict[str, int] = {}
        assert runner._unify_dims(dims, shape, fresh) == (expected is not None), (dims, shape)  # type: ignore[arg-type]
        assert expected is None or fresh == expected


# --- forks --------------------------------------------------------------------------------------------------------


def elsewhere(k: float) -> mt.Tensor:
    return mt.exp(X) * k


def test_places_decide_where_nothing_else_does() -> None:
    walk = walk_of(placed, (1.0, True), (3.0, False), (2.0, True))
    (node,) = walk.start.children
    varying = next(child for child in node.children if child.others)
    constant = next(child for child in node.children if child.constants)
    for function, inputs, expected, located in [
        (placed, (3.0, True), varying, {1}), (placed, (3.0, False), constant, {1}),
        (placed, (4.0, True), varying, set()), (placed, (4.0, False), varying, set()),
        (elsewhere, (3.0,), node.children[0], set()), (elsewhere, (4.0,), varying, set()),
    ]:  # fmt: skip
        runner, _ = begin(walk)
        with observed(runner):
            function(*inputs)  # type: ignore[operator]
        assert runner.path[1] is expected and runner.located == located
    runner, _ = begin(walk)
    with observed(runner):
        mt.exp(X) * 4
    assert runner.recorder is not None and len(runner.path) == 1


def test_a_gradient_is_of_the_operation_that_it_was_of() -> None:
    """Two products with the same number: their gradients are told apart by the products."""
    w = mt.asarray(np.ones((2, 3), np.float32))
    w.requires_grad = True
    given = ones(2, 3)

    def function(k: float, n: float) -> mt.Tensor:
        w.grad = None
        ((w * k) * n).backward(given)
        assert w.grad is not None
        return w.grad

    walk = walk_of(function, (2.0, 3.0), (4.0, 5.0))
    runner, _ = begin(walk)
    with observed(runner):
        function(6.0, 6.0)
    assert runner.recorder is None and len(runner.path) == 4
    assert [node.trace.key.forward is None for node in runner.path if node.trace.key] == [True, True, False, False]
    assert local.differentiating is None


@pytest.mark.parametrize("first", [True, False])
def test_at_a_fork_the_operation_whose_gradient_is_taken_decides(first: bool) -> None:
    w = mt.asarray(np.ones((2, 3), np.float32))
    w.requires_grad = True
    given = ones(2, 3)

    def function(first: bool, k: float, n: float) -> None:
        w.grad = None
        one = w * k
        other = w * n
        (one if first else other).backward(given)

    walk = walk_of(function, (True, 2.0, 3.0), (False, 2.0, 3.0), (False, 4.0, 5.0))
    runner, _ = begin(walk)
    with observed(runner):
        function(first, 2.0, 2.0)  # the one is of 2.0 only, the other of any number
    assert runner.recorder is None and len(runner.path) == 3 and runner.located == {2}
    assert runner.path[2].trace.forward is runner.path[0 if first else 1].trace


def test_whether_a_tensor_can_be_fed_says_its_type_and_who_made_it() -> None:
    walk = walk_of(lambda: mt.exp(X) * Y)
    runner, made = up_to(walk, lambda: mt.exp(X))
    feed = ExpectFeed(1, 1, np.dtype(np.float32), (2, 3))
    assert runner.can_feed(feed, Y.value) and not runner.can_feed(feed, made.value)
    runner.bound[1] = Y.value
    assert runner.can_feed(feed, Y.value) and not runner.can_feed(feed, X.value)
    assert not runner.can_feed(feed, Value(Y.numpy()))
