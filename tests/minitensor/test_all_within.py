"""Whether integers lie in a range, against NumPy's comparison of each."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, integer_dtypes, unsigned_integer_dtypes

from minitensor.ops.bounds import all_within

DTYPES = st.one_of(integer_dtypes(endianness="="), unsigned_integer_dtypes(endianness="="), st.just(np.dtype(bool)))


@given(st.data(), st.integers(-300, 0), st.integers(0, 300))
def test_the_answer_is_numpys(data: st.DataObject, low: int, high: int) -> None:
    x = data.draw(DTYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(min_side=0, max_side=12))))
    if data.draw(st.booleans()):
        x = x.clip(0, 9)[::-1]
    assert all_within(x, low, high) == ((low <= x) & (x < high)).all()
