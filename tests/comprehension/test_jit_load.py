"""Loading: symbols checked, nothing leaked, broken objects refused."""

from __future__ import annotations

import ctypes
import gc

import llvmlite.binding as llvm
import pytest
from hypothesis import given, strategies as st

from comprehension.codegen.symbols import ALLOWED_SYMBOLS
from comprehension.jit import load
from comprehension.jit.failure import CompilationError, ForbiddenSymbol
from comprehension.jit.objects import BadObject, undefined_symbols

TRIPLES = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-apple-darwin", "arm64-apple-macosx"]


def object_of(text: str, triple: str | None = None) -> bytes:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple) if triple else llvm.Target.from_default_triple()
    return target.create_target_machine(reloc="pic", codemodel="jitdefault").emit_object(llvm.parse_assembly(text))


CALLS = """
declare double @{name}(double)
define double @f(double %x) {{
  %y = call double @{name}(double %x)
  ret double %y
}}
"""


@pytest.mark.parametrize("triple", TRIPLES)
def test_undefined_symbols_are_read_from_every_kind_of_object(triple: str) -> None:
    assert undefined_symbols(object_of(CALLS.format(name="tanh"), triple)) == {"tanh"}
    assert undefined_symbols(object_of("define double @f(double %x) { ret double %x }", triple)) == frozenset()


def test_allowed_functions_are_found() -> None:
    loaded = load.load_object("test", object_of(CALLS.format(name="tanh")), ["f"])
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(loaded.addresses["f"])(0.0) == 0.0


@pytest.mark.parametrize("name", ["system", "PyErr_SetString", "NRT_Free", "dlopen", "sem_wait", "malloc"])
def test_anything_else_is_refused_before_loading(name: str) -> None:
    with pytest.raises(ForbiddenSymbol, match=f"refers to {name}, which a kernel must not call"):
        load.load_object("test", object_of(CALLS.format(name=name)), ["f"])


def test_every_symbol_on_the_list_is_harmless() -> None:
    assert not [name for name in ALLOWED_SYMBOLS if name.startswith(("Py", "NRT", "numba", "sem_", "dl", "exec"))]


def test_an_object_without_the_entry_is_refused() -> None:
    with pytest.raises(CompilationError, match="has no function missing"):
        load.load_object("test", object_of("define double @f(double %x) { ret double %x }"), ["missing"])


@given(st.data())
def test_damaged_objects_are_refused_without_a_crash(data) -> None:
    good = object_of(CALLS.format(name="tanh"))
    size = data.draw(st.integers(0, len(good)))
    cut = bytearray(good[:size])
    for _ in range(data.draw(st.integers(0, 3))):
        if cut:
            cut[data.draw(st.integers(0, len(cut) - 1))] = data.draw(st.integers(0, 255))
    try:
        undefined_symbols(bytes(cut))
    except BadObject:
        return


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_loading_leaks_nothing() -> None:
    data = object_of(CALLS.format(name="tanh"))
    for _ in range(50):
        load.load_object("test", data, ["f"])
    gc.collect()
    before = resident()
    for _ in range(300):
        load.load_object("test", data, ["f"])
    gc.collect()
    assert resident() - before < 2 << 20  # less than 7 KB each; a kept engine takes some 200
