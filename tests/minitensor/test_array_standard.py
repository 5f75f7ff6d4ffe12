"""The array standard, version 2024.12, by its letter: names, signatures, dtypes, special values, shapes, errors.

The public conformance suite is on no package index, so what it asks is drawn up here as tables: the signatures and
special values are the standard's, and NumPy, whose namespace is the standard's too, says what values are right.  What
minitensor does otherwise is listed in docs/minitensor.md, and each line there has a test at the end here.
"""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable
from math import inf, nan, pi
from typing import Any

import numpy as np
import pytest

import minitensor as mt
from minitensor.dtypes import PROMOTED

Array = np.ndarray[Any, Any]

# --- names and signatures ------------------------------------------------------------------------------------

SIGNATURES = """
x, /: abs acos acosh asin asinh atan atanh bitwise_invert ceil conj cos cosh exp expm1 floor imag isfinite isinf isnan
  log log10 log1p log2 logical_not matrix_transpose negative nonzero positive real reciprocal round sign signbit sin
  sinh sqrt square tan tanh trunc unique_all unique_counts unique_inverse unique_values linalg.det linalg.eigh
  linalg.eigvalsh linalg.inv linalg.matrix_transpose linalg.slogdet linalg.svdvals
x1, x2, /: add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide equal
  floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or logical_xor matmul maximum
  minimum multiply nextafter not_equal pow remainder subtract linalg.matmul linalg.outer linalg.solve
x, /, *, axis=None, keepdims=False: all any argmax argmin count_nonzero max mean min
x, /, *, n=None, axis=-1, norm="backward": fft.fft fft.hfft fft.ifft fft.ihfft fft.irfft fft.rfft
x, /, *, s=None, axes=None, norm="backward": fft.fftn fft.ifftn fft.irfftn fft.rfftn
shape, *, dtype=None, device=None: empty ones zeros
x, /, *, dtype=None, device=None: empty_like ones_like zeros_like
x1, x2, /, *, axis=-1: vecdot linalg.cross linalg.vecdot
x, /, *, axis=-1, descending=False, stable=True: argsort sort
arrays, /, *, axis=0: concat stack
x, /, *, axis=None, dtype=None, include_initial=False: cumulative_prod cumulative_sum
x, /, axis: expand_dims squeeze
type, /: finfo iinfo
x, /, *, axis=None, dtype=None, keepdims=False: prod sum
x, /, *, axis=None, correction=0.0, keepdims=False: std var
x1, x2, /, *, axes=2: tensordot linalg.tensordot
x, /, *, k=0: tril triu
x, /, *, rtol=None: linalg.matrix_rank linalg.pinv
n, /, *, d=1.0, dtype=None, device=None: fft.fftfreq fft.rfftfreq
x, /, *, axes=None: fft.fftshift fft.ifftshift
: __array_namespace_info__
start, /, stop=None, step=1, *, dtype=None, device=None: arange
obj, /, *, dtype=None, device=None, copy=None: asarray
x, dtype, /, *, copy=True, device=None: astype
*arrays: broadcast_arrays
x, /, shape: broadcast_to
from_, to, /: can_cast
x, /, min=None, max=None: clip
x, /, *, axis=-1, n=1, prepend=None, append=None: diff
n_rows, n_cols=None, /, *, k=0, dtype=None, device=None: eye
x, /, *, axis=None: flip
x, /, *, device=None, copy=None: from_dlpack
shape, fill_value, *, dtype=None, device=None: full
x, /, fill_value, *, dtype=None, device=None: full_like
dtype, kind: isdtype
start, stop, /, num, *, dtype=None, device=None, endpoint=True: linspace
*arrays, indexing="xy": meshgrid
x, source, destination, /: moveaxis
x, /, axes: permute_dims
x, repeats, /, *, axis=None: repeat
x, /, shape, *, copy=None: reshape
x, /, shift, *, axis=None: roll
x1, x2, /, *, side="left", sorter=None: searchsorted
x, indices, /, *, axis=None: take
x, indices, /, *, axis=-1: take_along_axis
x, repetitions, /: tile
x, /, *, axis=0: unstack
condition, x1, x2, /: where
x, /, *, upper=False: linalg.cholesky
x, /, *, offset=0: linalg.diagonal
x, /, *, keepdims=False, ord="fro": linalg.matrix_norm
x, n, /: linalg.matrix_power
x, /, *, mode="reduced": linalg.qr
x, /, *, full_matrices=True: linalg.svd
x, /, *, offset=0, dtype=None: linalg.trace
x, /, *, axis=None, keepdims=False, ord=2: linalg.vector_norm
"""
OTHER_NAMES = """
bool complex64 complex128 e float32 float64 inf int8 int16 int32 int64 nan newaxis pi result_type uint8 uint16 uint32
uint64 __array_api_version__
"""
METHODS = """
abs add and array_namespace bool complex dlpack dlpack_device eq float floordiv ge getitem gt index int invert le lshift
lt matmul mod mul ne neg or pos pow rshift setitem sub truediv xor radd iadd rsub isub rmul imul rtruediv itruediv
rfloordiv ifloordiv rpow ipow rmod imod rmatmul imatmul rand iand ror ior rxor ixor rlshift ilshift rrshift irshift
"""


def signatures() -> dict[str, str]:
    joined = SIGNATURES.strip().replace("\n  ", " ").splitlines()
    pairs = (line.rsplit(": ", 1) for line in joined)
    return {name: parameters.removeprefix(": ") for parameters, names in pairs for name in names.split()}


def found(name: str, root: Any = mt) -> Any:
    for part in name.split("."):
        root = getattr(root, part)
    return root


@pytest.mark.parametrize(("name", "parameters"), signatures().items())
def test_signatures(name: str, parameters: str) -> None:
    wanted = inspect.signature(eval(f"lambda {parameters}: 0")).parameters
    ours = inspect.signature(found(name)).parameters
    assert list(ours)[: len(wanted)] == list(wanted)
    for parameter in wanted.values():
        mine = ours[parameter.name]
        assert mine.kind == parameter.kind
        assert parameter.default in (parameter.empty, mine.default)
    beyond = [ours[n] for n in list(ours)[len(wanted) :]]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in beyond)


def test_all_names() -> None:
    assert len(signatures()) == 170
    assert [name for name in OTHER_NAMES.split() if not hasattr(mt, name)] == []
    assert [name for name in METHODS.split() if not hasattr(mt.Tensor, f"__{name}__")] == []
    x = mt.zeros((2, 3))
    assert (x.dtype, x.ndim, x.shape, x.size, x.T.shape, x.mT.shape) == (mt.float32, 2, (2, 3), 6, (3, 2), (3, 2))
    assert x.to_device(x.device).shape == x.shape


# --- special values ------------------------------------------------------------------------------------------

UNARY: dict[str, list[tuple[float, float]]] = {
    "abs": [(nan, nan), (-0.0, 0.0), (-inf, inf)],
    "acos": [(nan, nan), (1.5, nan), (-1.5, nan), (1.0, 0.0)],
    "acosh": [(nan, nan), (0.5, nan), (1.0, 0.0), (inf, inf)],
    "asin": [(nan, nan), (1.5, nan), (-1.5, nan), (0.0, 0.0), (-0.0, -0.0)],
    "asinh": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -inf)],
    "atan": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, pi / 2), (-inf, -pi / 2)],
    "atanh": [(nan, nan), (-1.5, nan), (1.5, nan), (-1.0, -inf), (1.0, inf), (0.0, 0.0), (-0.0, -0.0)],
    "ceil": [(nan, nan), (inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0), (2.0, 2.0), (1.5, 2.0), (-1.5, -1.0)],
    "cos": [(nan, nan), (0.0, 1.0), (-0.0, 1.0), (inf, nan), (-inf, nan)],
    "cosh": [(nan, nan), (0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, inf)],
    "exp": [(nan, nan), (0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, 0.0)],
    "expm1": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -1.0)],
    "floor": [(nan, nan), (inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0), (1.5, 1.0), (-1.5, -2.0)],
    "isfinite": [(nan, 0), (inf, 0), (-inf, 0), (1.0, 1), (-0.0, 1)],
    "isinf": [(nan, 0), (inf, 1), (-inf, 1), (1.0, 0)],
    "isnan": [(nan, 1), (inf, 0), (-inf, 0), (1.0, 0)],
    "log": [(nan, nan), (-1.0, nan), (-inf, nan), (0.0, -inf), (-0.0, -inf), (1.0, 0.0), (inf, inf)],
    "log1p": [(nan, nan), (-2.0, nan), (-1.0, -inf), (-0.0, -0.0), (0.0, 0.0), (inf, inf)],
    "reciprocal": [(nan, nan), (0.0, inf), (-0.0, -inf), (inf, 0.0), (-inf, -0.0)],
    "round": [(nan, nan), (inf, inf), (-0.0, -0.0), (0.5, 0.0), (-0.5, -0.0), (1.5, 2.0), (2.5, 2.0), (-1.5, -2.0)],
    "sign": [(nan, nan), (0.0, 0.0), (3.0, 1.0), (-inf, -1.0)],
    "signbit": [(0.0, 0), (-0.0, 1), (inf, 0), (-inf, 1), (-2.0, 1), (2.0, 0)],
    "sin": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, nan), (-inf, nan)],
    "sinh": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -inf)],
    "sqrt": [(nan, nan), (-1.0, nan), (0.0, 0.0), (-0.0, -0.0), (inf, inf)],
    "square": [(nan, nan), (-0.0, 0.0), (-inf, inf)],
    "tan": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, nan), (-inf, nan)],
    "tanh": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0)],
    "trunc": [(nan, nan), (inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0), (1.5, 1.0), (-0.5, -0.0)],
}
UNARY["log2"] = UNARY["log10"] = UNARY["log"]

BINARY: dict[str, list[tuple[float, float, float]]] = {
    "add": [(inf, -inf, nan), (inf, inf, inf), (-inf, 1, -inf), (-0.0, -0.0, -0.0), (-0.0, 0.0, 0.0), (2, -2, 0.0)],
    "atan2": [
        *[(0.0, 1, 0.0), (0.0, 0.0, 0.0), (0.0, -0.0, pi), (0.0, -1, pi), (-0.0, 1, -0.0), (-0.0, 0.0, -0.0)],
        *[(-0.0, -0.0, -pi), (-0.0, -1, -pi), (1, 0.0, pi / 2), (1, -0.0, pi / 2), (-1, 0.0, -pi / 2), (1, inf, 0.0)],
        *[(1, -inf, pi), (-1, inf, -0.0), (-1, -inf, -pi), (inf, 1, pi / 2), (-inf, 1, -pi / 2), (inf, inf, pi / 4)],
        *[(inf, -inf, 3 * pi / 4), (-inf, inf, -pi / 4), (-inf, -inf, -3 * pi / 4), (nan, 1, nan), (1, nan, nan)],
    ],
    "copysign": [(0.0, -1, -0.0), (-0.0, 1, 0.0), (nan, 1, nan), (2, -0.0, -2), (-inf, 0.0, inf)],
    "divide": [
        *[(inf, inf, nan), (0.0, -0.0, nan), (0.0, 2, 0.0), (-0.0, 2, -0.0), (0.0, -2, -0.0), (1, 0.0, inf)],
        *[(1, -0.0, -inf), (-1, 0.0, -inf), (-1, -0.0, inf), (inf, -2, -inf), (3, -inf, -0.0), (-3, -inf, 0.0)],
    ],
    "equal": [(nan, nan, 0), (inf, inf, 1), (-0.0, 0.0, 1), (inf, -inf, 0)],
    "floor_divide": [
        *[(nan, 1, nan), (inf, -inf, nan), (0.0, -0.0, nan), (0.0, 2, 0.0), (-0.0, 2, -0.0), (0.0, -2, -0.0)],
        *[(-0.0, -2, 0.0), (1, 0.0, inf), (1, -0.0, -inf), (-1, 0.0, -inf), (-1, -0.0, inf), (3, inf, 0.0)],
        *[(-3, -inf, 0.0), (7, 2, 3), (-7, 2, -4)],  # others with infinity: the standard lets Python's results be
    ],
    "greater": [(nan, 1, 0), (inf, 1, 1), (0.0, -0.0, 0), (1, -inf, 1)],
    "greater_equal": [(nan, nan, 0), (inf, inf, 1), (0.0, -0.0, 1)],
    "hypot": [(inf, nan, inf), (nan, -inf, inf), (nan, 1, nan), (-0.0, -2, 2), (3, 4, 5)],
    "less": [(nan, 1, 0), (-inf, 1, 1), (-0.0, 0.0, 0)],
    "less_equal": [(nan, nan, 0), (-0.0, 0.0, 1), (-inf, -inf, 1)],
    "logaddexp": [(nan, 1, nan), (inf, 1, inf), (-inf, 1, 1), (-inf, -inf, -inf)],
    "maximum": [(nan, 1, nan), (1, nan, nan), (inf, 1, inf)],
    "minimum": [(nan, 1, nan), (1, nan, nan), (-inf, 1, -inf)],
    "multiply": [(inf, 0.0, nan), (-0.0, -inf, nan), (inf, -inf, -inf), (-0.0, 2, -0.0), (-0.0, -2, 0.0)],
    "nextafter": [(nan, 1, nan), (1, nan, nan), (-0.0, 0.0, 0.0), (0.0, -0.0, -0.0)],
    "not_equal": [(nan, nan, 1), (inf, inf, 0), (-0.0, 0.0, 0)],
    "pow": [
        *[(2, nan, nan), (1, nan, 1), (nan, 0.0, 1), (nan, -0.0, 1), (nan, 2, nan), (-2, inf, inf), (2, -inf, 0.0)],
        *[(-1, inf, 1), (-1, -inf, 1), (0.5, inf, 0.0), (-0.5, -inf, inf), (inf, 2, inf), (inf, -2, 0.0)],
        *[(-inf, 3, -inf), (-inf, 2, inf), (-inf, -3, -0.0), (-inf, -2, 0.0), (0.0, 2, 0.0), (0.0, -2, inf)],
        *[(-0.0, 3, -0.0), (-0.0, 2, 0.0), (-0.0, -3, -inf), (-0.0, -2, inf), (-2, 0.5, nan)],
    ],
    "remainder": [
        *[(nan, 1, nan), (inf, inf, nan), (0.0, 0.0, nan), (0.0, 2, 0.0), (-0.0, 2, 0.0), (0.0, -2, -0.0)],
        *[(-0.0, -2, -0.0), (1, 0.0, nan), (-1, -0.0, nan), (inf, 2, nan), (-inf, -2, nan), (3, inf, 3)],
        *[(-3, -inf, -3), (-7, 3, 2), (7, -3, -2)],
    ],
    "subtract": [(inf, inf, nan), (inf, -inf, inf), (-0.0, 0.0, -0.0), (0.0, 0.0, 0.0)],
}  # fmt: skip


def precision(dtype: Any) -> float:
    """Two roundings, each by half of eps at most; of whole numbers none."""
    return float(np.finfo(dtype).eps) if np.dtype(dtype).kind in "fc" else 0.0


def same(received: Array, expected: Any) -> None:
    """Equal to an ulp or two, with the same NaN and the same signs of zeros."""
    wanted = np.asarray(expected, received.dtype)
    np.testing.assert_allclose(received, wanted, rtol=precision(received.dtype))
    if received.dtype.kind == "f":
        zeros = wanted == 0
        np.testing.assert_array_equal(np.signbit(received[zeros]), np.signbit(wanted[zeros]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(UNARY | BINARY))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_special_values(name: str, dtype: str) -> None:
    rows: list[Any] = UNARY.get(name) or BINARY[name]
    *operands, expected = zip(*rows, strict=True)
    tensors = [mt.asarray(x, dtype=dtype) for x in operands]
    same(getattr(mt, name)(*tensors).numpy(), expected)
    for place in range(len(rows)):  # without dimensions, and as long rows, which other code may compute
        single = getattr(mt, name)(*(t[place] for t in tensors))
        assert single.shape == ()
        same(single.numpy(), expected[place])
    same(getattr(mt, name)(*(mt.tile(t, (40,)) for t in tensors)).numpy(), np.tile(np.asarray(expected), 40))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_special_values_of_reductions() -> None:
    x = mt.asarray([1.0, nan, -inf])
    for name in ("max", "min", "sum", "prod", "mean", "var", "std"):
        assert np.isnan(getattr(mt, name)(x).item()), name
    empty = mt.zeros((0, 2))
    assert (empty.sum().item(), empty.prod().item(), mt.all(empty).item(), mt.any(empty).item()) == (
        0.0,
        1.0,
        True,
        False,
    )
    assert np.isnan(mt.mean(empty).item())
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ValueError):
            getattr(mt, name)(empty)


# --- dtypes and shapes ---------------------------------------------------------------------------------------

KINDS = {"b": ["bool"], "i": ["int8", "int64", "uint8", "uint32"], "f": ["float32", "float64"], "c": ["complex64"]}
REAL, NUMERIC, FLOATING, ALL = "if", "ifc", "fc", "bifc"
TAKES = {
    "i": "bitwise_left_shift bitwise_right_shift",
    "bi": "bitwise_and bitwise_or bitwise_xor bitwise_invert",
    "b": "logical_and logical_or logical_xor logical_not",
    "f": "atan2 copysign hypot logaddexp nextafter signbit",
    REAL: "ceil floor trunc floor_divide remainder maximum minimum less less_equal greater greater_equal",
    NUMERIC: "abs add subtract multiply pow negative positive square sign round isfinite isinf isnan real conj",
    FLOATING: "divide sqrt exp log sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh expm1 log1p log2 log10"
    " reciprocal",
    "c": "imag",
    ALL: "equal not_equal",
}
GIVES_BOOL = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "isfinite", "isinf", "isnan"}
GIVES_BOOL |= {"signbit", "logical_and", "logical_or", "logical_xor", "logical_not"}
GIVES_REAL = {"abs", "real", "imag"}
SHAPES = [((), ()), ((3,), ()), ((2, 3), (3,)), ((2, 1), (1, 3)), ((0,), (1,)), ((2, 0, 1), (1, 4))]


def elementwise() -> list[tuple[str, str]]:
    return [(name, kinds) for kinds, names in TAKES.items() for name in names.split()]


@pytest.mark.parametrize(("name", "kinds"), elementwise())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_dtypes_and_shapes_of_elementwise_functions(name: str, kinds: str) -> None:
    function = getattr(mt, name)
    for kind in kinds:
        for left, right in itertools.product(KINDS[kind], KINDS[kind]):
            if "uint8" not in (left, right) or kind != "i" or name != "pow":
                check_pair(name, function, mt.dtype(left), mt.dtype(right))
    if "c" not in kinds or name in GIVES_BOOL:
        return
    mixed = function(mt.ones(2, dtype="complex64"), *[mt.ones(2)] * (len(inspect.signature(function).parameters) - 1))
    assert mixed.dtype == (mt.float32 if name in GIVES_REAL else mt.complex64)


def check_pair(name: str, function: Callable[..., mt.Tensor], left: Any, right: Any) -> None:
    binary = len(inspect.signature(function).parameters) == 2
    met = PROMOTED[left, right] if binary else left
    expected = mt.dtype("bool") if name in GIVES_BOOL else met
    if name in GIVES_REAL and met.kind == "c":
        expected = mt.float32 if met == mt.complex64 else mt.float64
    for shapes in SHAPES if left == right else SHAPES[:3]:
        operands = [mt.ones(s, dtype=d) for s, d in zip(shapes, (left, right), strict=True)][: 1 + binary]
        result = function(*operands)
        assert result.dtype == expected, (name, left, right)
        assert result.shape == np.broadcast_shapes(*(x.shape for x in operands))
    if binary and left == right:
        scalar = {"b": True, "c": 1j}.get(left.kind, 1)  # Python numbers of the same kind change no dtype
        assert (
            function(mt.ones(2, dtype=left), scalar).dtype == function(scalar, mt.ones(2, dtype=left)).dtype == expected
        )


# --- functions against NumPy's -------------------------------------------------------------------------------

Call = Callable[[Any, Any], Any]  # (namespace, array) -> an array or a tuple of them
AXES: list[Any] = [None, 0, -1, (0, 2), (-1, 0), ()]
MANIPULATION: dict[str, Call] = {
    "astype": lambda xp, x: xp.astype(xp.abs(x) if x.dtype.kind in "if" else x, xp.complex64),
    "broadcast_arrays": lambda xp, x: xp.broadcast_arrays(x, x[:1], x[0, 0, 0]),
    "broadcast_to": lambda xp, x: xp.broadcast_to(x, (2, *x.shape)),
    "concat": lambda xp, x: (xp.concat([x, x[:1]]), xp.concat([x, x], axis=-1), xp.concat([x, x[0]], axis=None)),
    "count_nonzero": lambda xp, x: (xp.count_nonzero(x, axis=(0, 1)), xp.count_nonzero(x, axis=-1, keepdims=True)),
    "expand_dims": lambda xp, x: (xp.expand_dims(x, axis=0), xp.expand_dims(x, axis=(1, -1))),
    "flip": lambda xp, x: (xp.flip(x), xp.flip(x, axis=-1), xp.flip(x, axis=(0, 1))),
    "full_like": lambda xp, x: (xp.full_like(x, 1), xp.zeros_like(x), xp.ones_like(x, dtype=xp.int8)),
    "indexing": lambda xp, x: (x[1], x[-1, ..., None], x[::-1, 2:0:-1], x[...], x[:, 5:], x[()], x[x == x[0, 0, 0]]),
    "integer-indexing": lambda xp, x: (x[xp.asarray([1, -1]), 0], x[:, xp.asarray([[0], [2]]), xp.asarray([1, 0])]),
    "matrix_transpose": lambda xp, x: (xp.matrix_transpose(x), x.mT, x[0].T),
    "meshgrid": lambda xp, x: xp.meshgrid(x[0, 0], x[0, :, 0]) + xp.meshgrid(x[0, 0], x[0, :, 0], indexing="ij"),
    "moveaxis": lambda xp, x: (xp.moveaxis(x, 0, -1), xp.moveaxis(x, (0, 1), (-1, 0))),
    "nonzero": lambda xp, x: xp.nonzero(x),
    "permute_dims": lambda xp, x: (xp.permute_dims(x, (2, 0, 1)), xp.permute_dims(x, (-1, 0, 1))),
    "repeat": lambda xp, x: (xp.repeat(x, 2), xp.repeat(x, xp.asarray([2, 0]), axis=0)),
    "reshape": lambda xp, x: (xp.reshape(x, (-1,)), xp.reshape(x, (3, -1)), xp.reshape(x[:0], (0, 4, 0))),
    "roll": lambda xp, x: (xp.roll(x, 1), xp.roll(x, -1, axis=1), xp.roll(x, (1, 2), axis=(0, -1))),
    "searchsorted": lambda xp, x: xp.searchsorted(xp.sort(x[0, 0]), x[1], side="right"),
    "sets": lambda xp, x: (*xp.unique_all(x), *xp.unique_counts(x), *xp.unique_inverse(x)),
    "squeeze": lambda xp, x: (xp.squeeze(x[:1], axis=0), xp.squeeze(x[:1, :, :1], axis=(0, -1))),
    "stack": lambda xp, x: (xp.stack([x, x]), xp.stack([x, x], axis=-1), xp.stack([x[0, 0, 0]] * 2)),
    "take": lambda xp, x: (xp.take(x, xp.asarray([1, -1, 0]), axis=1), xp.take(x[0, 0], xp.asarray([2]))),
    "take_along_axis": lambda xp, x: xp.take_along_axis(x, xp.asarray([[[1], [0], [-1]]]), axis=2),
    "tile": lambda xp, x: (xp.tile(x, (2,)), xp.tile(x, (2, 1, 1, 0)), xp.tile(x[0, 0, 0], (3,))),
    "tril": lambda xp, x: (xp.tril(x), xp.triu(x, k=1), xp.tril(x[0], k=-1)),
    "unstack": lambda xp, x: (*xp.unstack(x), *xp.unstack(x, axis=-1)),
    "where": lambda xp, x: (xp.where(x == x[0, 0, 0], x, x[:1]), xp.where(x == x, x[0], True)),
}  # fmt: skip
SEARCHING: dict[str, Call] = {
    "argmax": lambda xp, x: (xp.argmax(x), xp.argmax(x, axis=1), xp.argmin(x, axis=-1, keepdims=True)),
    "argsort": lambda xp, x: (xp.argsort(x, stable=True), xp.argsort(x, axis=0, stable=True)),
    "clip": lambda xp, x: (xp.clip(x, 0, 2), xp.clip(x, max=x[0]), xp.clip(x, x[:1] - x[:1], x[0])),
    "diff": lambda xp, x: (xp.diff(x), xp.diff(x, n=2), xp.diff(x, axis=0, prepend=x[:1], append=x)),
    "unique_values": lambda xp, x: xp.sort(xp.unique_values(x)),  # in an order that the standard leaves open
    "sort": lambda xp, x: (xp.sort(x), xp.sort(x, axis=0)),
}
PRODUCTS: dict[str, Call] = {
    "matmul": lambda xp, x: (x[0] @ x[1].mT, xp.matmul(x[0], x[0, 0]), x[0, 0] @ x[0].mT, x @ x.mT, x[0, 0] @ x[0, 0]),
    "outer": lambda xp, x: xp.linalg.outer(x[0, 0], x[0, 1]),
    "tensordot": lambda xp, x: (xp.tensordot(x, x[0].mT, axes=1), xp.tensordot(x, x, axes=((0, 2), (0, 2)))),
    "trace": lambda xp, x: (xp.linalg.trace(x, offset=1), xp.linalg.diagonal(x, offset=-1)),
    "vecdot": lambda xp, x: (xp.vecdot(x, x[0]), xp.vecdot(x, x, axis=-2)),
    "cumulative": lambda xp, x: (xp.cumulative_sum(x, axis=1), xp.cumulative_prod(x, axis=0, include_initial=True)),
}
CALLS = {**dict.fromkeys(MANIPULATION, "bifc"), **dict.fromkeys(SEARCHING, "if"), **dict.fromkeys(PRODUCTS, "ifc")}


def numbers(dtype: str, shape: tuple[int, ...] = (2, 3, 4)) -> Array:
    values = np.random.default_rng(3).integers(0, 4, shape)
    return (values + 1j * values[..., ::-1] if dtype[0] == "c" else values).astype(dtype)


def agree(ours: Any, theirs: Any) -> None:
    for mine, other in zip(_several(ours), _several(theirs), strict=True):
        expected = np.asarray(other)
        assert mine.shape == expected.shape
        if mine.dtype != expected.dtype:  # a tensor's own integers: NumPy's cannot be smaller than the machine's
            assert (mine.dtype.kind, expected.dtype.kind) == ("i", "i")
        # All is of whole numbers, and exact, but var and std: sums of at most 12 numbers that are rounded.
        np.testing.assert_allclose(mine.numpy(), expected, rtol=12 * precision(mine.dtype))


def _several(result: Any) -> list[Any]:
    return [x for part in result for x in _several(part)] if isinstance(result, tuple | list) else [result]


@pytest.mark.parametrize("name", CALLS)
def test_functions_are_numpys(name: str) -> None:
    call = (MANIPULATION | SEARCHING | PRODUCTS)[name]
    for kind in CALLS[name]:
        for dtype in KINDS[kind]:
            x = numbers(dtype)
            agree(call(mt, mt.asarray(x)), call(np, x))


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "max", "min", "any", "all"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_reductions_are_numpys(name: str) -> None:
    kinds = {"any": "bifc", "all": "bifc", "sum": "ifc", "prod": "ifc", "mean": "fc", "max": "if", "min": "if"}
    for dtype, axis, keepdims in itertools.product(
        [d for kind in kinds.get(name, "f") for d in KINDS[kind]], AXES, (False, True)
    ):
        for shape in ((2, 3, 2), (2, 0, 3)):
            x = numbers(dtype, shape)
            if name in ("max", "min") and x.size == 0:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                agree(
                    getattr(mt, name)(mt.asarray(x), axis=axis, keepdims=keepdims),
                    getattr(np, name)(x, axis=axis, keepdims=keepdims),
                )


def test_creation_is_numpys() -> None:
    for dtype in ("int8", "uint8", "int64", "float32", "float64"):
        for arguments in ((5,), (1, 9, 2), (5, 1), (9, 1, -3) if dtype[0] != "u" else (0,)):
            agree(mt.arange(*arguments, dtype=dtype), np.arange(*arguments, dtype=dtype))
        agree(mt.eye(3, 2, k=-1, dtype=dtype), np.eye(3, 2, k=-1, dtype=dtype))
        agree(mt.full((2, 0), 3, dtype=dtype), np.full((2, 0), 3, dtype=dtype))
        agree([mt.zeros(3, dtype=dtype), mt.ones((), dtype=dtype)], [np.zeros(3, dtype), np.ones((), dtype)])
    for ends, endpoint in itertools.product(
        ((0.0, 1.0, 5), (1.0, -2.0, 4), (0.0, 1.0, 1), (0.0, 1.0, 0)), (True, False)
    ):
        agree(mt.linspace(*ends, dtype="float64", endpoint=endpoint), np.linspace(*ends, endpoint=endpoint))
    assert [mt.asarray(v).dtype.name for v in (True, 1, 1.0, 1j)] == ["bool", "int64", "float32", "complex64"]


# --- errors --------------------------------------------------------------------------------------------------

ERRORS: list[tuple[Callable[[mt.Tensor], Any], type[Exception]]] = [
    (lambda x: x[2], IndexError),
    (lambda x: x[0, 0, 0], IndexError),
    (lambda x: mt.expand_dims(x, axis=4), IndexError),
    (lambda x: mt.squeeze(x, axis=0), ValueError),
    (lambda x: mt.sum(x, axis=2), ValueError),
    (lambda x: mt.sum(x, axis=(0, 0)), ValueError),
    (lambda x: mt.take(x, mt.asarray([5]), axis=0), IndexError),
    (lambda x: mt.reshape(x, (4,)), ValueError),
    (lambda x: mt.broadcast_to(x, (3,)), ValueError),
    (lambda x: mt.asarray([1.0], copy=False), ValueError),
    (lambda x: mt.meshgrid(x[0], indexing="yx"), ValueError),
    (lambda x: mt.isdtype(mt.int8, "number"), ValueError),
    (lambda x: mt.searchsorted(x[0], x, side="middle"), ValueError),
    (lambda x: mt.linalg.inv(x), ValueError),
    (lambda x: mt.linalg.cross(x[:, :2], x[:, :2]), ValueError),
    (lambda x: mt.fft.ihfft(x, norm="none"), ValueError),
    (lambda x: x @ 2.0, TypeError),
    (lambda x: bool(x), ValueError),
    (lambda x: int(mt.asarray(1j)), TypeError),
    (lambda x: mt.bitwise_and(x, x), TypeError),
    (lambda x: mt.result_type(1, 2.0), TypeError),
    (lambda x: mt.add(1, 2), TypeError),
    (lambda x: x.__array_namespace__(api_version="2019.01"), ValueError),
    (lambda x: x.to_device("gpu"), ValueError),
]


@pytest.mark.parametrize(("call", "error"), ERRORS)
def test_errors(call: Callable[[mt.Tensor], Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        call(mt.ones((2, 3)))


# --- what is not by the letter, as docs/minitensor.md lists it ------------------------------------------------


def test_what_differs_from_the_standard() -> None:
    x = mt.arange(4)
    x.reshape(2, 2)[0] = 9  # slices and reshapes never alias, so copy=False of reshape is no promise of shared memory
    assert mt.reshape(x, (2, 2), copy=False).tolist() == [[0, 1], [2, 3]]
    assert mt.can_cast(mt.bool, mt.int8) and mt.can_cast(mt.int64, mt.float32)  # kinds meet, where it has no rule
    assert mt.result_type(mt.int64, mt.uint64) == mt.int64
    assert mt.sign(mt.asarray(complex(inf, 1.0))).item() == 1.0  # of complex infinities; z / |z| is NaN
    with pytest.raises(ValueError):
        mt.sum(mt.asarray(1.0), axis=0)  # NumPy takes axis 0 of no dimensions
