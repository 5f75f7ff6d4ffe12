"""`python -m benchmarks.kernels`: measures the table, or a part of it, on one or more threads.

In: options.  Out: lines on the terminal; of the whole table also benchmarks/results/kernels-THREADS.json, and its
picture.
Invariant: a run that was ended goes on where it stopped (rows are kept after each case), as long as neither the
packages nor the benchmark changed in between.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.kept import Kept
from benchmarks.kernels.case import Case
from benchmarks.kernels.cases import CASES, chosen
from benchmarks.kernels.formulations import SIDES
from benchmarks.kernels.measure import Side, measure
from benchmarks.kernels.picture import picture
from benchmarks.kernels.summary import COLUMNS, goals, line, markdown, read
from benchmarks.quiet import Cores
from benchmarks.timing import RESULTS, machine


def _save(threads: int, rows: dict[str, Any], about: dict[str, Any]) -> Path:
    """One line a case: diffs of two runs can be read.  Beside it the picture."""
    path = RESULTS / f"kernels-{threads}.json"
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    head = json.dumps({"threads": threads, "sides": about}, indent=1)[1:-1].strip("\n")
    path.write_text(f'{{\n "machine": {json.dumps(machine())},\n{head},\n "results": {{\n{lines}\n }}\n}}\n')
    _draw(threads, rows)
    return path


def _draw(threads: int, rows: Mapping[str, Any]) -> None:
    (RESULTS / f"kernels-{threads}.svg").write_text(picture(rows, threads), encoding="utf-8")


def _run(
    cases: Sequence[Case],
    names: Sequence[str],
    columns: Sequence[str],
    threads: int,
    seconds: float,
    rounds: int | None,
) -> None:
    whole = len(cases) == len(CASES) and set(names) == set(SIDES) and set(columns) == set(COLUMNS) and rounds is None
    kept = Kept(f"kernels-{threads}") if whole else None
    rows: dict[str, Any] = dict(kept.rows) if kept else {}
    usable = os.sched_getaffinity(0)
    cpus = sorted(usable)[-threads:]
    os.sched_setaffinity(0, cpus)  # the limits are measured where the sides run
    cores = Cores(cpus)
    sides = [Side(name, threads, cpus) for name in names]
    start = time.perf_counter()
    try:
        about = {side.name: side.ask("about") for side in sides}
        for case in cases:
            if case.name not in rows:
                rows[case.name] = measure(case, sides, columns, cores, seconds, rounds)
                if kept:
                    kept.add(case.name, rows[case.name])
            click.echo(line(case.name, rows[case.name]))
    finally:
        for side in sides:
            side.close()
        os.sched_setaffinity(0, usable)
    click.echo(f"{len(cases)} cases on {threads} threads in {time.perf_counter() - start:.0f} s")
    click.echo(goals(rows, threads))
    if kept:
        click.echo(_save(threads, rows, about))
        kept.finish()


@click.command()
@click.option("--threads", "-t", type=int, multiple=True, default=(1,), help="may be given several times")
@click.option("--cases", "-c", multiple=True, help="a part of a case's name or family; may be given several times")
@click.option("--sides", "-s", multiple=True, type=click.Choice(SIDES), default=SIDES, show_default="all")
@click.option("--columns", multiple=True, type=click.Choice(COLUMNS), default=COLUMNS, show_default="both")
@click.option("--seconds", type=float, default=9.0, show_default=True, help="of sampling per case, about")
@click.option("--rounds", type=int, help="instead of the number that follows from --seconds")
@click.option("--list", "listed", is_flag=True, help="print the cases' names and texts")
@click.option("--summary", is_flag=True, help="print goals and tables of the saved results, draw them")
def main(
    threads: tuple[int, ...], cases: tuple[str, ...], sides: tuple[str, ...], columns: tuple[str, ...],
    seconds: float, rounds: int | None, listed: bool, summary: bool,
) -> None:  # fmt: skip
    """Measure the kernel table (or parts of it) side by side."""
    if listed:
        for case in chosen(cases):
            click.echo(f"{case.name}\n    {case.text.strip()}")
        return
    for count in threads:
        if summary:
            rows = read((RESULTS / f"kernels-{count}.json").read_text())
            _draw(count, rows)
            click.echo(f"{goals(rows, count)}\n\n{markdown(rows)}")
        else:
            _run(chosen(cases), sides, columns, count, seconds, rounds)


if __name__ == "__main__":
    main()
