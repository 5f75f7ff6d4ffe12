"""A training loop of one's own, co-executed: one decorator, then what it gained and why not more.

In: two spirals of points, drawn by NumPy.  Out: the report on the screen; out/own_loop.html, everything that
co-execution made of the step; out/own_loop.trace.json for https://ui.perfetto.dev.

The loop is as anybody writes it: batches of several sizes, dropout, a schedule, a gradient clipped only when it is
long, a validation every so often, an early end.  Only `@coexec.coexecute` and what is below "to look at" is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from rich.console import Console

import coexec
import minitensor as mt
from minitensor import functional as F, nn

SEED, CLASSES, LONG = 5, 2, 1.0  # LONG: the norm from which a gradient is clipped


def spirals(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points (count, 2) float32 on two spirals, with noise, and which one each is on (count,) int64."""
    labels = rng.integers(0, CLASSES, count)
    turn = rng.uniform(0.5, 3.0, count)
    angle = np.pi * (turn + labels)
    points = np.stack([turn * np.cos(angle), turn * np.sin(angle)], axis=1) + rng.normal(0, 0.05, (count, 2))
    return points.astype(np.float32), labels


def batches(points: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[mt.Tensor, mt.Tensor]]:
    """Shuffled batches of 64, the last one shorter, without end."""
    while True:
        order = rng.permutation(len(points))
        for start in range(0, len(points), 64):
            chosen = order[start : start + 64]
            yield mt.asarray(points[chosen]), mt.asarray(labels[chosen])


@click.command()
@click.option("--steps", default=600, show_default=True, help="Training steps.")
@click.option("--folder", default="out", show_default=True, help="Where the page and the trace go.")
def main(steps: int, folder: str) -> None:
    """Train, watch, and write what co-execution did."""
    rng = np.random.default_rng(SEED)
    mt.random.seed(SEED)
    points, labels = spirals(1000, rng)
    held_out = spirals(200, rng)
    model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Dropout(0.05), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    optimizer = mt.optim.Adam(model.parameters(), lr=1e-2)
    schedule = mt.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-3)

    @coexec.coexecute
    def step(x: mt.Tensor, y: mt.Tensor) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = float(mt.sqrt(sum((g * g).sum() for g in gradients)))  # Python reads it, and decides
        if norm > LONG:
            for p in model.parameters():
                p.grad = p.grad * (LONG / norm)
        optimizer.step()
        return loss.item()

    def accuracy() -> float:
        model.eval()
        with mt.no_grad():
            right = model(mt.asarray(held_out[0])).numpy().argmax(axis=1) == held_out[1]
        model.train()
        return float(right.mean())

    console = Console()
    with coexec.watch(step, total=steps, console=console):
        for done, (x, y) in enumerate(batches(points, labels, rng), 1):
            loss = step(x, y)
            schedule.step()
            if done in (5, 25, 45):
                coexec.wait()  # for the compiler: not needed, but a run as short as this one would be over before
            if done % 100 == 0:
                console.print(f"step {done}: loss {loss:.4f}, {accuracy():.0%} of the held-out points")
            if done == steps:
                break

    # To look at: the table, everything as a page, both runners in time.
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    report = step.report()
    console.print(str(report), markup=False, highlight=False, soft_wrap=True)
    (target / "own_loop.html").write_text(coexec.explain(step).page(), encoding="utf-8")
    report.timeline(target / "own_loop.trace.json")
    console.print(f"written: {target / 'own_loop.html'}, {target / 'own_loop.trace.json'}", highlight=False)


if __name__ == "__main__":
    main()
