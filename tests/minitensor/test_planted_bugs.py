"""Bugs planted into records: the checks find each within a small budget, and nothing in the records as they are.

Every bug is one rule of one record exchanged for a wrong one, of the kind that such libraries have had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from comprehension.errors import ComprehensionError
from comprehension.lang.parser import parse
from comprehension.lang.printer import to_text
from comprehension.lang.tree import Def, Program
from minitensor.dispatch import apply
from minitensor.errors import NoComprehension
from minitensor.ops import pooling
from minitensor.ops.opdef import REGISTRY, OpDef
from minitensor.testing import check_gradients, check_infer, check_meaning
from minitensor.testing.strategies import REGIMES, Case, operands_for

BUDGET = 40  # cases in each regime


@dataclass(frozen=True, slots=True)
class Bug:
    """What is wrong, in which record, and the record with it."""

    what: str
    record: str
    plant: Callable[[OpDef], OpDef]


def rewrite(old: str, new: str) -> Callable[[OpDef], OpDef]:
    """The comprehension with its printed text changed."""

    def plant(op: OpDef) -> OpDef:
        def comprehension(*operands: Any, **attributes: Any) -> Def:
            assert op.comprehension is not None
            text = to_text(Program((op.comprehension(*operands, **attributes),)))
            return parse(text.replace(old, new)).defs[0]

        return replace(op, comprehension=comprehension)

    return plant


def gradient(rule: Callable[..., Any]) -> Callable[[OpDef], OpDef]:
    return lambda op: replace(op, vjp=lambda g, inputs, outputs, attributes: rule(g[0], inputs, outputs, attributes))


def eager(rule: Callable[..., Any]) -> Callable[[OpDef], OpDef]:
    return lambda op: replace(op, eager=rule)


def overwrite(x: Any, *indices: Any, axes: Any, position: int, shape: Any) -> Any:
    result = np.zeros(shape, x.dtype)
    front = np.moveaxis(result, axes, range(len(axes)))
    count = len(np.broadcast_shapes(*(i.shape for i in indices)))
    front[indices] = np.moveaxis(x, range(position, position + count), range(count))
    return result


def all_ties(x: Any, y: Any, g: Any, **window: Any) -> Any:
    padded = np.zeros(tuple(np.add(x.shape, (0, 0, *(2 * p for p in window["padding"])))), g.dtype)
    source = pooling.padded(x, window["padding"], -np.inf)
    for pixels in pooling.window_slices(y.shape, window["kernel"], window["stride"]):
        padded[pixels] += np.where(source[pixels] == y, g, 0)
    (ph, pw), (height, width) = window["padding"], x.shape[2:]
    return padded[:, :, ph : ph + height, pw : pw + width]


def wrong_axis(x: Any, *, axis: Any, keepdims: bool) -> Any:
    return REGISTRY["sum"].infer(x, axis=tuple(range(len(axis))), keepdims=keepdims)


def running_forwards(g: Any, inputs: Any, outputs: Any, attributes: Any) -> Any:
    return (apply(REGISTRY["cumulative_sum"], g, **attributes),)


def without_wrapping(x: Any, *indices: Any, axes: Any, position: int) -> Any:
    return REGISTRY["gather"].eager(x, *(np.clip(i, 0, None) for i in indices), axes=axes, position=position)


def turned_kernel(x: Any, weight: Any, **window: Any) -> Any:
    return REGISTRY["conv2d"].eager(x, weight[:, :, ::-1], **window)


def halves_away_from_zero(x: Any) -> Any:
    return np.trunc(x + np.copysign(0.5, x)).astype(x.dtype)


BUGS = [
    Bug("relu drops NaN", "relu", eager(lambda x: np.where(x > 0, x, np.zeros_like(x)))),
    Bug("maximum's gradient goes to the smaller", "maximum", gradient(lambda g, i, o, a: (g * (i[0] < i[1]), None))),
    Bug("log's gradient multiplies", "log", gradient(lambda g, i, o, a: (g * i[0],))),
    Bug("product's gradient is its operand", "prod", gradient(lambda g, i, o, a: (g * 0 + i[0],))),
    Bug("running sum's gradient runs forwards", "cumulative_sum", gradient(running_forwards)),
    Bug("sum foretells another axis", "sum", lambda op: replace(op, infer=wrong_axis)),
    Bug("scatter_add keeps the last of equal indices", "scatter_add", eager(overwrite)),
    Bug("max pooling pays every tie", "max_pool2d_grad", eager(all_ties)),
    Bug("round goes away from zero at halves", "round", eager(halves_away_from_zero)),
    Bug("remainder takes the dividend's sign", "remainder", eager(np.fmod)),
    Bug("gather does not wrap negative indices", "gather", eager(without_wrapping)),
    Bug("a scan starts with its second element", "cumulative_prod", rewrite(" in 1:", " in 2:")),
    Bug("matmul starts from the lowest number", "matmul", rewrite("+=!", "max=!")),
    Bug("convolution turns its kernel round", "conv2d", eager(turned_kernel)),
]


def cases(op: OpDef, dtype: str, regime: str) -> list[Case]:
    drawn: list[Case] = []

    @seed(11)
    @settings(
        max_examples=BUDGET,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operands_for(op, dtype, regime))
    def collect(case: Case) -> None:
        drawn.append(case)

    collect()
    return drawn


def objections(op: OpDef) -> Iterator[str]:
    """What the checks have to say against a record."""
    for regime in REGIMES:
        for case in cases(op, "float64", regime):
            with suppress(NoComprehension):
                try:
                    check_infer(op, case)
                    check_meaning(op, case, integers=regime == "exact")
                    if op.vjp is not None and regime == "scaled":
                        check_gradients(op, case, differentiable(op, case))
                except (AssertionError, ComprehensionError) as error:
                    yield str(error)


def differentiable(op: OpDef, case: Case) -> tuple[int, ...]:
    if op.name == "max_pool2d_grad":
        return (2,)
    return tuple(k for k, x in enumerate(case.operands) if isinstance(x, np.ndarray) and x.dtype == np.float64)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.what)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    assert next(objections(bug.plant(REGISTRY[bug.record])), None) is not None


@pytest.mark.parametrize("name", sorted({bug.record for bug in BUGS}))
def test_the_record_itself_stands(name: str) -> None:
    assert list(objections(REGISTRY[name])) == []
