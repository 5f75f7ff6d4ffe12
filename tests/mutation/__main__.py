"""Mutation testing: change the program in one place, run the tests that should notice, count.  `make mutate`.

    python tests/mutation tests/mutation/coexec.toml [--sample 10] [--again survived] [--keep]

In: a file of cosmic-ray's format with a table `mutation` beside (packages, sample, seed, which tests).
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
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult
from places import Mutant, mutants, spread
from suite import Suite, TestsByLine, TestsByModule
from warm import TESTED, try_mutant

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/mutation.json"
ADDRESS_SPACE = 16 << 30  # bytes: a mutant that allocates without end fails instead of taking the machine down


@dataclass(frozen=True, slots=True)
class Group:
    """What one configuration file says."""

    name: str
    packages: tuple[str, ...]
    sample: int
    seed: str
    suite: Suite

    @classmethod
    def read(cls, path: Path) -> Group:
        document = tomllib.loads(path.read_text())
        ray, ours = document["cosmic-ray"], document["mutation"]
        longest, patience = ray["timeout"], ours["patience"]
        options = shlex.split(ray["test-command"].removeprefix("python -m pytest"))
        suite: Suite
        if "rules" in ours:
            rules = tuple((rule["modules"], " ".join(rule["tests"].split())) for rule in ours["rules"])
            suite = TestsByModule(options, longest, patience, rules)
        else:
            files = tuple(f"{ours['folder']}/test_{name}.py" for name in ours["tests"].split())
            suite = TestsByLine(options, longest, patience, ours["package"], files, ours["seconds"])
        return cls(path.stem, tuple(ray["module-path"]), ours["sample"], ours["seed"], suite)


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


def sampled(group: Group, database: WorkDB, find: bool) -> dict[str, list[Mutant]]:
    """The sample of each package.  The session has all mutants; those beyond the sample stay pending there."""
    modules = {package: modules_of(Path(package)) for package in group.packages}
    every = [path for paths in modules.values() for path in paths]
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
    return {
        package: spread([mutant for mutant in known if mutant.spec.module_path in paths])[: group.sample]
        for package, paths in modules.items()
    }


def modules_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def outcome_of(result: WorkResult) -> str:
    """killed, timeout, survived, or impossible where the change makes no other program."""
    if result.worker_outcome is not WorkerOutcome.NORMAL or result.test_outcome is TestOutcome.INCOMPETENT:
        return "impossible"
    if result.test_outcome is TestOutcome.SURVIVED:
        return "survived"
    return "timeout" if result.output == "timeout" else "killed"


def row_of(mutant: Mutant, result: WorkResult, explained: dict[str, str]) -> dict[str, Any]:
    changed = [line for line in (result.diff or "").splitlines() if re.match(r"[+-](?![+-]{2} )", line)]
    failed = re.search(r"^(?:FAILED|ERROR) (tests/\S+)", result.output or "", re.MULTILINE)
    row: dict[str, Any] = {
        "name": mutant.name,
        "module": mutant.module,
        "line": mutant.line,
        "operator": mutant.spec.operator_name.removeprefix("core/"),
        "change": [line[0] + " " + line[1:].strip() for line in changed if line.strip() != "+--- mutation diff ---"],
        "outcome": outcome_of(result),
    }
    if failed:
        row["test"] = failed[1]
    if row["outcome"] == "survived" and mutant.name in explained:
        row["why"] = explained[mutant.name]
    return row


def run(group: Group, database: WorkDB, taken: Iterable[Mutant], results: dict[str, WorkResult]) -> None:
    for mutant in taken:
        if mutant.name in results:
            continue
        arguments, limit = group.suite.arguments_for(mutant)
        start = time.perf_counter()
        result = try_mutant(mutant.spec, arguments, limit)
        seconds = time.perf_counter() - start
        database.set_result(mutant.name, result)
        results[mutant.name] = result
        row = row_of(mutant, result, {})
        change = " -> ".join(line[2:] for line in row["change"])
        print(f"{row['outcome']:9} {seconds:4.0f} s {mutant.name} {mutant.module}:{mutant.line} {change}", flush=True)


def record(group: Group, commit: str, taken: dict[str, list[Mutant]], results: dict[str, WorkResult]) -> None:
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
    for package, chosen in taken.items():
        rows = [row_of(mutant, results[mutant.name], explained) for mutant in chosen if mutant.name in results]
        for row in rows:
            if row["name"] in missed and row["outcome"] != "survived":
                row["at first"] = "survived"
        packages[package] = {**Count.of(rows).to_json(), "rows": rows}
        print(f"{package}: {Count.of(rows)}")
    table[group.name] = {"seed": group.seed, "commit": commit, "packages": packages}
    RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


@dataclass(frozen=True, slots=True)
class Count:
    """How a sample came out.  An equivalent mutant is no other program, so that nobody could notice it."""

    killed: int
    timeout: int
    survived: int
    equivalent: int
    impossible: int
    found_since: int  # of those killed: not at first, but by tests written for them

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]]) -> Count:
        same = [row for row in rows if row.get("why", "").startswith("equivalent")]
        count = {o: sum(row["outcome"] == o for row in rows) for o in ("killed", "timeout", "survived", "impossible")}
        since = sum("at first" in row for row in rows)
        return cls(**{**count, "survived": count["survived"] - len(same)}, equivalent=len(same), found_since=since)

    @property
    def noticed(self) -> tuple[int, int]:
        """Of how many how many; by the tests as they are now."""
        return self.killed + self.timeout, self.killed + self.timeout + self.survived

    def to_json(self) -> dict[str, Any]:
        noticed, count = self.noticed
        now, first = interval(noticed, count), interval(noticed - self.found_since, count)
        return {**asdict(self), "noticed, 95 %": now, "noticed at first, 95 %": first}

    def __str__(self) -> str:
        noticed, count = self.noticed
        low, high = interval(noticed, count)
        return (
            f"{noticed} of {count} noticed (95 %: {low:.0%} to {high:.0%}), {self.found_since} of them by tests written"
            f" since; {self.survived} survived, {self.equivalent} equivalent, {self.impossible} impossible"
        )


def interval(found: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson's)."""
    if count == 0:
        return 0.0, 1.0
    share, spread = found / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * (share * (1 - share) / count + spread / (4 * count)) ** 0.5
    return round(middle - half, 3), round(middle + half, 3)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python tests/mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("configuration", type=Path)
    parser.add_argument("--sample", type=int, help="mutants of each package (otherwise as the file says)")
    parser.add_argument("--again", choices=["survived", "all"], help="forget these results of an earlier run")
    parser.add_argument("--only", help="these mutants of the sample again, by their names' beginnings, with commas")
    parser.add_argument("--tests", help="with --only: arguments of pytest that say which tests, instead of the file's")
    parser.add_argument("--keep", action="store_true", help="in the copy that an earlier run made, as it is")
    parser.add_argument("--report", action="store_true", help="write down what is known, run nothing")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # by an exception, which takes the change back
    group = Group.read(options.configuration)
    if options.sample is not None:
        group = replace(group, sample=options.sample)
    if options.tests is not None:
        group = replace(group, suite=replace(group.suite.by_module(), rules=(("*", options.tests),)))
    folder = ROOT / "build/mutation" / group.name
    if not options.report and not options.keep:
        copy_tree(folder / "tree")
    prepare(folder)
    with use_db(folder / "session.sqlite") as database:
        taken = sampled(group, database, find=not options.report)
        # By turns: a run that is stopped has seen something of each package.
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
            record(group, (folder / "commit").read_text(), taken, results)


if __name__ == "__main__":
    main()
