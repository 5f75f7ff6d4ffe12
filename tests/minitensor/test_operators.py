"""Operators written as texts: the four rules agree, gradients of any order that the texts give, clear refusals."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import comprehension as tc
import minitensor as mt
from minitensor.errors import DTypeError, GradientError, NoComprehension, OperatorError, ShapeError
from minitensor.ops.opdef import TensorSpec
from minitensor.testing import gradcheck, gradgradcheck
from minitensor.testing.agreement import check_infer, check_meaning, check_text
from minitensor.testing.operands import Case

F64 = np.dtype(np.float64)

SMOOTH = "def smooth(double(N) X, double(K) W) -> (Y) { Y(i) +=! X(i + k) * W(k) }"
SMOOTH_GRAD = """
def smooth_grad(double(N) X, double(K) W, double(M) d_Y) -> (d_X, d_W) {
    d_X(i) +=! (i - k >= 0 && i - k < M ? d_Y(i - k) * W(k) : 0.0) where i in 0:N
    d_W(k) +=! d_Y(i) * X(i + k) where k in 0:K
}
"""
CUBE = "def cube(double(N) X) -> (Y) { Y(i) = X(i) * X(i) * X(i) }"
CUBE_GRAD = "def cube_grad(double(N) X, double(N) d_Y) -> (d_X) { d_X(i) = 3.0 * X(i) * X(i) * d_Y(i) }"
CUBE_GRAD_GRAD = """
def cube_grad_grad(double(N) X, double(N) d_Y, double(N) d_d_X) -> (d_X, d_d_Y) {
    d_X(i) = 6.0 * X(i) * d_Y(i) * d_d_X(i)
    d_d_Y(i) = 3.0 * X(i) * X(i) * d_d_X(i)
}
"""
# A call of an earlier def, a let, a temporary, two outputs, a weak float and an integer that decides a shape.
MANY = """
def norm(double(N) V) -> (s) { s +=! V(i) * V(i) }
def many(double(N) X, double scale, int32 n, bool twice) -> (A, b) {
    T(i) = X(i) * scale
    s = norm(T)
    A(i) = (twice ? y + y : y) + s where i in 0:n, y = T(i)
    b max=! T(i)
}
"""
PICK = "def pick(float(N, D) T, int64(M) I) -> (O) { O(i, d) = T(I(i), d) }"


@pytest.fixture
def smooth() -> mt.Operator:
    return mt.operator(SMOOTH, grad=SMOOTH_GRAD)


def doubles(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# --- the rules agree ----------------------------------------------------------------------------------------------


CASES = [
    (SMOOTH, Case((doubles(9), doubles(3)), {})),
    (SMOOTH_GRAD, Case((doubles(9), doubles(3), doubles(7)), {})),
    (MANY, Case((doubles(5), 0.5), {"n": 3, "twice": True})),
    (MANY, Case((doubles(5), 2.0), {"n": 5, "twice": False})),
    (PICK, Case((np.float32(doubles(4, 2)), np.array([3, 0, 1])), {})),
    ("def total(float(N) X) -> (double s) { s +=! X(i) }", Case((np.float32(doubles(6)),), {})),
]


@pytest.mark.parametrize("text,case", CASES)
def test_rules_of_a_text_agree(text: str, case: Case) -> None:
    op = mt.operator(text).op
    check_infer(op, case)
    check_text(op, case)
    definition = op.comprehension(*case.specs, **case.attributes)
    function = tc.define(tc.lang.tree.Program((definition,)))[definition.name]
    found, expected = function.reference(*case.operands), op.eager(*case.operands, **case.attributes)
    for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12 if a.dtype == F64 else 1e-6, atol=1e-12)
        assert a.dtype == b.dtype


def test_symbols_stay_symbols() -> None:
    pick = mt.operator(PICK).op
    table, index = TensorSpec(("s0", 4), np.dtype(np.float32)), TensorSpec(("s1",), np.dtype(np.int64))
    assert pick.infer(table, index) == TensorSpec(("s1", 4), np.dtype(np.float32))
    check_meaning(mt.operator(CUBE).op, Case((doubles(5),), {}), named=5)
    with pytest.raises(NoComprehension, match="computed from a symbolic size"):
        mt.operator(SMOOTH).op.infer(TensorSpec(("s0",), F64), TensorSpec((3,), F64))
    add = mt.operator("def add(double(N) A, double(N) B) -> (C) { C(i) = A(i) + B(i) }").op
    with pytest.raises(NoComprehension, match="whether s0 is 4"):
        add.infer(TensorSpec(("s0",), F64), TensorSpec((4,), F64))
    three = mt.operator("def three(double(3) A) -> (B) { B(i) = A(i) }").op
    with pytest.raises(NoComprehension, match="whether 3 is s0"):
        three.infer(TensorSpec(("s0",), F64))


def test_results(smooth: mt.Operator) -> None:
    x, w = doubles(9), doubles(3, seed=1)
    np.testing.assert_allclose(smooth(x, mt.asarray(w)).numpy(), np.correlate(x, w), rtol=1e-14)
    a, b = mt.operator(MANY)(x, 2, np.int32(4), False)
    assert a.shape == (4,) and b.shape == ()
    np.testing.assert_allclose(a.numpy(), 2 * x[:4] + (4 * x * x).sum())
    assert repr(smooth) == "<operator smooth(X, W) with gradient>"


# --- gradients ----------------------------------------------------------------------------------------------------


def test_first_order(smooth: mt.Operator) -> None:
    gradcheck(smooth, [doubles(9), doubles(3)])
    gradcheck(lambda x, w: mt.exp(smooth(mt.sin(x), w)) * x[:7], [doubles(9), doubles(3)])


def test_second_order_as_far_as_the_texts_go(smooth: mt.Operator) -> None:
    cube = mt.operator(CUBE, grad=mt.operator(CUBE_GRAD, grad=CUBE_GRAD_GRAD))
    gradcheck(cube, [doubles(5)])
    gradgradcheck(cube, [doubles(5)])
    x = mt.asarray(doubles(9))
    with pytest.raises(GradientError, match=r"operator smooth_grad has no gradient: give it one, mt.operator\("):
        mt.grad(lambda x: mt.grad(lambda x: smooth(x, doubles(3)).sum())(x).sum())(x)


def test_a_scalar_of_the_text_may_be_a_tensor_with_a_gradient() -> None:
    scaled = mt.operator(
        "def scaled(double(N) X, double s) -> (Y) { Y(i) = s * X(i) }",
        grad="""def scaled_grad(double(N) X, double s, double(N) d_Y) -> (d_X, d_s) {
            d_X(i) = s * d_Y(i)
            d_s +=! X(i) * d_Y(i)
        }""",
    )
    gradcheck(scaled, [doubles(4), doubles()])
    gradcheck(scaled, [doubles(4), 3.0])


def test_of_several_outputs_some_may_be_unused() -> None:
    both = mt.operator(
        "def both(double(N) X) -> (Y, Z) { Y(i) = 2.0 * X(i)  Z(i) = X(i) * X(i) }",
        grad="""def both_grad(double(N) d_Z, double(N) d_Y, double(N) X) -> (d_X) {
            d_X(i) = 2.0 * d_Y(i) + 2.0 * X(i) * d_Z(i)
        }""",
    )
    gradcheck(lambda x: both(x)[0] * 3, [doubles(4)])
    gradcheck(lambda x: both(x)[1] * 3, [doubles(4)])
    gradcheck(lambda x: both(x)[0] * both(x)[1], [doubles(4)])


def test_integers_take_part_without_gradient() -> None:
    part = mt.operator(
        "def part(double(N) X, int32 n) -> (Y) { Y(i) = X(i) where i in 0:n }",
        grad="def g(double(M) d_Y, double(N) X) -> (d_X) { d_X(i) = (i < M ? d_Y(i) : 0.0) where i in 0:N }",
    )
    gradcheck(lambda x: part(x, 3), [doubles(5)])
    assert part(doubles(5), 0).shape == (0,)


def test_gradients_that_the_text_does_not_give_are_refused_when_asked_for() -> None:
    half = mt.operator(
        "def half(double(N) X, double(N) W) -> (Y) { Y(i) = X(i) * W(i) }",
        grad="def half_grad(double(N) W, double(N) d_Y) -> (d_X) { d_X(i) = W(i) * d_Y(i) }",
    )
    gradcheck(lambda x: half(x, doubles(3)), [doubles(3)])
    w = mt.asarray(doubles(3), requires_grad=True)
    with pytest.raises(GradientError, match="half_grad returns no d_W; pass W detached if it is a constant"):
        half(doubles(3), w).sum().backward()
    half(doubles(3), w.detach())
    plain = mt.operator(CUBE)(mt.asarray(doubles(3), requires_grad=True))
    with pytest.raises(GradientError, match="operator cube has no gradient"):
        plain.sum().backward()


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text,grad,error,message",
    [
        ("def f(float(N) X) -> (Y) { Y(i) = Z(i) }", None, tc.ComprehensionError, "Z"),
        ("def f(float(N) X) -> (Y) { Y(i) += X(i) }", None, OperatorError, "Y accumulates .* with !"),
        (
            "def f(float(...) X) -> (Y) { Y(...) = X(...) }",
            None,
            OperatorError,
            "'...' leaves .* write the dimensions out",
        ),
        (CUBE, "def g(double(N) Z) -> (d_X) { d_X(i) = Z(i) }", OperatorError, "g takes 'Z'; it may be X, Y or d_Y"),
        (CUBE, "def g(double(N) X) -> (d_Z) { d_Z(i) = X(i) }", OperatorError, "g returns 'd_Z'; it may be d_X"),
        (CUBE, "def g(float(N) X) -> (d_X) { d_X(i) = X(i) }", OperatorError, "X as float32 of rank 1, .* float64"),
        (CUBE, "def g(double(N) X) -> (d_X) { d_X +=! X(i) }", OperatorError, "d_X as float64 of rank 0"),
        (PICK, "def g(float(N,D) T) -> (d_I) { d_I(i) +=! T(i,d) }", OperatorError, "d_I'; it may be d_T"),
        (
            "def f(double(N) X, double(N) d_Y) -> (Y) { Y(i) = X(i) }",
            "def g(double(N) d_Y) -> (d_X) { d_X(i) = d_Y(i) }",
            OperatorError,
            "d_Y is one of its own names",
        ),
    ],
)
def test_texts_that_do_not_fit(text: str, grad: str | None, error: type[Exception], message: str) -> None:
    with warnings.catch_warnings(), pytest.raises(error, match=message):
        warnings.simplefilter("ignore", tc.ComprehensionWarning)
        mt.operator(text, grad)


@pytest.mark.parametrize(
    "operands,error,message",
    [
        ((doubles(9),), ShapeError, r"smooth takes 2 operands \(X, W\), not 1"),
        ((doubles(9), np.float32(doubles(3))), DTypeError, "W is float64 in its text, the operand is float32"),
        ((doubles(9, 1), doubles(3)), ShapeError, r"X has 1 dimensions in its text, not \(9, 1\)"),
        ((doubles(9), 2.0), DTypeError, "W is a tensor of float64, not 2.0"),
        ((doubles(1), doubles(3)), tc.ComprehensionError, "empty range"),
        (("x", doubles(3)), DTypeError, "an operand is a tensor"),
    ],
)
def test_operands_that_do_not_fit(smooth: mt.Operator, operands: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        smooth(*operands)


def test_integers_must_be_integers() -> None:
    many = mt.operator(MANY)
    for given in (2.0, "2", True, mt.ones(2)):
        with pytest.raises(DTypeError, match="n is int32, not"):
            many(doubles(5), 1.0, given, True)
    with pytest.raises(DTypeError, match="twice is bool, not 1"):
        many(doubles(5), 1.0, 2, 1)


def test_indices_out_of_range_are_refused() -> None:
    pick = mt.operator(PICK)
    assert pick.op.may_raise and not mt.operator(SMOOTH).op.may_raise
    with pytest.raises(tc.ComprehensionError, match="7, where 0 to 3 are allowed"):
        pick(np.float32(doubles(4, 2)), np.array([0, 7]))
