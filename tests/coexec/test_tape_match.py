"""Matchers of tapes, leaves and updates: what has the form gives its operands, and one difference anywhere is noticed.

Each is asked twice: the loop that is the reference, and what is written out for the form.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minitensor as mt
from coexec.python_side.tape_match import Row, make_leaves_matcher, make_tape_matcher, match_leaves, match_rows
from coexec.python_side.update_match import Pattern, make_update_matcher, match_updates
from minitensor.nn import Parameter
from minitensor.ops.opdef import REGISTRY
from minitensor.tape import Leaf, Node, Part
from minitensor.value import Value

MULTIPLY, EXP, SIN, EIGH = (REGISTRY[name] for name in ("multiply", "exp", "sin", "eigh"))


def value(promise: Any = None) -> Value:
    made = Value(np.zeros((1, 1), np.float32))
    made.pending = promise
    return made


class Tape:
    """(second output of eigh(a) * (2 * a)) * (w * v), where a = exp(w)."""

    def __init__(self) -> None:
        self.w, self.v = mt.ones((1, 1)), mt.ones((1, 1))
        self.made = [object() for _ in range(9)]
        self.values = [value(promise) for promise in self.made]
        self.second = value()
        self.w_leaf, self.v_leaf = Leaf(weakref.ref(self.w)), Leaf(weakref.ref(self.v))
        x = self.values
        self.a = Node(EXP, (self.w.value,), (self.w_leaf,), (x[0],), {})
        self.eigh = Node(EIGH, (x[0],), (self.a,), (x[1], self.second), {})
        self.part = Part(self.eigh, 1)
        self.twice = Node(MULTIPLY, (2.0, x[0]), (None, self.a), (x[2],), {})
        self.product = Node(MULTIPLY, (self.second, x[2]), (self.part, self.twice), (x[3],), {})
        self.beside = Node(MULTIPLY, (self.w.value, self.v.value), (self.w_leaf, self.v_leaf), (x[4],), {})
        self.root: Any = Node(MULTIPLY, (x[3], x[4]), (self.product, self.beside), (x[5],), {})


# Of the root, product, beside, part, twice, w's leaf, v's leaf, eigh and a, as they are come to.
ROWS: list[Row] = [
    (Node, MULTIPLY, 5, (1, 2)),
    (Node, MULTIPLY, 3, (3, 4)),
    (Node, MULTIPLY, 4, (5, 6)),
    (Part, None, 1, (7,)),
    (Node, MULTIPLY, 2, (None, 8)),
    (Leaf, None, None, ()),
    (Leaf, None, None, ()),
    (Node, EIGH, 1, (8,)),
    (Node, EXP, 0, (5,)),
]


def both(rows: list[Row], leaves: list[int], root: Any, made: list[Any]) -> tuple[list[Any], list[Any]] | None:
    expected = match_rows(rows, leaves, root, made)
    found = make_tape_matcher(rows, leaves)(root, made)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        for ours, theirs in zip(found, expected, strict=True):
            assert list(map(id, ours)) == list(map(id, theirs))
    return found


def test_a_tape_that_has_the_form_gives_operands_and_leaves() -> None:
    tape = Tape()
    x, w, v = tape.values, tape.w.value, tape.v.value
    found = both(ROWS, [6, 5], tape.root, tape.made)
    assert found is not None
    operands = [x[3], x[4], tape.second, x[2], w, v, 2.0, x[0], x[0], x[1], tape.second, w]
    assert list(map(id, found[0])) == list(map(id, operands))
    assert found[1] == [tape.v_leaf, tape.w_leaf]


def other_root(tape: Tape) -> None:
    tape.root = tape.w_leaf


def other_operation(tape: Tape) -> None:
    tape.a.op = SIN


def other_operation_at_the_root(tape: Tape) -> None:
    tape.root.op = SIN


def other_output(tape: Tape) -> None:
    tape.values[2].pending = tape.made[6]  # type: ignore[assignment]


def other_output_at_the_root(tape: Tape) -> None:
    tape.values[5].pending = tape.made[0]  # type: ignore[assignment]


def other_part(tape: Tape) -> None:
    tape.part.index = 0


def no_part(tape: Tape) -> None:
    tape.product.parents = (tape.eigh, tape.twice)


def a_gradient_less(tape: Tape) -> None:
    tape.product.parents = (tape.part, None)


def a_gradient_more(tape: Tape) -> None:
    tape.twice.parents = (tape.v_leaf, tape.a)


def another_gradient_for_a_known_one(tape: Tape) -> None:
    tape.a.parents = (tape.v_leaf,)


def no_gradient_for_a_known_one(tape: Tape) -> None:
    tape.a.parents = (None,)


def parents_swapped(tape: Tape) -> None:
    tape.product.parents = tape.product.parents[::-1]


def two_for_one(tape: Tape) -> None:
    alike = Node(EXP, tape.a.inputs, tape.a.parents, tape.a.outputs, {})
    tape.eigh.parents = (alike,)


def a_leaf_for_an_operation(tape: Tape) -> None:
    tape.twice.parents = (None, tape.v_leaf)


def an_operation_for_a_leaf(tape: Tape) -> None:
    tape.beside.parents = (tape.w_leaf, tape.a)


DIFFERENCES: list[Callable[[Tape], None]] = [
    other_root, other_operation, other_operation_at_the_root, other_output, other_output_at_the_root, other_part,
    no_part, a_gradient_less, a_gradient_more, another_gradient_for_a_known_one, no_gradient_for_a_known_one,
    parents_swapped, two_for_one, a_leaf_for_an_operation, an_operation_for_a_leaf,
]  # fmt: skip


@pytest.mark.parametrize("change", DIFFERENCES, ids=lambda change: change.__name__)
def test_one_difference_makes_another_tape(change: Callable[[Tape], None]) -> None:
    tape = Tape()
    change(tape)
    assert both(ROWS, [6, 5], tape.root, tape.made) is None


def test_the_first_of_several_outputs_is_one_like_others() -> None:
    tape = Tape()
    tape.part.index = 0
    rows = [(kind, op, 0 if kind is Part else number, parents) for kind, op, number, parents in ROWS]
    assert both(rows, [6, 5], tape.root, tape.made) is not None
    tape.part.index = 1
    assert both(rows, [6, 5], tape.root, tape.made) is None
    tape.part.index, tape.part.node = 0, tape.a
    assert both(rows, [6, 5], tape.root, tape.made) is None


def test_a_leaf_may_be_any_leaf() -> None:
    """Whether it is one that was come to before is compared, not which tensor it is of."""
    tape = Tape()
    tape.beside.parents = (tape.w_leaf, tape.w_leaf)
    found = both(ROWS, [6, 5], tape.root, tape.made)
    assert found is not None and found[1] == [tape.w_leaf, tape.w_leaf]  # the leaves' matcher refuses it
    other = Leaf(weakref.ref(tape.v))
    tape.beside.parents = (other, tape.v_leaf)
    tape.a.parents = (other,)
    found = both(ROWS, [5], tape.root, tape.made)
    assert found is not None and found[1] == [other]


# --- leaves -------------------------------------------------------------------------------------------------------


class Other(mt.Tensor):
    """A tensor whose operators may be any."""


def with_gradient(tensor: mt.Tensor, gradient: mt.Tensor | None) -> mt.Tensor:
    tensor.grad = gradient
    return tensor


def tensor() -> mt.Tensor:
    return mt.asarray(np.float32(1.0))


G = tensor()
P, Q, R = with_gradient(tensor(), G), tensor(), Parameter(tensor())
ODD = Other(tensor().value)
WITH_ODD_GRADIENT = with_gradient(tensor(), ODD)


class Of:
    """A leaf, as far as matchers look."""

    def __init__(self, order: int, of: Any) -> None:
        self.order = order
        self.of = of

    def tensor(self) -> Any:
        return self.of


LEAVES: list[tuple[list[tuple[bool, bool]], list[tuple[int, Any]], list[Any] | None, list[Any]]] = [
    # rows (alive, has a gradient); leaves (order, tensor); targets; gradients that are operands
    ([], [], [], []),
    ([(True, True)], [(0, P)], [P], [G]),
    ([(True, False)], [(0, Q)], [Q], []),
    ([(True, False)], [(0, R)], [R], []),
    ([(True, True)], [(0, Q)], None, []),
    ([(True, False)], [(0, P)], None, []),
    ([(False, False)], [(0, None)], [], []),
    ([(False, False)], [(0, Q)], None, []),
    ([(True, False)], [(0, None)], None, []),
    ([(True, False)], [(0, ODD)], None, []),
    ([(True, True)], [(0, WITH_ODD_GRADIENT)], None, []),
    ([(True, True), (True, False)], [(2, P), (1, Q)], [P, Q], [G]),
    ([(True, False), (True, True)], [(2, Q), (1, P)], [Q, P], [G]),
    ([(True, True), (True, False)], [(1, P), (2, Q)], None, []),  # in another order
    ([(True, True), (True, False)], [(1, P), (1, Q)], None, []),
    ([(True, False), (True, False)], [(2, Q), (1, Q)], None, []),  # one tensor twice
    ([(True, False), (False, False), (True, False)], [(3, Q), (2, None), (1, R)], [Q, R], []),
    ([(True, False), (False, False), (True, False)], [(3, Q), (2, None), (1, Q)], None, []),
    ([(True, False), (True, False), (True, False)], [(3, Q), (1, R), (2, P)], None, []),
    ([(True, False), (True, False), (True, True)], [(1, Q), (3, R), (2, P)], None, []),
]


@pytest.mark.parametrize(("rows", "leaves", "targets", "gradients"), LEAVES)
def test_leaves_are_as_they_were(rows: Any, leaves: Any, targets: list[Any] | None, gradients: list[Any]) -> None:
    for match in (make_leaves_matcher(rows), lambda *them: match_leaves(rows, *them)):
        operands: list[Any] = [2.0]
        found = match([Of(*leaf) for leaf in leaves], operands)
        assert (found is None) == (targets is None)
        if targets is not None:
            assert list(map(id, found or [])) == list(map(id, targets))
            assert list(map(id, operands[1:])) == [id(g.value) for g in gradients]


# --- updates ------------------------------------------------------------------------------------------------------

M, N = tensor(), tensor()
ODD_STATE = Parameter(tensor())  # of a class that no update puts there
TWO: list[Pattern] = [(("m", "n"), ("step",)), None, (("m",), ("step",))]
UPDATES: list[tuple[list[Pattern], list[mt.Tensor], list[dict[str, Any]], list[mt.Tensor] | None, int]] = [
    # patterns; parameters; states; the tensors that are operands; whose state is the first
    ([((), ())], [P], [{}], [P, G], 0),
    ([((), ())], [Q], [{}], None, 0),
    ([None], [P], [{}], None, 0),
    ([None, ((), ())], [Q, P], [{}, {}], [P, G], 1),
    ([None, ((), ())], [P, P], [{}, {}], None, 0),
    ([((), ())], [P], [{"step": 1}], None, 0),
    ([(("m",), ())], [P], [{"m": M}], [P, G, M], 0),
    ([(("m",), ())], [P], [{"n": M}], None, 0),
    ([(("m",), ())], [P], [{"m": 2.0}], None, 0),
    ([(("m",), ())], [P], [{"m": ODD_STATE}], None, 0),
    ([(("m", "n"), ())], [P], [{"n": N, "m": M}], [P, G, M, N], 0),
    ([((), ("step",))], [P], [{"step": 3}], [P, G], 0),
    ([((), ("step",))], [P], [{"step": 3.0}], None, 0),
    ([((), ("step",))], [P], [{"count": 3}], None, 0),
    ([((), ())], [with_gradient(Other(tensor().value), G)], [{}], None, 0),
    ([((), ())], [WITH_ODD_GRADIENT], [{}], None, 0),
    (TWO, [P, Q, P], [{"m": M, "n": N, "step": 2}, {"x": 1}, {"m": N, "step": 2}], [P, G, M, N, P, G, N], 0),
    (TWO, [P, Q, P], [{"m": M, "n": N, "step": 2}, {}, {"m": N, "step": 3}], None, 0),
    (TWO, [P, Q, P], [{"m": M, "n": N, "step": 2}, {}, {"m": N, "step": 1}], None, 0),
    (TWO, [P, P, P], [{"m": M, "n": N, "step": 2}, {}, {"m": N, "step": 2}], None, 0),
    (TWO, [P, Q, Q], [{"m": M, "n": N, "step": 2}, {}, {"m": N, "step": 2}], None, 0),
    ([None, ((), ("a", "b")), ((), ("a", "b"))], [Q, P, P], [{}, {"a": 1, "b": 2}, {"a": 1, "b": 2}], [P, G, P, G], 1),
    ([None, ((), ("a", "b")), ((), ("a", "b"))], [Q, P, P], [{}, {"a": 1, "b": 2}, {"a": 1, "b": 3}], None, 0),
    ([None, ((), ("a", "b")), ((), ("a", "b"))], [Q, P, P], [{}, {"a": 1, "b": 2}, {"a": 2, "b": 2}], None, 0),
]


@pytest.mark.parametrize(("patterns", "params", "states", "operands", "first"), UPDATES)
def test_parameters_and_states_are_as_they_were(
    patterns: Any, params: Any, states: Any, operands: list[mt.Tensor] | None, first: int
) -> None:
    written = [make_update_matcher(patterns)] if any(patterns) else []
    for match in (*written, lambda *them: match_updates(patterns, *them)):
        found = match(params, states)
        assert (found is None) == (operands is None)
        if found is not None and operands is not None:
            assert list(map(id, found[0])) == [id(x.value) for x in operands]
            assert found[1] is states[first]


def test_an_update_of_nothing_has_no_numbers() -> None:
    assert match_updates([None, None], [Q, R], [{}, {}]) is None
