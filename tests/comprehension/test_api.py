"""The public face beyond plain calls: names, options, hostile sizes, threads, forks, failing compilers."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import comprehension as tc
from comprehension.config import config, statistics
from comprehension.jit import client

SCALE = "def scale(float s, float(N) A) -> (B) { B(i) = s * A(i) }"
MATMUL = "def matmul(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }"
STENCIL = "def stencil(float(N) A, float(M) B) -> (C) { C(i) +=! A(i+j) * B(j) }"


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


# --- modules and names -------------------------------------------------------------------------------------------


def test_defs_are_attributes_and_items() -> None:
    module = tc.define(SCALE + MATMUL)
    assert module.defs == ("scale", "matmul")
    assert module["scale"] is module.scale and [f.name for f in module] == ["scale", "matmul"]
    assert "matmul" in dir(module) and "scale, matmul" in repr(module)
    assert repr(module.scale) == "<comprehension scale(s, A)>"


def test_names_that_python_or_the_module_use() -> None:
    text = "".join(f"def {name}(float(N) A) -> (B) {{ B(i) = A(i) + 1.0 }}" for name in ("lambda", "defs", "exec"))
    module = tc.define(text)
    a = floats(4)
    for function in (getattr(module, "lambda"), module["defs"], module.exec):
        assert (function(a) == a + 1).all()
    assert module.defs == ("lambda", "defs", "exec")


def test_unknown_names_say_what_there_is() -> None:
    module = tc.define(SCALE)
    with pytest.raises(tc.ComprehensionError, match="unknown function 'scal'; there are scale"):
        module["scal"]
    with pytest.raises(tc.ComprehensionError, match="unknown function 0; there are scale"):
        module[0]  # type: ignore[index]
    with pytest.raises(AttributeError, match="there are scale"):
        module.scal


@pytest.mark.parametrize("wrong", [None, 3, b"def f() -> (x) { x = 1 }"])
def test_define_of_something_else(wrong) -> None:
    with pytest.raises(tc.ComprehensionError, match="expected the text of a comprehension"):
        tc.define(wrong)


def test_define_takes_trees() -> None:
    from comprehension.lang.parser import parse

    a = floats(5)
    assert (tc.define(parse(SCALE)).scale(2.0, a) == 2 * a).all()


def test_package_names_are_all_there() -> None:
    for name in tc.__all__:
        assert getattr(tc, name) is not None
    assert set(tc.__all__) <= set(dir(tc))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tc.nothing


# --- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        "naive",
        "pointwise",
        "mlp",
        "conv",
        "group_conv",
        tc.MappingOptions(tile=(3, 5, 7, 2, 9)),
        tc.MappingOptions(tile=(0, 4), vectorize=False),
        tc.MappingOptions(fusion="max", unroll=16, vectorize=4, parallel=False),
        tc.MappingOptions(fusion="min", tile=()),
    ],
)
def test_any_accepted_options_give_a_right_result(options) -> None:
    matmul = tc.define(MATMUL).matmul
    a, b = floats(13, 9), floats(9, 21)
    kernel = matmul.compile(a, b, options=options)
    assert (kernel(a, b) == a @ b).all()
    assert kernel.certificate


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"tile": (-1,)}, "tile must be a tuple of ints"),
        ({"tile": 4}, "tile must be a tuple of ints"),
        ({"tile": (True,)}, "tile must be a tuple of ints"),
        ({"unroll": 0}, "unroll must be an int"),
        ({"vectorize": 3}, "vectorize must be True, False or one of"),
        ({"parallel": 1}, "parallel must be True or False"),
        ({"threads": (2000,)}, "threads must be"),
        ({"threads": (64, 64)}, "not have more than 1024 threads"),
        ({"threads": (1, 1, 1, 1)}, "3 sizes at most"),
        ({"blocks": (0,)}, "blocks must be"),
    ],
)
def test_options_that_cannot_be_right_are_refused(arguments, message: str) -> None:
    with pytest.raises(tc.ComprehensionError, match=message):
        tc.MappingOptions(**arguments)


@pytest.mark.parametrize("arguments", [{"target": "tpu"}, {"math": "sloppy"}, {"options": "magic"}, {"options": 3}])
def test_compile_refuses_unknown_settings(arguments) -> None:
    with pytest.raises(tc.ComprehensionError, match=next(iter(arguments))):
        tc.define(SCALE).scale.compile(1.0, floats(3), **arguments)


def test_kernels_are_made_once_for_each_setting() -> None:
    scale = tc.define(SCALE).scale
    first = scale.compile(1.0, floats(6))
    assert scale.compile(2.0, tc.Spec((6,), "float32")) is not None
    assert scale.compile(2.0, floats(6, seed=1)) is first
    assert scale.compile(2.0, floats(6), math="strict") is not first
    assert scale.compile(2.0, floats(7)) is not first


# --- sizes -------------------------------------------------------------------------------------------------------


def test_preconditions_of_symbolic_kernels_are_checked_at_launch() -> None:
    text = "def f(float(I) B, float(K) C, float(J) D) -> (A) { A(i) +=! B(i) * C(i+j) * D(j) }"
    f = tc.define(text, sizes="symbolic").f
    b, d = floats(5), floats(3)
    for extent in (7, 8):
        c = floats(extent)
        assert (f(b, c, d) == f.reference(b, c, d)).all()
    out = np.full(5, 9, np.float32)
    with pytest.raises(tc.ComprehensionError, match="I = 5"):
        f(b, floats(6), d, out=out)
    assert (out == 9).all()
    with pytest.raises(tc.ComprehensionError):
        tc.define(text).f(b, floats(6), d)


def test_a_symbolic_text_has_one_kernel_for_all_arrays() -> None:
    f = tc.define("def f(float(N) A, float s) -> (B) { B(i) = A(i) + s }", sizes="symbolic").f
    kernel = f.compile(floats(5), 1.0)
    assert f.compile(floats(7), 2.0) is kernel and f.compile_async(floats(8), 3.0).result() is kernel
    assert (kernel(floats(9), 1.0) == floats(9) + np.float32(1)).all() and (f(floats(6), 1.0) == floats(6) + 1).all()
    assert f.kernels == (kernel,)
    five = f.compile(tc.Spec((5,), "float32"), 1.0)  # a Spec means what it says
    with pytest.raises(tc.ComprehensionError):
        five(floats(6), 1.0)


def test_negative_extents_are_errors_and_empty_ones_are_legal() -> None:
    for sizes in ("static", "symbolic"):
        stencil = tc.define(STENCIL, sizes=sizes).stencil
        assert stencil(floats(4), floats(5)).shape == (0,)
        with pytest.raises(tc.ComprehensionError):
            stencil(floats(3), floats(5))


def test_sizes_can_depend_on_scalars() -> None:
    text = "def f(int32 n, float(N) A) -> (B) { B(i) = A(i) where i in 0:n }"
    f = tc.define(text).f
    a = floats(10)
    for n in (0, 3, 10):
        assert (f(n, a) == a[:n]).all() and f.infer(n, a) == tc.Spec((n,), "float32")
        assert (f.reference(n, a) == a[:n]).all()
    with pytest.raises(tc.ComprehensionError):
        f(11, a)


@pytest.mark.parametrize("n", [2**31, 2**40, 2**62])
def test_sizes_beyond_the_language_are_refused(n: int) -> None:
    with pytest.raises(tc.ComprehensionError):
        tc.define(SCALE).scale.compile(tc.Spec((), "float32"), tc.Spec((n,), "float32"))


def test_outputs_beyond_memory_are_refused() -> None:
    outer = tc.define("def outer(float(N) A, float(M) B) -> (C) { C(i,j) = A(i) * B(j) }").outer
    huge = np.broadcast_to(np.float32(1), (2**30,))
    with pytest.raises(tc.ComprehensionError):
        outer(huge, huge)


def test_spec_with_names_makes_a_symbolic_kernel() -> None:
    matmul = tc.define(MATMUL).matmul
    kernel = matmul.compile(tc.Spec(("M", 8), "float32"), tc.Spec((8, "N"), "float32"))
    assert kernel.manifest.sizes == ("M", "N")
    for m, n in ((3, 4), (20, 33)):
        a, b = floats(m, 8), floats(8, n)
        assert (kernel(a, b) == a @ b).all()
    with pytest.raises(tc.ComprehensionError, match=r"compiled for shape \(3, 8\), found \(3, 7\)"):
        kernel(floats(3, 7), floats(8, 4))


# --- the reference ---------------------------------------------------------------------------------------------


def test_reference_writes_into_out() -> None:
    matmul = tc.define(MATMUL).matmul
    a, b = floats(3, 4), floats(4, 5)
    out = np.empty((3, 10), np.float32)[:, ::2]
    assert matmul.reference(a, b, out=out) is out
    assert (out == a @ b).all()


def test_reference_needs_no_compiler(monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the reference asked for a compilation")

    monkeypatch.setattr(client, "submit", refuse)
    a = floats(5)
    assert (tc.define(SCALE).scale.reference(2.0, a) == 2 * a).all()


# --- processes and threads -----------------------------------------------------------------------------------------


def test_the_program_imports_neither_numba_nor_isl() -> None:
    text = f"""
import sys, numpy as np, comprehension as tc
f = tc.define({MATMUL!r}).matmul
a = np.ones((64, 64), np.float32)
assert (f(a, a) == 64).all()
k = f.compile(a, a)
assert k.certificate and k.report.flops and str(k.explain())
print([m for m in ("numba", "islpy", "numba.core") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_importing_is_cheap() -> None:
    text = "import sys, comprehension; print([m for m in ('lark', 'numpy', 'llvmlite') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_threads_that_need_the_same_kernel_compile_it_once(fresh_client) -> None:
    scale = tc.define("def fresh(float s, float(N) A) -> (B) { B(i) = s * A(i) - 3.0 }").fresh
    compiled = statistics.compiled
    results: list[bool] = []
    a = floats(11)

    def work() -> None:
        results.append(bool((scale(2.0, a) == 2 * a - 3).all()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [True] * 8
    assert statistics.compiled == compiled + 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_calls_kernels_of_its_parent_and_compiles_its_own(monkeypatch) -> None:
    monkeypatch.setattr(config, "parallel_ns", 1.0)
    monkeypatch.setattr(config, "threads", 3)
    matmul = tc.define(MATMUL).matmul
    a = floats(40, 40)
    matmul(a, a)
    child = os.fork()
    if child == 0:
        good = False
        try:
            good = bool((matmul(a, a) == a @ a).all())
            b = floats(41, 41)
            good &= bool((matmul(b, b) == b @ b).all())
            client.close()
        finally:
            os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (matmul(a, a) == a @ a).all()


def test_a_compiler_that_fails_is_a_clear_error_and_the_program_lives_on(fresh_client) -> None:
    function = tc.define("def slow(float(N) A) -> (B) { B(i) = A(i) * 5.0 }").slow
    config.compile_seconds = 0.001
    with pytest.raises(tc.CompilationError, match="compiling 'slow' took longer than 0.001 s"):
        function(floats(3))
    config.compile_seconds = 60
    assert (function(floats(3)) == floats(3) * 5).all()


def test_a_refused_cache_is_said_once_and_not_used(fresh_client, tmp_path, monkeypatch, caplog) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setattr(config, "cache_dir", folder)
    before = statistics.fallbacks["cache refused"]
    with caplog.at_level(logging.WARNING, logger="comprehension"):
        for factor in (7, 8):
            f = tc.define(f"def f(float(N) A) -> (B) {{ B(i) = A(i) * {factor}.0 }}").f
            assert (f(floats(3)) == floats(3) * factor).all()
    assert statistics.fallbacks["cache refused"] == before + 1
    assert caplog.text.count("others may write to") == 1
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_sizes_that_do_not_fit_are_refused_before_anything_is_compiled(fresh_client) -> None:
    text = "def f(float(N) A, float(N) B) -> (C) { C(i) = A(i) + B(i + 1) where i in 0:N-3 }"
    module = tc.define(text)
    compiled = statistics.compiled
    with pytest.raises(tc.ComprehensionError) as refused:
        module.f.compile(tc.Spec((2,), "float32"), tc.Spec((2,), "float32"))
    assert refused.value.line == 1 and "^" in str(refused.value)
    assert statistics.compiled == compiled and client.compiler_pid() is None
