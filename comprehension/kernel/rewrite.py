"""Generic walks over KernelIR: find nodes of a kind, rebuild with some of them changed.

In: any node, or a tuple of nodes.  Out: nodes found; a tree of the same shape.
Invariant: nothing here knows what a node means; what is not changed stays the same object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from operator import is_
from typing import Any, TypeVar

from comprehension.kernel import ir

Node = TypeVar("Node")
Tree = TypeVar("Tree")


def nodes_of(tree: object, kind: type[Node]) -> Iterator[Node]:
    """All nodes of a kind in a tree, parents before children.

    >>> [v.name for v in nodes_of(ir.IntOp("+", ir.Var("i"), ir.Var("j")), ir.Var)]
    ['i', 'j']
    """
    pending: list[Any] = [tree]
    while pending:  # a stack: generators within generators would pass each node up through all levels
        node = pending.pop()
        if isinstance(node, tuple):
            pending.extend(reversed(node))
        elif (names := _field_names(node)) is not None:
            if isinstance(node, kind):
                yield node
            pending.extend([getattr(node, name) for name in reversed(names)])


_FIELDS: dict[type, tuple[str, ...] | None] = {}  # by class; asked anew for each node, `fields` takes most of a walk
_PLAIN = {"str", "int", "bool", "float", "None", "tuple", "ScalarType", "Space", "StoreRole", "ReduceOp"}


def _field_names(node: object) -> tuple[str, ...] | None:
    """The fields of a node in which nodes may stand, as their annotations tell; None for what is no node."""
    kind = type(node)
    if kind not in _FIELDS:
        _FIELDS[kind] = (
            tuple(f.name for f in fields(kind) if not _is_plain(str(f.type))) if is_dataclass(kind) else None
        )
    return _FIELDS[kind]


def _is_plain(annotation: str) -> bool:
    return annotation.startswith("Literal[") or set(re.findall(r"\w+", annotation)) <= _PLAIN


def rewrite(tree: Tree, kinds: type | tuple[type, ...], change: Callable[[Any], Any]) -> Tree:
    """The tree with `change` applied to every node of some kinds, children first.

    >>> rewrite(ir.IntOp("+", ir.Var("i"), ir.Int(1)), ir.Var, lambda v: ir.Int(4))
    IntOp(op='+', left=Int(value=4), right=Int(value=1))
    """
    return _rewrite(tree, kinds, change)  # type: ignore[no-any-return]


def _rewrite(tree: Any, kinds: type | tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, tuple):
        changed = [_rewrite(part, kinds, change) for part in tree]
        return tree if all(map(is_, changed, tree)) else tuple(changed)
    names = _field_names(tree)
    if names is None:
        return tree
    parts: dict[str, Any] = {}
    for name in names:
        old = getattr(tree, name)
        new = None if old is None else _rewrite(old, kinds, change)
        if new is not old:
            parts[name] = new
    if parts:
        tree = replace(tree, **parts)
    return change(tree) if isinstance(tree, kinds) else tree


def map_integers(tree: Tree, values: Mapping[str, ir.IntExpr]) -> Tree:
    """The tree with integer variables replaced; loops must not bind these names again."""
    return rewrite(tree, ir.Var, lambda variable: values.get(variable.name, variable))
