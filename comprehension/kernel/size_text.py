"""Integer expressions over sizes and scalars as Python text: what a manifest and a CUDA entry say of a kernel.

In: IR expressions and typed trees.
Out: Python text over names, `+ - * // % min max`, comparisons, `and or not`, `a if c else b`, `int(x)`, which
`jit.expression` evaluates at a launch.
Invariant: two names of a program never meet in a text, and none is read as Python's own.

A size may be called `if` or `min`: such names are written with one more underscore (`if_`), and so are names
that already look like that, so that no two meet.
"""

from __future__ import annotations

import keyword
from typing import assert_never

from comprehension.kernel import ir
from comprehension.lang import tree
from comprehension.lang.types import ScalarType

_FUNCTIONS = ("min", "max", "int")


def text_of(expr: ir.IntExpr) -> str:
    """Python text of an IR expression; ValueError where it depends on a tensor's contents.

    >>> text_of(ir.IntOp("/", ir.IntOp("+", ir.Var("N"), ir.Int(31)), ir.Int(32)))
    '((N + 31) // 32)'
    """
    match expr:
        case ir.Int(value):
            return f"({value})" if value < 0 else str(value)
        case ir.Var(name):
            return escaped(name)
        case ir.IntOp("min" | "max" as op, left, right):
            return f"{op}({text_of(left)}, {text_of(right)})"
        case ir.IntOp(op, left, right):
            return f"({text_of(left)} {'//' if op == '/' else op} {text_of(right)})"
        case ir.IntSelect(condition, then, otherwise):
            return f"({text_of(then)} if {_condition_text(condition)} else {text_of(otherwise)})"
        case ir.FromValue():
            raise ValueError("an indirect subscript has no value before the kernel runs")
        case _:
            assert_never(expr)


def _condition_text(condition: ir.Condition) -> str:
    match condition:
        case ir.Compare(op, left, right):
            return f"({text_of(left)} {op} {text_of(right)})"
        case ir.BoolOp(op, left, right):
            return f"({_condition_text(left)} {op} {_condition_text(right)})"
        case _:
            assert_never(condition)


_BINARY = {"/": "//", "&&": "and", "||": "or"}


def text_of_tree(expr: tree.Expr) -> str:
    """Python text of a typed tree over sizes and scalars; ValueError where it reads a tensor or calls a builtin.

    >>> text_of_tree(tree.Binary("&&", tree.Binary("<", tree.Name("M"), tree.Name("N")), tree.Name("flag")))
    '((M < N) and flag)'
    """
    match expr:
        case tree.Number(value):
            return f"({value!r})" if value < 0 else repr(value)
        case tree.Name(name):
            return escaped(name)
        case tree.Unary(op, operand):
            return f"({'not ' if op == '!' else '-'}{text_of_tree(operand)})"
        case tree.Binary(op, left, right):
            return f"({text_of_tree(left)} {_BINARY.get(op, op)} {text_of_tree(right)})"
        case tree.Select(condition, then, otherwise):
            return f"({text_of_tree(then)} if {text_of_tree(condition)} else {text_of_tree(otherwise)})"
        case tree.Cast(to, operand):
            return _cast_text(to, text_of_tree(operand))
        case tree.Call("min" | "max" as function, arguments):
            return f"{function}({', '.join(text_of_tree(a) for a in arguments)})"
        case tree.Call() | tree.Access() | tree.SizeOf():
            raise ValueError(f"{type(expr).__name__} is not known before the kernel runs")
        case _:
            assert_never(expr)


def _cast_text(to: ScalarType, operand: str) -> str:
    """A conversion: numbers of sizes and indices are exact in types of 32 bits and more, and wrap in smaller ones."""
    if not to.is_integer:
        return operand
    if to.bits >= 32:
        return f"int({operand})"
    lowest = to.limits[0]
    return f"((int({operand}) - ({lowest})) % {1 << to.bits} + ({lowest}))"


def escaped(name: str) -> str:
    """A name as it stands in a text.

    >>> escaped("N"), escaped("if"), escaped("if_")
    ('N', 'if_', 'if__')
    """
    return name + "_" if _is_reserved(name.rstrip("_")) else name


def unescaped(name: str) -> str:
    """The name that `escaped` wrote so.

    >>> unescaped(escaped("if"))
    'if'
    """
    return name[:-1] if name.endswith("_") and _is_reserved(name.rstrip("_")) else name


def _is_reserved(name: str) -> bool:
    return keyword.iskeyword(name) or name in _FUNCTIONS
