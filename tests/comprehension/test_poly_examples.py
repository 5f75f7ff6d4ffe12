"""Random programs through clusters, tiles and local buffers: interpreted exactly, and proved."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, strategies as st
from test_poly_kernels import AVX512, SSE

from comprehension.kernel.build import build_kernel
from comprehension.kernel.interpret import interpret
from comprehension.lang.check import check
from comprehension.lang.loops import LoopProgram, Role
from comprehension.lang.parser import parse
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import Spec
from comprehension.options import MappingOptions
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import Math, schedule
from comprehension.poly.scop import build_scop
from comprehension.testing.examples import Example, examples

OPTIONS = st.builds(
    MappingOptions,
    tile=st.one_of(st.none(), st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple)),
    fusion=st.sampled_from(["max", "min", "preserve"]),
    vectorize=st.sampled_from([None, False, 4]),
)


def program_of(example: Example) -> tuple[LoopProgram, dict[str, Any], dict[str, Any]]:
    """The loop program of an example, its arrays and its scalars by name."""
    tree = parse(example.text)
    parameters = tree.defs[-1].inputs
    assert all(parameter.type is not None for parameter in parameters)
    types = [parameter.type.scalar for parameter in parameters if parameter.type is not None]
    specs = [Spec(np.shape(value), dtype) for value, dtype in zip(example.inputs, types, strict=True)]
    program = infer(check(tree, example.text)["f"], specs)
    scalars = {scalar.name: scalar.dtype for scalar in program.scalars}
    named = dict(zip((p.name for p in parameters), example.inputs, strict=True))
    arrays = {name: np.asarray(value) for name, value in named.items() if name not in scalars}
    return program, arrays, {name: dtype.numpy.type(named[name]) for name, dtype in scalars.items()}


def kernel_results(
    program: LoopProgram, arrays: dict[str, Any], scalars: dict[str, Any], math: Math, options: MappingOptions
) -> dict[str, np.ndarray]:
    scop = build_scop(program)
    dependences = find_dependences(scop)
    machine = SSE if options.vectorize == 4 else AVX512
    tree = schedule(scop, dependences, machine=machine, options=options, math=math)
    kernel = build_kernel(scop, tree, math)
    certificate = certify(scop, dependences, kernel, math)
    assert certificate, f"{certificate}\n{tree}"
    return interpret(kernel, arrays, {}, scalars, order=reversed)


@given(examples(), OPTIONS)
def test_strict_kernels_equal_the_reference_bit_for_bit(example: Example, options: MappingOptions) -> None:
    program, arrays, scalars = program_of(example)
    if any(t.role is Role.ACCUMULATED for t in program.tensors):
        return  # needs the caller's buffer: tested with launches
    expected = run(program, arrays, scalars)
    for name, found in kernel_results(program, arrays, scalars, "strict", options).items():
        np.testing.assert_array_equal(found, expected[name], err_msg=f"{name}\n{example}")


@given(examples(regimes=["integers"]), OPTIONS)
def test_fast_kernels_are_exact_on_small_integers(example: Example, options: MappingOptions) -> None:
    program, arrays, scalars = program_of(example)
    if any(t.role is Role.ACCUMULATED for t in program.tensors):
        return
    expected = run(program, arrays, scalars)
    for name, found in kernel_results(program, arrays, scalars, "fast", options).items():
        np.testing.assert_array_equal(found, expected[name], err_msg=f"{name}\n{example}")
