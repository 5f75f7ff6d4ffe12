"""Which tests a mutant meets, and how long they may take.

In: a mutant.  Out: arguments of pytest, and a limit in seconds of CPU time.
Invariant: the tests pass on the unchanged program, and the limit comes from what they took there.

It is measured which tests execute the line that the mutant changes: it meets these, as far as a budget of seconds goes,
first those that have noticed other mutants of its module for little.  What these do not notice meets the files of tests
that are named for its module or import it, as a whole: measuring ends early where a file is long.
"""

from __future__ import annotations

import hashlib
import json
import re
import resource
import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from cosmic_ray.work_item import TestOutcome
from lines import Lines, Test, chosen
from places import Mutant
from warm import run_tests

Round = tuple[list[str], float]  # arguments of pytest, and a limit in seconds of CPU time

FIRST_FILES = 2  # whose tests are run before those of other files
FEW = 4  # files that import a module: these are about it
NAMED = 4.0  # times the longest that measured tests may take: files that are named for a module
EXTRA_SECONDS = 20.0  # beyond `patience` times what the tests take unchanged: a mutant may compile everything anew


@dataclass(slots=True)
class Suite:
    """Tests to choose from; see the module."""

    options: Sequence[str]  # of pytest
    longest: float  # seconds that any mutant may take
    patience: float
    package: str  # whose lines are measured
    files: Sequence[str]
    seconds: float  # that the tests of a line may take together
    of_file: float  # seconds after which no further test of a file is measured
    rules: Sequence[tuple[str, Sequence[str]]]  # pattern of modules, files named for them: the first that fits
    lines: Lines | None = None
    names: Path = Path()
    noticed: dict[str, Counter[str]] = field(default_factory=dict)  # module -> how many mutants each test noticed
    instead: str | None = None  # arguments of pytest: these tests, whatever the mutant
    limit: float = 0.0  # of those
    passing: set[str] = field(default_factory=set)  # arguments whose tests pass on the unchanged program

    def measure(self, folder: Path) -> None:
        """Measures each file of tests that has not been measured with these sources."""
        if self.instead is not None:
            seconds = passed([*self.options, *shlex.split(self.instead)], self.longest)
            self.limit = self.patience * seconds + EXTRA_SECONDS
            return
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
                record = [f"--record-lines={measured}", f"--record-source={self.package}"]
                passed([*self.options, "-p", "lines", *record, f"--record-seconds={self.of_file}", name], 1e4)
            found.append(measured)
        self.lines, self.names = Lines.read(found), folder / "chosen.json"
        # Once as mutants will meet them: where tests cannot be run, every mutant would seem to be noticed.
        passed(*self._run(chosen(self.lines.tests, 1.0), self.names))

    def rounds_for(self, mutant: Mutant) -> list[Round]:
        """The tests that should notice it, in the order to run them; none where none executes its line."""
        if self.instead is not None:
            return [([*self.options, *shlex.split(self.instead)], self.limit)]
        assert self.lines is not None, "measure first"
        taken = chosen(self.lines.tests_of(mutant.module, mutant.line), self.seconds)
        known = self.noticed.get(mutant.module, Counter())
        taken = sorted(taken, key=lambda test: test[1] / (1 + known[test[0]]))
        # Half a second for each file is spent before the first test runs, and most mutants are noticed soon.
        first = list(dict.fromkeys(name.partition("::")[0] for name, _ in taken))[:FIRST_FILES]
        rounds: tuple[list[Test], list[Test]] = [], []
        for test in taken:
            rounds[test[0].partition("::")[0] not in first].append(test)
        found = [self._run(tests, self.names.with_name(f"chosen-{n}.json")) for n, tests in enumerate(rounds) if tests]
        named = self._named(mutant.module)
        return [*found, ([*self.options, *named], NAMED * self.longest)] if named else found

    def _named(self, module: str) -> list[str]:
        """The files of the first rule that fits, and those that import the module, if these are few."""
        by_rule = next((files for pattern, files in self.rules if fnmatch(module, pattern)), None)
        if by_rule is None:
            return []
        dotted = re.escape(module.removesuffix(".py").replace("/", "."))
        imports = re.compile(rf"^from {dotted} import", re.MULTILINE)
        folder = Path(self.files[0]).parent
        importing = [str(path) for path in folder.glob("test_*.py") if imports.search(path.read_text())]
        return sorted({*by_rule, *(importing if len(importing) <= FEW else ())})

    def confirm(self, arguments: Sequence[str]) -> None:
        """That tests which noticed a mutant pass without it: those of a rule have not been run before."""
        if "--chosen-tests" not in shlex.join(arguments) and shlex.join(arguments) not in self.passing:
            passed(arguments, NAMED * self.longest)
            self.passing.add(shlex.join(arguments))

    def remember(self, mutant: Mutant, test: str) -> None:
        """That a test noticed a mutant."""
        self.noticed.setdefault(mutant.module, Counter())[test] += 1

    def only(self, test: str) -> list[str]:
        """Arguments that run one test."""
        return [*self.options, test]

    def _run(self, taken: Sequence[Test], names: Path) -> Round:
        names.write_text(json.dumps([name for name, _ in taken]))
        files = sorted({name.partition("::")[0] for name, _ in taken})
        limit = min(self.longest, self.patience * sum(seconds for _, seconds in taken) + EXTRA_SECONDS)
        return [*self.options, "-p", "lines", f"--chosen-tests={names}", *files], limit


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
