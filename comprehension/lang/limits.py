"""Limits on what a text may ask for: generous for people and generators, finite for hostile texts.

In, out: trees.
Invariant: a statement that passes `is_too_large` can be walked by plain recursion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from comprehension.errors import ComprehensionError
from comprehension.lang.tree import Expr, Range, Statement, children
from comprehension.lang.types import ScalarType

MAX_TEXT = 300_000  # characters of one text
MAX_STATEMENTS = 10_000  # of one text, and of one def after its calls are expanded
MAX_DEPTH = 200  # levels of one expression: `a + b + c` has 3; parentheses count for nothing
MAX_NODES = 100_000  # of the expressions of one statement
MAX_INT = 2**31 - 1
# Of what is added to a subscript that reads a tensor: beyond it the sum is a value that may wrap.
LARGEST_OFFSET = 2**30
LARGEST_USUAL_SIZE = 2**24  # what most sizes are below: sums of a few such are within int32
MAX_BYTES = 2**46  # of one tensor; what the machine has is found out by asking for it
MAX_RANK = 64  # dimensions of a tensor: NumPy's own limit

TOO_LARGE = f"an expression has more than {MAX_DEPTH} levels (or {MAX_NODES} parts); name parts of it by `where` lets"


def is_too_large(statement: Statement) -> bool:
    """Whether an expression has more than `MAX_DEPTH` levels or `MAX_NODES` nodes (found without recursion)."""
    level: list[Expr] = [statement.value, *statement.subscripts]
    for clause in statement.where:
        level.extend((clause.lower, clause.upper) if isinstance(clause, Range) else (clause.value,))
    nodes = 0
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        nodes += len(level)
        if nodes > MAX_NODES:
            return True
        level = [child for node in level for child in children(node)]
    return bool(level)


def check_shape(name: str, shape: Sequence[int], dtype: ScalarType, tensor: str | None = None) -> None:
    """Refuses what no array of the language can be: scalar parameters may ask for it at a call.

    `name` is for the message, `tensor` for its place in the text.

    >>> check_shape("f: B", (1 << 31,), ScalarType.FLOAT32)
    Traceback (most recent call last):
    comprehension.errors.ComprehensionError: f: B would have a dimension of 2147483648; sizes are below 2**31
    """
    longest, size = max(shape, default=0), math.prod(shape) * dtype.bits // 8
    if longest > MAX_INT:
        raise ComprehensionError(f"{name} would have a dimension of {longest}; sizes are below 2**31", about=tensor)
    if size > MAX_BYTES:
        raise ComprehensionError(f"{name} would take {size} bytes; the limit is {MAX_BYTES}", about=tensor)
