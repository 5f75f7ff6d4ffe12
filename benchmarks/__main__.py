"""Runs all measurements, each in a process of its own: `python -m benchmarks [NAME ...]`; `make soak` is apart."""

from __future__ import annotations

import subprocess
import sys

import click

# Ordering: the longest last, so that an early end leaves most results.
ALL: dict[str, list[str]] = {
    "op_price": [],
    "eager_baseline": [],
    "branchy": [],
    "trainings": [],
    "sizes": [],
    "symbolic": [],
    "launch_price": [],
    "pool_price": [],
    "mlp_step": [],
    "fallback_price": [],
    "step_memory": [],
    "composites": [],
    "compile_time": [],
    "start": [],
    "digits": [],
    "programs": [],
    "kernels-1": ["--threads", "1"],
    "kernels-2": ["--threads", "2"],
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(ALL)))
def main(names: tuple[str, ...]) -> None:
    """Run the benchmarks NAMES (all if none is given); results go to benchmarks/results/."""
    failed = []
    for name in names or ALL:
        click.echo(f"== {name}")
        module = f"benchmarks.{name.rpartition('-')[0] or name}"
        if subprocess.run([sys.executable, "-m", module, *ALL[name]]).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
