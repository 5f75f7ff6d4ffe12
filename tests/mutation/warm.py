"""Runs tests in children of a process that has imported what no mutant changes.

In: arguments of pytest, a limit in seconds of CPU time, so that other load on the machine is no timeout.
Out: cosmic-ray's outcome, and what pytest printed.
Invariant: this process never imports what is tested; each child imports it anew, as the file then stands.  Neither CPU
time that others took nor a test that fails now and then counts as a mutant noticed.

Half of the price of a short run is the import of numba, Hypothesis and pytest itself: here it is paid once.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import marshal
import os
import re
import resource
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from types import CodeType

import cosmic_ray.plugins
import pytest
from cosmic_ray.mutating import use_mutation
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkResult

TESTED = ("comprehension", "minitensor", "coexec")
WARM = ("numpy", "numba", "llvmlite.binding", "islpy", "lark", "hypothesis.strategies", "_pytest.main", "rich.console")
HERE = Path(__file__).parent
ALREADY = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"  # nothing warm asserts by `assert`
BROKEN = 70  # the exit status of a child in which pytest itself failed
NOT_RUN = {BROKEN, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED}
ASLEEP = 60.0  # seconds in which nothing of a child could have run, had there been a free processor: it waits for ever
PAUSE = 0.02  # seconds between looks at a child
TRIES = 3  # runs of the tests, while what fails in them does not fail again
LOOKS = 25  # at whether it has ended, for each at whether it sleeps


def run_tests(arguments: Sequence[str], limit: float, unchanged: bool = False) -> tuple[TestOutcome, str]:
    """Runs pytest in the current folder; a child that outlasts its limit is killed with all that it started.

    Only runs of the unchanged program write .pyc files: to these two changes within a second look alike.
    """
    for name in WARM:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert not any(name.partition(".")[0] in TESTED for name in sys.modules), "the program under test is imported"
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CPU, (ceil(limit), ceil(limit) + 5))
            if not unchanged:
                sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
            _become_pytest(arguments, printed.fileno())
        try:
            status = _status(child)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what it left running, or itself where this run is ended
        printed.seek(0)
        output = printed.read().decode(errors="replace")
    if (
        status in NOT_RUN and "while loading conftest" not in output
    ):  # a conftest that cannot be imported is the mutant's doing
        raise RuntimeError(f"pytest could not run the tests: {shlex.join(arguments)}\n{output[-2000:]}")
    if status in (-signal.SIGTERM, -signal.SIGINT):
        raise RuntimeError(f"somebody ended the tests: {shlex.join(arguments)}")
    if status in (None, -signal.SIGXCPU, -signal.SIGKILL):
        return TestOutcome.KILLED, "timeout"
    return (TestOutcome.SURVIVED if status == 0 else TestOutcome.KILLED), output


def _become_pytest(arguments: Sequence[str], output: int) -> None:
    code = BROKEN
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.path[:0] = [os.getcwd(), str(HERE)]
        for name in [name for name, module in sys.modules.items() if _is_of_this_folder(module)]:
            del sys.modules[name]
        code = int(pytest.main(["-W", ALREADY, *arguments]))
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)  # the parent's exit handlers are the parent's


def _is_of_this_folder(module: object) -> bool:
    return Path(getattr(module, "__file__", None) or "/").parent == HERE and module is not sys.modules["__main__"]


def _status(child: int) -> int | None:
    """The exit status of a child; None where it was killed because it slept."""
    asleep, before, looks = 0.0, time.monotonic(), 0
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        time.sleep(PAUSE)
        looks += 1
        if looks % LOOKS == 0:
            now = time.monotonic()
            asleep, before = 0.0 if _is_awake(child) else asleep + now - before, now
        if asleep > ASLEEP:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
    return os.waitstatus_to_exitcode(status)


def _is_awake(child: int) -> bool:
    """Whether a thread of the child or of what it started runs, or would if it were given a processor (Linux)."""
    pending = [child]
    while pending:
        process = pending.pop()
        for thread in Path(f"/proc/{process}/task").glob("*"):
            with contextlib.suppress(OSError):
                if (thread / "stat").read_text().rpartition(")")[2].split()[0] in "RD":
                    return True
                pending += map(int, (thread / "children").read_text().split())
    return not Path("/proc/self/task").exists()


def try_mutant(
    spec: MutationSpec, rounds: Sequence[tuple[list[str], float]], alone: Callable[[str], list[str]] | None
) -> tuple[WorkResult, Sequence[str]]:
    """Makes one change, runs the tests round by round until one notices it, takes the change back.

    No round: no tests, nobody notices.  `alone`: see `_noticed`.  The arguments of the last round are given back too.
    """
    arguments: Sequence[str] = ()
    operator = cosmic_ray.plugins.get_operator(spec.operator_name)(**dict(spec.operator_args))
    times = spec.module_path.stat()
    try:
        with use_mutation(spec.module_path, operator, spec.occurrence) as (before, after):
            if after is None or _means(before) == _means(after):
                return WorkResult(worker_outcome=WorkerOutcome.NO_TEST), arguments
            outcome, output = TestOutcome.SURVIVED, "no test executes it"
            for arguments, limit in rounds:
                outcome, output = _noticed(arguments, limit, alone)
                if outcome is TestOutcome.KILLED:
                    break
    except (SyntaxError, ValueError):  # the change is no Python
        return WorkResult(WorkerOutcome.EXCEPTION, traceback.format_exc(), TestOutcome.INCOMPETENT), arguments
    finally:
        os.utime(spec.module_path, ns=(times.st_atime_ns, times.st_mtime_ns))  # its .pyc is right again
    diff = "\n".join(difflib.unified_diff(before.split("\n"), after.split("\n"), lineterm="", n=0))
    return WorkResult(WorkerOutcome.NORMAL, output, outcome, diff), arguments


def _noticed(
    arguments: Sequence[str], limit: float, alone: Callable[[str], list[str]] | None
) -> tuple[TestOutcome, str]:
    """Whether the tests fail; given arguments that run one test `alone`, whether what fails fails again.

    What does not fails now and then, whatever the change.
    """
    for _ in range(TRIES):
        outcome, output = run_tests(arguments, limit)
        test = failed_test(output)
        if outcome is TestOutcome.SURVIVED or test is None or alone is None:
            return outcome, output
        if run_tests(alone(test), limit)[0] is TestOutcome.KILLED:
            return outcome, output
    return TestOutcome.SURVIVED, f"now and then, but not again: {output}"


def failed_test(output: str) -> str | None:
    """The test that failed first; None where none ran (a module that cannot be imported, a timeout)."""
    found = re.search(r"^FAILED (tests/.+?)(?: - .*)?$", output, re.MULTILINE)
    return None if found is None else found[1]


def _means(source: str) -> bytes:
    """What Python makes of a text, without its places: two texts of one meaning are one program."""
    return marshal.dumps(_without_places(compile(source, "mutant", "exec", dont_inherit=True)))


def _without_places(code: CodeType) -> CodeType:
    constants = tuple(_without_places(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_consts=constants, co_linetable=b"", co_firstlineno=1)
