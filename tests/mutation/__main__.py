"""Mutation testing: change the program in one place, run the tests that should notice, count.  `make mutate`.

    python tests/mutation tests/mutation/coexec.toml [--sample 10] [--again survived]

In: a file of cosmic-ray's format with a table `mutation` beside (packages, sample, seed, which tests for which
module).  Out: lines as they come, and `benchmarks/results/mutation.json`.
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
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult
from places import Mutant, mutants

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/mutation.json"
ADDRESS_SPACE = 16 << 30  # bytes: a mutant that allocates without end fails instead of taking the machine down
EXTRA_SECONDS = 60.0  # beyond `patience` times what the tests take unchanged: a mutant may compile everything anew


@dataclass(frozen=True, slots=True)
class Group:
    """What one configuration file says."""

    name: str
    packages: tuple[str, ...]
    command: str
    patience: float
    longest: float
    sample: int
    seed: str
    rules: tuple[tuple[str, str], ...]  # pattern of modules, tests

    @classmethod
    def read(cls, path: Path) -> Group:
        document = tomllib.loads(path.read_text())
        ray, ours = document["cosmic-ray"], document["mutation"]
        return cls(
            name=path.stem,
            packages=tuple(ray["module-path"]),
            command=ray["test-command"],
            patience=ours["patience"],
            longest=ray["timeout"],
            sample=ours["sample"],
            seed=ours["seed"],
            rules=tuple((rule["modules"], " ".join(rule["tests"].split())) for rule in ours["rules"]),
        )

    def command_for(self, module: str) -> str:
        """The tests that should notice a change of this module: the first rule that fits."""
        tests = next((tests for pattern, tests in self.rules if fnmatch(module, pattern)), None)
        if tests is None:
            raise SystemExit(f"{self.name}.toml has no rule for {module}: add one to [[mutation.rules]]")
        return f"{self.command} {tests}"


def copy_tree(target: Path) -> None:
    """What git knows or would add, as it stands now: the copy that mutants are made in."""
    shutil.rmtree(target, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def prepare(folder: Path) -> None:
    """From here on in the copy, with a compile cache of its own and the compiler inside the tests' process."""
    os.chdir(folder / "tree")
    os.environ.update(
        PYTHONPATH=str(folder / "tree"),
        COMPREHENSION_CACHE=str(folder / "cache"),
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
    known.sort(key=lambda mutant: mutant.name)
    return {
        package: [mutant for mutant in known if mutant.spec.module_path in paths][: group.sample]
        for package, paths in modules.items()
    }


def modules_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


class Timeouts:
    """How long a command may run; measured on the unchanged program, which must pass."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.known: dict[str, float] = {}

    def of(self, command: str) -> float:
        if command not in self.known:
            start = time.perf_counter()
            outcome, output = run_tests(command, self.group.longest)
            seconds = time.perf_counter() - start
            if outcome is not TestOutcome.SURVIVED:
                raise SystemExit(f"without any mutant these tests fail: {command}\n{output[-4000:]}")
            print(f"unchanged: {seconds:.0f} s for {command}", flush=True)
            self.known[command] = min(self.group.longest, self.group.patience * seconds + EXTRA_SECONDS)
        return self.known[command]


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
    timeouts = Timeouts(group)
    for mutant in taken:
        if mutant.name in results:
            continue
        command = group.command_for(mutant.module)
        limit = timeouts.of(command)
        result = mutate_and_test([mutant.spec], command, limit)
        database.set_result(mutant.name, result)
        results[mutant.name] = result
        row = row_of(mutant, result, {})
        change = " -> ".join(line[2:] for line in row["change"])
        print(f"{row['outcome']:9} {mutant.name} {mutant.module}:{mutant.line} {change}", flush=True)


def record(group: Group, taken: dict[str, list[Mutant]], results: dict[str, WorkResult]) -> None:
    """The group's part of the table, written anew; other groups' parts stay."""
    table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    explained = tomllib.loads((Path(__file__).parent / "survivors.toml").read_text())
    packages = {}
    for package, chosen in taken.items():
        rows = [row_of(mutant, results[mutant.name], explained) for mutant in chosen if mutant.name in results]
        counts = {o: sum(r["outcome"] == o for r in rows) for o in ("killed", "timeout", "survived", "impossible")}
        packages[package] = {**counts, "rows": rows}
    table[group.name] = {"seed": group.seed, "packages": packages}
    RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    for package, found in packages.items():
        noticed, all_of = found["killed"] + found["timeout"], len(found["rows"]) - found["impossible"]
        print(f"{package}: {noticed} of {all_of} noticed, {found['survived']} survived")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python tests/mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("configuration", type=Path)
    parser.add_argument("--sample", type=int, help="mutants of each package (otherwise as the file says)")
    parser.add_argument("--again", choices=["survived", "all"], help="forget these results of an earlier run")
    parser.add_argument("--report", action="store_true", help="write down what is known, run nothing")
    options = parser.parse_args(arguments)
    group = Group.read(options.configuration)
    if options.sample is not None:
        group = replace(group, sample=options.sample)
    folder = ROOT / "build/mutation" / group.name
    if not options.report:
        copy_tree(folder / "tree")
    prepare(folder)
    with use_db(folder / "session.sqlite") as database:
        taken = sampled(group, database, find=not options.report)
        # By name, not by package: a run that is stopped has seen something of each.
        chosen = sorted((m for package in taken.values() for m in package), key=lambda m: m.name)
        kept = {"survived": {"killed", "timeout"}, "all": set()}.get(options.again, {"killed", "timeout", "survived"})
        results = {name: result for name, result in database.results if outcome_of(result) in kept}
        try:
            if not options.report:
                run(group, database, chosen, results)
        finally:
            record(group, taken, results)


if __name__ == "__main__":
    main()
