"""Making, merging and folding tiles: fill, spread, ramp, keep, and reductions along an axis by a fixed tree.

In: regions and tiles.  Out: tiles, or scalars after a fold.
Invariant: a fold combines only active points, always by the same binary tree (upper half onto lower half),
whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import errors
from numba.core.typing.templates import signature

from comprehension.codegen.arithmetic import extreme
from comprehension.codegen.extension import intrinsic, literal_intrinsic
from comprehension.codegen.lanes import I64, Lanes, constant_vector, shuffle, splat
from comprehension.codegen.region import Mask, count_type, literal
from comprehension.codegen.tile import Reader, RegionType, TileType, build_tile, dtype_of, tile_or_scalar


@intrinsic
def spread(typing_context: Any, region: Any, value: Any) -> Any:
    """The value at every point of the region: a tile that varies along both axes."""
    return _spread(region, value, True, True)


@intrinsic
def spread_rows(typing_context: Any, region: Any, value: Any) -> Any:
    """The value for each row."""
    return _spread(region, value, True, False)


@intrinsic
def spread_lanes(typing_context: Any, region: Any, value: Any) -> Any:
    """The value for each lane."""
    return _spread(region, value, False, True)


def _spread(region: RegionType, value: types.Type, by_rows: bool, by_lanes: bool) -> Any:
    result = tile_or_scalar(dtype_of(value), region.rows, region.lanes, by_rows, by_lanes)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        reader = Reader(builder, value, args[1])
        return build_tile(builder, result, lambda row, chunk, width: reader.at(row, chunk, width).value)

    return signature(result, region, value), generate


@intrinsic
def keep(typing_context: Any, region: Any, new: Any, old: Any) -> Any:
    """`new` at the active points of the region, `old` at the others."""
    if dtype_of(new) != dtype_of(old):
        raise errors.TypingError(f"{new} does not replace {old}")

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        mask = Mask(builder, region, args[0])
        fresh, stale = Reader(builder, new, args[1]), Reader(builder, old, args[2])

        def make(row: int, chunk: int, width: int) -> ir.Value:
            active, value = mask.at(row, chunk, width), fresh.at(row, chunk, width).value
            return value if active is None else builder.select(active, value, stale.at(row, chunk, width).value)

        return build_tile(builder, old, make)

    return signature(old, region, new, old), generate


@literal_intrinsic
def ramp(typing_context: Any, region: Any, start: Any, row_step: Any, lane_step: Any) -> Any:
    """start + row * row_step + lane * lane_step at each point, as int64."""
    by_rows, by_lanes = literal(row_step) != 0, literal(lane_step) != 0
    result = tile_or_scalar(types.int64, region.rows, region.lanes, by_rows, by_lanes)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        _, first, row_value, lane_value = args

        def make(row: int, chunk: int, width: int) -> ir.Value:
            at_row = builder.add(first, builder.mul(row_value, ir.Constant(I64, row)))
            if not width:
                return at_row
            numbers = constant_vector(I64, range(chunk * width, (chunk + 1) * width))
            return builder.add(splat(builder, at_row, width), builder.mul(numbers, splat(builder, lane_value, width)))

        return build_tile(builder, result, make)

    # numba finds the code by these types: literal steps must stay literal in them
    return signature(result, region, types.int64, count_type(row_step), count_type(lane_step)), generate


# --- folds ---------------------------------------------------------------------------------------------------

Combine = Callable[[Lanes, Lanes], Lanes]


def _least(dtype: types.Type) -> float | int:
    if dtype == types.boolean:
        return 0
    return -np.inf if isinstance(dtype, types.Float) else int(np.iinfo(str(dtype)).min)


def _greatest(dtype: types.Type) -> float | int:
    if dtype == types.boolean:
        return 1
    return np.inf if isinstance(dtype, types.Float) else int(np.iinfo(str(dtype)).max)


FOLDS: dict[str, tuple[Combine, Callable[[types.Type], float | int]]] = {
    # -0.0 is the neutral element of float addition: 0.0 would turn a sum of -0.0 into 0.0
    "sum": (lambda a, b: a + b, lambda dtype: -0.0 if isinstance(dtype, types.Float) else 0),
    "product": (lambda a, b: a * b, lambda dtype: 1.0 if isinstance(dtype, types.Float) else 1),
    "min": (lambda a, b: extreme(a, b, "minimum", "<"), _greatest),
    "max": (lambda a, b: extreme(a, b, "maximum", ">"), _least),
}


def _tree(items: list[Lanes], combine: Combine) -> Lanes:
    """Combines a list by halves: the second half onto the first, a middle one left alone."""
    while len(items) > 1:
        half = (len(items) + 1) // 2
        pairs = [combine(a, b) for a, b in zip(items[:half], items[half:], strict=False)]
        items = pairs + items[len(pairs) : half]
    return items[0]


def _fold_vector(vector: Lanes, combine: Combine, neutral: float | int) -> Lanes:
    """A vector to one element, upper half onto lower half."""
    builder, width = vector.builder, vector.value.type.count
    wide = 1 << (width - 1).bit_length()
    if wide != width:
        padding = vector.const(neutral).value
        vector = vector.of(shuffle(builder, vector.value, padding, range(wide)))
    while wide > 1:
        wide //= 2
        low = vector.of(shuffle(builder, vector.value, None, range(wide)))
        high = vector.of(shuffle(builder, vector.value, None, range(wide, 2 * wide)))
        vector = combine(low, high)
    return vector.of(builder.extract_element(vector.value, ir.Constant(ir.IntType(32), 0)))


def _masked(item: Lanes, active: ir.Value | None, neutral: float | int) -> Lanes:
    if active is None:
        return item
    return item.of(item.builder.select(active, item.value, item.const(neutral).value))


def _row(points: Reader, mask: Mask, region: RegionType, neutral: float | int, row: int) -> list[Lanes]:
    """The chunks of a row."""
    return [
        _masked(points.at(row, chunk, region.chunk), mask.lanes(chunk, region.chunk), neutral)
        for chunk in range(region.chunks)
    ]


def _column(
    points: Reader, mask: Mask, region: RegionType, neutral: float | int, chunk: int, width: int
) -> list[Lanes]:
    """One chunk of every row."""
    parts = [points.at(row, chunk, width) for row in range(region.rows)]
    active = [mask.row(row) for row in range(region.rows)]
    if width:
        active = [None if a is None else splat(points.builder, a, width) for a in active]
    return [_masked(part, a, neutral) for part, a in zip(parts, active, strict=True)]


def _fold(name: str, axis: Literal["rows", "lanes"]) -> Any:
    combine, neutral_of = FOLDS[name]

    def typed(typing_context: Any, region: Any, value: Any) -> Any:
        dtype, tile = dtype_of(value), isinstance(value, TileType)
        by_rows = tile and value.by_rows and axis == "lanes"
        by_lanes = tile and value.by_lanes and axis == "rows"
        result = tile_or_scalar(dtype, region.rows, region.lanes, by_rows, by_lanes)

        def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
            points, mask, neutral = Reader(builder, value, args[1]), Mask(builder, region, args[0]), neutral_of(dtype)

            def make(row: int, chunk: int, width: int) -> ir.Value:
                if axis == "rows":
                    return _tree(_column(points, mask, region, neutral, chunk, width), combine).value
                across = _tree(_row(points, mask, region, neutral, row), combine)
                return _fold_vector(across, combine, neutral).value

            return build_tile(builder, result, make)

        return signature(result, region, value), generate

    typed.__name__ = f"{name}_{axis}"
    typed.__doc__ = f"The {name} of the active points along {axis}, by a fixed binary tree."
    return intrinsic(typed)


sum_lanes, product_lanes, min_lanes, max_lanes = (_fold(name, "lanes") for name in FOLDS)
sum_rows, product_rows, min_rows, max_rows = (_fold(name, "rows") for name in FOLDS)
