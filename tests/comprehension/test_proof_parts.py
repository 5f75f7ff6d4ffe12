"""Single steps of the proof, asked alone: what another step would refuse as well is refused by each for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import hand_written as hw
import pytest
from test_proof_values import kernel_of

from comprehension.kernel import ir
from comprehension.kernel.rewrite import rewrite
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly.proof.accumulators import (
    check_combinations,
    check_shapes,
    combined,
    is_identity,
    op_of_combination,
)
from comprehension.poly.proof.extract import Extraction, extract
from comprehension.poly.proof.instances import check_addresses, check_bounds, check_instances
from comprehension.poly.proof.order import check_order, is_reorderable
from comprehension.poly.proof.parallel import check_parallel
from comprehension.poly.proof.verdict import Finding, Guard, Violation
from comprehension.poly.scop import Scop, build_scop

F32, I32 = ScalarType.FLOAT32, ScalarType.INT32
A, B, C = (ir.Load(name, (), F32) for name in "ABC")


def plus(left: ir.Value, right: ir.Value) -> ir.BinaryOp:
    return ir.BinaryOp("+", left, right, F32)


def times(left: ir.Value, right: ir.Value) -> ir.BinaryOp:
    return ir.BinaryOp("*", left, right, F32)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (A, [A]),
        (plus(A, B), [A, B]),
        (plus(plus(A, B), C), [A, B, C]),
        (plus(A, plus(B, C)), [A, B, C]),
        (plus(times(A, B), C), [times(A, B), C]),
        (ir.Fma(A, B, C, F32), [times(A, B), C]),
        (ir.Fma(A, B, plus(A, C), F32), [times(A, B), A, C]),
        (ir.Fold("+", plus(A, B), "l", F32), [A, B]),
        (ir.Fold("max", A, "l", F32), [ir.Fold("max", A, "l", F32)]),
        (plus(A, ir.Fold("+", B, "l", F32)), [A, B]),
    ],
)
def test_what_a_sum_combines(value: ir.Value, parts: list[ir.Value]) -> None:
    assert combined(value, "+") == parts


def test_products_are_no_sums() -> None:
    assert combined(plus(A, B), "*") == [plus(A, B)]
    assert combined(times(A, times(B, C)), "*") == [A, B, C]
    assert combined(ir.Fma(A, B, C, F32), "*") == [ir.Fma(A, B, C, F32)]


@pytest.mark.parametrize(
    ("value", "op", "holds"),
    [
        (ir.Const(0.0, F32), "+", True),
        (ir.Const(0, I32), "+", True),
        (ir.Const(1.0, F32), "+", False),
        (ir.Const(1.0, F32), "*", True),
        (ir.Const(float("-inf"), F32), "max", True),
        (ir.Const(float("-inf"), F32), "min", False),
        (ir.Const(-(2**31), I32), "max", True),
        (A, "+", False),
    ],
)
def test_what_changes_nothing(value: ir.Value, op: str, holds: bool) -> None:
    assert is_identity(ir.Store("s", (), value, ir.StoreRole.FILL), op) is holds  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "op"),
    [
        (plus(A, B), "+"),
        (times(A, B), "*"),
        (ir.BinaryOp("max", A, B, F32), "max"),
        (ir.BinaryOp("-", A, B, F32), None),
        (ir.Fold("min", A, "l", F32), "min"),
        (A, None),
        (ir.Fma(A, B, C, F32), None),
    ],
)
def test_by_what_partial_results_are_combined(value: ir.Value, op: str | None) -> None:
    assert op_of_combination(ir.Store("s", (), value, ir.StoreRole.COMBINE)) == op


# --- steps on kernels -----------------------------------------------------------------------------------------------


def summed(text: str = "s(i) +=! A(i,j)", math: str = "fast") -> tuple[Scop, ir.Kernel]:
    source = infer(load(f"def f(float(M,N) A) -> (s) {{ {text} }}")["f"], [Spec((3, 40), F32)])
    return build_scop(source), kernel_of(source, math)  # type: ignore[arg-type]


def said(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if isinstance(finding, Violation)]


def of(scop: Scop, kernel: ir.Kernel) -> Extraction:
    return extract(kernel, scop.context)


UPDATES: dict[str, tuple[Callable[[ir.BinaryOp], ir.Value], bool]] = {
    "as it is": (lambda v: v, True),
    "swapped": (lambda v: replace(v, left=v.right, right=v.left), True),
    "more in it": (lambda v: plus(v, C), True),  # what it adds is another step's question
    "the target twice": (lambda v: plus(v.left, v.left), False),
    "no target": (lambda v: plus(v.right, v.right), False),
    "another operator": (lambda v: replace(v, op="*"), False),
}


@pytest.mark.parametrize(("change", "holds"), UPDATES.values(), ids=UPDATES)
def test_updates_have_their_target_once(change: Callable[[ir.BinaryOp], ir.Value], holds: bool) -> None:
    scop, kernel = summed(math="strict")

    def changed(store: ir.Store) -> ir.Store:
        return replace(store, value=change(store.value)) if isinstance(store.value, ir.BinaryOp) else store

    buffers = (*kernel.buffers, ir.Buffer("C", F32, (), ir.Space.REGISTER))
    found = said(list(check_shapes(scop, of(scop, replace(rewrite(kernel, ir.Store, changed), buffers=buffers)))))
    assert (found == []) is holds
    assert all("does not combine the target of S0 with one value by +" in what for what in found)


COMBINATIONS: dict[str, tuple[Callable[[ir.Value], ir.Value], bool]] = {
    "as it is": (lambda v: v, True),
    "negated": (lambda v: ir.UnaryOp("-", v, F32), False),
    "with a number": (lambda v: plus(v, ir.Const(1.0, F32)), False),
    "a difference": (lambda v: replace(v, op="-") if isinstance(v, ir.BinaryOp) else v, False),
}


@pytest.mark.parametrize(("change", "holds"), COMBINATIONS.values(), ids=COMBINATIONS)
def test_combinations_combine_loads_alone(change: Callable[[ir.Value], ir.Value], holds: bool) -> None:
    scop, kernel = summed()

    def changed(store: ir.Store) -> ir.Store:
        return replace(store, value=change(store.value)) if store.role is ir.StoreRole.COMBINE else store

    found = said(list(check_combinations(of(scop, rewrite(kernel, ir.Store, changed)))))
    assert (found == []) is holds and all("is no combination of partial results" in what for what in found)


def square(name: str, kernel: ir.Kernel) -> ir.Kernel:
    """The kernel with a buffer of K * N elements more along its first axis."""
    extent = ir.IntOp("*", ir.Var("K"), ir.Var("N"))
    return replace(
        kernel,
        buffers=tuple(
            replace(b, shape=(ir.IntOp("+", b.shape[0], extent), *b.shape[1:])) if b.name == name else b
            for b in kernel.buffers
        ),
    )


@pytest.mark.parametrize(("name", "kind"), [("packA", Violation), ("acc", Violation), ("C", Guard), (None, None)])
def test_extents_that_are_not_affine_are_known_at_a_launch_at_best(name: str | None, kind: type | None) -> None:
    made: tuple[LoopProgram, ir.Kernel] = hw.matmul_packed("M", "N", "K")
    source, kernel = made
    scop = build_scop(source)
    found = list(check_bounds(scop, of(scop, kernel if name is None else square(name, kernel))))
    named = [finding for finding in found if "an extent of" in finding.what]
    assert [type(finding) for finding in named] == ([] if kind is None else [kind])


def test_what_runs_besides_may_write_private_memory_only() -> None:
    made: tuple[LoopProgram, ir.Kernel] = hw.matmul_tiled(6, 11, 3)
    source, kernel = made
    scop = build_scop(source)
    wider = rewrite(kernel, ir.Axis, lambda axis: replace(axis, limit=None))
    found = said(list(check_instances(scop, of(scop, wider))))
    assert found and all("outside of its domain and writes C" in what for what in found)
    private = replace(
        wider, buffers=tuple(replace(b, space=ir.Space.SCRATCH) if b.name == "C" else b for b in wider.buffers)
    )
    assert said(list(check_instances(scop, of(scop, private)))) == []


@pytest.mark.parametrize(
    ("text", "reorderable"),
    [
        ("s(i) +=! A(i,j)", True),
        ("s(i) +=! A(i,j) * A(i,j)", True),
        ("s(i) = A(i,0)", False),
        ("s(i) = A(i,0)  s(i) += s(2 - i) * A(i,j) where i in 0:3", False),  # it reads what it updates
    ],
)
def test_updates_commute_unless_they_read_what_they_update(text: str, reorderable: bool) -> None:
    source = infer(load(f"def f(float(M,N) A) -> (s) {{ {text} }}")["f"], [Spec((3, 4), F32)])
    assert is_reorderable(build_scop(source).statements[-1]) is reorderable


def test_strict_order_is_kept_and_fast_order_need_not_be() -> None:
    scop, kernel = summed(math="strict")
    assert said(list(check_order(scop, of(scop, kernel), {"s"}, fast=False))) == []

    def backwards(load_: ir.Load) -> ir.Load:
        if load_.buffer != "A":
            return load_
        return replace(load_, subscripts=(load_.subscripts[0], ir.IntOp("-", ir.Int(39), load_.subscripts[1])))

    def turned(store: ir.Store) -> ir.Store:
        if store.instance is None or store.instance.statement != "S0":
            return store
        first, second = store.instance.point
        point = (first, ir.IntOp("-", ir.Int(39), second))
        return replace(store, instance=replace(store.instance, point=point))

    changed = rewrite(rewrite(kernel, ir.Load, backwards), ir.Store, turned)
    assert said(list(check_order(scop, of(scop, changed), {"s"}, fast=True))) == []
    assert said(list(check_order(scop, of(scop, changed), {"s"}, fast=False))) != []
    assert said(list(check_order(scop, of(scop, changed), set(), fast=False))) == []


def test_units_meet_only_where_both_read() -> None:
    made: tuple[LoopProgram, ir.Kernel] = hw.matmul_plain(4, 3, 5)
    source, kernel = made
    scop = build_scop(source)
    assert said(list(check_parallel(of(scop, kernel)))) == []
    one_row = rewrite(kernel, ir.Store, lambda store: replace(store, subscripts=(ir.Int(0), store.subscripts[1])))
    found = said(list(check_parallel(of(scop, one_row))))
    assert found and all("in another unit" in what for what in found)
    private = replace(
        one_row, buffers=tuple(replace(b, space=ir.Space.SCRATCH) if b.name == "C" else b for b in one_row.buffers)
    )
    assert said(list(check_parallel(of(scop, private)))) == []


def test_a_statement_that_the_program_has_not_hides_no_other() -> None:
    made: tuple[LoopProgram, ir.Kernel] = hw.matmul_plain(4, 3, 5)
    source, kernel = made
    scop = build_scop(source)

    def renamed(store: ir.Store) -> ir.Store:
        if store.instance is None or store.instance.statement != "S0_init":
            return store
        return replace(store, instance=replace(store.instance, statement="S9"))

    def shifted(load_: ir.Load) -> ir.Load:
        return replace(load_, subscripts=(ir.Int(0), load_.subscripts[1])) if load_.buffer == "A" else load_

    changed = rewrite(rewrite(kernel, ir.Store, renamed), ir.Load, shifted)
    runs = said(list(check_instances(scop, of(scop, changed))))
    assert any("runs S9, which the program has not" in what for what in runs)
    assert any("reads another element of A" in what for what in said(list(check_addresses(scop, of(scop, changed)))))
