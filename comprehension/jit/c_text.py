"""Integer expressions of a manifest as C: what an exported kernel needs to know at a call.

In: Python text as `kernel.size_text` writes it.  Out: C text over int64_t, with the same values.
Invariant: equal to `jit.expression.evaluate` wherever int64 holds the value; division floors, by zero gives 0.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from comprehension.kernel.size_text import unescaped

PRELUDE = """\
static inline int64_t tc_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t tc_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t tc_div(int64_t a, int64_t b) { return b == 0 ? 0 : a / b - (a % b != 0 && (a < 0) != (b < 0)); }
static inline int64_t tc_mod(int64_t a, int64_t b) { return b == 0 ? 0 : a - tc_div(a, b) * b; }
"""

_OPERATORS: Mapping[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip


def c_text(value: float | str, names: Mapping[str, str]) -> str:
    """A manifest's number or text as a C expression; `names` are those of sizes and scalars there.

    >>> c_text("((N + 31) // 32)", {"N": "N"})
    'tc_div((N + 31), 32)'
    >>> c_text("(M if (M < N) else N)", {"M": "rows", "N": "int_"})
    '((rows < int_) ? rows : int_)'
    """
    return _text(ast.parse(value, mode="eval").body, names) if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    return f"INT64_C({value})" if isinstance(value, int) and abs(value) >= 1 << 31 else str(value)


def _text(node: ast.expr, names: Mapping[str, str]) -> str:
    match node:
        case ast.Constant(value=bool(value)):
            return str(int(value))
        case ast.Constant(value=int() | float() as value):
            return _number(value)
        case ast.Name(id=name):
            return names[unescaped(name)]
        case ast.UnaryOp(op=op, operand=operand):
            return f"({'!' if isinstance(op, ast.Not) else '-'}{_text(operand, names)})"
        case ast.BinOp(left=left, op=ast.FloorDiv() | ast.Mod() as op, right=right):
            function = "tc_div" if isinstance(op, ast.FloorDiv) else "tc_mod"
            return f"{function}({_text(left, names)}, {_text(right, names)})"
        case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
            return f"({_text(left, names)} {_OPERATORS[type(op)]} {_text(right, names)})"
        case ast.BoolOp(op=op, values=values):
            word = " && " if isinstance(op, ast.And) else " || "
            return f"({word.join(_text(value, names) for value in values)})"
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return f"({_text(test, names)} ? {_text(body, names)} : {_text(orelse, names)})"
        case ast.Call(func=ast.Name(id="int"), args=[operand]):
            return f"((int64_t){_text(operand, names)})"
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[first, *rest]):
            text = _text(first, names)
            for other in rest:
                text = f"tc_{name}({text}, {_text(other, names)})"
            return text
    raise ValueError(f"not an integer expression: {ast.unparse(node)[:80]!r}")
