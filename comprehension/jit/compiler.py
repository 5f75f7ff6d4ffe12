"""The compiler process: `python -m comprehension.jit.compiler`, framed requests on stdin, answers on stdout.

In: a request's header.  Out: the artifact's files (object file, manifest, certificate, texts of the stages),
or a record of the error; with each answer the process's memory, so that the program can recycle it.
Invariant: one request at a time; nothing is kept between requests; the process ends when its stdin does and,
by an alarm that needs no Python, once a request has used up its processor time, even if the program is long gone.

isl holds the GIL for whole calls and numba takes half a second to import: that is why this is a process of its own.
"""

from __future__ import annotations

import gc
import itertools
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from comprehension.config import config
from comprehension.errors import ComprehensionError, IllegalSchedule
from comprehension.jit.protocol import Message, ProtocolError, read_message, write_message
from comprehension.jit.request import (
    ComprehensionRequest,
    Request,
    ScheduleRequest,
    SourceRequest,
    fingerprint,
    request_from_header,
)

OBJECT = "kernel.o"
STACK_BYTES = 256 << 20  # isl, numba and LLVM recurse over what they are given
RECURSION = 20_000
REQUESTS_BETWEEN_COLLECTIONS = 8
IDLE_SECONDS = 0.2  # after which who asked for a kernel will not ask for the next one at once
ADDRESS_SPACE = 16 << 30


def compile_request(request: Request) -> dict[str, bytes]:
    """The artifact of a request: named files.  Also the way of compiling inside the program (for debuggers)."""
    match request:
        case SourceRequest(name, text, entries, machine):
            from comprehension.jit.emit import emit_loops

            return {OBJECT: emit_loops(name, text, dict(entries), machine), "70-kernel.py": text.encode()}
        case ComprehensionRequest():
            from comprehension.pipeline import compile_comprehension

            return compile_comprehension(request)
        case ScheduleRequest(comprehension):
            from comprehension.pipeline import follow_schedule

            return follow_schedule(comprehension)


def answer(message: Message) -> Message:
    """The response to one request; no exception leaves this function."""
    kind = str(message.header.get("kind"))
    try:
        files = compile_request(request_from_header(message.header))
        return Message({"error": None, "bytes": resident_bytes(), "fingerprint": fingerprint(kind)}, files)
    except Exception as error:
        return Message({"error": describe_error(error), "bytes": resident_bytes(), "fingerprint": fingerprint(kind)})


def describe_error(error: Exception) -> dict[str, Any]:
    """An exception as data: whether it speaks of the user's input or of a fault of ours, and its text."""
    return {
        "type": type(error).__name__,
        "theirs": isinstance(error, ComprehensionError),
        "message": str(error),
        "pair": asdict(error.pair) if isinstance(error, IllegalSchedule) and error.pair is not None else None,
        "traceback": "".join(traceback.format_exception(error))[-20_000:],
    }


def resident_bytes() -> int:
    """Memory that this process holds now (where the system does not say: its largest so far)."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def serve(requests: queue.SimpleQueue[Message], out: IO[bytes]) -> None:
    """Answers requests until the process ends.

    Cyclic garbage is collected once nobody has asked for a moment, or after some requests: inside a compilation, which
    makes half a million objects, the collector would take a third of the time, and an eighth after each of many.
    """
    gc.disable()
    for number in itertools.count(1):
        message = _next(requests)
        _set_alarm(float(message.header.pop("seconds")))
        dump = message.header.pop("dump")
        config.dump = Path(dump) if dump is not None else None
        response = answer(message)
        _set_alarm(0.0)
        try:
            write_message(out, response)
        except OSError:  # the program is gone
            os._exit(0)
        if number == 1:
            gc.collect()
            gc.freeze()  # the libraries stay: later collections need not look at them
        elif number % REQUESTS_BETWEEN_COLLECTIONS == 0:
            gc.collect()


def _next(requests: queue.SimpleQueue[Message]) -> Message:
    """The next request; waits for it without garbage."""
    try:
        return requests.get(timeout=IDLE_SECONDS)
    except queue.Empty:
        gc.collect()
        return requests.get()


def main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the frames
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the program's to handle
    _limit_memory()
    requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
    _start_worker(lambda: serve(requests, out))
    while True:
        try:
            message = read_message(sys.stdin.buffer)
        except (ProtocolError, OSError) as reason:
            print(f"comprehension.jit.compiler: {reason}", file=sys.stderr, flush=True)
            message = None
        if message is None:
            os._exit(0)  # the program closed the pipe: whatever is being compiled, nobody waits for it
        requests.put(message)


def _start_worker(work: Callable[[], None]) -> None:
    """Runs `work` on a thread with a stack deep enough for recursive libraries."""

    def run() -> None:
        try:
            work()
        finally:
            os._exit(1)

    sys.setrecursionlimit(RECURSION)
    threading.stack_size(STACK_BYTES)
    threading.Thread(target=run, name="compile", daemon=True).start()
    threading.stack_size(0)


def _set_alarm(seconds: float) -> None:
    """The system's kernel ends the process after `seconds` of processor time, GIL or not (0: no longer).

    Not by the clock: beside other programs a compilation may take several times as long, and is none the worse for it.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(ADDRESS_SPACE, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main()
