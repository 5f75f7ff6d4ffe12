"""Integer expressions and conditions as source text, for loops and for tile axes.

In: `IntExpr` and `Condition`.  Out: `Expr`s of int64 or truth values.
Invariant: division floors; in a tile, an expression that contains an axis is a tile of int64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from comprehension.codegen.function import Expr, varying
from comprehension.kernel import ir

if TYPE_CHECKING:
    from comprehension.codegen.value_text import Printer

_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2}


def index_text(printer: Printer, expression: ir.IntExpr) -> Expr:
    """The expression without surrounding parentheses."""
    return _ranked(printer, expression)[0]


def _ranked(printer: Printer, expression: ir.IntExpr) -> tuple[Expr, int]:
    """The text and how strongly its outermost operator binds (3: an atom)."""
    match expression:
        case ir.Int(value):
            return Expr(str(value)), 3 if value >= 0 else 1
        case ir.Var(name):
            return printer.variable(name), 3
        case ir.IntOp(op, left, right):
            return _operation(printer, op, left, right)
        case ir.IntSelect(condition, then, otherwise):
            return _selection(printer, condition, then, otherwise), 3
        case ir.FromValue(value):
            found = printer.value(value)
            return varying(f"{printer.function.use('convert')}({found.text}, np.int64)", found), 3
        case _:
            assert_never(expression)


def _operation(printer: Printer, op: str, left: ir.IntExpr, right: ir.IntExpr) -> tuple[Expr, int]:
    (a, rank_a), (b, rank_b) = _ranked(printer, left), _ranked(printer, right)
    use = printer.function.use
    positive = isinstance(right, ir.Int) and right.value > 0
    if op in ("min", "max"):
        name = op if a.is_scalar and b.is_scalar else use(op + "imum")
        return varying(f"{name}({a.text}, {b.text})", a, b), 3
    if op in ("/", "%") and not (positive and a.is_scalar):
        name = use("floor_div" if op == "/" else "floor_mod")
        return varying(f"{name}({a.text}, {b.text})", a, b), 3
    rank = _RANK[op]
    left_text = a.text if rank_a >= rank else f"({a.text})"
    right_text = b.text if rank_b > rank else f"({b.text})"
    return varying(f"{left_text} {'//' if op == '/' else op} {right_text}", a, b), rank


def _selection(printer: Printer, condition: ir.Condition, then: ir.IntExpr, otherwise: ir.IntExpr) -> Expr:
    test = condition_text(printer, condition)
    a, b = index_text(printer, then), index_text(printer, otherwise)
    if test.is_scalar and a.is_scalar and b.is_scalar:
        return Expr(f"({a.text} if {test.text} else {b.text})")
    return varying(f"{printer.function.use('select')}({test.text}, {a.text}, {b.text})", test, a, b)


def condition_text(printer: Printer, condition: ir.Condition) -> Expr:
    """A condition; parts are parenthesised."""
    match condition:
        case ir.Compare(op, left, right):
            a, b = index_text(printer, left), index_text(printer, right)
            return varying(f"({a.text} {op} {b.text})", a, b)
        case ir.BoolOp(op, left, right):
            a, b = condition_text(printer, left), condition_text(printer, right)
            word = op if a.is_scalar and b.is_scalar else {"and": "&", "or": "|"}[op]
            return varying(f"({a.text} {word} {b.text})", a, b)
        case _:
            assert_never(condition)
