"""The program's side of compilation: requests become futures, answered by the cache or the compiler process.

In: a `Request`.  Out: a `Future` of its artifact (named files), or of a `CompilationError`.
Invariant: equal requests in flight share one future; the process is started at first need, replaced when it
grew too large, killed at the time limit, never shared across a fork, and gone when the program is.

The limit is of processor time, which a crowded machine does not use up: the process's own alarm ends it.  We kill it
where it does not answer for much longer than that, whatever it does.
"""

from __future__ import annotations

import atexit
import itertools
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

from comprehension import errors
from comprehension.config import config, statistics
from comprehension.errors import ComprehensionError
from comprehension.jit.cache import Artifact, Cache, CacheRefused, default_root
from comprehension.jit.failure import (
    CompilationError,
    CompilerDied,
    CompilerKilled,
    ProgramEnded,
    TimeLimitExceeded,
    log,
    note_fallback,
)
from comprehension.jit.load import RUNTIME_SYMBOLS, LoadedObject, load_object
from comprehension.jit.protocol import Message, ProtocolError, read_message, write_message
from comprehension.jit.request import (
    Request,
    SourceRequest,
    fingerprint,
    key_of,
)
from comprehension.machine import host

OBJECT = "kernel.o"
KNOWN = "source.json"  # what is known of a source whose kernels were made
HAS_ALARM = hasattr(signal, "setitimer")
PATIENCE = (
    10.0  # times the limit that an answer is waited for: on a crowded machine its processor time may take so long
)
LAST_WORDS = 5.0  # seconds that a process has to end by itself after it stopped talking sense
_KILLED = {-int(getattr(signal, name)) for name in ("SIGKILL", "SIGTERM", "SIGHUP") if hasattr(signal, name)}
_THEIRS: Mapping[str, type[ComprehensionError]] = {
    "ComprehensionError": ComprehensionError,
}


class CompilerProcess:
    """One `python -m comprehension.jit.compiler` and its pipes; used by one thread at a time."""

    def __init__(self) -> None:
        if not sys.executable:
            raise CompilationError(
                "cannot start the compiler process: sys.executable is not set (config.in_process works)"
            )
        self._stderr = _place_for_text()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "comprehension.jit.compiler"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if self._stderr is None else self._stderr,
                env=_environment(os.environ),
            )
        except OSError as reason:  # no memory, no further process allowed, no descriptors
            if self._stderr is not None:
                self._stderr.close()
            raise CompilationError(f"cannot start the compiler process: {reason} (config.in_process works)") from reason
        self.bytes = 0
        statistics.processes_started += 1

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Request, seconds: float) -> Message:
        """One request and its answer.  Raises TimeLimitExceeded or CompilerDied; the process is unusable then."""
        assert self._process.stdin is not None and self._process.stdout is not None
        dump = str(config.dump) if config.dump is not None else None
        header = {**request.header(), "seconds": seconds, "dump": dump}
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._process.kill()

        patience = seconds * PATIENCE if HAS_ALARM else seconds
        timer = threading.Timer(patience, expire)
        timer.daemon = True
        timer.start()
        try:
            write_message(self._process.stdin, Message(header))
            response = read_message(self._process.stdout)
        except (OSError, ProtocolError):
            response = None
        finally:
            timer.cancel()
        if response is not None:
            self.bytes = int(response.header["bytes"])
            return response
        code = self._end()
        statistics.processes_lost += 1
        if expired.is_set() or (HAS_ALARM and code == -signal.SIGPROF):
            spent = "of processor time" if not expired.is_set() else f"(no answer within {patience:g} s)"
            raise TimeLimitExceeded(
                f"compiling {request.name!r} took longer than {seconds:g} s {spent} and was stopped; simplify the text,"
                " or raise config.compile_seconds (COMPREHENSION_TIME_LIMIT)"
            )
        details = self.stderr()
        last = details.strip().rpartition("\n")[2]
        kind = CompilerKilled if code in _KILLED else CompilerDied
        raise kind(
            f"the compiler process ended (exit code {code}) while it compiled {request.name!r}"
            + (f"; its last words: {last[:300]}" if last else ""),
            details=details,
        )

    def _end(self) -> int | None:
        """The exit code of a process whose pipes are broken; None where it went on regardless and had to be killed."""
        try:
            return self._process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None

    def stderr(self) -> str:
        """The end of what the process wrote to its standard error."""
        if self._stderr is None:
            return ""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 10_000))
        return self._stderr.read().decode(errors="replace")

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # unsent bytes of a pipe whose reader died
                    log.debug("compiler process %s: its pipe was broken", self.pid)
        self._process.wait()
        if self._stderr is not None:
            self._stderr.close()


class Client:
    """The queue before the compiler process, and the thread that serves it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight: dict[str, Future[Artifact]] = {}
        self._queue: queue.PriorityQueue[tuple[int, int, str, Request | None]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._process: CompilerProcess | None = None
        self._caches: dict[Path, Cache | None] = {}
        self._closed = False

    def submit(
        self, request: Request, urgent: bool = False, on_miss: Callable[[], object] | None = None
    ) -> Future[Artifact]:
        """The future artifact of `request`; `urgent` ones (someone waits) go before the others.

        The cache is looked up here, on the caller's thread: a hit is a finished future.  `on_miss` is called where
        something will have to be compiled; what it raises goes to the caller.
        """
        key = key_of(request)
        with self._lock:
            if self._closed:
                raise ProgramEnded("the program is ending: nothing is compiled any more")
            waiting = self._in_flight.get(key)
            if waiting is not None and not urgent:
                return waiting
        found = self._load(key) if waiting is None else None
        if found is not None:
            return _finished(found)
        if waiting is None and on_miss is not None:
            on_miss()
        with self._lock:
            future = self._in_flight.setdefault(key, Future())
            self._queue.put((0 if urgent else 1, next(self._numbers), key, request))
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="comprehension-client", daemon=True)
                self._thread.start()
        return future

    def close(self) -> None:
        """Stops whatever is being compiled; futures not yet done fail with CompilationError."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            process, thread = self._process, self._thread
            self._queue.put((-1, -1, "", None))
        if process is not None:
            process._process.kill()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)

    def _serve(self) -> None:
        while True:
            _, _, key, request = self._queue.get()
            if request is None:
                break
            with self._lock:
                future = self._in_flight.get(key)
            if future is None:  # asked for twice, and answered
                continue
            self._answer(key, request, future)
        for future in list(self._in_flight.values()):
            if not future.done():
                future.set_exception(ProgramEnded("the program ended before this was compiled"))
        if self._process is not None:
            self._process.close()

    def _answer(self, key: str, request: Request, future: Future[Artifact]) -> None:
        """Compiles one request and settles its future.  A cancelled one is skipped."""
        running = future.set_running_or_notify_cancel()
        outcome: Artifact | BaseException | None = None
        if running:
            try:
                outcome = self._compile(key, request)
            except BaseException as error:  # whatever it is belongs to who waits for the future
                outcome = error
        with self._lock:
            self._in_flight.pop(key, None)
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        elif outcome is not None:
            future.set_result(outcome)

    def _compile(self, key: str, request: Request) -> Artifact:
        started = time.perf_counter()
        response = self._ask(request)
        statistics.compile_seconds += time.perf_counter() - started
        if response.header["error"] is not None:
            raise _error_of(request, response.header["error"])
        statistics.compiled += 1
        if response.header["fingerprint"] == fingerprint(request.header()["kind"]):
            self._store(key, response.files)
        else:
            log.warning("the compiler's files changed since this program began: its artifacts are not cached")
        return response.files

    def _ask(self, request: Request) -> Message:
        if config.in_process:
            from comprehension.jit.compiler import answer

            return answer(Message(request.header()))
        try:
            return self._ask_process(request)
        except CompilerKilled as error:
            # Not by what it compiled, as far as anybody knows; and a new one has the most memory that there is.
            note_fallback("compiler killed", f"{error}.  It is asked once more")
            return self._ask_process(request)

    def _ask_process(self, request: Request) -> Message:
        if self._process is not None and (
            self._process.bytes > config.compiler_bytes or not self._process.is_alive  # killed since its last answer
        ):
            self._process.close()
            self._process = None
        if self._process is None:
            self._process = CompilerProcess()
        try:
            return self._process.ask(request, config.compile_seconds)
        except CompilationError as error:
            process, self._process = self._process, None
            process.close()
            if self._closed:  # it was killed by `close`: nothing is wrong with it
                raise ProgramEnded("the program ended while this was compiled") from error
            raise

    def recall(self, key: str) -> bytes | None:
        """What was remembered under this key."""
        cache = self._cache()
        found = cache.load(key) if cache is not None else None
        return None if found is None else found.get(KNOWN)

    def remember(self, key: str, known: bytes) -> None:
        """Keeps what is known of a source for later programs."""
        self._store(key, {KNOWN: known})

    def _load(self, key: str) -> Artifact | None:
        cache = self._cache()
        found = cache.load(key) if cache is not None else None
        if found is None:
            statistics.cache_misses += 1
        else:
            statistics.cache_hits += 1
        return found

    def _store(self, key: str, artifact: Artifact) -> None:
        cache = self._cache()
        if cache is not None:
            cache.store(key, artifact)

    def _cache(self) -> Cache | None:
        """The cache of the configured folder; None, said once, where that folder is refused."""
        root = default_root()
        if root not in self._caches:
            try:
                self._caches[root] = Cache(root)
            except CacheRefused as reason:
                self._caches[root] = None
                note_fallback("cache refused", f"{reason}.  Until then everything is compiled anew")
        return self._caches[root]


def submit(request: Request, urgent: bool = False, on_miss: Callable[[], object] | None = None) -> Future[Artifact]:
    """The artifact of a request, from this process's client (made at first use)."""
    return _client().submit(request, urgent, on_miss)


def recall(key: str) -> bytes | None:
    """What the cache was told to remember under this key."""
    return _client().recall(key)


def remember(key: str, known: bytes) -> None:
    """Has the cache keep what is known of a source."""
    _client().remember(key, known)


def compile_source(
    text: str, entries: Mapping[str, int], name: str = "runtime", allowed: frozenset[str] = RUNTIME_SYMBOLS
) -> LoadedObject:
    """Compiles loops of our own and loads them: `entries` maps functions to how many words (int64) they take.

    The text is of the kind that `codegen.runtime` says: functions of words, and the intrinsics of
    `comprehension.jit.native` (atomics, waiting, calls by address).  Equal texts come from the cache.

    Raises CompilationError.

    >>> loaded = compile_source("def twice(x):\\n    return 2 * x\\n", {"twice": 1})
    >>> import ctypes
    >>> ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.addresses["twice"])(21)
    42
    """
    request = SourceRequest(name, text, tuple(entries.items()), host())
    artifact = submit(request, urgent=True).result()
    return load_object(name, artifact[OBJECT], entries, allowed)


def close() -> None:
    """Ends this process's compiler; the next request starts another."""
    global _current
    with _current_lock:
        client, _current = _current, None
    if client is not None:
        client.close()


def compiler_pid() -> int | None:
    """The compiler process's id, for reports and tests; None while there is none."""
    client = _current
    process = client._process if client is not None else None
    return process.pid if process is not None else None


_current: Client | None = None
_current_lock = threading.Lock()


def _client() -> Client:
    global _current
    with _current_lock:
        if _current is None:
            _current = Client()
        return _current


def _forget_after_fork() -> None:
    """The parent's compiler answers the parent: a child starts its own, at first need."""
    global _current, _current_lock
    _current, _current_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(close)


def _place_for_text() -> IO[bytes] | None:
    """A file without a name; None where there is no room for one: what is written is lost then, nothing else."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return None


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The program's environment less what would change numba's code, with this package importable."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [environment.get("PYTHONPATH")])]
    kept = {name: value for name, value in environment.items() if not name.startswith("NUMBA_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def _error_of(request: Request, described: dict[str, Any]) -> ComprehensionError:
    if described["theirs"] and described["type"] == "IllegalSchedule":
        pair = described["pair"]
        return errors.IllegalSchedule(described["message"], pair=errors.InstancePair.from_data(pair) if pair else None)
    if described["theirs"] and described["type"] in _THEIRS:
        return _THEIRS[described["type"]](described["message"])
    if described["type"] == "NotProved":
        return CompilationError(
            f"no schedule of {request.name!r} could be proved, not even plain loops; simpler subscripts and conditions "
            f"can be, and .reference computes it without a kernel: {described['message'][:1000]}",
            details=described["traceback"],
        )
    if described["type"] == "OutOfBudget":
        return CompilationError(
            f"compiling {request.name!r} needs more operations than its budget allows ({described['message'][:300]});"
            " divide the text into several defs",
            details=described["traceback"],
        )
    return CompilationError(
        f"internal error while compiling {request.name!r}: {described['type']}: {described['message'][:2000]}",
        details=described["traceback"],
    )


def _finished(artifact: Artifact) -> Future[Artifact]:
    future: Future[Artifact] = Future()
    future.set_result(artifact)
    return future
