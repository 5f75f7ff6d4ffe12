"""Which operations can never be taken for one another: what decides at a fork without being compared again."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from written import Tensor, Written

from coexec.build import build
from coexec.python_side.draft import _is_static
from coexec.python_side.rivals import (
    _may_be_one,
    _origin_of,
    _types_differ,
    differ_in_producers,
    exclude,
    place_of,
)
from coexec.python_side.walk import ExpectFeed, ExpectScalar, WalkNode
from coexec.traces.merge import merge
from coexec.traces.record import Produced
from coexec.traces.trace_graph import TraceGraph

Operation = Callable[[Written, Produced, Produced], Any]
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def fork(*branches: Operation) -> tuple[WalkNode, ...]:
    """What follows a = exp(t0), b = a * t9 in a graph of these branches, in their order."""
    traces = TraceGraph()
    for branch in branches:
        written = Written()
        a = written.op("exp", Tensor(0), at=0)
        branch(written, a, written.op("multiply", a, Tensor(9), at=1))
        merge(traces, written.trace)
    return build(traces).walk.start.children[0].children[0].children


def op(name: str, *inputs: Any, at: int, **attributes: Any) -> Operation:
    """An operation of "a", "b", tensors from outside and numbers."""

    def write(written: Written, a: Produced, b: Produced) -> Any:
        made = {"a": a, "b": b}
        operands = [made[x] if isinstance(x, str) else x for x in inputs]
        return written.op(name, *operands, at=at, **attributes)

    return write


def pair(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[WalkNode, WalkNode]:
    """Two operations, each (name, inputs...), in the two branches of a fork."""
    one, other = fork(op(*first, at=2), op(*second, at=3))
    return one, other


NEVER_ONE: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [
    (("exp", "b"), ("sin", "b")),
    (("exp", "b"), ("exp", "a")),
    (("multiply", "b", "a"), ("multiply", "b", "b")),
    (("multiply", "a", "b"), ("multiply", "b", "b")),
    (("exp", "b"), ("exp", Tensor(1))),
    (("exp", "b"), ("exp", Tensor(0))),
    (("multiply", "b", Tensor(1)), ("multiply", "b", "a")),
    (("exp", Tensor(1)), ("exp", Tensor(1, (5,)))),
    (("exp", Tensor(1)), ("exp", Tensor(1, dtype="float64"))),
    (("multiply", "b", 2.0), ("multiply", "b", 3.0)),
    (("multiply", "b", 2.0), ("multiply", "b", 2)),
    (("multiply", "b", 0.0), ("multiply", "b", -0.0)),
    (("multiply", "b", 2.0), ("multiply", "b", "b")),
    (("multiply", "b", 2.0), ("multiply", "b", Tensor(1))),
    (("multiply", 2.0, "b"), ("multiply", "b", 2.0)),
]
MAYBE_ONE: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [
    (("abs", "b"), ("abs", "b")),
    (("abs", Tensor(1)), ("abs", Tensor(2))),
    (("abs", Tensor(1)), ("abs", Tensor(0))),  # one was fed before: the step may use it again
    (("abs", Tensor(0)), ("abs", Tensor(9))),  # both were: they may be one tensor
    (("multiply", "b", Tensor(1)), ("multiply", "b", Tensor(2))),
    (("multiply", "b", Tensor(0)), ("multiply", "b", Tensor(9))),
    (("multiply", "b", 2.0), ("multiply", "b", 2.0)),
    (("multiply", Tensor(1), Tensor(1)), ("multiply", Tensor(1), Tensor(2))),
]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("first", "second"), NEVER_ONE)
def test_what_differs_whatever_the_step_has_fed_excludes_the_other(first: Any, second: Any, swapped: bool) -> None:
    one, other = pair(second, first) if swapped else pair(first, second)
    assert exclude(one, other, None)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("first", "second"), MAYBE_ONE)
def test_what_the_step_may_have_fed_excludes_nothing(first: Any, second: Any, swapped: bool) -> None:
    one, other = pair(second, first) if swapped else pair(first, second)
    assert not exclude(one, other, None)


def behind_two_ways(origin: str) -> tuple[WalkNode, WalkNode]:
    """What follows c = sin(b): abs of it, or of b where it was not computed; and abs of `origin`."""
    traces = TraceGraph()
    for operand, place in (("b", 4), ("c", 4), (origin, 5)):
        written = Written()
        a = written.op("exp", Tensor(0), at=0)
        b = written.op("multiply", a, Tensor(9), at=1)
        c = b if operand == "b" else written.op("sin", b, at=2)
        written.op("abs", {"a": a, "b": b, "c": c}[operand], at=place)
        merge(traces, written.trace)
    (sine,) = (n for n in build(traces).walk.start.children[0].children[0].children if n.op and n.op.name == "sin")
    either, other = sine.children
    return either, other


def test_operands_of_several_origins_exclude_what_is_none_of_them() -> None:
    for origin, excluded in (("a", True), ("c", False)):
        either, other = behind_two_ways(origin)
        assert either.others and not other.others
        assert exclude(either, other, None) == exclude(other, either, None) == excluded
        assert differ_in_producers(either, other) and differ_in_producers(other, either)


@pytest.mark.parametrize(("first", "second"), MAYBE_ONE)
def test_what_may_be_one_differs_in_what_is_fed_or_in_nothing(first: Any, second: Any) -> None:
    one, other = pair(first, second)
    assert differ_in_producers(one, other) == (first == second)


def test_attributes_and_the_number_of_operands_exclude() -> None:
    one, other = fork(op("sum", "b", at=2, axis=(0,), keepdims=False), op("sum", "b", at=3, axis=(0,), keepdims=True))
    assert exclude(one, other, None)
    one, other = fork(op("concat", "a", "b", at=2, axis=0), op("concat", "a", "b", "b", at=3, axis=0))
    assert exclude(one, other, None) and exclude(other, one, None)


def test_an_operand_of_which_nothing_is_known_hides_no_other() -> None:
    first, second = ((Tensor(1), Tensor(1), "a"), (Tensor(1), Tensor(2), "b"))
    one, other = fork(op("concat", *first, at=2, axis=0), op("concat", *second, at=3, axis=0))
    assert _origin_of(one, 1) == (None, None)
    assert exclude(one, other, None) and exclude(other, one, None)


def varying(number: float) -> tuple[WalkNode, WalkNode]:
    """b times any number, and b times this one."""
    places = [op("multiply", "b", 2.0, at=2), op("multiply", "b", number, at=3), op("multiply", "b", 4.0, at=2)]
    found = {node.trace.key.location: node for node in fork(*places) if node.trace.key is not None}
    one, other = (node for _, node in sorted(found.items()))
    assert one.others and other.constants == ((1, number),)
    return one, other


def test_a_number_that_varies_may_be_any_of_its_type() -> None:
    one, other = varying(3.0)
    assert not exclude(one, other, None) and not exclude(other, one, None)
    one, other = varying(3)
    assert exclude(one, other, None) and exclude(other, one, None)


def test_a_number_that_the_call_had_is_the_one_to_compare() -> None:
    """Where numbers may not differ the next time."""
    one, other = varying(3.0)
    (slot,) = (e.slot for e in one.others if isinstance(e, ExpectScalar))
    for number, excluded in ((3.0, False), (5.0, True), (None, False)):
        bound = [None] * slot + [number]
        assert exclude(other, one, bound) == excluded


ANY, SMALL, LARGE = (
    ExpectScalar(1, 0, kind, low, high) for kind, low, high in ((float, 0, 0), (int, 0, 7), (int, 7, 9))
)
BEYOND = ExpectScalar(1, 0, int, 8, 9)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (ANY, ANY, True),
        (SMALL, LARGE, True),  # 7
        (SMALL, BEYOND, False),
        (ANY, SMALL, False),
        (ANY, 2.0, True),
        (ANY, 2, False),
        (SMALL, 7, True),
        (SMALL, 8, False),
        (2.0, 2.0, True),
        (2.0, 2, False),
    ],
)
def test_two_numbers_that_may_be_one(one: Any, other: Any, expected: bool) -> None:
    assert _may_be_one(one, other) == _may_be_one(other, one) == expected


def test_where_an_operand_comes_from() -> None:
    one, other = pair(("multiply", "b", 2.0), ("multiply", Tensor(0), Tensor(1)))
    made = one.sources[0][1]
    assert made > 0
    assert _origin_of(one, 0) == ("made", frozenset([made])) and _origin_of(one, 1) == ("number", 2.0)
    (fed,) = other.fed
    assert _origin_of(other, 0) == ("outside", fed[1]) and _origin_of(other, 1) == ("outside", None)
    same, _ = pair(("multiply", Tensor(1), Tensor(1)), ("exp", "b"))
    assert _origin_of(same, 0) == ("outside", None) and _origin_of(same, 1) == (None, None)
    number, _ = varying(3.0)
    (expected,) = number.others
    assert _origin_of(number, 1) == ("number", expected) and _origin_of(number, 1, [None] * 9) == ("number", expected)
    assert _origin_of(number, 1, [5.0] * 9) == ("number", 5.0)
    assert _origin_of(number, 0, [5.0] * 9) == ("made", frozenset([made]))


def test_a_feed_says_nothing_of_other_operands() -> None:
    (node,) = fork(*[op("multiply", number, Tensor(1), at=2) for number in (2.0, 4.0)])
    (expected,) = node.others
    assert _origin_of(node, 0) == ("number", expected) and _origin_of(node, 1) == ("outside", None)
    (node,) = fork(*[op("multiply", Tensor(1), number, at=2) for number in (2.0, 4.0)])
    (expected,) = node.others
    assert _origin_of(node, 0) == ("outside", None) and _origin_of(node, 1) == ("number", expected)


def joined() -> WalkNode:
    """What has two producers: which one depends on the branch."""
    traces = TraceGraph()
    for name, at in (("exp", 0), ("sin", 1), ("exp", 0)):
        written = Written()
        written.op("abs", written.op(name, Tensor(0), at=at), at=2)
        merge(traces, written.trace)
    return build(traces).walk.start.children[0].children[0]


def test_an_operand_with_several_producers_is_made_in_the_step() -> None:
    assert _origin_of(joined(), 0) == ("made", frozenset([0, 1]))
    made, outside = pair(("abs", "b"), ("abs", Tensor(1)))
    assert not exclude(joined(), made, None) and not exclude(made, joined(), None)
    assert exclude(joined(), outside, None) and exclude(outside, joined(), None)


def node_with(*feeds: ExpectFeed) -> Any:
    return SimpleNamespace(feeds=feeds)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((1, F32, (2,)), (1, F32, (2,)), False),
        ((1, F32, (2,)), (1, F32, (3,)), True),
        ((1, F32, (2,)), (1, F64, (2,)), True),
        ((1, F32, None), (1, F32, (3,)), False),
        ((1, F32, (2,)), (1, F32, None), False),
        ((1, F32, None), (1, F64, None), True),
        ((0, F32, (2,)), (1, F64, (2,)), False),  # another operand: of this one it is not known
    ],
)
def test_feeds_of_different_types_are_no_common_tensor(one: Any, other: Any, expected: bool) -> None:
    (at, dtype, shape), (others_at, others_dtype, others) = one, other
    first, second = ExpectFeed(at, 0, dtype, shape), ExpectFeed(others_at, 1, others_dtype, others)
    assert _types_differ(node_with(first), node_with(second), 1) == expected
    assert _types_differ(node_with(second), node_with(first), 1) == expected


def test_a_place_is_that_of_the_node_and_of_the_one_whose_gradient_it_is() -> None:
    one, other = pair(("abs", "b"), ("abs", "b"))
    assert one.trace.key is not None and other.trace.key is not None
    assert place_of(one) == (one.trace.key.location, None) != place_of(other)
    (end,) = one.children
    assert place_of(end) is None


def test_sizes_are_static_where_no_symbol_stands_for_one() -> None:
    assert all(map(_is_static, pair(("abs", "b"), ("exp", "b"))))
    traces = TraceGraph()
    for size in (3, 4, 5):
        written = Written()
        a = written.op("exp", Tensor(0, (size, 2)), at=0)
        written.op("sum", written.op("abs", a, at=1), at=2, axis=(0,), keepdims=False)
        merge(traces, written.trace)
    symbolic = build(traces).walk.start.children[0]
    assert symbolic.unifies and not _is_static(symbolic)
    between, last = symbolic.children[0], symbolic.children[0].children[0]
    assert not between.unifies and not _is_static(between) and _is_static(last)
