"""The digits classifier's training step: eager, co-executed, and the same network in PyTorch eager.

In: the step of examples/digits.py.  Out: `benchmarks/results/digits.json`: steps a second, ratios with intervals.
Invariant: all sides start from the same weights and see the same batches; their first losses agree within
`LOSS_BOUND` before any clock runs (the sides sum in different orders: about a hundred terms, float32).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import coexec
import minitensor as mt
from benchmarks.timing import check_losses, in_the_project, save, time_sides
from coexec import coexecute
from examples import digits

BLOCK = 10  # steps in one timed sample
LOSS_BOUND = 1e-4
Batch = tuple[mt.Tensor, mt.Tensor]


def _batches() -> list[Batch]:
    train, _ = digits.load()
    return list(mt.data.DataLoader(train, digits.BATCH, drop_last=True))


def _ours(batches: list[Batch], wrap: Callable[[digits.Step], digits.Step]) -> tuple[Callable[[], list[float]], Any]:
    mt.random.seed(digits.SEED)
    run = digits.Run("benchmark")
    run.model = digits.Net()
    run.optimizer = mt.optim.Adam(run.model.parameters(), lr=1e-3)
    step = wrap(digits.make_step(run, lambda _: None))
    run.step = step
    source = _forever(batches)
    return lambda: [step(*next(source)) for _ in range(BLOCK)], run


def _torch(batches: list[Batch], weights: dict[str, mt.Tensor]) -> Callable[[], list[float]]:
    import torch
    from torch import nn

    features = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
    )
    head = nn.Sequential(nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, digits.CLASSES))
    model = nn.ModuleDict({"features": features, "head": head})
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    confusion = np.zeros((digits.CLASSES, digits.CLASSES), dtype=np.int64)
    source = _forever([(torch.from_numpy(np.array(x)), torch.from_numpy(np.array(y))) for x, y in batches])

    def step(x: torch.Tensor, y: torch.Tensor) -> float:
        optimizer.zero_grad()
        logits = head(features(x))
        loss = nn.functional.cross_entropy(logits, y)
        loss.backward()
        optimizer.step()
        predicted = logits.detach().numpy().argmax(axis=1)
        np.add.at(confusion, (y.numpy(), predicted), 1)
        return float(loss.item())

    return lambda: [step(*next(source)) for _ in range(BLOCK)]


def _forever(batches: list[Any]) -> Iterator[Any]:
    while True:
        yield from batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", nargs="+", default=["eager", "co-executed", "torch"])
    options = parser.parse_args()
    batches = _batches()
    eager, run = _ours(batches, lambda step: step)
    assert run.model is not None
    weights = run.model.state_dict()
    coexecuted, compiled = _ours(batches, coexecute)
    sides = {"eager": eager, "co-executed": coexecuted}
    if "torch" in options.sides:
        sides["torch"] = _torch(batches, weights)
    check_losses({name: side() for name, side in sides.items()}, LOSS_BOUND)
    for _ in range(3):  # until the graph knows every operation
        coexecuted()
        coexec.wait()
    timings = time_sides(sides, rounds=40)
    report = compiled.step.report() if compiled.step else None
    results = {
        "steps_per_second": {name: BLOCK / timings.median(name) for name in sides},
        "co-executed faster by": {n: timings.ratio(n, "co-executed") for n in sides if n != "co-executed"},
        "report": in_the_project(str(report)),
    }
    print(results["steps_per_second"], results["co-executed faster by"])
    print(save("digits", results))


if __name__ == "__main__":
    main()
