"""Is the eager baseline honest?  Eager convolutions and products beside other NumPy/BLAS formulations of them.

In: the shapes of the digits network and two larger ones.  Out: `benchmarks/results/eager_baseline.json`: for each case
our time over the best formulation's, with a 95 % interval.  Results are compared before any clock runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import minitensor as mt
from benchmarks.timing import save, time_sides
from minitensor import functional as F

Array = np.ndarray[Any, Any]
Sides = dict[str, Callable[[], Array]]


def _windows(x: Array, size: int) -> Array:
    """(N, C, H, W, size, size) of x padded by one."""
    return sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (size, size), axis=(2, 3))


def _columns(x: Array, weight: Array) -> Array:
    n, _, h, w = x.shape
    columns = _windows(x, 3).transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, -1)
    return (columns @ weight.reshape(len(weight), -1).T).reshape(n, h, w, -1).transpose(0, 3, 1, 2)


def _rows(x: Array, weight: Array) -> Array:
    n, c, h, w = x.shape
    columns = _windows(x, 3).transpose(0, 1, 4, 5, 2, 3).reshape(n, c * 9, h * w)
    return (weight.reshape(len(weight), -1) @ columns).reshape(n, -1, h, w)


def _taps(x: Array, weight: Array) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    n, c, h, w = x.shape
    total = np.zeros((n, len(weight), h * w), x.dtype)
    for u in range(3):
        for v in range(3):
            total += weight[:, :, u, v] @ padded[:, :, u : u + h, v : v + w].reshape(n, c, h * w)
    return total.reshape(n, -1, h, w)


def _convolution(n: int, c: int, f: int, size: int) -> Sides:
    draw = np.random.default_rng(0)
    x, weight = (draw.standard_normal(s, dtype=np.float32) for s in ((n, c, size, size), (f, c, 3, 3)))
    tx, tw = mt.asarray(x), mt.asarray(weight)
    return {
        "ours": lambda: F.conv2d(tx, tw, padding=1).numpy(),
        "columns": lambda: _columns(x, weight),
        "rows": lambda: _rows(x, weight),
        "taps": lambda: _taps(x, weight),
        "tensordot": lambda: np.tensordot(_windows(x, 3), weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2),
    }


def _product(m: int, k: int, n: int) -> Sides:
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((m, k), dtype=np.float32), draw.standard_normal((k, n), dtype=np.float32)
    ta, tb = mt.asarray(a), mt.asarray(b)
    return {"ours": lambda: (ta @ tb).numpy(), "matmul": lambda: a @ b, "einsum": lambda: np.einsum("ij,jk->ik", a, b)}


def main() -> None:
    cases = {
        "conv 64×1→16, 8×8": _convolution(64, 1, 16, 8),
        "conv 64×16→32, 8×8": _convolution(64, 16, 32, 8),
        "conv 8×32→64, 28×28": _convolution(8, 32, 64, 28),
        "product 64×512×64": _product(64, 512, 64),
        "product 512×512×512": _product(512, 512, 512),
    }
    results = {}
    for name, sides in cases.items():
        expected = sides["ours"]()
        for other in sides.values():
            # Any order of summing up to 512 terms errs by 512·2⁻²⁴ of the sum of magnitudes at most, on either side;
            # that sum is below four times the largest result for operands like these.
            np.testing.assert_allclose(
                other(), expected, rtol=0, atol=8 * 512 * 2.0**-24 * float(np.abs(expected).max())
            )
        timings = time_sides(sides, rounds=20)
        best = min((s for s in sides if s != "ours"), key=timings.median)
        results[name] = {"best": best, "ours_over_best": timings.ratio("ours", best)}
        print(name, results[name], flush=True)
    print(save("eager_baseline", results))


if __name__ == "__main__":
    main()
