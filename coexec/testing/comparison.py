"""Comparing what two runs of a program let see.

In: two structures of arrays and Python objects.  Out: nothing, or a `NotEquivalent` that names the first difference.
Invariant: structure, types, dtypes and shapes must be equal; only floating-point numbers may ever differ, and numbers
that stand in texts, where nobody knows of what type they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Compare = Callable[[Any, Any, str], None]  # (eager, co-executed, what): raises AssertionError

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\b(?:inf|nan)\b")


class NotEquivalent(AssertionError):
    """The first difference between a program and its co-execution.

    `what`: where it was seen ("step 3, state w").  `expected`, `seen`: eagerly, and co-executed.
    """

    def __init__(self, what: str, expected: object, seen: object, note: str = "") -> None:
        super().__init__(what, expected, seen, note)
        self.what, self.expected, self.seen, self.note = what, expected, seen, note

    def __str__(self) -> str:
        return f"{self.what}: {self.seen}, eagerly {self.expected}" + (f"\n{self.note}" if self.note else "")


@dataclass(frozen=True, slots=True)
class Difference:
    """Numbers that differ at one place; resolution: of the last digit behind the point, where they are in a text."""

    what: str
    expected: Array
    seen: Array
    resolution: Array | float = 0.0

    @property
    def distance(self) -> Array:
        """How far the numbers are apart; infinite where only one is NaN or infinite."""
        with np.errstate(all="ignore"):
            apart = np.abs(self.expected.astype(_wide(self.expected)) - self.seen.astype(_wide(self.seen)))
        same = (self.expected == self.seen) | (np.isnan(self.expected) & np.isnan(self.seen))
        return np.asarray(np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart)))

    def check(self, allowed: Array | float, note: str) -> None:
        """Raises NotEquivalent where the numbers are further apart than `allowed`, which may not hide anything."""
        distance = self.distance
        wrong = ~(distance <= np.where(np.asarray(allowed) > 0, allowed + self.resolution, 0.0))
        if wrong.any():
            place = np.unravel_index(np.argmax(np.where(wrong, distance, -1.0)), distance.shape)
            most = np.broadcast_to(allowed, distance.shape)[place]
            told = f"apart by {distance[place]:.3g}, at most {most:.3g} is allowed: {note}"
            raise NotEquivalent(self.what, self.expected, self.seen, told)


def _wide(array: Array) -> type:
    return np.complex128 if array.dtype.kind == "c" else np.float64


def assert_same(expected: Any, seen: Any, what: str) -> None:
    """Equal structure, types, dtypes, shapes and bits (any NaN equals any NaN).

    >>> assert_same([1.0, (2, "a")], [1.0, (2, "a")], "result")

    Raises NotEquivalent naming the place.
    """
    for difference in differences(expected, seen, what):
        raise NotEquivalent(difference.what, difference.expected, difference.seen)


def within(rtol: float, atol: float) -> Compare:
    """A comparison that lets floating-point numbers, and numbers in texts, be apart by atol + rtol · |eager|.

    >>> within(1e-3, 0.0)(["loss 2.000", 1], ["loss 2.001", 1], "result")

    It raises NotEquivalent naming the place.
    """

    def compare(expected: Any, seen: Any, what: str) -> None:
        for difference in differences(expected, seen, what):
            allowed = atol + rtol * np.abs(difference.expected)
            difference.check(np.where(np.isfinite(allowed), allowed, 0.0), f"{atol:g} + {rtol:g}·|eager|")

    return compare


def differences(expected: Any, seen: Any, what: str) -> Iterator[Difference]:
    """The floating-point numbers, and numbers in texts, that have other bits (any NaN equals any NaN), by place.

    >>> [d.what for d in differences([1.0, "1.5 of 2"], [1.0, "1.75 of 2"], "result")]
    ['result[1]']

    Raises NotEquivalent at the first place where anything else differs.
    """
    if _class_of(expected) != _class_of(seen):
        raise NotEquivalent(what, _class_of(expected), _class_of(seen))
    if isinstance(expected, np.ndarray):
        yield from _in_arrays(expected, seen, what)
    elif isinstance(expected, dict):
        yield from differences(list(expected), list(seen), f"{what}, keys")
        for key, left in expected.items():
            yield from differences(left, seen[key], f"{what}[{key!r}]")
    elif isinstance(expected, list | tuple):
        if len(expected) != len(seen):
            raise NotEquivalent(what, f"{len(expected)} parts", f"{len(seen)} parts")
        for i, (left, right) in enumerate(zip(expected, seen, strict=True)):
            yield from differences(left, right, f"{what}[{i}]")
    elif repr(expected) != repr(seen):
        if isinstance(expected, float | complex | np.inexact):
            yield Difference(what, np.asarray(expected), np.asarray(seen))
        elif isinstance(expected, str):
            yield _in_texts(expected, seen, what)
        else:
            raise NotEquivalent(what, repr(expected), repr(seen))


def _class_of(x: Any) -> str:
    """By name: each of the two runs has its own where a class is made with the step."""
    return f"{type(x).__module__}.{type(x).__qualname__}".removeprefix("builtins.")


def _in_arrays(expected: Array, seen: Array, what: str) -> Iterator[Difference]:
    if (expected.dtype, expected.shape) != (seen.dtype, seen.shape):
        raise NotEquivalent(what, f"{expected.dtype}{expected.shape}", f"{seen.dtype}{seen.shape}")
    if expected.dtype.kind not in "fc":
        if expected.tobytes() != seen.tobytes():
            raise NotEquivalent(what, expected, seen)
        return
    nan = np.isnan(expected)
    raw = [np.ascontiguousarray(np.where(nan, 0, a).astype(a.dtype)).tobytes() for a in (expected, seen)]
    if raw[0] != raw[1] or not (np.isnan(seen) == nan).all():
        yield Difference(what, expected, seen)


def _in_texts(expected: str, seen: str, what: str) -> Difference:
    """Texts that are equal but for the numbers in them, and the spaces before those."""
    skeletons = [re.sub(r" +", " ", _NUMBER.sub(" #", text)) for text in (expected, seen)]
    if skeletons[0] != skeletons[1]:
        raise NotEquivalent(what, repr(expected), repr(seen))
    numbers = [_NUMBER.findall(text) for text in (expected, seen)]
    digits = np.minimum(*[np.array([_last_digit(number) for number in side]) for side in numbers])
    left, right = (np.array([float(number) for number in side]) for side in numbers)
    return Difference(what, left, right, digits)


def _last_digit(number: str) -> float:
    """What one more in the last digit makes: 0.01 of "0.25"; 0 of an integer."""
    mantissa, _, exponent = number.lower().partition("e")
    _, point, decimals = mantissa.partition(".")
    return float(10.0 ** (int(exponent or 0) - len(decimals))) if point else 0.0
