"""The kernel table's cases at small sizes: texts, NumPy formulations and exact results agree with one another.

What is compared is independent three times over: the text interpreted by the reference, NumPy's formulation, and
float64 with bounds.
"""

from __future__ import annotations

import numpy as np
import pytest

import comprehension as tc
from benchmarks.kernels import contractions, movements
from benchmarks.kernels.bounded import Bounded, check
from benchmarks.kernels.case import Case
from benchmarks.kernels.cases import CASES
from benchmarks.kernels.formulations import as_tuple
from benchmarks.kernels.formulations.with_numpy import FORMULATIONS

SMALL = [
    contractions.tmm("tmm", 3, 5, 7),
    contractions.bmm("bmm", 2, 3, 4, 5),
    contractions.gconv(5, 2, 3, 6),
    contractions.depthwise(2, 3, 5),
    contractions.mlp1(3, 4, 5),
    contractions.mlp3(3, 4, 5, 6, 2),
    contractions.kronecker3(2, 2, 3, 4, 5),
    contractions.wavenet1(2, 2, 3, 4, 5, 7),
    contractions.attention(1, 2, 3, 4),
    movements.lut(1, 20, 3, 16, 2),
    movements.lut(2, 20, 3, 16, 2),
    movements.moments(3, 9),
    movements.group_norm(2, 6, 3, 2, 1),
    movements.group_norm(2, 6, 3, 2, 2),
    movements.softmax(3, 7),
    movements.layer_norm(3, 7),
    movements.gelu(17),
    movements.whole("transpose", "transpose", movements.TRANSPOSE, 3, 4),
    movements.whole("sum over rows", "sum_rows", movements.SUM_ROWS, 3, 4),
    movements.whole("sum over columns", "sum_columns", movements.SUM_COLUMNS, 3, 4),
    movements.whole("sliding", "sliding", movements.SLIDING, 2, 20),
]


def _compare(case: Case, found: tuple[np.ndarray, ...]) -> None:
    for array, expected in zip(found, case.exact(*case.inputs()[0]), strict=True):
        check(array, expected.value, np.broadcast_to(expected.bound, expected.value.shape), case.name)


def test_every_family_of_the_table_is_here() -> None:
    assert {case.family for case in SMALL} == {case.family for case in CASES}


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.family)
def test_the_text_means_what_is_measured(case: Case) -> None:
    inputs = case.inputs()[0]
    module = tc.define(case.text)
    if case.family == "group_norm_two":
        mean, var = module.moments.reference(inputs[0])
        _compare(case, as_tuple(module.normalise.reference(*inputs, mean, var)))
    else:
        (comprehension,) = module
        _compare(case, as_tuple(comprehension.reference(*inputs)))


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.family)
def test_numpy_computes_the_same_fresh_and_into_held_outputs(case: Case) -> None:
    inputs, body = case.inputs()[0], FORMULATIONS[case.family]
    fresh = as_tuple(body(*inputs, **case.fixed))
    _compare(case, fresh)
    held = tuple(np.full_like(x, np.nan) for x in fresh)
    body(*inputs, out=held, **case.fixed)
    _compare(case, held)


def test_a_wrong_element_is_found() -> None:
    exact = Bounded(np.ones((3, 4)), np.full((3, 4), 1e-6))
    wrong = np.ones((3, 4), np.float32)
    wrong[1, 2] += 1e-4
    with pytest.raises(AssertionError, match="outside|expected"):
        check(wrong, exact.value, exact.bound, "planted")
