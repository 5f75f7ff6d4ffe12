"""Random draws: the published generator, its state, and the shape of the distributions."""

from __future__ import annotations

import random as python_random
import re

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import special, stats

import minitensor as mt
from comprehension import define
from comprehension.lang.printer import to_text
from minitensor.ops.opdef import TensorSpec
from minitensor.ops.random import NORMAL, UNIFORM, inverse_normal, philox_word

SEEDS = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("words", "element", "expected"),
    [  # key low, key high, draw low, draw high; the generator's published known-answer tests where they apply
        ((0, 0, 0, 0), 0, 0x6627E8D5),
        ((0, 0, 0, 0), 1, None),
    ],
)
def test_known_answer(words: tuple[int, ...], element: int, expected: int | None) -> None:
    word = philox_word(np.array(words, np.uint32), element + 1)[element]
    assert word == (_philox((element, 0, words[2], words[3]), words[:2]) if expected is None else expected)


def _philox(counter: tuple[int, ...], key: tuple[int, ...]) -> int:
    """Philox4x32-10 on Python integers, written from the paper's definition."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c[0]


@given(SEEDS, st.integers(0, 2**64 - 1), st.integers(0, 300) | st.integers(8180, 8205) | st.just(20000))
def test_vectorised_words_equal_the_definition(seed: int, draw: int, element: int) -> None:
    words = (seed % 2**32, seed >> 32, draw % 2**32, draw >> 32)
    vectorised = philox_word(np.array(words, np.uint32), element + 1)[element]
    assert vectorised == _philox((element, 0, *words[2:]), words[:2])


@given(SEEDS, st.integers(0, 2**64 - 1))
def test_a_draw_is_the_definitions_at_every_word_of_seed_and_draw(seed: int, draw: int) -> None:
    generator, key = mt.random.Generator(seed), (seed % 2**32, seed >> 32)
    assert generator.bits((1,)).tolist() == [_philox((0, 0, 0, 0), key)]
    generator.set_state((seed, draw))
    assert generator.bits((1,)).tolist() == [_philox((0, 0, draw % 2**32, draw >> 32), key)]


def test_every_quantile_within_bound() -> None:
    """All 2²⁴ normals: absolute error 2⁻²⁰ at most (the algorithm's 1e-7 relative and one rounding to float32)."""
    bits = np.arange(0, 2**24, 7, dtype=np.uint32) << 8
    exact = special.ndtri((np.arange(0, 2**24, 7) + 0.5) * 2.0**-24)
    computed = inverse_normal(bits)
    assert np.isfinite(computed).all()
    assert np.abs(computed - exact).max() < 2.0**-20
    assert (np.abs(computed - exact) <= 2.0**-22 * np.abs(exact) + 2.0**-24).all()


def test_kernels_have_the_same_quantiles_to_the_bit() -> None:
    """Every word but its last 8 bits that a normal can have (each seventh: all are the same, in some seconds)."""
    bits = np.arange(0, 2**24, 7, dtype=np.uint32) << 8
    assert NORMAL.comprehension is not None
    definition = NORMAL.comprehension(TensorSpec((4,), np.dtype(np.uint32)), shape=(len(bits),))
    text, found = re.subn(r"philox\(i, 0, .*?x0\(1\)\)", "x0(i)", to_text(definition))
    assert found == 1
    kernel = define(text.replace("uint32(4) x0", f"uint32({len(bits)}) x0"))[definition.name]
    np.testing.assert_array_equal(kernel(bits), inverse_normal(bits))


def test_elements_beyond_int32_have_words_of_their_own() -> None:
    """Their number is computed in int64, where sizes are symbols too; so the counter's second word counts."""
    words = np.array([5, 6, 7, 8], np.uint32)
    assert UNIFORM.comprehension is not None
    for shape in [(2**20, 2**13), ("M", "N")]:
        definition = UNIFORM.comprehension(TensorSpec((4,), np.dtype(np.uint32)), shape=shape)
        text = to_text(definition).replace("i in 0:", "i in 524288:").replace("r0(i, j)", "r0(i - 524288, j)")
        text = text.replace(f"{shape[0]}", "524290").replace(f"{shape[1]}", "8192")
        found = define(text)[definition.name](words)
        expected = [_philox((e % 2**32, e >> 32, 7, 8), (5, 6)) for e in (2**32, 2**32 + 8191, 2**32 + 8192)]
        assert [found[0, 0], found[0, 8191], found[1, 0]] == [(word >> 8) * 2.0**-24 for word in expected]


@given(SEEDS)
def test_state_restores_every_kind_of_draw(seed: int) -> None:
    generator = mt.random.Generator(seed)
    generator.uniform((3,))
    state = generator.get_state()

    def draws() -> list[list[float]]:
        return [
            generator.uniform((5,)).tolist(),
            generator.normal((2, 2)).tolist(),
            generator.randint(-3, 9, (4,)).tolist(),
            generator.permutation(6).tolist(),
        ]

    first = draws()
    assert generator.get_state() != state
    generator.set_state(state)
    assert draws() == first


def test_unused_draw_advances_the_state() -> None:
    generator = mt.random.Generator(3)
    generator.uniform((2,))
    second = generator.uniform((2,)).tolist()
    generator.seed(3)
    assert generator.uniform((2,)).tolist() != second


def test_shape_changes_no_element() -> None:
    generator = mt.random.Generator(11)
    flat = generator.uniform((12,)).tolist()
    generator.seed(11)
    assert generator.uniform((3, 4)).reshape((12,)).tolist() == flat


def test_distributions() -> None:
    """Kolmogorov-Smirnov and chi-square at fixed seeds: p-values far from 0 for a right generator."""
    generator = mt.random.Generator(2024)
    assert stats.kstest(generator.uniform((20_000,)).numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(generator.normal((20_000,)).numpy(), "norm").pvalue > 1e-3
    counts = np.bincount(generator.randint(0, 10, (20_000,)).numpy(), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3


@given(SEEDS, st.integers(0, 40))
def test_permutation_holds_every_number_once(seed: int, n: int) -> None:
    assert sorted(mt.random.Generator(seed).permutation(n).tolist()) == list(range(n))


def test_other_generators_are_not_touched() -> None:
    python_random.seed(5)
    np.random.seed(5)
    before = python_random.getstate(), np.random.get_state()[1].tolist()
    mt.random.normal((4,))
    mt.nn.Linear(3, 3)
    assert (python_random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mt.random.Generator(-1), "-1"),
        (lambda: mt.random.uniform((2,), 2.0, 1.0), "2.0"),
        (lambda: mt.random.normal((2,), 0.0, -1.0), "-1.0"),
        (lambda: mt.random.randint(4, 4), "4"),
        (lambda: mt.random.permutation(-2), "-2"),
    ],
)
def test_bad_parameters_are_named(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
