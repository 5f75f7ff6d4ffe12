"""Every record: its rules agree with each other, on operands drawn for it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from minitensor.errors import NoComprehension
from minitensor.ops.opdef import REGISTRY, OpDef, TensorSpec
from minitensor.testing import check_gradients, check_infer, check_meaning, check_text
from minitensor.testing.agreement import check_bounded, run_eager
from minitensor.testing.strategies import Case, operands_for

ALL = sorted(REGISTRY)
DIFFERENTIABLE = [name for name in ALL if REGISTRY[name].vjp is not None]
UNKNOWN_SHAPE = {"nonzero", "unique"}
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)  # explaining takes minutes
quick = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)


COMPOSED = [name for name in ALL if REGISTRY[name].composition is not None]
COMPREHENDED = [name for name in ALL if REGISTRY[name].comprehension is not None]


@pytest.mark.parametrize("name", [name for name in ALL if name not in UNKNOWN_SHAPE])
@quick
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64", "int32", "uint8"]))
def test_infer_foretells_shape_and_dtype(name: str, data: st.DataObject, dtype: str) -> None:
    op = REGISTRY[name]
    case = data.draw(operands_for(op, dtype))
    try:
        check_infer(op, case)
    except (TypeError, OverflowError):
        assert dtype in ("int32", "uint8")  # not for these: floats only, or a scalar out of range


def differentiable_operands(op: OpDef, case: Case) -> tuple[int, ...]:
    if op.name in ("max_pool2d_grad", "max_pool2d_pick"):
        return (2,)  # the others choose, and have no slope
    wide = (np.float64, np.complex128)
    return tuple(k for k, x in enumerate(case.operands) if isinstance(x, np.ndarray) and x.dtype in wide)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@settings(quick, max_examples=8, derandomize=True)  # a drawn tie of max would be no error
@given(data=st.data())
def test_gradients_are_slopes_twice(name: str, data: st.DataObject) -> None:
    op = REGISTRY[name]
    case = data.draw(operands_for(op, "float64"))
    if name == "astype":
        case.attributes["dtype"] = np.dtype(np.float64)
    statistics = {"outputs": 1} if name == "batch_norm" else {}  # its other outputs are what no gradient goes through
    check_gradients(op, case, differentiable_operands(op, case), **statistics)


@pytest.mark.parametrize("name", COMPOSED)
@quick
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_a_larger_record_computes_what_its_composition_does(name: str, data: st.DataObject, dtype: str) -> None:
    op = REGISTRY[name]
    case = data.draw(operands_for(op, dtype, data.draw(st.sampled_from(["scaled", "special"]))))
    check_bounded(op, case, run_eager(op, case))


@pytest.mark.parametrize("name", COMPREHENDED)
@quick
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64", "int32", "bool"]))
def test_comprehension_is_a_text(name: str, data: st.DataObject, dtype: str) -> None:
    op = REGISTRY[name]
    with suppress(NoComprehension):
        check_text(op, data.draw(operands_for(op, dtype)))


@pytest.mark.parametrize("name", COMPREHENDED)
@quick
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64", "int32", "uint8", "bool"]))
def test_comprehension_means_what_eager_computes(name: str, data: st.DataObject, dtype: str) -> None:
    op = REGISTRY[name]
    regime = data.draw(st.sampled_from(["exact", "scaled", "special"]))
    case = data.draw(operands_for(op, dtype, regime))
    with suppress(NoComprehension, TypeError, OverflowError):
        check_meaning(op, case, integers=regime == "exact")


@pytest.mark.parametrize("name", COMPREHENDED)
@quick
@given(data=st.data())
def test_comprehension_holds_for_a_symbolic_size(name: str, data: st.DataObject) -> None:
    op = REGISTRY[name]
    case = data.draw(operands_for(op, "float32", "exact"))
    extents = {n for x in case.operands if isinstance(x, np.ndarray) for n in x.shape if n > 1}
    named = data.draw(st.sampled_from(sorted(extents))) if extents else None
    with suppress(NoComprehension):
        check_meaning(op, case, integers=True, named=named)


@pytest.mark.parametrize(("old", "new"), [
    ((3, 8), (1, 3, 8)), ((1, 3, 8), (3, 8)), ((3, 4, 2), (3, 1, 8)), ((6, 5), (2, 3, 1, 5)), ((5, 1), (1, 1, 5)),
])  # fmt: skip
def test_dimensions_of_extent_1_come_and_go_beside_symbolic_sizes(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    case = Case((np.arange(np.prod(old), dtype=np.float32).reshape(old),), {"shape": new})
    for named in {3, 5}.intersection(old).intersection(new):
        check_meaning(REGISTRY["reshape"], case, integers=True, named=named)


@pytest.mark.parametrize(("old", "new"), [
    (("n", 8), ("m", 8)), (("n", 8), (8, "n")), (("n", 2), ("n", 3)), (("n", 8), ("n",)),
])  # fmt: skip
def test_symbolic_sizes_that_do_not_correspond_are_refused(old: Any, new: Any) -> None:
    rule = REGISTRY["reshape"].comprehension
    assert rule is not None
    with pytest.raises(NoComprehension, match="do not correspond|split or merged"):
        rule(TensorSpec(old, np.dtype(np.float32)), shape=new)


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
