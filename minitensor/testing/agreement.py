"""The rules of one record agree: checks that raise AssertionError where they do not.

In: an OpDef and a `Case` for it (see `strategies`).  Out: nothing.
Invariant: what is compared is bounded by `bound_rules`, never by a chosen tolerance; on small integers, sums,
products and movements must agree to the bit.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from comprehension.lang.check import check
from comprehension.lang.parser import parse
from comprehension.lang.printer import to_text
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.tree import Program
from comprehension.lang.types import Spec
from minitensor.creation import asarray
from minitensor.dispatch import apply, apply_several
from minitensor.manipulation import concat, reshape
from minitensor.ops.opdef import OpDef, TensorSpec
from minitensor.tensor import Tensor
from minitensor.testing.bound_rules import Interval, is_exact_on_integers, propagate
from minitensor.testing.gradcheck import gradcheck, gradgradcheck

if TYPE_CHECKING:
    from minitensor.testing.strategies import Case  # needs Hypothesis, which checks do not

Array = np.ndarray[Any, np.dtype[Any]]


def run_eager(op: OpDef, case: Case) -> tuple[Array, ...]:
    """The outputs of the eager rule, as arrays."""
    with np.errstate(all="ignore"):
        result = op.eager(*case.operands, **case.attributes)
    return tuple(np.asarray(r) for r in (result if isinstance(result, tuple) else (result,)))


def check_infer(op: OpDef, case: Case) -> None:
    """The infer rule foretells shapes and dtypes."""
    foretold = op.infer_all(*case.specs, **case.attributes)
    found = tuple(TensorSpec(r.shape, r.dtype) for r in run_eager(op, case))
    assert found == foretold, f"{op.name}: foretold {foretold}, found {found}"


def check_text(op: OpDef, case: Case) -> None:
    """The comprehension prints as a text that parses back.  Raises NoComprehension where there is none."""
    assert op.comprehension is not None
    program = Program((op.comprehension(*case.specs, **case.attributes),))
    assert parse(to_text(program)) == program, to_text(program)


def check_gradients(op: OpDef, case: Case, checked: tuple[int, ...], *, outputs: int | None = None) -> None:
    """The vjp rule gives the slopes of the eager rule in the operands `checked` (float64), and so does its own.

    Of a record with several outputs those of all at once, or of the first `outputs`: others are constants to it.
    """

    def function(*checked_inputs: Any) -> Tensor:
        operands = list(case.operands)
        for k, x in zip(checked, checked_inputs, strict=True):
            operands[k] = x
        inputs = [asarray(x) if isinstance(x, np.ndarray) else x for x in operands]
        if op.outputs > 1:
            results = apply_several(op, *inputs, **case.attributes)[:outputs]
            return concat([reshape(y, (-1,)) for y in results])
        return apply(op, *inputs, **case.attributes)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gradcheck(function, [case.operands[k] for k in checked])
        gradgradcheck(function, [case.operands[k] for k in checked])


def check_meaning(op: OpDef, case: Case, *, integers: bool = False, named: int | None = None) -> None:
    """The comprehension, interpreted, computes what the eager rule computes.

    `integers`: the operands are small integers, so that operations without rounding agree to the bit.
    `named`: this extent stays a symbol.  Raises NoComprehension where there is none.
    """
    received = run_reference(op, case, named)
    for found, expected in zip(received, run_eager(op, case), strict=True):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), op.name
    if integers and is_exact_on_integers(op):
        for found, expected in zip(received, run_eager(op, case), strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=op.name)
        return
    check_bounded(op, case, received)


def check_bounded(op: OpDef, case: Case, received: tuple[Array, ...]) -> None:
    """What some path computed from exact operands lies within the operation's own error bound."""
    operands = [_exact(x) for x in case.operands]
    dtypes = [r.dtype for r in run_eager(op, case)]
    for found, expected in zip(received, propagate(op, operands, case.attributes, dtypes), strict=True):
        value = expected.value
        same = (found == value) | ((found != found) & (value != value))
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(found.astype(np.float64) - value.astype(np.float64)) <= expected.bound
        assert np.all(same | near), f"{op.name}: received {found}, expected {value} ± {expected.bound}"


def _exact(x: Any) -> Interval:
    if not isinstance(x, np.ndarray):
        return Interval(np.asarray(x), np.zeros(()), weak=x)
    return Interval(x.astype(np.float64) if x.dtype.kind == "f" else x, np.zeros(x.shape))


def _symbolic(value: Any, named: int | None) -> Any:
    """Shapes with every extent `named` called N."""
    if isinstance(value, TensorSpec):
        return TensorSpec(_symbolic(value.shape, named), value.dtype)
    return tuple("N" if n == named else n for n in value) if isinstance(value, tuple) else value


def run_reference(op: OpDef, case: Case, named: int | None = None) -> tuple[Array, ...]:
    """The comprehension of a record by the reference interpreter; the extent `named` stays a symbol."""
    assert op.comprehension is not None
    attributes = {k: _symbolic(v, named) if k == "shape" else v for k, v in case.attributes.items()}
    definition = op.comprehension(*(_symbolic(x, named) for x in case.specs), **attributes)
    checked = check(Program((definition,)))[definition.name]
    operands: dict[str, Array] = {}
    specs = []
    for parameter, operand in zip(definition.inputs, case.operands, strict=True):
        assert parameter.type is not None
        operands[parameter.name] = np.asarray(operand, dtype=parameter.type.scalar.numpy)
        specs.append(Spec(_symbolic(operands[parameter.name].shape, named), parameter.type.scalar))
    program = infer(checked, specs, "static" if named is None else "symbolic")
    scalars = {s.name: operands.pop(s.name)[()] for s in program.scalars}
    found = run(program, operands, scalars)
    return tuple(np.asarray(found[p.name]) for p in definition.outputs)
