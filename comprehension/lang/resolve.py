"""Sizes put into typed expressions: names of sizes and `T.k` become what they are.

In: typed expressions of a checked def, an `Environment`.  Out: the same with sizes resolved.
Invariant: types are kept; only indices, remaining sizes, scalars and lets are left as names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Set
from typing import assert_never

from comprehension.lang.linear import Environment, to_expr
from comprehension.lang.tree import Access, Binary, Call, Cast, Expr, Name, Number, Select, SizeOf, Unary


def resolve(node: Expr, sizes: Set[str], where: Environment) -> Expr:
    """`node` with the names in `sizes`, and all sizes of tensors, replaced by their forms."""
    match node:
        case Number():
            return node
        case Name(id=name):
            form = where.names[name] if name in sizes else None
            return node if form is None else dataclasses.replace(to_expr(form), span=node.span)
        case SizeOf(tensor=tensor, axis=axis):
            return dataclasses.replace(to_expr(where.shapes[tensor][axis]), span=node.span)
        case Access(subscripts=parts):
            return dataclasses.replace(node, subscripts=tuple(resolve(p, sizes, where) for p in parts))
        case Call(arguments=parts):
            return dataclasses.replace(node, arguments=tuple(resolve(p, sizes, where) for p in parts))
        case Unary(operand=operand) | Cast(operand=operand):
            return dataclasses.replace(node, operand=resolve(operand, sizes, where))
        case Binary(left=left, right=right):
            return dataclasses.replace(node, left=resolve(left, sizes, where), right=resolve(right, sizes, where))
        case Select(condition=condition, then=then, otherwise=otherwise):
            return dataclasses.replace(
                node,
                condition=resolve(condition, sizes, where),
                then=resolve(then, sizes, where),
                otherwise=resolve(otherwise, sizes, where),
            )
        case _:
            assert_never(node)
