"""Typical sizes: what the model reckons with where sizes are symbolic.

In: a LoopProgram.  Out: a number for each of its symbolic sizes.
Invariant: choices rest on these numbers, meanings do not: a kernel is right for all sizes.

A tensor is taken to have about a million elements, evenly over its axes: 1024 along each of two, 32 along each of
four.  A size that bounds the index of a sliding window is short.  Where a kernel is asked for with arrays, their sizes
are what to reckon with (`likely`).

    C(m, n) +=! A(m, k) * B(k, n)                    M = N = K = 1024
    O(b, f, h, w) +=! I(b, c, h + p, w + q) * K(f, c, p, q)      B = F = C = H = W = 32, P = Q = 3
"""

from __future__ import annotations

from collections.abc import Iterator

from comprehension.jit.expression import evaluate
from comprehension.kernel.size_text import text_of_tree
from comprehension.lang import tree
from comprehension.lang.loops import LoopProgram, LoopStatement

LOG_ELEMENTS = 20  # of a tensor
WINDOW = 3
SCALAR = 16  # an integer parameter in bounds
SHORT = 8  # a size that matters one by one: a window, channels of a group
MIDDLING, DIGITS = 128, 4  # sizes of few tiles, and to how many binary digits they count


def typical_sizes(program: LoopProgram) -> dict[str, int]:
    """A number for each symbolic size and each integer scalar.

    >>> from comprehension.lang.ranges import infer
    >>> from comprehension.lang.frontend import load
    >>> text = "def f(float(N,H,W) I, float(P,Q) K) -> (O) { O(n,h,w) +=! I(n,h+p,w+q) * K(p,q) }"
    >>> typical_sizes(infer(load(text)["f"], None, "symbolic"))
    {'N': 64, 'H': 64, 'W': 64, 'P': 3, 'Q': 3}
    """
    ranks = dict.fromkeys(program.sizes, 1)
    for tensor in program.tensors:
        for name in {n for extent in tensor.shape for n in _names(extent)} & ranks.keys():
            ranks[name] = max(ranks[name], len(tensor.shape))
    sizes = {name: 1 << max(2, LOG_ELEMENTS // rank) for name, rank in ranks.items()}
    sizes |= dict.fromkeys(_all_windows(program) & sizes.keys(), WINDOW)
    sizes |= {name: size for name, size in program.likely if name in sizes}
    return sizes | {s.name: SCALAR for s in program.scalars if s.dtype.is_integer}


def settled_sizes(program: LoopProgram) -> dict[str, int]:
    """Sizes that a kernel has a version for as they were seen: those of short windows.

    >>> from dataclasses import replace
    >>> from comprehension.lang.ranges import infer
    >>> from comprehension.lang.frontend import load
    >>> text = "def f(float(N,H) I, float(P) K) -> (O) { O(n,h) +=! I(n,h+p) * K(p) }"
    >>> settled_sizes(replace(infer(load(text)["f"], None, "symbolic"), likely=(("H", 4), ("N", 64), ("P", 3))))
    {'P': 3}
    """
    windows = _all_windows(program) & set(program.sizes)
    return {name: size for name, size in program.likely if size <= SHORT and name in windows}


def _all_windows(program: LoopProgram) -> set[str]:
    if not program.sizes:
        return set()
    return {name for statement in program.statements for name in _windows(statement)}


def likely_size(size: int) -> int:
    """A size seen, as what to plan for: the nearest power of two, so that few plans are made; short ones as they are.

    Between them, where a tile more or less of a row counts, to four binary digits.

    >>> [likely_size(n) for n in (0, 3, 26, 56, 90, 91, 1000)]
    [1, 3, 26, 56, 88, 88, 1024]
    """
    if size <= SHORT:
        return max(1, size)
    if size <= MIDDLING:
        step = 1 << size.bit_length() - DIGITS
        return (size + step // 2) // step * step
    return 1 << ((2 * size * size).bit_length() - 1) // 2


def typical_value(expr: tree.Expr, sizes: dict[str, int]) -> int:
    """An extent at typical sizes."""
    return max(0, int(evaluate(text_of_tree(expr), sizes)))


def _windows(statement: LoopStatement) -> Iterator[str]:
    """Sizes that bound a reduction index which only moves a subscript of a left index."""
    left = {index.name for index in statement.indices[: statement.left]}
    moved = {name for group in _moving_together(statement) if group & left for name in group - left}
    for index in statement.indices[statement.left :]:
        if index.name in moved and isinstance(index.upper, tree.Name):
            yield index.upper.id


def _moving_together(statement: LoopStatement) -> Iterator[set[str]]:
    """The indices of each subscript in which there are several."""
    indices = {index.name for index in statement.indices}
    for expr in (*(let.value for let in statement.lets), statement.value):
        for node in tree.walk(expr):
            if isinstance(node, tree.Access):
                for subscript in node.subscripts:
                    found = set(_names(subscript)) & indices
                    if len(found) > 1:
                        yield found


def _names(expr: tree.Expr) -> Iterator[str]:
    return (node.id for node in tree.walk(expr) if isinstance(node, tree.Name))
