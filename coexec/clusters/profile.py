"""What clustering needs to know of one operation, read off its own comprehension and eager rule.

In: an operation of a graph.  Out: its `Profile`.
Invariant: nothing here looks at an operation's name: two records with equal defs have equal profiles.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from coexec.clusters.forward import TensorType, with_ranges
from coexec.clusters.lower import Specs, definition_of, operand_of
from coexec.clusters.rewrite import reads
from coexec.graph.symbolic import OpNode
from comprehension.lang import tree
from comprehension.lang.types import ScalarType
from minitensor.ops.opdef import TensorSpec

Extents = Counter["int | str"]


class Kind(Enum):
    """How an operation combines with others."""

    ALIAS = "alias"  # the same elements in the same order: the result is the input's buffer
    MOVEMENT = "movement"  # one read at affine subscripts: costs nothing inside its reader
    POINTWISE = "pointwise"  # assignments, each element read once
    REDUCTION = "reduction"
    CONTRACTION = "contraction"  # a reduction whose operands are read again and again
    ALONE = "alone"  # scans, indirect or non-affine access: nothing is gained, analysis is costly


@dataclass(frozen=True, slots=True)
class Profile:
    """`extents`: the multiset of loop extents of the largest statement (1 left out); `is_view`: ALIAS or could be."""

    kind: Kind
    extents: Extents
    is_view: bool

    @property
    def work(self) -> int:
        """Loop iterations, a symbolic extent counted as 64: for priorities, not for decisions of meaning."""
        product = 1
        for extent, times in self.extents.items():
            product *= (extent if isinstance(extent, int) else 64) ** times
        return product


def profile(node: OpNode, nodes: Specs) -> Profile:
    """The profile of an operation with a comprehension.

    Raises CompilationFailed for one without.
    """
    definition = definition_of(node, nodes)
    types = _types(definition, node)
    statements = [with_ranges(statement, types) for statement in definition.statements]
    extents = max((_extents(statement) for statement in statements), key=Extents.total)
    kind = _kind(statements)
    is_view = _is_read(definition) and _is_view(node, nodes)
    if is_view and (kind is Kind.ALONE or not _is_plain_read(statements[0])):
        kind = Kind.ALIAS
    return Profile(kind, extents, is_view)


def _types(definition: tree.Def, node: OpNode) -> dict[str, TensorType]:
    types = {p.name: TensorType(p.type.scalar, p.type.dims) for p in definition.inputs if p.type is not None}
    for parameter, spec in zip(definition.outputs, node.outputs, strict=True):
        types[parameter.name] = TensorType(ScalarType.of(spec.dtype), spec.shape)
    return types


def _extents(statement: tree.Statement) -> Extents:
    """The loops' extents as far as they are plain to see; others count as themselves, in the text of the tree."""
    extents: Extents = Counter()
    for clause in statement.where:
        if isinstance(clause, tree.Range):
            match clause.lower, clause.upper:
                case tree.Number(value=0), tree.Number(value=int(extent)):
                    extents[extent] += 1
                case tree.Number(value=0), tree.Name(id=size):
                    extents[size] += 1
                case _:
                    extents[f"{clause.lower}:{clause.upper}"] += 1
    del extents[1]
    return extents


def _kind(statements: list[tree.Statement]) -> Kind:
    kinds = [_statement_kind(statement) for statement in statements]
    if len(statements) == 1:
        return kinds[0]
    written: set[str] = set()
    for statement in statements:
        if statement.target in written:  # written in pieces: padding, concatenation
            return Kind.ALONE
        written.add(statement.target)
    order = (Kind.ALONE, Kind.CONTRACTION, Kind.REDUCTION)
    return next((kind for kind in order if kind in kinds), Kind.POINTWISE)


def _statement_kind(statement: tree.Statement) -> Kind:
    accesses = [node for node in reads(statement) if isinstance(node, tree.Access)]
    if any(access.tensor == statement.target for access in accesses):
        return Kind.ALONE
    subscripts = [*statement.subscripts, *(s for access in accesses for s in access.subscripts)]
    if not all(_is_affine(subscript) for subscript in subscripts):
        return Kind.ALONE
    if statement.reduction is None:
        is_read = isinstance(statement.value, tree.Access) and not _has_lets(statement)
        return Kind.MOVEMENT if is_read else Kind.POINTWISE
    kept = {s.id for s in statement.subscripts if isinstance(s, tree.Name)}
    places = {access.subscripts for access in accesses if not _is_of_result(access, kept)}
    return Kind.CONTRACTION if len(places) > 1 else Kind.REDUCTION


def _is_of_result(access: tree.Access, kept: set[str]) -> bool:
    """Whether a read depends on the result's place alone: all that is summed up there shares one number (a mean)."""
    return all(isinstance(s, tree.Number) or (isinstance(s, tree.Name) and s.id in kept) for s in access.subscripts)


def _has_lets(statement: tree.Statement) -> bool:
    return any(not isinstance(clause, tree.Range) for clause in statement.where)


def _is_read(definition: tree.Def) -> bool:
    """Whether every element is one element of the operand (only then is the eager rule tried: it reads nothing)."""
    (first, *others) = definition.statements
    return not others and first.reduction is None and isinstance(first.value, tree.Access)


def _is_plain_read(statement: tree.Statement) -> bool:
    """Whether the subscripts of the one read are indices and numbers: it stays as simple inside any reader."""
    assert isinstance(statement.value, tree.Access)
    return all(isinstance(subscript, tree.Name | tree.Number) for subscript in statement.value.subscripts)


def _is_affine(subscript: tree.Expr) -> bool:
    """Sums of names and numbers, products with a number: what isl takes without existential variables."""
    match subscript:
        case tree.Number() | tree.Name():
            return True
        case tree.Unary(op="-", operand=operand):
            return _is_affine(operand)
        case tree.Binary(op="+" | "-", left=left, right=right):
            return _is_affine(left) and _is_affine(right)
        case tree.Binary(op="*", left=tree.Number(), right=factor):
            return _is_affine(factor)
        case tree.Binary(op="*", left=factor, right=tree.Number()):
            return _is_affine(factor)
    return False


def _is_view(node: OpNode, nodes: Specs) -> bool:
    """Whether the eager rule answers a dense array with a dense view of all of it: nothing is computed or moved.

    Sizes that are symbols are tried with two sets of values, so that no constant of the operation fits both.
    """
    operands = [operand_of(source, nodes) for source in node.inputs]
    if len(operands) != 1 or len(node.outputs) != 1 or not isinstance(operands[0], TensorSpec):
        return False
    if operands[0].dtype != node.outputs[0].dtype:
        return False
    shapes = (*operands[0].shape, *node.outputs[0].shape)  # an attribute's symbol stands in the result's shape
    symbols = sorted({dim for dim in shapes if isinstance(dim, str)})
    trials = [dict(zip(symbols, primes, strict=False)) for primes in _TRIALS]
    if len(symbols) > len(_TRIALS[0]):
        return False
    return all(_answers_view(node, operands[0], trial) for trial in trials[: 1 + bool(symbols)])


_TRIALS = ((1009, 1013, 1019, 1021), (1031, 1033, 1039, 1049))


def _answers_view(node: OpNode, spec: TensorSpec, sizes: dict[str, int]) -> bool:
    shape = _bound(spec.shape, sizes)
    probe = np.empty(shape, spec.dtype)  # never touched: costs no memory
    result = node.op.eager(probe, **{name: _bound(value, sizes) for name, value in node.attributes.items()})
    if not isinstance(result, np.ndarray) or result.size != probe.size or probe.size == 0:
        return False
    same_place = result.__array_interface__["data"][0] == probe.__array_interface__["data"][0]
    return same_place and result.flags.c_contiguous


def _bound(value: Any, sizes: dict[str, int]) -> Any:
    """An attribute with the symbols in it replaced by sizes."""
    if isinstance(value, tuple):
        return tuple(_bound(part, sizes) for part in value)
    return sizes.get(value, value) if isinstance(value, str) else value
