"""Sizes put into typed expressions: names of sizes and `T.k` become what they are.

In: typed expressions of a checked def, an `Environment`.  Out: the same with sizes resolved.
Invariant: types are kept; only indices, remaining sizes, scalars and lets are left as names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Set

from comprehension.lang.forms import Environment
from comprehension.lang.linear import to_expr
from comprehension.lang.tree import Expr, Name, SizeOf, children, rebuild


def resolve(node: Expr, sizes: Set[str], where: Environment) -> Expr:
    """`node` with the names in `sizes`, and all sizes of tensors, replaced by their forms."""
    match node:
        case Name(id=name):
            form = where.names[name] if name in sizes else None
            return node if form is None else dataclasses.replace(to_expr(form), span=node.span)
        case SizeOf(tensor=tensor, axis=axis):
            return dataclasses.replace(to_expr(where.shapes[tensor][axis]), span=node.span)
        case _:
            return rebuild(node, tuple(resolve(part, sizes, where) for part in children(node)))
