"""Rewriting of comprehension expressions and statements: the few verbs that lowering composes with.

In and out: trees of `comprehension.lang.tree`, never changed in place.
Invariant: a rewrite keeps every node that it has no reason to replace, spans and types included; the
subtree that a rule returns is not visited again, so a substitution cannot feed itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from comprehension.lang import tree

Rule = Callable[[tree.Expr], tree.Expr | None]  # None: no replacement here, look further down


def rewrite(node: tree.Expr, rule: Rule) -> tree.Expr:
    """`node` with the topmost subtrees that `rule` answers for replaced by its answers."""
    answer = rule(node)
    if answer is not None:
        return answer
    match node:
        case tree.Number() | tree.Name() | tree.SizeOf():
            return node
        case tree.Access():
            return replace(node, subscripts=_each(node.subscripts, rule))
        case tree.Call():
            return replace(node, arguments=_each(node.arguments, rule))
        case tree.Unary() | tree.Cast():
            return replace(node, operand=rewrite(node.operand, rule))
        case tree.Binary():
            return replace(node, left=rewrite(node.left, rule), right=rewrite(node.right, rule))
        case tree.Select():
            condition, then, otherwise = _each((node.condition, node.then, node.otherwise), rule)
            return replace(node, condition=condition, then=then, otherwise=otherwise)
        case _:
            assert_never(node)


def _each(nodes: tuple[tree.Expr, ...], rule: Rule) -> tuple[tree.Expr, ...]:
    return tuple(rewrite(node, rule) for node in nodes)


def rename(mapping: Mapping[str, str | tree.Expr]) -> Rule:
    """The rule that replaces names: a name of a tensor, size, index or let by another, or by an expression.

    A name with subscripts can only be replaced by a name; a bare one also by an expression.
    """

    def rule(node: tree.Expr) -> tree.Expr | None:
        match node:
            case tree.Name(id=name) if name in mapping:
                new = mapping[name]
                return tree.Name(new) if isinstance(new, str) else new
            case tree.Access(tensor=name, subscripts=()) if name in mapping:
                new = mapping[name]
                return tree.Access(new, ()) if isinstance(new, str) else new
            case tree.Access(tensor=name) if name in mapping:
                new = mapping[name]
                assert isinstance(new, str), f"{name} has subscripts: only a name can replace it, not {new}"
                return tree.Access(new, _each(node.subscripts, rule))
            case tree.SizeOf(tensor=name) if name in mapping:
                new = mapping[name]
                assert isinstance(new, str), f"{name}.{node.axis} needs a tensor, not {new}"
                return replace(node, tensor=new)
        return None

    return rule


def rewrite_statement(statement: tree.Statement, rule: Rule, target: str | None = None) -> tree.Statement:
    """All expressions of a statement rewritten; lets and ranges keep the names that they bind."""
    return replace(
        statement,
        target=statement.target if target is None else target,
        subscripts=_each(statement.subscripts, rule),
        value=rewrite(statement.value, rule),
        where=tuple(_rewrite_clause(clause, rule) for clause in statement.where),
        equivalent=None,  # `<=>` has no effect
    )


def _rewrite_clause(clause: tree.Clause, rule: Rule) -> tree.Clause:
    match clause:
        case tree.Range():
            return replace(clause, lower=rewrite(clause.lower, rule), upper=rewrite(clause.upper, rule))
        case tree.Let() | tree.Exists():
            return replace(clause, value=rewrite(clause.value, rule))
        case _:
            assert_never(clause)


def expressions(statement: tree.Statement) -> Iterator[tree.Expr]:
    """The expressions of a statement, outermost ones only: subscripts, value, clauses."""
    yield from statement.subscripts
    yield statement.value
    for clause in statement.where:
        match clause:
            case tree.Range():
                yield clause.lower
                yield clause.upper
            case tree.Let() | tree.Exists():
                yield clause.value
            case _:
                assert_never(clause)


def reads(statement: tree.Statement) -> Iterator[tree.Access | tree.Name]:
    """Every access and every bare name in a statement's expressions, in order of the text."""
    for expression in expressions(statement):
        for node in tree.walk(expression):
            if isinstance(node, tree.Access | tree.Name):
                yield node


def names_read(statement: tree.Statement) -> frozenset[str]:
    """The names of tensors, scalars, sizes and indices that a statement's expressions use."""
    return frozenset(node.tensor if isinstance(node, tree.Access) else node.id for node in reads(statement))


def names_in_subscripts(statements: Sequence[tree.Statement]) -> frozenset[str]:
    """The names that subscripts use, on either side."""
    subscripts = [x for statement in statements for x in statement.subscripts]
    for statement in statements:
        subscripts += [x for node in reads(statement) if isinstance(node, tree.Access) for x in node.subscripts]
    inside = (node for x in subscripts for node in tree.walk(x))
    return frozenset(
        node.tensor if isinstance(node, tree.Access) else node.id
        for node in inside
        if isinstance(node, tree.Access | tree.Name)
    )
