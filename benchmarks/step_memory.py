"""How much memory a training step needs: the peak of a process that co-executes beside one that runs eagerly.

In: nothing.  Out: `results/step_memory.json`, a table on standard output.
Run: `python -m benchmarks.step_memory` (Linux: the peak is what the system says, `VmHWM`).

Each side is a process of its own.  It warms up (the graph is compiled and in use), gives cached blocks back, has the
system forget the peak, and runs `STEPS` steps that read their loss.  The figure is that peak less what the process held
before there was a model: everything counts, cached blocks, arenas, frames and the second step in flight included.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import coexec
import minitensor as mt
from benchmarks.timing import save
from coexec import coexecute
from coexec.graph_side import channel
from comprehension.jit import memory
from minitensor import functional as F, nn

STEPS = 8
WARM_UP = 12
MIB = 1 << 20


class Residual(nn.Module):
    """Blocks of a normalised layer with a path around it."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(blocks)])
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(blocks)])
        self.head = nn.Linear(width, 10)

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + F.gelu(layer(norm(x)))
        result: mt.Tensor = self.head(x)
        return result


MLP, RESIDUAL = "MLP of 256-512-512-10", "six residual blocks of 256 with layer norm and gelu"
MODELS: dict[str, Callable[[], nn.Module]] = {
    MLP: lambda: nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)),
    RESIDUAL: lambda: Residual(256, 6),
}
CASES = [(MLP, 8192), (RESIDUAL, 1024), (RESIDUAL, 2048), (RESIDUAL, 4096), (RESIDUAL, 8192)]  # with batch sizes
SIDES = ("eager", "co-executed")
ROUNDS = 3


def resident(field: str) -> int:
    """`VmRSS` or `VmHWM` of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def peak(side: str, name: str, batch: int) -> float:
    """MiB that the steps of one side need, in this process."""
    mt.random.seed(0)
    draw = np.random.default_rng(0)
    if side != "eager":
        channel.prepare()  # machine code of loops is no part of a step
    before = resident("VmRSS")
    x = mt.asarray(draw.random((batch, 256), dtype=np.float32))
    y = mt.asarray(draw.integers(0, 10, batch))
    model = MODELS[name]()
    optimizer = mt.optim.Adam(model.parameters(), lr=1e-3)

    def train() -> float:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    step = train if side == "eager" else coexecute(train)
    for _ in range(WARM_UP):
        step()
        if side != "eager":
            coexec.wait()
    gc.collect()
    memory.trim()
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(STEPS):
        step()
    if side != "eager":
        assert step.report().coexecuted_steps >= STEPS, step.report()  # type: ignore[attr-defined]
    return (resident("VmHWM") - before) / MIB


def measure(name: str, batch: int) -> dict[str, list[float]]:
    """The figures of both sides in MiB, interleaved."""
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(ROUNDS):
        for side in SIDES:
            command = [sys.executable, "-m", "benchmarks.step_memory", side, name, str(batch)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
            found[side].append(round(float(answer.stdout.split()[-1]), 1))
    return found


def main() -> None:
    if len(sys.argv) == 4:
        print(peak(sys.argv[1], sys.argv[2], int(sys.argv[3])))
        return
    results = []
    for name, batch in CASES:
        results.append({"model": name, "batch": batch, "MiB": measure(name, batch)})
        print(results[-1], flush=True)
    print(save("step_memory", results))


if __name__ == "__main__":
    main()
