"""An operator of one's own inside a training step: a gated activation as text, with its gradient, co-executed.

In: a small regression problem, drawn.  Out: on the screen, the gradient checked, the loss eagerly and co-executed, and
in which kernel the operator ended up.  Run by `python -m examples.user_operator`.

The activation is y = x · sigmoid(a · x + b) with a slope and an offset for each feature, learnt with the rest.  No
library has it as one operation; composed of library operations its backward pass keeps five intermediate tensors.
"""

from __future__ import annotations

from collections.abc import Callable

import click
import numpy as np

import coexec
import minitensor as mt
from minitensor.testing import gradcheck

TEXT = """\
def gated(float(N, F) X, float(F) a, float(F) b) -> (Y) {
    Y(n, f) = X(n, f) / (1.0 + exp(-(a(f) * X(n, f) + b(f))))
}
"""
# What it needs it takes by name: parameters, outputs, and d_Y; for each parameter there is a d_ of its own.
GRADIENT = """\
def gated_grad(float(N, F) X, float(F) a, float(F) b, float(N, F) d_Y) -> (d_X, d_a, d_b) {
    S(n, f) = 1.0 / (1.0 + exp(-(a(f) * X(n, f) + b(f))))
    T(n, f) = d_Y(n, f) * X(n, f) * S(n, f) * (1.0 - S(n, f))
    d_X(n, f) = d_Y(n, f) * S(n, f) + a(f) * T(n, f)
    d_a(f) +=! T(n, f) * X(n, f)
    d_b(f) +=! T(n, f)
}
"""


def check_gradient() -> None:
    """The texts in float64, against differences along random directions.  Raises AssertionError."""
    double = mt.operator(TEXT.replace("float", "double"), grad=GRADIENT.replace("float", "double"))
    rng = np.random.default_rng(0)
    gradcheck(double, [rng.standard_normal((5, 3)), rng.standard_normal(3), rng.standard_normal(3)])


def training(gated: mt.Operator, rows: int) -> Callable[[], float]:
    """A step of gradient descent on a two-layer network; each call returns the loss before it."""
    mt.random.seed(0)
    x = mt.random.normal((rows, 8))
    target = mt.sin(x[:, :1]) * x[:, 1:2]
    first, second = mt.random.normal((8, 32)) * 0.3, mt.random.normal((32, 1)) * 0.2
    slope, offset = mt.ones((32,)), mt.zeros((32,))
    parameters = [first, second, slope, offset]
    for parameter in parameters:
        parameter.requires_grad = True

    def step() -> float:
        loss = mt.mean((gated(x @ first, slope, offset) @ second - target) ** 2)
        loss.backward()
        with mt.no_grad():
            for parameter in parameters:
                parameter -= 0.2 * parameter.grad
                parameter.grad = None
        return float(loss)

    return step


@click.command()
@click.option("--rows", default=256, show_default=True, help="Examples in the batch.")
@click.option("--steps", default=200, show_default=True, help="Steps of gradient descent.")
def main(rows: int, steps: int) -> None:
    """Check the gradient, train eagerly and co-executed, show the kernels."""
    click.echo(TEXT + GRADIENT)
    check_gradient()
    click.echo("the gradient agrees with differences in float64\n")
    gated = mt.operator(TEXT, grad=GRADIENT)

    eager = training(gated, rows)
    losses = [eager() for _ in range(steps)]
    compiled = coexec.coexecute(training(gated, rows))
    again = []
    for number in range(steps):
        again.append(compiled())
        if number == 5:
            coexec.wait()
    click.echo(f"loss {losses[0]:.4f} -> {losses[-1]:.4f} eagerly, {again[-1]:.4f} co-executed")
    assert losses[-1] < losses[0] and np.isclose(losses[-1], again[-1], rtol=1e-2), (losses[-1], again[-1])
    report = compiled.report()
    assert report.coexecuted_steps > 0, report
    click.echo(f"{report.coexecuted_steps} of {report.steps} steps ran in the graph, {report.kernels} kernels a step")
    click.echo("where the operator and its gradient ended up:")
    lines = [line for line in str(coexec.explain(compiled)).splitlines() if line.lstrip().startswith("gated_")]
    for line in dict.fromkeys(line for line in lines if " where " in line):
        click.echo(line)


if __name__ == "__main__":
    main()
