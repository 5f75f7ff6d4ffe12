"""Every shape of program through the middle of the compiler: right by interpretation, proved by certificate."""

from __future__ import annotations

import loop_programs as programs
import numpy as np
import pytest

from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.interpret import interpret
from comprehension.kernel.unroll import unroll
from comprehension.lang.loops import LoopProgram, Role
from comprehension.lang.reference import run
from comprehension.lang.tree import Expr, Name, Number
from comprehension.lang.types import ScalarType
from comprehension.machine import Machine
from comprehension.options import MappingOptions
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import Math, schedule
from comprehension.poly.scop import build_scop

AVX512 = Machine("test", "", 512, 32, 32 << 10, 1 << 20, 16 << 20, 2)
SSE = Machine("test", "", 128, 16, 32 << 10, 256 << 10, 8 << 20, 4)

DEFAULT = MappingOptions()
SIZES = {"I": 13, "J": 37, "M": 9, "N": 21, "K": 7, "B": 2, "T": 5, "D": 18, "L": 3, "R": 4}
PROGRAMS = [
    programs.matmul(9, 21, 7),
    programs.matmul(27, 35, 5),
    programs.matmul("M", "N", "K"),
    programs.linear(9, 21, 7),
    programs.linear("M", "N", "K"),
    programs.transposed_matmul(27, 18, 17),
    programs.transposed_matmul("M", "N", "K"),
    programs.batched_matmul(2, 9, 18, 5),
    programs.batched_matmul("B", "M", "N", "K"),
    programs.softmax(5, 37),
    programs.softmax("I", "J"),
    programs.column_sum(13, 37),
    programs.column_sum("I", "J"),
    programs.total(5, 37),
    programs.total("I", "J"),
    programs.transpose(13, 37),
    programs.transpose("I", "J"),
    programs.scan(7, 37),
    programs.scan("T", "D"),
    programs.triangle(21),
    programs.triangle("N"),
    programs.conv2d(2, 2, 6, 7, 3, 3),
    programs.conv2d_padded(2, 2, 6, 7, 3, 3),
    programs.conv2d_weight_gradient(2, 2, 6, 7, 3, 3),
    programs.lookup(5, 3, 4, 37),
    programs.lookup("B", "L", "R", "D"),
    programs.pointwise_chain(5, 37, 6),
    programs.pointwise_chain("I", "J", 3),
]


def compile_program(
    program: LoopProgram, math: Math = "fast", options: MappingOptions = DEFAULT, machine: Machine = AVX512
) -> ir.Kernel:
    """The kernel of a program, its certificate checked."""
    scop = build_scop(program)
    dependences = find_dependences(scop)
    tree = schedule(scop, dependences, machine=machine, options=options, math=math)
    kernel = unroll(build_kernel(scop, tree, math), options.unroll or 1)
    certificate = certify(scop, dependences, kernel, math)
    assert certificate, f"{certificate}\n{tree}"
    return kernel


def inputs_for(program: LoopProgram, seed: int = 0) -> dict[str, np.ndarray]:
    """Small integers in every type: sums are exact in any order."""
    random = np.random.default_rng(seed)
    arrays = {}
    for info in program.tensors:
        if info.role is Role.INPUT:
            shape = tuple(_extent(size) for size in info.shape)
            low, high = (0, 4) if info.dtype is ScalarType.INT32 else (-3, 4)
            arrays[info.name] = random.integers(low, high, shape).astype(info.dtype.numpy)
    return arrays


def _extent(size: Expr) -> int:
    if isinstance(size, Name):
        return SIZES[size.id]
    assert isinstance(size, Number)
    return int(size.value)


def assert_right(program: LoopProgram, kernel: ir.Kernel) -> None:
    arrays = inputs_for(program)
    sizes = {size: SIZES[size] for size in program.sizes}
    expected = run(program, arrays)
    for order in (iter, reversed):
        found = interpret(kernel, arrays, sizes, order=order)
        for name, array in found.items():
            if program.name == "softmax":  # divides: 37 terms in another order, each within half an ulp
                np.testing.assert_allclose(array, expected[name], rtol=40 * 2**-24)
            else:
                np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("math", ["fast", "strict"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: f"{p.name}{'_symbolic' if p.sizes else ''}")
def test_kernels_agree_with_the_reference_and_are_proved(program: LoopProgram, math: Math) -> None:
    assert_right(program, compile_program(program, math))


@pytest.mark.parametrize("program", PROGRAMS[::3], ids=lambda p: p.name)
@pytest.mark.parametrize(
    "options",
    [
        MappingOptions(vectorize=False),
        MappingOptions(vectorize=4),
        MappingOptions(fusion="min"),
        MappingOptions(fusion="max"),
        MappingOptions(parallel=False),
        MappingOptions(tile=(4, 7, 3)),
        MappingOptions(tile=(0, 5)),
        MappingOptions(unroll=8),
    ],
    ids=["scalar", "four lanes", "unfused", "fused", "serial", "tiled", "inner tiled", "unrolled"],
)
def test_any_options_give_a_right_result(program: LoopProgram, options: MappingOptions) -> None:
    assert_right(program, compile_program(program, options=options))


@pytest.mark.parametrize("program", PROGRAMS[::4], ids=lambda p: p.name)
def test_another_machine_gives_a_right_result(program: LoopProgram) -> None:
    assert_right(program, compile_program(program, machine=SSE))


def test_the_same_program_gives_the_same_kernel() -> None:
    for program in (programs.linear(27, 35, 5), programs.softmax("I", "J")):
        assert compile_program(program) == compile_program(program)


def test_a_sequential_loop_below_a_loop_of_one_iteration_is_not_divided() -> None:
    scan = programs.scan(4, 1)
    kernel = compile_program(scan, options=MappingOptions(fusion="min"))
    assert_right(scan, kernel)
    assert all(stage.parallel is None for stage in kernel.stages)


def test_packed_operands_may_have_strides() -> None:
    total = programs.op("+", programs.read("A", "j"), programs.read("B", "k", programs.iop("*", 2, "r")))
    strided = programs.program(
        "strided",
        [programs.given("A", 2), programs.given("B", 2, 12), programs.made("T", 2, 2)],
        [programs.statement("S0", "T", ("j", "k"), total, {"j": 2, "k": 2, "r": 6}, 2, "min", True)],
    )
    assert_right(strided, compile_program(strided))


def test_nested_choices_that_are_the_same_for_a_tile_become_branches() -> None:
    inner = programs.select(programs.iop("<", "i", 2), programs.read("A", "k"), programs.read("B", "k"))
    outer = programs.select(programs.iop("<", "i", 4), inner, programs.number(7.0))
    nested = programs.program(
        "nested",
        [programs.given("A", 20), programs.given("B", 20), programs.made("T", 6, 20)],
        [programs.statement("S0", "T", ("i", "k"), outer, {"i": 6, "k": 20})],
    )
    assert_right(nested, compile_program(nested))
