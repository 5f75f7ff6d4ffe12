"""Accesses past the caches and ahead: which are marked, and that they write what plain ones write."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import loop_programs as programs
import numpy as np
import pytest
from native_kernels import Native, aligned
from test_poly_kernels import AVX512, compile_program, inputs_for

from comprehension.kernel import ir
from comprehension.kernel.locality import place_accesses
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.verify import verify_kernel
from comprehension.kernel.walk import accesses_in, walk_nodes
from comprehension.lang.loops import LoopProgram

SMALL = replace(AVX512, l2_bytes=256, l3_bytes=512)  # nearly everything goes past these caches
CHAIN = programs.pointwise_chain(5, 128, 3)


def marked(program: LoopProgram) -> tuple[ir.Kernel, tuple[str, ...]]:
    placed = place_accesses(compile_program(program), SMALL)
    verify_kernel(placed.kernel)
    return placed.kernel, placed.notes


def streamed(kernel: ir.Kernel) -> set[str]:
    return {store.buffer for store in nodes_of(kernel.stages, ir.Store) if store.streaming}


def asked_in(tile: ir.Tile) -> list[tuple[str, int]]:
    return [(load.buffer, load.ahead) for load in nodes_of(tile, ir.Load) if load.ahead]


def asked(kernel: ir.Kernel) -> set[str]:
    return {load.buffer for load in nodes_of(kernel.stages, ir.Load) if load.ahead}


# --- what is marked -----------------------------------------------------------------------------------------


def test_what_fits_the_cache_stays_plain() -> None:
    kernel = compile_program(CHAIN)
    placed = place_accesses(kernel, AVX512)
    assert placed.kernel == kernel
    assert "fit the second cache" in placed.notes[0]


def test_what_fits_our_share_of_the_last_cache_is_asked_for_and_not_streamed() -> None:
    placed = place_accesses(compile_program(CHAIN), replace(AVX512, l2_bytes=256))
    assert streamed(placed.kernel) == set()
    assert asked(placed.kernel) == {"X"}


def test_a_large_output_is_streamed_and_its_input_asked_for() -> None:
    kernel, notes = marked(CHAIN)
    outputs = {b.name for b in kernel.buffers if b.space is ir.Space.OUTPUT}
    assert streamed(kernel) == outputs
    assert asked(kernel) == {"X"}  # the bias is read again for each row
    assert "written past the caches" in notes[0]
    assert "ahead" in notes[0]


@pytest.mark.parametrize(("terms", "expected"), [(2, {"C"}), (64, set())])
def test_what_takes_much_arithmetic_is_written_plainly(terms: int, expected: set[str]) -> None:
    kernel, notes = marked(programs.batched_matmul(64, 16, 32, terms))
    assert streamed(kernel) == expected
    assert ("written past the caches" in notes[0]) == bool(expected)


def test_our_share_of_a_last_cache_grows_with_our_cores_up_to_half_of_it() -> None:
    server = replace(AVX512, l3_bytes=300 << 20)  # as a virtual machine shows it
    assert [replace(server, cores=cores).kept_bytes >> 20 for cores in (1, 2, 64)] == [8, 16, 150]


ROWS_TWICE = programs.softmax(64, 256)  # each row is read for its maximum, then for its exponentials


def test_rows_that_are_read_again_are_asked_for_a_row_ahead_a_part_each_time() -> None:
    """Each line once, most of them where most is computed."""
    placed = place_accesses(compile_program(ROWS_TWICE), replace(AVX512, l2_bytes=4096))
    tiles = [tile for tile in nodes_of(placed.kernel.stages, ir.Tile) if asked_in(tile)]
    loads = [load for tile in tiles for load in nodes_of(tile.body, ir.Load) if load.ahead]
    assert [load.ahead for load in loads] == [256, 256]
    (first, last), (again, end) = (load.ahead_lanes or (0, 0) for load in loads)
    assert (first, last) == (0, again)
    assert end == tiles[1].lanes.extent
    assert 0 < last < end - again
    assert any(nodes_of(tiles[1].body, ir.Builtin))


def test_long_rows_are_asked_for_where_most_is_computed() -> None:
    """Beyond the first cache, the sweep that does little waits for the second one anyway."""
    machine = replace(AVX512, l1_bytes=512, l2_bytes=4096)
    placed = place_accesses(compile_program(ROWS_TWICE), machine)
    (tile,) = [tile for tile in nodes_of(placed.kernel.stages, ir.Tile) if asked_in(tile)]
    assert asked_in(tile) == [("X", 256)]
    assert any(nodes_of(tile.body, ir.Builtin))


def test_rows_too_long_to_be_kept_are_asked_for_where_they_are_first_read() -> None:
    placed = place_accesses(compile_program(programs.softmax(4, 4096)), replace(AVX512, l2_bytes=4096))
    (tile,) = [tile for tile in nodes_of(placed.kernel.stages, ir.Tile) if asked_in(tile)]
    assert asked_in(tile) == [("X", 512)]
    assert not list(nodes_of(tile, ir.Builtin))


def test_what_a_stage_reads_again_is_not_streamed() -> None:
    kernel, _ = marked(programs.scan(40, 128))
    read = {access.buffer for stage in kernel.stages for access in accesses_in(stage) if isinstance(access, ir.Load)}
    assert not streamed(kernel) & read


def test_a_small_result_stays_in_the_caches() -> None:
    kernel, _ = marked(programs.column_sum(500, 64))
    assert streamed(kernel) == set()
    assert len(asked(kernel)) == 1


def test_rows_that_are_read_a_piece_at_a_time_in_turn_are_asked_for_along_each() -> None:
    """Of eight rows 256 bytes at a time: the next pieces, not those of the next eight rows, far away."""
    kernel, _ = marked(programs.column_sum(64, 4096))
    tiles = [tile for tile in nodes_of(kernel.stages, ir.Tile) if asked_in(tile)]
    assert [asked_in(tile) for tile in tiles] == [[("X", 64)]] and tiles[0].lanes.extent == 64


def test_unknown_sizes_are_left_plain() -> None:
    kernel, notes = marked(programs.pointwise_chain("I", "J", 2))
    assert streamed(kernel) == asked(kernel) == set()
    assert "not known" in notes[0]


def test_a_window_is_not_walked_once() -> None:
    kernel, _ = marked(programs.conv2d(2, 2, 24, 40, 3, 3))
    assert asked(kernel) == set()


# --- what is written ------------------------------------------------------------------------------------------

PROGRAMS = {
    "whole rows": CHAIN,
    "ragged rows": programs.pointwise_chain(5, 100, 3),
    "softmax": programs.softmax(7, 64),
    "transpose": programs.transpose(48, 64),
    "column sum": programs.column_sum(500, 128),
    "product": programs.matmul(24, 64, 40),
}


@cache
def versions(name: str) -> tuple[Native, Native]:
    """A program's kernel with plain accesses and with marked ones."""
    return Native(compile_program(PROGRAMS[name])), Native(marked(PROGRAMS[name])[0])


@pytest.mark.parametrize("past", [0, 4, 16, 32, 60])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_bytes_are_written_at_every_alignment(name: str, past: int) -> None:
    arrays = inputs_for(PROGRAMS[name])
    results = []
    for native in versions(name):
        memory = native.bind(arrays, past=past)
        assert native.run() == 0
        results.append({b.name: memory[b.name] for b in native.kernel.buffers if b.space is ir.Space.OUTPUT})
    plain, special = results
    for output, expected in plain.items():
        np.testing.assert_array_equal(special[output], expected)


@pytest.mark.parametrize("dtype", [ir.ScalarType.FLOAT64, ir.ScalarType.INT8, ir.ScalarType.FLOAT16])
def test_every_width_of_element_is_streamed(dtype: ir.ScalarType) -> None:
    """A copy of 3 rows of 128, written by hand: rows begin 0, 16 and 1 bytes past a line."""
    i, j = ir.Var("i"), ir.Var("j")
    tile = ir.Tile(
        None,
        ir.Axis("j", ir.Int(0), 128),
        (ir.Store("Y", (i, j), ir.Load("X", (i, j), dtype), ir.StoreRole.COPY, streaming=True),),
    )
    shape = (ir.Int(3), ir.Int(128))
    kernel = ir.Kernel(
        "copy",
        (),
        (),
        (ir.Buffer("X", dtype, shape, ir.Space.INPUT), ir.Buffer("Y", dtype, shape, ir.Space.OUTPUT)),
        (ir.Stage("s", (tile,), ir.Loop("i", ir.Int(0), ir.Int(3), ())),),
    )
    native = Native(kernel)
    values = aligned((3, 128), dtype.numpy)
    values[...] = np.arange(3 * 128).reshape(3, 128) % 100
    for past in (0, 16, 2 if dtype.bits < 64 else 8):
        memory = native.bind({"X": values}, past=past)
        assert native.run() == 0
        np.testing.assert_array_equal(memory["Y"], values)
    assert "stream(" in native.source.text
    assert "settle()" in native.source.text


@pytest.mark.parametrize("tiles", [3, 64, 70])
@pytest.mark.parametrize("past", [0, 16, 2])
def test_rows_of_tiles_are_put_together_however_many_lie_between(tiles: int, past: int) -> None:
    """A transposition by hand, down all rows and then across: 64 tiles of rows can wait for the rest of a line."""
    i, j, c, r = (ir.Var(name) for name in "ijcr")
    down, across = (ir.IntOp("+", ir.IntOp("*", ir.Int(16), outer), inner) for outer, inner in ((i, r), (j, c)))
    value = ir.Load("X", (across, down), ir.ScalarType.FLOAT32)
    store = ir.Store("Y", (down, across), value, ir.StoreRole.COPY, streaming=True)
    tile = ir.Tile(ir.Axis("r", ir.Int(0), 16), ir.Axis("c", ir.Int(0), 16), (store,))
    rows, columns = ir.Int(16 * tiles), ir.Int(48)
    kernel = ir.Kernel(
        "transpose",
        (),
        (),
        (
            ir.Buffer("X", ir.ScalarType.FLOAT32, (columns, rows), ir.Space.INPUT),
            ir.Buffer("Y", ir.ScalarType.FLOAT32, (rows, columns), ir.Space.OUTPUT),
        ),
        (ir.Stage("s", (ir.Loop("i", ir.Int(0), ir.Int(tiles), (tile,)),), ir.Loop("j", ir.Int(0), ir.Int(3), ())),),
    )
    native = Native(kernel)
    values = aligned((48, 16 * tiles), np.float32)
    values[...] = np.arange(values.size).reshape(values.shape)
    memory = native.bind({"X": values}, past=past)
    assert native.run() == 0
    np.testing.assert_array_equal(memory["Y"], values.T)


@pytest.mark.parametrize(("columns", "count"), [(100, 0), (200, 1)], ids=["short rows", "rows of 512 bytes and more"])
def test_ragged_rows_are_walked_once(columns: int, count: int) -> None:
    """Short ones would be written as parts of lines."""
    kernel, _ = marked(programs.pointwise_chain(5, columns, 3))
    assert len(streamed(kernel)) == count


def test_tiles_side_by_side_in_blocks_are_walked_once() -> None:
    """A loop that begins where an outer one says moves with it: blocks of a transposition are streamed."""
    kernel, _ = marked(programs.transpose(256, 256))
    assert len(streamed(kernel)) == 1
    loops = [node for node in walk_nodes(kernel.stages[0].body) if isinstance(node, ir.Loop)]
    assert any(loop.lower != ir.Int(0) for loop in loops)
