"""Random straight-line programs as symbolic graphs: operations on small integers, so that every order is exact.

Each value carries a bound of its magnitude (sums of magnitudes for reductions); an operation is drawn only where
the bound stays below 2**22, so float32 holds every partial sum exactly, whatever the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from graphs import GraphBuilder
from hypothesis import strategies as st

from coexec.graph.symbolic import Output, Source, SymbolicGraph

LIMIT = 2**22
UNARY = ("negative", "abs", "relu", "square", "sign")
BINARY = ("add", "subtract", "multiply", "maximum", "minimum")
KINDS = ("unary", "binary", "scalar", "reduce", "permute", "reshape", "broadcast", "matmul", "where")
SHAPES = ((), (1,), (3,), (2, 3), (3, 2), (3, 3), (1, 3), (2, 1), (2, 3, 2))


@dataclass(frozen=True)
class OpProgram:
    graph: SymbolicGraph
    feeds: dict[int, Any]
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Drawn:
    source: Source
    shape: tuple[int, ...]
    bound: float


@st.composite
def op_programs(draw: st.DrawFn, most: int = 10, fetches: bool = True) -> OpProgram:
    """A program of up to `most` operations over two or three arguments; recent values are preferred."""
    g = GraphBuilder()
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values: list[Drawn] = []
    feeds: dict[int, Any] = {}
    for _ in range(draw(st.integers(2, 3))):
        shape = draw(st.sampled_from(SHAPES))
        feed = g.feed(shape)
        feeds[feed.slot] = rng.integers(-3, 4, shape).astype(np.float32)
        values.append(Drawn(feed, shape, 3.0))
    scalar = g.feed((), "float64", scalar=True)
    feeds[scalar.slot] = 2.0
    for _ in range(draw(st.integers(1, most))):
        made = _operation(draw, g, values, scalar)
        if made is not None:
            values.append(made)
            if fetches and draw(st.integers(0, 5)) == 0:
                g.fetch(made.source)
    outputs = [v.source for v in values if isinstance(v.source, Output)]
    if not outputs:
        outputs = [g.op("negative", values[0].source)]
    kept = {outputs[-1], *(o for o in outputs if draw(st.integers(0, 4)) == 0)}
    order = tuple(o for o in outputs if o in kept)
    return OpProgram(g.graph(kept=order), feeds, order)


def _pick(draw: st.DrawFn, values: list[Drawn]) -> Drawn:
    back = draw(st.integers(0, len(values) - 1) | st.integers(0, min(2, len(values) - 1)))
    return values[len(values) - 1 - back]


def _operation(draw: st.DrawFn, g: GraphBuilder, values: list[Drawn], scalar: Source) -> Drawn | None:
    x = _pick(draw, values)
    kind = draw(st.sampled_from(KINDS))
    match kind:
        case "unary":
            name = draw(st.sampled_from(UNARY))
            return _made(g.op(name, x.source), x.shape, x.bound**2 if name == "square" else x.bound)
        case "scalar":
            number = draw(st.sampled_from([2.0, -1.0, 0.5, scalar]))
            bound = x.bound * 2
            return _made(g.op("multiply", x.source, number), x.shape, bound) if bound < LIMIT else None
        case "reduce" if x.shape:
            axes = tuple(sorted(draw(st.sets(st.integers(0, len(x.shape) - 1), min_size=1))))
            name, keep = draw(st.sampled_from(["sum", "max"])), draw(st.booleans())
            count = prod(x.shape[a] for a in axes) if name == "sum" else 1
            shape = tuple(1 if a in axes else d for a, d in enumerate(x.shape) if keep or a not in axes)
            return _made(g.op(name, x.source, axis=axes, keepdims=keep), shape, x.bound * count)
        case "permute" if len(x.shape) > 1:
            axes = tuple(draw(st.permutations(range(len(x.shape)))))
            return _made(g.op("permute_dims", x.source, axes=axes), tuple(x.shape[a] for a in axes), x.bound)
        case "reshape":
            flat = (prod(x.shape),)
            shape = draw(st.sampled_from([flat, *(s for s in (*SHAPES, (4, 3)) if prod(s) == flat[0])]))
            return _made(g.op("reshape", x.source, shape=shape), shape, x.bound)
        case "broadcast":
            wider = [s for s in ((3, 3), (2, 3), (2, 3, 2), (2, 2, 3)) if _broadcasts(x.shape, s)]
            shape = draw(st.sampled_from(wider or [x.shape]))
            return _made(g.op("broadcast_to", x.source, shape=shape), shape, x.bound)
    y = _pick(draw, values)
    if kind == "matmul" and len(x.shape) == 2 == len(y.shape) and x.shape[1] == y.shape[0]:
        bound = x.bound * y.bound * x.shape[1]
        return _made(g.op("matmul", x.source, y.source), (x.shape[0], y.shape[1]), bound) if bound < LIMIT else None
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return None
    if kind == "where":
        mask = g.op("greater", x.source, y.source)
        return _made(g.op("where", mask, x.source, y.source), shape, max(x.bound, y.bound))
    name = draw(st.sampled_from(BINARY))
    bound = {"add": x.bound + y.bound, "subtract": x.bound + y.bound, "multiply": x.bound * y.bound}
    if bound.get(name, 0) >= LIMIT:
        return None
    return _made(g.op(name, x.source, y.source), shape, bound.get(name, max(x.bound, y.bound)))


def _made(source: Output, shape: tuple[int, ...], bound: float) -> Drawn | None:
    return Drawn(source, shape, bound) if bound < LIMIT else None


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False
