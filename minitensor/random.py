"""Random tensors: a counter-based generator whose only effect is to count draws.

In: shapes and parameters of distributions.  Out: float32 (or integer) tensors.
Invariant: the numbers of a draw are a function of (seed, index of the draw, index of the element) alone, so
they are the same eagerly, compiled, on any number of threads and in any order of evaluation; taking a draw
advances `Generator.draw` by one, whether or not the result is used.  Python's and NumPy's generators are never
touched.  Source: Philox4x32-10, Salmon and others, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011);
uniform = top 24 bits × 2⁻²⁴; normal by the inverse of the distribution function.
"""

from __future__ import annotations

import os
from typing import Never

import numpy as np

from minitensor import other_names
from minitensor.creation import as_integer, as_shape
from minitensor.dispatch import apply
from minitensor.elementwise import log
from minitensor.errors import ArgumentError, ShapeError, shown
from minitensor.manipulation import broadcast_shapes, moveaxis
from minitensor.ops import random as ops
from minitensor.ops.shapes import normalize_axis
from minitensor.ops.sorting import argsort
from minitensor.statistics import argmax
from minitensor.tensor import Tensor
from minitensor.value import Value

Shape = int | tuple[int, ...]
_WORD = 2**32


class Generator:
    """A stream of draws.

    Args:
        seed: 0 ≤ seed < 2⁶⁴.  Raises ValueError otherwise.

    >>> a, b = Generator(7), Generator(7)
    >>> bool((a.uniform((3,)) == b.uniform((3,))).all())
    True
    """

    def __init__(self, seed: int) -> None:
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Starts the stream of `seed` from its beginning."""
        number = as_integer("a seed", seed)
        if not 0 <= number < 2**64:
            raise ArgumentError(f"a seed is an integer in [0, 2**64), found {shown(number)}")
        self._state = (number, 0)

    def get_state(self) -> tuple[int, int]:
        """(seed, draws taken): a value that later draws do not change."""
        return self._state

    def set_state(self, state: tuple[int, int]) -> None:
        """Continues where `get_state` gave `state`."""
        seed, draw = state
        self.seed(int(seed))
        self._state = (int(seed), int(draw))

    def bits(self, shape: Shape) -> Tensor:
        """Uniform uint32."""
        return apply(ops.BITS, self._take(), shape=as_shape(shape))

    def uniform(self, shape: Shape = (), low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32, uniform on the multiples of 2⁻²⁴ in [0, 1), scaled to [low, high)."""
        if not low <= high:
            raise ArgumentError(f"uniform needs low <= high, found {low} and {high}")
        unit = apply(ops.UNIFORM, self._take(), shape=as_shape(shape))
        return unit if (low, high) == (0.0, 1.0) else unit * (high - low) + low

    def normal(self, shape: Shape = (), mean: float = 0.0, std: float = 1.0) -> Tensor:
        """float32, normal with `mean` and standard deviation `std`; relative accuracy about 2⁻²²."""
        if std < 0.0:
            raise ArgumentError(f"a standard deviation cannot be negative, found {std}")
        unit = apply(ops.NORMAL, self._take(), shape=as_shape(shape))
        return unit if (mean, std) == (0.0, 1.0) else unit * std + mean

    def randint(self, low: int, high: int, shape: Shape = ()) -> Tensor:
        """int64, uniform on low ≤ n < high (at most 2³² values; bias below 2⁻³² times their number)."""
        low, high = as_integer("randint's low", low), as_integer("randint's high", high)
        if not 0 < high - low <= _WORD:
            raise ArgumentError(f"randint needs low < high and at most 2**32 values, found {low} and {high}")
        return apply(ops.INTEGERS, self._take(), low=low, high=high, shape=as_shape(shape))

    def bernoulli(self, p: float | Tensor = 0.5, shape: Shape | None = None) -> Tensor:
        """bool, true with probability `p` (to within 2⁻²⁴): one for each element of `p`, or of `shape`, to which p is
        broadcast.

        >>> import minitensor as mt
        >>> Generator(0).bernoulli(0.0, 3).tolist(), Generator(0).bernoulli(mt.asarray([1.0, 0.0])).tolist()
        ([False, False, False], [True, False])

        Raises ValueError for a number p outside of [0, 1]; a tensor's contents are not read.
        """
        if not isinstance(p, Tensor) and not 0.0 <= p <= 1.0:
            raise ArgumentError(f"p is a probability in [0, 1], not {p}")
        drawn = self.uniform(getattr(p, "shape", ()) if shape is None else shape)
        if isinstance(p, Tensor) and broadcast_shapes(p.shape, drawn.shape) != drawn.shape:
            raise ShapeError(f"probabilities of shape {p.shape} cannot be broadcast to {drawn.shape}")
        return drawn < p

    def categorical(self, logits: Tensor, shape: Shape = (), *, axis: int = -1) -> Tensor:
        """int64: classes with probabilities softmax(logits) along `axis`; `shape` such draws stand before the others.

        Source: the largest of logits + Gumbel noise (Gumbel 1954; Maddison and others 2014).  Of probabilities,
        give their logarithms; a class of logit −∞ is never drawn.

        >>> import minitensor as mt
        >>> Generator(0).categorical(mt.asarray([[0.0, -mt.inf], [-mt.inf, 0.0]]), 2).tolist()
        [[0, 1], [0, 1]]
        """
        if logits.ndim == 0 or not logits.shape[normalize_axis(axis, logits.ndim)]:
            raise ShapeError(f"categorical needs at least one class along axis {axis}, logits have {logits.shape}")
        rows = moveaxis(logits, axis, -1)
        unit = self.uniform((*as_shape(shape), *rows.shape)) + 2.0**-25  # within (0, 1)
        return argmax(rows - log(-log(unit)), axis=-1)

    def permutation(self, n: int) -> Tensor:
        """int64 (n,): a random order of 0 … n − 1."""
        if n < 0:
            raise ArgumentError(f"permutation needs n >= 0, found {n}")
        return apply(argsort, self.bits((n,)), axis=0, descending=False, stable=True)

    def _take(self) -> Tensor:
        """Key and draw index as the four counter words of the next draw."""
        seed, draw = self._state
        self._state = (seed, draw + 1)
        words = np.array([seed % _WORD, seed // _WORD, draw % _WORD, draw // _WORD], dtype=np.uint32)
        return Tensor(Value(words))


default_generator = Generator(int.from_bytes(os.urandom(8), "little"))


def seed(seed: int) -> None:
    """Restarts the default generator.

    >>> seed(1); first = uniform((2,)).tolist(); seed(1); uniform((2,)).tolist() == first
    True
    """
    default_generator.seed(seed)


def get_state() -> tuple[int, int]:
    return default_generator.get_state()


def set_state(state: tuple[int, int]) -> None:
    default_generator.set_state(state)


def uniform(shape: Shape = (), low: float = 0.0, high: float = 1.0) -> Tensor:
    return default_generator.uniform(shape, low, high)


def normal(shape: Shape = (), mean: float = 0.0, std: float = 1.0) -> Tensor:
    return default_generator.normal(shape, mean, std)


def randint(low: int, high: int, shape: Shape = ()) -> Tensor:
    return default_generator.randint(low, high, shape)


def permutation(n: int) -> Tensor:
    return default_generator.permutation(n)


def bernoulli(p: float | Tensor = 0.5, shape: Shape | None = None) -> Tensor:
    return default_generator.bernoulli(p, shape)


def categorical(logits: Tensor, shape: Shape = (), *, axis: int = -1) -> Tensor:
    return default_generator.categorical(logits, shape, axis=axis)


def __getattr__(name: str) -> Never:
    raise other_names.missing("module 'minitensor.random'", name, other_names.RANDOM)
