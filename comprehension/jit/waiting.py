"""The waiting primitive of native loops, made and freed by the program: a semaphore at an address.

In: nothing.  Out: a `Semaphore`; `native.semaphore_wait` and `native.semaphore_post` take its address.
Invariant: this module and the two intrinsics are the only places that know which primitive it is: an unnamed
POSIX semaphore, or on macOS, which has none, a dispatch semaphore.
"""

from __future__ import annotations

import ctypes
import functools
import platform

_BYTES = 64  # sem_t is 32 bytes on 64-bit Linux; a cache line of its own


class Semaphore:
    """Counts posts; its address stays valid until the object dies (nobody may wait on it then)."""

    __slots__ = ("_memory", "address")

    def __init__(self) -> None:
        library = _library()
        if _is_macos():
            self._memory: ctypes.Array[ctypes.c_char] | None = None
            self.address = int(library.dispatch_semaphore_create(0))
            return
        self._memory = ctypes.create_string_buffer(2 * _BYTES)
        self.address = (ctypes.addressof(self._memory) + _BYTES - 1) // _BYTES * _BYTES
        if library.sem_init(self.address, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "sem_init failed")

    def post(self) -> None:
        """Lets one waiter go on."""
        library = _library()
        (library.dispatch_semaphore_signal if _is_macos() else library.sem_post)(self.address)

    def wait(self) -> None:
        """Sleeps until a post, without the GIL."""
        library = _library()
        if _is_macos():
            library.dispatch_semaphore_wait(self.address, ctypes.c_uint64(-1))
            return
        while library.sem_wait(self.address) != 0:  # a signal came: its Python handler has run, wait on
            continue


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    if _is_macos():
        library.dispatch_semaphore_create.argtypes = [ctypes.c_long]
        library.dispatch_semaphore_create.restype = ctypes.c_void_p
        library.dispatch_semaphore_signal.argtypes = [ctypes.c_void_p]
        library.dispatch_semaphore_wait.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    else:
        library.sem_init.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint]
        library.sem_post.argtypes = [ctypes.c_void_p]
        library.sem_wait.argtypes = [ctypes.c_void_p]
    return library


@functools.cache
def _is_macos() -> bool:
    return platform.system() == "Darwin"
