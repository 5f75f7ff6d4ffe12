"""Drawn texts over the whole language, compiled in every mode: the reference's bits.

Each example compiles; `make fuzz` draws thousands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import given, settings, strategies as st

import comprehension as tc
from comprehension.config import config
from comprehension.testing import Example, examples

OPTIONS = st.builds(
    tc.MappingOptions,
    tile=st.none() | st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple),
    fusion=st.sampled_from(("preserve", "max", "min")),
    vectorize=st.sampled_from((None, False, 4)),
    unroll=st.sampled_from((None, 1, 8)),
    parallel=st.booleans(),
)
FEW = max(12, settings().max_examples // 2)


def assert_bits(found: Any, expected: Any, example: Example) -> None:
    pairs = zip(*(v if isinstance(v, tuple) else (v,) for v in (found, expected)), strict=True)
    for mine, other in pairs:
        assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(mine, other, err_msg=str(example))


@contextmanager
def divided(threads: int) -> Iterator[None]:
    """So many threads, and every stage divided among them."""
    before = config.threads, config.parallel_ns
    config.threads, config.parallel_ns = threads, 1.0
    yield
    config.threads, config.parallel_ns = before


MODES: dict[str, Any] = {
    "sizes": st.sampled_from(("static", "symbolic")),
    "options": OPTIONS,
    "threads": st.sampled_from((1, 2)),
}


def assert_as_the_reference(example: Example, sizes: Any, options: tc.MappingOptions, threads: int, math: Any) -> None:
    with divided(threads):
        kernel = tc.define(example.text, sizes=sizes).f.compile(*example.inputs, options=options, math=math)
        assert kernel.certificate
        assert_bits(kernel(*example.inputs), tc.define(example.text).f.reference(*example.inputs), example)


@settings(max_examples=FEW)
@given(example=examples(regimes=["integers"]), **MODES)
def test_fast_kernels_give_the_reference_s_integers(
    example: Example, sizes: Any, options: tc.MappingOptions, threads: int
) -> None:
    assert_as_the_reference(example, sizes, options, threads, "fast")


@settings(max_examples=FEW)
@given(example=examples().filter(lambda e: e.exact), **MODES)
def test_strict_kernels_give_the_reference_s_bits(
    example: Example, sizes: Any, options: tc.MappingOptions, threads: int
) -> None:
    assert_as_the_reference(example, sizes, options, threads, "strict")
