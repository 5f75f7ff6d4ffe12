"""Random draws: the published generator, its state, and the shape of the distributions."""

from __future__ import annotations

import random as python_random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

import minitensor as mt
from minitensor.ops.random import inverse_normal, philox_word

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
