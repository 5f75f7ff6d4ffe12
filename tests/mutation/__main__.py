"""Mutation testing: change the program in one place, run the tests that should notice, count.  `make mutate`.

    python tests/mutation tests/mutation/coexec.toml [--sample 10] [--again survived] [--keep]

In: a file of cosmic-ray's format with a table `mutation` beside (sample, seed, which tests).
Out: lines as they come, and `benchmarks/results/mutation.json`.
Invariant: the working tree is never touched.  Mutants are made in a copy of it under build/mutation/, whose session
(`session.sqlite`, for `cr-report` and its like) remembers what has been run: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult
from places import Mutant, mutants, stratified
from suite import Suite
from warm import TESTED, failed_test, try_mutant

Results = dict[str, WorkResult]  # by the names of mutants

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/mutation.json"
ADDRESS_SPACE = 16 << 30  # bytes: a mutant that allocates without end fails instead of taking the machine down


@dataclass(frozen=True, slots=True)
class Sample:
    """Modules that are judged together, and of how many of their mutants (of each module one at least)."""

    name: str
    modules: tuple[str, ...]
    count: int


def modules_of(paths: Iterable[str]) -> tuple[str, ...]:
    """These modules, and those in these folders."""
    found = [[ROOT / path] if path.endswith(".py") else sorted((ROOT / path).rglob("*.py")) for path in paths]
    return tuple(path.relative_to(ROOT).as_posix() for part in found for path in part)


@dataclass(frozen=True, slots=True)
class Group:
    """What one configuration file says."""

    name: str
    seed: str
    samples: tuple[Sample, ...]
    twice: bool  # a test that fails must fail again: where threads and clocks take part
    suite: Suite

    @classmethod
    def read(cls, path: Path) -> Group:
        document = tomllib.loads(path.read_text())
        ray, ours = document["cosmic-ray"], document["mutation"]

        def files(names: str) -> list[str]:
            paths = [Path(ours["folder"]) / name for name in names.split()]
            return [str(path.with_name(f"test_{path.name}.py")) for path in paths]

        suite = Suite(
            options=shlex.split(ray["test-command"].removeprefix("python -m pytest")),
            longest=ray["timeout"],
            patience=ours["patience"],
            package=ours["package"],
            files=files(ours["tests"]),
            seconds=ours["seconds"],
            of_file=ours["seconds-of-file"],
            rules=[(rule["modules"], files(rule["tests"])) for rule in ours["rules"]],
        )
        samples = tuple(Sample(part["name"], modules_of(part["paths"]), part["count"]) for part in ours["samples"])
        return cls(path.stem, ours["seed"], samples, ours["twice"], suite)


def copy_tree(target: Path) -> None:
    """What git knows or would add, as it stands now: the copy that mutants are made in."""
    shutil.rmtree(target, ignore_errors=True)
    for name in filter(None, _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    # Unchanged modules are compiled once.  A changed file is newer than its .pyc, and no mutant's run writes one.
    subprocess.run([sys.executable, "-m", "compileall", "-q", *TESTED], cwd=target, check=True)
    changed = _git("status", "--porcelain", "--", *TESTED)
    (target.parent / "commit").write_text(_git("rev-parse", "HEAD").strip() + (" and changes" if changed else ""))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout.decode()


def prepare(folder: Path) -> None:
    """From here on in the copy, with a compile cache of its own and the compiler inside the tests' process."""
    os.chdir(folder / "tree")
    os.environ.update(
        PYTHONPATH=f"{folder / 'tree'}:{Path(__file__).parent}",
        COMPREHENSION_CACHE=str(folder / "cache"),  # its keys hold a hash of the compiler's files, mutant or not
        COMPREHENSION_IN_PROCESS="1",
        HYPOTHESIS_PROFILE="mutate",
    )
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def found_in(group: Group, database: WorkDB, find: bool) -> dict[str, list[Mutant]]:
    """All mutants of each sample's modules.  The session has them all; those beyond the sample stay pending there."""
    every = [Path(module) for sample in group.samples for module in sample.modules]
    digest = hashlib.sha256(group.seed.encode())
    for path in every:
        digest.update(path.read_bytes())
    stamp = Path("../sources.sha256")  # of what the session's mutants were found in, which takes minutes
    if find and (not stamp.exists() or stamp.read_text() != digest.hexdigest()):
        results = dict(database.results)
        found = mutants(every, group.seed)
        database.clear()
        database.add_work_items([mutant.work_item for mutant in found])
        for name in results.keys() & {mutant.name for mutant in found}:
            database.set_result(name, results[name])
        stamp.write_text(digest.hexdigest())
    known = [Mutant(item.job_id, item.mutations[0]) for item in database.work_items]
    return {sample.name: [mutant for mutant in known if mutant.module in sample.modules] for sample in group.samples}


def outcome_of(result: WorkResult) -> str:
    """killed, timeout, survived, or impossible where the change makes no other program."""
    if result.worker_outcome is not WorkerOutcome.NORMAL or result.test_outcome is TestOutcome.INCOMPETENT:
        return "impossible"
    if result.test_outcome is TestOutcome.SURVIVED:
        return "survived"
    return "timeout" if result.output == "timeout" else "killed"


def row_of(mutant: Mutant, result: WorkResult, explained: dict[str, str]) -> dict[str, Any]:
    changed = [line for line in (result.diff or "").splitlines() if re.match(r"[+-](?![+-]{2} )", line)]
    failed = failed_test(result.output or "")
    row: dict[str, Any] = {
        "name": mutant.name,
        "module": mutant.module,
        "line": mutant.line,
        "operator": mutant.spec.operator_name.removeprefix("core/"),
        "change": [line[0] + " " + line[1:].strip() for line in changed if line.strip() != "+--- mutation diff ---"],
        "outcome": outcome_of(result),
    }
    if failed:
        row["test"] = failed
    if row["outcome"] == "survived" and mutant.name in explained:
        row["why"] = explained[mutant.name]
    return row


def run(group: Group, database: WorkDB, taken: Iterable[Mutant], results: Results) -> None:
    for mutant in taken:
        if mutant.name in results:
            continue
        start = time.perf_counter()
        rounds, alone = group.suite.rounds_for(mutant), group.suite.only if group.twice else None
        result, arguments = try_mutant(mutant.spec, rounds, alone)
        if outcome_of(result) in ("killed", "timeout"):
            group.suite.confirm(arguments)
        seconds = time.perf_counter() - start
        database.set_result(mutant.name, result)
        results[mutant.name] = result
        row = row_of(mutant, result, {})
        if "test" in row:
            group.suite.remember(mutant, row["test"])
        change = " -> ".join(line[2:] for line in row["change"])
        print(f"{row['outcome']:9} {seconds:4.0f} s {mutant.name} {mutant.module}:{mutant.line} {change}", flush=True)


def record(
    group: Group, commit: str, known: dict[str, list[Mutant]], taken: dict[str, list[Mutant]], results: Results
) -> None:
    """The group's part of the table, written anew; other groups' parts stay."""
    table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    before = table.get(group.name, {"packages": {}})["packages"]
    missed = {
        row["name"]
        for part in before.values()
        for row in part["rows"]
        if "survived" in (row["outcome"], row.get("at first"))
    }
    explained = tomllib.loads((Path(__file__).parent / "survivors.toml").read_text())
    packages = {}
    for name, chosen in taken.items():
        rows = [row_of(mutant, results[mutant.name], explained) for mutant in chosen if mutant.name in results]
        for row in rows:
            if row["name"] in missed and row["outcome"] != "survived":
                row["at first"] = "survived"
        count = Count.of(rows, Counter(mutant.module for mutant in known[name]))
        packages[name] = {**count.to_json(), "rows": rows}
        print(f"{name}: {count}")
    table[group.name] = {"seed": group.seed, "commit": commit, "packages": packages}
    RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


@dataclass(frozen=True, slots=True)
class Count:
    """How a sample came out.  An equivalent mutant is no other program, so that nobody could notice it.

    The shares are of all places: each mutant stands for as many as its module has for each one that was run.
    """

    places: int
    killed: int
    timeout: int
    survived: int
    equivalent: int
    impossible: int
    found_since: int  # of those killed: not at first, but by tests written for them
    now: Share
    at_first: Share

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]], places: Counter[str]) -> Count:
        same = [row for row in rows if row.get("why", "").startswith("equivalent")]
        count = {o: sum(row["outcome"] == o for row in rows) for o in ("killed", "timeout", "survived", "impossible")}
        since = sum("at first" in row for row in rows)
        counted = [row for row in rows if row["outcome"] != "impossible" and row not in same]
        ran = Counter(row["module"] for row in counted)
        weights = [places[row["module"]] / ran[row["module"]] for row in counted]
        noticed = [row["outcome"] != "survived" for row in counted]
        at_first = [found and "at first" not in row for found, row in zip(noticed, counted, strict=True)]
        return cls(
            **{**count, "survived": count["survived"] - len(same)},
            places=places.total(),
            equivalent=len(same),
            found_since=since,
            now=Share.of(noticed, weights),
            at_first=Share.of(at_first, weights),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        noticed = self.killed + self.timeout
        return (
            f"{noticed} of {noticed + self.survived} noticed, of all {self.places} places {self.now};"
            f" at first {self.at_first}; {self.found_since} by tests written since;"
            f" {self.survived} survived, {self.equivalent} equivalent, {self.impossible} impossible"
        )


@dataclass(frozen=True, slots=True)
class Share:
    """An estimated share and its 95 % interval: Wilson's, for as many draws as the weights are worth (Kish)."""

    share: float
    low: float
    high: float

    @classmethod
    def of(cls, found: Sequence[bool], weights: Sequence[float]) -> Share:
        total = sum(weights)
        if total == 0:
            return cls(0.0, 0.0, 1.0)
        share = sum(weight for weight, yes in zip(weights, found, strict=True) if yes) / total
        low, high = interval(share, total**2 / sum(weight**2 for weight in weights))
        return cls(round(share, 3), round(low, 3), round(high, 3))

    def __str__(self) -> str:
        return f"{self.share:.0%} (95 %: {self.low:.0%} to {self.high:.0%})"


def interval(share: float, count: float, z: float = 1.96) -> tuple[float, float]:
    spread = z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * (share * (1 - share) / count + spread / (4 * count)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python tests/mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("configuration", type=Path)
    parser.add_argument("--sample", type=int, help="mutants of each sample (otherwise as the file says)")
    parser.add_argument("--again", choices=["survived", "all"], help="forget these results of an earlier run")
    parser.add_argument("--only", help="these mutants of the sample again, by their names' beginnings, with commas")
    parser.add_argument("--tests", help="with --only: arguments of pytest that say which tests, instead of the file's")
    parser.add_argument("--keep", action="store_true", help="in the copy that an earlier run made, as it is")
    parser.add_argument("--quick", action="store_true", help="measured tests only; then --again survived")
    parser.add_argument("--report", action="store_true", help="write down what is known, run nothing")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # by an exception, which takes the change back
    group = Group.read(options.configuration)
    if options.sample is not None:
        group = replace(group, samples=tuple(replace(sample, count=options.sample) for sample in group.samples))
    if options.tests is not None:
        group = replace(group, suite=replace(group.suite, instead=options.tests))
    if options.quick:
        group = replace(group, suite=replace(group.suite, rules=[]))
    folder = ROOT / "build/mutation" / group.name
    if not options.report and not options.keep:
        copy_tree(folder / "tree")
    prepare(folder)
    with use_db(folder / "session.sqlite") as database:
        known = found_in(group, database, find=not options.report)
        taken = {sample.name: stratified(known[sample.name], sample.count) for sample in group.samples}
        # By turns: a run that is stopped has seen something of each sample.
        chosen = [m for turn in zip_longest(*taken.values()) for m in turn if m is not None]
        kept = {"survived": {"killed", "timeout"}, "all": set()}.get(options.again, {"killed", "timeout", "survived"})
        results = {name: result for name, result in database.results if outcome_of(result) in kept}
        if options.only is not None:
            wanted = tuple(options.only.split(","))
            chosen = [mutant for mutant in chosen if mutant.name.startswith(wanted)]
            results = {name: result for name, result in results.items() if not name.startswith(wanted)}
        try:
            if not options.report:
                group.suite.measure(folder)
                run(group, database, chosen, results)
        finally:
            if not options.quick and results:  # a run that ended before its first mutant has nothing to write down
                record(group, (folder / "commit").read_text(), known, taken, results)


if __name__ == "__main__":
    main()
