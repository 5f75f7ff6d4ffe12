"""Gradients on their way to a node of the tape: added up, those of slices put together at once.

In: gradients of one tensor, as the operations that used it pass them back.  Out: their sum.
Invariant: the same gradients in the same sequence give the same operations.  What `x[key]` passes back (`Placed`) is
kept as it is until the sum is asked for; slices of a group have no element in common, so nothing is rounded where they
are put together.

So a loop over the rows of a tensor costs as much as the tensor is large, not that for each row.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from minitensor.dispatch import apply
from minitensor.ops.elementwise import add
from minitensor.ops.slicing import NEW, Key, Placed, assemble
from minitensor.tensor import Tensor

MOST_TOGETHER = 32  # slices in one operation: its kernel has an argument for each
MOST_OPEN = 4  # groups that are looked at for a further slice


@dataclass(slots=True)
class _Group:
    """Slices along one axis; `taken`: the places there that they have, as bits."""

    axis: int
    taken: int
    slices: list[Placed]

    def together(self) -> Tensor:
        first = self.slices[0]
        if len(self.slices) == 1:
            return first.whole()
        keys = tuple([placed.key for placed in self.slices])
        return apply(assemble, *[placed.gradient for placed in self.slices], keys=keys, shape=first.shape)


class Collected:
    """Gradients of one tensor, some of which are slices."""

    __slots__ = ("_groups", "_whole")

    def __init__(self, first: Tensor | Placed) -> None:
        self._whole: Tensor | None = None
        self._groups: list[_Group] = []
        self.add(first)

    def add(self, gradient: Tensor | Placed) -> None:
        if isinstance(gradient, Placed):
            self._collect(gradient)
        else:
            self._whole = gradient if self._whole is None else apply(add, self._whole, gradient)

    def total(self) -> Tensor:
        """Their sum."""
        parts = [group.together() for group in self._groups]
        return functools.reduce(functools.partial(apply, add), parts if self._whole is None else [self._whole, *parts])

    def _collect(self, placed: Placed) -> None:
        axis, places = _places(placed.key, placed.shape)
        for group in reversed(self._groups[-MOST_OPEN:]):
            if group.axis == axis and not group.taken & places and len(group.slices) < MOST_TOGETHER:
                group.slices.append(placed)
                group.taken |= places
                return
        self._groups.append(_Group(axis, places, [placed]))


Gradient = Tensor | Placed | Collected


def joined(seen: Gradient, gradient: Tensor | Placed) -> Gradient:
    """What has come to a tensor so far, and one more."""
    if isinstance(seen, Tensor) and isinstance(gradient, Tensor):
        return apply(add, seen, gradient)
    collected = seen if isinstance(seen, Collected) else Collected(seen)
    collected.add(gradient)
    return collected


def total(gradient: Gradient) -> Tensor:
    """The gradient as a tensor.

    >>> import minitensor as mt
    >>> rows = [Placed(mt.ones((2,)), (row, None), (3, 2)) for row in (0, 2)]
    >>> total(joined(*rows)).tolist()
    [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    """
    if isinstance(gradient, Tensor):
        return gradient
    return gradient.whole() if isinstance(gradient, Placed) else gradient.total()


def _places(key: Key, shape: tuple[int, ...]) -> tuple[int, int]:
    """The first axis of which a key takes a part, and which places of it, as bits.

    >>> _places((None, (1, 2, 1)), (4, 4)), _places(((3, 2, -2), None), (4, 4)), _places((None, None), (4, 4))
    ((1, 6), (0, 10), (0, 15))
    """
    entries = [entry for entry in key if entry != NEW]
    for axis, entry in enumerate(entries):
        if isinstance(entry, int):
            return axis, 1 << entry
        if isinstance(entry, tuple):
            start, count, step = entry
            return axis, _every(abs(step), count) << min(start, start + (count - 1) * step) if count else 0
    return 0, _every(1, shape[0]) if shape else 1


def _every(step: int, count: int) -> int:
    """`count` bits, so far apart: 1 + 2^step + 4^step + ..."""
    return ((1 << step * count) - 1) // ((1 << step) - 1)
