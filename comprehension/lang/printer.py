"""Tree to text: `to_text`.

In: a tree from the parser, a program or the checker.  Out: text in one canonical layout.
Invariant: `parse(to_text(p)) == p` for every tree that a text can give; parentheses stand only where the tree needs
them.  What only programs can build is printed as its nearest text: `Number(-2)` as `-2` (which parses as a
negation), infinities and NaN as divisions by zero.
"""

from __future__ import annotations

import math
from typing import assert_never

from comprehension.lang.tree import (
    Access,
    Binary,
    Call,
    Cast,
    Clause,
    Def,
    Exists,
    Expr,
    Let,
    Name,
    Number,
    Param,
    Program,
    Range,
    Select,
    SizeOf,
    Statement,
    TensorType,
    Unary,
)

_SELECT, _UNARY, _BASE = 0, 6, 7
_LEVELS = {"||": 1, "&&": 2} | dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), 3)
_LEVELS |= {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5}


def to_text(node: Program | Def | Statement | Expr) -> str:
    """The text of a program, a def, a statement or an expression.

    >>> from comprehension.lang.parser import parse
    >>> print(to_text(parse("def f(float(N) A)->(B){B(i)=(A(i)*(2))+1 where i in 0:N}")))
    def f(float(N) A) -> (B) {
        B(i) = A(i) * 2 + 1 where i in 0:N
    }
    """
    match node:
        case Program(defs=defs):
            return "\n\n".join(_definition(d) for d in defs)
        case Def():
            return _definition(node)
        case Statement():
            return _statement(node)
        case _:
            return _expression(node, _SELECT)


def _definition(node: Def) -> str:
    inputs = ", ".join(_parameter(p) for p in node.inputs)
    outputs = ", ".join(_parameter(p) for p in node.outputs)
    body = "".join(f"    {_statement(s)}\n" for s in node.statements)
    return f"def {node.name}({inputs}) -> ({outputs}) {{\n{body}}}"


def _parameter(node: Param) -> str:
    return node.name if node.type is None else f"{type_text(node.type)} {node.name}"


def type_text(node: TensorType) -> str:
    """A type as section 1 writes it.

    >>> from comprehension.lang.types import ScalarType
    >>> type_text(TensorType(ScalarType.FLOAT32, ("N", 3)))
    'float(N, 3)'
    """
    name = {"float32": "float", "float64": "double"}.get(str(node.scalar), str(node.scalar))
    dims = [*(["..."] if node.leading else []), *map(str, node.dims)]
    return f"{name}({', '.join(dims)})" if dims else name


def _statement(node: Statement) -> str:
    assign = f"{node.reduction or ''}={'!' if node.initialise else ''}"
    text = f"{_target(node)} {assign} {_expression(node.value, _SELECT)}"
    if node.equivalent is not None:
        text += f" <=> {_expression(node.equivalent, _SELECT)}"
    if node.where:
        text += f" where {', '.join(_clause(c) for c in node.where)}"
    return text


def _target(node: Statement) -> str:
    subscripts = _list(node.subscripts, node.leading)
    return f"{node.target}({subscripts})" if subscripts else node.target


def _clause(node: Clause) -> str:
    match node:
        case Range(index=index, lower=lower, upper=upper):
            return f"{index} in {_expression(lower, _SELECT)}:{_expression(upper, _SELECT)}"
        case Let(name=name, value=value):
            return f"{name} = {_expression(value, _SELECT)}"
        case Exists(value=value):
            return f"exists {_expression(value, _SELECT)}"
        case _:
            assert_never(node)


def _expression(node: Expr, level: int) -> str:
    """The text of `node` where the grammar expects an expression of at least `level`."""
    text, own = _unbracketed(node)
    return text if own >= level else f"({text})"


def _unbracketed(node: Expr) -> tuple[str, int]:
    match node:
        case Number(value=value):
            return _number(value)
        case Name(id=name):
            return name, _BASE
        case SizeOf(tensor=tensor, axis=axis):
            return f"{tensor}.{axis}", _BASE
        case Access(tensor=tensor, subscripts=parts, leading=leading):
            return f"{tensor}({_list(parts, leading)})", _BASE
        case Call(function=function, arguments=parts):
            return f"{function}({_list(parts)})", _BASE
        case Cast(to=to, operand=operand):
            return f"{to}({_expression(operand, _SELECT)})", _BASE
        case Unary(op=op, operand=operand):
            return f"{op}{_expression(operand, _UNARY)}", _UNARY
        case Binary(op=op, left=left, right=right):
            own = _LEVELS[op]
            return f"{_expression(left, own)} {op} {_expression(right, own + 1)}", own
        case Select(condition=condition, then=then, otherwise=otherwise):
            parts_text = (_expression(condition, 1), _expression(then, _SELECT), _expression(otherwise, _SELECT))
            return "{} ? {} : {}".format(*parts_text), _SELECT
        case _:
            assert_never(node)


def _number(value: int | float) -> tuple[str, int]:
    if math.isnan(value):
        return "0.0 / 0.0", _LEVELS["/"]
    if math.isinf(value):
        return ("1.0 / 0.0" if value > 0 else "-1.0 / 0.0"), _LEVELS["/"]
    text = repr(value)
    return text, _UNARY if text.startswith("-") else _BASE


def _list(parts: tuple[Expr, ...], leading: bool = False) -> str:
    return ", ".join([*(["..."] if leading else []), *(_expression(p, _SELECT) for p in parts)])
