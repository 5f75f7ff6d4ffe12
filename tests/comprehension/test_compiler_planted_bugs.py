"""Planted bugs from the text to the proof: a bounded part of this folder's properties must find each.

Each room has a finder, made of the checks that belong to it:

- language: the reference interpreter beside NumPy;
- schedules and kernels: the certificate; and, as if there were none, KernelIR interpreted beside the reference;
- tiles that ask ahead and iterations side by side: the certificate;
- the certificate itself: changes of kernels that it must refuse.

Nothing is compiled to machine code here (test_codegen_planted_bugs.py does that).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import test_certificate
import test_jam
import test_kernel_choice
import test_kernel_edges
import test_kernel_strands
import test_map_gpu
from planted import Find, Patch, Plant, Room, assert_found, change, every_bug_of, every_finder_of
from test_lang_reference import EXACT, call
from texts import kernel_of, program_of

from comprehension.kernel import build, choice, ir, jam, joined, simplify, strands
from comprehension.kernel.edges import split_edges
from comprehension.kernel.interpret import interpret
from comprehension.kernel.verify import verify_kernel
from comprehension.lang import reference, solve, tree
from comprehension.lang.loops import LoopProgram
from comprehension.lang.reference import run
from comprehension.poly import certificate, dependence, scheduler
from comprehension.poly.scop import build_scop

# --- language --------------------------------------------------------------------------------------------------


def ranges_are_one_too_large(patch: Patch) -> None:
    change(patch, solve, "_found", lambda found, *_: (found[0], found[1] + 1, *found[2:]))


def ranges_are_one_too_small(patch: Patch) -> None:
    change(patch, solve, "_found", lambda found, *_: (found[0], found[1] + -1, *found[2:]))


def every_reduction_starts_from_zero(patch: Patch) -> None:
    patch.setattr(reference, "identity", lambda op, dtype: dtype.numpy.type(0))


LANGUAGE: list[Plant] = [ranges_are_one_too_large, ranges_are_one_too_small, every_reduction_starts_from_zero]


def find_in_language() -> None:
    """The reference interpreter, static and symbolic, beside NumPy."""
    for text, inputs, formula in EXACT.values():
        np.testing.assert_array_equal(call(text, *inputs), formula(*inputs))


# --- schedules and kernels -------------------------------------------------------------------------------------


def initialisations_are_dropped(patch: Patch) -> None:
    """The element keeps what its memory holds."""

    def kept(nodes: list[Any], walker: Any, called: Any, scope: Any) -> list[Any]:
        if not called.get_op_arg(0).get_id().get_name().endswith("_init"):
            return nodes
        *defines, store = nodes
        return [*defines, replace(store, value=ir.Load(store.buffer, store.subscripts, store.value.dtype))]

    change(patch, build._Walker, "_instance", kept)


def every_fold_starts_from_zero(patch: Patch) -> None:
    patch.setattr(build, "identity", lambda op, dtype: ir.Const(0.0 if dtype.is_float else 0, dtype))


def tile_limits_are_dropped(patch: Patch) -> None:
    change(patch, build, "axis_of", lambda found, *_: (replace(found[0], limit=None), found[1]))


def tile_limits_are_one_too_small(patch: Patch) -> None:
    def nearer(found: Any, *_: Any) -> Any:
        axis, scope = found
        limit = None if axis.limit is None else ir.IntOp("-", axis.limit, ir.Int(1))
        return replace(axis, limit=limit), scope

    change(patch, build, "axis_of", nearer)


def loops_end_one_early(patch: Patch) -> None:
    change(patch, build, "upper_bound", lambda upper, *_: ir.IntOp("-", upper, ir.Int(1)))


def private_accumulators_are_not_combined(patch: Patch) -> None:
    def uncombined(nodes: list[Any], *_: Any) -> list[Any]:
        last = nodes[-1].body[0] if isinstance(nodes[-1], ir.Tile) else nodes[-1]
        return nodes[:-1] if isinstance(last, ir.Store) and last.role is ir.StoreRole.COMBINE else nodes

    change(patch, build._Walker, "_accumulate", uncombined)


def panels_are_packed_from_the_row_before(patch: Patch) -> None:
    def shifted(store: ir.Store, *_: Any) -> ir.Store:
        match store.value:
            case ir.Load(subscripts=(first, *others)) if store.role is ir.StoreRole.COPY:
                before = ir.IntOp("max", ir.IntOp("-", first, ir.Int(1)), ir.Int(0))
                return replace(store, value=replace(store.value, subscripts=(before, *others)))
        return store

    change(patch, build._Walker, "_copy", shifted)


def register_tiles_are_not_written_back(patch: Patch) -> None:
    def kept(store: ir.Store, walker: Any, copy: Any, *_: Any) -> ir.Store:
        if copy.into_buffer:
            return store
        return replace(store, value=ir.Load(store.buffer, store.subscripts, store.value.dtype))

    change(patch, build._Walker, "_copy", kept)


def stages_are_swapped(patch: Patch) -> None:
    change(patch, build._Walker, "stages", lambda stages, *_: stages[::-1])


def guards_of_choices_are_ignored(patch: Patch) -> None:
    def unguarded(value: ir.Value, builder: Any, expr: tree.Expr) -> ir.Value:
        return value.otherwise if isinstance(value, ir.SelectValue) else value

    change(patch, build.ValueBuilder, "value", unguarded)


def divisions_are_folded_towards_zero(patch: Patch) -> None:
    """(i + 3) / 2 becomes i / 2 + 1: the remainder of the constant is forgotten."""
    change(patch, simplify, "_divide", lambda parts, *_: (parts[0], replace(parts[1], constant=0)))


def minima_of_bounds_become_their_first_operand(patch: Patch) -> None:
    change(patch, simplify, "_extreme", lambda form, op, left, right, ranges: left)


def reads_after_writes_are_forgotten(patch: Patch) -> None:
    change(patch, dependence, "_edges_between", lambda edges, *_: [e for e in edges if e.kind != "raw"])


def writes_after_reads_are_forgotten(patch: Patch) -> None:
    change(patch, dependence, "_edges_between", lambda edges, *_: [e for e in edges if e.kind != "war"])


def every_loop_is_parallel(patch: Patch) -> None:
    patch.setattr(scheduler, "is_coincident", lambda parts, position, dependences: True)


KERNELS: list[Plant] = [
    initialisations_are_dropped,
    every_fold_starts_from_zero,
    tile_limits_are_dropped,
    tile_limits_are_one_too_small,
    loops_end_one_early,
    private_accumulators_are_not_combined,
    panels_are_packed_from_the_row_before,
    register_tiles_are_not_written_back,
    stages_are_swapped,
    guards_of_choices_are_ignored,
    divisions_are_folded_towards_zero,
    minima_of_bounds_become_their_first_operand,
    reads_after_writes_are_forgotten,
    writes_after_reads_are_forgotten,
    every_loop_is_parallel,
]
SHAPES = (
    "matmul", "matmul_t", "sum", "column_sum", "largest", "stencil", "scan", "padded", "triangle", "clamped", "modulo",
    "prefix", "shifted", "transpose", "product",
)  # fmt: skip


def kernels() -> Iterator[tuple[LoopProgram, dict[str, Any], Any, ir.Kernel]]:
    for name in SHAPES:
        program, arrays, _ = program_of(name)
        scop, kernel = kernel_of(program)
        yield program, arrays, scop, kernel


def find_by_certificate() -> None:
    for _, _, scop, kernel in kernels():
        verify_kernel(kernel)
        proved = certificate.certify(scop, None, kernel)
        assert proved, proved.text


def find_by_results() -> None:
    """Small integers, so that every order of summation gives the same bits; units in both orders."""
    for program, arrays, _, kernel in kernels():
        expected = run(program, arrays)
        for order in (iter, reversed):
            for name, found in interpret(kernel, arrays, order=order).items():
                np.testing.assert_array_equal(found, expected[name])


# --- tiles that ask ahead, and iterations side by side ----------------------------------------------------------


def what_is_left_of_a_line_is_not_run(patch: Patch) -> None:
    change(patch, strands, "_by_lines", lambda loops, *_: list(loops)[:1])


def lines_begin_where_the_loop_does(patch: Patch) -> None:
    """Each piece of a loop runs what the first one does."""

    def first(loops: Any, loop: ir.Loop, *_: Any) -> list[ir.Loop]:
        around, *others = loops
        (piece,) = around.body
        length = ir.IntOp("-", piece.upper, piece.lower)
        begun = replace(piece, lower=loop.lower, upper=ir.IntOp("+", loop.lower, length))
        return [replace(around, body=(begun,)), *others]

    change(patch, strands, "_by_lines", first)


def iterations_side_by_side_are_one_too_few(patch: Patch) -> None:
    """The last one of each group is left out."""
    nodes = jam._Jammer.nodes

    def fewer(jammer: Any, body: Any, start: Any, iterations: range) -> Any:
        return nodes(jammer, body, start, iterations[:-1] if len(iterations) > 1 else iterations)

    patch.setattr(jam._Jammer, "nodes", fewer)


def iterations_side_by_side_share_registers(patch: Patch) -> None:
    right = jam._Jammer._copy
    patch.setattr(jam._Jammer, "_copy", lambda jammer, node, start, number, _: right(jammer, node, start, number, 0))


AHEAD: list[Plant] = [
    what_is_left_of_a_line_is_not_run,
    lines_begin_where_the_loop_does,
    iterations_side_by_side_are_one_too_few,
    iterations_side_by_side_share_registers,
]


def find_ahead() -> None:
    """Large ones, so by the certificate alone."""
    program = test_kernel_strands.product(32, 20, 265)
    kernel, notes = test_kernel_strands.asking(program)
    assert "asked for a tile ahead" in notes[0]
    scop, jammed, steps = test_jam.built(test_jam.shapes(4, 2, 8, 26, 26, 3))
    assert any("side by side" in step for step in steps)
    for of, found in ((build_scop(program), kernel), (scop, jammed)):
        proved = certificate.certify(of, None, split_edges(found))
        assert proved, proved.text


# --- the certificate -------------------------------------------------------------------------------------------


def branches_are_read_as_the_first(patch: Patch) -> None:
    """Whatever the second one does, if their conditions are opposites."""
    patch.setattr(choice, "_merged", lambda then, otherwise, condition: then)


def ragged_branches_are_read_as_whole_ones(patch: Patch) -> None:
    patch.setattr(joined, "_is_same", lambda first, second, ranges: isinstance(first, ir.If))


def _unchecked(step: str) -> Plant:
    def plant(patch: Patch) -> None:
        patch.setattr(certificate, step, lambda *arguments, **keywords: iter(()))

    plant.__name__ = f"{step}_does_nothing"
    return plant


STEPS = "instances", "values", "addresses", "combinations", "bounds", "parallel", "barriers", "order", "family"
"""Without `check_shapes`: `check_values` demands all of it too, so that nothing wrong is accepted without it."""
PROOFS = [
    *[_unchecked(f"check_{step}") for step in STEPS],
    branches_are_read_as_the_first,
    ragged_branches_are_read_as_whole_ones,
]


def find_in_proofs() -> None:
    for make, sizes, what, of in test_certificate.NAMED:
        test_certificate.test_mutations_are_refused(make, sizes, what, of)
    test_certificate.test_strict_accepts_packing_and_refuses_split_reductions()
    test_certificate.test_strict_keeps_the_order_of_reductions()
    for side, what in product((0, 1), ("value", "element", "extent", "condition")):
        test_kernel_edges.test_branches_that_differ_in_more_than_masks_stay_two(side, what)
    for other in test_kernel_choice.DIFFERENT:
        test_kernel_choice.test_branches_that_differ_in_more_than_values_stay(other)
    test_map_gpu.test_a_loop_that_carries_a_dependence_is_divided_by_nobody("thread.x")
    test_map_gpu.test_every_barrier_is_needed_for_the_proof("softmax", (4,))


# --- every finder finds every bug of its room, and nothing else --------------------------------------------------


ROOMS: list[Room] = [
    (find_in_language, LANGUAGE),
    (find_by_certificate, KERNELS),
    (find_by_results, KERNELS),
    (find_ahead, AHEAD),
    (find_in_proofs, PROOFS),
]


@every_bug_of(ROOMS)
def test_planted_bug_is_found(find: Find, plant: Plant, monkeypatch: Patch) -> None:
    plant(monkeypatch)
    assert_found(find)


@every_finder_of(ROOMS)
def test_nothing_is_found_without_a_bug(find: Find) -> None:
    """After all the others: no bug stays planted."""
    find()
