"""Training programs as data: drawn by Hypothesis, rendered as Python source.

In: Hypothesis' choices.  Out: `ImperativeProgram`s that train a small network, each step another way.
Invariant: a step takes gradients of a loss unless it returns before by a condition; `make` gives an equal step each
time, and one may run in turns with another, as steps that draw numbers seed the generator.

A program has a network of a few layers over features of width 4, batches whose size may depend on the step's number,
an optimiser, a memory that is carried from step to step, and between them what training loops do besides: gradients
changed by hand, accumulation, penalties on gradients, frozen parameters, schedules, checkpoints, steps left out.
Numbers are floats, and rounding is `assert_equivalent`'s to judge.  Losses are below 1, so that what diverges stops
learning before it overflows (most of the time: layers may grow in loops).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import strategies as st

import minitensor as mt
from coexec.testing.imperative import SEEDED, ImperativeProgram, branches, indented
from minitensor.tensor import Tensor

_IMPORTS = """\
import copy

import minitensor as mt
from coexec.testing.imperative import State
from coexec.testing.training import batch, labels
from minitensor import functional as F, nn, optim

"""
_HEADER = """\
def make():
    mt.random.seed(3)
    model = nn.ModuleDict({{
        "first": nn.Linear(3, 4),
{layers}        "last": nn.Linear(4, 3),
    }})
    weights = list(model.parameters())
    optimizer = {optimizer}
    state, memory, history, saved = State(), mt.zeros((4,)), [], None

    def step(i):
        nonlocal memory, saved
{seeded}        rows = {rows}
        h = model["first"](batch(i, rows))
"""
_FOOTER = """\
        return loss, memory, state.scale, len(history)

    return step
"""
_LINES = st.SearchStrategy[list[str]]
_LAYERS = {
    "inner": "nn.Linear(4, 4)",
    "norm": "nn.LayerNorm(4)",
    "batch_norm": "nn.BatchNorm1d(4)",
    "drop": "nn.Dropout(0.25)",
    "cell": "nn.GRUCell(4, 4)",
    "recurrent": "nn.LSTM(4, 4)",
    "attention": "nn.MultiheadAttention(4, 2, batch_first=True)",
    "convolution": "nn.Conv1d(1, 2, 3, padding=1)",
    "embedding": "nn.Embedding(5, 4)",
}
_OPTIMIZERS = (
    "optim.SGD(weights, lr=0.05)",
    "optim.SGD(weights, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01)",
    "optim.Adam(weights, lr=0.02)",
    "optim.AdamW(weights, lr=0.02, weight_decay=0.1)",
    "optim.RMSprop(weights, lr=0.01, momentum=0.5)",
    "optim.Adagrad(weights, lr=0.05)",
)
_ROWS = ("3", "2 + i % 2", "1 + i % 3", "4 if i % 5 else 2", "2 + int(state.scale)", "2 + i % 7")


def batch(number: int, rows: int, columns: int = 3) -> Tensor:
    """A (rows, columns) float32 tensor of normal numbers, another one for each number."""
    drawn = np.random.default_rng(number).normal(size=(rows, columns))
    return mt.asarray(drawn.astype(np.float32))


def labels(number: int, rows: int, classes: int = 3) -> Tensor:
    """A (rows,) int64 tensor of numbers below `classes`."""
    return mt.asarray(np.random.default_rng(number + 1).integers(0, classes, rows))


@st.composite
def training_programs(draw: st.DrawFn, most_statements: int = 4) -> ImperativeProgram:
    """Programs that train a network, of up to `most_statements` statements between its first layer and its loss."""
    lines = [line for _ in range(draw(st.integers(1, most_statements))) for line in draw(_statements(2))]
    lines += [f"loss = mt.tanh(0.1 * ({draw(_losses())}))"]
    lines += draw(_interruptions())
    lines += [*draw(_gradients()), *draw(_changes()), *draw(_updates()), *draw(_afterwards())]
    return render(lines, draw(st.sampled_from(_OPTIMIZERS)), draw(st.sampled_from(_ROWS)))


def render(lines: list[str], optimizer: str = _OPTIMIZERS[0], rows: str = _ROWS[0]) -> ImperativeProgram:
    """The program whose step consists of these lines.

    They are over `model`, `h` of shape (rows, 4), `memory` of shape (4,), `optimizer`, `weights`, `state`, `history`
    and `i`.
    """
    body = "".join(f"        {line}\n" for line in lines)
    layers = "".join(f'        "{name}": {layer},\n' for name, layer in _LAYERS.items() if f'"{name}"' in body)
    seeded = SEEDED if "mt.random" in body or '"drop"' in body else ""
    header = _HEADER.format(layers=layers, optimizer=optimizer, rows=rows, seeded=seeded)
    return ImperativeProgram(header + body + _FOOTER, _IMPORTS)


# --- the network ----------------------------------------------------------------------------------------


def _each_row(*lines: str) -> list[str]:
    return ["for k in range(rows):", *indented(list(lines))]


@cache
def _features() -> _LINES:
    """Statements that make new features of `h`."""
    return st.sampled_from(
        [
            ['h = mt.tanh(model["inner"](h))'],
            ['h = h + F.relu(model["inner"](h))'],
            ['h = F.gelu(model["inner"](h)) * 0.5'],
            ['h = model["norm"](h)'],
            ['h = model["batch_norm"](h) if rows > 1 else h'],
            ['h = model["drop"](h)'],
            ['h = model["cell"](h, mt.tanh(h))'],
            ['h = model["recurrent"](mt.expand_dims(h, axis=1))[0][:, 0]'],
            ['h = h + model["attention"](*[mt.expand_dims(h, axis=0)] * 3)[0][0]'],
            ['h = model["convolution"](mt.expand_dims(h, axis=1)).mean(axis=1)'],
            ['h = h + model["embedding"](labels(i, rows, 5))'],
            ['h = h + model["embedding"](mt.argmax(h, axis=1))'],
            ["h = h - h.mean(axis=0)"],
            ["h = h + memory"],
            ["h = mt.where(h > 0.0, h, 0.1 * h)"],
            ["h = mt.concat([h[1:], h[:1]], axis=0)"],
            ["h = F.softmax(h, axis=-1) * 2.0"],
            ["h = F.softmax(h @ h.T, axis=-1) @ h"],
            ["h = mt.stack([h, h * 0.5]).max(axis=0)"],
            ["h = h * float(i % 3)"],
            ["h = h * state.scale"],
            ["h = mt.sort(h, axis=0)"],
            ["h = h[labels(i, rows, rows)]"],
            ["h = h + mt.random.normal((rows, 4)) * 0.1"],
            ["h = h + batch(i + 7, rows, 4)"],
            ["h = h.detach() + h"],
            ["h[0] = memory * 0.5"],
            ["h *= 0.5"],
            ["h = mt.cumulative_sum(h, axis=0) * 0.5"],
            ["h = h / (1.0 + mt.sqrt((h * h).sum(axis=1, keepdims=True) + 1.0))"],
            ["h = mt.stack([mt.tanh(row) for row in h])"],
            ["h = mt.stack([mt.tanh(h[:, k] * (k + 1.0)) for k in range(4)], axis=1)"],
            ["h = mt.stack([h[rows - 1 - k] for k in range(rows)])"],
            ["h = mt.concat([h[k : k + 1] * (k + 1.0) for k in range(rows)], axis=0) * 0.5"],
            ["row = memory", *_each_row("row = mt.tanh(h[k] + 0.5 * row)"), "h = h + row"],
            ["row = memory", *_each_row("row = mt.tanh(h[k] + 0.5 * row)", "h[k] = row")],
            ["past = [memory]", *_each_row("past.append(mt.tanh(past[-1] - h[k]))"), "h = mt.stack(past[1:])"],
        ]
    )


@cache
def _memories() -> _LINES:
    """Statements that change what is carried from step to step, on Python's side or on the graph's."""
    return st.sampled_from(
        [
            ["memory = 0.5 * memory + h.detach().mean(axis=0)"],
            ["memory = mt.tanh(memory + weights[1].detach())"],
            ["memory[i % 4] = 0.0"],
            ["memory *= 0.5"],
            ["with mt.no_grad():", "    memory = mt.tanh(h).sum(axis=0)"],
            ["state.scale = (state.scale + 1) % 3"],
            ["state.count += 1"],
            ["history.append(h.detach().mean(axis=0))", "del history[:-3]"],
            ["memory = history[0] if history else memory"],
            ["model.train(i % 4 != 3)"],
            ["model.eval()"],
            ['model["first"].weight.requires_grad = i % 5 < 3'],
        ]
    )


@cache
def _conditions() -> st.SearchStrategy[str]:
    periodic = st.builds("i % {} < {}".format, st.integers(2, 5), st.integers(1, 2))
    python = st.sampled_from(["state.count % 3 == 1", "len(history) % 2 == 0", "model.training", "rows > 2"])
    values = st.sampled_from(
        ["float(h.mean()) > 0.1", "float(memory.sum()) > -0.3", "bool((h > 1.0).any())", "int(mt.argmax(h[0])) < 2"]
    )
    return st.one_of(periodic, python, values)


@cache
def _statements(depth: int) -> _LINES:
    """One statement of the forward pass as lines; `depth` bounds the nesting."""
    plain = st.one_of(_features(), _features(), _memories())
    if depth <= 0:
        return plain
    return st.one_of(plain, st.deferred(lambda: branches(_conditions(), _statements, depth)), _loops(depth))


@cache
def _loops(depth: int) -> _LINES:
    """Loops of counts that vary, and such as end by a value."""

    def counted(count: str, body: list[str]) -> list[str]:
        return [f"for k in range({count}):", *indented(body)]

    def ended(limit: str, body: list[str]) -> list[str]:
        return [
            "for k in range(4):",
            *indented(body),
            f"    if float((h * h).mean()) < {limit}:",
            "        break",
            "    h = 0.5 * h",
        ]

    bodies = st.deferred(lambda: _statements(depth - 1))
    return st.one_of(
        st.builds(counted, st.sampled_from(["2", "1 + i % 3", "rows", "state.count % 3"]), bodies),
        st.builds(ended, st.sampled_from(["0.3", "0.05"]), bodies),
    )


# --- loss, gradients, update ----------------------------------------------------------------------------


@cache
def _losses() -> st.SearchStrategy[str]:
    losses = st.sampled_from(
        [
            'F.mse_loss(model["last"](h), batch(i + 5, rows))',
            'F.cross_entropy(model["last"](h), labels(i, rows))',
            '(model["last"](h) * batch(i + 5, rows)).mean()',
            'F.logsumexp(model["last"](h), axis=-1).mean()',
            'F.smooth_l1_loss(model["last"](h)[:, 0], batch(i + 5, rows)[:, 1])',
            '(h * h).mean() + model["last"](h).mean()',
        ]
    )
    penalties = st.sampled_from(["", "", " + 0.01 * sum((w * w).sum() for w in weights)", " / (1.0 + i % 3)"])
    return st.builds("{}{}".format, losses, penalties)


def _guarded(statements: _LINES) -> _LINES:
    """Under a condition."""
    return st.builds(lambda test, body: [f"if {test}:", *indented(body)], _conditions(), statements)


def _either(*statements: list[str]) -> _LINES:
    """One of these, always or under a condition; or nothing."""
    drawn = st.sampled_from(statements)
    return st.one_of(st.just([]), drawn, _guarded(drawn))


@cache
def _interruptions() -> _LINES:
    """What a step may do before its gradients, or instead of them."""
    others = _either(
        ["history.append(float(loss))", "del history[:]"],
        ["print(f'{float(loss):.1f}')"],
        ["loss = loss * 0.5"],
        ["loss = loss.detach() * loss"],
    )
    return st.one_of(others, others, _guarded(st.just(["return loss, memory, rows"])))


@cache
def _gradients() -> _LINES:
    """From a loss to gradients: once, in two parts, of another loss as well, with the norm of the gradients in it."""
    cleared = st.sampled_from([["optimizer.zero_grad()"], ["if i % 3 == 0:", "    optimizer.zero_grad()"]])
    backward = st.sampled_from(
        [
            ["loss.backward()"],
            ["loss.backward()"],
            ["(loss * 4.0).backward()", "for w in weights:", "    w.grad = None if w.grad is None else w.grad * 0.25"],
            ["loss.backward()", '(model["last"](h.detach()) * 0.1).sum().backward()'],
            ["loss.backward(create_graph=True)", _PENALTY],
            ["loss.backward(mt.asarray(0.5 + i % 2, dtype=mt.float32))"],
        ]
    )
    return st.builds(lambda clear, lines: [*clear, *lines], cleared, backward)


_PENALTY = "(0.1 * sum((w.grad * w.grad).sum() for w in weights if w.grad is not None)).backward()"


@cache
def _changes() -> _LINES:
    """Gradients and hyperparameters changed by hand."""
    return _either(
        ["state.count += float(nn.clip_grad_norm_([w for w in weights if w.grad is not None], 0.5)) > 0.5"],
        ["nn.clip_grad_norm_([w for w in weights if w.grad is not None], 0.5)"],
        ["weights[0].grad = None"],
        ["weights[-1].grad = mt.sign(weights[-1].grad) * 0.1"],
        ["optimizer.lr = 0.05 / (1 + i % 4)"],
        ["optimizer.lr *= 0.9"],
    )


@cache
def _updates() -> _LINES:
    plain = st.just(["optimizer.step()"])
    twice = st.just(["optimizer.step()", "if i % 4 == 1:", "    optimizer.step()"])
    return st.one_of(plain, plain, _guarded(plain), twice)


@cache
def _afterwards() -> _LINES:
    """What follows an update: checkpoints, averages, weights changed by hand."""
    return _either(
        ["saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))"],
        [
            "if saved is None:",
            "    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))",
            "elif i % 5 == 2:",
            "    model.load_state_dict(saved[0])",
            "    optimizer.load_state_dict(saved[1])",
        ],
        ["memory = 0.9 * memory + 0.1 * weights[1].detach()"],
        ["with mt.no_grad():", "    weights[0] *= 0.95"],
        ["optimizer.zero_grad()"],
        ["state.count += 1"],
    )
