"""A new operator in four lines of mathematics: attention in which each position looks at its neighbours only.

In: queries, keys and values (N, D), drawn; a width.  Out: on the screen, what the text means, what was compiled from
it, what was proved, and how long it takes beside NumPy.  Run by `python -m examples.local_attention`.

No library has this operator; NumPy needs a temporary of N × width × D elements for it, or a loop.  As a comprehension
it is four statements, and the compiler finds that the scores of a position are needed for that position only.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from rich.console import Console
from rich.syntax import Syntax

import comprehension as tc
from minitensor.testing import assert_as_accurate

Array = np.ndarray

# Positions beyond either end do not take part: `?:` reads only the branch that it chooses.
TEXT = """\
def local_attention(float(N, D) Q, float(N, D) K, float(N, D) V) -> (O) {
    S(i, w) +=! (i + w >= 4 && i + w < N + 4 ? Q(i, d) * K(i + w - 4, d) : 0.0) where w in 0:9
    E(i, w) = (i + w >= 4 && i + w < N + 4 ? exp(S(i, w)) : 0.0)
    Z(i) +=! E(i, w)
    O(i, d) +=! (i + w >= 4 && i + w < N + 4 ? E(i, w) / Z(i) * V(i + w - 4, d) : 0.0)
}
"""
REACH = 4  # neighbours on each side; the windows of the text are 2 · 4 + 1 wide


def numpy_attention(q: Array, k: Array, v: Array) -> Array:
    """The same with NumPy, by windows over padded keys and values; shapes (N, D), any float dtype."""
    width = 2 * REACH + 1
    inside = sliding_window_view(np.pad(np.ones(len(q), bool), REACH), width)  # (N, W)
    keys, values = (sliding_window_view(np.pad(x, ((REACH, REACH), (0, 0))), width, axis=0) for x in (k, v))
    weights = np.where(inside, np.exp(np.einsum("nd,ndw->nw", q, keys)), 0)
    return np.asarray(np.einsum("nw,ndw->nd", weights / weights.sum(axis=1, keepdims=True), values))


def seconds(call: Callable[[], object]) -> float:
    """The best of several runs, in seconds."""
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def operands(n: int, d: int) -> tuple[Array, Array, Array]:
    """Q, K, V of shape (n, d), float32; scaled so that scores are of order 1."""
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, n, d), dtype=np.float32)
    return q / np.float32(np.sqrt(d)), k, v


def check(attention: tc.Comprehension, n: int, d: int) -> float:
    """Compares the text interpreted (on a small case) and the kernel with NumPy: both may err as much as it does.

    Returns the larger of their errors, as a share of what is allowed.  Raises AssertionError where it is above 1.
    """
    shares = []
    for of, way, arrays in (
        ("the text, interpreted", attention.reference, operands(12, 4)),
        ("the kernel", attention, operands(n, d)),
    ):
        exact = numpy_attention(*(x.astype(np.float64) for x in arrays))
        shares.append(assert_as_accurate(way(*arrays), numpy_attention(*arrays), exact, of=of))
    return max(shares)


@click.command()
@click.option("--length", default=2048, show_default=True, help="Positions N.")
@click.option("--features", default=64, show_default=True, help="Features D.")
@click.option("--source", is_flag=True, help="Show the generated source too.")
def main(length: int, features: int, source: bool) -> None:
    """Define an operator, check it, look at what was compiled, and time it."""
    console = Console(width=110)
    attention = tc.define(TEXT).local_attention
    console.rule("The operator")
    console.print(TEXT, highlight=False, markup=False, soft_wrap=True)
    ratio = check(attention, length, features)
    console.print(f"text, kernel and NumPy agree: {ratio:.2f} of the error allowed, at most", highlight=False)

    arrays = operands(length, features)
    kernel = attention.compile(*arrays)  # known already: the call above made it
    console.rule("Ranges, inferred")
    for line in attention.ranges(*arrays):
        console.print(str(line), highlight=False, markup=False, soft_wrap=True)
    console.rule("The schedule that was chosen")
    console.print(kernel.schedule, highlight=False, markup=False, soft_wrap=True)
    console.rule("Proved of the final loop nest")
    for name, holds in kernel.certificate.properties.items():
        console.print(f"{name:<14}{'proved' if holds else 'FAILED'}", highlight=False)
    if source:
        console.rule("Generated source")
        console.print(Syntax(kernel.source, "python"))

    console.rule("Time")
    ours, theirs = seconds(lambda: kernel(*arrays)), seconds(lambda: numpy_attention(*arrays))
    console.print(f"kernel {ours * 1e6:,.0f} µs, NumPy {theirs * 1e6:,.0f} µs: {theirs / ours:.0f}×", highlight=False)
    console.print("All stages, from the text to the source: kernel.explain()", highlight=False)


if __name__ == "__main__":
    main()
