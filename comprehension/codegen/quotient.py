"""Division of a tile by a value that its lanes share: by multiply-adds, rounded as division rounds.

In: a tile of float32 or float64 that varies along lanes, a divisor that does not.  Out: the quotients, bit for
bit those of a division.
Invariant: where the exponents of all dividends and of the divisor are moderate, y = 1/b is rounded once, and one
step q += (a - q b) y from q = a y rounds correctly (N. Brisebarre, J.-M. Muller, S. Raina, "Accelerating correctly
rounded floating-point division when the divisor is known in advance", IEEE Trans. Computers 53, 2004).  In units
of the last place: a y is less than one off, so where the quotient is next to the middle of two numbers, q is one
of the two, the residual is exact, and the step's own error is less than a quotient's distance from a middle.
Everything else (zeros, infinities, NaN, the far exponents) is divided.

A 512-bit division occupies its unit for 16 cycles, the five operations here take less than three.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import errors
from numba.core.typing.templates import signature

from comprehension.codegen.extension import intrinsic
from comprehension.codegen.lanes import Lanes, integer_of, splat
from comprehension.codegen.tile import Reader, TileType, dtype_of, joined, places


@intrinsic
def quotient(typing_context: Any, a: Any, b: Any) -> Any:
    """a / b for a tile `a` and a `b` that does not vary along its lanes."""
    if not isinstance(a, TileType) or not a.by_lanes or dtype_of(a) != dtype_of(b):
        raise errors.TypingError(f"quotient of {a} by {b}")
    result = joined(a.dtype, (a, b))

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        above, below = Reader(builder, a, args[0]), Reader(builder, types.unliteral(b), args[1])
        at = list(places(result))
        dividends = [above.at(row, chunk, result.chunk) for row, chunk, _ in at]
        divisors = {row: below.at(row, 0, 0) for row, _, _ in at}
        inverses = {row: 1.0 / each for row, each in divisors.items()}
        ready = builder.and_(_are_moderate(dividends), _may_divide(list(divisors.values())))
        with builder.if_else(ready, likely=True) as (moderate, other):
            with moderate:
                quick = [
                    _by_multiplication(each, _spread(divisors[row], each), _spread(inverses[row], each))
                    for each, (row, _, _) in zip(dividends, at, strict=True)
                ]
                after_quick = builder.block
            with other:
                exact = [each / _spread(divisors[row], each) for each, (row, _, _) in zip(dividends, at, strict=True)]
                after_exact = builder.block
        tile: ir.Value = ir.Constant(ir.ArrayType(result.element, len(at)), ir.Undefined)
        found = []
        for one, another in zip(quick, exact, strict=True):
            phi = builder.phi(one.value.type)
            phi.add_incoming(one.value, after_quick)
            phi.add_incoming(another.value, after_exact)
            found.append(phi)
        for phi, (_, _, number) in zip(found, at, strict=True):
            tile = builder.insert_value(tile, phi, number)
        return tile

    return signature(result, a, types.unliteral(b)), generate


def _by_multiplication(a: Lanes, b: Lanes, inverse: Lanes) -> Lanes:
    q = a * inverse
    return (-q).fma(b, a).fma(inverse, q)


def _are_moderate(values: Sequence[Lanes]) -> ir.Value:
    """Whether every lane's exponent is in the middle half of its range: 2**-63 to 2**65 for float32.

    Less the least of them, such an exponent has its highest bit clear; so one test serves all vectors.
    """
    total: Lanes | None = None
    for value in values:
        moved = value.bits(integer_of(value.dtype)) - _exponent(value, 1, 4)
        total = moved if total is None else total | moved
    assert total is not None
    high = total & _exponent(values[0], 1, 2)
    outside = high.differs(0).value
    as_bits = total.builder.bitcast(outside, ir.IntType(outside.type.count))
    return total.builder.icmp_unsigned("==", as_bits, ir.Constant(as_bits.type, 0))


def _may_divide(divisors: Sequence[Lanes]) -> ir.Value:
    """Whether every divisor is within 2**-31 to 2**33 (float32): no quotient or residual leaves the normal numbers."""
    total: Lanes | None = None
    for divisor in divisors:
        moved = divisor.bits(integer_of(divisor.dtype)) - _exponent(divisor, 3, 8)
        total = moved if total is None else total | moved
    assert total is not None
    return (total & _exponent(divisors[0], 3, 4)).equals(0).value


def _exponent(like: Lanes, part: int, parts: int) -> int:
    """The bits of an exponent field that is part/parts of its range."""
    field, mantissa = (8, 23) if like.dtype == types.float32 else (11, 52)
    return ((1 << field) * part // parts) << mantissa


def _spread(value: Lanes, like: Lanes) -> Lanes:
    return value.of(splat(value.builder, value.value, like.value.type.count))
