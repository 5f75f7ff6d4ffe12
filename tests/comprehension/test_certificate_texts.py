"""Kernels that the compiler makes: all are proved, and no change of them is accepted that changes what they compute."""

from __future__ import annotations

import time

import numpy as np
import pytest
import texts
from hypothesis import given, settings, strategies as st
from kernel_mutations import mutants

from comprehension.kernel.interpret import InterpretError, interpret
from comprehension.lang.loops import Role
from comprehension.lang.reference import run
from comprehension.poly.certificate import certify


@pytest.mark.parametrize("math", ["fast", "strict"])
@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", texts.TEXTS)
def test_compiled_kernels_are_proved(name, sizes, math):
    scop, kernel = texts.kernel_of(texts.program_of(name, sizes)[0], math)
    found = certify(scop, None, kernel, math)
    assert found, found.text


@pytest.mark.parametrize("name", ["gather", "lookup", "scatter", "products"])
def test_what_is_not_affine_is_guarded_by_name(name):
    scop, kernel = texts.kernel_of(texts.program_of(name)[0])
    found = certify(scop, None, kernel)
    assert found
    assert any("checked at launch" in guard for guard in found.guards)


def test_affine_kernels_need_no_guard():
    scop, kernel = texts.kernel_of(texts.program_of("softmax")[0])
    assert certify(scop, None, kernel).guards == ()


@pytest.mark.parametrize(("name", "limit"), [("matmul", 0.3), ("attention", 1.0)])
def test_the_proof_is_quick(name, limit):
    """Best of three, in seconds of the processor."""
    scop, kernel = texts.kernel_of(texts.program_of(name)[0])
    times = []
    for _ in range(3):
        started = time.thread_time()
        certify(scop, None, kernel)
        times.append(time.thread_time() - started)
    assert min(times) < limit


SMALL = [name for name in texts.TEXTS if name not in ("conv", "attention", "wavenet", "mlp")]  # slow to interpret


@settings(max_examples=max(40, settings().max_examples))
@given(st.sampled_from(SMALL), st.sampled_from(["fast", "strict"]), st.data())
def test_what_is_accepted_computes_the_same(name, math, data):
    program, arrays, _ = texts.program_of(name)
    scop, kernel = texts.kernel_of(program, math)
    what, mutated = data.draw(st.sampled_from(list(mutants(kernel))), label="mutant")
    if certify(scop, None, mutated, math):
        inputs = {t.name: arrays[t.name] for t in program.tensors if t.role is Role.INPUT}
        out = {t.name: arrays[t.name].copy() for t in program.tensors if t.role is Role.ACCUMULATED}
        expected = run(program, inputs, out=out)
        for order in (iter, reversed):
            try:
                outputs = interpret(mutated, arrays, order=order)
            except InterpretError as error:
                pytest.fail(f"accepted, and wrong: {what}: {error}")
            for tensor, values in expected.items():
                np.testing.assert_allclose(outputs[tensor], values, rtol=1e-5, atol=1e-6, err_msg=what)
