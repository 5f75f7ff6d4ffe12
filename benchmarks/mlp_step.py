"""One training step of a small classifier, where Python's side is the price: eager, co-executed and in PyTorch eager.

In: the step of an MLP 64-128-10 on batches of 32, SGD, its loss read in each step.
Out: `benchmarks/results/mlp_step.json`: microseconds a step, ratios with intervals, and where the time goes.
Invariant: all sides start from the same weights and see the same batches; their first losses agree within
`LOSS_BOUND` before any clock runs (the sides sum in different orders: a hundred terms, float32).

On one thread the process has one core, so that Python and the graph take turns; on two, each library may use two.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import coexec
import minitensor as mt
from benchmarks.timing import THREAD_VARIABLES, check_losses, save, time_sides
from coexec import coexecute
from minitensor import functional as F, nn

FEATURES, HIDDEN, CLASSES, BATCH = 64, 128, 10, 32
BLOCK = 50  # steps in one timed sample: a training loop, not its first steps
LOSS_BOUND = 1e-4
Batches = list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
Side = Callable[[], list[float]]
Step = Callable[[mt.Tensor, mt.Tensor], float]


def _batches() -> Batches:
    draw = np.random.default_rng(0)
    return [
        (draw.normal(size=(BATCH, FEATURES)).astype(np.float32), draw.integers(0, CLASSES, BATCH)) for _ in range(16)
    ]


def _ours(batches: Batches, wrap: Callable[[Step], Step]) -> tuple[Side, Step, dict[str, mt.Tensor]]:
    mt.random.seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    optimizer = mt.optim.SGD(model.parameters(), lr=0.05)
    source = itertools.cycle([(mt.asarray(x), mt.asarray(y)) for x, y in batches])

    def step(x: mt.Tensor, y: mt.Tensor) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    wrapped = wrap(step)
    return lambda: [wrapped(*next(source)) for _ in range(BLOCK)], wrapped, weights


def _torch(batches: Batches, weights: dict[str, mt.Tensor], threads: int) -> Side:
    import torch

    torch.set_num_threads(threads)
    model = torch.nn.Sequential(torch.nn.Linear(FEATURES, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    source = itertools.cycle([(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches])

    def step(x: torch.Tensor, y: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return lambda: [step(*next(source)) for _ in range(BLOCK)]


def measure(threads: int) -> dict[str, Any]:
    """The three sides in this process, whose cores and threads are set already."""
    batches = _batches()
    eager, _, weights = _ours(batches, lambda step: step)
    coexecuted, step, _ = _ours(batches, coexecute)
    sides = {"eager": eager, "co-executed": coexecuted, "torch": _torch(batches, weights, threads)}
    check_losses({name: side() for name, side in sides.items()}, LOSS_BOUND)
    for _ in range(5):  # until the graph knows every operation
        coexecuted()
        coexec.wait()
    report = step.report()  # type: ignore[attr-defined]
    keys = ("python_run_s", "python_stall_s", "graph_run_s", "graph_stall_s", "coexecuted_steps", "steps")
    before = {key: getattr(report, key) for key in keys}
    timings = time_sides(sides, rounds=60)
    report = step.report()  # type: ignore[attr-defined]
    spent = {key: getattr(report, key) - before[key] for key in keys}
    assert spent["coexecuted_steps"] == spent["steps"], report
    return {
        "microseconds": {name: timings.median(name) / BLOCK * 1e6 for name in sides},
        "co-executed over": {name: timings.ratio("co-executed", name) for name in sides if name != "co-executed"},
        "of a step, microseconds": {k[:-2]: spent[k] / spent["steps"] * 1e6 for k in keys if k.endswith("_s")},
        "operations": report.operations,
        "kernels": report.kernels,
    }


def _in_a_process(threads: int) -> dict[str, Any]:
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    cores = sorted(os.sched_getaffinity(0))[:threads]
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.mlp_step", str(threads)],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
        return
    results = {}
    for threads in (1, 2):
        results[f"{threads} threads"] = _in_a_process(threads)
        print(f"{threads} threads", json.dumps(results[f"{threads} threads"], indent=1), flush=True)
    print(save("mlp_step", results))


if __name__ == "__main__":
    main()
