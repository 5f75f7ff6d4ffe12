"""Generic walks over KernelIR: find nodes of a kind, rebuild with some of them changed.

In: any node, or a tuple of nodes.  Out: nodes found; a tree of the same shape.
Invariant: nothing here knows what a node means; what is not changed is rebuilt equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from comprehension.kernel import ir

Node = TypeVar("Node")
Tree = TypeVar("Tree")


def nodes_of(tree: object, kind: type[Node]) -> Iterator[Node]:
    """All nodes of a kind in a tree, parents before children.

    >>> [v.name for v in nodes_of(ir.IntOp("+", ir.Var("i"), ir.Var("j")), ir.Var)]
    ['i', 'j']
    """
    if isinstance(tree, tuple):
        for part in tree:
            yield from nodes_of(part, kind)
    elif is_dataclass(tree):
        if isinstance(tree, kind):
            yield tree
        for field in fields(tree):
            yield from nodes_of(getattr(tree, field.name), kind)


def rewrite(tree: Tree, kinds: type | tuple[type, ...], change: Callable[[Any], Any]) -> Tree:
    """The tree with `change` applied to every node of some kinds, children first.

    >>> rewrite(ir.IntOp("+", ir.Var("i"), ir.Int(1)), ir.Var, lambda v: ir.Int(4))
    IntOp(op='+', left=Int(value=4), right=Int(value=1))
    """
    return _rewrite(tree, kinds, change)  # type: ignore[no-any-return]


def _rewrite(tree: Any, kinds: type | tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, tuple):
        return tuple(_rewrite(part, kinds, change) for part in tree)
    if not is_dataclass(tree) or isinstance(tree, type):
        return tree
    parts = {field.name: _rewrite(getattr(tree, field.name), kinds, change) for field in fields(tree)}
    rebuilt = replace(tree, **parts)
    return change(rebuilt) if isinstance(rebuilt, kinds) else rebuilt


def map_integers(tree: Tree, values: Mapping[str, ir.IntExpr]) -> Tree:
    """The tree with integer variables replaced; loops must not bind these names again."""
    return rewrite(tree, ir.Var, lambda variable: values.get(variable.name, variable))
