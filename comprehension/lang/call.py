"""The check of a call `T = f(A, B)`: whole tensors, an earlier def, one result.

In: the call and what the caller knows.  Out: the callee and what its parameters stand for.
Invariant: an error in a call stands at the call.
"""

from __future__ import annotations

from collections.abc import Mapping

from comprehension.lang.checked import CheckedDef
from comprehension.lang.expressions import Fault, Hidden, Scope, cast_to, dtype_of, propose, quoted, type_expression
from comprehension.lang.interface import Declared
from comprehension.lang.loops import Role
from comprehension.lang.tree import Access, Call, Expr, Name, Number, SizeOf, Statement, Unary
from comprehension.lang.types import promote

_SIMPLE = (Name, Number, SizeOf)


def find_callee(call: Call, earlier: Mapping[str, CheckedDef]) -> CheckedDef:
    """The def that a call means."""
    callee = earlier.get(call.function)
    if callee is None:
        raise Fault(f"def {quoted(call.function)} is not defined before this one; recursion is not possible", call.span)
    outputs = [t for t in callee.tensors if t.role in (Role.OUTPUT, Role.ACCUMULATED)]
    if not outputs:
        raise Hidden("its statements have faults of their own", call.span)
    if len(outputs) != 1:
        raise Fault(f"def {quoted(call.function)} has {len(outputs)} outputs; a call needs one with one", call.span)
    if outputs[0].role is Role.ACCUMULATED:
        message = f"def {quoted(call.function)} accumulates into its caller's buffer; initialise it with '!' to call it"
        raise Fault(message, call.span)
    return callee


def check_call_shape(statement: Statement, call: Call) -> None:
    """A call is `T = f(...)`, no more."""
    if statement.reduction is not None or statement.subscripts or statement.where:
        message = f"a call of def {quoted(call.function)} stands alone: `tensor = {call.function[:40]}(...)`"
        raise Fault(message, call.span)


def bind_arguments(
    call: Call, callee: CheckedDef, readable: Mapping[str, Declared], scope: Scope
) -> tuple[dict[str, Declared], dict[str, Expr]]:
    """(tensors, scalars) by the callee's parameters."""
    if len(call.arguments) != len(callee.parameters):
        message = f"{len(callee.parameters)}, but {len(call.arguments)} are given"
        raise Fault(f"wrong number of arguments: def {quoted(callee.name)} takes {message}", call.span)
    tensors: dict[str, Declared] = {}
    scalars: dict[str, Expr] = {}
    parameters = {s.name: s for s in callee.scalars}
    for parameter, argument in zip(callee.parameters, call.arguments, strict=True):
        if parameter.name in parameters:
            typed = _scalar_argument(argument, scope)
            wanted = parameters[parameter.name].dtype
            if promote(wanted, dtype_of(typed)) is not wanted:
                message = f"scalar {quoted(parameter.name)} of def {quoted(callee.name)} is {wanted}, not {typed.dtype}"
                raise Fault(message, argument.span)
            scalars[parameter.name] = cast_to(typed, wanted)
        else:
            tensors[parameter.name] = _tensor_argument(argument, callee.tensor(parameter.name), readable, scope)
    return tensors, scalars


def _scalar_argument(argument: Expr, scope: Scope) -> Expr:
    """Only what cannot grow when expansions nest: a name, a number, a size."""
    inner = argument.operand if isinstance(argument, Unary) else argument
    if not isinstance(inner, _SIMPLE):
        raise Fault("a scalar argument must be a scalar, a size or a number", argument.span)
    typed = type_expression(argument, scope)
    if isinstance(typed, Access):
        raise Fault(
            f"{quoted(typed.tensor)} is computed here; a scalar argument must be known before the kernel runs",
            argument.span,
        )
    return typed


def _tensor_argument(argument: Expr, parameter: Declared, readable: Mapping[str, Declared], scope: Scope) -> Declared:
    if not isinstance(argument, Name):
        raise Fault(f"expected a whole tensor for {quoted(parameter.name)} but found an expression", argument.span)
    given = readable.get(argument.id)
    if given is None:
        if argument.id in scope.unwritten:
            raise Fault(
                f"{scope.unwritten[argument.id]} {quoted(argument.id)} is read before a statement writes it",
                argument.span,
            )
        raise Fault(f"undefined tensor {quoted(argument.id)}{propose(argument.id, readable)}", argument.span)
    if given.rank != parameter.rank:
        message = f"{quoted(given.name)} has {given.rank}, but parameter {quoted(parameter.name)} has {parameter.rank}"
        raise Fault(f"wrong number of dimensions: {message}", argument.span)
    if given.dtype is not parameter.dtype:
        message = f"{quoted(given.name)} is {given.dtype}, but {quoted(parameter.name)} must be {parameter.dtype}"
        raise Fault(f"{message}; arguments are never converted", argument.span)
    return given
