"""The certificate accepts legal kernels and refuses what changes their meaning, each time with a counterexample."""

from __future__ import annotations

import re
from dataclasses import replace

import hand_written as hw
import numpy as np
import pytest
from kernel_mutations import mutants
from test_poly_kernels import compile_program

from comprehension.kernel import ir
from comprehension.kernel.certificate import Certificate
from comprehension.kernel.interpret import InterpretError, interpret
from comprehension.kernel.rewrite import rewrite
from comprehension.lang.frontend import load
from comprehension.lang.loops import Role
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly.certificate import certify
from comprehension.poly.scop import build_scop

PROPERTIES = ("dependences", "instances", "bounds", "parallel", "buffers")


def certificate(source, kernel, math="fast") -> Certificate:
    return certify(build_scop(source), None, kernel, math)


def refused(found: Certificate) -> set[str]:
    """The properties that fail; each has a counterexample of its own."""
    failed = {name for name, holds in found.properties.items() if not holds}
    assert failed == {example.split(":")[0] for example in found.counterexamples}
    return failed


# --- legal kernels ----------------------------------------------------------------------------------------------

LEGAL = [
    (hw.matmul_plain, (7, 6, 5)),
    (hw.matmul_plain, ("M", "N", "K")),
    (hw.matmul_tiled, (7, 17, 5)),
    (hw.matmul_tiled, ("M", "N", "K")),
    (hw.matmul_packed, (50, 40, 70)),
    (hw.matmul_packed, ("M", "N", "K")),
    (hw.softmax_rows, (5, 19)),
    (hw.softmax_rows, ("M", "N")),
    (hw.scan_lanes, (5, 19)),
    (hw.scan_lanes, ("T", "D")),
    (hw.stencil_stages, (12,)),
    (hw.stencil_stages, ("N",)),
]


@pytest.mark.parametrize(("make", "sizes"), LEGAL)
def test_legal_kernels_are_proved(make, sizes):
    found = certificate(*make(*sizes))
    assert found, found.text
    assert tuple(found.properties) == PROPERTIES
    assert Certificate.from_json(found.to_json()) == found


@pytest.mark.parametrize("sizes", [(0, 6, 5), (4, 0, 5), (4, 6, 0), (0, 0, 0)])
@pytest.mark.parametrize("make", [hw.matmul_plain, hw.matmul_tiled, hw.matmul_packed])
def test_kernels_of_empty_sizes_are_proved(make, sizes):
    assert certificate(*make(*sizes))


def test_strict_accepts_packing_and_refuses_split_reductions():
    source, kernel = hw.matmul_packed(9, 8, 7)
    unfused = _replaced(kernel, lambda n: ir.BinaryOp("+", n.c, ir.BinaryOp("*", n.a, n.b, hw.F32), hw.F32), ir.Fma)
    assert certificate(source, unfused, "strict")
    assert refused(certificate(source, kernel, "strict")) == {"instances"}
    assert "buffers" in refused(certificate(*hw.softmax_rows(3, 11), "strict"))


def test_strict_keeps_the_order_of_reductions():
    source, kernel = hw.matmul_plain(3, 3, 3)
    backwards = _replaced(kernel, lambda v: ir.IntOp("-", ir.Int(2), v) if v.name == "k" else v, ir.Var)
    assert certificate(source, backwards, "fast")
    assert "dependences" in refused(certificate(source, backwards, "strict"))


# --- mutations by name ------------------------------------------------------------------------------------------------

NAMED = [
    (hw.matmul_plain, (7, 6, 5), "execute of C dropped", "instances"),
    (hw.matmul_plain, (7, 6, 5), "upper bound of k - 1", "instances"),
    (hw.matmul_plain, ("M", "N", "K"), "upper bound of k + 1", "bounds"),
    (hw.matmul_plain, (7, 6, 5), "load of A axis 1 +1", "dependences"),
    (hw.matmul_plain, (7, 6, 5), "execute of C and loop k swapped", "dependences"),
    (hw.matmul_plain, (7, 6, 5), "execute of C doubled", "instances"),
    (hw.matmul_tiled, ("M", "N", "K"), "limit of l dropped", "bounds"),
    (hw.matmul_tiled, (7, 17, 5), "limit of l - 1", "instances"),
    (hw.matmul_tiled, (7, 17, 5), "step of nt + 1", "instances"),
    (hw.matmul_tiled, (7, 17, 5), "extent of l + 1", "instances"),
    (hw.matmul_packed, (20, 20, 40), "tile of copy of packB dropped", "buffers"),
    (hw.matmul_packed, (20, 20, 40), "tile of copy of acc dropped", "buffers"),
    (hw.matmul_packed, (20, 20, 40), "tile of copy of C dropped", "dependences"),
    (hw.matmul_packed, (20, 20, 40), "load of B axis 0 +1", "buffers"),
    (hw.matmul_packed, (20, 20, 40), "load of A axis 0 -1", "buffers"),
    (hw.matmul_packed, (20, 20, 40), "tile of copy of acc and loop k swapped", "buffers"),
    (hw.matmul_packed, (20, 20, 40), "loop kt doubled", "instances"),
    (hw.matmul_packed, (20, 20, 40), "extent of r - 1", "buffers"),
    (hw.softmax_rows, (5, 19), "tile of combine of topv dropped", "buffers"),
    (hw.softmax_rows, (5, 19), "tile of fill of acc dropped", "buffers"),
    (hw.softmax_rows, (5, 19), "fill of acc with 7", "buffers"),
    (hw.softmax_rows, (5, 19), "loop jt and tile of combine of topv swapped", "buffers"),
    (hw.softmax_rows, (5, 19), "tile of combine of topv doubled", "buffers"),
    (hw.softmax_rows, (5, 19), "fold dropped", "parallel"),
    (hw.scan_lanes, (5, 19), "tile of execute of O and loop t swapped", "dependences"),
    (hw.scan_lanes, (5, 19), "load of O axis 0 +1", "dependences"),
    (hw.stencil_stages, ("N",), "load of A axis 0 +1", "dependences"),
    (hw.stencil_stages, ("N",), "upper bound of i + 1", "bounds"),
    (hw.stencil_stages, (12,), "lower bound of i + 1", "instances"),
    (hw.stencil_stages, (12,), "+ becomes -", "instances"),
    (hw.softmax_rows, (5, 19), "- becomes +", "instances"),
    (hw.softmax_rows, (5, 19), "max becomes min", "instances"),
    (hw.softmax_rows, (5, 19), "fold max becomes min", "buffers"),
    (hw.softmax_rows, (5, 19), "fold + becomes -", "buffers"),
]


@pytest.mark.parametrize(("make", "sizes", "what", "of"), NAMED, ids=lambda p: p if isinstance(p, str) else None)
def test_mutations_are_refused(make, sizes, what, of):
    source, kernel = make(*sizes)
    mutated = [m for described, m in mutants(kernel) if described.endswith(f": {what}")]
    assert mutated, f"there is no {what!r}"
    found = certificate(source, mutated[0])
    assert of in refused(found), found.text


# --- any mutation: accepted only if it still computes the same ------------------------------------

SMALL = [
    (lambda: hw.matmul_plain(4, 3, 5), 1),
    (lambda: hw.matmul_tiled(6, 11, 3), 1),
    (lambda: hw.softmax_rows(3, 11, lanes=4), 5),
    (lambda: hw.scan_lanes(4, 11), 1),
    (lambda: hw.stencil_stages(9), 1),
    (lambda: hw.matmul_packed(5, 7, 7, mb=4, mr=2, nr=4, kb=4), 11),
]


@pytest.mark.parametrize(("make", "every"), SMALL)
def test_what_is_accepted_computes_the_same(make, every):
    source, kernel = make()
    arrays, expected = _example(source)
    assert _agrees(kernel, arrays, expected)
    accepted = 0
    chosen = list(mutants(kernel))[::every]
    for what, mutated in chosen:
        if certificate(source, mutated):
            accepted += 1
            assert _agrees(mutated, arrays, expected), f"accepted, and wrong: {what}"
    assert accepted < len(chosen) / 4  # most changes do break something


def _example(source):
    generator = np.random.default_rng(7)
    shapes = {t.name: tuple(e.value for e in t.shape) for t in source.tensors if t.role is Role.INPUT}
    arrays = {name: generator.integers(-8, 9, shape).astype(np.float32) for name, shape in shapes.items()}
    return arrays, run(source, arrays, {})


def _agrees(kernel, arrays, expected):
    for order in (iter, reversed):
        try:
            outputs = interpret(kernel, arrays, order=order)
        except InterpretError:
            return False
        if not all(np.allclose(outputs[name], expected[name], rtol=1e-5, atol=1e-6) for name in outputs):
            return False
    return True


# --- mistakes that take more than one change ------------------------------------------------------


def _replaced(node, change, kind):
    """The kernel with `change` applied to every node of a kind, deepest first."""
    if isinstance(node, tuple):
        return tuple(_replaced(part, change, kind) for part in node)
    if not hasattr(node, "__dataclass_fields__"):
        return node
    parts = {name: _replaced(getattr(node, name), change, kind) for name in node.__dataclass_fields__}
    rebuilt = replace(node, **parts)
    return change(rebuilt) if isinstance(rebuilt, kind) else rebuilt


def test_parallel_over_a_carried_loop():
    source = hw.scan_program(5, 19)
    value = ir.BinaryOp("+", hw.load("O", "t-1", "d", access=1), hw.load("X", "t", "d", access=2), hw.F32)
    first = hw.store("O", (0, "d"), hw.load("X", 0, "d", access=1), ("S0", "d"))
    later = hw.store("O", ("t", "d"), value, ("S1", "t", "d"))
    stages = [
        hw.stage(hw.loop("d", 0, 19), first, name="stage0"),
        hw.stage(hw.loop("t", 1, 5), hw.loop("d", 0, 19, later), name="stage1"),
    ]
    found = certificate(source, hw.kernel_of(source, stages))
    assert refused(found) == {"parallel"}
    assert "in another unit" in found.counterexamples[0]


def test_parallel_over_a_reduction():
    source = hw.matmul_program(3, 4, 5)
    init = hw.store("C", ("m", "n"), hw.constant(0), ("S0_init", "m", "n"))
    value = ir.Fma(
        hw.load("A", "m", "k", access=1), hw.load("B", "k", "n", access=2), hw.load("C", "m", "n", access=3), hw.F32
    )
    update = hw.store("C", ("m", "n"), value, ("S0", "m", "n", "k"))

    def nest(*body):
        return hw.loop("m", 0, 3, hw.loop("n", 0, 4, *body))

    stages = [(nest(init),), hw.stage(hw.loop("k", 0, 5), nest(update), name="stage1")]
    assert refused(certificate(source, hw.kernel_of(source, stages))) == {"parallel"}


def test_a_fused_stencil_reads_what_is_not_written_yet():
    source, kernel = hw.stencil_stages(12)
    (first,), (second,) = (stage.body for stage in kernel.stages)
    inside = ir.If(hw_between(2, "i", 10), (second,))
    fused = replace(kernel, stages=(ir.Stage("stage0", (hw.loop("i", 1, 11, first, inside),)),))
    assert refused(certificate(source, fused)) == {"dependences"}


def hw_between(low, name, high):
    return ir.BoolOp("and", ir.Compare("<=", ir.Int(low), ir.Var(name)), ir.Compare("<", ir.Var(name), ir.Int(high)))


def test_a_skewed_stencil_is_legal():
    source, kernel = hw.stencil_stages(12)
    (first,), (second,) = (stage.body for stage in kernel.stages)
    behind = _replaced(second, lambda v: ir.IntOp("-", v, ir.Int(1)), ir.Var)
    fused = hw.loop("i", 1, 11, first, ir.If(hw_between(3, "i", 11), (behind,)))
    assert certificate(source, replace(kernel, stages=(ir.Stage("stage0", (fused,)),)))


def test_a_copy_taken_before_a_write_is_stale():
    """B is copied to scratch before it is computed."""
    source, kernel = hw.stencil_stages(12)
    row = hw.buffer("row", (12,), ir.Space.SCRATCH, "B")
    copy = hw.loop("j", 1, 11, hw.store("row", ("j",), hw.load("B", "j"), role=hw.COPY))
    compute, use = kernel.stages[0].body, kernel.stages[1].body
    from_row = _replaced(use, lambda n: replace(n, buffer="row") if n.buffer == "B" else n, ir.Load)
    fresh = (hw.loop("i", 1, 11, *compute), copy, hw.loop("i", 2, 10, *from_row))
    stale = (copy, hw.loop("i", 1, 11, *compute), hw.loop("i", 2, 10, *from_row))
    buffers = (*kernel.buffers, row)
    assert certificate(source, replace(kernel, buffers=buffers, stages=(ir.Stage("stage0", fresh),)))
    found = certificate(source, replace(kernel, buffers=buffers, stages=(ir.Stage("stage0", stale),)))
    assert "buffers" in refused(found)


def test_private_memory_does_not_reach_the_next_unit():
    """The sum of a row is kept in a register, and used by a second stage that finds nothing there."""
    source, kernel = hw.softmax_rows(3, 11)
    body = kernel.stages[0].body
    split = (replace(kernel.stages[0], body=body[:-1]), replace(kernel.stages[0], name="stage1", body=body[-1:]))
    assert "buffers" in refused(certificate(source, replace(kernel, stages=split)))


def test_one_private_row_for_two_tensors_is_clobbered():
    """B's row is overwritten by C's before B was read for the last time."""
    source = hw.stencil_program(12)
    neighbours = ir.BinaryOp("+", hw.load("A", "i-1", access=1), hw.load("A", "i", access=2), hw.F32)
    first = hw.store("row", ("i",), ir.BinaryOp("+", neighbours, hw.load("A", "i+1", access=3), hw.F32), ("S0", "i"))
    value = ir.BinaryOp("+", hw.load("row", "i-1", access=1), hw.load("row", "i+1", access=2), hw.F32)
    second = hw.store("row", ("i",), value, ("S1", "i"))
    back = hw.store("C", ("i",), hw.load("row", "i"), role=hw.COPY)
    body = (hw.loop("i", 1, 11, first), hw.loop("i", 2, 10, second), hw.loop("i", 2, 10, back))
    kernel = hw.kernel_of(source, [body], [hw.buffer("row", (12,), ir.Space.SCRATCH)])
    assert refused(certificate(source, kernel)) == {"buffers"}


def test_an_update_that_reads_its_target_too_early_is_lost():
    """The sum so far is named before the loop whose updates all start from it."""
    source, kernel = hw.matmul_plain(4, 3, 5)

    def early(loop):
        if loop.variable != "k":
            return loop
        (update,) = loop.body
        value = replace(update.value, c=ir.Local("before", hw.F32))
        return replace(loop, body=(replace(update, value=value),))

    named = ir.Define("before", hw.load("C", "m", "n", access=3))
    body = _replaced(kernel.stages[0].body, early, ir.Loop)
    (outer,) = body
    init, loop = outer.body
    changed = replace(kernel.stages[0], body=(replace(outer, body=(init, named, loop)),))
    assert not certificate(source, replace(kernel, stages=(changed,)))


def test_an_operand_may_be_read_before_the_updates_that_use_it():
    """Updates commute if each reads its target as it writes it, whenever it reads the rest."""
    source = hw.matmul_program(3, 4, 5)
    init = hw.store("C", ("m", "n"), hw.constant(0), ("S0_init", "m", "n"))
    value = ir.Fma(hw.load("A", "m", "4-k", access=1), ir.Local("b", hw.F32), hw.load("C", "m", "n", access=3), hw.F32)
    update = hw.store("C", ("m", "n"), value, ("S0", "m", "n", "4-k"))
    named = ir.Define("b", hw.load("B", "4-k", "n", access=2))
    backwards = hw.loop("k", 0, 5, named, hw.loop("m", 0, 3, update))
    kernel = hw.kernel_of(source, [(hw.loop("n", 0, 4, hw.loop("m", 0, 3, init), backwards),)])
    found = certificate(source, kernel)
    assert found, found.text
    assert "dependences" in refused(certificate(source, kernel, "strict"))


READ = hw.load("A", "i", access=1)
F64 = ScalarType.FLOAT64
STORED = {
    "what was read, converted": (ir.Convert(READ, F64), set()),
    "its negation": (ir.UnaryOp("-", READ, F64), {"instances"}),
    "its negation, converted": (ir.Convert(ir.UnaryOp("-", READ, hw.F32), F64), {"instances"}),
    "a constant": (ir.Const(1.0, F64), {"instances"}),
}


@pytest.mark.parametrize(("value", "failed"), STORED.values(), ids=STORED)
def test_a_value_of_another_type_is_stored_by_a_conversion_alone(value, failed):
    tensors = {"A": ((7,), Role.INPUT), "D": ((7,), Role.OUTPUT)}
    copy = hw.statement("S0", "D", ("i",), hw.read("A", "i"), [("i", 7)], 1)
    source = hw.program("widen", tensors, [copy])
    kernel = hw.kernel_of(source, [(hw.loop("i", 0, 7, hw.store("D", ("i",), value, ("S0", "i"))),)])
    source = replace(source, tensors=_widened(source.tensors, "D"))
    assert refused(certificate(source, replace(kernel, buffers=_widened(kernel.buffers, "D")))) == failed


def _widened(parts, name):
    return tuple(replace(part, dtype=F64) if part.name == name else part for part in parts)


@pytest.mark.parametrize(
    "value",
    [
        ir.Const(1.0, ScalarType.FLOAT32),
        ir.Const(-0.0, ScalarType.FLOAT32),
        ir.Const(0.0, ScalarType.FLOAT64),
        ir.Load("A", (ir.Int(0), ir.Int(0)), ScalarType.FLOAT32),
        ir.UnaryOp("-", ir.Const(0.0, ScalarType.FLOAT32), ScalarType.FLOAT32),
    ],
    ids=str,
)
def test_a_sum_begins_with_zero_and_nothing_else(value):
    source = infer(load("def f(float(M,N) A) -> (s) { s(m) +=! A(m,n) }")["f"], [Spec((3, 4), ScalarType.FLOAT32)])
    kernel = compile_program(source)
    changed = rewrite(kernel, ir.Store, lambda s: replace(s, value=value) if isinstance(s.value, ir.Const) else s)
    assert certificate(source, kernel)
    assert not certificate(source, changed)


def test_a_loop_must_not_hide_a_size():
    source, kernel = hw.matmul_plain("M", "N", "K")
    hidden = _replaced(kernel.stages, lambda v: ir.Var("K") if v.name == "k" else v, ir.Var)
    hidden = _replaced(hidden, lambda n: replace(n, variable="K") if n.variable == "k" else n, ir.Loop)
    assert refused(certificate(source, replace(kernel, stages=hidden))) == set(PROPERTIES)


def test_a_bound_that_is_not_affine_is_not_proved():
    source, kernel = hw.matmul_plain("M", "N", "K")
    square = _replaced(kernel, lambda n: replace(n, upper=hw.integer("K*K")) if n.variable == "k" else n, ir.Loop)
    assert refused(certificate(source, square)) == set(PROPERTIES)


def test_a_budget_that_is_too_small_proves_nothing():
    source, kernel = hw.matmul_packed("M", "N", "K")
    found = certify(build_scop(source), None, kernel, budget=2000)
    assert not found
    assert any(re.search(r"not proved: more than \d+ isl operations", example) for example in found.counterexamples)
