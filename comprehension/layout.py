"""Layouts: what a kernel knows of an argument's strides when it is compiled.

In: shapes and strides of arrays, in elements.  Out: a `Layout`, one `Step` for each axis; None for dense rows.
Invariant: an array of a layout has exactly the strides that its exact steps say, whatever its sizes; the
strides of its other axes come with each call, in the order of the axes.

A step is exact where the compiler gains from knowing it: neighbours that are one element (broadcast) or next to
each other (either way), and axes that lie gapless around such a one.  So a transposed matrix or a block of rows
costs nothing, a matrix has a dozen layouts at most, and programs use few of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import prod
from typing import Any

MOST_LAYOUTS = 16
"""Kernels compiled for different strides of one call's arguments; what comes after shares one for all strides."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far neighbours along an axis are apart: `sign` times the product of the extents of the axes `over`.

    Not `exact`: the distance is known at the call only, and the axes `over` are those that lie closer.
    """

    sign: int
    over: tuple[int, ...] = ()
    exact: bool = True


Layout = tuple[Step, ...]
Layouts = tuple[tuple[str, Layout], ...]  # of the tensors that are not dense, by name, in the order of the names


@lru_cache(maxsize=4096)
def layout_of(shape: tuple[int, ...], strides: tuple[int, ...]) -> Layout | None:
    """The layout of an array with these strides; None for dense rows (and for arrays without elements).

    >>> layout_of((2, 3), (3, 1)) is None
    True
    >>> [layout_text(layout_of((2, 3), strides)) for strides in ((1, 2), (8, 1), (-3, 1), (8, -2), (0, 1))]
    ['1, n0', '*, 1', '-n1, 1', '*, *', '0, 1']
    """
    moving = sorted(
        (axis for axis in range(len(shape)) if shape[axis] > 1 and strides[axis] != 0),
        key=lambda axis: (abs(strides[axis]), -axis),
    )
    if 0 in shape or all(strides[a] == prod(shape[a + 1 :]) for a in range(len(shape)) if shape[a] > 1):
        return None
    steps = [Step(0)] * len(shape)
    inner: tuple[int, ...] = ()
    gapless = True  # the axes seen so far fill a block of memory
    for axis in moving:
        distance, sign = abs(strides[axis]), 1 if strides[axis] > 0 else -1
        gapless = gapless and distance == prod(shape[a] for a in inner)
        if gapless or distance == 1:
            steps[axis] = Step(sign, inner if gapless else ())
        else:
            steps[axis] = Step(1, inner, exact=False)
        inner = (axis, *inner)
    return tuple(steps)


def any_strides(rank: int) -> Layout:
    """The layout that every array of this rank has."""
    return tuple(Step(1, tuple(range(axis + 1, rank)), exact=False) for axis in range(rank))


def open_axes(layout: Layout) -> Iterator[int]:
    """The axes whose strides come with the call, in their order there."""
    return (axis for axis, step in enumerate(layout) if not step.exact)


def typical_strides(layout: Layout, extents: Sequence[int]) -> tuple[int, ...]:
    """Strides to estimate with: those of exact steps, twice a gapless one's for others (never 0, 1 or -1)."""
    return tuple(step.sign * max(1, prod(extents[a] for a in step.over)) * (1 if step.exact else 2) for step in layout)


def layout_text(layout: Layout) -> str:
    """The steps for people: `n1` is the extent of axis 1, `*` a stride that comes with the call."""
    return ", ".join(_step_text(step) for step in layout)


def _step_text(step: Step) -> str:
    if not step.exact:
        return "*"
    size = "·".join(f"n{axis}" for axis in step.over) or "1"
    return {-1: f"-{size}", 0: "0", 1: size}[step.sign]


def layout_to_data(layout: Layout) -> list[dict[str, Any]]:
    """The layout as JSON has it.

    >>> layout_from_data(layout_to_data(any_strides(2))) == any_strides(2)
    True
    """
    return [asdict(step) for step in layout]


def layout_from_data(data: Iterable[Mapping[str, Any]]) -> Layout:
    """What `layout_to_data` wrote."""
    return tuple(Step(int(step["sign"]), tuple(step["over"]), bool(step["exact"])) for step in data)
