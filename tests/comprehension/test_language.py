"""Every sentence of the language, every way to run a text: interpreted, compiled for its sizes, compiled for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from language_cases import CASES

import comprehension as tc


def parts(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def assert_same(found: Any, wanted: Any) -> None:
    """Bit for bit, signs of zeros included; NaNs alike."""
    for a, b in zip(parts(found), parts(wanted), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype and a.shape == b.shape, (a, b)
        np.testing.assert_array_equal(a, b)
        if a.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))


def result_of(name: str) -> Any:
    """What NumPy says, in the types that the language gives."""
    _, inputs, wanted = CASES[name]
    with np.errstate(all="ignore"):
        return wanted(*inputs)


@pytest.mark.parametrize("name", CASES)
def test_interpreted(name: str) -> None:
    text, inputs, _ = CASES[name]
    f = tc.define(text)["f"]
    found = f.reference(*inputs)
    wanted = tuple(np.asarray(w).astype(g.dtype) for w, g in zip(parts(result_of(name)), parts(found), strict=True))
    assert_same(parts(found), wanted)
    for spec, array in zip(parts(f.infer(*inputs)), parts(found), strict=True):
        assert (spec.shape, spec.dtype.numpy) == (array.shape, array.dtype)
    assert all(r.because or r.index for r in f.ranges(*inputs))


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", CASES)
def test_compiled(name: str, sizes: Any) -> None:
    text, inputs, _ = CASES[name]
    f = tc.define(text, sizes=sizes)["f"]
    assert_same(f(*inputs), f.reference(*inputs))


CHAINS = {
    "integers": ("x{0} = x{1} + x{1}", "int32(N) A", "A(i)", np.arange(8, dtype=np.int32)),
    "floats": ("x{0} = x{1} * x{1}", "float(N) A", "A(i)", np.ones(8, np.float32)),
    "conditions": ("x{0} = x{1} && x{1}", "bool(N) A", "A(i)", np.arange(8) % 3 == 0),
    "choices": ("x{0} = x{1} > 0.0 ? x{1} : -x{1}", "float(N) A", "A(i)", np.ones(8, np.float32)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_lets_that_use_lets_twice_do_not_blow_up(name: str) -> None:
    step, parameter, first, values = CHAINS[name]
    lets = ", ".join([f"x0 = {first}", *(step.format(k + 1, k) for k in range(40))])
    f = tc.define(f"def f({parameter}) -> (B) {{ B(i) = x40 where {lets} }}")["f"]
    assert_same(f(values), f.reference(values))


GUARDS = {"and": "x{0} = x{1} && x{1}", "or": "x{0} = x{1} || x{1} && A(i) > 0.0"}


@pytest.mark.parametrize("name", GUARDS)
def test_guards_that_use_guards_twice_do_not_blow_up(name: str) -> None:
    lets = ", ".join(["x0 = i > 0", *(GUARDS[name].format(k + 1, k) for k in range(40))])
    f = tc.define(f"def f(float(N) A) -> (B) {{ B(i) = x40 ? A(i - 1) : 0.0 where {lets}, i in 0:N }}")["f"]
    values = np.arange(8, dtype=np.float32)
    assert_same(f(values), np.concatenate([[0], values[:-1]]).astype(np.float32))


BEYOND = {
    "a range": (
        "def f(int32 k) -> (B) { B(i) = 1 where i in 0:k * k }",
        70_000,
        r"beyond int32: from 0 to k \* k \(k = 70000\)",
    ),
    "a dimension": ("def f(int32 k) -> (B) { B(i * 2) = 1 where i in 0:k }", 2**31 - 1, "dimension of 4294967293"),
    "bytes": ("def f(int32 k) -> (B) { B(i, j, l) = 1.0 where i in 0:k, j in 0:k, l in 0:k }", 2_000_000, "would take"),
    "a power": ("def f(int64 k) -> (B) { B(i) = 1.0 where i in 0:k * k * k * k * k }", 2**20, "beyond int32"),
    "an unsigned": ("def f(uint64 k) -> (B) { B(i) = 1.0 where i in 0:k }", 2**63, "beyond int32"),
    "a negative": ("def f(int32 k) -> (B) { B(i) = 1.0 where i in 0:k }", -3, "runs from 0 to k, which is negative"),
    "a start": ("def f(int32 k) -> (B) { B(i) = 1.0 where i in k:k + 2 }", -5, "the subscript goes down to k"),
    "memory": ("def f(int32 k) -> (B) { B(i, j) = 1.0 where i in 0:k, j in 0:k }", 4_000_000, "no memory|would take"),
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", BEYOND)
def test_scalars_cannot_ask_for_what_no_array_can_be(name: str, sizes: Any) -> None:
    text, value, message = BEYOND[name]
    f = tc.define(text, sizes=sizes)["f"]
    for way in (f, f.reference) if name == "memory" else (f, f.reference, f.infer):
        with pytest.raises(tc.ComprehensionError, match=message):
            way(value)


def test_sizes_may_be_called_as_loops_and_buffers_are() -> None:
    text = (
        "def f(float(c0, lane0) A, float(c0, lane0) A_tile, float(c0) S0_partial) -> (C_tile, C) {"
        " C(c2) +=! A(c2, c1) * A_tile(c2, c1)  C_tile(row1) = C(row1) * S0_partial(row1) }"
    )
    f = tc.define(text, sizes="symbolic")["f"]
    inputs = [np.arange(60, dtype=np.float32).reshape(3, 20), np.ones((3, 20), np.float32), np.ones(3, np.float32)]
    assert_same(f(*inputs), f.reference(*inputs))
