"""Verifier of loop programs: what every reader of one may rely on.

In: a `LoopProgram`, from `ranges.infer` or built by a program.  Out: nothing, or `MalformedProgram`.
Invariant: a program that passes has every name defined before use, every expression typed without implicit
conversion, every access with its tensor's rank, and bounds that use sizes, scalars and outer indices only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from comprehension.lang.builtins import BUILTINS
from comprehension.lang.loops import LoopProgram, LoopStatement, Role, TensorInfo
from comprehension.lang.printer import to_text
from comprehension.lang.tree import Access, Binary, Call, Cast, Expr, Name, Number, Select, SizeOf, Unary, walk
from comprehension.lang.types import ScalarType

BOOL, INT32 = ScalarType.BOOL, ScalarType.INT32
Types = Mapping[str, ScalarType]


class MalformedProgram(AssertionError):
    """A loop program that breaks its contract: a fault of ours, never of a text."""


def verify_program(program: LoopProgram) -> None:
    """Raises MalformedProgram with everything that is wrong.

    >>> from comprehension.lang.frontend import load
    >>> from comprehension.lang.ranges import infer
    >>> verify_program(infer(load("def f(float(N) A) -> (B) { B(i) = A(i) }")["f"], None, "symbolic"))
    """
    wrong = list(_faults(program))
    if wrong:
        raise MalformedProgram(f"{program.name}: " + "; ".join(wrong))


def _faults(program: LoopProgram) -> Iterator[str]:
    outside: dict[str, ScalarType] = dict.fromkeys(program.sizes, INT32) | {s.name: s.dtype for s in program.scalars}
    tensors = {t.name: t for t in program.tensors}
    if len(tensors) < len(program.tensors) or tensors.keys() & outside.keys():
        yield "two things have one name"
    for tensor in program.tensors:
        for dim in tensor.shape:
            yield from _expression(dim, outside, {})
    for precondition in program.preconditions:
        yield from _expression(precondition.condition, outside, {})
        if precondition.condition.dtype is not BOOL:
            yield f"precondition {to_text(precondition.condition)} is not boolean"
    if len({s.name for s in program.statements}) < len(program.statements):
        yield "two statements have one name"
    written: set[str] = {t.name for t in program.tensors if t.role in (Role.INPUT, Role.ACCUMULATED)}
    for statement in program.statements:
        for fault in _statement(statement, outside, tensors, written):
            yield f"{statement.name}: {fault}"
        written.add(statement.target)


def _statement(
    statement: LoopStatement, outside: Types, tensors: Mapping[str, TensorInfo], written: set[str]
) -> Iterator[str]:
    known = dict(outside)
    for index in statement.indices:
        for bound in (index.lower, index.upper):
            yield from _expression(bound, known, {})
        if index.name in known or index.name in tensors:
            yield f"index {index.name} hides another name"
        known[index.name] = INT32
    if not 0 <= statement.left <= len(statement.indices):
        yield "more left indices than indices"
    if statement.initialise and statement.reduction is None:
        yield "an initialised assignment"
    readable = {name: tensor for name, tensor in tensors.items() if name in written | {statement.target}}
    for let in statement.lets:
        yield from _expression(let.value, known, readable)
        assert let.value.dtype is not None, "checked above"
        known[let.name] = let.value.dtype
    target = tensors.get(statement.target)
    if target is None or target.role is Role.INPUT:
        yield f"{statement.target} cannot be written"
        return
    yield from _expression(Access(target.name, statement.subscripts, dtype=target.dtype), known, tensors)
    yield from _expression(statement.value, known, readable)
    if statement.value.dtype is not target.dtype:
        yield f"{target.name} is {target.dtype}, the value is {statement.value.dtype}"


def _expression(root: Expr, names: Types, tensors: Mapping[str, TensorInfo]) -> Iterator[str]:
    for node in walk(root):
        if node.dtype is None:
            yield f"{to_text(node)} has no type"
        elif (wrong := _node(node, names, tensors)) is not None:
            yield f"{to_text(node)}: {wrong}"


def _node(node: Expr, names: Types, tensors: Mapping[str, TensorInfo]) -> str | None:
    """What is wrong with one node whose parts are looked at by themselves."""
    match node:
        case Number(value=value):
            return None if isinstance(value, float) == (node.dtype is not None and node.dtype.is_float) else "kind"
        case Name(id=name):
            return None if names.get(name) is node.dtype else "undefined, or of another type"
        case SizeOf():
            return "sizes of tensors are resolved in a loop program"
        case Access(tensor=name, subscripts=parts):
            tensor = tensors.get(name)
            if tensor is None or len(tensor.shape) != len(parts) or tensor.dtype is not node.dtype:
                return "no such tensor to read, or of another rank or type"
            return None if all(p.dtype is not None and p.dtype.is_integer for p in parts) else "subscripts"
        case Unary(operand=operand):
            return None if operand.dtype is node.dtype else "operand"
        case Binary(op=op, left=left, right=right):
            result = BOOL if op in ("<", "<=", ">", ">=", "==", "!=") else left.dtype
            return None if left.dtype is right.dtype and node.dtype is result else "operands"
        case Select(condition=condition, then=then, otherwise=otherwise):
            return None if condition.dtype is BOOL and then.dtype is otherwise.dtype is node.dtype else "branches"
        case Cast(to=to):
            return None if to is node.dtype else "type"
        case Call(function=function, arguments=parts):
            arity = 2 if function in ("min", "max") else BUILTINS[function].arity
            return None if len(parts) == arity and all(p.dtype is node.dtype for p in parts) else "arguments"
