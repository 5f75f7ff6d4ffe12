"""Every construct of the language as a CUDA kernel: proved, and in the simulator what the reference says."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from constructs import CONSTRUCTS
from cuda_runs import lowered, reference, simulated

import comprehension as tc
from comprehension.jit.cuda_simulator import CudaSimulator


@pytest.fixture(scope="module")
def simulator():
    with CudaSimulator() as running:
        yield running


@pytest.mark.filterwarnings("ignore::comprehension.errors.ComprehensionWarning")
@pytest.mark.parametrize("name", CONSTRUCTS)
def test_constructs_give_what_the_reference_gives(name, simulator):
    text, inputs, out = CONSTRUCTS[name]
    found = simulated(simulator, text, inputs, out, math="strict")
    for array, expected in zip(found, reference(text, inputs, out), strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


# --- checks of indirect subscripts ----------------------------------------------------------------------------------

GATHER = "def f(float(N) A, int32(K) p) -> (C) { C(k) = A(p(k)) }"
COMPUTED = "def f(float(N) A, int32(K) p) -> (C) { q(k) = p(k) * 2  C(k) = A(q(k)) }"


@pytest.mark.parametrize(("text", "bad"), [(GATHER, 9), (GATHER, -1), (COMPUTED, 5)])
def test_subscripts_out_of_range_are_reported(text, bad, simulator):
    inputs = np.ones(9, np.float32), np.int32([0, 1, bad, 3])
    seen = bad if text == GATHER else 2 * bad
    with pytest.raises(tc.ComprehensionError, match=rf"subscript 0 of A is out of range: {seen}, where 0 to 8"):
        simulated(simulator, text, inputs)


def test_nothing_is_written_if_a_subscript_is_out_of_range(simulator):
    text = "def f(int32(N) I) -> (H) { H(k) = 7 where k in 0:4  H(I(i)) += 1 }"
    found, arrays, _ = lowered(text, [np.int32([1, 4])])
    assert found.generated.checks == 1
    entries = found.generated.entries
    assert [p.name for p in entries[0].parameters] == ["I", "errors"]
    assert all("errors" in [p.name for p in entry.parameters] for entry in entries[1:])
    with pytest.raises(tc.ComprehensionError, match="subscript 0 of H is out of range: 4"):
        simulator.run(found.generated, {**arrays, "H": np.zeros(4, np.int32)})


def test_a_guard_of_an_access_guards_its_check(simulator):
    text = "def f(float(N) A, int32(K) p) -> (C) { C(k) = p(k) < N ? A(p(k)) : 0.0 }"
    inputs = np.float32([1, 2]), np.int32([0, 99, 1])
    assert simulated(simulator, text, inputs)[0].tolist() == [1, 0, 2]


# --- machine code ---------------------------------------------------------------------------------------------------


@pytest.mark.cuda_compile
@pytest.mark.filterwarnings("ignore::comprehension.errors.ComprehensionWarning")
@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="needs the extra cuda: make test-cuda-compile"
)
@pytest.mark.parametrize("name", CONSTRUCTS)
def test_constructs_compile_to_machine_code(name):
    from comprehension.jit.ptx import compile_cuda

    text, inputs, _ = CONSTRUCTS[name]
    for made in compile_cuda(lowered(text, inputs)[0].generated):
        assert made.cubin[:4] == b"\x7fELF"
        assert made.resources.spill_stores == 0, made.resources
