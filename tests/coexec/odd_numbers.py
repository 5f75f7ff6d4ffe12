"""Numbers at the edges of their types, as operands and as contents: part of what `test_coexec_odd_programs` runs.

Each function makes a step with fresh state (see `programs`).
"""

from __future__ import annotations

import enum
import fractions
from typing import Any

import numpy as np
from programs import Step, data, parameter

import minitensor as mt
from minitensor import functional as F

NAN, INFINITY = float("nan"), float("inf")


def told(attempt: Any) -> Any:
    """What it returns, or its exception in words without the place."""
    try:
        return attempt()
    except Exception as error:
        return type(error).__name__, str(error).split(" (at")[0]


# --- Python's numbers as operands -----------------------------------------------------------------------


def integers_beyond_64_bits() -> Step:
    """A Python int has no largest value; beside a float tensor all of these are numbers like any other."""
    values = [2**24 + 1, 2**31, 2**53 + 1, 2**62 + 1, -(2**63), 2**63 - 1, 2**63, 2**64, 2**70, -(2**80), 10**30]
    n, small = mt.asarray([1, 2, 3]), mt.asarray([1], dtype="uint8")

    def step(i: int) -> Any:
        k, x = values[i % len(values)], data(3, offset=i)
        floats = x * k, x.astype("float64") * k, x + float(k), x < k
        return floats, [told(f) for f in (lambda: n + k, lambda: n * k, lambda: n < k, lambda: small - k)]

    return step


def floats_at_the_edges() -> Step:
    values = [NAN, 0.0, -0.0, INFINITY, -INFINITY, 1e39, 1e-46, 5e-324, 1e308, 0.1, 1 / 3, 16777217.0]

    def step(i: int) -> Any:
        v, x = values[i % len(values)], data(4, offset=i)
        y = x * v, x + v, x.astype("float64") * v, x / v if v else x, v - x
        return y, mt.where(x > v, x, v), mt.maximum(x, v), x == v, mt.full((2,), v) * 1.0, mt.abs(x) ** v

    return step


def nan_as_a_constant() -> Step:
    """No two NaNs are equal, and still it is one constant: one graph."""

    def step(i: int) -> Any:
        x = data(3, offset=i)
        return x * NAN, x + float(np.nan), mt.full((2,), NAN) + x[:2], x == NAN

    return step


def one_true_and_one_point_zero() -> Step:
    """Equal to Python, and not to an operation: also as index, axis, exponent and key."""

    def step(i: int) -> Any:
        k: Any = (1, True, 1.0)[i % 3]
        x, n = data(2, 3, offset=i), mt.asarray([1, 2, 3], dtype="int8")
        picked = x[k] if isinstance(k, int) and not isinstance(k, bool) else x[int(k)]
        return x * k, n + k, n * k, x**k, {k: x}[1] + k, picked, mt.sum(x, axis=int(k)), (n == k), k

    return step


def numbers_of_any_kind() -> Step:
    values = [1, 1.0, -0.0, True, 10**10, INFINITY, NAN, 2**31, -1, 1e-45, 1e300]

    def step(i: int) -> Any:
        x, s = data(3, offset=i), values[i % len(values)]
        return [told(f) for f in (lambda: x * s, lambda: x + s, lambda: s - x, lambda: x == s, lambda: x / s)]

    return step


def numbers_of_numpy() -> Step:
    """Strong ones, unlike Python's: they take part in promotion."""
    integers = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
    kinds = [*integers, "float16", "float32", "float64", "bool"]

    def step(i: int) -> Any:
        x, n, out = data(3, offset=i), mt.asarray([1, 2, 3]), []
        for name in kinds:
            k = np.dtype(name).type(i % 3 % 2)
            out += [x * k, told(lambda k=k: n + k), k * x]
        return out, [y.dtype.name for y in out if isinstance(y, mt.Tensor)]

    return step


def numbers_of_subclasses() -> Step:
    """What is an int or a float by inheritance is one here, and nothing of its own."""

    class Level(enum.IntEnum):
        LOW = 1
        HIGH = 3

    class Weight(float):
        def __mul__(self, other: Any) -> Any:
            raise AssertionError("never asked")

    def step(i: int) -> Any:
        x = data(3, offset=i)
        return (
            x * Level(1 + 2 * (i % 2)),
            x * Weight(i),
            x + np.float64(0.5),
            told(lambda: x * fractions.Fraction(1, 3)),
        )  # type: ignore[operator]

    return step


def values_read_and_used_as_numbers() -> Step:
    """From a float32 tensor to a Python float and back, next to one that never left."""
    factor = mt.asarray([0.1, 1 / 3, 16777216.0])

    def step(i: int) -> Any:
        x = data(3, offset=i) * factor
        k, n = float(x[i % 3]), int(mt.argmax(x))
        return x * k, x.astype("float64") * k, x * x[i % 3], x[n] + n, k, round(k, 3), k.hex()

    return step


# --- contents at the edges of their types ---------------------------------------------------------------


def negative_zeros() -> Step:
    z = mt.asarray([0.0, -0.0, 1.0])

    def step(i: int) -> Any:
        s = (0.0, -0.0, 1.0, -1.0)[i % 4]
        a, b = z * s, z + s
        signs = mt.signbit(a), mt.copysign(mt.ones((3,)), a), mt.maximum(z, -z), mt.minimum(z * s, z), mt.abs(a)
        return (
            signs,
            mt.where(z == 0, a, b),
            mt.round(z * -0.25),
            mt.sqrt(z * 0.0),
            -z,
            z - z,
            a.sum(),
            (z[:2] * s).sum(),
        )

    return step


def comparisons_with_nan() -> Step:
    n = mt.asarray([NAN, 1.0, INFINITY, -INFINITY])

    def step(i: int) -> Any:
        m = n * (i % 3)
        compared = m == m, m != m, m < 1, m >= m, mt.isnan(m), mt.sign(m), mt.where(m > 0, m, -m)
        chosen = mt.maximum(m, mt.zeros((4,))), mt.max(m), mt.argmax(m), mt.clip(m, -1.0, 1.0), F.relu(m), m.sum()
        return compared, chosen, "some" if mt.isnan(m).any() else "none", float(m.max()) == float(m.max())

    return step


def subnormals_and_overflow() -> Step:
    def step(i: int) -> Any:
        x = mt.asarray([1e38, 1e-38, 88.0, -104.0, 0.0, 1e-45]) * float(1 + i % 3)
        return x * x, x * 0.5, x + 1e-45, mt.exp(x), mt.tanh(x), F.sigmoid(x), F.softplus(x), F.logsumexp(x, 0), x**0.5

    return step


def integers_that_overflow() -> Step:
    def step(i: int) -> Any:
        a, u = mt.asarray([127, -128, 100], dtype="int8"), mt.asarray([0, 255, i], dtype="uint8")
        b, n = mt.asarray([2**31 - 1, -(2**31), i], dtype="int32"), mt.asarray([2**63 - 1, -(2**63), i])
        return (
            (a + a, a * a, -a, abs(a), a << 1, a.sum(), a // 3, a % 7, u - u - 1, u + 1, u * u),
            (b + b, b * b, -b, b // -1, b.prod(), b.astype("int8"), n + 1, n * n, n - 1, n >> 3, n.astype("float32")),
        )

    return step


def division_and_remainders() -> Step:
    def step(i: int) -> Any:
        a = mt.asarray([7, -7, 0, 5], dtype="int32")
        b = mt.asarray([2, 2, 3, -3], dtype="int32") * (1 if i % 2 else -1)
        f, g = mt.asarray([7.0, -7.0, 0.0, -0.0]), mt.asarray([2.0, -2.0, 0.0, 3.0])
        return a // b, a % b, f // g, f % g, mt.remainder(f, -g), a / b, a**2, f**-1, mt.pow(a, mt.abs(b)), a // 0

    return step


def casts_and_complex_numbers() -> Step:
    def step(i: int) -> Any:
        f, z = mt.asarray([1.9, -1.9, 300.5, -0.5, 1e3 * (i % 3)]), mt.asarray([1 + 2j, 3 - 1j]) * (i + 1)
        s = mt.fft.fft(data(8, offset=i).astype("complex64"))
        casts = f.astype("int32"), f.astype("int64"), f.astype("bool"), f.astype("float64") * 2, f.astype("float16") + 1
        return casts, z * z, mt.real(s), mt.imag(s) * 2.0, mt.abs(z)

    return step


# --- sizes and axes -------------------------------------------------------------------------------------


def batches_of_none_and_of_one() -> Step:
    w = parameter(3, 2)

    def step(i: int) -> Any:
        n = (4, 0, 2, 1, 0, 3)[i % 6]
        x = data(n, 3, offset=i)
        y = x @ w
        w.grad = None
        loss = (y * y).sum()
        loss.backward()
        return y, loss, w.grad, y.sum(axis=0), mt.concat([x, x[:1]]), (x[:, None] - x[None]).sum()

    return step


def reductions_of_nothing() -> Step:
    def step(i: int) -> Any:
        x = data(3 if i % 4 else 0, offset=i) * 2.0
        return told(lambda: mt.max(x)), x.sum(), told(lambda: mt.argmin(x)), x.prod(), (x > 0).all()

    return step


def axes_that_alternate() -> Step:
    """Independent alternatives one behind the other: not every combination has to be met."""

    def step(i: int) -> Any:
        x = data(3, 4, offset=i)
        return (
            mt.sum(x, axis=i % 2),
            F.softmax(x, axis=(i // 2) % 2),
            mt.roll(x, i % 5, axis=0),
            mt.expand_dims(x, axis=i % 3),
            mt.flip(x, axis=i % 2),
            mt.repeat(x, 1 + i % 3, axis=0),
            x.reshape((2, 6) if i % 2 else (6, -1)),
            mt.tile(x, (1, 1 + i % 2)),
            mt.tril(x, k=i % 3 - 1),
            mt.take(x, mt.asarray([0, i % 3]), axis=0),
            x[i % 3],
            x[:, : 1 + i % 4],
        )

    return step


def bounds_that_vary_and_vanish() -> Step:
    def step(i: int) -> Any:
        x, low = data(5, offset=i), -0.25 * i if i % 3 else None
        clipped = mt.clip(x, max=0.5) if low is None else mt.clip(x, low, 0.5)
        return clipped, F.leaky_relu(x, 0.0625 * i), F.dropout(x, 0.125 * (i % 8), training=i % 2 == 0)

    return step


ODD_NUMBERS = [
    integers_beyond_64_bits,
    floats_at_the_edges,
    nan_as_a_constant,
    one_true_and_one_point_zero,
    numbers_of_any_kind,
    numbers_of_numpy,
    numbers_of_subclasses,
    values_read_and_used_as_numbers,
    negative_zeros,
    comparisons_with_nan,
    subnormals_and_overflow,
    integers_that_overflow,
    division_and_remainders,
    casts_and_complex_numbers,
    batches_of_none_and_of_one,
    reductions_of_nothing,
    axes_that_alternate,
    bounds_that_vary_and_vanish,
]
