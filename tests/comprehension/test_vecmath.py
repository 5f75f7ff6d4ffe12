"""Builtins of generated code against mpmath: errors in ulps, special values, and tiles against scalars.

The bounds stand in `comprehension/codegen/accuracy.py` and in `docs/numerics.md`.  float32 functions that work in
float64 inside are correctly rounded but for rare ties.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import native_kernels
import numpy as np
import pytest
from native_kernels import Native

from comprehension.codegen import special
from comprehension.codegen.accuracy import ULPS
from comprehension.codegen.vecmath import EMITTERS
from comprehension.kernel.ir import (
    Axis,
    Buffer,
    Builtin,
    Int,
    IntOp,
    Kernel,
    Load,
    Loop,
    Space,
    Stage,
    Store,
    Tile,
    Var,
)
from comprehension.lang.builtins import BUILTINS
from comprehension.lang.philox import philox
from comprehension.lang.types import ScalarType as T

INF, NAN = np.inf, np.nan
COUNT = 240
mpmath.mp.dps = 40


def spread(low: float, high: float, signed: bool = False) -> Callable[[Any], Any]:
    """Magnitudes spread evenly over the exponents between two powers of e."""

    def draw(rng: Any) -> Any:
        values = np.exp(rng.uniform(low, high, COUNT))
        return values * rng.choice([-1, 1], COUNT) if signed else values

    return draw


def even(low: float, high: float) -> Callable[[Any], Any]:
    return lambda rng: rng.uniform(low, high, COUNT)


def mixed(*draws: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Equal parts of several distributions."""
    return lambda rng: np.concatenate([d(rng)[: COUNT // len(draws)] for d in draws])


ANY = mixed(spread(-60, 60, signed=True), even(-3, 3))
NEAR = mixed(spread(-40, 1, signed=True), even(-12, 12))
POSITIVE = mixed(spread(-80, 80), even(0.5, 2))
UNIT = mixed(even(-1, 1), spread(-40, -0.01, signed=True))

# name: (oracle, arguments); the bounds stand in `ULPS`
ONE: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "exp": (mpmath.exp, mixed(even(-87, 88), NEAR)),
    "exp2": (lambda x: mpmath.mpf(2) ** x, mixed(even(-126, 127), NEAR)),
    "exp10": (lambda x: mpmath.mpf(10) ** x, mixed(even(-37, 38), NEAR)),
    "expm1": (mpmath.expm1, mixed(even(-60, 80), NEAR)),
    "log": (mpmath.log, POSITIVE),
    "log2": (lambda x: mpmath.log(x, 2), POSITIVE),
    "log10": (mpmath.log10, POSITIVE),
    "log1p": (mpmath.log1p, mixed(spread(-60, 60), even(-0.9999, 3))),
    "tanh": (mpmath.tanh, NEAR),
    "sinh": (mpmath.sinh, NEAR),
    "cosh": (mpmath.cosh, NEAR),
    "asinh": (mpmath.asinh, ANY),
    "acosh": (mpmath.acosh, mixed(even(1, 3), spread(0, 60))),
    "atanh": (mpmath.atanh, UNIT),
    "sin": (mpmath.sin, mixed(NEAR, even(-1e5, 1e5), spread(10, 40))),
    "cos": (mpmath.cos, mixed(NEAR, even(-1e5, 1e5), spread(10, 40))),
    "tan": (mpmath.tan, mixed(NEAR, even(-1e5, 1e5))),
    "sinpi": (lambda x: mpmath.sinpi(x), mixed(even(-9, 9), spread(-20, 5, signed=True))),
    "cospi": (lambda x: mpmath.cospi(x), mixed(even(-9, 9), spread(-20, 5, signed=True))),
    "asin": (mpmath.asin, UNIT),
    "acos": (mpmath.acos, UNIT),
    "atan": (mpmath.atan, ANY),
    "erf": (mpmath.erf, mixed(NEAR, even(-4, 4))),
    "erfc": (mpmath.erfc, mixed(even(-3, 9), UNIT)),
    "erfcx": (lambda x: mpmath.exp(x * x) * mpmath.erfc(x), mixed(even(-5, 40), spread(3, 60))),
    "erfinv": (mpmath.erfinv, mixed(even(-1, 1), spread(-40, -1))),
    "erfcinv": (lambda x: mpmath.erfinv(1 - x), mixed(even(0.01, 1.99), spread(-30, -1))),
    "normcdf": (lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2, even(-5, 4)),  # x / sqrt(2) is rounded
    "normcdfinv": (lambda p: -mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * p), even(0.01, 0.4)),
    "sqrt": (mpmath.sqrt, POSITIVE),
    "rsqrt": (lambda x: 1 / mpmath.sqrt(x), POSITIVE),
    "cbrt": (lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), ANY),
    "rcbrt": (lambda x: mpmath.sign(x) / mpmath.cbrt(abs(x)), ANY),
    "lgamma": (lambda x: mpmath.re(mpmath.loggamma(x)), even(2.5, 30)),
    "tgamma": (mpmath.gamma, even(0.1, 30)),
    "cyl_bessel_i0": (lambda x: mpmath.besseli(0, x), mixed(even(-20, 20), even(0, 80))),
    "cyl_bessel_i1": (lambda x: mpmath.besseli(1, x), mixed(even(-20, 20), even(0, 80))),
    "j0": (lambda x: mpmath.besselj(0, x), even(0.1, 2)),
    "j1": (lambda x: mpmath.besselj(1, x), even(0.1, 3)),
    "y0": (lambda x: mpmath.bessely(0, x), even(1.2, 3)),
    "y1": (lambda x: mpmath.bessely(1, x), even(0.1, 2)),
    "fabs": (abs, ANY),
    "ceil": (mpmath.ceil, NEAR),
    "floor": (mpmath.floor, NEAR),
    "trunc": (lambda x: mpmath.sign(x) * mpmath.floor(abs(x)), NEAR),
    "round": (lambda x: mpmath.sign(x) * mpmath.floor(abs(x) + 0.5), NEAR),
    "logb": (lambda x: mpmath.mpf(mpmath.frexp(x)[1] - 1), ANY),
}  # fmt: skip
MORE: dict[str, tuple[Callable[..., Any], tuple[Callable[[Any], Any], ...]]] = {
    "pow": (lambda x, y: x**y, (mixed(spread(-9, 9), even(0.5, 2)), even(-9, 9))),
    "hypot": (mpmath.hypot, (ANY, ANY)),
    "rhypot": (lambda x, y: 1 / mpmath.hypot(x, y), (ANY, ANY)),
    "norm3d": (lambda x, y, z: mpmath.sqrt(x * x + y * y + z * z), (ANY, ANY, ANY)),
    "rnorm3d": (lambda x, y, z: 1 / mpmath.sqrt(x * x + y * y + z * z), (ANY, ANY, ANY)),
    "norm4d": (lambda x, y, z, w: mpmath.sqrt(x * x + y * y + z * z + w * w), (ANY,) * 4),
    "rnorm4d": (lambda x, y, z, w: 1 / mpmath.sqrt(x * x + y * y + z * z + w * w), (ANY,) * 4),
    "atan2": (mpmath.atan2, (ANY, ANY)),
    "fmod": (lambda x, y: mpmath.sign(x) * mpmath.fmod(abs(x), abs(y)), (NEAR, even(0.3, 9))),
    "remainder": (lambda x, y: x - y * mpmath.nint(x / y), (NEAR, even(0.3, 9))),
    "fdim": (lambda x, y: max(x - y, mpmath.mpf(0)), (NEAR, NEAR)),
    "fdivide": (lambda x, y: x / y, (NEAR, NEAR)),
    "fma": (lambda x, y, z: x * y + z, (NEAR, NEAR, NEAR)),
    "fmin": (min, (NEAR, NEAR)),
    "fmax": (max, (NEAR, NEAR)),
    "copysign": (lambda x, y: abs(x) * (-1 if y < 0 else 1), (NEAR, NEAR)),
}


INPUTS = "XYZWVU"


def kernel_of(names: tuple[str, ...], dtype: T, count: int, style: str, lanes: int = 16) -> Kernel:
    """One output per function over common inputs X, Y, Z, ..."""
    arity = max(EMITTERS[name][1] for name in names)
    inputs = INPUTS[:arity]
    stores = tuple(
        Store(f"out_{name}", (Var("l"),), Builtin(name, loads[: EMITTERS[name][1]], dtype))
        for name in names
        for loads in [tuple(Load(x, (Var("l"),), dtype) for x in inputs)]
    )
    buffers = [Buffer(x, dtype, (Int(count),), Space.INPUT) for x in inputs]
    buffers += [Buffer(f"out_{name}", dtype, (Int(count),), Space.OUTPUT) for name in names]
    if style == "scalar":
        stage = Stage("s", stores, Loop("l", Int(0), Int(count), ()))
    else:
        tile = Tile(None, Axis("l", IntOp("*", Var("b"), Int(lanes)), lanes, Int(count)), stores)
        stage = Stage("s", (tile,), Loop("b", Int(0), Int(-(-count // lanes)), ()))
    return Kernel("builtins", (), (), tuple(buffers), (stage,))


def run(names: tuple[str, ...], dtype: T, arguments: list[Any], style: str = "tile", lanes: int = 16) -> dict[str, Any]:
    arrays = [np.asarray(a, dtype.numpy) for a in arguments]
    native = Native(kernel_of(names, dtype, len(arrays[0]), style, lanes))
    memory = native.bind(dict(zip(INPUTS, arrays, strict=False)))
    assert native.run() == 0
    return {name: memory[f"out_{name}"] for name in names}


def worst_ulps(found: Any, oracle: Callable[..., Any], arguments: list[Any]) -> tuple[float, Any]:
    """The largest error in units of the result's last place (of the least normal number's, below it)."""
    kind = found.dtype.type
    least = float(np.finfo(kind).smallest_normal)
    worst, where = 0.0, None
    for index, value in enumerate(found):
        point = tuple(float(a[index]) for a in arguments)
        exact = oracle(*(mpmath.mpf(p) for p in point))
        if not abs(exact) <= float(np.finfo(kind).max):
            continue
        unit = float(np.spacing(kind(max(abs(float(exact)), least))))
        error = float(abs(mpmath.mpf(float(value)) - exact)) / unit
        if not error <= worst:  # NaN counts as worst
            worst, where = error, (point, value, exact)
    return worst, where


@pytest.mark.parametrize("dtype", [T.FLOAT32, T.FLOAT64], ids=str)
@pytest.mark.parametrize("name", sorted(ONE))
def test_error_of_one_argument(name: str, dtype: T) -> None:
    oracle, draw = ONE[name]
    points = draw(np.random.default_rng(7)).astype(dtype.numpy)
    worst, where = worst_ulps(run((name,), dtype, [points])[name], oracle, [points])
    assert worst <= ULPS[name][dtype is T.FLOAT64], (worst, where)


@pytest.mark.parametrize("dtype", [T.FLOAT32, T.FLOAT64], ids=str)
@pytest.mark.parametrize("name", sorted(MORE))
def test_error_of_more_arguments(name: str, dtype: T) -> None:
    oracle, draws = MORE[name]
    rng = np.random.default_rng(7)
    points = [draw(rng).astype(dtype.numpy) for draw in draws]
    worst, where = worst_ulps(run((name,), dtype, points)[name], oracle, points)
    assert worst <= ULPS[name][dtype is T.FLOAT64], (worst, where)


# (arguments, result): C99 annex F and CUDA
SPECIAL: dict[str, list[tuple[Any, ...]]] = {
    "exp": [(INF, INF), (-INF, 0.0), (NAN, NAN), (0.0, 1.0), (1000.0, INF), (-1000.0, 0.0)],
    "exp2": [(INF, INF), (-INF, 0.0), (NAN, NAN), (-0.0, 1.0), (10.0, 1024.0), (-2000.0, 0.0)],
    "exp10": [(INF, INF), (-INF, 0.0), (NAN, NAN), (0.0, 1.0), (2000.0, INF)],
    "expm1": [(INF, INF), (-INF, -1.0), (NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (1e-30, 1e-30)],
    "log": [(INF, INF), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (NAN, NAN), (1.0, 0.0), (-INF, NAN)],
    "log2": [(INF, INF), (0.0, -INF), (-1.0, NAN), (8.0, 3.0), (0.125, -3.0), (NAN, NAN)],
    "log10": [(INF, INF), (0.0, -INF), (-1.0, NAN), (1.0, 0.0), (1000.0, 3.0), (NAN, NAN)],
    "log1p": [(INF, INF), (-1.0, -INF), (-2.0, NAN), (0.0, 0.0), (-0.0, -0.0), (NAN, NAN), (1e-30, 1e-30)],
    "tanh": [(INF, 1.0), (-INF, -1.0), (NAN, NAN), (-0.0, -0.0), (100.0, 1.0)],
    "sinh": [(INF, INF), (-INF, -INF), (-0.0, -0.0), (NAN, NAN)],
    "cosh": [(INF, INF), (-INF, INF), (0.0, 1.0), (NAN, NAN)],
    "asinh": [(INF, INF), (-INF, -INF), (-0.0, -0.0), (NAN, NAN)],
    "acosh": [(INF, INF), (1.0, 0.0), (0.5, NAN), (-1e30, NAN), (NAN, NAN)],
    "atanh": [(1.0, INF), (-1.0, -INF), (2.0, NAN), (-0.0, -0.0), (NAN, NAN)],
    "sin": [(INF, NAN), (-INF, NAN), (NAN, NAN), (-0.0, -0.0)],
    "cos": [(INF, NAN), (NAN, NAN), (0.0, 1.0)],
    "tan": [(INF, NAN), (NAN, NAN), (-0.0, -0.0)],
    "sinpi": [(INF, NAN), (1.0, 0.0), (-3.0, -0.0), (0.5, 1.0), (1.5, -1.0), (NAN, NAN), (-0.0, -0.0)],
    "cospi": [(INF, NAN), (1.0, -1.0), (0.5, 0.0), (2.5, 0.0), (NAN, NAN), (1e30, 1.0)],
    "asin": [(2.0, NAN), (-0.0, -0.0), (NAN, NAN)],
    "acos": [(2.0, NAN), (1.0, 0.0), (NAN, NAN)],
    "atan": [(-0.0, -0.0), (NAN, NAN)],
    "erf": [(INF, 1.0), (-INF, -1.0), (-0.0, -0.0), (NAN, NAN), (30.0, 1.0)],
    "erfc": [(INF, 0.0), (-INF, 2.0), (0.0, 1.0), (NAN, NAN), (-30.0, 2.0), (1e30, 0.0)],
    "erfcx": [(INF, 0.0), (-INF, INF), (0.0, 1.0), (NAN, NAN), (-40.0, INF)],
    "erfinv": [(1.0, INF), (-1.0, -INF), (-0.0, -0.0), (1.5, NAN), (NAN, NAN)],
    "erfcinv": [(0.0, INF), (2.0, -INF), (1.0, 0.0), (-1.0, NAN), (2.5, NAN), (NAN, NAN)],
    "sqrt": [(INF, INF), (-0.0, -0.0), (-1.0, NAN), (NAN, NAN)],
    "rsqrt": [(INF, 0.0), (0.0, INF), (-0.0, -INF), (-1.0, NAN)],
    "cbrt": [(INF, INF), (-INF, -INF), (-0.0, -0.0), (NAN, NAN), (-27.0, -3.0)],
    "lgamma": [(INF, INF), (0.0, INF), (-1.0, INF), (1.0, 0.0), (NAN, NAN)],
    "cyl_bessel_i0": [(0.0, 1.0), (INF, INF), (NAN, NAN)],
    "cyl_bessel_i1": [(-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN)],
    "round": [(0.5, 1.0), (-0.5, -1.0), (2.5, 3.0), (-0.2, -0.0), (INF, INF), (NAN, NAN)],
    "logb": [(0.0, -INF), (INF, INF), (-INF, INF), (NAN, NAN)],
    "pow": [
        (0.0, 0.0, 1.0), (NAN, 0.0, 1.0), (1.0, NAN, 1.0), (1.0, INF, 1.0), (-1.0, INF, 1.0), (-1.0, -INF, 1.0),
        (0.0, -1.0, INF), (-0.0, -1.0, -INF), (-0.0, -2.0, INF), (-0.0, 3.0, -0.0), (-0.0, 2.0, 0.0),
        (-2.0, 3.0, -8.0), (-2.0, 0.5, NAN), (-INF, 0.5, INF), (-INF, 3.0, -INF), (-INF, -3.0, -0.0),
        (0.5, INF, 0.0), (0.5, -INF, INF), (2.0, INF, INF), (2.0, -INF, 0.0), (INF, -1.0, 0.0), (NAN, 1.0, NAN),
    ],
    "hypot": [(INF, NAN, INF), (NAN, -INF, INF), (NAN, 1.0, NAN), (0.0, -0.0, 0.0)],
    "rhypot": [(INF, NAN, 0.0), (0.0, 0.0, INF)],
    "fmin": [(NAN, 1.0, 1.0), (1.0, NAN, 1.0), (NAN, NAN, NAN)],
    "fmax": [(NAN, 1.0, 1.0), (1.0, NAN, 1.0), (NAN, NAN, NAN)],
    "fdim": [(NAN, 1.0, NAN), (INF, INF, 0.0), (INF, 1.0, INF)],
    "atan2": [(0.0, -0.0, np.pi), (-0.0, -0.0, -np.pi), (INF, INF, np.pi / 4), (-0.0, 1.0, -0.0)],
    "fmod": [(1.0, 0.0, NAN), (INF, 1.0, NAN), (5.0, INF, 5.0), (-6.0, 3.0, -0.0)],
    "remainder": [(1.0, 0.0, NAN), (5.0, 2.0, 1.0), (7.0, 2.0, -1.0)],
}  # fmt: skip


@pytest.mark.parametrize("dtype", [T.FLOAT32, T.FLOAT64], ids=str)
@pytest.mark.parametrize("name", sorted(SPECIAL))
def test_special_values(name: str, dtype: T) -> None:
    rows = np.array(SPECIAL[name])
    arguments, expected = list(rows.T[:-1]), rows.T[-1].astype(dtype.numpy)
    found = run((name,), dtype, arguments)[name]
    np.testing.assert_array_equal(found, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("dtype", [T.FLOAT32, T.FLOAT64], ids=str)
@pytest.mark.parametrize("name", ["exp", "exp2", "exp10", "log", "log2", "sqrt", "cbrt"])
def test_denormals(name: str, dtype: T) -> None:
    """Arguments or results below the least normal number are neither flushed nor rounded twice."""
    tiny = dtype.numpy.type(np.finfo(dtype.numpy).smallest_normal)
    if name.startswith("exp"):
        base = {"exp": 1.0, "exp2": np.log(2.0), "exp10": np.log(10.0)}[name]
        points = ((np.log(float(tiny)) - np.linspace(0.1, 14, 60)) / base).astype(dtype.numpy)
    else:
        points = tiny * np.linspace(0.001, 0.999, 60).astype(dtype.numpy)
    worst, where = worst_ulps(run((name,), dtype, [points])[name], ONE[name][0], [points])
    assert worst <= 4, (worst, where)


@functools.cache
def shared_points(dtype: T) -> tuple[Any, ...]:
    rng = np.random.default_rng(1)
    return tuple(ANY(rng).astype(dtype.numpy) for _ in range(4))


@pytest.mark.parametrize("dtype", [T.FLOAT32, T.FLOAT64], ids=str)
def test_scalars_and_tiles_agree_to_the_bit(dtype: T) -> None:
    names = ("exp", "expm1", "log", "log1p", "tanh", "erf", "sin", "rsqrt", "pow", "hypot")
    points = list(shared_points(dtype)[:2])
    tiles, scalars = run(names, dtype, points, "tile"), run(names, dtype, points, "scalar")
    for name in names:
        np.testing.assert_array_equal(tiles[name], scalars[name], err_msg=name)


@pytest.mark.parametrize("lanes", [4, 24, 48, 64])
def test_tables_are_looked_up_at_every_width(lanes: int) -> None:
    points = np.random.default_rng(5).uniform(-4.5, 4.5, 500).astype(np.float32)
    found, expected = (run(("erf",), T.FLOAT32, [points], "tile", width)["erf"] for width in (lanes, 16))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("tables", [True, False])
def test_erf_with_and_without_tables(tables: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors whose registers hold no table, and the last pieces, where the result rounds to 1."""
    monkeypatch.setattr(native_kernels, "_LOADED", {})  # the source is the same, the machine code is not
    if not tables:
        monkeypatch.setattr(special, "looked_up", lambda *_: None)
    points = np.concatenate([ONE["erf"][1](np.random.default_rng(2)), np.linspace(3.5, 4.1, 200)]).astype(np.float32)
    found = run(("erf",), T.FLOAT32, [points])["erf"]
    worst, where = worst_ulps(found, mpmath.erf, [points])
    assert worst <= ULPS["erf"][0], (worst, where)
    assert np.abs(found).max() == 1.0


@pytest.mark.parametrize(("style", "lanes"), [("scalar", 1), ("tile", 16), ("tile", 8), ("tile", 3)])
def test_random_words_are_philox(style: str, lanes: int) -> None:
    words = np.random.default_rng(7).integers(0, 2**32, (6, 67), np.uint32)
    words[:, 0], words[:, 1] = 0, 2**32 - 1
    found = run(("philox",), T.UINT32, list(words), style, lanes)["philox"]
    assert found.tolist() == [philox(*map(int, point)) for point in words.T]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the generator's published known-answer tests
        ((0, 0, 0, 0), (0, 0), 0x6627E8D5),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, 0x408F276D),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), 0xD16CFE09),
    ],
)
def test_philox_gives_the_published_words(counter: tuple[int, ...], key: tuple[int, ...], expected: int) -> None:
    assert philox(*counter, *key) == expected


def test_every_builtin_of_the_language_is_here_with_its_arity() -> None:
    assert {name: arity for name, (_, arity) in EMITTERS.items()} == {n: b.arity for n, b in BUILTINS.items()}


def test_every_builtin_is_measured() -> None:
    assert set(EMITTERS) - set(ONE) - set(MORE) == {"nextafter", "philox"}  # bit by bit in tests of their own
    assert set(ULPS) == set(EMITTERS) - {"philox"}


def test_the_page_lists_the_bounds() -> None:
    page = (Path(__file__).parents[2] / "docs" / "numerics.md").read_text()
    rows = re.findall(r"^\| (`[^|]+) \| ([\d.]+) \| ([\d.]+) \|", page, re.M)
    listed = {
        n: (float(single), float(double)) for names, single, double in rows for n in re.findall(r"`(\w+)`", names)
    }
    assert listed == ULPS


def test_nextafter() -> None:
    rng = np.random.default_rng(3)
    x, y = ANY(rng).astype(np.float32), ANY(rng).astype(np.float32)
    x[:3], y[:3] = [0.0, 1.0, INF], [1.0, 1.0, 0.0]
    np.testing.assert_array_equal(run(("nextafter",), T.FLOAT32, [x, y])["nextafter"], np.nextafter(x, y))
