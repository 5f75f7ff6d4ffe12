"""`python -m benchmarks.programs`: measures the ten programs, or some of them.

In: options.  Out: a table on the terminal; rows in benchmarks/results/programs.json, where others stay as
they were, and their picture, programs.svg.
"""

from __future__ import annotations

import time

import click

from benchmarks.programs import NAMES, census as counted, program
from benchmarks.programs.measure import OURS, SIDES, measure
from benchmarks.programs.table import PICTURE, goals, picture, saved, table
from benchmarks.timing import save


@click.command()
@click.option("--programs", "-p", "names", multiple=True, type=click.Choice(NAMES), help="all if none is given")
@click.option("--sides", "-s", multiple=True, type=click.Choice(SIDES), default=SIDES, show_default="all")
@click.option("--rounds", type=int, default=12, show_default=True, help="samples of ten steps on each side")
@click.option("--list", "listed", is_flag=True, help="print the programs and their features")
@click.option("--census", is_flag=True, help="count operations a step, parameters, changes of the trace; no clock")
@click.option("--summary", is_flag=True, help="print the table and the goals of the saved results")
def main(
    names: tuple[str, ...], sides: tuple[str, ...], rounds: int, listed: bool, census: bool, summary: bool
) -> None:
    """Measure the ten programs side by side."""
    if listed:
        for name in NAMES:
            click.echo(f"{name:<18}{program(name).title}: {program(name).feature}")
        return
    if census:
        click.echo(counted.table({name: counted.census(program(name), program(name).full) for name in names or NAMES}))
        return
    rows = saved()
    for name in () if summary else names or NAMES:
        begin = time.perf_counter()
        row = measure(program(name), tuple(s for s in SIDES if s in sides or s in OURS[:2]), rounds)
        click.echo(table({name: row}))
        click.echo(f"{name}: {time.perf_counter() - begin:.0f} s; {row['why_missing'] or 'all sides agree'}")
        rows[name] = row
        if set(sides) == set(SIDES):
            rows = {known: rows[known] for known in NAMES if known in rows}
            save("programs", rows)
            PICTURE.write_text(picture(rows), encoding="utf-8")
    click.echo(f"{table(rows)}\n{goals(rows)}")


if __name__ == "__main__":
    main()
