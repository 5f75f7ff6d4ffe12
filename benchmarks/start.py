"""How soon a program is useful: the time from its first call to its first result and to its first fast step.

In: `python -m benchmarks.start [NAME ...]`.  Out: `benchmarks/results/start.json`, where other
rows stay as they were.
Invariant: each sample is a process of its own, with a folder of its own for compiled code, empty ("cold") or filled
by the process before ("warm"); imports, data and models are made before the clock starts.  All steps run one after
the other, as a program would run them: nobody waits for the compiler.  A sample begins when the cores are quiet, or
after a minute, and says whether they were then and behind it: a busy machine changes ratios, too, because compilers
run beside the program.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from itertools import cycle, pairwise
from typing import Any

import click

from benchmarks.programs import NAMES
from benchmarks.programs.program import Step
from benchmarks.quiet import Cores, usable
from benchmarks.timing import RESULTS, save

LIMIT_S = 240.0  # after which a process gives up waiting for its first co-executed step
PATIENCE_S = 60.0  # for cores of our own
SETTLED = 20  # steps after the first fast one, whose median is the speed that was reached
SIDES = ("co-executed", "torch.compile")
DEFAULT = ("digits", "gpt2", "bert_cls")


def _digits(side: str) -> tuple[Step, Callable[[], bool]]:
    import coexec
    import minitensor as mt
    from examples import digits

    if side != "co-executed":
        raise click.UsageError("the digits demo has no twin under torch.compile here")
    train, _ = digits.load()
    batches = cycle(list(mt.data.DataLoader(train, digits.BATCH, drop_last=True)))
    run = digits.Run("start")
    run.model = digits.Net()
    run.optimizer = mt.optim.Adam(run.model.parameters(), lr=1e-3)
    step = coexec.coexecute(digits.make_step(run, lambda _: None))
    run.step = step
    return lambda number: float(step(*next(batches))), lambda: step.report().coexecuted_steps > 0


def _program(name: str, side: str) -> tuple[Step, Callable[[], bool]]:
    program: Any = import_module(f"benchmarks.programs.{name}").PROGRAM
    training = program.start(program.full)
    if side == "co-executed":
        import coexec

        step = coexec.coexecute(training.step)
        return step, lambda: step.report().coexecuted_steps > 0
    import torch

    weights = training.weights()
    twin = import_module(f"benchmarks.programs.twins.{name}")
    return twin.make(program.full, weights, torch.compile), lambda: True


def child(name: str, side: str) -> dict[str, float]:
    """Runs until the first fast step and some more; seconds since the first call."""
    step, is_fast = _digits(side) if name == "digits" else _program(name, side)
    ends = [time.perf_counter()]
    fast_at = 0
    with contextlib.redirect_stdout(io.StringIO()):  # one of the programs prints
        while (not fast_at or len(ends) < fast_at + SETTLED) and ends[-1] - ends[0] < LIMIT_S:
            step(len(ends) - 1)
            ends.append(time.perf_counter())
            if not fast_at and is_fast():
                fast_at = len(ends) - 1
    begin, seconds = ends[0], [b - a for a, b in pairwise(ends)]
    return {
        "first_result_s": ends[1] - begin,
        "first_fast_step_s": ends[fast_at] - begin if fast_at else float("nan"),
        "steps_until_then": float(fast_at),
        "step_then_ms": 1e3 * sorted(seconds[-SETTLED:])[SETTLED // 2] if len(seconds) >= SETTLED else float("nan"),
    }


def _sample(name: str, side: str, folder: str) -> dict[str, float]:
    """One process with `folder` for its compiled code."""
    environment = {**os.environ, "COMPREHENSION_CACHE": f"{folder}/ours", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/torch"}
    os.makedirs(f"{folder}/ours", mode=0o700, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.start", "--child", side, name]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def measure(name: str, rounds: int) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Cold and warm samples of each side, interleaved."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    cores = Cores(usable())
    for _ in range(rounds):
        for side in SIDES if name != "digits" else SIDES[:1]:
            with tempfile.TemporaryDirectory() as folder:
                for state in ("cold", "warm"):
                    before = cores.wait(time.perf_counter() + PATIENCE_S)
                    sample = _sample(name, side, folder)
                    sample["quiet"] = float(before and cores.quiet())
                    found.setdefault(side, {}).setdefault(state, []).append(sample)
                    click.echo(f"{name:<18}{side:<15}{state:<6}{_told(sample)}")
    return found


def _told(sample: dict[str, float]) -> str:
    return (
        f"first result {sample['first_result_s']:8.3f} s, first fast step {sample['first_fast_step_s']:8.3f} s "
        f"(step {sample['steps_until_then']:.0f}), then {sample['step_then_ms']:7.2f} ms a step"
        f"{'' if sample['quiet'] else ', beside others'}"
    )


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(["digits", *NAMES]))
@click.option("--rounds", type=int, default=1, show_default=True, help="processes of each kind")
@click.option("--child", "side", type=click.Choice(SIDES), hidden=True)
def main(names: tuple[str, ...], rounds: int, side: str | None) -> None:
    """Measure how soon NAMES give their first result and their first fast step."""
    if side is not None:
        click.echo(json.dumps(child(names[0], side)))
        return
    for name in names or DEFAULT:
        path = RESULTS / "start.json"
        before = json.loads(path.read_text())["results"] if path.exists() else {}
        click.echo(str(save("start", {**before, name: measure(name, rounds)})))


if __name__ == "__main__":
    main()
