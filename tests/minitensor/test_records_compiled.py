"""Every record: its comprehension, compiled for the CPU, computes what its eager rule computes.

One case a record, the largest of a dozen drawn from a fixed seed: each costs a compilation (kept in the
cache), so breadth over operands is left to the reference interpreter in test_records.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

import comprehension as tc
import minitensor as mt
from comprehension.lang.tree import Program
from minitensor.dispatch import apply
from minitensor.errors import NoComprehension
from minitensor.ops.opdef import REGISTRY, OpDef
from minitensor.testing import ErrorBounds
from minitensor.testing.strategies import Case, operands_for

COMPILED = sorted(name for name, op in REGISTRY.items() if op.comprehension is not None)


def largest_case(op: OpDef) -> Case:
    """The case with most elements of a dozen, the same in every run."""
    drawn: list[Case] = []

    @seed(5)
    @settings(
        max_examples=12,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operands_for(op, "float32"))
    def collect(case: Case) -> None:
        drawn.append(case)

    collect()
    return max(drawn, key=lambda case: sum(x.size for x in case.operands if isinstance(x, np.ndarray)))


def arguments(case: Case, definition: Any) -> list[Any]:
    """The operands; weak scalars in the type of their parameter."""
    return [
        x if isinstance(x, np.ndarray) else parameter.type.scalar.numpy.type(x)
        for x, parameter in zip(case.operands, definition.inputs, strict=True)
    ]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_kernel_computes_what_eager_computes(name: str) -> None:
    op = REGISTRY[name]
    case = largest_case(op)
    assert op.comprehension is not None
    try:
        definition = op.comprehension(*case.specs, **case.attributes)
    except NoComprehension as reason:
        assert name in ("imag", "bitwise_and", "bitwise_or", "bitwise_xor"), reason
        return
    with ErrorBounds() as bounds, np.errstate(all="ignore"):
        result = apply(
            op, *[mt.asarray(x) if isinstance(x, np.ndarray) else x for x in case.operands], **case.attributes
        )
    expected = bounds.of(result)
    received = tc.define(Program((definition,)))[definition.name](*arguments(case, definition))
    assert received.dtype == result.dtype
    assert received.shape == result.shape
    # The operands are exact here, so nothing is undetermined.
    assert np.isfinite(expected.bound).all()
    value = expected.value
    same = (received == value) | (np.isnan(received) & np.isnan(value))
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.asarray(received, np.float64) - np.asarray(value, np.float64))
    assert np.all(same | (distance <= expected.bound)), (received, value, expected.bound)
