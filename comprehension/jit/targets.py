"""What a caller passes as `out=`, held against what the results will be: before anything is written.

In: shapes and types of the results, the caller's value, the inputs.  Out: writable arrays.
Invariant: what passes has the type and shape of its result and shares no element with an input, another result or
itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from comprehension.errors import ComprehensionError
from comprehension.jit.arrays import NUMPY, Array, Family, view_of
from comprehension.jit.overlap import overlap, overlaps_itself


@dataclass(frozen=True, slots=True)
class Wanted:
    """A result that is to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def take_targets(
    name: str, results: Sequence[Wanted], out: Any, inputs: Sequence[tuple[str, Array]], family: Family
) -> list[Array]:
    """The arrays of `out` for the results of def `name`, in order.

    Raises ComprehensionError: number, kind of array, type, shape, read-only, overlap.
    """
    values = out if isinstance(out, tuple) else (out,)
    if len(values) != len(results):
        raise ComprehensionError(f"{name}: out= has {len(values)} arrays, the results are {len(results)}")
    targets = []
    for result, value in zip(results, values, strict=True):
        try:
            targets.append(_target(name, result, value, family, bool(inputs)))
        except ComprehensionError as error:
            error.about = result.name
            raise
    taken = list(inputs)
    for result, target in zip(results, targets, strict=True):
        for other, array in taken:
            if overlap(target, array):
                raise ComprehensionError(
                    f"{name}: out={result.name} overlaps {other}; pass a copy of one", about=result.name
                )
        check_writable(name, result.name, target)
        taken.append((result.name, target))
    return targets


def check_writable(name: str, result: str, target: Array) -> None:
    """Refuses what no kernel of def `name` can write `result` into, whatever its shape and type."""
    if not target.flags.writeable:
        raise ComprehensionError(f"{name}: out={result} is read-only", about=result)
    if overlaps_itself(target):
        raise ComprehensionError(f"{name}: out={result} overlaps itself", about=result)


def _target(name: str, result: Wanted, value: Any, family: Family, has_inputs: bool) -> Array:
    if type(value) is np.ndarray and family is NUMPY and _fits(value, result):
        return value
    label = f"{name}: out={result.name}"
    target, kind = (value, NUMPY) if type(value) is np.ndarray else view_of(value, label)
    if kind.name != family.name and has_inputs:
        raise ComprehensionError(f"{label} is an array of {kind.name}, the inputs are of {family.name}")
    if target.dtype != result.dtype or target.shape != result.shape:
        raise ComprehensionError(
            f"{label}: expected {result.dtype} of shape {result.shape}, found {target.dtype} of shape {target.shape}"
        )
    return target


def _fits(value: Array, result: Wanted) -> bool:
    return value.dtype is result.dtype and value.shape == result.shape and value.flags.writeable
