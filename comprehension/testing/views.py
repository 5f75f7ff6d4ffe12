"""Views: arrays of drawn strides.

In: contents, or a shape and a type.  Out: Hypothesis strategies of arrays with these contents.
Invariant: elements are aligned and lie whole numbers of elements apart, so that no kernel needs a copy; elements
beside the view are never part of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Array = npt.NDArray[Any]


@st.composite
def views(draw: st.DrawFn, contents: Array) -> Array:
    """An array equal to `contents`, its axes in any order in memory, apart and reversed.

    >>> import hypothesis
    >>> @hypothesis.given(views(np.arange(6).reshape(2, 3)))
    ... def check(view):
    ...     assert (view == np.arange(6).reshape(2, 3)).all()
    >>> check()
    """
    view = draw(empty_views(contents.shape, contents.dtype))
    view[...] = contents
    return view


@st.composite
def empty_views(draw: st.DrawFn, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """A writable array of this shape, its axes in any order in memory, apart and reversed; filled with ones."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from((1, 1, 1, -1, 2, -2, 3))) for _ in shape]
    margins = [draw(st.sampled_from((0, 0, 1))) for _ in shape]
    room = [
        max(1, abs(step) * (extent - 1) + 1 + margin)
        for step, extent, margin in zip(steps, shape, margins, strict=True)
    ]
    block = np.ones([room[axis] for axis in order], dtype).transpose(np.argsort(order) if shape else ())
    for axis, (step, extent) in enumerate(zip(steps, shape, strict=True)):
        block = _cut(_cut(block, axis, slice(None, None, step)), axis, slice(0, extent))
    return block


@st.composite
def broadcasts(draw: st.DrawFn, contents: Array) -> Array:
    """Like `views`, but along some axes every element is the first one, and is there only once."""
    repeated = [draw(st.sampled_from((False, False, True))) and extent > 0 for extent in contents.shape]
    few = contents
    for axis, once in enumerate(repeated):
        few = _cut(few, axis, slice(0, 1)) if once else few
    return np.broadcast_to(draw(views(few)), contents.shape)


def _cut(array: Array, axis: int, part: slice) -> Array:
    """A part along one axis, as a view."""
    return array[(slice(None),) * axis + (part,)]
