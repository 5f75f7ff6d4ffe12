"""The compiler process: it answers, dies, hangs, grows, is orphaned, forked; the program lives on."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from comprehension.codegen.symbols import ALLOWED_SYMBOLS
from comprehension.config import config, statistics
from comprehension.errors import ComprehensionError
from comprehension.jit import client
from comprehension.jit.failure import CompilationError, CompilerDied, ForbiddenSymbol, ProgramEnded, TimeLimitExceeded
from comprehension.jit.load import load_object
from comprehension.jit.protocol import MAGIC, Message, ProtocolError, read_message, write_message
from comprehension.jit.request import SourceRequest, key_of, request_from_header
from comprehension.machine import host

TWICE = "def twice(x):\n    return 2 * x + {}\n"
SIGNATURE = {"twice": 1}
# Python 3.12 and later warn of every fork in a process with threads; that forks work is what is tested.
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
HANG = "import time\ntime.sleep(60)\n"
SPIN = "while True:\n    pass\n"


def call(loaded, argument: int) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.addresses["twice"])(argument)


def source(text: str, name: str = "test") -> SourceRequest:
    return SourceRequest(name, text, tuple(SIGNATURE.items()), host())


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that the compiler process is asked to compile.

    Of counts in `statistics` a test cannot say whose they are: what others have left in flight counts, too.
    """
    texts: list[str] = []
    ask = client.CompilerProcess.ask

    def noted(self: client.CompilerProcess, request: SourceRequest, seconds: float):
        texts.append(request.text)
        return ask(self, request, seconds)

    monkeypatch.setattr(client.CompilerProcess, "ask", noted)
    return texts


def test_source_becomes_code_and_comes_from_the_cache_next_time(fresh_client, asked: list[str]) -> None:
    hits = statistics.cache_hits
    assert call(client.compile_source(TWICE.format(1), SIGNATURE), 20) == 41
    assert asked.count(TWICE.format(1)) == 1
    assert call(client.compile_source(TWICE.format(1), SIGNATURE), 20) == 41
    assert asked.count(TWICE.format(1)) == 1
    assert statistics.cache_hits == hits + 1  # looked up on this thread


def test_requests_cross_the_pipe_unchanged() -> None:
    request = source(TWICE.format(1))
    assert request_from_header(request.header()) == request
    assert key_of(request) == key_of(source(TWICE.format(1)))
    assert key_of(request) != key_of(source(TWICE.format(2)))


def test_broken_source_is_an_internal_error_with_its_traceback(fresh_client) -> None:
    with pytest.raises(CompilationError, match="internal error while compiling 'runtime'") as caught:
        client.compile_source("def twice(x):\n    return undefined_name\n", SIGNATURE)
    assert "undefined_name" in caught.value.details
    assert isinstance(caught.value, ComprehensionError)
    assert call(client.compile_source(TWICE.format(2), SIGNATURE), 1) == 4  # the process lives on


def test_code_that_needs_python_is_not_loaded(fresh_client) -> None:
    raising = "def twice(x):\n    if x == 3:\n        raise ValueError\n    return x\n"
    with pytest.raises(CompilationError, match="line 3: raise ValueError"):
        client.compile_source(raising, SIGNATURE)


def test_code_that_calls_what_is_on_no_list_is_not_loaded(fresh_client) -> None:
    giving_way = "from comprehension.jit.native import yield_processor\n" + TWICE.replace(
        "return", "yield_processor()\n    return"
    )
    with pytest.raises(ForbiddenSymbol, match="sched_yield, which a kernel must not call"):
        client.compile_source(giving_way.format(0), SIGNATURE, allowed=ALLOWED_SYMBOLS)


def kill_compiler(unlike: int | None = None) -> int:
    """Kills the compiler process, once there is another one than `unlike`, while it compiles."""
    assert wait_until(lambda: client.compiler_pid() not in (None, unlike), 60)
    victim = client.compiler_pid()
    assert victim is not None
    time.sleep(0.2)
    os.kill(victim, signal.SIGKILL)
    return victim


SLOW_ONCE = "import os, time\nif not os.path.exists({flag!r}):\n    open({flag!r}, 'w')\n    time.sleep(60)\n"


def test_process_killed_in_the_middle_of_a_compilation_is_asked_once_more(fresh_client, tmp_path: Path) -> None:
    client.compile_source(TWICE.format(3), SIGNATURE)
    lost, known = statistics.processes_lost, statistics.fallbacks["compiler killed"]
    future = client.submit(source(SLOW_ONCE.format(flag=str(tmp_path / "flag")) + TWICE.format(7)))
    assert wait_until((tmp_path / "flag").exists)
    kill_compiler()
    assert call(load_object("test", future.result(timeout=60)[client.OBJECT], SIGNATURE), 1) == 9
    assert statistics.processes_lost == lost + 1
    assert statistics.fallbacks["compiler killed"] == known + 1


def test_process_killed_twice_in_the_middle_of_a_compilation(fresh_client) -> None:
    client.compile_source(TWICE.format(3), SIGNATURE)
    lost = statistics.processes_lost
    future = client.submit(source(HANG + TWICE.format(0)))
    first = kill_compiler()
    second = kill_compiler(unlike=first)
    with pytest.raises(CompilerDied, match=r"exit code -9\) while it compiled 'test'"):
        future.result(timeout=60)
    assert statistics.processes_lost == lost + 2
    assert call(client.compile_source(TWICE.format(4), SIGNATURE), 1) == 6
    assert client.compiler_pid() not in (None, first, second)


def test_process_killed_with_nothing_to_do_is_replaced_without_a_word(fresh_client) -> None:
    client.compile_source(TWICE.format(3), SIGNATURE)
    victim, known = client.compiler_pid(), statistics.fallbacks.total()
    assert victim is not None
    process = client._client()._process
    os.kill(victim, signal.SIGKILL)
    assert process is not None and wait_until(lambda: not process.is_alive)  # all of its threads, that is
    assert call(client.compile_source(TWICE.format(5), SIGNATURE), 1) == 7
    assert client.compiler_pid() not in (None, victim)
    assert statistics.fallbacks.total() == known


def test_process_that_breaks_by_itself_is_not_asked_again(fresh_client, asked: list[str]) -> None:
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGABRT)\n" + TWICE.format(0)
    with pytest.raises(CompilerDied, match="exit code -6"):
        client.compile_source(text, SIGNATURE)
    assert asked.count(text) == 1
    assert call(client.compile_source(TWICE.format(6), SIGNATURE), 1) == 8


def test_process_that_closes_its_pipe_and_lives_on_is_ended(fresh_client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would never answer, and its time limit is of processor time, which it does not spend."""
    monkeypatch.setattr(client, "LAST_WORDS", 0.2)
    client.compile_source(TWICE.format(3), SIGNATURE)
    victim = client.compiler_pid()
    closes = "import os\nos.closerange(3, 99)\n"
    with pytest.raises(CompilerDied):
        client.submit(source(closes + HANG + TWICE.format(0))).result(timeout=60)
    assert victim is not None and not alive(victim)
    assert call(client.compile_source(TWICE.format(8), SIGNATURE), 1) == 10


def test_what_memory_does_not_suffice_for_is_an_error_and_the_process_lives_on(fresh_client) -> None:
    client.compile_source(TWICE.format(3), SIGNATURE)
    process = client.compiler_pid()
    with pytest.raises(CompilationError, match="MemoryError"):
        client.compile_source("large = bytearray(1 << 36)\n" + TWICE.format(0), SIGNATURE)
    assert call(client.compile_source(TWICE.format(9), SIGNATURE), 1) == 11
    assert client.compiler_pid() == process


def test_without_room_for_a_temporary_file_there_is_a_compiler_all_the_same(fresh_client, monkeypatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(client.tempfile, "TemporaryFile", full)
    assert call(client.compile_source(TWICE.format(1), SIGNATURE), 1) == 3
    with pytest.raises(CompilerDied, match="exit code 7"):
        client.compile_source("import os\nos._exit(7)\n" + TWICE.format(0), SIGNATURE)


def test_a_process_that_cannot_be_started_is_an_error_that_says_why(fresh_client, monkeypatch) -> None:
    def none_left(*_arguments: object, **_options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch, pytest.raises(CompilationError, match=r"cannot start .*temporarily"):
        patch.setattr(client.subprocess, "Popen", none_left)
        client.compile_source(TWICE.format(2), SIGNATURE)
    assert call(client.compile_source(TWICE.format(2), SIGNATURE), 1) == 4


@pytest.mark.parametrize(
    ("text", "why"), [(SPIN, r"of processor time"), (HANG, r"\(no answer within 3 s\)")], ids=["busy", "asleep"]
)
def test_time_limit_ends_the_process_and_says_so(fresh_client, text: str, why: str) -> None:
    client.compile_source(TWICE.format(5), SIGNATURE)
    victim = client.compiler_pid()
    config.compile_seconds = 0.3
    with pytest.raises(TimeLimitExceeded, match=rf"took longer than 0\.3 s {why} and was stopped.*compile_seconds"):
        client.submit(source(text + TWICE.format(0))).result(timeout=60)
    assert victim is not None and wait_until(lambda: not alive(victim))
    config.compile_seconds = 60
    assert call(client.compile_source(TWICE.format(6), SIGNATURE), 1) == 8


def test_time_that_other_programs_take_does_not_count(fresh_client) -> None:
    client.compile_source(TWICE.format(10), SIGNATURE)  # the libraries are loaded now
    config.compile_seconds = 1.5
    waits = "import time\ntime.sleep(2)\n"
    assert call(client.compile_source(waits + TWICE.format(11), SIGNATURE), 1) == 13


def test_process_that_grew_too_large_is_replaced(fresh_client) -> None:
    client.compile_source(TWICE.format(7), SIGNATURE)
    first = client.compiler_pid()
    client.compile_source(TWICE.format(8), SIGNATURE)
    assert client.compiler_pid() == first
    config.compiler_bytes = 1
    client.compile_source(TWICE.format(9), SIGNATURE)
    assert client.compiler_pid() != first
    assert first is not None and not alive(first)


def test_what_a_library_prints_does_not_get_between_the_messages(fresh_client) -> None:
    noisy = "import os, sys\nprint('noise')\nos.write(1, b'more noise')\nsys.stdout.flush()\n"
    assert call(client.compile_source(noisy + TWICE.format(1), SIGNATURE), 1) == 3


def test_equal_requests_in_flight_are_compiled_once(fresh_client, asked: list[str]) -> None:
    slow = "import time\ntime.sleep(0.3)\n" + TWICE.format(11)
    futures = [client.submit(source(slow)) for _ in range(5)]
    assert len({id(future) for future in futures}) == 1
    futures[0].result(timeout=60)
    assert asked.count(slow) == 1


def test_urgent_requests_go_first_and_cancelled_ones_are_skipped(fresh_client) -> None:
    client.compile_source(TWICE.format(0), SIGNATURE)
    order: list[str] = []
    blocker = client.submit(source("import time\ntime.sleep(0.5)\n" + TWICE.format(12)))
    time.sleep(0.1)
    waiting = {name: client.submit(source(TWICE.format(n), name)) for n, name in enumerate(["a", "b", "c"], 20)}
    urgent = client.submit(source(TWICE.format(30), "urgent"), urgent=True)
    assert waiting["b"].cancel()
    for name, future in [*waiting.items(), ("urgent", urgent)]:
        future.add_done_callback(lambda f, name=name: None if f.cancelled() else order.append(name))
    blocker.result(timeout=60)
    waiting["c"].result(timeout=60)
    assert order == ["urgent", "a", "c"]
    with pytest.raises(CancelledError):
        waiting["b"].result()


def test_many_threads_compile_through_one_process(fresh_client) -> None:
    client.compile_source(TWICE.format(0), SIGNATURE)
    started = statistics.processes_started
    results: list[int] = []

    def work(number: int) -> None:
        for turn in range(4):
            results.append(call(client.compile_source(TWICE.format(number * turn), SIGNATURE), 1) - number * turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [2] * 24
    assert statistics.processes_started == started


@FORKS
def test_child_of_a_fork_has_a_compiler_of_its_own(fresh_client) -> None:
    client.compile_source(TWICE.format(13), SIGNATURE)
    parents = client.compiler_pid()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            good = client.compiler_pid() is None
            good &= call(client.compile_source(TWICE.format(14), SIGNATURE), 1) == 16
            good &= client.compiler_pid() not in (None, parents)
            client.close()
            os.write(write, b"good" if good else b"bad")
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 10) == b"good"
    os.waitpid(child, 0)
    os.close(read)
    assert call(client.compile_source(TWICE.format(15), SIGNATURE), 1) == 17
    assert client.compiler_pid() == parents


PROGRAM = """
import os, sys, time
from comprehension.jit import client
from comprehension.jit.request import SourceRequest
from comprehension.machine import host
client.compile_source({twice!r}, {{"twice": 1}})
future = client.submit(SourceRequest("hang", {hang!r}, (("twice", 1),), host()))
time.sleep(0.2)
print(client.compiler_pid(), flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["sys.exit(0)", "os.kill(os.getpid(), 9)", "os._exit(3)"])
def test_the_process_ends_with_the_program_whatever_is_being_compiled(fresh_client, end: str) -> None:
    text = PROGRAM.format(twice=TWICE.format(16), hang=HANG + TWICE.format(0), end=end)
    environment = {**os.environ, "COMPREHENSION_CACHE": str(config.cache_dir)}
    started = time.monotonic()
    finished = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment, timeout=60)
    assert time.monotonic() - started < 30
    pid = int(finished.stdout.split()[0])
    assert wait_until(lambda: not alive(pid))
    if end == "sys.exit(0)":
        assert finished.returncode == 0
        assert finished.stderr == ""


def test_what_the_end_of_the_program_interrupts_is_no_failure_of_the_compiler(fresh_client) -> None:
    client.compile_source(TWICE.format(20), SIGNATURE)  # the process is there
    future = client.submit(source(HANG + TWICE.format(0)))
    assert wait_until(future.running)
    client.close()
    with pytest.raises(ProgramEnded):
        future.result(10)


def test_user_environment_does_not_reach_the_compiler(fresh_client, monkeypatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    assert call(client.compile_source(TWICE.format(17), SIGNATURE), 1) == 19


def test_compiling_inside_the_program_is_a_switch(fresh_client) -> None:
    config.in_process = True
    started = statistics.processes_started
    assert call(client.compile_source(TWICE.format(18), SIGNATURE), 1) == 20
    assert statistics.processes_started == started


@pytest.mark.parametrize(
    "broken",
    [
        MAGIC,
        b"HTTP/1.1 200 OK\r\n\r\n",
        MAGIC + b"\xff\xff\xff\xff",
        MAGIC + b"\x05\x00\x00\x00{",
        MAGIC + b"\x02\x00\x00\x00[]",
        MAGIC + b'\x13\x00\x00\x00{"files":[["a",9]]}x',
        MAGIC + b'\x14\x00\x00\x00{"files":[["a",-1]]}',
    ],
)
def test_broken_frames_are_refused(broken: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_message(io.BytesIO(broken))


def test_frames_round_trip() -> None:
    stream = io.BytesIO()
    messages = [Message({"n": 1}, {"a": b"\0\1", "b": b""}), Message({"text": "µ\n"}, {})]
    for message in messages:
        write_message(stream, message)
    stream.seek(0)
    assert [read_message(stream), read_message(stream), read_message(stream)] == [*messages, None]


def test_texts_are_dumped_by_the_compiler_as_they_come(fresh_client, tmp_path, monkeypatch) -> None:
    import comprehension as tc
    from comprehension.jit.specialise import PLAIN, request_for

    monkeypatch.setattr(config, "dump", tmp_path / "dump")
    function = tc.define("def f(float(N) A) -> (B) { B(i) = A(i) + 12.5 }").f
    request = request_for(function.name, function.text, (tc.Spec((3,), "float32"),), PLAIN)
    client.submit(request).result(timeout=60)  # no kernel is made of it here
    (folder,) = (tmp_path / "dump").iterdir()
    assert {"00-source.tc", "20-scop.txt", "70-kernel.py"} <= {path.name for path in folder.iterdir()}
