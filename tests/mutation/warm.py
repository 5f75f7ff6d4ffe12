"""Runs tests in children of a process that has imported what no mutant changes.

In: arguments of pytest, a limit in seconds of CPU time, so that other load on the machine is no timeout.
Out: cosmic-ray's outcome, and what pytest printed.
Invariant: this process never imports what is tested; each child imports it anew, as the file then stands.

Half of the price of a short run is the import of numba, Hypothesis and pytest itself: here it is paid once.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import resource
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from math import ceil
from pathlib import Path

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
ASLEEP = 8.0  # times its limit on the clock: a child that waits for ever
PAUSE = 0.02  # seconds between looks at a child


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
            sys.dont_write_bytecode = not unchanged
            _become_pytest(arguments, printed.fileno())
        status = _status(child, ASLEEP * limit)
        printed.seek(0)
        output = printed.read().decode(errors="replace")
    if (
        status in NOT_RUN and "while loading conftest" not in output
    ):  # a conftest that cannot be imported is the mutant's doing
        raise RuntimeError(f"pytest could not run the tests: {shlex.join(arguments)}\n{output[-2000:]}")
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


def _status(child: int, limit: float) -> int | None:
    """The exit status of a child; None where it was killed for its time."""
    end = time.monotonic() + limit
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(PAUSE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it left running
    return os.waitstatus_to_exitcode(status)


def try_mutant(spec: MutationSpec, arguments: Sequence[str], limit: float) -> WorkResult:
    """Makes one change, runs the tests, takes the change back.  No arguments: no tests, nobody notices."""
    operator = cosmic_ray.plugins.get_operator(spec.operator_name)(**dict(spec.operator_args))
    try:
        with use_mutation(spec.module_path, operator, spec.occurrence) as (before, after):
            if after is None:
                return WorkResult(worker_outcome=WorkerOutcome.NO_TEST)
            outcome, output = (
                run_tests(arguments, limit) if arguments else (TestOutcome.SURVIVED, "no test executes it")
            )
    except (SyntaxError, ValueError):  # the change is no Python
        return WorkResult(WorkerOutcome.EXCEPTION, traceback.format_exc(), TestOutcome.INCOMPETENT)
    diff = "\n".join(difflib.unified_diff(before.split("\n"), after.split("\n"), lineterm="", n=0))
    return WorkResult(WorkerOutcome.NORMAL, output, outcome, diff)
