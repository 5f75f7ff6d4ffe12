"""Every record's comprehension, compiled: the CPU kernel and the simulated CUDA kernel do what the eager rule does.

Operands are small and drawn once per record and regime from a fixed seed, so that the number of compilations is
bounded; breadth over operands is left to the reference interpreter (tests/minitensor/test_records.py).  Small
integers must come out exactly; scaled floats within the running error bound of the operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

import comprehension as tc
import minitensor as mt
from comprehension.jit.cuda import lower_to_cuda
from comprehension.jit.cuda_simulator import CudaSimulator
from comprehension.kernel import ir
from comprehension.lang.check import check
from comprehension.lang.ranges import infer
from comprehension.lang.tree import Def, Program
from comprehension.lang.types import Spec
from minitensor.dispatch import apply, apply_several
from minitensor.errors import NoComprehension
from minitensor.ops.opdef import REGISTRY, OpDef
from minitensor.testing import ErrorBounds
from minitensor.testing.bounds import Bounded
from minitensor.testing.strategies import Case, operands_for

Array = np.ndarray[Any, Any]
LOWERED = sorted(name for name, op in REGISTRY.items() if op.comprehension is not None)


@pytest.fixture(scope="module")
def simulator() -> Iterator[CudaSimulator]:
    with CudaSimulator() as running:
        yield running


def largest_case(op: OpDef, regime: str) -> Case:
    """The case with most elements of a dozen, the same in every run: each costs a compilation."""
    drawn: list[Case] = []

    @seed(5)
    @settings(
        max_examples=12, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=operands_for(op, "float32", regime))
    def collect(case: Case) -> None:
        drawn.append(case)

    collect()
    return max(drawn, key=lambda case: sum(np.size(x) for x in case.operands))


def definition_of(op: OpDef, case: Case) -> Def | None:
    """The record's def for these operands; None where it says that there is none."""
    assert op.comprehension is not None
    try:
        return op.comprehension(*case.specs, **case.attributes)
    except NoComprehension:
        return None


def arguments_of(definition: Def, case: Case) -> list[Any]:
    """The operands as the def's parameters take them: arrays, and numbers of the parameters' types."""
    assert all(p.type is not None for p in definition.inputs)
    return [np.asarray(x, p.type.scalar.numpy)[()] for p, x in zip(definition.inputs, case.operands, strict=True)]


def expected_of(op: OpDef, case: Case) -> list[Bounded]:
    """The eager results with their error bounds."""
    if op.name == "nextafter":  # a step in float32 is none in float64
        return [Bounded(op.eager(*case.operands), np.zeros(()))]
    operands = [mt.asarray(x) if isinstance(x, np.ndarray) else x for x in case.operands]
    with ErrorBounds() as bounds, np.errstate(all="ignore"):
        if op.outputs == 1:
            return [bounds.of(apply(op, *operands, **case.attributes))]
        return [bounds.of(output) for output in apply_several(op, *operands, **case.attributes)]


def assert_agrees(received: Array, expected: Bounded, what: str) -> None:
    """|received − exact| ≤ bound, elementwise; integers and booleans exactly."""
    assert received.shape == expected.value.shape, what
    if expected.value.dtype.kind != "f":
        np.testing.assert_array_equal(received, expected.value, err_msg=what)
        return
    special = ~np.isfinite(expected.value)
    np.testing.assert_array_equal(received[special], expected.value[special].astype(received.dtype), err_msg=what)
    assert np.isfinite(np.broadcast_to(expected.bound, special.shape)[~special]).all(), f"{what}: undetermined"
    wrong = ~special & ~(np.abs(received - np.where(special, 0, expected.value)) <= expected.bound)
    assert not wrong.any(), f"{what}: {received[wrong]} instead of {expected.value[wrong]} ± {np.max(expected.bound)}"


@pytest.mark.parametrize("regime", ["exact", "scaled"])
@pytest.mark.parametrize("name", LOWERED)
def test_cpu_kernel_is_the_eager_rule(name: str, regime: str) -> None:
    op = REGISTRY[name]
    case = largest_case(op, regime)
    definition = definition_of(op, case)
    if definition is None:
        return
    comprehension = tc.define(Program((definition,)))[definition.name]
    arguments = arguments_of(definition, case)
    kernel = comprehension.compile(*arguments)
    assert kernel.certificate, kernel.certificate
    found = kernel(*arguments)
    results = found if isinstance(found, tuple) else (found,)
    for received, expected in zip(results, expected_of(op, case), strict=True):
        assert_agrees(np.asarray(received), expected, name)


@pytest.mark.parametrize("name", LOWERED)
def test_simulated_cuda_kernel_is_the_eager_rule(name: str, simulator: CudaSimulator) -> None:
    op = REGISTRY[name]
    case = largest_case(op, "exact")
    definition = definition_of(op, case)
    if definition is None:
        return
    arguments = dict(zip([p.name for p in definition.inputs], arguments_of(definition, case), strict=True))
    checked = check(Program((definition,)))[definition.name]
    specs = [Spec(np.shape(x), np.asarray(x).dtype) for x in arguments.values()]
    found = lower_to_cuda(infer(checked, specs, "static"))
    assert found.certificate, found.certificate.text
    scalars = {name for name, _ in found.kernel.scalars}
    memory = {name: np.asarray(x) for name, x in arguments.items() if name not in scalars}
    for buffer in found.kernel.buffers:
        if buffer.space in (ir.Space.OUTPUT, ir.Space.WORKSPACE):
            shape = [extent.value for extent in buffer.shape if isinstance(extent, ir.Int)]
            memory[buffer.name] = np.zeros(shape, buffer.dtype.numpy)
    after = simulator.run(found.generated, memory, {}, {name: arguments[name] for name in scalars})
    for output, expected in zip(definition.outputs, expected_of(op, case), strict=True):
        assert_agrees(after[output.name], expected, name)
