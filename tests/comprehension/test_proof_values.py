"""What a kernel stores is what its statement says, operator by operator: what is accepted as the same, and what not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from test_poly_kernels import AVX512

from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly.certificate import Math, certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop

EXTENT = 9
HEAD = f"def f(float({EXTENT}) A, float({EXTENT}) B, int32({EXTENT}) I, int32({EXTENT}) J, double({EXTENT}) D, float s)"


def program(value: str, *, operator: str = "=", lets: str = "") -> LoopProgram:
    """One statement over nine elements: `O(i) = value`."""
    text = f"{HEAD} -> (O) {{ O(i) {operator} {value} where i in 0:{EXTENT}{lets} }}"
    dtypes = [ScalarType.FLOAT32] * 2 + [ScalarType.INT32] * 2 + [ScalarType.FLOAT64]
    return infer(load(text)["f"], [*(Spec((EXTENT,), dtype) for dtype in dtypes), Spec((), dtypes[0])])


def kernel_of(source: LoopProgram, math: Math = "strict") -> ir.Kernel:
    scop = build_scop(source)
    return build_kernel(scop, schedule(scop, find_dependences(scop), machine=AVX512, math=math), math)


def accepts(source: LoopProgram, kernel: ir.Kernel, math: Math = "strict") -> bool:
    return bool(certify(build_scop(source), None, kernel, math))


# --- one text against another: reads have the same numbers in both ----------------------------------------------------

ALIKE = [
    ("A(i) + B(i)", "A(i) + B(i)"),
    ("i < 20 ? A(i) : B(i)", "A(i)"),  # a choice that always goes one way
    ("i > 20 ? A(i) : A(i)", "i > 20 ? A(i) : A(i)"),
    ("i >= 0 && i < 9 ? A(i) : 2.0", "A(i)"),
    ("i < 0 ? 2.0 : A(i)", "A(i)"),
    ("i < 4 ? A(i) : 2.0", "i <= 3 ? A(i) : 2.0"),  # the same places
    ("i < 4 ? A(i) : 2.0", "!(i >= 4) ? A(i) : 2.0"),
    ("float(i)", "float(i)"),
    ("float(2 * i - i)", "float(i)"),
    ("float(i / 2 * 2 + i % 2)", "float(i)"),
    ("i < 4 ? (i < 20 ? A(i) : 1.0) : 2.0", "i < 4 ? A(i) : 2.0"),
    ("i < 20 ? (i < 4 ? A(i) : 1.0) : 2.0", "i < 4 ? A(i) : 1.0"),  # the kernel's choice is the inner one
    ("float(D(i))", "float(D(i))"),
    ("float(I(i) + J(i))", "float(I(i) + J(i))"),
]
APART = [
    ("A(i) + B(i)", "A(i) - B(i)"),
    ("A(i) + B(i)", "A(i) * B(i)"),
    ("A(i)", "B(i)"),
    ("A(i)", "-A(i)"),
    ("A(i)", "2.0"),
    ("1.0", "2.0"),
    ("0.0", "-0.0"),
    ("-(A(i) + 1.0)", "-(A(i) + 2.0)"),
    ("!(A(i) < 1.0) ? 1.0 : 2.0", "!(A(i) < 2.0) ? 1.0 : 2.0"),
    ("float(double(A(i)) + D(i))", "float(double(A(i)) - D(i))"),
    ("exp(A(i))", "log(A(i))"),
    ("exp(A(i) + 1.0)", "exp(A(i) + 2.0)"),
    ("pow(A(i) + 1.0, 2.0)", "pow(A(i) + 1.0, 3.0)"),
    ("A(i) < B(i) ? 1.0 : 2.0", "A(i) <= B(i) ? 1.0 : 2.0"),
    ("A(i) < B(i) ? 1.0 : 2.0", "A(i) < B(i) ? 2.0 : 1.0"),
    ("A(i) < B(i) ? 1.0 : 2.0", "A(i) < B(i) ? 1.0 : 1.0"),
    ("A(i) < B(i) ? 1.0 : 2.0", "A(i) < B(i) ? 2.0 : 2.0"),
    ("A(i) < B(i) ? 1.0 : 2.0", "1.0"),
    ("A(i) < B(i) ? 1.0 : 2.0", "2.0"),
    ("i < 4 ? A(i) : 2.0", "i < 5 ? A(i) : 2.0"),
    ("i < 4 ? A(i) : 2.0", "A(i)"),  # holds for some
    ("i < 4 ? A(i) : 2.0", "2.0"),
    ("i < 20 ? 1.0 : 2.0", "2.0"),  # holds for all
    ("i > 20 ? 1.0 : 2.0", "1.0"),  # holds for none
    ("float(i)", "float(i + 1)"),
    ("float(i / 2)", "float((i + 1) / 2)"),
    ("float(I(i))", "float(J(i))"),
    ("float(I(i) + J(i))", "float(I(i) - J(i))"),
    ("min(A(i), B(i))", "max(A(i), B(i))"),
    ("s * A(i)", "2.0 * A(i)"),
    ("A(i)", "A(8 - i)"),
    ("float(double(A(i)) * 2.0)", "A(i) * 2.0"),  # in another type
    ("!(A(i) < B(i)) ? 1.0 : 2.0", "A(i) < B(i) ? 1.0 : 2.0"),
    ("A(i) < B(i) && i < 4 ? 1.0 : 2.0", "A(i) < B(i) || i < 4 ? 1.0 : 2.0"),
]


@pytest.mark.parametrize(("meant", "computed"), ALIKE)
def test_what_means_the_same_is_accepted(meant: str, computed: str) -> None:
    assert accepts(program(meant), kernel_of(program(computed)))


@pytest.mark.parametrize(("meant", "computed"), APART)
def test_what_means_something_else_is_refused(meant: str, computed: str) -> None:
    assert accepts(program(meant), kernel_of(program(meant)))
    assert not accepts(program(meant), kernel_of(program(computed)))


def test_lets_are_looked_into() -> None:
    source = program("t * t", lets=", t = A(i) + 1.0")
    assert accepts(source, kernel_of(source))
    for wrong in (", t = A(i) + 2.0", ", t = A(i) - 1.0"):
        assert not accepts(source, kernel_of(program("t * t", lets=wrong)))
    nested = program("u + t", lets=", t = A(i) * 3.0, u = t * t")
    assert accepts(nested, kernel_of(nested))
    assert not accepts(nested, kernel_of(program("u + u", lets=", t = A(i) * 3.0, u = t * t")))


# --- one kernel, changed: reads keep their numbers ------------------------------------------------------------------


def swapped(operation: ir.BinaryOp) -> ir.BinaryOp:
    return replace(operation, left=operation.right, right=operation.left)


@pytest.mark.parametrize(
    ("value", "same"),
    [
        ("A(i) + B(i)", True),
        ("A(i) * B(i)", True),
        ("A(i) - B(i)", False),
        ("A(i) / B(i)", False),
        ("min(A(i), B(i))", False),  # of two zeros the second
        ("max(A(i), B(i))", False),
        ("float(min(I(i), J(i)))", True),
        ("float(max(I(i), J(i)))", True),
        ("float(I(i) % J(i))", False),
        ("A(i) == B(i) ? 1.0 : 2.0", True),
        ("A(i) != B(i) ? 1.0 : 2.0", True),
        ("A(i) < B(i) ? 1.0 : 2.0", False),
        ("A(i) >= B(i) ? 1.0 : 2.0", False),
    ],
)
def test_operands_that_may_change_places(value: str, same: bool) -> None:
    source = program(value)
    assert accepts(source, rewrite(kernel_of(source), ir.BinaryOp, swapped)) is same


@pytest.mark.parametrize(
    ("op", "same"),
    [("&&", True), ("||", True)],
)
def test_conditions_may_change_places(op: str, same: bool) -> None:
    source = program(f"A(i) < 1.0 {op} B(i) < 2.0 ? 1.0 : 2.0")
    kernel = kernel_of(source)
    changed = rewrite(kernel, ir.BinaryOp, lambda v: swapped(v) if v.op == op else v)
    assert changed != kernel and accepts(source, changed) is same


Change = Callable[[ir.Fma], ir.Value]
FUSED: dict[str, tuple[str, Change, bool]] = {
    "as it is": ("A(i) * B(i) + s", lambda v: v, True),
    "factors swapped": ("A(i) * B(i) + s", lambda v: replace(v, a=v.b, b=v.a), True),
    "sum and factor swapped": ("A(i) * B(i) + s", lambda v: replace(v, a=v.c, c=v.a), False),
    "a factor twice": ("A(i) * B(i) + s", lambda v: replace(v, b=v.a), False),
    "the sum on the left": ("s + A(i) * B(i)", lambda v: v, True),
    "the sum on the left, another one": ("s + A(i) * B(i)", lambda v: replace(v, c=ir.Const(1.0, v.dtype)), False),
    "the sum on the left, a factor twice": ("s + A(i) * B(i)", lambda v: replace(v, b=v.a), False),
    "apart": (
        "A(i) * B(i) + s",
        lambda v: ir.BinaryOp("+", ir.BinaryOp("*", v.a, v.b, v.dtype), v.c, v.dtype),
        True,
    ),
    "a difference": (
        "A(i) * B(i) + s",
        lambda v: ir.BinaryOp("-", ir.BinaryOp("*", v.a, v.b, v.dtype), v.c, v.dtype),
        False,
    ),
    "another sum": ("A(i) * B(i) + s", lambda v: replace(v, c=ir.Const(1.0, v.dtype)), False),
}


@pytest.mark.parametrize(("value", "change", "same"), FUSED.values(), ids=FUSED)
def test_products_and_sums_as_one_operation(value: str, change: Change, same: bool) -> None:
    source = program(value)
    kernel = kernel_of(source, "fast")
    (found,) = nodes_of(kernel, ir.Fma)
    assert accepts(source, rewrite(kernel, ir.Fma, change), "fast") is same
    fused = change(found)
    assert accepts(source, rewrite(kernel, ir.Fma, change), "strict") is (same and not isinstance(fused, ir.Fma))


def test_a_difference_is_no_fused_sum() -> None:
    source = program("A(i) * B(i) - s")
    kernel = kernel_of(source, "strict")

    def fused(value: ir.BinaryOp) -> ir.Value:
        if value.op != "-" or not isinstance(value.left, ir.BinaryOp):
            return value
        return ir.Fma(value.left.left, value.left.right, value.right, value.dtype)

    assert not accepts(source, rewrite(kernel, ir.BinaryOp, fused), "fast")


def test_reads_of_one_tensor_are_told_apart() -> None:
    source = program("A(i) - A(8 - i)")
    kernel = kernel_of(source)
    numbers = {1: 2, 2: 1}
    exchanged = rewrite(kernel, ir.Load, lambda v: replace(v, access=numbers[v.access]))
    assert accepts(source, kernel) and not accepts(source, exchanged)


def test_arguments_keep_their_order_and_number() -> None:
    source = program("pow(A(i), B(i))")
    kernel = kernel_of(source)
    for change in (
        lambda v: replace(v, arguments=v.arguments[::-1]),
        lambda v: replace(v, arguments=v.arguments[:1]),
        lambda v: replace(v, arguments=(*v.arguments, v.arguments[0])),
    ):
        assert not accepts(source, rewrite(kernel, ir.Builtin, change))


def test_types_of_values_are_told_apart() -> None:
    source = program("float(D(i) + 1.0)")
    kernel = kernel_of(source)
    narrow = rewrite(kernel, ir.BinaryOp, lambda v: replace(v, dtype=ScalarType.FLOAT32))
    assert accepts(source, kernel) and not accepts(source, narrow)


# --- updates --------------------------------------------------------------------------------------------------------


def summed() -> tuple[LoopProgram, ir.Kernel]:
    source = infer(load("def f(float(M,N) A) -> (s) { s(i) +=! A(i,j) }")["f"], [Spec((3, 4), ScalarType.FLOAT32)])
    return source, kernel_of(source)


def changed_update(change: Callable[[ir.BinaryOp], ir.Value]) -> Callable[[ir.Store], ir.Store]:
    def of_store(store: ir.Store) -> ir.Store:
        return replace(store, value=change(store.value)) if isinstance(store.value, ir.BinaryOp) else store

    return of_store


UPDATES: dict[str, tuple[Callable[[ir.BinaryOp], ir.Value], bool]] = {
    "as it is": (lambda v: v, True),
    "the other way round": (swapped, True),
    "another operator": (lambda v: replace(v, op="*"), False),
    "a difference": (lambda v: replace(v, op="-"), False),
    "only the target": (lambda v: v.left if isinstance(v.left, ir.Load) and v.left.access == 2 else v.right, False),
    "the target twice": (lambda v: replace(v, right=v.left), False),
    "twice": (lambda v: replace(v, right=ir.BinaryOp("+", v.right, v.right, v.dtype)), False),
}


@pytest.mark.parametrize(("change", "same"), UPDATES.values(), ids=UPDATES)
def test_updates_combine_their_target_with_what_is_summed(
    change: Callable[[ir.BinaryOp], ir.Value], same: bool
) -> None:
    source, kernel = summed()
    found = certify(build_scop(source), None, rewrite(kernel, ir.Store, changed_update(change)), "strict")
    assert bool(found) is same


@pytest.mark.parametrize(
    ("op", "start", "holds"),
    [
        ("+", 0.0, True),
        ("+", -0.0, False),
        ("+", 1.0, False),
        ("*", 1.0, True),
        ("*", 0.0, False),
        ("min", float("inf"), True),
        ("min", float("-inf"), False),
        ("max", float("-inf"), True),
        ("max", 0.0, False),
        ("max", float("nan"), False),
    ],
)
def test_reductions_start_from_the_identity(op: str, start: float, holds: bool) -> None:
    spec = Spec((3, 4), ScalarType.FLOAT32)
    source = infer(load(f"def f(float(M,N) A) -> (s) {{ s(i) {op}=! A(i,j) }}")["f"], [spec])
    kernel = kernel_of(source)

    def started(store: ir.Store) -> ir.Store:
        return replace(store, value=ir.Const(start, ScalarType.FLOAT32)) if isinstance(store.value, ir.Const) else store

    assert accepts(source, rewrite(kernel, ir.Store, started)) is holds


def test_a_copy_computes_nothing() -> None:
    """A panel holds what stands in memory: a copy that changes it is refused, whatever else is proved."""
    text = "def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }"
    source = infer(load(text)["f"], [Spec((64, 256), ScalarType.FLOAT32), Spec((256, 300), ScalarType.FLOAT32)])
    kernel = kernel_of(source, "fast")

    def negated(store: ir.Store) -> ir.Store:
        if store.role is not ir.StoreRole.COPY:
            return store
        return replace(store, value=ir.UnaryOp("-", store.value, store.value.dtype))

    assert certify(build_scop(source), None, kernel)
    found = certify(build_scop(source), None, rewrite(kernel, ir.Store, negated))
    assert any("a copy computes something" in example for example in found.counterexamples)
