"""The IR shapes that the scheduler aims at give right results and tight machine code."""

from __future__ import annotations

import re
from collections.abc import Callable

import llvmlite.binding as llvm
import numpy as np
import pytest
from numba import cfunc, types

from benchmarks.codegen_shapes import (
    Case,
    Convolution,
    Runner,
    convolution,
    convolution_case,
    product_case,
    softmax_case,
)
from comprehension.codegen.cpu import generate
from comprehension.jit.emit import load_module
from comprehension.jit.objects import undefined_symbols
from comprehension.kernel import ir
from comprehension.machine import host

SMALL = Convolution(n=2, c=3, o=20, size=11)
WIDE = Convolution(n=1, c=8, o=32, size=28)
CASES: list[Callable[[], Case]] = [
    lambda: product_case(50, 6, 32),
    lambda: product_case(96, 12, 32),
    lambda: convolution_case(SMALL, True, 8, 16),
    lambda: convolution_case(SMALL, False, 6, 16),
    lambda: softmax_case(5, 100, 32),
]


def ran(case: Case) -> Runner:
    runner = Runner(case.kernel, case.inputs)
    runner()
    return runner


@pytest.mark.parametrize("make", CASES)
def test_results(make: Callable[[], Case]) -> None:
    case = make()
    found = ran(case).memory[case.output]
    # sums of up to 96 products of normal numbers, and softmax's exponentials: 200 rounding errors of the largest term
    np.testing.assert_allclose(found, case.expected, rtol=0, atol=200 * 2.0**-24 * np.abs(case.expected).max())


def test_nothing_is_called_from_outside() -> None:
    case = product_case(96, 12, 32)
    assert undefined_symbols(ran(case).object) <= {"memset", "memcpy"}


def assembly(kernel: ir.Kernel) -> str:
    """Machine code of the kernel's last stage as text, for this machine."""
    source = generate(kernel, host())
    function = load_module("shape", source.text)[source.entries[-1]]
    pointers = types.CPointer(types.voidptr), types.CPointer(types.int64), types.voidptr
    compiled = cfunc(types.int64(*pointers, types.int64, types.int64), error_model="numpy")(function)
    target = llvm.Target.from_default_triple().create_target_machine(cpu=host().cpu, features=host().features, opt=3)
    return str(target.emit_assembly(llvm.parse_assembly(compiled.inspect_llvm())))


def inner_loops(text: str) -> list[str]:
    """The bodies of innermost loops that multiply and add: from a label to the jump back to it."""
    found = []
    for label in re.finditer(r"^(\.LBB\d+_\d+):", text, flags=re.MULTILINE):
        back = re.search(rf"\tj\w+\t{re.escape(label[1])}\n", text[label.end() :])
        if back is not None:
            found.append(text[label.end() : label.end() + back.end()])
    busy = [body for body in found if body.count("vfmadd") >= 13]
    return [body for body in busy if not any(other != body and other in body for other in busy)]


def spilled(text: str) -> int:
    """How often a full vector register moves to or from the stack."""
    return len(re.findall(r"zmm\d+.*\(%rsp|\(%rsp.*zmm\d+", text))


@pytest.mark.skipif(host().vector_bits < 512, reason="counts the spills of 512-bit registers")
@pytest.mark.parametrize(
    "make",
    [
        lambda: product_case(192, 12, 32),
        lambda: product_case(192, 24, 16),
        lambda: convolution_case(WIDE, False, 13, 16),
    ],
    ids=["12x32", "24x16", "convolution"],
)
def test_accumulators_stay_in_registers(make: Callable[[], Case]) -> None:
    """The few moves left belong to the transposes around the loop, never to its multiply-adds."""
    loops = inner_loops(assembly(make().kernel))
    assert loops
    assert [spilled(body) for body in loops] == [0] * len(loops)


def test_a_sliding_window_reads_its_rows_again() -> None:
    """Taps that share rows must not keep them in registers where the accumulators need them."""
    wide, narrow = convolution(WIDE, False, 26, 16), convolution(WIDE, False, 6, 16)
    assert "afresh(" in generate(wide, host()).text
    assert "afresh(" not in generate(narrow, host()).text
