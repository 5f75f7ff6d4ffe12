"""An optimiser's update of one parameter: the parameter and its state as they are after a step.

In: a parameter, its gradient and state, all of one shape and dtype; numbers as the optimiser has them (weak
operands: one that changes from step to step is no other operation).  Out: records, without gradients.
Invariant: a rule is written once; arrays, tensors and the expressions of a comprehension go through the same
function, so that the record's rules cannot differ in their arithmetic or its order.

A rule is a function of how to compute (`_Plain`, `_Stated`), the parameter, its gradient, the tensors of its state and
numbers, and returns the new parameter.  It uses + − · / with a tensor on the left, and of `how`: `sqrt`; `state(x)` for
each tensor of the new state, in order; `shared(x)` for what it needs more than once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from comprehension.jit.memory import allocate
from comprehension.lang.tree import BinaryOp, Def, Expr, Statement
from minitensor.dispatch import apply
from minitensor.errors import DTypeError
from minitensor.ops import comprehend as c
from minitensor.ops.analytic import sqrt
from minitensor.ops.families import LARGE
from minitensor.ops.opdef import InferRule, OpDef, TensorSpec, register
from minitensor.ops.rows import Rows
from minitensor.ops.shapes import need_equal
from minitensor.tensor import Tensor

Array = np.ndarray[Any, Any]
Rule = Callable[..., Any]


# --- stochastic gradient descent -------------------------------------------------------------------------


def _sgd(how: Any, param: Any, g: Any, lr: Any, decay: Any, *, decays: bool) -> Any:
    return param - (g + param * decay if decays else g) * lr


def _sgd_momentum(
    how: Any, param: Any, g: Any, velocity: Any, lr: Any, momentum: Any, decay: Any, *, decays: bool, nesterov: bool
) -> Any:
    if decays:
        g = how.shared(g + param * decay)
    velocity = how.state(velocity * momentum + g)
    return param - (g + velocity * momentum if nesterov else velocity) * lr


# --- adaptive rates --------------------------------------------------------------------------------------
#
# `rest` of a moving mean is 1 less its factor.  Adam's `decay`: "none", "coupled" (added to the gradient) or
# "decoupled" (the parameter shrinks first).


def _adam(
    how: Any,
    param: Any,
    g: Any,
    mean: Any,
    square: Any,
    beta1: Any,
    rest1: Any,
    beta2: Any,
    rest2: Any,
    rate: Any,
    step_size: Any,
    root_scale: Any,
    eps: Any,
    *,
    decay: str,
) -> Any:
    if decay == "coupled":
        g = how.shared(g + param * rate)
    elif decay == "decoupled":
        param = param * rate
    mean = how.state(mean * beta1 + g * rest1)
    square = how.state(square * beta2 + g * g * rest2)
    return param - mean * step_size / (how.sqrt(square) * root_scale + eps)


def _rmsprop(
    how: Any, param: Any, g: Any, square: Any, lr: Any, alpha: Any, rest: Any, eps: Any, decay: Any, *, decays: bool
) -> Any:
    if decays:
        g = how.shared(g + param * decay)
    square = how.state(square * alpha + g * g * rest)
    return param - g / (how.sqrt(square) + eps) * lr


def _rmsprop_momentum(
    how: Any,
    param: Any,
    g: Any,
    square: Any,
    velocity: Any,
    lr: Any,
    alpha: Any,
    rest: Any,
    eps: Any,
    decay: Any,
    momentum: Any,
    *,
    decays: bool,
) -> Any:
    if decays:
        g = how.shared(g + param * decay)
    square = how.state(square * alpha + g * g * rest)
    velocity = how.state(velocity * momentum + g / (how.sqrt(square) + eps))
    return param - velocity * lr


def _adagrad(how: Any, param: Any, g: Any, squares: Any, rate: Any, eps: Any, decay: Any, *, decays: bool) -> Any:
    if decays:
        g = how.shared(g + param * decay)
    squares = how.state(squares + g * g)
    return param - g / (how.sqrt(squares) + eps) * rate


# --- how rules compute -----------------------------------------------------------------------------------


class _Plain:
    """With arrays or tensors, whose operators compute at once."""

    def __init__(self, root: Callable[[Any], Any]) -> None:
        self.sqrt, self.states = root, list[Any]()

    def shared(self, x: Any) -> Any:
        return x

    def state(self, x: Any) -> Any:
        self.states.append(x)
        return x


class _Large:
    """A large array; what is computed from it goes into memory that was used before."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array

    def made(self, function: np.ufunc, *others: Any) -> _Large:
        operands = [x.array if isinstance(x, _Large) else x for x in (self, *others)]
        out = allocate(self.array.shape, self.array.dtype)
        return _Large(function(*operands, out=out))

    def __add__(self, other: Any) -> _Large:
        return self.made(np.add, other)

    def __sub__(self, other: Any) -> _Large:
        return self.made(np.subtract, other)

    def __mul__(self, other: Any) -> _Large:
        return self.made(np.multiply, other)

    def __truediv__(self, other: Any) -> _Large:
        return self.made(np.true_divide, other)


class _Term:
    """An expression of a comprehension."""

    __slots__ = ("expr",)

    def __init__(self, expr: Expr) -> None:
        self.expr = expr

    def joined(self, op: BinaryOp, other: _Term) -> _Term:
        return _Term(c.binary(op, self.expr, other.expr))

    def __add__(self, other: _Term) -> _Term:
        return self.joined("+", other)

    def __sub__(self, other: _Term) -> _Term:
        return self.joined("-", other)

    def __mul__(self, other: _Term) -> _Term:
        return self.joined("*", other)

    def __truediv__(self, other: _Term) -> _Term:
        return self.joined("/", other)


class _Stated:
    """With expressions: what is shared or state gets a statement of its own, and is read from there."""

    def __init__(self, rows: Rows, dtype: np.dtype[Any]) -> None:
        self.rows, self.dtype, self.statements = rows, dtype, list[Statement]()
        self.shares = self.states = 0

    def sqrt(self, x: _Term) -> _Term:
        return _Term(c.builtin("sqrt", self.dtype, x.expr))

    def shared(self, x: _Term) -> _Term:
        self.shares += 1
        return self.stated(f"t{self.shares - 1}", x)

    def state(self, x: _Term) -> _Term:
        self.states += 1
        return self.stated(f"r{self.states}", x)

    def stated(self, name: str, x: _Term) -> _Term:
        self.statements.append(self.rows.each(name, x.expr))
        return _Term(self.rows.read(name))


# --- records ---------------------------------------------------------------------------------------------


def _check(name: str, first: Any, *others: Any) -> None:
    dtype, shape = first.dtype, first.shape
    for other in others:
        if other.dtype != dtype or dtype.kind not in "fc":
            raise DTypeError(f"{name} takes tensors of one floating-point dtype, not {dtype} and {other.dtype}")
        if other.shape != shape:
            need_equal(shape, other.shape, f"{name} takes tensors of one shape: {shape}, {other.shape}")


def _infer(name: str, tensors: int) -> InferRule:
    """Parameter and state keep shape and dtype; the gradient is used up."""

    def infer(*operands: Any, **_: Any) -> TensorSpec | tuple[TensorSpec, ...]:
        param = operands[0]
        _check(name, *operands[:tensors])
        result = TensorSpec(param.shape, param.dtype)
        return result if tensors == 2 else (result,) * (tensors - 1)

    return infer


def _eager(name: str, tensors: int, rule: Rule) -> Callable[..., Any]:
    def eager(*operands: Any, **attributes: Any) -> Any:
        arrays, numbers = operands[:tensors], operands[tensors:]
        _check(name, *arrays)
        if arrays[0].nbytes < LARGE:
            how = _Plain(np.sqrt)
            new = rule(how, *operands, **attributes)
            return (new, *how.states) if how.states else new
        how = _Plain(lambda x: x.made(np.sqrt))
        new = rule(how, *map(_Large, arrays), *numbers, **attributes)
        return (new.array, *[x.array for x in how.states]) if how.states else new.array

    return eager


def _composition(rule: Rule) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    def composition(*operands: Any, **attributes: Any) -> Tensor | tuple[Tensor, ...]:
        how = _Plain(lambda x: apply(sqrt, x))
        new: Tensor = rule(how, *operands, **attributes)
        return (new, *how.states) if how.states else new

    return composition


def _comprehension(name: str, tensors: int, rule: Rule) -> Callable[..., Def]:
    def comprehension(*operands: Any, **attributes: Any) -> Def:
        param = operands[0]
        _check(name, *operands[:tensors])
        rows = Rows(param.shape, ())
        how = _Stated(rows, param.dtype)
        terms = [_Term(rows.read(f"x{k}") if k < tensors else c.ex(f"x{k}")) for k in range(len(operands))]
        how.stated("r0", rule(how, *terms, **attributes))
        return c.definition(name, operands, how.statements, scalar=param.dtype, outputs=tensors - 1)

    return comprehension


def _update(name: str, tensors: int, rule: Rule) -> OpDef:
    """The record of a rule; `tensors`: parameter, gradient and state."""
    return register(
        OpDef(
            name,
            _infer(name, tensors),
            _eager(name, tensors, rule),
            None,
            _comprehension(name, tensors, rule),
            outputs=tensors - 1,
            composition=_composition(rule),
        )
    )


sgd_update = _update("sgd_update", 2, _sgd)
sgd_momentum_update = _update("sgd_momentum_update", 3, _sgd_momentum)
adam_update = _update("adam_update", 4, _adam)
rmsprop_update = _update("rmsprop_update", 3, _rmsprop)
rmsprop_momentum_update = _update("rmsprop_momentum_update", 4, _rmsprop_momentum)
adagrad_update = _update("adagrad_update", 3, _adagrad)
