"""Types: promotion, wrapping, division by zero, NaN, casts, builtins (reference sections 1 and 10)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given, strategies as st

from comprehension.lang.builtins import BUILTINS, evaluate
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.scalars import maximum, minimum
from comprehension.lang.special import fma
from comprehension.lang.types import ScalarType, promote

NAN, INF = math.nan, math.inf


def value(expression: str, **given_: Any) -> Any:
    """The value of an expression over rank-0 parameters, given as NumPy scalars."""
    header = ", ".join(f"{np.asarray(v).dtype} {name}" for name, v in given_.items())
    definition = load(f"def f({header}) -> (O) {{ O = {expression} }}")["f"]
    return run(infer(definition, []) if not given_ else infer(definition, None, "symbolic"), {}, given_)["O"]


@given(*[st.sampled_from(ScalarType)] * 3)
def test_promotion_is_commutative_and_associative_but_for_mixed_signs(
    a: ScalarType, b: ScalarType, c: ScalarType
) -> None:
    assert promote(a, b) is promote(b, a)
    if len({t.is_signed for t in (a, b, c) if t.is_integer}) < 2:
        assert promote(promote(a, b), c) is promote(a, promote(b, c))


@pytest.mark.parametrize(
    ("expression", "operands", "expected"),
    [
        ("a + b", {"a": np.int8(100), "b": np.int8(100)}, np.int8(-56)),
        ("a - b", {"a": np.uint8(1), "b": np.uint8(2)}, np.uint8(255)),
        ("a * b", {"a": np.uint8(200), "b": np.int8(-1)}, np.int8(56)),
        ("a + 1", {"a": np.int8(127)}, np.int32(128)),
        ("a / b", {"a": np.int32(-7), "b": np.int32(2)}, np.int32(-4)),
        ("a % b", {"a": np.int32(-7), "b": np.int32(2)}, np.int32(1)),
        ("a / b", {"a": np.int32(7), "b": np.int32(0)}, np.int32(0)),
        ("a % b", {"a": np.int32(7), "b": np.int32(0)}, np.int32(0)),
        ("a / b", {"a": np.int8(-128), "b": np.int8(-1)}, np.int8(-128)),
        ("-a", {"a": np.int16(-32768)}, np.int16(-32768)),
        ("a / b", {"a": np.float32(1), "b": np.float32(0)}, np.float32(INF)),
        ("a * 0.1", {"a": np.float64(1)}, np.float64(np.float32(0.1))),
        ("a + b", {"a": np.float32(2**24), "b": np.float32(1)}, np.float32(2**24)),
        ("a + b", {"a": np.float16(2048), "b": np.float16(1)}, np.float16(2048)),
        ("a + b", {"a": np.int64(2**62), "b": np.float32(1)}, np.float32(2.0**62)),
        ("int8(a)", {"a": np.int32(200)}, np.int8(-56)),
        ("int32(a)", {"a": np.float32(-2.7)}, np.int32(-2)),
        ("uint8(a)", {"a": np.int32(-1)}, np.uint8(255)),
        ("int32(a)", {"a": np.bool_(True)}, np.int32(1)),
        ("bool(a)", {"a": np.float32(NAN)}, np.bool_(True)),
        ("bool(a)", {"a": np.int32(0)}, np.bool_(False)),
        ("float(a)", {"a": np.int64(2**53 + 2**29 + 1)}, np.float32(2**53 + 2**30)),
        ("float16(a)", {"a": np.float32(1e6)}, np.float16(INF)),
        ("a && !b || b", {"a": np.bool_(True), "b": np.bool_(False)}, np.bool_(True)),
        ("a == b", {"a": np.bool_(True), "b": np.bool_(False)}, np.bool_(False)),
        ("a < b ? a : b", {"a": np.int32(3), "b": np.float64(2)}, np.float64(2)),
        ("min(a, b)", {"a": np.uint8(3), "b": np.uint8(5)}, np.uint8(3)),
        ("max(a, b)", {"a": np.float32(3), "b": np.float32(NAN)}, np.float32(NAN)),
        ("fmax(a, b)", {"a": np.float32(3), "b": np.float32(NAN)}, np.float32(3)),
        ("exp(a)", {"a": np.int32(0)}, np.float32(1)),
        ("exp(a)", {"a": np.int64(0)}, np.float32(1)),
        ("pow(a, b)", {"a": np.int32(2), "b": np.float64(3)}, np.float64(8)),
        ("round(a)", {"a": np.float32(-2.5)}, np.float32(-3)),
        ("remainder(a, b)", {"a": np.float32(5), "b": np.float32(2)}, np.float32(1)),
        ("sqrt(a)", {"a": np.float32(2)}, np.sqrt(np.float32(2))),
        ("rsqrt(a)", {"a": np.float32(0)}, np.float32(INF)),
    ],
)
def test_value_and_type(expression: str, operands: dict[str, Any], expected: Any) -> None:
    found = value(expression, **operands)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 1e30])
def test_casts_out_of_range_are_no_fault(bad: float) -> None:
    assert value("int32(a)", a=np.float32(bad)).dtype == np.int32


@pytest.mark.parametrize("op", ["min", "max"])
def test_extremum_reductions_propagate_nan(op: str) -> None:
    definition = load(f"def f(float(N) A) -> (B) {{ B {op}=! A(i) }}")["f"]
    found = run(infer(definition, None, "symbolic"), {"A": np.array([1, NAN, 2], np.float32)})["B"]
    assert np.isnan(found)


@given(st.floats(width=32), st.floats(width=32))
def test_extrema_order_numbers_and_keep_nan(a: float, b: float) -> None:
    np.testing.assert_array_equal(minimum(a, b), np.minimum(a, b))
    np.testing.assert_array_equal(maximum(a, b), np.maximum(a, b))


def test_wider_annotation_is_the_accumulators_type() -> None:
    ones = np.full(3, 2.0**24, np.float32)
    ones[1:] = 1
    narrow = load("def f(float(N) A) -> (B) { B +=! A(i) }")["f"]
    wide = load("def f(float(N) A) -> (double B) { B +=! A(i) }")["f"]
    assert run(infer(narrow, None, "symbolic"), {"A": ones})["B"] == 2**24
    assert run(infer(wide, None, "symbolic"), {"A": ones})["B"] == 2**24 + 2


# --- builtins --------------------------------------------------------------------------------------------------

POINTS = [-40.0, -3.7, -1.5, -1.0, -0.7, -1e-3, 0.0, 1e-8, 0.3, 0.5, 0.99, 1.0, 1.7, 2.5, 9.0, 33.3, 77.7, 150.0]
SCIPY = {
    "cyl_bessel_i0": scipy.special.i0,
    "cyl_bessel_i1": scipy.special.i1,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "erfcinv": scipy.special.erfcinv,
    "erfcx": scipy.special.erfcx,
    "erfinv": scipy.special.erfinv,
    "j0": scipy.special.j0,
    "j1": scipy.special.j1,
    "lgamma": scipy.special.gammaln,
    "normcdf": scipy.special.ndtr,
    "normcdfinv": scipy.special.ndtri,
    "tgamma": lambda x: scipy.special.gamma(x) if x > 0 or x != math.floor(x) else NAN,
    "y0": scipy.special.y0,
    "y1": scipy.special.y1,
}


@pytest.mark.parametrize("name", SCIPY)
def test_special_functions_agree_with_scipy(name: str) -> None:
    for x in [*POINTS, 0.017, 0.97, 1.97]:
        if name == "tgamma" and x == 0:
            continue  # SciPy has NaN, C99 and this table infinity
        found, expected = evaluate(BUILTINS[name], (np.float64(x),)), SCIPY[name](x)
        # Both are within some ulps of the function's size; near a zero of an oscillating one, of its envelope, and
        # near the zeros of lgamma at 1 and 2, of the terms that cancel there.
        envelope = math.sqrt(2 / (math.pi * max(abs(x), 1)))
        scale = {"j0": envelope, "j1": envelope, "y0": envelope, "y1": envelope, "lgamma": 1.0}.get(name, 0.0)
        np.testing.assert_allclose(found, expected, rtol=2e-14, atol=2e-14 * scale, err_msg=f"{name}({x})")


@pytest.mark.parametrize("name", [n for n, b in BUILTINS.items() if b.arity == 1])
@pytest.mark.parametrize("x", [NAN, INF, -INF, 0.0, -0.0, 1e300, -1e300, 5e-324])
def test_builtins_never_raise(name: str, x: float) -> None:
    with np.errstate(all="raise"):
        found = evaluate(BUILTINS[name], (np.float64(x),))
    assert isinstance(found, np.float64)
    assert not math.isnan(x) or np.isnan(found)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("sinpi", (1.0,), 0.0),
        ("sinpi", (0.5,), 1.0),
        ("cospi", (0.5,), 0.0),
        ("cospi", (1.0,), -1.0),
        ("exp10", (3.0,), 1000.0),
        ("logb", (12.0,), 3.0),
        ("fdim", (3.0, 5.0), 0.0),
        ("fdivide", (1.0, 4.0), 0.25),
        ("hypot", (3.0, 4.0), 5.0),
        ("norm3d", (2.0, 3.0, 6.0), 7.0),
        ("rnorm4d", (1.0, 1.0, 1.0, 1.0), 0.5),
        ("rcbrt", (8.0,), 0.5),
        ("rhypot", (3.0, 4.0), 0.2),
        ("fmod", (-5.0, 3.0), -2.0),
        ("copysign", (3.0, -0.0), -3.0),
        ("nextafter", (1.0, 2.0), 1.0 + 2.0**-52),
        ("atan2", (-0.0, -1.0), -math.pi),
        ("lgamma", (-2.0,), INF),
        ("tgamma", (-0.0,), -INF),
    ],
)
def test_builtins_as_c99_and_cuda_have_them(name: str, arguments: tuple[float, ...], expected: float) -> None:
    found = evaluate(BUILTINS[name], tuple(np.float64(a) for a in arguments))
    np.testing.assert_array_equal(found, np.float64(expected))
    assert math.copysign(1, found) == math.copysign(1, expected)


def test_nextafter_steps_in_the_type_of_its_arguments() -> None:
    assert value("nextafter(a, b)", a=np.float32(1), b=np.float32(2)) == np.float32(1) + np.float32(2.0**-23)


@given(*[st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**40), max_value=2.0**40)] * 3)
def test_fma_rounds_once(a: float, b: float, c: float) -> None:
    found = fma(np.float32(a), np.float32(b), np.float32(c))
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    distance = abs(Fraction(float(found)) - exact)
    for neighbour in (np.nextafter(found, np.float32(-INF)), np.nextafter(found, np.float32(INF))):
        assert distance <= abs(Fraction(float(neighbour)) - exact)
