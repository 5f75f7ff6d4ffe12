"""Kernels taken away: called from C and from NumPy where this package is not, with the same results."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import comprehension as tc
from comprehension.jit.c_text import PRELUDE, c_text
from comprehension.jit.expression import evaluate

CC = shutil.which("cc")
needs_compiler = pytest.mark.skipif(CC is None, reason="there is no C compiler `cc` here")

SOFTMAX = """
def softmax(float(N, D) X, float scale) -> (Y) {
    m(n) max=! X(n, d) * scale
    e(n, d) = exp(X(n, d) * scale - m(n))
    s(n) +=! e(n, d)
    Y(n, d) = e(n, d) / s(n)
}
"""
TWO_STAGES = """
def two(float(M, K) A, double(K, N) B) -> (C, double total) {
    C(m, n) +=! double(A(m, k)) * B(k, n)
    total +=! C(m, n)
}
"""
GATHER = "def gather(float(V, D) T, int32(N) I) -> (O) { O(n, d) = T(I(n), d) }"
NAMES = "def main(float(if, static) int_, bool malloc) -> (code) { code(i) +=! (malloc ? int_(i, j) : 0.0) }"
CROP = """
def crop(float(N) X, int32 first, float16(N) H, float16 s) -> (Y) {
    Y(i) = X(i + first) + float(H(i) * s) where i in 0:3
}
"""


def exported(text: str, folder: Path, *inputs: object, sizes: str = "static") -> tuple[tc.Kernel, Path]:
    module = tc.define(text, sizes=sizes)
    kernel = module[module.defs[0]].compile(*inputs)
    return kernel, kernel.export(folder)


def call_elsewhere(loader: Path, arrays: Path, call: str) -> str:
    """Calls the loader in a fresh process without this package; what it printed."""
    program = (
        f"import sys; sys.path.insert(0, {str(loader.parent)!r})\n"
        f"import numpy as np\nfrom {loader.stem} import {loader.stem}\n"
        f"a = np.load({str(arrays)!r}); a = [a[k] for k in sorted(a)]\n"
        f"try:\n    result = {loader.stem}({call})\n"
        "    np.savez('result.npz', *(result if isinstance(result, tuple) else (result,)))\n"
        "except ValueError as error:\n    print(error)\n"
        "assert not any('comprehension' in name for name in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=loader.parent, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_compiler
@pytest.mark.parametrize(
    "text,sizes,inputs",
    [
        (SOFTMAX, "static", (np.linspace(-1, 1, 35, dtype=np.float32).reshape(5, 7), 2.0)),
        (SOFTMAX, "symbolic", (np.linspace(-1, 1, 35, dtype=np.float32).reshape(5, 7), 2.0)),
        (TWO_STAGES, "symbolic", (np.ones((4, 5), np.float32), np.arange(30.0).reshape(5, 6))),
        (GATHER, "static", (np.arange(12, dtype=np.float32).reshape(4, 3), np.array([3, 0, 1], np.int32))),
        (NAMES, "symbolic", (np.ones((3, 4), np.float32), True)),
        (CROP, "static", (np.arange(8, dtype=np.float32), 4, np.ones(8, np.float16), 2.5)),
    ],
    ids=["static", "symbolic", "two stages", "gather", "names", "scalars"],
)
def test_the_loader_gives_what_the_kernel_gives(text: str, sizes: str, inputs: tuple, tmp_path: Path) -> None:
    kernel, loader = exported(text, tmp_path / "taken away", *inputs, sizes=sizes)
    arrays = {f"{k:02}": x for k, x in enumerate(inputs)}
    np.savez(tmp_path / "inputs.npz", **arrays)
    call = ", ".join(f"a[{k}]" if isinstance(x, np.ndarray) else f"a[{k}].item()" for k, x in enumerate(inputs))
    assert call_elsewhere(loader, tmp_path / "inputs.npz", call) == ""
    expected = kernel(*inputs)
    with np.load(loader.parent / "result.npz") as found:
        for name, value in zip(sorted(found), expected if isinstance(expected, tuple) else (expected,), strict=True):
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype == value.dtype


@needs_compiler
def test_the_loader_says_what_the_kernel_says(tmp_path: Path) -> None:
    _, loader = exported(GATHER, tmp_path, tc.Spec((4, 3), "float32"), tc.Spec((3,), "int32"))
    np.savez(tmp_path / "i.npz", a=np.zeros((4, 3), np.float32), b=np.array([0, 9, 1], np.int32))
    assert "subscript 0 of T is out of range" in call_elsewhere(loader, tmp_path / "i.npz", "*a")
    assert "expected shapes ((4, 3), (3,)), found ((4, 3), (1,))" in call_elsewhere(
        loader, tmp_path / "i.npz", "a[0], a[1][:1]"
    )
    specs = tc.Spec(("N",), "float32"), 1, tc.Spec(("N",), "float32"), 1.0
    _, loader = exported(CROP.replace("float16", "float"), tmp_path, *specs, sizes="symbolic")
    np.savez(tmp_path / "i.npz", a=np.zeros(4, np.float32))
    assert "X(i + first)" in call_elsewhere(loader, tmp_path / "i.npz", "a[0], 3, a[0], 1.0")


@needs_compiler
def test_accumulation_goes_on_from_what_is_there(tmp_path: Path) -> None:
    with pytest.warns(tc.ComprehensionWarning):
        _, loader = exported("def add(float(N) X) -> (Y) { Y(i) += X(i) }", tmp_path, tc.Spec((3,), "float32"))
    np.savez(tmp_path / "i.npz", a=np.float32([1, 2, 3]), b=np.float32([10, 20, 30]))
    assert call_elsewhere(loader, tmp_path / "i.npz", "*a") == ""
    with np.load(tmp_path / "result.npz") as found:
        np.testing.assert_array_equal(found["arr_0"], [11, 22, 33])


@needs_compiler
def test_a_c_program_calls_the_kernel(tmp_path: Path) -> None:
    exported(TWO_STAGES, tmp_path, tc.Spec(("M", "K"), "float32"), tc.Spec(("K", "N"), "float64"), sizes="symbolic")
    (tmp_path / "program.c").write_text(
        """
        #include "two.h"
        #include <stdio.h>
        int main(void) {
            float a[2 * 3] = {1, 2, 3, 4, 5, 6};
            double b[3 * 2] = {1, 0, 0, 1, 1, 1}, c[2 * 2], total;
            int64_t code = two(2, 3, 2, a, b, c, &total);
            printf("%d: %g %g %g %g, %g\\n", (int)code, c[0], c[1], c[2], c[3], total);
            return 0;
        }
        """
    )
    flags = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-O1"]
    command = [str(CC), *flags, "-o", "program", "program.c", "two.c", "two.o", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    found = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert found == "0: 4 5 10 11, 30\n"


def test_files_and_readme_name_what_is_there(tmp_path: Path) -> None:
    kernel, loader = exported(SOFTMAX, tmp_path / "a" / "b", tc.Spec((5, 7), "float32"), 1.0)
    names = {path.name for path in loader.parent.iterdir()}
    assert {"softmax.o", "softmax.h", "softmax.c", "softmax.py", "README.md"} <= names
    readme = (loader.parent / "README.md").read_text()
    assert kernel.request.machine.cpu in readme and "int64_t softmax(const float *X, float scale, float *Y);" in readme


def test_kernels_of_strided_arrays_are_not_exported(tmp_path: Path) -> None:
    with pytest.raises(tc.ComprehensionError, match="strided arrays; export one for Specs"):
        exported(SOFTMAX, tmp_path, np.zeros((7, 5), np.float32).T, 1.0)


# --- expressions in C -----------------------------------------------------------------------------------------------


SMALL = st.integers(-9, 9).map(lambda n: f"({n})" if n < 0 else str(n))
TEXTS = st.recursive(
    st.one_of(SMALL, st.sampled_from(["M", "N"])),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), inner, inner),
        st.builds("({} if ({} {} {}) else {})".format, inner, inner, st.sampled_from(["<", "==", ">="]), inner, inner),
        st.builds("({} if ({} or (not {})) else {})".format, inner, inner, inner, inner),
    ),
    max_leaves=8,
)


@needs_compiler
@given(st.lists(TEXTS, min_size=40, max_size=40))
@settings(max_examples=max(4, settings().max_examples // 10))
def test_expressions_mean_the_same_in_c(texts: list[str]) -> None:
    """A few functions at once: each draw is one run of the compiler."""
    places = [{"M": m, "N": n} for m in (-7, 5) for n in (0, 3)]
    texts = [text for text in texts if all(abs(evaluate(text, place)) < 2**60 for place in places)]
    lines = [
        f"int64_t f{k}(int64_t M, int64_t N) {{ return {c_text(text, {'M': 'M', 'N': 'N'})}; }}"
        for k, text in enumerate(texts)
    ]
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "f.c", Path(folder) / "f.so"
        source.write_text("#include <stdint.h>\n" + PRELUDE + "\n".join(lines) + "\n")
        subprocess.run([str(CC), "-w", "-O0", "-shared", "-fPIC", "-o", library, source], check=True, timeout=120)
        loaded = ctypes.CDLL(str(library))
        for k, text in enumerate(texts):
            function = getattr(loaded, f"f{k}")
            function.restype, function.argtypes = ctypes.c_int64, [ctypes.c_int64] * 2
            for place in places:
                assert function(place["M"], place["N"]) == evaluate(text, place), text
