"""Exact results with bounds: float64 values, and how far a faithful float32 computation may lie from them.

In: float32 arrays.  Out: `Bounded` arrays.  Each operation adds the rounding of its own result to what its operands
bring along; a sum of n terms in any order, fused or not, brings `gamma(n)` times the sum of magnitudes.
Invariant: no bound depends on what any library returned.
Sources: running error analysis, Higham, "Accuracy and Stability of Numerical Algorithms", section 3.3; for long sums
the probabilistic bound of Higham and Mary (SIAM J. Sci. Comput. 41, 2019): 8·√n·u fails with probability below 1e-13·n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

U = 2.0**-24
# Absolute, of formula 7.1.26 of Abramowitz and Stegun, which PyTorch's vectorised erf follows, and of its rounding.
ERF_ERROR = 1.5e-7 + 8 * U
ULPS = 8  # of a builtin in any of the libraries: XLA's tanh and vectorised exp are the loosest


def gamma(terms: int) -> float:
    """Relative error of a sum of so many products in float32, in any order."""
    worst = (terms + 1) * U / (1 - (terms + 1) * U)
    return min(worst, 8 * np.sqrt(terms + 1) * U)


@dataclass(frozen=True, slots=True)
class Bounded:
    """`value` in float64; |float32 result − value| ≤ `bound`."""

    value: Array
    bound: Array | float = 0.0

    def _rounded(self) -> Bounded:
        return Bounded(self.value, self.bound + U * (np.abs(self.value) + self.bound))

    def __add__(self, other: Bounded | float) -> Bounded:
        other = lift(other)
        return Bounded(self.value + other.value, self.bound + other.bound)._rounded()

    def __sub__(self, other: Bounded | float) -> Bounded:
        other = lift(other)
        return Bounded(self.value - other.value, self.bound + other.bound)._rounded()

    def __mul__(self, other: Bounded | float) -> Bounded:
        other = lift(other)
        bound = np.abs(self.value) * other.bound + self.bound * (np.abs(other.value) + other.bound)
        return Bounded(self.value * other.value, bound)._rounded()

    def __truediv__(self, other: Bounded | float) -> Bounded:
        other = lift(other)
        least = np.abs(other.value) - other.bound
        value = self.value / other.value
        return Bounded(value, (self.bound + np.abs(value) * other.bound) / least)._rounded()

    def __getitem__(self, place: Any) -> Bounded:
        bound = self.bound if np.ndim(self.bound) == 0 else self.bound[place]  # type: ignore[index]
        return Bounded(self.value[place], bound)

    def sum(self, axis: int | tuple[int, ...], keepdims: bool = False) -> Bounded:
        bound = np.broadcast_to(self.bound, self.value.shape)
        magnitude = (np.abs(self.value) + bound).sum(axis, keepdims=keepdims)
        value = self.value.sum(axis, keepdims=keepdims)
        return Bounded(value, bound.sum(axis, keepdims=keepdims) + gamma(self.value.size // value.size) * magnitude)

    def max(self, axis: int, keepdims: bool = False) -> Bounded:
        bound = np.broadcast_to(self.bound, self.value.shape)
        return Bounded(self.value.max(axis, keepdims=keepdims), bound.max(axis, keepdims=keepdims))

    def relu(self) -> Bounded:
        return Bounded(np.maximum(self.value, 0), self.bound)

    def exp(self) -> Bounded:
        value = np.exp(self.value)
        return Bounded(value, value * (np.expm1(self.bound) + 2 * ULPS * U))

    def tanh(self) -> Bounded:
        return self._lipschitz(np.tanh(self.value), 1.0)

    def sigmoid(self) -> Bounded:  # of values near 0 and 1 the libraries round 1 + exp(-x) first
        value = 1 / (1 + np.exp(-self.value))
        return Bounded(value, self.bound * 0.25 + 2 * ULPS * U * value + 2 * U)

    def erf(self) -> Bounded:
        from scipy.special import erf

        found = self._lipschitz(erf(self.value), 2 / np.sqrt(np.pi))
        return Bounded(found.value, found.bound + ERF_ERROR)

    def rsqrt(self) -> Bounded:
        value = 1 / np.sqrt(self.value)
        return Bounded(value, 0.5 * value * self.bound / (self.value - self.bound) + 4 * U * value)

    def _lipschitz(self, value: Array, constant: float) -> Bounded:
        return Bounded(value, constant * self.bound + 2 * ULPS * U * np.abs(value))


def lift(value: Bounded | Array | float) -> Bounded:
    """Inputs are exact."""
    return value if isinstance(value, Bounded) else Bounded(np.asarray(value, np.float64))


def contract(product: Callable[[Array, Array], Array], a: Bounded | Array, b: Bounded | Array, terms: int) -> Bounded:
    """`product` is bilinear, and each of its elements adds up `terms` products."""
    a, b = lift(a), lift(b)
    value = product(a.value, b.value)
    magnitude = product(np.abs(a.value), np.abs(b.value))
    widened = magnitude
    if np.any(a.bound) or np.any(b.bound):
        widened = product(np.abs(a.value) + a.bound, np.abs(b.value) + b.bound)
    return Bounded(value, (widened - magnitude) + gamma(terms) * widened)


def check(received: Array, value: Array, bound: Array, what: str) -> None:
    """Raises AssertionError where `received` is not within the bound, or where the bound would hide a mistake."""
    assert received.shape == value.shape, f"{what}: shape {received.shape}, expected {value.shape}"
    rows = max(1, 4_000_000 // max(1, value[:1].size))
    for start in range(0, len(value), rows):
        here = slice(start, start + rows)
        distance = np.abs(received[here] - value[here])
        wrong = ~(distance <= bound[here])
        if wrong.any():
            place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            raise AssertionError(
                f"{what}: {received[here][place]} at {place} of rows {start}.., expected {value[here][place]} "
                f"± {bound[here][place]:.3g}"
            )
    scale, width = float(np.abs(value[:rows]).max()), float(np.median(bound[:rows]))
    assert width <= 1e-3 * scale, f"{what}: a bound of {width:.3g} is wide for values up to {scale:.3g}"
