"""Whether what a statement reads has been written (reference section 10, statements, rule 3).

In: a statement's reads of tensors that the def itself computes, and what statements so far have written.
Out: `DEFINED`, `UNDEFINED` or `UNSURE` for a read.
Invariant: `DEFINED` is proved.  `UNDEFINED` is said where all that matters is affine and known, and the proof failed;
while sizes or scalars are unknown, only where no value of them could help.  Otherwise it is `UNSURE`: a guard or a
subscript reads a tensor, a subscript chooses, a write is no box, or it depends on sizes (elements that nobody wrote
are then read as 0).

    O(0, d) = X(0, d)
    O(t, d) = a(d) * O(t - 1, d) + X(t, d) where t in 1:T

reads O at 0:T - 1, which is covered by the first statement's box 0:1 and its own 1:T: the instance that wrote
(t - 1, d) ran before this one, as the distance (-1, 0) is lexicographically negative.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from comprehension.lang.bounds import Ranges, least
from comprehension.lang.coverage import Box, box_of
from comprehension.lang.forms import Environment, from_expr
from comprehension.lang.linear import Linear, is_nonnegative
from comprehension.lang.prove import is_affine, never
from comprehension.lang.solve import Guard
from comprehension.lang.tree import Access, Expr, Select, Statement, replace, walk

MAX_COMBINATIONS = 256
MAX_CHOICES = 6  # in the subscripts of a read: each doubles what is looked at


class Defined(Enum):
    DEFINED = "defined"
    UNDEFINED = "undefined"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Reader:
    """A statement with the ranges of its indices; `left` is how many of them are left indices."""

    node: Statement
    ranges: Ranges
    left: int
    where: Environment
    facts: Sequence[Linear]

    def is_defined(self, access: Access, guards: Sequence[Guard], boxes: Sequence[Box | None]) -> Defined:
        """Whether every element that `access` reads where its guards hold lies in `boxes`, written earlier.

        Elements that earlier instances of this very statement wrote are found here.
        """
        if any(box == () for box in boxes):
            return Defined.DEFINED  # a scalar that has been written
        choices = [node for s in access.subscripts for node in walk(s) if isinstance(node, Select)]
        if choices:
            return self._is_either_defined(access, choices, guards, boxes)
        forms = [from_expr(s, self.where) for s in access.subscripts]
        point = [form for form in forms if form is not None]
        if len(point) < len(forms):
            return Defined.UNSURE
        own = self.own_box(access, guards)
        known = [box for box in (*boxes, own) if box is not None]
        if self.is_covered(point, guards, known):
            return Defined.DEFINED
        if None in boxes or not all(is_affine(guard, self.where) for guard in guards):
            return Defined.UNSURE
        hopeless = not boxes or (not guards and self.starts_outside(point, known))
        return Defined.UNDEFINED if hopeless or not self.is_open(point, known) else Defined.UNSURE

    def _is_either_defined(
        self, access: Access, choices: Sequence[Select], guards: Sequence[Guard], boxes: Sequence[Box | None]
    ) -> Defined:
        """Whether it would be for both operands of the first choice; the condition may wrap, so it proves nothing."""
        if len(choices) > MAX_CHOICES:
            return Defined.UNSURE
        for operand in (choices[0].then, choices[0].otherwise):
            subscripts = tuple(replace(subscript, choices[0], operand) for subscript in access.subscripts)
            part = dataclasses.replace(access, subscripts=subscripts)
            if self.is_defined(part, guards, boxes) is not Defined.DEFINED:
                return Defined.UNSURE
        return Defined.DEFINED

    def starts_outside(self, point: Sequence[Linear], boxes: Sequence[Box]) -> bool:
        """Whether the first instance reads outside of all boxes, whatever the sizes are."""
        start = [least(form, {n: (lower, lower + 1) for n, (lower, _) in self.ranges.items()}) for form in point]
        return all(
            any(
                is_nonnegative(lower - 1 - coordinate) or is_nonnegative(coordinate - upper)
                for coordinate, (lower, upper) in zip(start, box, strict=True)
            )
            for box in boxes
        )

    def is_open(self, point: Sequence[Linear], boxes: Sequence[Box]) -> bool:
        """Whether sizes or scalars are still names in what decides."""
        forms = [
            *point,
            *(b for box in boxes for side in box for b in side),
            *(b for r in self.ranges.values() for b in r),
        ]
        return any(form.names - self.ranges.keys() for form in forms)

    def is_covered(self, point: Sequence[Linear], guards: Sequence[Guard], boxes: Sequence[Box]) -> bool:
        """No point of the domain lies outside of all boxes: on some side of each of them."""
        sides = [list(self.possible_sides(point, guards, box)) for box in boxes]
        combinations = itertools.islice(itertools.product(*sides), MAX_COMBINATIONS + 1)
        for count, outside in enumerate(combinations):
            if count == MAX_COMBINATIONS or not self.never(list(outside), guards):
                return False
        return True

    def possible_sides(self, point: Sequence[Linear], guards: Sequence[Guard], box: Box) -> Iterator[Linear]:
        """Forms that are not negative where the point lies outside of the box, but for those that never are."""
        for coordinate, (lower, upper) in zip(point, box, strict=True):
            for side in (lower - 1 - coordinate, coordinate - upper):
                if not self.never([side], guards):
                    yield side

    def never(self, forms: Sequence[Linear], guards: Sequence[Guard]) -> bool:
        return never(forms, self.ranges, guards, self.where, self.facts)

    def own_box(self, access: Access, guards: Sequence[Guard]) -> Box | None:
        """What this statement has written when it reads `access`, if its order allows to say so.

        That is its whole box where the distance from write to read is lexicographically negative over the left
        indices: the instance that wrote the element, if it is one of this statement's, ran before.
        """
        if access.tensor != self.node.target:
            return None
        for distance in self.distances(access.subscripts):
            if distance is None:
                return None
            if distance.value != 0:
                earlier = self.never([distance], guards)
                return box_of(self.node.subscripts, self.ranges, self.where) if earlier else None
        return None

    def distances(self, subscripts: Sequence[Expr]) -> Iterator[Linear | None]:
        """How far before this instance the one ran that wrote the element, for each left index in loop order.

        None for an index that is no plain subscript.
        """
        by_index: dict[str, Linear] = {}
        for read, write in zip(subscripts, self.node.subscripts, strict=True):
            a, b = from_expr(read, self.where), from_expr(write, self.where)
            if a is None or b is None:
                continue
            indices = [name for name in self.ranges if name in b.names]
            if len(indices) == 1 and abs(sign := b.coefficient(indices[0])) == 1:
                by_index[indices[0]] = (a - b) * sign
        return (by_index.get(name) for name in list(self.ranges)[: self.left])
