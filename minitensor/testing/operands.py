"""Operands of particular operations: those whose operands and attributes depend on each other.

In: an OpDef, a dtype, a regime.  Out: strategies for `Case`s, in the table `SPECIFIC`.
Invariant: what is drawn is valid: the eager rule raises on none of it (integers where floats belong apart).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minitensor.ops.batch_norm import batch_norm
from minitensor.ops.indexing import gathered_shape
from minitensor.ops.opdef import OpDef
from minitensor.ops.pooling import max_pool2d, pooled_shape
from minitensor.ops.slicing import to_numpy_key
from minitensor.testing.drawing import Array, Case, Draw, arrays, broadcastable, shapes

INDEX = np.int64


def _one(build: Callable[[Draw, Array], dict[str, Any]], min_rank: int = 0, max_rank: int = 3) -> Any:
    """A strategy for an operation on one tensor, whose attributes `build` draws."""

    def strategy(op: OpDef, dtype: str, regime: str) -> st.SearchStrategy[Case]:
        @st.composite
        def cases(draw: Draw) -> Case:
            x = draw(arrays(draw(shapes(min_rank, max_rank)), dtype, regime))
            return Case((x,), build(draw, x))

        return cases()

    return strategy


def _custom(build: Callable[[Draw, OpDef, str, str], Case]) -> Any:
    def strategy(op: OpDef, dtype: str, regime: str) -> st.SearchStrategy[Case]:
        @st.composite
        def cases(draw: Draw) -> Case:
            return build(draw, op, dtype, regime)

        return cases()

    return strategy


def _regrouped(draw: Draw, x: Array) -> dict[str, Any]:
    factors = [f for n in x.shape for f in ((n,) if n < 4 or n == 5 else (2, n // 2))]
    order = draw(st.permutations(factors)) if factors else []
    shape: list[int] = []
    for factor in order:
        if shape and draw(st.booleans()):
            shape[-1] *= factor
        else:
            shape.append(factor)
    return {"shape": (*shape, 1) if draw(st.booleans()) else tuple(shape) if prod(shape) == x.size else x.shape}


def _wider(draw: Draw, x: Array) -> dict[str, Any]:
    lead = draw(shapes(0, 1))
    return {"shape": (*lead, *(draw(st.sampled_from([2, 3])) if n == 1 else n for n in x.shape))}


def basic_keys(draw: Draw, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """A basic key in normal form."""
    key: list[Any] = []
    for n in shape:
        kind = draw(st.sampled_from(["whole", "int", "slice", "new"]))
        if kind == "new":
            key.append("new")
        if kind in ("whole", "new"):
            key.append(None)
        elif kind == "int":
            key.append(draw(st.integers(0, n - 1)))
        elif draw(st.integers(0, 5)) == 0:
            key.append((0, 0, 1))  # as `x[key]` writes every slice that is empty
        else:
            count = draw(st.integers(1, n))
            step = draw(st.sampled_from([1, 1, 2, -1])) if 2 * (count - 1) < n else draw(st.sampled_from([1, -1]))
            reach = (count - 1) * abs(step)
            low = draw(st.integers(0, n - 1 - reach))
            key.append((low if step > 0 else low + reach, count, step))
    return tuple(key)


def _getitem(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    shape = draw(shapes())
    key = basic_keys(draw, shape)
    inner = np.empty(shape)[to_numpy_key(key)].shape
    if op.name == "getitem":
        return Case((draw(arrays(shape, dtype, regime)),), {"key": key})
    if op.name == "place":
        return Case((draw(arrays(inner, dtype, regime)),), {"key": key, "shape": shape})
    value: Any = 1.5 if draw(st.booleans()) and np.dtype(dtype).kind == "f" else draw(arrays(inner, dtype, regime))
    return Case((draw(arrays(shape, dtype, regime)), value), {"key": key})


def _assemble(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    """Slices beside each other along one axis, some of them empty, from few to many."""
    shape = draw(shapes(min_rank=1))
    axis = draw(st.integers(0, len(shape) - 1))
    ends = sorted([0, shape[axis], *draw(st.lists(st.integers(0, shape[axis]), max_size=10))])
    keys = []
    for start, end in pairwise(ends):
        slices: list[Any] = [(start, end - start, 1)]
        if end > start:
            slices += [(end - 1, end - start, -1), *([start] if end - start == 1 else [])]
        keys.append(tuple(draw(st.sampled_from(slices)) if d == axis else None for d in range(len(shape))))
    kept = draw(st.permutations(keys))[: draw(st.integers(1, len(keys)))]
    inner = [np.empty(shape)[to_numpy_key(key)].shape for key in kept]
    return Case(tuple(draw(arrays(each, dtype, regime)) for each in inner), {"keys": tuple(kept), "shape": shape})


def _index_tensors(draw: Draw, shape: tuple[int, ...], axes: tuple[int, ...], duplicates: bool = True) -> list[Array]:
    common = draw(st.sampled_from([(2,), (3,), (2, 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    if not duplicates:
        return [np.asarray(rng.permutation(shape[a])[:1].astype(INDEX)) for a in axes]
    return [np.asarray(rng.integers(-shape[a], shape[a], common)).astype(INDEX) for a in axes]


def _gather(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    shape = draw(shapes(min_rank=1))
    axes = tuple(sorted(draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=2, unique=True))))
    adjacent = len(axes) == 1 or axes[1] == axes[0] + 1
    position = axes[0] if adjacent else 0
    indices = _index_tensors(draw, shape, axes, duplicates=op.name != "scatter_set")
    where: dict[str, Any] = {"axes": axes, "position": position}
    result = tuple(int(n) for n in gathered_shape(shape, [i.shape for i in indices], axes, position))
    x = draw(arrays(shape, dtype, regime))
    if op.name == "gather":
        return Case((x, *indices), where)
    value = draw(arrays(result, dtype, regime))
    if op.name == "scatter_set":
        return Case((x, value, *indices), where)
    return Case((value, *indices), {**where, "shape": shape})


def _along(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    shape = draw(shapes(min_rank=1))
    axis = draw(st.integers(0, len(shape) - 1))
    inner = (*shape[:axis], draw(st.sampled_from([1, 2, 4])), *shape[axis + 1 :])
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    indices = rng.integers(-shape[axis], shape[axis], inner).astype(INDEX)
    if op.name == "take_along_axis":
        return Case((draw(arrays(shape, dtype, regime)), indices), {"axis": axis})
    return Case((draw(arrays(inner, dtype, regime)), indices), {"axis": axis, "extent": shape[axis]})


def _matmul(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    m, k, n = (draw(st.sampled_from([1, 2, 3, 5])) for _ in range(3))
    batch = draw(shapes(0, 2, (1, 2, 3)))
    left: tuple[int, ...] = draw(st.sampled_from([(k,), (m, k), (*batch, m, k)]))
    right: tuple[int, ...] = draw(st.sampled_from([(k,), (k, n), (*batch[-1:], k, n)]))
    return Case((draw(arrays(left, dtype, regime)), draw(arrays(right, dtype, regime))), {})


def _float(dtype: str) -> str:
    """The dtype, or float32 for an operation that takes no other kind."""
    return dtype if np.dtype(dtype).kind == "f" else "float32"


def _linear(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    lead, columns, rows = draw(shapes(0, 2)), draw(st.sampled_from([1, 2, 5])), draw(st.sampled_from([1, 3]))
    sizes = ((*lead, columns), (rows, columns), (rows,))
    return Case(tuple(draw(arrays(size, dtype, regime, k)) for k, size in enumerate(sizes)), {})


def _along_rows(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    shape = draw(shapes(min_rank=1))
    axis = draw(st.integers(0, len(shape) - 1))
    count = 2 if op.name.endswith("_grad") else 1
    return Case(tuple(draw(arrays(shape, _float(dtype), regime, k)) for k in range(count)), {"axis": axis})


def _labelled(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    case = _along_rows(draw, op, dtype, regime)
    x, axis = case.operands[-1], case.attributes["axis"]
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    labels = np.random.default_rng(draw(st.integers(0, 999))).integers(0, x.shape[axis], rest)
    target = np.asarray(labels).astype(draw(st.sampled_from(["int64", "int32"])))
    upstream = (draw(arrays(rest, _float(dtype), regime, 2)),) if op.name.endswith("_grad") else ()
    return Case((*upstream, x, target), case.attributes)


def _layer_norm(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    shape = draw(shapes(min_rank=1))
    inner = shape[draw(st.integers(0, len(shape) - 1)) :]
    first, second = (shape, shape) if op.name.endswith("_grad") else (shape, inner)
    sizes = (first, second, inner)
    # The deviations of a row of one element are nothing but rounding: eps must not be small beside that.
    eps = draw(st.sampled_from([0.125, 1.0]))
    return Case(tuple(draw(arrays(size, _float(dtype), regime, k)) for k, size in enumerate(sizes)), {"eps": eps})


def _batch_norm(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    """Two elements a channel or more; a gradient takes the statistics that the forward pass makes."""
    dtype, channels = _float(dtype), draw(st.sampled_from([1, 2, 3]))
    shape = (draw(st.sampled_from([2, 3, 5])), channels, *draw(shapes(0, 2, (1, 2, 3))))
    eps = draw(st.sampled_from([0.125, 1.0]))
    x = draw(arrays(shape, dtype, regime))
    weight, bias, mean, variance = (draw(arrays((channels,), dtype, regime, k)) for k in range(1, 5))
    variance = np.abs(variance)
    upstream = (draw(arrays(shape, dtype, regime, 5)),) if op.name.endswith("_grad") else ()
    if op.name == "batch_norm_inference":
        operands: tuple[Any, ...] = (x, weight, bias, mean, variance)
    elif op.name == "batch_norm_inference_grad":
        operands = (*upstream, x, weight, mean, variance)
    else:
        momentum = draw(st.sampled_from([0.125, 1.0, np.asarray(0.5, dtype)]))
        operands = (x, weight, bias, mean, variance, momentum)
        if upstream:
            with np.errstate(all="ignore"):
                operands = (*upstream, x, weight, *batch_norm.eager(*operands, eps=eps)[1:3])
    return Case(operands, {"eps": eps})


def _update(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    shape, (squared, numbers) = draw(shapes()), _UPDATES[op.name]
    tensors = [draw(arrays(shape, _float(dtype), regime, k)) for k in range(op.outputs + 1)]
    if squared is not None:
        tensors[squared] = np.abs(tensors[squared])
    attributes: dict[str, Any] = {"decays": draw(st.booleans())}
    if op.name == "adam_update":
        attributes = {"decay": draw(st.sampled_from(["none", "coupled", "decoupled"]))}
    elif op.name == "sgd_momentum_update":
        attributes["nesterov"] = draw(st.booleans())
    return Case((*tensors, *numbers), attributes)


# Which operand is a sum or mean of squares, and numbers.
_UPDATES: dict[str, tuple[int | None, tuple[float, ...]]] = {
    "sgd_update": (None, (0.25, 0.125)),
    "sgd_momentum_update": (None, (0.25, 0.5, 0.125)),
    "adam_update": (3, (0.5, 0.25, 0.75, 0.5, 0.875, 0.125, 1.5, 0.0625)),
    "rmsprop_update": (2, (0.25, 0.75, 0.25, 0.0625, 0.125)),
    "rmsprop_momentum_update": (2, (0.25, 0.75, 0.25, 0.0625, 0.125, 0.5)),
    "adagrad_update": (2, (0.25, 0.0625, 0.125)),
}


_EQUATIONS = (
    ("abi", "oi", "abo"),
    ("bhld", "bhsd", "bhls"),
    ("abo", "abi", "oi"),
    ("ij", "jk", "ik"),
    ("bij", "bjk", "bik"),
    ("ij", "ij", ""),
    ("ij", "j", "i"),
    ("ijk", "ki"),
    ("i", "j", "ij"),
)


def _einsum(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    labels = draw(st.sampled_from(_EQUATIONS))
    extents = {letter: draw(st.sampled_from([1, 2, 3])) for letter in sorted(set("".join(labels)))}
    operands = [draw(arrays(tuple(extents[c] for c in term), dtype, regime)) for term in labels[:-1]]
    return Case(tuple(operands), {"labels": labels})


def _concat(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    shape = draw(shapes(min_rank=1))
    axis = draw(st.integers(0, len(shape) - 1))
    count = draw(st.sampled_from([1, 2, 3, 10]))
    parts = [(*shape[:axis], draw(st.sampled_from([1, 2, 3])), *shape[axis + 1 :]) for _ in range(count)]
    return Case(tuple(draw(arrays(part, dtype, regime)) for part in parts), {"axis": axis})


def _several(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    return Case(
        tuple(draw(arrays(draw(shapes()), _float(dtype), regime, k)) for k in range(draw(st.integers(1, 3)))), {}
    )


def _pad(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    x = draw(arrays(draw(shapes()), dtype, regime))
    widths = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in x.shape)
    return Case((x, draw(st.sampled_from([0, 1]))), {"widths": widths})


def _roll(draw: Draw, x: Array) -> dict[str, Any]:
    axes = tuple(draw(st.lists(st.integers(0, x.ndim - 1), max_size=2, unique=True)))
    return {"shifts": tuple(draw(st.integers(-4, 4)) for _ in axes), "axes": axes}


def _conv_window(draw: Draw) -> dict[str, Any]:
    pair = st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 2)])
    padding = draw(st.sampled_from([(0, 0), (1, 0), (1, 1)]))
    return {
        "stride": draw(pair),
        "padding": padding,
        "dilation": draw(pair),
        "groups": draw(st.sampled_from([1, 1, 2])),
    }


def _conv(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    window = _conv_window(draw)
    groups, dilation, padding, stride = (window[n] for n in ("groups", "dilation", "padding", "stride"))
    kernel = (draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2, 3])))
    weight = (groups * draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2])), *kernel)
    size = [
        max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 3))
        for d, k, p in zip(dilation, kernel, padding, strict=True)
    ]
    x = (draw(st.sampled_from([1, 2])), weight[1] * groups, *size)
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    ]
    y = (x[0], weight[0], *out)
    first, second, extra = {
        "conv2d": (x, weight, {}),
        "conv2d_input_grad": (y, weight, {"shape": x}),
        "conv2d_weight_grad": (x, y, {"shape": weight}),
    }[op.name]
    return Case((draw(arrays(first, dtype, regime)), draw(arrays(second, dtype, regime))), {**window, **extra})


def _pool(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    kernel = draw(st.sampled_from([(2, 2), (1, 2), (3, 2)]))
    stride = draw(st.sampled_from([kernel, (1, 1), (2, 1)]))
    padding = draw(st.sampled_from([(0, 0), (kernel[0] // 2, kernel[1] // 2)]))
    shape = (draw(st.sampled_from([1, 2])), 2, kernel[0] + draw(st.integers(0, 3)), kernel[1] + draw(st.integers(0, 3)))
    window = {"kernel": kernel, "stride": stride, "padding": padding}
    out = tuple(int(n) for n in pooled_shape(shape, kernel, stride, padding))
    x = draw(arrays(shape, dtype, regime))
    if op.name in ("sum_pool2d", "max_pool2d"):
        return Case((x,), window)
    if op.name == "spread_pool2d":
        return Case((draw(arrays(out, dtype, regime)),), {**window, "shape": shape})
    y = np.asarray(max_pool2d.eager(x, **window))
    values = draw(arrays(out if op.name == "max_pool2d_grad" else shape, dtype, regime))
    return Case((x, y, values), window)


def _where(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    condition, x, y = draw(broadcastable(3, dtype, regime))
    other = draw(st.sampled_from([y, 0])) if np.dtype(dtype).kind == "f" else y
    return Case((np.asarray(condition > 0), x, other), {})


def _clip(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    x, array = draw(broadcastable(2, dtype, regime))
    low, high = draw(st.sampled_from([array, -1])), 1
    for limit in (low, high):  # one that a difference quotient crosses has no slope
        if regime == "scaled" and x.dtype.kind == "f" and np.ndim(limit) == 0:
            x = np.where(np.abs(x - limit) < 0.01, x + x.dtype.type(0.02), x)
    return Case((x, low, high), {})


def _matrices(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    """Matrices far from singular, their values apart, positive definite where that is needed."""
    dtype = dtype if np.dtype(dtype).kind == "f" else "float64"
    n, stack = draw(st.integers(1, 3)), draw(shapes(0, 1))
    rows = n + draw(st.integers(0, 2)) if op.name in ("qr", "svd") else n
    x = draw(arrays((*stack, rows, n), dtype)) / n
    x += np.eye(rows, n, dtype=dtype) * np.arange(3, 3 + 2 * n, 2, dtype=dtype)
    attributes: dict[str, dict[str, Any]] = {
        "cholesky": {"upper": draw(st.booleans())},
        "qr": {"mode": "reduced"},
        "svd": {"full_matrices": False},
    }
    if op.name == "svd" and draw(st.booleans()):
        x = np.swapaxes(x, -1, -2)
    if op.name == "solve":
        b = (n,) if draw(st.booleans()) else (*stack, n, draw(st.integers(1, 2)))
        return Case((x, draw(arrays(b, dtype))), {})
    if op.name in ("cholesky", "eigh"):
        x = (x + np.swapaxes(x, -1, -2)) / 2
    return Case((x,), attributes.get(op.name, {}))


def _spectrum(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    wide = "complex128" if np.dtype(dtype).itemsize == 8 else "complex64"
    x = draw(arrays(draw(shapes(min_rank=1)), wide, regime))
    axes = draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True))
    return Case((x,), {"axes": tuple(axes), "inverse": draw(st.booleans()), "scale": draw(st.sampled_from([1.0, 0.5]))})


def _random(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    words = np.asarray([draw(st.integers(0, 2**32 - 1)) for _ in range(4)], dtype=np.uint32)
    extra = {"low": -3, "high": 5} if op.name == "random_integers" else {}
    return Case((words,), {**extra, "shape": draw(shapes())})


def _cast(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    names = ["float32", "float64", "bool"] + ([] if regime == "special" else ["int32", "int8"])
    return Case((draw(arrays(draw(shapes()), dtype, regime)),), {"dtype": np.dtype(draw(st.sampled_from(names)))})


SPECIFIC: dict[str, Callable[[OpDef, str, str], st.SearchStrategy[Case]]] = {
    "reshape": _one(_regrouped),
    "permute_dims": _one(lambda draw, x: {"axes": tuple(draw(st.permutations(range(x.ndim))))}),
    "broadcast_to": _one(_wider),
    "astype": _custom(_cast),
    "flip": _one(lambda draw, x: {"axes": tuple(sorted(draw(st.sets(st.integers(0, x.ndim - 1)))))}, min_rank=1),
    "roll": _one(_roll, min_rank=1),
    "tile": _one(lambda draw, x: {"factors": tuple(draw(st.integers(1, 3)) for _ in x.shape)}),
    "repeat": _one(lambda draw, x: {"repeats": draw(st.integers(1, 3)), "axis": draw(st.integers(0, x.ndim - 1))}, 1),
    "triangle": _one(lambda draw, x: {"k": draw(st.integers(-2, 2)), "lower": draw(st.booleans())}, min_rank=2),
    "cumulative_sum": _one(lambda draw, x: {"axis": draw(st.integers(0, x.ndim - 1))}, min_rank=1),
    "cumulative_prod": _one(lambda draw, x: {"axis": draw(st.integers(0, x.ndim - 1))}, min_rank=1),
    "argsort": _one(
        lambda draw, x: {"axis": draw(st.integers(0, x.ndim - 1)), "descending": draw(st.booleans()), "stable": True},
        min_rank=1,
    ),
    "nonzero": _one(lambda draw, x: {}, min_rank=1),
    "unique": _one(lambda draw, x: {}),
    "searchsorted": _custom(
        lambda draw, op, dtype, regime: Case(
            (np.sort(draw(arrays((5,), dtype, "exact"))), draw(arrays(draw(shapes()), dtype, "exact"))),
            {"side": draw(st.sampled_from(["left", "right"]))},
        )
    ),
    "full": _custom(
        lambda draw, op, dtype, regime: Case(
            (draw(st.sampled_from([0, 1, 3])),), {"shape": draw(shapes()), "dtype": np.dtype(dtype)}
        )
    ),
    "arange": _custom(
        lambda draw, op, dtype, regime: Case(
            (draw(st.integers(-3, 3)), draw(st.sampled_from([1, 2, -1]))),
            {"length": draw(st.integers(1, 5)), "dtype": np.dtype(dtype)},
        )
    ),
    "eye": _custom(
        lambda draw, op, dtype, regime: Case(
            (),
            {
                "shape": (draw(st.integers(1, 4)), draw(st.integers(1, 4))),
                "k": draw(st.integers(-2, 2)),
                "dtype": np.dtype(dtype),
            },
        )
    ),
    **dict.fromkeys(("getitem", "place", "setitem"), _custom(_getitem)),
    "assemble": _custom(_assemble),
    **dict.fromkeys(("gather", "scatter_add", "scatter_set"), _custom(_gather)),
    **dict.fromkeys(("take_along_axis", "scatter_along_axis"), _custom(_along)),
    **dict.fromkeys(("random_bits", "random_uniform", "random_normal", "random_integers"), _custom(_random)),
    **dict.fromkeys(
        ("inv", "det", "cofactors", "solve", "cholesky", "slogdet", "eigh", "qr", "svd"), _custom(_matrices)
    ),
    "fourier_transform": _custom(_spectrum),
    "matmul": _custom(_matmul),
    "linear": _custom(_linear),
    **dict.fromkeys(("softmax", "softmax_grad", "log_softmax", "log_softmax_grad"), _custom(_along_rows)),
    **dict.fromkeys(
        ("gelu_grad", "gelu_tanh_grad", "sigmoid_grad"),
        _custom(lambda draw, op, dtype, regime: Case(draw(broadcastable(2, _float(dtype), regime)), {})),
    ),
    **dict.fromkeys(("cross_entropy", "cross_entropy_grad"), _custom(_labelled)),
    **dict.fromkeys(("layer_norm", "layer_norm_grad"), _custom(_layer_norm)),
    **dict.fromkeys(
        ("batch_norm", "batch_norm_grad", "batch_norm_inference", "batch_norm_inference_grad"), _custom(_batch_norm)
    ),
    **dict.fromkeys(_UPDATES, _custom(_update)),
    "einsum": _custom(_einsum),
    "concat": _custom(_concat),
    "square_sum": _custom(_several),
    "pad": _custom(_pad),
    **dict.fromkeys(("conv2d", "conv2d_input_grad", "conv2d_weight_grad"), _custom(_conv)),
    **dict.fromkeys(
        ("sum_pool2d", "spread_pool2d", "max_pool2d", "max_pool2d_grad", "max_pool2d_pick"), _custom(_pool)
    ),
    "where": _custom(_where),
    "clip": _custom(_clip),
}
