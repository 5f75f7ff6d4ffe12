"""Every record: its rules agree with each other, on operands drawn for it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import minitensor as mt
from comprehension.lang.check import check
from comprehension.lang.parser import parse
from comprehension.lang.printer import to_text
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.tree import Program
from comprehension.lang.types import Spec
from minitensor.dispatch import apply
from minitensor.errors import NoComprehension
from minitensor.ops.opdef import REGISTRY, OpDef, TensorSpec
from minitensor.testing import gradcheck, gradgradcheck
from minitensor.testing.strategies import Case, operands_for

ALL = sorted(REGISTRY)
DIFFERENTIABLE = [name for name in ALL if REGISTRY[name].vjp is not None]
UNKNOWN_SHAPE = {"nonzero", "unique"}
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)  # explaining takes minutes
quick = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)


def run_eager(op: OpDef, case: Case) -> tuple[np.ndarray[Any, Any], ...]:
    with np.errstate(all="ignore"):
        result = op.eager(*case.operands, **case.attributes)
    return tuple(np.asarray(r) for r in (result if isinstance(result, tuple) else (result,)))


@pytest.mark.parametrize("name", [name for name in ALL if name not in UNKNOWN_SHAPE])
@quick
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64", "int32", "uint8"]))
def test_infer_foretells_shape_and_dtype(name: str, data: st.DataObject, dtype: str) -> None:
    op = REGISTRY[name]
    case = data.draw(operands_for(op, dtype))
    try:
        results = run_eager(op, case)
    except (TypeError, OverflowError):
        assume(False)
    specs = op.infer(*case.specs, **case.attributes)
    found = tuple(TensorSpec(r.shape, r.dtype) for r in results)
    assert found == (specs if isinstance(specs, tuple) else (specs,))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@settings(quick, max_examples=8, derandomize=True)  # a drawn tie of max would be no error
@given(data=st.data())
def test_gradients_are_slopes_twice(name: str, data: st.DataObject) -> None:
    op = REGISTRY[name]
    case = data.draw(operands_for(op, "float64"))
    if case.attributes.get("dtype", np.dtype(np.float64)).kind != "f":
        return
    if name == "astype":
        case.attributes["dtype"] = np.dtype(np.float64)
    checked = [
        k for k, x in enumerate(case.operands) if isinstance(x, np.ndarray) and x.dtype in (np.float64, np.complex128)
    ]
    if name in ("max_pool2d_grad", "max_pool2d_pick"):
        checked = [2]

    def function(*inputs: Any) -> mt.Tensor:
        operands = list(case.operands)
        for k, x in zip(checked, inputs, strict=True):
            operands[k] = x
        return apply(op, *[mt.asarray(x) if isinstance(x, np.ndarray) else x for x in operands], **case.attributes)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gradcheck(function, [case.operands[k] for k in checked])
        gradgradcheck(function, [case.operands[k] for k in checked])


@pytest.mark.parametrize("name", [name for name in ALL if REGISTRY[name].comprehension is not None])
@quick
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64", "int32", "bool"]))
def test_comprehension_is_a_text(name: str, data: st.DataObject, dtype: str) -> None:
    op = REGISTRY[name]
    case = data.draw(operands_for(op, dtype))
    assert op.comprehension is not None
    try:
        definition = op.comprehension(*case.specs, **case.attributes)
    except NoComprehension:
        return
    program = Program((definition,))
    assert parse(to_text(program)) == program


def symbolic(value: Any, named: int | None) -> Any:
    """Shapes with every extent `named` called N."""
    if isinstance(value, TensorSpec):
        return TensorSpec(tuple("N" if n == named else n for n in value.shape), value.dtype)
    return tuple("N" if n == named else n for n in value) if isinstance(value, tuple) else value


def run_reference(op: OpDef, case: Case, named: int | None = None) -> tuple[np.ndarray[Any, Any], ...]:
    """The comprehension of a record by the reference interpreter; the extent `named` stays a symbol."""
    assert op.comprehension is not None
    attributes = {k: symbolic(v, named) if k == "shape" else v for k, v in case.attributes.items()}
    definition = op.comprehension(*(symbolic(x, named) for x in case.specs), **attributes)
    checked = check(Program((definition,)))[definition.name]
    arrays: dict[str, Any] = {}
    values: dict[str, Any] = {}
    specs = []
    for parameter, operand in zip(definition.inputs, case.operands, strict=True):
        assert parameter.type is not None
        array = np.asarray(operand, dtype=parameter.type.scalar.numpy)
        specs.append(Spec(symbolic(array.shape, named), array.dtype))
        (arrays if array.shape or isinstance(operand, np.ndarray) else values)[parameter.name] = array
    program = infer(checked, specs, "static" if named is None else "symbolic")
    scalars = {s.name for s in program.scalars}
    values |= {name: arrays.pop(name) for name in tuple(arrays) if name in scalars}
    with np.errstate(all="ignore"):
        numbers = {name: value[()] for name, value in values.items()}
        found = run(program, arrays, numbers)
    return tuple(np.asarray(found[p.name]) for p in definition.outputs)


@pytest.mark.parametrize("name", [name for name in ALL if REGISTRY[name].comprehension is not None])
@quick
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64", "int32", "uint8", "bool"]))
def test_comprehension_means_what_eager_computes(name: str, data: st.DataObject, dtype: str) -> None:
    op = REGISTRY[name]
    regime = data.draw(st.sampled_from(["exact", "scaled", "special"]))
    case = data.draw(operands_for(op, dtype, regime))
    try:
        results = run_eager(op, case)
        found = run_reference(op, case)
    except (NoComprehension, TypeError, OverflowError):
        return
    for received, expected in zip(found, results, strict=True):
        assert received.dtype == expected.dtype
        assert received.shape == expected.shape
        assert_close(received, expected, case, regime)


@pytest.mark.parametrize("name", [name for name in ALL if REGISTRY[name].comprehension is not None])
@quick
@given(data=st.data())
def test_comprehension_holds_for_a_symbolic_size(name: str, data: st.DataObject) -> None:
    op = REGISTRY[name]
    case = data.draw(operands_for(op, "float32", "exact"))
    extents = sorted(
        {n for x in case.specs if isinstance(x, TensorSpec) for n in x.shape if isinstance(n, int) and n > 1}
    )
    named = data.draw(st.sampled_from(extents)) if extents else None
    try:
        found = run_reference(op, case, named)
    except NoComprehension:
        return
    for received, expected in zip(found, run_eager(op, case), strict=True):
        assert received.shape == expected.shape
        assert_close(received, expected, case, "exact")


def assert_close(received: Any, expected: Any, case: Case, regime: str) -> None:
    """Equal to the bit where that is meant; otherwise within 8 units in the last place of the largest sum of
    magnitudes that can have been added up."""
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(received, expected)
        return
    sizes = [np.nansum(np.abs(np.where(np.isfinite(x), x, 0))) for x in case.operands if isinstance(x, np.ndarray)]
    scale = max([1.0, *(float(s) for s in sizes)]) ** max(1, len(sizes))
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(received), finite)
    np.testing.assert_array_equal(received[~finite], expected[~finite])
    allowed = 8 * np.finfo(expected.dtype).eps * np.maximum(scale, np.abs(expected[finite]))
    assert np.all(np.abs(received[finite] - expected[finite]) <= allowed), (received, expected)


def test_complex_operands_have_no_comprehension() -> None:
    spec = TensorSpec((2,), np.dtype(np.complex64))
    for name in ("add", "exp", "sum"):
        rule = REGISTRY[name].comprehension
        assert rule is not None
        with pytest.raises(NoComprehension, match="complex64"):
            rule(*[spec] * (2 if name == "add" else 1), **({"axis": (0,), "keepdims": False} if name == "sum" else {}))


def test_every_opaque_record_says_why() -> None:
    for op in REGISTRY.values():
        assert (op.comprehension is None) == bool(op.opaque_because), op
