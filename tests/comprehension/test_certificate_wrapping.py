"""No kernel is certified that is right for exact numbers and wrong for values that wrap, or for zeros with signs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import texts

from comprehension.kernel import ir
from comprehension.kernel.rewrite import rewrite
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly.certificate import certify


def program_of(value, extent, operator="="):
    left, clause = ("(i)", f" where i in 0:{extent}") if operator == "=" else ("", "")
    definition = load(f"def f(float(N) A, float(N) B) -> (O) {{ O{left} {operator} {value}{clause} }}")["f"]
    return infer(definition, [Spec((extent,), ScalarType.FLOAT32)] * 2)


PLANTED = {
    "a guard that never holds as a number": ("i + 2147483647 < 0 ? 1.0 : 2.0", "2.0", 8),
    "a guard that always holds as a number": ("int8(i) < int8(i + 100) ? 1.0 : 2.0", "1.0", 99),
    "a quotient of what wraps": ("float((i + 2147483647) / 2)", "float((i + 1) / 2 + 1073741823)", 8),
    "a remainder of what wraps": ("float((i * 65536) % 3)", "float(i % 3)", 70000),
    "a maximum of what wraps": ("float(max(i + 2147483647, 5))", "float(i + 2147483647)", 8),
    "a narrow cast": ("float(int8(i))", "float(i)", 200),
    "a wider cast of what wraps": ("float(int64(i * 65536))", "float(int64(i) * int64(65536))", 70000),
}


@pytest.mark.parametrize("name", PLANTED)
def test_values_are_not_taken_for_exact(name):
    meant, planted, extent = PLANTED[name]
    scop, kernel = texts.kernel_of(program_of(meant, extent))
    assert certify(scop, None, kernel)
    _, wrong = texts.kernel_of(program_of(planted, extent))
    found = certify(scop, None, wrong)
    assert not found.properties["instances"]


EQUAL = {
    "a quotient": ("float((i + 2147483600) / 2)", "float(i / 2 + 1073741800)"),
    "a sum that comes back": ("float(i + 2147483647 - 2147483647)", "float(i)"),
    "a wider cast": ("float(int64(i * 3))", "float(int64(i) * int64(3))"),
    "a maximum": ("float(max(i + 5, 5))", "float(i + 5)"),
}


@pytest.mark.parametrize("name", EQUAL)
def test_where_they_do_not_wrap_they_are_the_same(name):
    meant, other = EQUAL[name]
    scop, _ = texts.kernel_of(program_of(meant, 8))
    assert certify(scop, None, texts.kernel_of(program_of(other, 8))[1])


PRODUCTS = {
    "a quotient": ("float(N * M / 2 * 2)", "float(N / 2 * 2 * M)"),
    "a quotient of what wraps": ("float(N * M * 2 / 2)", "float(N * M)"),
    "a remainder of what wraps": ("float(N * M * 2 % 2)", "0.0"),
    "a maximum of what wraps": ("float(max(N * M * 2, N * M))", "float(N * M * 2)"),
    "a comparison of what wraps": ("N * M * 2 >= N * M ? 1.0 : 2.0", "1.0"),
    "a quotient of what wraps, in a product": ("float(N * M * 2 / 2 * N)", "float(N * M * N)"),
}


def product_program(value):
    """`N * M` is a parameter of its own, and below 2**31: a range ends there."""
    definition = load(f"def f(float(N,M) A) -> (O) {{ O(i) = {value} where i in 0:N * M }}")["f"]
    return infer(definition, None, "symbolic")


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_sizes_are_not_taken_for_exact(name):
    meant, planted = PRODUCTS[name]
    scop, kernel = texts.kernel_of(product_program(meant))
    assert certify(scop, None, kernel)
    assert not certify(scop, None, texts.kernel_of(product_program(planted))[1]).properties["instances"]


def test_products_of_sizes_that_do_not_wrap_are_exact():
    scop, _ = texts.kernel_of(product_program("float(N * M / 2 + (N * M + 1) / 2)"))
    assert certify(scop, None, texts.kernel_of(product_program("float((M * N + 1) / 2 + N * M / 2)"))[1])
    scop, _ = texts.kernel_of(product_program("max(N * M - 1, i) == M * N - 1 ? 1.0 : 2.0"))
    assert certify(scop, None, texts.kernel_of(product_program("1.0"))[1])


def test_a_place_that_is_read_is_not_a_constant():
    """To isl an indirect subscript may be any: a kernel that always takes the first element is inside of that."""
    text = "def f(float(N) A, int32(M) J) -> (O) { O(i) = A(J(i)) }"
    specs = [Spec((9,), ScalarType.FLOAT32), Spec((9,), ScalarType.INT32)]
    scop, kernel = texts.kernel_of(infer(load(text)["f"], specs))
    assert certify(scop, None, kernel)
    first = rewrite(kernel.stages, ir.Load, lambda v: replace(v, subscripts=(ir.Int(0),)) if v.buffer == "A" else v)
    assert not certify(scop, None, replace(kernel, stages=first))


def test_zeros_have_signs():
    scop, kernel = texts.kernel_of(program_of("A(i) * B(i)", 9, "+=!"))
    assert certify(scop, None, kernel)
    negative = replace(kernel, stages=rewrite(kernel.stages, ir.Const, lambda c: replace(c, value=-0.0)))
    assert repr(negative) != repr(kernel)  # to `==` both zeros are one
    assert not certify(scop, None, negative)
    for math in ("fast", "strict"):
        scop, kernel = texts.kernel_of(program_of("min(A(i), B(i))", 9), math)
        swapped = rewrite(kernel.stages, ir.BinaryOp, lambda v: replace(v, left=v.right, right=v.left))
        assert certify(scop, None, kernel, math)
        assert not certify(scop, None, replace(kernel, stages=swapped), math)
