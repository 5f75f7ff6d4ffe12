"""Operators written by users: a comprehension's text becomes an operation like any other.

In: the text of a def and, for its gradient, the text of another.  Out: an `Operator`, called with tensors.
Invariant: an operator goes through `dispatch.apply` like the library's own operations, with all four rules: its
eager rule is the compiled kernel, its vjp the operator of the gradient's text, and co-execution fuses its
comprehension with its neighbours.

What the gradient's text takes and gives is said by names: of the operator's parameters, of its outputs, and `d_`
before either for the gradient of the loss with respect to it.
"""

from __future__ import annotations

import operator as python_operator
from collections.abc import Sequence
from typing import Any

import numpy as np

import comprehension as tc
from comprehension.any_rank import AnyRank
from comprehension.lang import tree
from comprehension.lang.loops import Role
from minitensor.creation import zeros
from minitensor.dispatch import apply, apply_several, as_operand
from minitensor.errors import DTypeError, GradientError, OperatorError, ShapeError
from minitensor.ops.from_text import TextRules, is_attribute
from minitensor.ops.opdef import Attributes, OpDef
from minitensor.tensor import Tensor

PREFIX = "d_"


def operator(text: str, grad: str | Operator | None = None) -> Operator:
    """An operation whose meaning is the last def of `text`; earlier defs are there for it to call.

    It is called with tensors and numbers in the order of the def's parameters, and gives a tensor, or a tuple of
    them in the order of the returns.  `grad` is the text of its gradient (or another operator, which may have a
    gradient of its own: that is how second derivatives come about).  The gradient's def takes by name whatever it
    needs of the parameters `X`, the outputs `Y` and their gradients `d_Y`, and returns `d_X` for each parameter
    that has a gradient.  Types are those of the texts: nothing is converted.

    Raises ComprehensionError for a text with faults, OperatorError for a gradient that does not fit its operator and
    for a text with `...`: an operation has one number of dimensions.

    >>> import minitensor as mt
    >>> square = mt.operator(
    ...     "def square(float(N) X) -> (Y) { Y(i) = X(i) * X(i) }",
    ...     grad="def square_grad(float(N) X, float(N) d_Y) -> (d_X) { d_X(i) = 2 * X(i) * d_Y(i) }",
    ... )
    >>> x = mt.asarray([1.0, 2.0, 3.0], requires_grad=True)
    >>> square(x).sum().backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """
    return Operator(text, operator(grad) if isinstance(grad, str) else grad)


class Operator:
    """An operation made from a text: `operator` makes them.  `function` is its def, `op` its record."""

    def __init__(self, text: str, grad: Operator | None = None) -> None:
        module = tc.define(text)
        self.function = module[module.defs[-1]]
        self.name = self.function.name
        if isinstance(self.function, AnyRank):
            raise OperatorError(
                f"operator {self.name}: '...' leaves the number of dimensions open, and an operation has one: write the"
                " dimensions out, one text for each number of them"
            )
        self.grad = grad
        self._rules = TextRules(self.function)
        self._parameters = self.function.definition.parameters
        _check_outputs(self)
        if grad is not None:
            _check_gradient(self, grad)
        self.op = OpDef(
            self.name,
            self._rules.infer,
            self._rules.eager,
            self._vjp,
            self._rules.definition,
            may_raise=self._rules.may_raise,
            outputs=len(self._rules.outputs),
        )

    def __call__(self, *inputs: Any) -> Any:
        """The outputs for tensors, NumPy arrays and numbers in the order of the parameters.

        Raises DTypeError and ShapeError for operands that are not what the text says, ComprehensionError for sizes
        that do not fit together and for subscripts that a tensor does not have.
        """
        if len(inputs) != len(self._parameters):
            names = ", ".join(param.name for param in self._parameters)
            raise ShapeError(f"{self.name} takes {len(self._parameters)} operands ({names}), not {len(inputs)}")
        operands: list[Any] = []
        attributes: Attributes = {}
        for param, given in zip(self._parameters, inputs, strict=True):
            if is_attribute(param):
                attributes[param.name] = self._attribute(param, given)
            else:
                operands.append(self._operand(param, given))
        if self.op.outputs == 1:
            return apply(self.op, *operands, **attributes)
        return apply_several(self.op, *operands, **attributes)

    def _attribute(self, param: tree.Param, given: Any) -> int | bool:
        """An integer or truth value, as a Python object."""
        assert param.type is not None
        try:
            value = bool(given) if param.type.scalar.numpy.kind == "b" else python_operator.index(given)
        except TypeError:
            raise DTypeError(f"{self.name}: {param.name} is {param.type.scalar}, not {type(given).__name__}") from None
        if isinstance(given, bool | np.bool_) != (param.type.scalar.numpy.kind == "b"):
            raise DTypeError(f"{self.name}: {param.name} is {param.type.scalar}, not {given!r}")
        return value

    def _operand(self, param: tree.Param, given: Any) -> Any:
        assert param.type is not None
        operand = as_operand(given)
        if not isinstance(operand, Tensor):
            if param.type.dims or isinstance(operand, complex):
                raise DTypeError(f"{self.name}: {param.name} is a tensor of {param.type.scalar}, not {given!r}")
            return operand
        if operand.dtype != param.type.scalar.numpy:
            raise DTypeError(
                f"{self.name}: {param.name} is {param.type.scalar} in its text, the operand is {operand.dtype};"
                " operators convert nothing: use mt.astype"
            )
        if operand.ndim != len(param.type.dims):
            raise ShapeError(
                f"{self.name}: {param.name} has {len(param.type.dims)} dimensions in its text, not {operand.shape}"
            )
        return operand

    # --- the gradient ------------------------------------------------------------------------------------

    def _vjp(
        self,
        gradients: tuple[Tensor | None, ...],
        inputs: tuple[Any, ...],
        outputs: tuple[Tensor, ...],
        attributes: Attributes,
    ) -> tuple[Tensor | None, ...]:
        """The gradients of the operands, by the gradient's operator."""
        names = [param.name for param in self._rules.operands]
        wanted = [name for name, x in zip(names, inputs, strict=True) if isinstance(x, Tensor) and x.requires_grad]
        if self.grad is None:
            raise GradientError(f"operator {self.name} has no gradient: give it one, mt.operator(text, grad=...)")
        given = self.grad._rules.outputs
        missing = [name for name in wanted if PREFIX + name not in given]
        if missing:
            raise GradientError(
                f"operator {self.name}: its gradient {self.grad.name} returns no {PREFIX}{missing[0]};"
                f" pass {missing[0]} detached if it is a constant"
            )
        known: dict[str, Any] = {**attributes, **dict(zip(names, inputs, strict=True))}
        for name, output, gradient in zip(self._rules.outputs, outputs, gradients, strict=True):
            known[name] = output
            known[PREFIX + name] = zeros(output.shape, dtype=output.dtype) if gradient is None else gradient
        results = self.grad(*[known[param.name] for param in self.grad._parameters])
        found = dict(zip(given, results if isinstance(results, tuple) else (results,), strict=True))
        return tuple([found.get(PREFIX + name) for name in names])

    def __repr__(self) -> str:
        names = ", ".join(param.name for param in self._parameters)
        return f"<operator {self.name}({names}){'' if self.grad is None else ' with gradient'}>"


# --- what an operator may not be -------------------------------------------------------------------------


def _check_outputs(made: Operator) -> None:
    for tensor in made.function.definition.tensors:
        if tensor.role is Role.ACCUMULATED:
            raise OperatorError(
                f"operator {made.name}: {tensor.name} accumulates into what it held before, and results of operations"
                " are new: write the reduction with !"
            )


def _check_gradient(made: Operator, grad: Operator) -> None:
    """The gradient's parameters and returns, by name, against the operator's."""
    tensors = {tensor.name: tensor for tensor in made.function.definition.tensors}
    scalars = {p.name: p.type.scalar for p in made._parameters if p.type is not None and not p.type.dims}
    known = {name: (t.dtype, t.rank) for name, t in tensors.items() if t.role is not Role.TEMPORARY}
    known |= {name: (dtype, 0) for name, dtype in scalars.items()}
    returns = {PREFIX + name: known[name] for name in made._rules.outputs if known[name][0].is_float}
    clashes = [name for name in returns if name in known]
    if clashes:
        raise OperatorError(f"operator {made.name}: {clashes[0]} is one of its own names; rename it")
    operands = {param.name for param in made._parameters}
    allowed = {PREFIX + name: of for name, of in known.items() if name in operands and of[0].is_float}
    # In a gradient of a gradient `d_X` is a result: what the gradient itself returned by that name is not to be had.
    given = {name: of for name, of in (known | returns).items() if name not in allowed}
    for param in grad._parameters:
        assert param.type is not None
        _check_one(made, grad, "takes", param.name, (param.type.scalar, len(param.type.dims)), given)
    for name in grad._rules.outputs:
        tensor = grad.function.definition.tensor(name)
        _check_one(made, grad, "returns", name, (tensor.dtype, tensor.rank), allowed)


def _check_one(
    made: Operator, grad: Operator, does: str, name: str, found: tuple[Any, int], allowed: dict[str, tuple[Any, int]]
) -> None:
    if name not in allowed:
        raise OperatorError(
            f"operator {made.name}: its gradient {grad.name} {does} {name!r}; it may be {_listed(tuple(allowed))}"
        )
    if found != allowed[name]:
        (dtype, rank), (wanted, wanted_rank) = found, allowed[name]
        raise OperatorError(
            f"operator {made.name}: its gradient {grad.name} {does} {name} as {dtype} of rank {rank},"
            f" where it is {wanted} of rank {wanted_rank}"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1] if len(names) > 1 else "".join(names) or "nothing"
