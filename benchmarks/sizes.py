"""Forty lengths and batch sizes: how many graphs and compilations they take, and what a step costs.

In: a classifier of token sequences (embedding, sum over the sequence, two layers, SGD) whose batch size and sequence
length are drawn anew in each step, 40 distinct ones of each.  Out: `benchmarks/results/sizes.json`.
A dimension seen with two values becomes a symbol, so kernels are compiled for all sizes at once.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import numpy as np

import coexec
import minitensor as mt
from benchmarks.timing import save
from minitensor import functional as F, nn

DISTINCT = 40
TOKENS, WIDTH, CLASSES = 50, 32, 8
Step = Callable[[mt.Tensor, mt.Tensor], float]


def make_step() -> Step:
    """One step of training on (batch, length) tokens and (batch,) labels; returns the loss."""
    mt.random.seed(0)
    embedding = nn.Parameter(mt.random.normal((TOKENS, WIDTH)))
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))
    optimizer = mt.optim.SGD([embedding, *model.parameters()], lr=0.05)

    def step(tokens: mt.Tensor, labels: mt.Tensor) -> float:
        loss = F.cross_entropy(model(embedding[tokens].mean(axis=1)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def batches(rounds: int) -> list[tuple[mt.Tensor, mt.Tensor]]:
    """`rounds` batches; the first `DISTINCT` have batch sizes and lengths that are all different."""
    draw, numbers = random.Random(0), np.random.default_rng(0)
    sizes = list(range(2, 2 + DISTINCT))
    drawn = []
    for _ in range(-(-rounds // DISTINCT)):
        drawn += list(zip(draw.sample(sizes, DISTINCT), draw.sample(sizes, DISTINCT), strict=True))
    return [
        (mt.asarray(numbers.integers(0, TOKENS, size)), mt.asarray(numbers.integers(0, CLASSES, size[0])))
        for size in drawn[:rounds]
    ]


def main() -> None:
    data = batches(3 * DISTINCT)
    plain, step = make_step(), coexec.coexecute(make_step())
    times: dict[str, list[float]] = {"eager": [], "co-executed": []}
    for tokens, labels in data:
        losses = {}
        for name, side in (("eager", plain), ("co-executed", step)):
            begin = time.perf_counter()
            losses[name] = side(tokens, labels)
            times[name].append(time.perf_counter() - begin)
        assert abs(losses["eager"] - losses["co-executed"]) < 1e-3 * abs(losses["eager"]), losses
        coexec.wait()
    report = step.report()
    results = {
        "distinct sizes": DISTINCT,
        "steps": report.steps,
        "graphs": report.graphs_built,
        "compilations per cluster": report.graphs_built,  # each graph asks once for each of its clusters
        "co-executed steps": report.coexecuted_steps,
        "fallbacks": report.fallbacks,
        "kernels": report.kernels,
        **{f"ms, {name}": statistics.median(seconds[DISTINCT:]) * 1e3 for name, seconds in times.items()},
    }
    for name, value in results.items():
        print(f"{name:28s} {value:.4g}")
    print(save("sizes", results))


if __name__ == "__main__":
    main()
