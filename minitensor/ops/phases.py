"""Phases of a sliding window, seen from the pixels under it: what gradients of strided windows are made of.

Window position `q` has kernel element `u` over pixel `q·stride + u·dilation − padding`.  Turned round: which positions
have which elements over pixel `y`?  Those with `y + padding − u·dilation = q·stride`; the same elements for all pixels
that are a whole number of strides apart.  Such pixels are a phase, and within it position, pixel and element depend on
each other without remainders:

    pixel     y = pixel + stride · k          k in 0 : count
    element   u = first + step · j            j in 0 : taps
    position  q = k + offset − apart · j

In: extents and the window along one axis.  Out: its phases.
Invariant: each pixel is in exactly one phase; in each phase each element that meets its pixels at some position, inside
or outside of the range of positions, occurs once.  A phase that no element meets has `taps == 0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd


@dataclass(frozen=True, slots=True)
class Phase:
    """Pixels that are a stride apart, and the kernel elements that meet them."""

    pixel: int
    count: int
    first: int
    step: int
    taps: int
    offset: int
    apart: int

    @property
    def lowest(self) -> int:
        """The least position that the formula gives; it may be negative."""
        return self.offset - self.apart * (self.taps - 1)


def phases(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> tuple[Phase, ...]:
    """The phases of `size` pixels under a window of `kernel` elements.

    >>> [(phase.pixel, phase.first, phase.taps, phase.offset) for phase in phases(8, 3, stride=2, padding=1)]
    [(0, 1, 1, 0), (1, 0, 2, 1)]
    """
    step, apart = stride // gcd(stride, dilation), dilation // gcd(stride, dilation)
    found = []
    for pixel in range(min(stride, size)):
        taps = [u for u in range(kernel) if (pixel + padding - u * dilation) % stride == 0]
        first = taps[0] if taps else 0
        offset = (pixel + padding - first * dilation) // stride
        found.append(Phase(pixel, -(-(size - pixel) // stride), first, step, len(taps), offset, apart))
    return tuple(found)
