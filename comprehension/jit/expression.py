"""Integer expressions of a manifest: written by the compiler process, evaluated by the program at a launch.

In: IR expressions and typed trees (to write), environments of sizes and scalars (to evaluate).
Out: Python text over names, `+ - * // % min max`, comparisons, `and or not`, `a if c else b`, `int(x)`.
Invariant: nothing of Python is reachable from a text but these; division by zero gives 0, as in the language.

A size may be called `if` or `min`: such names are written with one more underscore (`if_`), and so are names
that already look like that, so that no two meet.
"""

from __future__ import annotations

import ast
import functools
import keyword
from collections.abc import Callable, Mapping
from typing import assert_never

from comprehension.kernel import ir
from comprehension.lang import tree

Number = int | float
Environment = Mapping[str, Number]
Evaluate = Callable[[Environment], Number]

_FUNCTIONS = ("min", "max", "int")
LONGEST = 100_000


# --- writing -----------------------------------------------------------------------------------------------


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
            return f"int({text_of_tree(operand)})" if to.is_integer else text_of_tree(operand)
        case tree.Call("min" | "max" as function, arguments):
            return f"{function}({', '.join(text_of_tree(a) for a in arguments)})"
        case tree.Call() | tree.Access() | tree.SizeOf():
            raise ValueError(f"{type(expr).__name__} is not known before the kernel runs")
        case _:
            assert_never(expr)


def escaped(name: str) -> str:
    """A name as it stands in a text.

    >>> escaped("N"), escaped("if"), escaped("if_")
    ('N', 'if_', 'if__')
    """
    return name + "_" if _is_reserved(name.rstrip("_")) else name


def _unescaped(name: str) -> str:
    return name[:-1] if name.endswith("_") and _is_reserved(name.rstrip("_")) else name


def _is_reserved(name: str) -> bool:
    return keyword.iskeyword(name) or name in _FUNCTIONS


# --- evaluating ----------------------------------------------------------------------------------------------


def evaluate(value: Number | str, environment: Environment) -> Number:
    """The value of a manifest's number or text.

    Raises ValueError for a text that is not such an expression, KeyError for a name without a value.

    >>> evaluate("(N + 31) // 32 if N > 0 else 0", {"N": 40})
    2
    """
    return compiled(value)(environment) if isinstance(value, str) else value


@functools.lru_cache(maxsize=4096)
def compiled(text: str) -> Evaluate:
    """The text as a function of its environment; ValueError for anything that is not in the grammar above."""
    if len(text) > LONGEST:
        raise ValueError(f"an expression of {len(text)} characters is longer than {LONGEST}")
    try:
        return _compile(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError) as reason:
        raise ValueError(f"not an integer expression: {text[:80]!r}") from reason


def _floor(a: Number, b: Number) -> Number:
    return a // b if b else 0


def _modulo(a: Number, b: Number) -> Number:
    return a % b if b else 0


_ARITHMETIC: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: _floor,
    ast.Mod: _modulo,
}
_COMPARISON: dict[type[ast.cmpop], Callable[[Number, Number], bool]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}


def _compile(node: ast.expr) -> Evaluate:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return lambda env: value
        case ast.Name(id=name):
            key = _unescaped(name)
            return lambda env: env[key]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compile(operand)
            return lambda env: -inner(env)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _compile(operand)
            return lambda env: not inner(env)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _apply(_ARITHMETIC[type(op)], left, right)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISON:
            return _apply(_COMPARISON[type(op)], left, right)
        case ast.BoolOp(op=ast.And(), values=values):
            parts = [_compile(value) for value in values]
            return lambda env: all(part(env) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=values):
            parts = [_compile(value) for value in values]
            return lambda env: any(part(env) for part in parts)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            condition, then, otherwise = _compile(test), _compile(body), _compile(orelse)
            return lambda env: then(env) if condition(env) else otherwise(env)
        case ast.Call(func=ast.Name(id="int"), args=[operand], keywords=[]):
            inner = _compile(operand)
            return lambda env: int(inner(env))
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=arguments, keywords=[]) if len(arguments) > 1:
            extreme: Callable[[list[Number]], Number] = min if name == "min" else max
            parts = [_compile(argument) for argument in arguments]
            return lambda env: extreme([part(env) for part in parts])
    raise ValueError(f"not allowed in an integer expression: {ast.unparse(node)[:80]!r}")


def _apply(function: Callable[[Number, Number], Number], left: ast.expr, right: ast.expr) -> Evaluate:
    first, second = _compile(left), _compile(right)
    return lambda env: function(first(env), second(env))
