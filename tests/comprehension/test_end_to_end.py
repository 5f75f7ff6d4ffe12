"""Text to result through every room: parsed, scheduled, proved, printed, compiled, loaded, called."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import comprehension as tc
from comprehension.config import config, statistics
from comprehension.jit.arguments import specs_of
from comprehension.jit.load import ALLOWED_SYMBOLS
from comprehension.jit.objects import undefined_symbols
from comprehension.jit.report import Report
from comprehension.jit.specialise import PLAIN, Settings, request_for

MATMUL = "def matmul(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }"

TEXTS = {
    "matmul": (MATMUL, [("float32", (9, 17)), ("float32", (17, 21))]),
    "relu": ("def relu(float(N,D) X) -> (Y) { Y(n,d) = max(X(n,d), 0.0) }", [("float32", (5, 70))]),
    "layer": (
        """
        def layer(float(B,I) X, float(I,O) W, float(O) b) -> (Y) {
          Z(n,o) +=! X(n,i) * W(i,o)
          Y(n,o) = max(Z(n,o) + b(o), 0.0)
        }
        """,
        [("float32", (8, 12)), ("float32", (12, 20)), ("float32", (20,))],
    ),
    "softmax": (
        """
        def softmax(float(N,D) X) -> (Y) {
          m(n) max=! X(n,d)
          e(n,d) = exp(X(n,d) - m(n))
          s(n) +=! e(n,d)
          Y(n,d) = e(n,d) / s(n)
        }
        """,
        [("float32", (6, 33))],
    ),
    "convolution": (
        """
        def convolution(float(N,C,H,W) I, float(F,C,KH,KW) K) -> (O) {
          O(n,f,h,w) +=! I(n,c,h+kh,w+kw) * K(f,c,kh,kw)
        }
        """,
        [("float32", (2, 3, 9, 10)), ("float32", (4, 3, 3, 3))],
    ),
    "moments": (
        """
        def moments(float(N,K) I) -> (mean, var) {
          mean(n) +=! I(n,k)
          mean(n) = mean(n) / K
          var(n) +=! (I(n,k) - mean(n)) * (I(n,k) - mean(n))
          var(n) = var(n) / K
        }
        """,
        [("float32", (5, 64))],
    ),
    "scan": (
        """
        def scan(float(T,D) X) -> (O) {
          O(t,d) = X(t,d) where t in 0:1
          O(t,d) = 0.5 * O(t-1,d) + X(t,d) where t in 1:T
        }
        """,
        [("float32", (7, 5))],
    ),
    "integers": (
        "def integers(int32(N) A, int32(N) B) -> (C) { C(i) = A(i) / B(i) + A(i) % B(i) }",
        [("int32", (50,))] * 2,
    ),
    "doubles": ("def doubles(double(N,M) A) -> (s) { s +=! A(i,j) }", [("float64", (9, 11))]),
    "triangle": ("def triangle(float(N,N) A) -> (s) { s(i) +=! A(i,j) where j in 0:i+1 }", [("float32", (9, 9))]),
    "gather": (
        "def gather(float(V,D) T, int32(N) I) -> (O) { O(n,d) = T(I(n), d) }",
        [("float32", (7, 5)), ("int32", (6,))],
    ),
    "transpose": ("def transpose(float(M,N) A) -> (B) { B(j,i) = A(i,j) }", [("float32", (13, 40))]),
    "guarded": (
        "def guarded(float(N) A) -> (B) { B(i) = i < 1 ? 0.0 : A(i-1) where i in 0:N }",
        [("float32", (20,))],
    ),
}


def inputs_of(name: str, seed: int = 0) -> list[np.ndarray]:
    """Small integers: every order of summation gives the same bits."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 5, shape).astype(dtype) for dtype, shape in TEXTS[name][1]]


def bound(name: str) -> float:
    """Exact but for the two texts that divide or exponentiate (error of exp, sums of 33 and 64 terms, division)."""
    return {"softmax": 40 * 2.0**-23, "moments": 70 * 2.0**-23}.get(name, 0.0)


def assert_close(found, wanted, relative: float) -> None:
    found, wanted = (x if isinstance(x, tuple) else (x,) for x in (found, wanted))
    assert len(found) == len(wanted)
    for left, right in zip(found, wanted, strict=True):
        assert left.dtype == right.dtype and left.shape == right.shape
        scale = np.abs(right).max(initial=1)
        assert np.abs(left.astype(float) - right.astype(float)).max(initial=0) <= relative * scale


@pytest.mark.parametrize("name", TEXTS)
def test_compiled_equals_reference(name: str) -> None:
    function = getattr(tc.define(TEXTS[name][0]), name)
    inputs = inputs_of(name)
    assert_close(function(*inputs), function.reference(*inputs), bound(name))


@pytest.mark.parametrize("name", TEXTS)
def test_one_symbolic_kernel_serves_all_sizes(name: str) -> None:
    function = getattr(tc.define(TEXTS[name][0], sizes="symbolic"), name)
    inputs = inputs_of(name)
    assert_close(function(*inputs), function.reference(*inputs), bound(name))
    kernels = function.kernels
    smaller = [np.ascontiguousarray(x[tuple(slice(0, n - 1 if n > 3 else n) for n in x.shape)]) for x in inputs]
    assert_close(function(*smaller), function.reference(*smaller), bound(name))
    assert len(kernels) == 1 and function.kernels == kernels


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("math", ["fast", "strict"])
def test_every_kernel_has_its_certificate_and_calls_nothing_foreign(name: str, math) -> None:
    kernel = getattr(tc.define(TEXTS[name][0]), name).compile(*inputs_of(name), math=math)
    assert kernel.certificate, str(kernel.certificate)
    assert undefined_symbols(kernel._artifact["kernel.o"]) <= ALLOWED_SYMBOLS


def test_out_is_written_and_returned() -> None:
    matmul = tc.define(MATMUL).matmul
    a, b = inputs_of("matmul")
    wide = np.full((9, 42), -1, np.float32)
    assert matmul(a, b, out=wide[:, ::2]).base is wide
    assert (wide[:, ::2] == a @ b).all() and (wide[:, 1::2] == -1).all()


def test_several_outputs_are_a_tuple() -> None:
    moments = tc.define(TEXTS["moments"][0]).moments
    (x,) = inputs_of("moments")
    mean, var = moments(x)
    outs = np.empty_like(mean), np.empty_like(var)
    assert moments(x, out=outs) is outs
    assert (outs[0] == mean).all() and (outs[1] == var).all()


def test_accumulation_needs_the_callers_buffer() -> None:
    with pytest.warns(tc.ComprehensionWarning):
        add = tc.define("def add(float(N) A) -> (S) { S(i) += A(i) }").add
    a = np.arange(5, dtype=np.float32)
    with pytest.raises(tc.ComprehensionError, match="pass it as out="):
        add(a)
    out = np.ones(5, np.float32)
    assert (add(a, out=out) == a + 1).all()


def test_elements_nobody_writes_are_zero_or_stay() -> None:
    part = tc.define("def part(float(N) A) -> (B) { B(i) = A(i) where i in 2:N }").part
    a = np.arange(1, 6, dtype=np.float32)
    assert part(a).tolist() == [0, 0, 3, 4, 5]
    assert part(a, out=np.full(5, 9, np.float32)).tolist() == [9, 9, 3, 4, 5]


def test_scalars_are_passed_by_value_and_never_specialised_to() -> None:
    scale = tc.define("def scale(float s, float(N) A) -> (B) { B(i) = s * A(i) }").scale
    a = np.arange(5, dtype=np.float32)
    assert (scale(2.0, a) == 2 * a).all()
    seen = statistics.compiled + statistics.cache_hits
    assert (scale(np.float32(3), a) == 3 * a).all() and (scale(4, a) == 4 * a).all()
    assert statistics.compiled + statistics.cache_hits == seen


def test_scalar_result_has_no_dimensions() -> None:
    total = tc.define(TEXTS["doubles"][0]).doubles
    (x,) = inputs_of("doubles")
    assert total(x).shape == () and total(x) == x.sum()


def test_empty_sizes() -> None:
    matmul = tc.define(MATMUL).matmul
    for m, k, n in ((0, 3, 4), (3, 0, 4), (3, 4, 0)):
        a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
        assert (matmul(a, b) == a @ b).all()
        assert matmul.compile(a, b).certificate


def test_indirect_subscripts_are_checked_before_anything_is_written() -> None:
    gather = tc.define(TEXTS["gather"][0]).gather
    table, index = inputs_of("gather")
    out = np.full((6, 5), -1, np.float32)
    for bad in (7, -1):
        wrong = index.copy()
        wrong[3] = bad
        with pytest.raises(tc.ComprehensionError, match=rf"subscript 0 of T is out of range: {bad}, where 0 to 6 "):
            gather(table, wrong, out=out)
        assert (out == -1).all()


def test_a_static_kernel_refuses_other_sizes() -> None:
    kernel = tc.define(MATMUL).matmul.compile(tc.Spec((4, 5), "float32"), tc.Spec((5, 6), "float32"))
    with pytest.raises(tc.ComprehensionError, match=r"compiled for shape \(4, 5\), found \(3, 5\)"):
        kernel(np.ones((3, 5), np.float32), np.ones((5, 6), np.float32))


@pytest.mark.parametrize(
    "shapes,message",
    [
        ([(4, 5)], "expected 2 arguments"),
        ([(4, 5), (6, 7)], r"K is 6 here .* and 5 there"),
        ([(4, 5), (5,)], "expected 2 dimensions, found 1"),
    ],
)
def test_calls_that_do_not_fit_say_why(shapes, message: str) -> None:
    matmul = tc.define(MATMUL).matmul
    with pytest.raises(tc.ComprehensionError, match=message):
        matmul(*[np.ones(shape, np.float32) for shape in shapes])


def test_infer_and_ranges() -> None:
    module = tc.define(TEXTS["convolution"][0])
    inputs = inputs_of("convolution")
    assert module.convolution.infer(*inputs) == tc.Spec((2, 4, 7, 8), "float32")
    ranges = {r.index: (r.lower, r.upper) for r in module.convolution.ranges(*inputs)}
    assert ranges["h"] == ("0", "7") and ranges["kw"] == ("0", "3")


def test_explain_shows_every_stage(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(config, "dump", tmp_path)
    kernel = tc.define(MATMUL).matmul.compile(*inputs_of("matmul"))
    files = [section.file for section in kernel.explain().sections]
    assert files[0] == "00-source.tc" and files[-2:] == ["70-kernel.py", "80-launch.txt"] and files == sorted(files)
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == files
    assert "S0" in kernel.explain().stage("scop") and "m" in kernel.schedule and "def matmul" in kernel.source
    assert kernel.report.flops == 2 * 9 * 17 * 21
    assert "<pre" in kernel._repr_html_() and "60-certificate.txt" in kernel.explain()
    with pytest.raises(KeyError, match="there are source, loops"):
        kernel.explain().stage("nothing")


def test_many_threads_call_one_kernel(monkeypatch) -> None:
    monkeypatch.setattr(config, "parallel_ns", 1.0)
    monkeypatch.setattr(config, "threads", 3)
    softmax = tc.define(TEXTS["softmax"][0]).softmax
    wanted = softmax(*inputs_of("softmax"))
    failures: list[int] = []

    def work(number: int) -> None:
        for _ in range(100):
            if not (softmax(*inputs_of("softmax")) == wanted).all():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


@pytest.mark.parametrize("name", ["matmul", "softmax", "moments"])
def test_results_do_not_depend_on_the_number_of_threads(name: str, monkeypatch) -> None:
    monkeypatch.setattr(config, "parallel_ns", 1.0)
    function = getattr(tc.define(TEXTS[name][0]), name)
    rng = np.random.default_rng(3)
    inputs = [rng.standard_normal(shape).astype(dtype) for dtype, shape in TEXTS[name][1]]
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(config, "threads", threads)
        found = function(*inputs)
        results.append([x.tobytes() for x in (found if isinstance(found, tuple) else (found,))])
    assert results[0] == results[1] == results[2]


def test_compile_async_runs_behind() -> None:
    futures = [
        tc.define(TEXTS[name][0])[name].compile_async(*inputs_of(name)) for name in ("relu", "transpose", "triangle")
    ]
    kernels = [future.result(timeout=120) for future in futures]
    assert [kernel.name for kernel in kernels] == ["relu", "transpose", "triangle"]
    (x,) = inputs_of("relu")
    assert (kernels[0](x) == np.maximum(x, 0)).all()


DETERMINISM = """
import hashlib, sys
import comprehension as tc
from comprehension.jit.arguments import specs_of
from comprehension.jit.specialise import PLAIN, request_for, symbolic
from comprehension.pipeline import STAGES
from comprehension.stages import Compilation
from test_end_to_end import TEXTS, inputs_of
for name in ("matmul", "softmax", "convolution", "moments"):
    for sizes in ("static", "symbolic"):
        function = tc.define(TEXTS[name][0])[name]
        specs = specs_of(function.definition, inputs_of(name))
        if sizes == "symbolic":
            specs = symbolic(function.definition, specs)
        request = request_for(function.name, function.text, specs, PLAIN)
        c = Compilation(request, request.options)
        for stage in STAGES["cpu"]:
            if stage.name == "describe":
                break
            stage.run(c)
        print(name, sizes, hashlib.sha256(c.generated.text.encode()).hexdigest())
"""


def test_source_does_not_depend_on_the_hash_seed() -> None:
    outputs = set()
    for seed in ("0", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.path.dirname(__file__)}
        done = subprocess.run(
            [sys.executable, "-c", DETERMINISM], capture_output=True, text=True, env=environment, timeout=120
        )
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1 and len(outputs.pop().splitlines()) == 8


@pytest.mark.parametrize("name", ["matmul", "softmax", "relu"])
def test_cuda_kernels_have_source_and_certificate_without_a_gpu(name: str) -> None:
    function = tc.define(TEXTS[name][0])[name]
    kernel = function.compile(*inputs_of(name), target="cuda")
    assert kernel.certificate, str(kernel.certificate)
    assert "from numba import cuda" in kernel.source and "cuda.threadIdx" in kernel.source
    assert kernel.manifest.target == "cuda"
    with pytest.raises(tc.ComprehensionError, match="compiled for CUDA"):
        kernel(*inputs_of(name))


def test_a_schedule_that_cannot_be_proved_gives_way_to_a_simpler_one(monkeypatch) -> None:
    from comprehension import pipeline, stages
    from comprehension.kernel.certificate import Certificate

    calls: list[object] = []
    prove = stages.certify

    def doubtful(scop, dependences, kernel, math, budget):
        calls.append(kernel)
        return (
            Certificate({"bounds": False}, (), ("bounds: made up",))
            if len(calls) < 3
            else prove(scop, dependences, kernel, math, budget=budget)
        )

    monkeypatch.setattr(stages, "certify", doubtful)
    function = tc.define(MATMUL).matmul
    request = request_for(function.name, function.text, specs_of(function.definition, inputs_of("matmul")), PLAIN)
    files = pipeline.compile_comprehension(request)
    assert Certificate.from_json(files["certificate.json"].decode())
    assert len(calls) == 3 and b"tile" not in files["70-kernel.py"]
    report = Report.from_json(files["report.json"].decode())
    assert report.fallbacks == ("bounds not proved (bounds: made up)",) * 2
    calls.clear()
    monkeypatch.setattr(stages, "certify", lambda *_, budget: Certificate({"bounds": False}))
    with pytest.raises(pipeline.NotProved):
        pipeline.compile_comprehension(request)


def test_a_mapping_to_threads_that_cannot_be_proved_gives_way_to_a_simpler_schedule(monkeypatch) -> None:
    from comprehension import pipeline, stages

    map_to_gpu = stages.map_to_gpu
    why = "no mapping of stage 0 can be proved: made up"

    def refusing(times: int):
        left = [tc.IllegalSchedule(why)] * times

        def mapped(scop, kernel, options, math):
            if left:
                raise left.pop()
            return map_to_gpu(scop, kernel, options, math)

        return mapped

    function = tc.define(MATMUL).matmul
    request = request_for(
        function.name, function.text, specs_of(function.definition, inputs_of("matmul")), Settings("cuda")
    )
    monkeypatch.setattr(stages, "map_to_gpu", refusing(2))
    files = pipeline.compile_comprehension(request)
    assert b"cuda.threadIdx" in files["70-kernel.py"]
    assert Report.from_json(files["report.json"].decode()).fallbacks == (why,) * 2
    monkeypatch.setattr(stages, "map_to_gpu", refusing(3))
    with pytest.raises(pipeline.NotProved, match="made up"):
        pipeline.compile_comprehension(request)
