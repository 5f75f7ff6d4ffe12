"""Scop: the polyhedral form of a LoopProgram.

In: a `LoopProgram`.  Out: iteration domains, access relations and the original order as isl objects;
`poly.dependence` adds what must be kept, `poly.scheduler` orders, `poly.certificate` proves.
Invariant: all sets and maps live in one isl context; statement spaces are named `S0`, `S1`, ... with one
dimension per index in the LoopStatement's order; `S0_init` (left indices only) is the initialisation of an
initialising reduction; tensor spaces carry the tensors' names.  Sizes are isl parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import islpy as isl

from comprehension.lang.loops import LoopProgram, LoopStatement


class ScopRole(Enum):
    PLAIN = "plain"
    INIT = "init"  # stores the identity of a reduction
    UPDATE = "update"  # combines into its target


@dataclass(frozen=True, slots=True, eq=False)
class ScopAccess:
    """One read or write of a statement: `relation` maps instances to elements.

    `number` counts the statement's accesses: 0 is the write; reads follow in textual order (lets first,
    then value; a reduction's read of its target is the last).  `exact` is False where the subscript is
    indirect or a product of indices: `relation` then covers every element that it could touch.
    """

    statement: str
    number: int
    tensor: str
    relation: isl.Map
    is_write: bool
    exact: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class ScopStatement:
    name: str
    role: ScopRole
    source: LoopStatement
    dims: tuple[str, ...]
    domain: isl.Set
    accesses: tuple[ScopAccess, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Scop:
    """`order` maps each instance to its time in the original order (equal tuple length for all)."""

    program: LoopProgram
    context: isl.Set  # what holds of the sizes: positive, and the preconditions
    statements: tuple[ScopStatement, ...]
    order: isl.UnionMap
