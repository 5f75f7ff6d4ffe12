"""Records of the random draws: pure functions of (key, draw index) and the element's position.

The one tensor input holds uint32 words [key low, key high, draw low, draw high]; element `e` of the result
(row major) takes word 0 of Philox4x32-10 at counter (e low, e high, draw low, draw high), in a kernel by the
language's builtin `philox`: the same bits.  Words and integers are left to Python: what is made of them (orders,
indices) is looked at by Python, which would have to wait for the graph.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from comprehension.lang.philox import MULTIPLIERS, ROUNDS, WEYL
from comprehension.lang.tree import Def, Expr, Let, Unary
from minitensor.ops import comprehend as c
from minitensor.ops.opdef import OpDef, Operand, TensorSpec, register

_Array = np.ndarray[Any, Any]
_MULTIPLIERS = tuple(map(np.uint64, MULTIPLIERS))
_BLOCK = 8192  # elements: 384 KiB
_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox_word(words: _Array, count: int) -> _Array:
    """uint32 (count,): word 0 of Philox4x32-10 for the elements 0 … count − 1.

    A block at a time, whose six arrays stay in the second cache: five times as fast as whole arrays.
    """
    result = np.empty(count, np.uint32)
    keys = [
        [np.uint64((int(word) + r * w) & 0xFFFFFFFF) for r in range(ROUNDS)]
        for word, w in zip(words[:2], WEYL, strict=True)
    ]
    buffers = np.empty((6, min(count, _BLOCK)), np.uint64)
    for begin in range(0, count, _BLOCK):
        end = min(begin + _BLOCK, count)
        c0, c1, c2, c3, p0, p1 = buffers[:, : end - begin]
        c0[:] = np.arange(begin, end, dtype=np.uint64)
        np.right_shift(c0, _SHIFT, out=c1)
        c0 &= _MASK
        c2[:], c3[:] = words[2], words[3]
        for k0, k1 in zip(*keys, strict=True):
            np.multiply(c0, _MULTIPLIERS[0], out=p0)
            np.multiply(c2, _MULTIPLIERS[1], out=p1)
            _mix(p1, k0, c0, c1)
            _mix(p0, k1, c2, c3)
        result[begin:end] = c0
    return result


def _mix(product: _Array, key: np.uint64, high: _Array, low: _Array) -> None:
    """high ← high half of the product ^ low ^ key;  low ← low half."""
    np.right_shift(product, _SHIFT, out=high)
    high ^= low
    high ^= key
    np.bitwise_and(product, _MASK, out=low)


# Wichura 1988 (Applied Statistics algorithm 241, PPND7): rational approximations of the inverse normal
# distribution function in three regions; evaluated in float64 with float32 coefficients, which is what the
# comprehension below does, so that both paths round the same float64 value.
_CENTRE = ((3.3871327179, 50.434271938, 159.29113202, 59.109374720), (1.0, 17.895169469, 78.757757664, 67.187563600))
_MIDDLE = ((1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103), (1.0, 0.73700164250, 0.12021132975, 0.0))
_TAIL = ((6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997), (1.0, 0.24197894225, 0.012258202635, 0.0))
_Region = tuple[tuple[float, float, float, float], tuple[float, float, float, float]]


def _rational(region: _Region, r: _Array) -> _Array:
    above, below = (_horner(part, r) for part in region)
    return above / below


def _horner(coefficients: tuple[float, float, float, float], r: _Array) -> _Array:
    c0, c1, c2, c3 = (np.float64(np.float32(c)) for c in coefficients)
    result: _Array = ((c3 * r + c2) * r + c1) * r + c0
    return result


def inverse_normal(bits: _Array) -> _Array:
    """float32: the normal quantile at (top 24 bits + ½)·2⁻²⁴."""
    p = ((bits >> np.uint32(8)).astype(np.float64) + 0.5) * 2.0**-24
    q = p - 0.5
    centre = q * _rational(_CENTRE, 0.180625 - q * q)
    r = np.sqrt(-np.log(np.minimum(p, 1.0 - p)))
    outer = np.where(r <= 5.0, _rational(_MIDDLE, r - 1.6), _rational(_TAIL, r - 5.0))
    result = np.where(np.abs(q) <= 0.425, centre, np.where(q < 0.0, -outer, outer))
    return result.astype(np.float32)


def _bits(words: _Array, *, shape: tuple[int, ...]) -> _Array:
    return philox_word(words, prod(shape)).reshape(shape)


def _uniform(words: _Array, *, shape: tuple[int, ...]) -> _Array:
    return (_bits(words, shape=shape) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def _normal(words: _Array, *, shape: tuple[int, ...]) -> _Array:
    return inverse_normal(_bits(words, shape=shape))


def _integers(words: _Array, *, low: int, high: int, shape: tuple[int, ...]) -> _Array:
    scaled = (_bits(words, shape=shape).astype(np.uint64) * np.uint64(high - low)) >> _SHIFT
    return scaled.astype(np.int64) + low


def _infer(dtype: str) -> Any:
    result = np.dtype(dtype)

    def infer(words: TensorSpec, *, shape: tuple[int, ...], **_: Any) -> TensorSpec:
        return TensorSpec(shape, result)

    return infer


# --- as comprehensions ------------------------------------------------------------------------------------------

_UINT32, _INT64, _FLOAT32, _FLOAT64 = map(np.dtype, ("uint32", "int64", "float32", "float64"))
_LEAST_SIZE = 2**31  # elements from which on an int32 does not hold their number


def _word(at: tuple[Expr, ...], shape: tuple[int | str, ...]) -> Expr:
    """The top 24 bits of the word of the element at these indices, as uint32."""
    high, element = c.number(0), _number_of(at, shape)
    if not all(isinstance(n, int) for n in shape) or prod(map(int, shape)) >= _LEAST_SIZE:
        element = _number_of((c.cast(_INT64, at[0]), *at[1:]), shape)  # the others follow it
        high = c.binary("/", c.binary("/", element, 65536), 65536)
    word = c.call("philox", element, high, *[c.access("x0", [k]) for k in (2, 3, 0, 1)])
    return c.binary("/", word, c.constant(256, _UINT32))


def _number_of(at: tuple[Expr, ...], shape: tuple[int | str, ...]) -> Expr:
    """The position in row-major order of the element at these indices."""
    number: Expr = c.number(0)
    for index, extent in zip(at, shape, strict=True):
        number = c.add(c.mul(number, extent), index) if number != c.number(0) else index
    return number


def _uniform_comprehension(words: Operand, *, shape: tuple[int | str, ...]) -> Def:
    at = c.indices(len(shape))
    unit = c.binary("*", c.cast(_FLOAT32, _word(at, shape)), 2.0**-24)
    return c.definition("random_uniform", (words,), [c.assign("r0", at, unit, c.ranges(at, shape))])


def _normal_comprehension(words: Operand, *, shape: tuple[int | str, ...]) -> Def:
    """`inverse_normal`, term by term."""
    at = c.indices(len(shape))
    chance, offset, depth, outer = map(c.ex, ("chance", "offset", "depth", "outer"))
    lets = (
        Let("chance", c.binary("*", c.binary("+", c.cast(_FLOAT64, _word(at, shape)), 0.5), 2.0**-24)),
        Let("offset", c.binary("-", chance, 0.5)),
        Let("near", c.binary("-", _double(0.180625), c.binary("*", offset, offset))),
        Let("depth", c.call("sqrt", _negated(c.call("log", c.call("min", chance, c.binary("-", 1.0, chance)))))),
        Let("inner", c.binary("-", depth, _double(1.6))),
        Let("far", c.binary("-", depth, 5.0)),
        Let("outer", c.select(c.binary("<=", depth, 5.0), _quotient(_MIDDLE, "inner"), _quotient(_TAIL, "far"))),
    )
    central = c.binary("*", offset, _quotient(_CENTRE, "near"))
    signed = c.select(c.binary("<", offset, 0.0), _negated(outer), outer)
    value = c.cast(_FLOAT32, c.select(c.binary("<=", c.call("fabs", offset), _double(0.425)), central, signed))
    return c.definition("random_normal", (words,), [c.assign("r0", at, value, (*c.ranges(at, shape), *lets))])


def _double(value: float) -> Expr:
    return c.constant(value, _FLOAT64)


def _negated(x: Expr) -> Expr:
    return Unary("-", x)


def _quotient(region: _Region, name: str) -> Expr:
    """`_rational` of a region at the let of this name."""
    r = c.ex(name)
    above, below = (_polynomial(part, r) for part in region)
    return c.binary("/", above, below)


def _polynomial(coefficients: tuple[float, float, float, float], r: Expr) -> Expr:
    """`_horner`; literals are float32."""
    *others, total = map(c.number, coefficients)
    for coefficient in reversed(others):
        total = c.binary("+", c.binary("*", total, r), coefficient)
    return total


_IS_INDEX = "what is made of it (orders, indices) is looked at by Python, which would have to wait for the graph"
BITS = register(OpDef("random_bits", _infer("uint32"), _bits, None, None, _IS_INDEX))
UNIFORM = register(OpDef("random_uniform", _infer("float32"), _uniform, None, _uniform_comprehension, exact=True))
NORMAL = register(OpDef("random_normal", _infer("float32"), _normal, None, _normal_comprehension))
INTEGERS = register(OpDef("random_integers", _infer("int64"), _integers, None, None, _IS_INDEX))
