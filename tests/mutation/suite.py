"""Which tests a mutant meets, and how long they may take.

In: a mutant.  Out: arguments of pytest, and a limit in seconds of CPU time.
Invariant: the tests pass on the unchanged program, and the limit comes from what they took there.

Two ways to say which: by rules written by hand (`TestsByModule`), or by measuring which tests execute the line that the
mutant changes (`TestsByLine`): these few, the cheapest of each function first, within a budget of seconds.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from cosmic_ray.work_item import TestOutcome
from lines import Lines, Test, chosen
from places import Mutant
from warm import run_tests

EXTRA_SECONDS = 20.0  # beyond `patience` times what the tests take unchanged: a mutant may compile everything anew


class Suite(Protocol):
    """Tests to choose from."""

    def measure(self, folder: Path) -> None:
        """Runs the unchanged program, if need be."""

    def by_module(self) -> TestsByModule:
        """The same options, but tests by rules."""

    def arguments_for(self, mutant: Mutant) -> tuple[list[str], float]:
        """The tests that should notice it, and the seconds (CPU time) that they may take."""


def passed(arguments: Sequence[str], limit: float) -> float:
    """How long (CPU time) the tests take on the unchanged program, which must pass."""
    start = _children_seconds()
    outcome, output = run_tests(arguments, limit, unchanged=True)
    if outcome is not TestOutcome.SURVIVED:
        raise SystemExit(f"without any mutant these tests fail: {shlex.join(arguments)}\n{output[-4000:]}")
    seconds = _children_seconds() - start
    print(f"unchanged: {seconds:.0f} s for {shlex.join(arguments)}", flush=True)
    return seconds


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(slots=True)
class TestsByModule:
    """The first rule whose pattern fits the module says which tests."""

    options: Sequence[str]  # of pytest
    longest: float
    patience: float
    rules: Sequence[tuple[str, str]]  # pattern of modules, tests
    known: dict[str, float] = field(default_factory=dict)

    def measure(self, folder: Path) -> None:
        """Nothing: the tests of a rule are measured when the first mutant needs them."""

    def by_module(self) -> TestsByModule:
        return self

    def arguments_for(self, mutant: Mutant) -> tuple[list[str], float]:
        tests = next((tests for pattern, tests in self.rules if fnmatch(mutant.module, pattern)), None)
        if tests is None:
            raise SystemExit(f"no rule for {mutant.module}: add one to [[mutation.rules]]")
        arguments = [*self.options, *shlex.split(tests)]
        if tests not in self.known:
            self.known[tests] = min(self.longest, self.patience * passed(arguments, self.longest) + EXTRA_SECONDS)
        return arguments, self.known[tests]


@dataclass(slots=True)
class TestsByLine:
    """The tests that execute the line, as far as they cost no more than `seconds` together."""

    options: Sequence[str]  # of pytest
    longest: float
    patience: float
    package: str  # whose lines are measured
    files: Sequence[str]
    seconds: float
    lines: Lines | None = None
    names: Path = Path()

    def measure(self, folder: Path) -> None:
        """Measures each file of tests that has not been measured with these sources."""
        sources = hashlib.sha256()
        for path in sorted(Path(self.package).rglob("*.py")):
            sources.update(path.read_bytes())
        (folder / "lines").mkdir(exist_ok=True)
        found = []
        for name in self.files:
            digest = sources.copy()
            digest.update(Path(name).read_bytes())
            measured = folder / "lines" / f"{Path(name).stem}-{digest.hexdigest()[:16]}.json"
            if not measured.exists():
                shutil.rmtree(folder / "cache", ignore_errors=True)  # what is compiled already executes no line
                what = ["-p", "lines", f"--record-lines={measured}", f"--record-source={self.package}", name]
                passed([*self.options, *what], 10 * self.longest)
            found.append(measured)
        self.lines, self.names = Lines.read(found), folder / "chosen.json"
        # Once as mutants will meet them: where tests cannot be run, every mutant would seem to be noticed.
        passed(*self._run(chosen(self.lines.tests, 1.0)))

    def by_module(self) -> TestsByModule:
        return TestsByModule(self.options, self.longest, self.patience, ())

    def arguments_for(self, mutant: Mutant) -> tuple[list[str], float]:
        assert self.lines is not None, "measure first"
        taken = chosen(self.lines.tests_of(mutant.module, mutant.line), self.seconds)
        if not taken:
            return [], self.longest
        return self._run(taken)

    def _run(self, taken: Sequence[Test]) -> tuple[list[str], float]:
        self.names.write_text(json.dumps([name for name, _ in taken]))
        files = sorted({name.partition("::")[0] for name, _ in taken})
        limit = min(self.longest, self.patience * sum(seconds for _, seconds in taken) + EXTRA_SECONDS)
        return [*self.options, "-p", "lines", f"--chosen-tests={self.names}", *files], limit
