"""Forward substitution: a producer read once moves into its reader, so that no buffer stands between them.

    t(i,j) = exp(x(i,j))                     =>      y(i) +=! exp(x(i,j)) where i in 0:M, j in 0:N
    y(i) +=! t(i,j)

In and out: the statements of one def, tensors written once (SSA) but for the pieces of one operation.
Legality (checked by `_is_movable`, `_may_receive`): the producer is a plain assignment over its own distinct
indices; nothing writes what it reads between its place and its reader's; every index of the reader has a
range of its own afterwards (a range may have come from the access that disappears).
Profit: the reader visits each element once (equal sets of extents), so that no work is done twice; pure
movement (a value that is one access) is free and moves anywhere.
Invariant: a value keeps the type it was rounded to: a `Cast` stands where the expression's type differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from coexec.clusters.rewrite import reads, rename, rewrite, rewrite_statement
from comprehension.lang import tree
from comprehension.lang.builtins import result_type
from comprehension.lang.types import ScalarType, promote

MAX_EXPRESSION_NODES = 200  # a merged expression beyond this is left to the scheduler's own fusion


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a tensor of the def: element type, and dimensions as ints or names of sizes."""

    dtype: ScalarType
    shape: tuple[int | str, ...]


Types = Mapping[str, TensorType]


def substitute_forward(
    statements: Sequence[tree.Statement], types: Types, keep: frozenset[str]
) -> tuple[tree.Statement, ...]:
    """The statements with every producer moved into its reader where that is legal and pays.

    `types` holds the tensors whose type and shape are known (others stay where they are); `keep` the outputs.
    """
    current = list(statements)
    counts = [_reads_by_name(statement) for statement in current]
    position = 0
    while position < len(current):
        target = current[position].target
        moved = None if target in keep or target not in types else _move(current, counts, position, types)
        if moved is None:
            position += 1
            continue
        for at, reader in moved.items():
            current[at], counts[at] = reader, _reads_by_name(reader)
        del current[position], counts[position]
    return tuple(current)


def _move(
    statements: Sequence[tree.Statement], counts: Sequence[Counter[str]], position: int, types: Types
) -> dict[int, tree.Statement] | None:
    """The readers of the producer at `position`, by position, with it inside of them; None where it must stay."""
    producer = statements[position]
    if not _is_movable(statements, counts[position], position):
        return None
    uses = {at: count[producer.target] for at, count in enumerate(counts) if producer.target in count}
    free = isinstance(producer.value, tree.Access)
    if not uses or min(uses) <= position or (not free and sum(uses.values()) > 1):
        return None
    rewritten: dict[int, tree.Statement] = {}
    for at in uses:
        reader = with_ranges(statements[at], types)
        if not _may_receive(reader, producer, types, free):
            return None
        rewritten[at] = _receive(reader, producer, types)
        if sum(1 for _ in tree.walk(rewritten[at].value)) > MAX_EXPRESSION_NODES:
            return None
    return rewritten


def _is_movable(statements: Sequence[tree.Statement], read: Counter[str], position: int) -> bool:
    """A plain assignment over distinct indices, the only write to its tensor, of values that stay."""
    producer = statements[position]
    if producer.reduction is not None or any(not isinstance(clause, tree.Range) for clause in producer.where):
        return False
    indices = [s.id for s in producer.subscripts if isinstance(s, tree.Name)]
    constant = [s for s in producer.subscripts if not isinstance(s, tree.Name)]
    if len(set(indices)) != len(indices) or any(s != tree.Number(0) for s in constant):
        return False
    if producer.target in read or any(s.target == producer.target for s in statements[:position]):
        return False
    return not any(s.target in read or s.target == producer.target for s in statements[position + 1 :])


def _reads_by_name(statement: tree.Statement) -> Counter[str]:
    """How often each name is read in a statement's expressions."""
    return Counter(node.tensor if isinstance(node, tree.Access) else node.id for node in reads(statement))


def _may_receive(reader: tree.Statement, producer: tree.Statement, types: Types, free: bool) -> bool:
    """Whether the reader, with its ranges made explicit, can take the producer's expression."""
    ranges = {clause.index: clause for clause in reader.where if isinstance(clause, tree.Range)}
    bound = {clause.name for clause in reader.where if isinstance(clause, tree.Let)}
    if _indices(reader, types) - set(ranges) - bound:
        return False
    accesses = [n for n in reads(reader) if isinstance(n, tree.Access) and n.tensor == producer.target]
    if any(len(access.subscripts) != len(producer.subscripts) for access in accesses):
        return False
    return free or _extents(reader) == _shape_extents(types[producer.target].shape)


def _indices(statement: tree.Statement, types: Types) -> set[str]:
    """Names of the statement that are loops of it (neither tensors nor sizes nor scalars)."""
    sizes = {dim for known in types.values() for dim in known.shape if isinstance(dim, str)}
    return {n.id for n in reads(statement) if isinstance(n, tree.Name)} - sizes - set(types)


def _extents(statement: tree.Statement) -> Counter[int | str]:
    """The multiset of the loops' extents, where all start at 0; an extent that is no int or size counts as itself."""
    extents: Counter[int | str] = Counter()
    for clause in statement.where:
        if isinstance(clause, tree.Range):
            match clause.lower, clause.upper:
                case tree.Number(value=0), tree.Number(value=int(extent)):
                    extents[extent] += extent != 1
                case tree.Number(value=0), tree.Name(id=size):
                    extents[size] += 1
                case _:
                    extents[f"{clause.lower}:{clause.upper}"] += 1
    return +extents


def _shape_extents(shape: tuple[int | str, ...]) -> Counter[int | str]:
    return Counter(dim for dim in shape if dim != 1)


def _receive(reader: tree.Statement, producer: tree.Statement, types: Types) -> tree.Statement:
    """The reader with every read of the producer's target replaced by the producer's value there."""
    own = types[producer.target].dtype
    value = producer.value if dtype_of(producer.value, types) is own else tree.Cast(own, producer.value)

    def rule(node: tree.Expr) -> tree.Expr | None:
        match node:
            case tree.Access(tensor=name) if name == producer.target:
                pairs = zip(producer.subscripts, node.subscripts, strict=True)
                place = {index.id: rewrite(at, rule) for index, at in pairs if isinstance(index, tree.Name)}
                return rewrite(value, rename(place))
            case tree.Name(id=name) if name == producer.target:
                return value
        return None

    return rewrite_statement(reader, rule)


def with_ranges(statement: tree.Statement, types: Types) -> tree.Statement:
    """The statement with a `where` range for each index whose range some bare subscript of a known tensor gives.

    Left indices range over their own tensor's shape; a reduction index over the dimension that it subscripts,
    unless it also stands in another subscript expression (its range may then be smaller).
    """
    given = {clause.index for clause in statement.where if isinstance(clause, tree.Range)}
    given |= {clause.name for clause in statement.where if isinstance(clause, tree.Let)}
    found: dict[str, int | str] = {}
    if statement.target in types:
        found.update(_bare(statement.subscripts, types[statement.target].shape))
    left = set(found)
    composed: set[str] = set()
    for node in reads(statement):
        if not isinstance(node, tree.Access) or node.tensor not in types:
            continue
        for name, dim in _bare(node.subscripts, types[node.tensor].shape).items():
            if found.setdefault(name, dim) != dim and name not in left:
                composed.add(name)
        for subscript in node.subscripts:
            if not isinstance(subscript, tree.Name):
                composed |= tree.names_in(subscript)
    added = tuple(
        tree.Range(name, tree.Number(0), tree.Number(dim) if isinstance(dim, int) else tree.Name(dim))
        for name, dim in found.items()
        if name not in given and (name in left or name not in composed)
    )
    return replace(statement, where=added + statement.where)


def _bare(subscripts: tuple[tree.Expr, ...], shape: tuple[int | str, ...]) -> dict[str, int | str]:
    return {s.id: dim for s, dim in zip(subscripts, shape, strict=True) if isinstance(s, tree.Name)}


def dtype_of(node: tree.Expr, types: Types) -> ScalarType | None:
    """The type of an untyped expression (reference sections 1 and 10), None where it is not plain to see."""
    match node:
        case tree.Number(value=value):
            return ScalarType.FLOAT32 if isinstance(value, float) else ScalarType.INT32
        case tree.Name(id=name) | tree.Access(tensor=name):
            known = types.get(name)
            return known.dtype if known is not None else None
        case tree.Cast(to=to):
            return to
        case tree.Unary(op="!"):
            return ScalarType.BOOL
        case tree.Unary(operand=operand):
            return _arithmetic(dtype_of(operand, types))
        case tree.Binary(op="+" | "-" | "*" | "/" | "%", left=left, right=right):
            return _arithmetic(_meet(dtype_of(left, types), dtype_of(right, types)))
        case tree.Binary():
            return ScalarType.BOOL
        case tree.Select(then=then, otherwise=otherwise):
            return _meet(dtype_of(then, types), dtype_of(otherwise, types))
        case tree.Call(function="min" | "max", arguments=(left, right)):
            return _meet(dtype_of(left, types), dtype_of(right, types))
        case tree.Call(function=function, arguments=arguments):
            return _of_builtin(function, [dtype_of(argument, types) for argument in arguments])
        case tree.SizeOf():
            return ScalarType.INT32
        case _:
            assert_never(node)


def _meet(left: ScalarType | None, right: ScalarType | None) -> ScalarType | None:
    return None if left is None or right is None else promote(left, right)


def _of_builtin(function: str, arguments: list[ScalarType | None]) -> ScalarType | None:
    if None in arguments or ScalarType.FLOAT16 in arguments:
        return None
    return result_type(function, [argument for argument in arguments if argument is not None])


def _arithmetic(dtype: ScalarType | None) -> ScalarType | None:
    """float16 is computed in float32, so what the checker makes of it is left to the checker."""
    return None if dtype is ScalarType.FLOAT16 else dtype
