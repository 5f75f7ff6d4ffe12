"""Loads object files with llvmlite alone: the one choke point between bytes and code that runs.

In: an object file and the list of functions that it may call.  Out: a `LoadedObject` with the addresses of
its entries.
Invariant: nothing is loaded whose undefined symbols are not on the list; each object has an engine of its
own, and its code is freed with it: who keeps an address keeps the `LoadedObject`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from comprehension.codegen.symbols import ALLOWED_SYMBOLS
from comprehension.jit.failure import CompilationError, ForbiddenSymbol
from comprehension.jit.objects import BadObject, undefined_symbols

# Our own loops (workers, plans) also wait, wake, yield and hold memory.
RUNTIME_SYMBOLS = ALLOWED_SYMBOLS | {
    "clock_gettime",
    "dispatch_semaphore_signal",
    "dispatch_semaphore_wait",
    "free",
    "posix_memalign",
    "sched_yield",
    "sem_post",
    "sem_wait",
}


class LoadedObject:
    """Machine code in this process: `addresses` by entry name.  Keep it alive while an address is in use."""

    __slots__ = ("__weakref__", "_engine", "addresses", "name")

    def __init__(self, name: str, engine: Any, addresses: dict[str, int]) -> None:
        self.name = name
        self.addresses = addresses
        self._engine = engine

    def __repr__(self) -> str:
        return f"<object {self.name}: {', '.join(self.addresses)}>"


def load_object(
    name: str, data: bytes, entries: Iterable[str], allowed: frozenset[str] = ALLOWED_SYMBOLS
) -> LoadedObject:
    """Loads the object file `data` and finds its `entries`.

    Raises ForbiddenSymbol for a function that is not on the list, CompilationError for bytes that are no
    object or lack an entry.
    """
    llvm = _llvm()
    try:
        needed = undefined_symbols(data)
    except BadObject as reason:
        raise CompilationError(f"object {name!r}: {reason}; clear the cache and compile again") from reason
    if forbidden := sorted(needed - allowed):
        raise ForbiddenSymbol(
            f"object {name!r} refers to {', '.join(forbidden)}, which a kernel must not call; it was not loaded"
        )
    _resolve(needed)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(data))
    engine.finalize_object()
    addresses = {entry: engine.get_function_address(entry) for entry in entries}
    if missing := sorted(entry for entry, address in addresses.items() if not address):
        raise CompilationError(f"object {name!r} has no function {', '.join(missing)}")
    return LoadedObject(name, engine, addresses)


@functools.cache
def _llvm() -> Any:
    import llvmlite.binding as llvm  # 40 ms: not before the first kernel

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def _target_machine() -> Any:
    """A new one for each engine, which takes possession of it."""
    return _llvm().Target.from_default_triple().create_target_machine()


def _resolve(names: Iterable[str]) -> None:
    """Makes sure that each name has an address (the mathematics library need not be linked into Python)."""
    import ctypes
    import ctypes.util

    llvm = _llvm()
    missing = [name for name in names if not llvm.address_of_symbol(name)]
    if not missing:
        return
    libraries = [ctypes.CDLL(None)]
    if found := ctypes.util.find_library("m"):
        libraries.append(ctypes.CDLL(found))
    for name in missing:
        function = next((getattr(each, name) for each in libraries if hasattr(each, name)), None)
        if function is None:
            raise CompilationError(f"this system has no function {name!r}, which the kernel needs")
        llvm.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
