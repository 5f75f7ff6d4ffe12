"""What the steps of the certificate answer: violations with a witness, and guards.

In: isl relations that must be empty.  Out: `Violation`s, each with one point of such a relation as its witness.
Invariant: a property holds exactly if nobody yields a violation of it; what could not be decided is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from comprehension.poly import isl


class NotDecided(Exception):
    """The proof cannot say: the property counts as not proved."""


class Property(Enum):
    """What is proved, by the names that users see; `BARRIERS` of kernels that are mapped to a GPU."""

    DEPENDENCES = "dependences"
    INSTANCES = "instances"
    BOUNDS = "bounds"
    PARALLEL = "parallel"
    BUFFERS = "buffers"
    BARRIERS = "barriers"


@dataclass(frozen=True, slots=True)
class Violation:
    """`witness` is a point or a pair of points in isl's notation; empty where there is none to show."""

    of: Property
    what: str
    witness: str = ""


@dataclass(frozen=True, slots=True)
class Guard:
    """A bound that is not proved but checked at launch, and by what."""

    of: Property
    what: str


Finding = Violation | Guard


def must_be_empty(of: Property, relation: isl.Set | isl.Map | isl.UnionMap, what: str) -> Iterator[Violation]:
    """A violation with a sample, unless `relation` is empty."""
    if not relation.is_empty():
        yield Violation(of, what, sample(relation))


def sample(relation: isl.Set | isl.Map | isl.UnionMap) -> str:
    """One point of a relation that is not empty."""
    if isinstance(relation, isl.UnionMap):
        return str(relation.wrap().sample_point())
    if isinstance(relation, isl.Map):
        return str(relation.sample())
    return str(relation.sample_point())


def clashes(relation: isl.UnionMap) -> Iterator[isl.Map]:
    """{ x -> y : x and y differ and share an image }, one nonempty map for each pair of spaces."""
    for pairs in isl.maps_of(relation.apply_range(relation.reverse())):
        space = pairs.get_space()
        if pairs.get_tuple_name(isl.dim_type.in_) == pairs.get_tuple_name(isl.dim_type.out):
            pairs = pairs.intersect(isl.Map.lex_lt(space.domain()))
        if not pairs.is_empty():
            yield pairs
