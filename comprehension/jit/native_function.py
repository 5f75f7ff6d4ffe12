"""The built-in function behind quick calls: `quick_loops.launch`, made callable by this interpreter.

In: nothing.  Out: a `NativeFunction` once its machine code is there, None before and where it cannot be used.
Invariant: nothing is handed out unless Python's and NumPy's objects were seen to be laid out as `quick_layout`
says, on this interpreter, with its lock.  The code is compiled in the background; nobody ever waits for it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from comprehension.jit import client, quick_layout as at
from comprehension.jit.cache import Artifact
from comprehension.jit.failure import CompilationError, note_fallback
from comprehension.jit.load import RUNTIME_SYMBOLS, LoadedObject, load_object
from comprehension.jit.request import SourceRequest
from comprehension.machine import host

PATIENCE = 16  # times that a program asks before the code is compiled
_ENTRY = "launch"
_FASTCALL = 0x0080  # METH_FASTCALL: (self, array of arguments, their number)
_word: Any = ctypes.c_int64.from_address


class _MethodDef(ctypes.Structure):
    """`PyMethodDef`."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("text", ctypes.c_char_p),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class NativeFunction:
    """`bind(door)` is a callable that `quick_loops.launch` serves; a door begins with `references`."""

    references: tuple[int, ...]
    bind: Callable[[Any], Callable[..., Any]]
    keeps: tuple[Any, ...]


def native_function() -> NativeFunction | None:
    """The function, if it is there by now."""
    global _asked, _future, _function
    if _function is not None or _is_refused:
        return _function
    if _future is None:
        _asked += 1
        if _asked >= PATIENCE:
            _future = _submitted()
        return None
    if _future.done():
        _take(_future)
    return _function


def prepare() -> NativeFunction | None:
    """The same, but waits for it."""
    global _asked
    _asked = PATIENCE
    native_function()
    if _future is not None and not _is_refused:
        _future.exception()
    return native_function()


_asked = 0
_future: Future[Artifact] | None = None
_function: NativeFunction | None = None
_is_refused = False
_arena = np.zeros(64, np.int64)  # its control block (`quick_layout`), on a line of its own


def _submitted() -> Future[Artifact] | None:
    global _is_refused
    if not _is_laid_out():
        _is_refused = True  # another interpreter: it works, the long way
        return None
    text = Path(__file__).with_name("quick_loops.py").read_text()
    request = SourceRequest("quick_loops", text, ((_ENTRY, 3),), host())
    try:
        return client.submit(request)
    except CompilationError:  # the program is ending
        return None


def _take(future: Future[Artifact]) -> None:
    global _function, _is_refused
    try:
        loaded = load_object("quick_loops", future.result()[client.OBJECT], [_ENTRY], RUNTIME_SYMBOLS)
    except CompilationError as reason:
        _is_refused = True
        note_fallback("no quick calls", f"{reason}; kernels are launched the long way")
        return
    _function = _made(loaded)


def _made(loaded: LoadedObject) -> NativeFunction:
    method = _MethodDef(b"launch", loaded.addresses[_ENTRY], _FASTCALL, None)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    address = ctypes.addressof(method)
    names = (
        "Py_IncRef", "Py_DecRef", "PyObject_CallNoArgs", "PyBytes_FromStringAndSize", "PyEval_SaveThread",
        "PyEval_RestoreThread",
    )  # fmt: skip
    functions = [ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0 for name in names]
    objects = [id(each) for each in (np.ndarray, tuple, float, None)]
    references = (*objects, *functions, _arena.ctypes.data)
    assert len(references) == at.TICKETS // 8
    return NativeFunction(references, lambda door: make(address, door, "comprehension"), (loaded, method))


def _is_laid_out() -> bool:
    """Whether objects look as `quick_layout` says.

    Values are compared before any word is taken for an address, so that another layout is only ever read.
    """
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
        return False
    if not getattr(sys, "_is_gil_enabled", lambda: True)() or object.__basicsize__ != at.TYPE + 8:
        return False
    if np.ndarray.__basicsize__ < at.FLAGS + 8 or tuple.__basicsize__ != at.ITEMS:
        return False
    number, pair = 1.0 / 3, (number_type := float, np.ndarray)
    if _word(id(number) + at.TYPE).value != id(number_type):
        return False
    if ctypes.c_double.from_address(id(number) + at.FLOAT).value != number:
        return False
    if [_word(id(pair) + at.ITEM_COUNT + 8 * i).value for i in range(3)] != [2, *map(id, pair)]:
        return False
    dense = np.zeros((2, 3, 5), np.float32)
    read_only = np.frombuffer(bytes(8), np.int16)
    return all(_is_array_laid_out(each) for each in (dense, dense[::-1, :, ::2], dense.T, read_only, np.array(1j)))


def _is_array_laid_out(array: Any) -> bool:
    def word(offset: int) -> int:
        return int(_word(id(array) + offset).value)

    values = [word(at.TYPE), word(at.DATA), word(at.RANK) & at.INT, word(at.DTYPE), word(at.FLAGS) & at.INT]
    if values != [id(np.ndarray), array.ctypes.data, array.ndim, id(array.dtype), array.flags.num]:
        return False
    extents = [_word(word(at.SIZES) + 8 * axis).value for axis in range(array.ndim)]
    strides = [_word(word(at.STRIDES) + 8 * axis).value for axis in range(array.ndim)]
    return extents == list(array.shape) and strides == list(array.strides)


def _forget_after_fork() -> None:
    """The arena may have been lent, the code been waited for, by threads that the child does not have."""
    global _future
    _future = None
    _arena[at.BUSY // 8] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
