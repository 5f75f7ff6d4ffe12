"""Texts beside those that the printer prints: refused, with their line; scalars as numba has them."""

from __future__ import annotations

import ctypes
import gc
import weakref

import numpy as np
import pytest

from comprehension.codegen.lowering import Unknown, lower_module
from comprehension.jit.emit import STAGE_SIGNATURE, emit_by_numba, emit_kernel
from comprehension.jit.load import load_object
from comprehension.machine import host

HEAD = "import numpy as np\nfrom comprehension.codegen.simd import buffer, convert, tile\n\n\n"
STAGE = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)


def module(*lines: str, parameters: str = "buffers, dims, scratch, lo, hi") -> str:
    return HEAD + "\n    ".join([f"def f({parameters}):", *lines]) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (module("while lo < hi:", "    pass", "return 0"), "line 6: while lo < hi"),
        (module("x = lo + missing", "return 0"), "f: missing has no value here"),
        (module("print(lo)", "return 0"), r"line 6: print\(lo\)"),
        (module("x = 1 if lo < hi else np.float32(2.0)", "return 0"), "a choice between"),
        (module("x = lo", "x = np.float32(1.0)", "return 0"), "int64 is wanted, float32 is there"),
        (module("x = buffer(buffers, 0, np.float32)", "x[lo] = hi", "return 0"), "float32 is wanted, int64 is there"),
        (module("lo[0] = 1", "return 0"), "int64 has no elements"),
        (module("x = lo"), "does not end in a return"),
        (module("return 0", parameters="lo, hi"), "is no stage"),
        (module("x = buffer(buffers, 0, np.object_)", "return 0"), "np.object_ is no type"),
    ],
)
def test_what_no_printer_prints_is_refused(text: str, said: str) -> None:
    with pytest.raises(Unknown, match=said):
        lower_module("m", text)


def test_lines_are_asked_for_as_far_ahead_as_the_launch_says() -> None:
    """A distance is a literal or an expression over sizes; the latter was once taken for 0."""

    def code(offset: str, distance: str) -> bytes:
        lines = ["x = buffer(buffers, 0, np.float32)", "n = dims[0]", "t = tile(1, 16)"]
        return emit_kernel("m", module(*lines, f"ahead(t, x, {offset}, 0, {distance})", "return 0"), host())

    assert code("lo", "n") == code("lo + n", "0") != code("lo", "0")
    assert code("lo", "64") == code("lo + 64", "0") != code("lo", "0")


def test_a_name_from_inside_a_loop_has_no_value_outside() -> None:
    with pytest.raises(Unknown, match="inner has no value here"):
        lower_module("m", module("for i in range(lo, hi):", "    inner = i", "return inner"))


def test_a_name_from_under_a_guard_has_its_value_under_the_same_guard_again() -> None:
    lines = ["    if n == lo:", "        made = n * 3", "    if n == lo:", "        total = total + made"]
    text = module("total = 0", "for n in range(lo, hi):", *lines, "return total")
    loaded = load_object("m", emit_kernel("m", text, host()), ["f"])
    nothing = np.zeros(1, np.int64).ctypes.data
    assert STAGE(loaded.addresses["f"])(nothing, nothing, nothing, 5, 9) == 15


@pytest.mark.parametrize(
    "expression",
    [
        "n // 3 - n % 3",
        "min(n, 4) * max(n, -4)",
        "(n if n < 2 and 7 // (n + 100) == 0 or n > 5 else -n)",
        "np.int64(np.uint8(n * 77)) + np.int64(np.int8(n * 77))",
        "convert(np.float32(0.1) * convert(n, np.float32), np.int64) - (1 << 40)",
    ],
)
def test_scalars_are_those_of_numba(expression: str) -> None:
    text = module("n = 0", "for k in range(lo, hi, 2):", "    n = n + k", f"return {expression}")
    made = emit_kernel("m", text, host()), emit_by_numba("m", text, {"f": STAGE_SIGNATURE}, host())
    loaded = [load_object("m", data, ["f"]) for data in made]  # their code goes with them
    ours, numbas = (STAGE(each.addresses["f"]) for each in loaded)
    nothing = np.zeros(1, np.int64).ctypes.data
    for low, high in [(0, 0), (0, 5), (-9, 3), (3, -9), (-7, 0)]:
        assert ours(nothing, nothing, nothing, low, high) == numbas(nothing, nothing, nothing, low, high), (low, high)


def test_a_module_is_freed_with_all_that_was_made_for_it() -> None:
    """Metadata of buffers were kept in a table beside their module, and kept it alive."""
    text = module("x = buffer(buffers, 0, np.float32)", "x[lo] = x[hi]", "return 0")
    made = weakref.ref(lower_module("m", text))
    gc.collect()
    assert made() is None
