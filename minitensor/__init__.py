"""minitensor: a small eager tensor library - the array standard, autograd, values instead of aliases.

>>> import minitensor as mt
>>> w = mt.asarray([[1.0], [2.0]], requires_grad=True)
>>> loss = ((mt.asarray([[3.0, 4.0]]) @ w) ** 2).sum()
>>> loss.backward()
>>> w.grad
tensor([[66.],
        [88.]])
"""

import sys
from importlib import import_module
from math import e, inf, nan, pi
from types import ModuleType
from typing import TYPE_CHECKING, Any

from numpy import dtype

from minitensor import (
    data,
    errors,
    fft,
    functional,
    io,
    linalg,
    methods as methods,  # puts the operators on Tensor: before all that uses them
    nn,
    optim,
    other_names,
    random,
)
from minitensor.autograd import enable_grad, grad, is_grad_enabled, no_grad, value_and_grad
from minitensor.creation import (
    arange,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from minitensor.device import Device
from minitensor.dtypes import (
    bool_ as bool,
    can_cast,
    complex64,
    complex128,
    finfo,
    float16,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    result_type,
    uint8,
    uint16,
    uint32,
    uint64,
)
from minitensor.elementwise import (
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    ceil,
    clip,
    conj,
    copysign,
    cos,
    cosh,
    divide,
    equal,
    erf,
    exp,
    expm1,
    floor,
    floor_divide,
    greater,
    greater_equal,
    hypot,
    imag,
    isclose,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    nextafter,
    not_equal,
    positive,
    pow,
    real,
    reciprocal,
    remainder,
    round,
    sign,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    subtract,
    tan,
    tanh,
    trunc,
    where,
)
from minitensor.linear_algebra import einsum, matmul, outer, tensordot, vecdot
from minitensor.manipulation import (
    astype,
    broadcast_arrays,
    broadcast_shapes,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    matrix_transpose,
    moveaxis,
    pad,
    permute_dims,
    repeat,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    tile,
    unstack,
)
from minitensor.namespace import API_VERSION as __array_api_version__, array_namespace_info as __array_namespace_info__
from minitensor.searching import (
    argsort,
    isin,
    nonzero,
    scatter_add,
    searchsorted,
    sort,
    take,
    take_along_axis,
    topk,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
)
from minitensor.statistics import (
    all,
    allclose,
    any,
    argmax,
    argmin,
    count_nonzero,
    cumulative_prod,
    cumulative_sum,
    diff,
    max,
    mean,
    min,
    prod,
    std,
    sum,
    var,
)
from minitensor.tensor import Tensor

if TYPE_CHECKING:
    from minitensor.operators import Operator as Operator, operator as operator


def __getattr__(name: str) -> Any:
    """What needs the comprehension language is imported at first use."""
    if name == "testing":
        return import_module("minitensor.testing")
    if name in ("operator", "Operator"):
        return getattr(import_module("minitensor.operators"), name)
    raise other_names.missing("module 'minitensor'", name, other_names.NAMESPACE)


class _OnlyAModule(ModuleType):
    """`mt.tensor(...)` and `mt.device(...)` are functions in PyTorch; here they are modules, and say so."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        name = self.__name__.removeprefix("minitensor.")
        raise errors.DTypeError(f"mt.{name} is a module, no function: {other_names.NAMESPACE[name]}")


for _name in ("tensor", "device"):
    sys.modules[f"minitensor.{_name}"].__class__ = _OnlyAModule


newaxis = None
__version__ = "0.1.0"

__all__ = [
    "__array_api_version__", "__array_namespace_info__", "__version__", "abs", "acos", "acosh", "add", "all",
    "allclose",
    "any", "arange", "argmax", "argmin", "argsort", "asarray", "asin", "asinh", "astype", "atan", "atan2",
    "atanh", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "bool", "broadcast_arrays", "broadcast_shapes", "broadcast_to", "can_cast", "ceil",
    "clip", "complex128", "complex64", "concat", "conj", "copysign", "cos", "cosh", "count_nonzero",
    "cumulative_prod", "cumulative_sum", "data", "Device", "diff", "divide", "dtype", "e", "einsum", "empty",
    "empty_like", "enable_grad", "equal", "erf", "exp", "expand_dims", "expm1", "eye", "fft", "finfo", "flip",
    "float16", "float32", "float64", "floor", "floor_divide", "from_dlpack", "full", "full_like",
    "functional", "grad", "greater", "greater_equal", "hypot", "iinfo", "imag", "inf", "int16", "int32",
    "int64", "int8", "io", "is_grad_enabled", "isdtype", "isclose", "isfinite", "isin", "isinf", "isnan", "less",
    "less_equal", "linalg", "linspace", "log", "log10", "log1p", "log2", "logaddexp", "logical_and",
    "logical_not", "logical_or", "logical_xor", "matmul", "matrix_transpose", "max", "maximum", "mean",
    "meshgrid", "min", "minimum", "moveaxis", "multiply", "nan", "negative", "newaxis", "nextafter", "nn",
    "no_grad", "nonzero", "not_equal", "ones", "ones_like", "operator", "Operator", "optim", "outer", "pad",
    "permute_dims", "pi",
    "positive", "pow", "prod", "random", "real", "reciprocal", "remainder", "repeat", "reshape",
    "result_type", "roll", "round", "scatter_add", "searchsorted", "sign", "signbit", "sin", "sinh", "sort", "split",
    "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum", "take", "take_along_axis", "tan", "tanh",
    "Tensor", "tensordot", "testing", "tile", "topk", "tril", "triu", "trunc", "uint16", "uint32", "uint64", "uint8",
    "unique_all", "unique_counts", "unique_inverse", "unique_values", "unstack", "value_and_grad", "var",
    "vecdot", "where", "zeros", "zeros_like",
]  # fmt: skip
