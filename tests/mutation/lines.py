"""Which tests run which lines: so that a mutant meets the tests that execute it, the cheapest first.

In: a test file, run once on the unchanged program under coverage.py.  Out: `Lines`, kept as JSON: for each test its
seconds and the lines that it executed.  As a plugin of pytest (`-p lines`): `--record-lines FILE` measures,
`--chosen-tests FILE` runs these tests in this order.
Invariant: nothing is deselected for what it asserts; only for not executing the line, or for its price.
"""

from __future__ import annotations

import ast
import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Test = tuple[str, float]  # its name, seconds of CPU time: others' load does not count


@dataclass(frozen=True, slots=True)
class Lines:
    """What is known of the tests of several files."""

    tests: tuple[Test, ...]
    of_module: dict[str, dict[int, tuple[int, ...]]]  # module -> line -> tests, by their place in `tests`

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Lines:
        tests: list[Test] = []
        of_module: dict[str, dict[int, tuple[int, ...]]] = {}
        for path in paths:
            document = json.loads(path.read_text())
            for module, lines in document["lines"].items():
                known = of_module.setdefault(module, {})
                for line, places in lines.items():
                    moved = tuple(place + len(tests) for place in places)
                    known[int(line)] = known.get(int(line), ()) + moved
            tests += [(name, seconds) for name, seconds in document["tests"]]
        return cls(tuple(tests), of_module)

    def tests_of(self, module: str, line: int) -> list[Test]:
        """The tests that execute the statement at a line; for one that runs at import, those that use the module."""
        known = self.of_module.get(module, {})
        first, last, at_import = statement_at(Path(module), line)
        wanted = known if at_import else range(first, last + 1)
        return [self.tests[place] for place in sorted({p for at in wanted for p in known.get(at, ())})]


def statement_at(path: Path, line: int) -> tuple[int, int, bool]:
    """First and last line of the innermost statement at a line (of a compound one, the head); does import run it?"""
    first, last, at_import = line, line, True
    block: Sequence[ast.stmt] = ast.parse(path.read_text()).body
    while True:
        found = next((s for s in block if _start(s) <= line <= (s.end_lineno or s.lineno)), None)
        if found is None:
            return first, last, at_import
        inside = [s for s in ast.walk(found) if isinstance(s, ast.stmt) and s is not found]
        head = min((_start(s) for s in inside), default=(found.end_lineno or found.lineno) + 1)
        first, last = _start(found), max(head - 1, found.lineno)
        if line <= last:
            return first, last, at_import
        at_import = at_import and not isinstance(found, ast.FunctionDef)
        block = [s for s in inside if _start(s) <= line <= (s.end_lineno or s.lineno)]
        block = sorted(block, key=lambda s: (s.end_lineno or s.lineno) - _start(s), reverse=True)[:1]


def _start(statement: ast.stmt) -> int:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(d.lineno for d in decorators)])


def chosen(tests: Sequence[Test], seconds: float) -> list[Test]:
    """Tests in the order to run them, until `seconds` are spent: the cheapest of each function, then the next of each.

    One function's hundred cases tell much the same; a dozen functions do not.
    """
    turns: dict[str, int] = {}
    queue = []
    for name, price in sorted(tests, key=lambda test: test[1]):
        function = name.partition("[")[0]
        turns[function] = turns.get(function, -1) + 1
        queue.append((turns[function], price, name))
    taken: list[Test] = []
    for _, price, name in sorted(queue):
        if price <= seconds:
            seconds -= price
            taken.append((name, price))
    return taken


# --- the plugin ----------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-lines", type=Path, help="where to write which test executes which lines")
    parser.addoption("--record-source", default="comprehension", help="the package whose lines count")
    parser.addoption("--record-seconds", type=float, default=60.0, help="no further test begins after so much CPU time")
    parser.addoption("--chosen-tests", type=Path, help="the tests to run, in order: a JSON list of names")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--record-lines"):
        config.pluginmanager.register(Recorder(config), "line recorder")
    if config.getoption("--chosen-tests"):
        config.pluginmanager.register(Chooser(config.getoption("--chosen-tests")), "test chooser")


class Chooser:
    """Runs the named tests in the given order, and no other."""

    def __init__(self, path: Path) -> None:
        self.places = {name: place for place, name in enumerate(json.loads(path.read_text()))}

    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.places), key=lambda i: self.places[i.nodeid])
        if len(items) != len(self.places) and not session.testsfailed:  # else a mutant broke their import
            missing = sorted(self.places.keys() - {item.nodeid for item in items})
            raise pytest.UsageError(f"not collected, though their lines were measured: {missing}")


class Recorder:
    """Measures each test under coverage.py; its tests come in an order that a hash draws, since time may end."""

    def __init__(self, config: pytest.Config) -> None:
        import coverage

        self.path: Path = config.getoption("--record-lines")
        self.source: str = config.getoption("--record-source")
        self.limit: float = config.getoption("--record-seconds")
        self.seconds: dict[str, float] = {}
        self.coverage = coverage.Coverage(data_file=None, source=[self.source], messages=False, config_file=False)
        self.coverage.start()
        self.began = self.started = time.process_time()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: hashlib.sha256(item.nodeid.encode()).digest())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """True leaves the test out: this hook ends at the first answer."""
        if time.process_time() - self.began > self.limit:
            return True
        self.coverage.switch_context(item.nodeid)
        self.started = time.process_time()
        return None

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] = time.process_time() - self.started
        self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            raise pytest.UsageError(
                f"without any mutant this test fails: {report.nodeid}\n{report.longreprtext[-2000:]}"
            )

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        names = list(self.seconds)
        places = {name: place for place, name in enumerate(names)}
        data = self.coverage.get_data()
        lines: dict[str, Any] = {}
        for path in sorted(data.measured_files()):
            by_line = data.contexts_by_lineno(path)
            found = {line: [places[c] for c in contexts if c in places] for line, contexts in by_line.items()}
            module = Path(path).resolve().relative_to(Path.cwd()).as_posix()
            lines[module] = {line: tests for line, tests in sorted(found.items()) if tests}
        tests = [(name, round(self.seconds[name], 3)) for name in names]
        self.path.write_text(json.dumps({"tests": tests, "lines": lines}))
