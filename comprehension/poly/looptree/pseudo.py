"""Loops as a person writes them: the loops of a schedule tree, with the statements of the text in them.

    for m.outer in 0:2:
        for m.inner in 0:32:
            for k in 0:64:
                S0: C(32 * m.outer + m.inner) += A(32 * m.outer + m.inner, k) * B(k)

In: a Scop and a ScheduleTree.  Out: text.
Invariant: bounds and the order of statements are those of the loops that isl makes for the kernel; loops have the names
that the user gave them, subscripts are written in terms of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comprehension.kernel import ir
from comprehension.kernel.rewrite import map_integers, nodes_of
from comprehension.kernel.simplify import Linear, linear, simplify, simplify_condition
from comprehension.kernel.tiles import upper_bound
from comprehension.lang import tree as lang
from comprehension.lang.printer import to_text
from comprehension.lang.scalars import identity
from comprehension.poly import isl
from comprehension.poly.ast import condition_of, generate_ast, int_expr, iterator_names
from comprehension.poly.parameters import integer_of, parameters_of
from comprehension.poly.schedule_tree import (
    AccumulateMark,
    Decision,
    JamMark,
    LoopMark,
    PromoteMark,
    RowsMark,
    ScheduleTree,
    StageMark,
    TileMark,
)
from comprehension.poly.scop import Scop, ScopRole

INDENT = "    "


def pseudo_code(scop: Scop, tree: ScheduleTree) -> str:
    """The loops of the tree."""
    iterators = iterator_names({*scop.program.sizes, *(s.name for s in scop.program.scalars)})
    root = generate_ast(tree, scop.context, iterators)
    printer = _Printer(scop, tree.decisions, tree, dict(parameters_of(scop.program)))
    return "\n".join(printer.lines(root))


@dataclass(frozen=True, slots=True)
class _Printer:
    """What is known on the way down: names of loops, and what the loops to come are called."""

    scop: Scop
    decisions: Mapping[str, Decision]
    tree: ScheduleTree
    names: Mapping[str, ir.IntExpr]
    loops: tuple[str, ...] = ()  # around, outermost first
    labels: tuple[str, ...] = ()  # of the next loops
    together: int = 0  # how many of the next loops are a tile
    suffix: str = ""  # what is said of the next loop
    prefix: str = ""

    def lines(self, node: isl.AstNode) -> Iterator[str]:
        match node.get_type():
            case isl.ast_node_type.block:
                children = node.block_get_children()
                for position in range(children.n_ast_node()):
                    yield from self.lines(children.get_at(position))
            case isl.ast_node_type.for_:
                yield from self._loop(node)
            case isl.ast_node_type.if_:
                condition = simplify_condition(condition_of(node.if_get_cond(), self.names))
                yield f"if {to_text(self._condition(condition))}:"
                yield from _indented(self.lines(node.if_get_then_node()))
                if node.if_has_else_node():
                    yield "else:"
                    yield from _indented(self.lines(node.if_get_else_node()))
            case isl.ast_node_type.mark:
                yield from self._mark(node)
            case isl.ast_node_type.user:
                yield self._statement(node.user_get_expr())

    def _loop(self, node: isl.AstNode) -> Iterator[str]:
        iterator = node.for_get_iterator().id_get_id().get_name()
        label, *later = self.labels or (iterator,)
        lower = simplify(int_expr(node.for_get_init(), self.names))
        below = replace(
            self,
            names={**self.names, iterator: ir.Var(label)},
            loops=(*self.loops, label),
            labels=tuple(later),
            together=max(0, self.together - 1),
            prefix="",
            suffix="",
        )
        if node.for_is_degenerate():
            below = replace(below, names={**self.names, iterator: lower})
            yield from below.lines(node.for_get_body())
            return
        upper = simplify(upper_bound(node.for_get_cond(), self.names))
        step = node.for_get_inc().get_val()
        by = "" if step.is_one() else f" step {step}"
        bounds = f"{to_text(self._expression(lower))}:{to_text(self._expression(upper))}{by}"
        yield f"{self.prefix}for {label} in {bounds}{' at once' if self.together else self.suffix}:"
        yield from _indented(below.lines(node.for_get_body()))

    def _mark(self, node: isl.AstNode) -> Iterator[str]:
        child = node.mark_get_node()
        match self.decisions[node.mark_get_id().get_name()]:
            case StageMark(parallel=parallel):
                yield from replace(self, prefix="parallel " if parallel else "").lines(child)
            case LoopMark(label=label, unroll=times):
                suffix = f" (unrolled {times} times)" if times > 1 else ""
                yield from replace(self, labels=(label,), suffix=suffix).lines(child)
            case TileMark(rows=rows, labels=labels):
                yield from replace(self, labels=labels, together=1 if rows is None else 2).lines(child)
            case PromoteMark() as mark:
                yield f"with {mark}:"
                yield from _indented(self.lines(child))
            case AccumulateMark() | RowsMark() | JamMark() as mark:
                yield f"with {mark}:"
                yield from _indented(self.lines(child))

    def _statement(self, call: isl.AstExpr) -> str:
        name = call.get_op_arg(0).get_id().get_name()
        arguments = range(1, call.get_op_n_arg())
        point = [int_expr(call.get_op_arg(i), self.names) for i in arguments]
        if name in self.tree.copies:
            copy = self.tree.copies[name]
            where = self._element(copy.tensor, [self._expression(i) for i in point])
            return f"{copy.buffer} <- {where}" if copy.into_buffer else f"{where} <- {copy.buffer}"
        statement = self.scop.statement(name)
        source = statement.source
        indices = dict(zip(statement.dims, point, strict=True))
        target = self._element(source.target, [self._at(s, indices) for s in source.subscripts])
        if statement.role is ScopRole.INIT:
            start = identity(source.reduction or "+", self.scop.program.tensor(source.target).dtype)
            return (
                f"{name}: {target} = {float(start):g}"
                if isinstance(start, np.floating)
                else f"{name}: {target} = {start}"
            )
        lets = ", ".join(f"{let.name} = {to_text(self._at(let.value, indices))}" for let in source.lets)
        text = f"{name}: {target} {source.reduction or ''}= {to_text(self._at(source.value, indices))}"
        return f"{text} where {lets}" if lets else text

    def _element(self, tensor: str, subscripts: Sequence[lang.Expr]) -> str:
        return f"{tensor}({', '.join(map(to_text, subscripts))})" if subscripts else tensor

    def _at(self, expr: lang.Expr, indices: Mapping[str, ir.IntExpr]) -> lang.Expr:
        """An expression of the text in terms of the loops."""
        integer = integer_of(expr) if expr.dtype is not None and expr.dtype.is_integer else None
        if integer is not None:
            return self._expression(map_integers(integer, indices))
        if isinstance(expr, lang.Cast) and isinstance(expr.operand, lang.Number):
            return expr.operand  # the text had the number alone
        parts = lang.children(expr)
        return lang.rebuild(expr, tuple(self._at(part, indices) for part in parts)) if parts else expr

    # --- integers, as the language writes them --------------------------------------------------------------------

    def _expression(self, value: ir.IntExpr) -> lang.Expr:
        match value:
            case ir.Int(number):
                return lang.Number(number) if number >= 0 else lang.Unary("-", lang.Number(-number))
            case ir.Var(name):
                return lang.Name(name)
            case ir.IntOp("min" | "max" | "/" | "%" as op, left, right) if simplify(value) == value:
                parts = (self._expression(left), self._expression(right))
                return lang.Call(op, parts) if op in ("min", "max") else _binary(op, *parts)
            case ir.IntSelect(condition, then, otherwise):
                return lang.Select(self._condition(condition), self._expression(then), self._expression(otherwise))
            case _:
                return self._sum(linear(value))

    def _sum(self, form: Linear) -> lang.Expr:
        """Sizes, then loops from the outermost to the innermost; what is added before what is taken away."""
        terms: list[tuple[ir.IntExpr | None, int]] = [*form.terms, (None, form.constant)]
        terms.sort(key=lambda term: (term[1] < 0, self._depth(term[0])))
        total: lang.Expr | None = None
        for atom, factor in [term for term in terms if term[1]] or [(None, 0)]:
            part: lang.Expr = lang.Number(abs(factor))
            if atom is not None:
                part = self._expression(atom) if abs(factor) == 1 else _binary("*", part, self._expression(atom))
            if total is None:
                total = part if factor >= 0 else lang.Unary("-", part)
            else:
                total = _binary("+" if factor > 0 else "-", total, part)
        assert total is not None
        return total

    def _depth(self, atom: ir.IntExpr | None) -> int:
        """The depth of the innermost loop in a term; sizes stand outside of all, a constant comes last."""
        if atom is None:
            return len(self.loops)
        names = {variable.name for variable in nodes_of(atom, ir.Var)}
        return max((depth for depth, loop in enumerate(self.loops) if loop in names), default=-1)

    def _condition(self, condition: ir.Condition) -> lang.Expr:
        match condition:
            case ir.Compare(op, left, right):
                return lang.Binary(op, self._expression(left), self._expression(right))
            case ir.BoolOp(op, left, right):
                return lang.Binary("&&" if op == "and" else "||", self._condition(left), self._condition(right))


def _binary(op: str, left: lang.Expr, right: lang.Expr) -> lang.Expr:
    return lang.Binary(op, left, right)  # type: ignore[arg-type]  # op is one of BinaryOp's


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (INDENT + line for line in lines)
