"""A long run: memory and file descriptors of co-execution have to stay flat, fallbacks included.

In: `--steps`, 100 000 by default; `--seed`, of the data and the weights.  Out: a line each tenth of the run;
`benchmarks/results/soak.json` if the run is as long as the default and its seed is; exit status 1 if the last nine
tenths grew by more than `GROWTH` or opened a descriptor, or too few steps were co-executed.
A two-layer network is trained on batches of several sizes; every 1 000th step takes a branch of its own, so that graphs
are left, and one more value escapes and lives for 500 steps.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Any

import click
import numpy as np

import coexec
import minitensor as mt
from benchmarks.timing import save
from minitensor import functional as F, nn

GROWTH = 8 << 20  # bytes that allocators may still take after the first tenth
WARM = 30  # steps after which compilation is waited for
LEAST_COEXECUTED = 0.9  # of all steps


def resident() -> int:
    """Bytes of memory that the process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open files of the process."""
    return len(os.listdir("/proc/self/fd"))


def make_step(seed: int) -> Any:
    """A step that takes its number and a batch."""
    mt.random.seed(seed)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = mt.optim.Adam(model.parameters(), lr=1e-3)
    escaped: deque[mt.Tensor] = deque(maxlen=5)

    @coexec.coexecute
    def step(number: int, x: mt.Tensor, y: mt.Tensor) -> float:
        logits = model(x)
        if number % 1000 == 999:
            logits = logits * (1.0 + number % 7000 / 7000)
        if number % 100 == 0:
            escaped.append(logits)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


@click.command()
@click.option("--steps", default=100_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(steps: int, seed: int) -> None:
    """Run the soak."""
    draw = np.random.default_rng(seed)
    batches = [
        (mt.asarray(draw.random((n, 16), dtype=np.float32)), mt.asarray(draw.integers(0, 4, n))) for n in (8, 16, 13)
    ]
    step = make_step(seed)
    seen = []
    for number in range(steps):
        step(number, *batches[number % 3])
        if number < WARM:
            coexec.wait()  # so that the first tenth has a graph, the compiler and its pipes
        if (number + 1) % max(1, steps // 10) == 0:
            seen.append((resident(), descriptors()))
            click.echo(f"{number + 1:8d} steps: {seen[-1][0] / 2**20:.1f} MiB, {seen[-1][1]} descriptors")
    report = step.report()
    grown = max(memory for memory, _ in seen[1:]) - seen[0][0]
    opened = max(count for _, count in seen[1:]) - seen[0][1]
    results = {
        "steps": steps,
        "co-executed": report.coexecuted_steps,
        "fallbacks": report.fallbacks,
        "MiB after a tenth": seen[0][0] / 2**20,
        "MiB grown since": grown / 2**20,
        "descriptors opened since": opened,
    }
    for name, value in results.items():
        click.echo(f"{name:26s} {value:.4g}")
    if steps >= 100_000 and seed == 0:
        click.echo(save("soak", results))
    if grown > GROWTH or opened > 0:
        raise SystemExit("memory or descriptors grew")
    if report.coexecuted_steps < LEAST_COEXECUTED * steps:
        raise SystemExit(f"only {report.coexecuted_steps} of {steps} steps were co-executed:\n{report}")


if __name__ == "__main__":
    main()
