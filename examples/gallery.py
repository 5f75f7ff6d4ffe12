"""Six operators in a few lines each, from a recurrent net to a banded system of equations.

In: drawn inputs.  Out: for each operator its text, whether kernel and text agree with plain NumPy, what was proved.
Run by `python -m examples.gallery`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

import comprehension as tc
from minitensor.testing import assert_as_accurate

Array = np.ndarray[Any, Any]


def recurrent(x: Array, a: Array, h0: Array) -> Array:
    """A gated recurrence: each state from the one before."""
    states = [h0]
    for row in x:
        states.append(np.tanh(a * states[-1] + row))
    return np.stack(states)


def heat(x: Array) -> Array:
    """Seven steps of diffusion along a line; the ends keep their values."""
    rows = [x]
    for _ in range(7):
        row = x.copy()
        row[1:-1] = (rows[-1][:-2] + rows[-1][2:]) / 4 + rows[-1][1:-1] / 2
        rows.append(row)
    return np.stack(rows)


def histogram(bins: Array) -> Array:
    """How often each of eight numbers occurs."""
    return np.bincount(bins, minlength=8).astype(np.int32)


def quiet_softmax(x: Array) -> Array:
    """A softmax that may attend to nothing: one is added to the sum (scaled, so that nothing overflows)."""
    top = np.maximum(x.max(axis=1, keepdims=True), 0)
    e = np.exp(x - top)
    return np.asarray(e / (np.exp(-top) + e.sum(axis=1, keepdims=True)))


def highest(image: Array, hill: Array) -> Array:
    """Where in its neighbourhood a pixel is highest on a 3×3 hill: the argument of a grey-scale dilation."""
    near = np.lib.stride_tricks.sliding_window_view(image, hill.shape) + hill
    return np.asarray(near.reshape(*near.shape[:2], -1).argmax(axis=-1), np.int32)


def tridiagonal(below: Array, on: Array, above: Array, right: Array) -> Array:
    """Solves a system of equations with three diagonals for each column (Thomas's algorithm)."""
    g, h = [above[0] / on[0]], [right[0] / on[0]]
    for i in range(1, len(on)):
        pivot = on[i] - below[i] * g[-1]
        g.append(above[i] / pivot)
        h.append((right[i] - below[i] * h[-1]) / pivot)
    x = [h[-1]]
    for i in range(len(on) - 2, -1, -1):
        x.insert(0, h[i] - g[i] * x[0])
    return np.stack(x)


@dataclass(frozen=True, slots=True)
class Example:
    """A text with one def, the same in NumPy, and what is worth noticing."""

    text: str
    plain: Callable[..., Array]
    note: str


# Statements read what earlier instances wrote, so a scan is a statement that reads its own result.
EXAMPLES = (
    Example(
        """\
def recurrent(float(T, D) X, float(D) a, float(D) H0) -> (H) {
    H(t, d) = H0(d) where t in 0:1
    H(t, d) = tanh(a(d) * H(t - 1, d) + X(t - 1, d)) where t in 1:T + 1
}
""",
        recurrent,
        "a scan: the first row comes from an earlier statement",
    ),
    Example(
        """\
def heat(float(N) X) -> (U) {
    U(t, i) = X(i) where t in 0:8
    U(t, i) = 0.25 * U(t - 1, i - 1) + 0.5 * U(t - 1, i) + 0.25 * U(t - 1, i + 1) where t in 1:8, i in 1:N - 1
}
""",
        heat,
        "the loop over t carries dependences, the one over i does not",
    ),
    Example(
        """\
def histogram(int32(N) bins) -> (H) {
    H(k) = 0 where k in 0:8
    H(bins(i)) += 1
}
""",
        histogram,
        "a write through data is a reduction; each bin is checked before anything is written",
    ),
    Example(
        """\
def quiet_softmax(float(N, M) X) -> (Y) {
    top(i) max=! X(i, j)
    E(i, j) = exp(X(i, j) - max(top(i), 0.0))
    total(i) +=! E(i, j)
    Y(i, j) = E(i, j) / (exp(-max(top(i), 0.0)) + total(i))
}
""",
        quiet_softmax,
        "four statements, one loop over rows",
    ),
    Example(
        """\
def highest(float(H, W) image, float(P, Q) hill) -> (A) {
    top(y, x) max=! image(y + p, x + q) + hill(p, q)
    A(y, x) max=! (image(y + p, x + q) + hill(p, q) == top(y, x) ? p * hill.1 + q : -1)
}
""",
        highest,
        "the place of a maximum: a second statement asks where it was; of equal ones the last",
    ),
    Example(
        """\
def tridiagonal(float(N, B) below, float(N, B) on, float(N, B) above, float(N, B) right) -> (X) {
    g(i, b) = above(i, b) / on(i, b) where i in 0:1
    h(i, b) = right(i, b) / on(i, b) where i in 0:1
    g(i, b) = above(i, b) / (on(i, b) - below(i, b) * g(i - 1, b)) where i in 1:N
    h(i, b) = (right(i, b) - below(i, b) * h(i - 1, b)) / (on(i, b) - below(i, b) * g(i - 1, b)) where i in 1:N
    X(N - 1, b) = h(N - 1, b)
    X(N - 1 - i, b) = h(N - 1 - i, b) - g(N - 1 - i, b) * X(N - i, b) where i in 1:N
}
""",
        tridiagonal,
        "a scan forwards and one backwards; columns stand in the lanes of vectors",
    ),
)


def operands(name: str, size: int) -> tuple[Array, ...]:
    """Inputs of one example; floats as float64, so that both precisions start from the same values."""
    rng = np.random.default_rng(0)
    if name == "histogram":
        return (rng.integers(0, 8, size).astype(np.int32),)
    shapes = {
        "recurrent": ((size, 16), (16,), (16,)),
        "heat": ((size,),),
        "quiet_softmax": ((size, 32),),
        "highest": ((size, 20), (3, 3)),
        "tridiagonal": ((size, 16),) * 4,
    }[name]
    drawn = [rng.standard_normal(shape, dtype=np.float32).astype(np.float64) for shape in shapes]
    if name == "tridiagonal":
        drawn[1] = np.float32(drawn[1] / 8 + 4).astype(np.float64)  # so that no pivot is near 0
    return tuple(drawn)


def check(example: Example, size: int) -> tc.Kernel:
    """Holds text and kernel against NumPy: exactly for integers, else both may err as much as NumPy's float32 does.

    Returns the kernel.  Raises AssertionError where they differ.
    """
    (f,) = tc.define(example.text)
    for way, count in ((f.reference, 6), (f, size)):
        exact = operands(f.name, count)
        inputs = [x.astype(np.float32) if x.dtype == np.float64 else x for x in exact]
        received, reference = way(*inputs), example.plain(*inputs)
        if reference.dtype == np.int32:
            np.testing.assert_array_equal(received, reference)
        else:
            assert_as_accurate(received, reference, example.plain(*exact), of=f.name)
    return f.compile(*inputs)


@click.command()
@click.option("--size", default=1000, show_default=True, help="Positions, rows or elements.")
def main(size: int) -> None:
    """Show each operator, check it, and say what was proved."""
    for example in EXAMPLES:
        kernel = check(example, size)
        click.echo(f"{example.text}\n{example.note}\n{kernel}\n{kernel.certificate}\n")


if __name__ == "__main__":
    main()
