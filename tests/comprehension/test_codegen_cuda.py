"""Generated CUDA source, run in numba's simulator and compiled to machine code: neither needs a GPU."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace

import hand_written as hw
import numpy as np
import pytest
import texts

from comprehension.codegen.cuda import SHARED_BYTES, generate_cuda
from comprehension.codegen.function import CodegenError
from comprehension.jit import request
from comprehension.jit.cuda import lower_to_cuda
from comprehension.jit.cuda_simulator import CudaSimulator, SimulationError
from comprehension.jit.expression import evaluate
from comprehension.kernel import ir
from comprehension.kernel.interpret import interpret
from comprehension.kernel.size_text import text_of
from comprehension.lang.types import ScalarType

VAR, INT = ir.Var, ir.Int


@pytest.fixture(scope="module")
def simulator():
    with CudaSimulator() as running:
        yield running


def lowered(name, sizes="static", math="fast"):
    """A text's CUDA kernel, arrays for its inputs and values of its sizes."""
    program, arrays, values = texts.program_of(name, sizes)
    found = lower_to_cuda(program, math=math)
    assert found.certificate, found.certificate.text
    return found, arrays, values


def memory(kernel, arrays, sizes=None):
    """Arrays for all tensors and workspaces of a kernel."""
    found = dict(arrays)
    for buffer in kernel.buffers:
        if buffer.space in (ir.Space.OUTPUT, ir.Space.WORKSPACE) and buffer.name not in found:
            shape = [extent_of(extent, sizes or {}) for extent in buffer.shape]
            found[buffer.name] = np.zeros(shape, buffer.dtype.numpy)
    return found


def extent_of(extent, sizes):
    """The value of a size expression."""
    return evaluate(text_of(extent), sizes)


# --- whole programs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", texts.TEXTS)
def test_simulated_kernels_agree_with_the_interpreter(name, simulator):
    found, arrays, _ = lowered(name)
    expected = interpret(found.kernel, arrays)
    outputs = simulator.run(found.generated, memory(found.kernel, arrays))
    for output, values in expected.items():
        np.testing.assert_allclose(outputs[output], values, rtol=1e-6, err_msg=output)


@pytest.mark.parametrize("name", ["matmul", "softmax", "stencil", "triangle"])
@pytest.mark.parametrize("math", ["fast", "strict"])
def test_symbolic_kernels_agree_with_the_interpreter(name, math, simulator):
    found, arrays, sizes = lowered(name, "symbolic", math)
    expected = interpret(found.kernel, arrays, sizes)
    outputs = simulator.run(found.generated, memory(found.kernel, arrays, sizes), sizes)
    for output, values in expected.items():
        np.testing.assert_allclose(outputs[output], values, rtol=1e-6, err_msg=output)


def test_a_size_may_have_the_name_of_a_keyword(simulator, monkeypatch):
    text = "def f(float(if, N) A) -> (B) { B(i, j) = A(i, j) + A(0, j) }"
    monkeypatch.setitem(texts.TEXTS, "keyword", (text, [(3, 7)]))
    found, arrays, sizes = lowered("keyword", "symbolic")
    outputs = simulator.run(found.generated, memory(found.kernel, arrays, sizes), sizes)
    np.testing.assert_array_equal(outputs["B"], arrays["A"] + arrays["A"][0])


def test_the_source_is_the_same_for_the_same_program():
    assert lowered("attention")[0] == lowered("attention")[0]


# --- arithmetic -------------------------------------------------------------------------------------


def pointwise(dtype, value, *, result=None, scalars=()):
    """One thread an element: R(i) = value over X(i) and Y(i)."""
    result = result or dtype
    buffers = [ir.Buffer(n, dtype, (VAR("N"),), ir.Space.INPUT) for n in "XY"]
    buffers.append(ir.Buffer("R", result, (VAR("N"),), ir.Space.OUTPUT))
    store = ir.Store("R", (VAR("i"),), value)
    loop = ir.Loop("i", INT(0), VAR("N"), (store,), mapping="thread.x")
    return ir.Kernel("point", ("N",), tuple(scalars), tuple(buffers), (ir.Stage("s", (loop,)),))


def operands(dtype):
    if dtype.is_float:
        special = [0.0, -0.0, 1.5, -2.5, np.nan, np.inf, -np.inf, 1e-40, 3e38, 7.0]
        x = np.array(special, dtype.numpy)
    else:
        info = np.iinfo(dtype.numpy)
        x = np.array([0, 1, 2, 3, 5, 7, info.max, info.min, info.max - 1, 11], dtype.numpy)
    grid = np.meshgrid(x, x)
    return grid[0].ravel(), grid[1].ravel()


def check_pointwise(simulator, kernel, dtype, scalars=None):
    x, y = operands(dtype)
    arrays, sizes = {"X": x, "Y": y}, {"N": x.size}
    expected = interpret(kernel, arrays, sizes, scalars)["R"]
    found = simulator.run(generate_cuda(kernel), memory(kernel, arrays, sizes), sizes, scalars)["R"]
    np.testing.assert_array_equal(found, expected)


X = {t: ir.Load("X", (VAR("i"),), t) for t in ScalarType}
Y = {t: ir.Load("Y", (VAR("i"),), t) for t in ScalarType}


FLOATS, INTEGERS = (ScalarType.FLOAT32, ScalarType.FLOAT64), (ScalarType.INT32, ScalarType.UINT8)
OPERATORS = [(t, op) for t in (*FLOATS, *INTEGERS) for op in ("+", "-", "*", "/", "min", "max")]
OPERATORS += [(t, "%") for t in INTEGERS]


@pytest.mark.parametrize(("dtype", "op"), OPERATORS)
def test_operators_have_the_language_meaning(dtype, op, simulator):
    check_pointwise(simulator, pointwise(dtype, ir.BinaryOp(op, X[dtype], Y[dtype], dtype)), dtype)


@pytest.mark.parametrize("op", ["<", "<=", "==", "!="])
def test_comparisons_make_bools(op, simulator):
    f32, boolean = ScalarType.FLOAT32, ScalarType.BOOL
    compared = ir.BinaryOp(op, X[f32], Y[f32], boolean)
    both = ir.BinaryOp("||", compared, ir.UnaryOp("!", compared, boolean), boolean)
    check_pointwise(simulator, pointwise(f32, compared, result=boolean), f32)
    check_pointwise(simulator, pointwise(f32, both, result=boolean), f32)


def test_selections_conversions_and_functions(simulator):
    f32, i32 = ScalarType.FLOAT32, ScalarType.INT32
    positive = ir.BinaryOp("<", ir.Const(0, i32), X[i32], ScalarType.BOOL)
    root = ir.Builtin("sqrt", (ir.Convert(X[i32], f32),), f32)
    chosen = ir.SelectValue(positive, root, ir.Convert(ir.IndexValue(VAR("i"), i32), f32), f32)
    check_pointwise(simulator, pointwise(i32, chosen, result=f32), i32)


def test_scalars_are_arguments(simulator):
    f32 = ScalarType.FLOAT32
    value = ir.Fma(X[f32], ir.ScalarArg("a", f32), Y[f32], f32)
    check_pointwise(simulator, pointwise(f32, value, scalars=[("a", f32)]), f32, {"a": 1.25})


def test_large_local_buffers_live_in_global_memory(simulator):
    f32 = ScalarType.FLOAT32
    row = ir.Buffer("row", f32, (ir.IntOp("*", VAR("N"), INT(2)),), ir.Space.SCRATCH)
    kernel = pointwise(f32, ir.Load("row", (VAR("i"),), f32))
    fill = ir.Loop("j", INT(0), VAR("N"), (ir.Store("row", (VAR("j"),), ir.Load("X", (VAR("j"),), f32)),))
    loop = kernel.stages[0].body[0]
    loop = ir.Loop("i", loop.lower, loop.upper, (fill, *loop.body), mapping="thread.x")
    kernel = ir.Kernel("point", ("N",), (), (*kernel.buffers, row), (ir.Stage("s", (loop,)),))
    generated = generate_cuda(kernel)
    (scratch,) = [p for p in generated.entries[0].parameters if p.kind == "thread scratch"]
    assert scratch.elements == "(N * 2)"
    check_pointwise(simulator, kernel, f32)


def test_shared_memory_is_used_until_it_is_full(simulator):
    """Of two arrays of three quarters, the second is in global memory; a small one still fits."""
    f32, i = ScalarType.FLOAT32, VAR("i")
    count = SHARED_BYTES // 4 * 3 // 4
    extents = {"first": count, "second": count, "third": 100}
    shared = [ir.Buffer(name, f32, (INT(extent),), ir.Space.SHARED) for name, extent in extents.items()]
    plain = pointwise(f32, ir.Load("third", (i,), f32))
    sources = ["X", *extents]
    copies = [ir.Store(to, (i,), ir.Load(source, (i,), f32)) for source, to in itertools.pairwise(sources)]
    loop = plain.stages[0].body[0]
    stage = ir.Stage("s", (replace(loop, body=(*copies, *loop.body)),))
    kernel = replace(plain, buffers=(*plain.buffers, *shared), stages=(stage,))
    (entry,) = generate_cuda(kernel).entries
    assert [p.name for p in entry.parameters if p.kind == "block scratch"] == ["second"]
    check_pointwise(simulator, kernel, f32)


def test_hostile_names_stay_names(simulator):
    f32 = ScalarType.FLOAT32
    names = {"X": "cuda", "Y": "__import__", "R": "lambda"}
    buffers = [ir.Buffer(n, f32, (INT(4),), ir.Space.INPUT) for n in (names["X"], names["Y"])]
    buffers.append(ir.Buffer(names["R"], f32, (INT(4),), ir.Space.OUTPUT))
    total = ir.BinaryOp("+", ir.Load("cuda", (VAR("np"),), f32), ir.Load("__import__", (VAR("np"),), f32), f32)
    loop = ir.Loop("np", INT(0), INT(4), (ir.Store("lambda", (VAR("np"),), total),), mapping="thread.x")
    kernel = ir.Kernel("exec", (), (), tuple(buffers), (ir.Stage("thread", (loop,)),))
    arrays = {"cuda": np.ones(4, np.float32), "__import__": np.ones(4, np.float32)}
    out = simulator.run(generate_cuda(kernel), memory(kernel, arrays))
    assert out["lambda"].tolist() == [2, 2, 2, 2]


def test_what_the_simulator_meets_is_reported(simulator):
    kernel = pointwise(ScalarType.FLOAT32, ir.Load("X", (ir.IntOp("+", VAR("i"), INT(100)),), ScalarType.FLOAT32))
    arrays = {"X": np.ones(3, np.float32), "Y": np.ones(3, np.float32)}
    with pytest.raises(SimulationError, match="IndexError"):
        simulator.run(generate_cuda(kernel), memory(kernel, arrays, {"N": 3}), {"N": 3})


def test_what_threads_cannot_run_is_refused():
    _, kernel = hw.matmul_plain(4, 4, 4)
    with pytest.raises(CodegenError, match="divide it among blocks and threads first"):
        generate_cuda(kernel)
    _, kernel = hw.matmul_tiled(4, 8, 4)
    (stage,) = kernel.stages
    tiled = replace(stage, parallel=None, body=(replace(stage.parallel, body=stage.body),))
    with pytest.raises(CodegenError, match="threads are made from plain loops"):
        generate_cuda(replace(kernel, stages=(tiled,)))


def test_kernels_are_made_anew_for_other_tools(monkeypatch):
    """A kernel that was cached without NVIDIA's compiler has no machine code."""
    before = request.fingerprint.__wrapped__("comprehension")
    versions = request._version
    monkeypatch.setattr(request, "_version", lambda name: "0.0" if name == "nvidia-nvvm" else versions(name))
    assert request.fingerprint.__wrapped__("comprehension") != before


# --- machine code -----------------------------------------------------------------------------------

COMPILED = ["relu", "matmul", "softmax", "layer_norm", "conv", "scan", "gather", "attention", "moments"]


@pytest.mark.cuda_compile
@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="needs the extra cuda: make test-cuda-compile"
)
def test_kernels_compile_to_machine_code():
    from comprehension.jit.ptx import compile_cuda

    for name in COMPILED:
        for sizes in ("static", "symbolic"):
            generated = lowered(name, sizes)[0].generated
            for capability in ((8, 0), (9, 0)):
                for made in compile_cuda(generated, capability):
                    assert made.cubin[:4] == b"\x7fELF"
                    assert made.resources.registers > 0
                    assert made.resources.spill_stores == 0, f"{name} {sizes}: {made.resources}"


@pytest.mark.cuda_compile
@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="needs the extra cuda: make test-cuda-compile"
)
@pytest.mark.parametrize(("math", "contracted"), [("fast", True), ("strict", False)])
def test_products_are_contracted_only_where_the_kernel_says_so(math, contracted):
    from comprehension.jit.ptx import compile_cuda

    (made,) = compile_cuda(lowered("matmul", math=math)[0].generated)
    assert ("fma.rn.f32" in made.ptx) is contracted
    assert ("mul.rn.f32" in made.ptx) is not contracted
