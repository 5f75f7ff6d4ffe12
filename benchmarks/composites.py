"""Into how many kernels the composites of deep learning go, beside those that a person would write, and their time.

In: nothing.  Out: `results/composites.json`: for each composite, forward alone and with its backward, operations
recorded, kernels, loop nests in them, the kernels that a person would write with the reason, and microseconds a step
co-executed and eager.  One thread.
Run: `python -m benchmarks.composites [NAME ...]`.

A kernel is what the graph calls once; it may run several loop nests one after the other.  Gradients that come from
above are operands, so that a step holds nothing but the composite.  What a person would write counts each pass over
the data that has to wait for another's whole result; products are a kernel each.  Batched attention is counted without
the trick of FlashAttention, which keeps blocks of scores on the chip.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import coexec
import minitensor as mt
from benchmarks.timing import THREAD_VARIABLES, save, time_sides
from minitensor import functional as F, nn, optim

ROUNDS = 40
WARM = 6
Step = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Composite:
    """`shapes`: of the operands, all of which get gradients; `forward`, `both`: (kernels that a person writes, why).

    `module`: makes what `function` takes first, whose parameters get gradients, too.  Of several results the first is
    differentiated.
    """

    function: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    forward: tuple[int, str]
    both: tuple[int, str] | None = None
    module: Callable[[], nn.Module] | None = None


def _normal(shape: tuple[int, ...], seed: int) -> mt.Tensor:
    return mt.asarray(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


_LABELS = mt.asarray(np.random.default_rng(0).integers(0, 512, 1024))
_RUNNING = (mt.zeros(64), mt.ones(64))


def _batch_norm(x: mt.Tensor, weight: mt.Tensor, bias: mt.Tensor) -> mt.Tensor:
    return F.batch_norm(x, *_RUNNING, weight, bias, training=True)


def _run(module: nn.Module, *operands: mt.Tensor) -> Any:
    return module(*operands)


COMPOSITES: dict[str, Composite] = {
    "softmax": Composite(
        lambda x: F.softmax(x, -1), ((1024, 512),), (1, "row by row"), (2, "forward; gradient, row by row")
    ),
    "cross-entropy": Composite(
        lambda x: F.cross_entropy(x, _LABELS, "none"),
        ((1024, 512),),
        (1, "row by row"),
        (2, "forward; gradient, row by row"),
    ),
    "layer norm": Composite(
        lambda x, w, b: F.layer_norm(x, (512,), w, b),
        ((1024, 512), (512,), (512,)),
        (1, "row by row"),
        (3, "forward; gradient of x, row by row; of weight and bias, down the columns"),
    ),
    "batch norm": Composite(
        _batch_norm,
        ((16, 64, 16, 16), (64,), (64,)),
        (1, "channel by channel"),
        (2, "forward; gradients, channel by channel"),
    ),
    "gelu": Composite(F.gelu, ((1024, 512),), (1, "element by element"), (2, "forward; gradient")),
    "linear, gelu": Composite(
        lambda x, w, b: F.gelu(F.linear(x, w, b)),
        ((256, 256), (512, 256), (512,)),
        (1, "a product, bias and gelu with it"),
        (4, "forward; gelu's gradient with the bias's sums; two products"),
    ),
    "attention": Composite(
        F.scaled_dot_product_attention,
        ((32, 64, 32), (32, 64, 32), (32, 64, 32)),
        (3, "scores; softmax; product with the values"),
        (8, "forward; gradients of values and weights; of softmax; of queries and keys"),
    ),
    "dropout": Composite(
        lambda x: F.dropout(x, 0.25), ((1024, 512),), (1, "element by element"), (2, "forward; gradient")
    ),
    "RNN cell": Composite(
        _run,
        ((64, 128), (64, 128)),
        (2, "two products, the second with all that follows"),
        (7, "forward; tanh's gradient with the biases' sums; four products"),
        lambda: nn.RNNCell(128, 128),
    ),
    "LSTM cell": Composite(
        lambda cell, x, h, c: cell(x, (h, c)),
        ((64, 128), (64, 128), (64, 128)),
        (3, "two products; gates"),
        (9, "forward; gates' gradients; sums of the biases; four products"),
        lambda: nn.LSTMCell(128, 128),
    ),
    "GRU cell": Composite(
        _run,
        ((64, 128), (64, 128)),
        (3, "two products; gates"),
        (9, "forward; gates' gradients; sums of the biases; four products"),
        lambda: nn.GRUCell(128, 128),
    ),
    "multi-head attention": Composite(
        lambda attention, x: attention(x, x, x, need_weights=False)[0],
        ((4, 64, 128),),
        (5, "projection; scores; softmax; product with the values; projection"),
        (16, "forward; two products and the bias's sum of each projection; attention's five"),
        lambda: nn.MultiheadAttention(128, 4, batch_first=True),
    ),
}


def _step(composite: Composite, backward: bool) -> Step:
    """A step that returns all that the composite makes."""
    operands = [_normal(shape, k) for k, shape in enumerate(composite.shapes)]
    for operand in operands:
        operand.requires_grad = backward
    module = [] if composite.module is None else [composite.module()]
    wanted = operands + [param for each in module for param in each.parameters()]
    for param in wanted:
        param.requires_grad = backward
    above = mt.ones(_first(composite.function(*module, *operands)).shape)

    def step() -> Any:
        y = composite.function(*module, *operands)
        if not backward:
            return y
        for operand in wanted:
            operand.grad = None
        _first(y).backward(above)
        results = y if isinstance(y, tuple) else (y,)
        return [result.detach() for result in results], [operand.grad for operand in wanted]

    return step


def _first(results: Any) -> Any:
    return results[0] if isinstance(results, tuple) else results


def _clip() -> Step:
    """Gradients come from above, and go back: what is clipped stays as it was for the next step."""
    shapes = [(512, 256), (512,), (128, 512), (128,), (64, 128, 3, 3), (64,)]
    params = [mt.nn.Parameter(mt.zeros(shape)) for shape in shapes]
    gradients = [_normal(shape, k) for k, shape in enumerate(shapes)]

    def step() -> Any:
        for param, gradient in zip(params, gradients, strict=True):
            param.grad = gradient.detach()
        norm = nn.clip_grad_norm_(params, 1.0)
        return norm, [param.grad for param in params]

    return step


def _update(make: Callable[[list[mt.Tensor]], optim.Optimizer]) -> Step:
    param = mt.nn.Parameter(_normal((512, 512), 0))
    param.grad = _normal((512, 512), 1)
    return make([param]).step


UPDATES: dict[str, Callable[[list[mt.Tensor]], optim.Optimizer]] = {
    "SGD": lambda params: optim.SGD(params, 0.1),
    "SGD, momentum and decay": lambda params: optim.SGD(params, 0.1, momentum=0.9, weight_decay=1e-4),
    "Adam": lambda params: optim.Adam(params, 1e-3),
    "AdamW": lambda params: optim.AdamW(params, 1e-3),
    "RMSprop": lambda params: optim.RMSprop(params, 1e-3),
    "RMSprop, momentum and decay": lambda params: optim.RMSprop(params, 1e-3, momentum=0.9, weight_decay=1e-4),
    "Adagrad": lambda params: optim.Adagrad(params, 1e-2),
}


def cases() -> dict[str, tuple[Callable[[], Step], int, str]]:
    """By name: what makes a fresh step, the kernels that a person would write, and why so many."""
    found: dict[str, tuple[Callable[[], Step], int, str]] = {}
    for name, composite in COMPOSITES.items():
        found[name] = (lambda c=composite: _step(c, backward=False), *composite.forward)  # type: ignore[misc]
        if composite.both is not None:
            found[f"{name} and backward"] = (lambda c=composite: _step(c, backward=True), *composite.both)  # type: ignore[misc]
    for name, make in UPDATES.items():
        found[f"update by {name}"] = (lambda m=make: _update(m), 1, "a parameter, element by element")  # type: ignore[misc]
    found["clipping by norm, six gradients"] = (_clip, 7, "all squares; each gradient's scaling")
    return found


def compiled(step: Step) -> coexec.Step[..., Any]:
    """The step co-executed, in its graph."""
    wrapped = coexec.coexecute(step)
    for _ in range(WARM):
        wrapped()
        coexec.wait()
        if wrapped.report().coexecuted_steps:
            return wrapped
    raise AssertionError(f"the step was not co-executed: {wrapped.report()}")


def measure(make: Callable[[], Step], written: int, why: str) -> dict[str, Any]:
    """One row of the table."""
    step = compiled(make())
    (session,) = step._sessions
    graph = session.compiled
    assert graph is not None
    timings = time_sides({"eager": make(), "co-executed": step}, rounds=ROUNDS)
    return {
        "operations": step.report().operations,
        "kernels": graph.kernels,
        "loop nests": sum(len(cluster.stages) for cluster in graph.clusters),
        "written by hand": written,
        "because": why,
        "microseconds": {side: round(1e6 * timings.median(side), 1) for side in ("co-executed", "eager")},
        "faster by": timings.ratio("eager", "co-executed"),
    }


def main() -> None:
    one_thread = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")
    if os.environ != one_thread:  # threads of a BLAS that wait for work would disturb the other side
        raise SystemExit(
            subprocess.run([sys.executable, "-m", "benchmarks.composites", *sys.argv[1:]], env=one_thread).returncode
        )
    chosen = sys.argv[1:] or list(cases())
    rows = {}
    for name in chosen:
        rows[name] = row = measure(*cases()[name])
        print(
            f"{name:34} {row['operations']:3} operations, {row['kernels']} kernels of {row['loop nests']} nests,"
            f" {row['written by hand']} by a person; {row['microseconds']}",
            flush=True,
        )
    if not sys.argv[1:]:
        print(save("composites", rows))


if __name__ == "__main__":
    main()
