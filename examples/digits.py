"""Trains a digits classifier twice from one seed, eagerly and co-executed, and compares the two.

In: the UCI digits (1 797 images of 8×8, shipped with scikit-learn).  Out: a table on the screen and one
self-contained page, out/digits.html.  Run by `make demo`.

The step is ordinary Python: it reads values, calls NumPy, prints, follows a schedule.  `coexecute` changes
nothing of that; it only makes it faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits

import coexec
import minitensor as mt
from comprehension.config import statistics
from examples.digits_page import write_page
from minitensor import functional as F, nn
from minitensor.testing import ErrorBounds, assert_as_accurate

SEED, BATCH, CLASSES = 7, 64, 10
CHECKED = 10  # steps compared with error bounds after training
WARM_UP = 8  # steps before the comparison waits for the compiler
Step = Callable[[mt.Tensor, mt.Tensor], float]


class Net(nn.Module):
    """Two convolutions and an MLP head: 1×8×8 → 16×8×8 → 32×4×4 → 64 → 10."""

    def __init__(self) -> None:
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, CLASSES))

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        return self.head(self.features(x))


@dataclass
class Run:
    """What one training run leaves behind."""

    name: str
    losses: list[float] = field(default_factory=list)
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((CLASSES, CLASSES), dtype=np.int64))
    seconds: list[float] = field(default_factory=list)  # of each step
    accuracy: float = 0.0
    model: Net | None = None
    optimizer: mt.optim.Optimizer | None = None
    step: Step | None = None

    def steps_per_second(self) -> float:
        """Over the second half of the run, where everything is warm."""
        late = self.seconds[len(self.seconds) // 2 :]
        return len(late) / sum(late)


def load() -> tuple[mt.data.TensorDataset, mt.data.TensorDataset]:
    """Images (N, 1, 8, 8) float32 in [0, 1] and labels (N,) int64: 1 437 to train, 360 to test."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    order = np.random.default_rng(SEED).permutation(len(images))
    train, test = order[:1437], order[1437:]
    labels = digits.target.astype(np.int64)
    return mt.data.TensorDataset(images[train], labels[train]), mt.data.TensorDataset(images[test], labels[test])


def make_step(run: Run, say: Callable[[str], None]) -> Step:
    """One training step as anybody would write it."""
    model, optimizer = run.model, run.optimizer
    assert model is not None and optimizer is not None

    def step(x: mt.Tensor, y: mt.Tensor) -> float:
        optimizer.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        optimizer.step()
        predicted = np.asarray(logits.detach()).argmax(axis=1)  # NumPy, in the middle of the step
        np.add.at(run.confusion, (np.asarray(y), predicted), 1)
        run.losses.append(loss.item())
        if len(run.losses) % 100 == 0:
            correct = float((predicted == np.asarray(y)).mean())
            say(f"{run.name}: step {len(run.losses)}, loss {run.losses[-1]:.4f}, batch accuracy {correct:.0%}")
        return run.losses[-1]

    return step


def train(name: str, wrap: Callable[[Step], Step], epochs: int, console: Console) -> Run:
    """Trains a fresh model from the one seed; `wrap` is `coexecute` or nothing."""
    train_set, test_set = load()
    mt.random.seed(SEED)
    run = Run(name)
    run.model = Net()
    loader = mt.data.DataLoader(train_set, BATCH, shuffle=True, drop_last=True)
    run.optimizer = mt.optim.Adam(run.model.parameters(), lr=1e-2)
    schedule = mt.optim.lr_scheduler.CosineAnnealingLR(run.optimizer, epochs * len(loader), eta_min=1e-4)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=epochs * len(loader))
        run.step = wrap(make_step(run, progress.console.print))
        for _ in range(epochs):
            for x, y in loader:
                start = time.perf_counter()
                run.step(x, y)
                schedule.step()
                run.seconds.append(time.perf_counter() - start)
                progress.advance(task)
                if len(run.seconds) == WARM_UP:
                    coexec.wait()  # for all kernels asked for: not needed, but the comparison is shorter with it
    run.accuracy = evaluate(run.model, test_set)
    return run


def evaluate(model: Net, test_set: mt.data.TensorDataset) -> float:
    """Share of the test images classified rightly."""
    model.eval()
    with mt.no_grad():
        (x, y), *_ = mt.data.DataLoader(test_set, len(test_set))
        return float((model(x).argmax(axis=1) == y).numpy().mean())


def compare_steps(run: Run, steps: int) -> float:
    """Checks `steps` further co-executed steps against eager ones from the same state.

    Before each step the state is copied to an eager twin, whose step runs with a float64 interpretation beside it.
    Each parameter after the co-executed step may differ from the float64 one by what eager float32 differs from it,
    times a small factor: bounds that come from the step itself (a gradient wrong by 1 % exceeds them a hundredfold).
    Whole runs are not compared like this: they drift apart by themselves.

    Returns the largest ratio of an error to its bound.  Raises AssertionError where it is above 1.
    """
    assert run.model is not None and run.optimizer is not None and run.step is not None
    twin = Run("twin", model=Net())
    assert twin.model is not None
    twin.optimizer = mt.optim.Adam(twin.model.parameters())
    twin_step = make_step(twin, lambda _: None)
    train_set, _ = load()
    ratios = []
    for x, y in islice(mt.data.DataLoader(train_set, BATCH, drop_last=True), steps):
        twin.model.load_state_dict(run.model.state_dict())
        twin.optimizer.load_state_dict(run.optimizer.state_dict())
        run.step(x, y)
        with ErrorBounds() as bounds:
            twin_step(x, y)
        for (name, received), expected in zip(run.model.named_parameters(), twin.model.parameters(), strict=True):
            exact = bounds.of(expected).value
            ratios.append(assert_as_accurate(received.detach(), expected.detach(), exact, of=name))
    return max(ratios)


def table(eager: Run, coexecuted: Run, compile_seconds: float, cache_hits: int) -> list[tuple[str, str, str]]:
    """Rows of the closing table: what, eagerly, co-executed."""
    assert isinstance(coexecuted.step, coexec.Step)
    report = coexecuted.step.report()
    return [
        ("test accuracy", f"{eager.accuracy:.1%}", f"{coexecuted.accuracy:.1%}"),
        ("steps a second", f"{eager.steps_per_second():.0f}", f"{coexecuted.steps_per_second():.0f}"),
        ("last loss", f"{eager.losses[-1]:.5f}", f"{coexecuted.losses[-1]:.5f}"),
        ("steps traced / co-executed", "", f"{report.traced_steps} / {report.coexecuted_steps} of {report.steps}"),
        ("operations a step", "", f"{report.operations}"),
        ("in compiled clusters", "", f"{report.coverage:.0%}"),
        ("kernels", "", f"{report.kernels}"),
        ("graphs built", "", f"{report.graphs_built}"),
        ("compiling (beside the steps)", "", f"{compile_seconds:.1f} s"),
        ("kernels from the cache", "", f"{cache_hits}"),
    ]


@click.command()
@click.option("--epochs", default=25, show_default=True, help="Passes over the training set, each way.")
@click.option("--page", default="out/digits.html", show_default=True, help="Where the report goes.")
def main(epochs: int, page: str) -> None:
    """Train eagerly and co-executed, compare, and write the report."""
    console = Console()
    eager = train("eager", lambda step: step, epochs, console)
    coexecuted = train("co-executed", coexec.coexecute, epochs, console)
    assert isinstance(coexecuted.step, coexec.Step)
    rows = table(eager, coexecuted, statistics.compile_seconds, statistics.cache_hits)
    ratio = compare_steps(coexecuted, CHECKED)
    console.print(f"{CHECKED} steps from equal states agree: at most {ratio:.2f} of the bound from float64")
    shown = Table("", "eager", "co-executed", title="digits")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    write_page(Path(page), eager, coexecuted, coexecuted.step.session, rows)
    console.print(f"report: {page}")


if __name__ == "__main__":
    main()
