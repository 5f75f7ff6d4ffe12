"""Inputs that a cluster reads at one place of their outer dimensions: it takes that row, not the tensor.

    h(i0,i1) = x0(3,i0,i1) * x1(i0,i1)       =>      h(i0,i1) = x2(i0,i1) * x1(i0,i1)      where x2 is x0[3]

In and out: the statements of one def; out also which rows there are.  A row of a dense tensor is dense: an address,
for which nothing is computed.  So the rounds of an unrolled loop, each with a row of its own, share one kernel.
Invariant: every read of a tensor that is taken in rows is a read of one of them; a row has a dimension at least.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coexec.clusters.forward import TensorType, Types
from coexec.clusters.rewrite import expressions, rewrite, rewrite_statement
from comprehension.lang import tree

MOST_ROWS = 4  # of one tensor: a kernel that reads more (of a stack, say) takes the tensor

Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """What `tensor` holds where its outer dimensions are at `index`; `name`: the row's in the statements."""

    name: str
    tensor: str
    index: Index
    type: TensorType


def take_rows(
    statements: Sequence[tree.Statement], types: Types, inputs: Iterable[str]
) -> tuple[tuple[tree.Statement, ...], tuple[Row, ...]]:
    """The statements with the rows that they read in the place of inputs, in order of first use."""
    whole = {name for name in inputs if len(types[name].shape) > 1}
    read: dict[str, dict[tree.Access, Index]] = {}
    for node in (node for s in statements for expression in expressions(s) for node in tree.walk(expression)):
        match node:
            case tree.Access(tensor=name) if name in whole:
                read.setdefault(name, {})[node] = _outer_index(node)
            case tree.Name(id=name) | tree.SizeOf(tensor=name):
                whole.discard(name)
    rows: dict[tuple[str, Index], Row] = {}
    for name, places in read.items():
        depth = _depth(list(places.values()), types[name].shape)
        indices = dict.fromkeys(index[:depth] for index in places.values())
        if name in whole and depth and len(indices) <= MOST_ROWS:
            for index in indices:
                shape = types[name].shape[depth:]
                rows[name, index] = Row(f"{name}{[*index]}", name, index, TensorType(types[name].dtype, shape))
    depths = {name: len(index) for name, index in rows}

    def rule(node: tree.Expr) -> tree.Expr | None:
        match node:
            case tree.Access(tensor=name, subscripts=subscripts) if name in depths:
                row = rows[name, _outer_index(node)[: depths[name]]]
                inner = tuple(rewrite(subscript, rule) for subscript in subscripts[depths[name] :])
                return tree.Access(row.name, inner)
        return None

    return tuple(rewrite_statement(statement, rule) for statement in statements), tuple(rows.values())


def _depth(indices: Sequence[Index], shape: tuple[int | str, ...]) -> int:
    """How many outer dimensions all reads have numbers for, an inner one left, and none that is out of bounds."""
    depth = min(len(shape) - 1, *(len(index) for index in indices))
    fits = [
        not isinstance(dim, int) or all(0 <= index[k] < dim for index in indices) for k, dim in enumerate(shape[:depth])
    ]
    return fits.index(False) if False in fits else depth


def _outer_index(access: tree.Access) -> Index:
    """The numbers that the outermost subscripts are, up to the first that is none."""
    found: list[int] = []
    for subscript in access.subscripts:
        number = _number(subscript)
        if number is None:
            break
        found.append(number)
    return tuple(found)


def _number(subscript: tree.Expr) -> int | None:
    match subscript:
        case tree.Number(value=int(value)):
            return value
        case tree.Binary(op="+" | "-" | "*" as op, left=left, right=right):
            a, b = _number(left), _number(right)
            if a is None or b is None:
                return None
            return a + b if op == "+" else a - b if op == "-" else a * b
    return None
