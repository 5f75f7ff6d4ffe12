"""Training loops with their usual twists, one small program each (see `programs`)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from programs import Step, data, parameter

import minitensor as mt
from minitensor import functional as F
from minitensor.optim import SGD, Adam, AdamW, RMSprop

FOLDER = Path(tempfile.mkdtemp())


def small(*parameters: mt.Tensor, offset: int = 0) -> None:
    """Sets parameters back to small integers, so that products stay exact."""
    for p in parameters:
        p.value = data(*p.shape, offset=offset).value


def two_optimisers() -> Step:
    """A generator and a discriminator, each with its own."""
    g, d = parameter(3), parameter(3)
    of_g, of_d = SGD([g], lr=0.5), SGD([d], lr=0.25)

    def step(i: int) -> Any:
        fake = g * data(3, offset=i)
        of_d.zero_grad()
        ((fake.detach() - data(3)) * d).sum().backward()
        of_d.step()
        loss = None
        if i % 2 == 0:
            of_g.zero_grad()
            loss = (fake * d).sum()
            loss.backward()
            of_g.step()
        if i % 4 == 3:
            small(g, d, offset=i)
        return loss

    return step


def loss_scaling_with_skipped_steps() -> Step:
    w = parameter(3)
    optimiser = SGD([w], lr=0.5)
    scale = [4.0]

    def step(i: int) -> Any:
        optimiser.zero_grad()
        x = data(3, offset=i) * (float("inf") if i % 5 == 4 else 1.0)
        ((w * x).sum() * scale[0]).backward()
        assert w.grad is not None
        w.grad = w.grad * (1.0 / scale[0])
        if bool(mt.isfinite(w.grad).all()):
            optimiser.step()
            scale[0] = min(scale[0] * 2.0, 16.0)
        else:
            scale[0] *= 0.5
        if i % 4 == 3:
            small(w, offset=i)
        return scale[0]

    return step


def checkpoints_loaded_in_between() -> Step:
    model = mt.nn.Linear(3, 2)
    small(*model.parameters())
    optimiser = SGD(model.parameters(), lr=0.5, momentum=0.5)
    path = FOLDER / "model.safetensors"
    saved: dict[str, Any] = {}

    def step(i: int) -> Any:
        if i % 6 == 1:
            mt.save(model.state_dict(), path)
            saved.update(optimiser.state_dict())
        if i % 6 == 4:
            model.load_state_dict(mt.load(path))
            optimiser.load_state_dict(saved)
        optimiser.zero_grad()
        loss = model(data(2, 3, offset=i)).sum()
        loss.backward()
        optimiser.step()
        if i % 4 == 3:
            small(*model.parameters(), offset=i)
        return float(loss)

    return step


def backward_over_several_steps() -> Step:
    """The tape of one step leads into the step before; every third step goes back over all of it."""
    w = parameter(3)
    held: list[Any] = [None]

    def step(i: int) -> Any:
        x = data(3, offset=i)
        held[0] = x * w if held[0] is None else mt.clip(held[0] * 0.5, -4.0, 4.0) + x * w
        if i % 3 == 2:
            held[0].sum().backward()
            held[0] = None
            grad, w.grad = w.grad, None
            return grad
        return None

    return step


def backward_again_and_graphs_kept() -> Step:
    w = parameter(3)

    def step(i: int) -> Any:
        loss = (w * w * data(3, offset=i)).sum()
        loss.backward()
        loss.backward()
        first = w.grad
        w.grad = None
        (w * w).sum().backward(create_graph=True)
        second = w.grad
        assert second is not None
        w.grad = None
        (second * second).sum().backward()
        third, w.grad = w.grad, None
        return first, second.detach(), third

    return step


def schedules_of_every_scalar() -> Step:
    w, v = parameter(4), parameter(4)
    sgd, adam = SGD([w], lr=0.5, momentum=0.5), AdamW([v], lr=0.5)

    def step(i: int) -> Any:
        sgd.lr, sgd.momentum = 1.0 / (1 + i), 0.5 + i / 64
        adam.lr, adam.betas, adam.eps = 0.5 / (1 + i), (0.5 + i / 128, 0.75 + i / 256), 2.0 ** -(10 + i % 7)
        adam.weight_decay = i / 128
        sgd.zero_grad()
        adam.zero_grad()
        ((w + v) * data(4, offset=i) * (1.0 + i / 8)).sum().backward()
        assert w.grad is not None
        w.grad = mt.clip(w.grad, -1.0 - i, 1.0 + i)
        sgd.step()
        adam.step()
        return w.detach(), v.detach()

    return step


def scheduler_and_warm_restart() -> Step:
    w = parameter(3)
    optimiser = SGD([w], lr=1.0)
    schedule = mt.optim.lr_scheduler.CosineAnnealingLR(optimiser, 8)

    def step(i: int) -> Any:
        nonlocal optimiser, schedule
        if i == 12:  # another object for the same parameter
            optimiser = SGD([w], lr=0.25)
            schedule = mt.optim.lr_scheduler.CosineAnnealingLR(optimiser, 8)
        optimiser.zero_grad()
        (w * data(3, offset=i)).sum().backward()
        optimiser.step()
        schedule.step()
        return optimiser.lr

    return step


def training_and_evaluation_in_turns() -> Step:
    """Batch norm's running statistics and dropout's draws, in training steps only."""
    norm, drop = mt.nn.BatchNorm2d(3), mt.nn.Dropout(0.5)

    def step(i: int) -> Any:
        training = i % 4 != 3
        norm.train(training)
        drop.train(training)
        y = drop(norm(data(4, 3, 2, 2, offset=i)))
        return y, norm.running_mean, norm.training

    return step


def dtype_switches() -> Step:
    def step(i: int) -> Any:
        dtype = (mt.float32, mt.float64, mt.int64)[(i // 3) % 3]
        x = data(3, offset=i).astype(dtype)
        y = x * 2 + x
        return y, (y > 0).sum(), y.astype(mt.float32) * 0.5

    return step


def clipping_by_norm() -> Step:
    a, b = parameter(3), parameter(2, 2)
    optimiser = SGD([a, b], lr=0.5)

    def step(i: int) -> Any:
        optimiser.zero_grad()
        ((a * data(3, offset=i)).sum() * (b * data(2, 2, offset=i)).sum()).backward()
        norm = mt.sqrt(sum(((p.grad * p.grad).sum() for p in (a, b)), mt.asarray(0.0)))
        if float(norm) > 4.0:
            for p in (a, b):
                p.grad = p.grad * 0.25
        optimiser.step()
        if i % 3 == 2:
            small(a, b, offset=i)
        return norm

    return step


def parameters_added_and_swapped() -> Step:
    layers = [parameter(3)]

    def step(i: int) -> Any:
        if i == 7:
            layers.append(parameter(3))
        if i == 14:
            layers[0] = parameter(3) * 2.0
            layers[0] = layers[0].detach()
            layers[0].requires_grad = True
        x = data(3, offset=i)
        for w in layers:
            w.grad = None
            x = mt.clip(x * w, -4.0, 4.0)
        x.sum().backward()
        return [w.grad for w in layers]

    return step


def shared_weights_and_averages() -> Step:
    """Weights used twice, and an exponential moving average of them kept outside the optimiser."""
    w = parameter(3, 3)
    average = w.detach()
    optimiser = SGD([w], lr=0.25)

    def step(i: int) -> Any:
        nonlocal average
        optimiser.zero_grad()
        (data(2, 3, offset=i) @ w @ mt.permute_dims(w, (1, 0))).sum().backward()
        optimiser.step()
        average = average * 0.5 + w.detach() * 0.5
        if i % 2:
            small(w, offset=i)
            average = mt.clip(mt.floor(average), -4.0, 4.0)
        return average

    return step


def epochs_with_a_short_last_batch() -> Step:
    """Batches of 4, the last of 2; sequences padded to the longest of the batch."""
    w = parameter(3)
    lengths = [3, 5, 4, 2, 6, 3, 5, 7, 2, 4]

    def step(i: int) -> Any:
        batch = lengths[4 * (i % 3) : 4 * (i % 3) + 4]
        longest = max(batch)
        x = data(len(batch), longest, 3, offset=i)
        mask = mt.asarray((np.arange(longest)[None, :] < np.array(batch)[:, None]).astype(np.float32))
        loss = ((x * w).sum(axis=2) * mask).sum()
        w.grad = None
        loss.backward()
        return loss.detach(), w.grad

    return step


def labels_and_losses() -> Step:
    """Accuracy counted in Python, cross-entropy of integer labels."""
    correct = [0]

    def step(i: int) -> Any:
        logits = data(4, 3, offset=i)
        labels = mt.asarray(np.arange(4) % 3)
        guess = mt.argmax(logits, axis=1)
        correct[0] += int((guess == labels).sum())
        return F.one_hot(labels, 3), correct[0], logits[mt.arange(4), labels]

    return step


def labels_out_of_range() -> Step:
    """A bad label now and then, caught: the same text as eagerly, and no half of a gradient."""
    w = parameter(3, 3)

    def step(i: int) -> Any:
        labels = mt.asarray(np.array([0, 1, 3 if i % 4 == 3 else 2]))
        w.grad = None
        try:
            loss = F.cross_entropy(w * data(3, 3, offset=i) * 0.0, labels)
            loss.backward()
        except Exception as error:
            return type(error).__name__, str(error), w.grad
        return loss, w.grad

    return step


def adam_with_frozen_layers() -> Step:
    a, b = parameter(2), parameter(2)
    optimiser = Adam([a, b], lr=0.5)

    def step(i: int) -> Any:
        b.requires_grad = not 6 <= i < 12
        optimiser.zero_grad()
        (a * b * data(2, offset=i)).sum().backward()
        optimiser.step()
        return b.grad is None, a.detach(), b.detach()

    return step


def recurrent_cell_with_clipping() -> Step:
    """Backpropagation through a few rounds of a cell; the state goes on into the next step, without its past."""
    cell = mt.nn.GRUCell(2, 3)
    for p in cell.parameters():
        small(p)
    optimiser = RMSprop(cell.parameters(), lr=0.125)
    state = [mt.zeros((2, 3))]

    def step(i: int) -> Any:
        h, loss = state[0].detach(), mt.asarray(0.0)
        for number in range(1 + i % 5 // 4):
            h = cell(data(2, 2, offset=i + number), h)
            loss = loss + (h * h).sum()
        optimiser.zero_grad()
        loss.backward()
        norm = mt.nn.clip_grad_norm_(cell.parameters(), 1.0)
        mt.nn.clip_grad_value_(cell.parameters(), 0.5)
        optimiser.step()
        state[0] = h
        return loss, norm

    return step


TRAINING = [
    two_optimisers,
    loss_scaling_with_skipped_steps,
    checkpoints_loaded_in_between,
    backward_over_several_steps,
    backward_again_and_graphs_kept,
    schedules_of_every_scalar,
    scheduler_and_warm_restart,
    training_and_evaluation_in_turns,
    dtype_switches,
    clipping_by_norm,
    parameters_added_and_swapped,
    shared_weights_and_averages,
    epochs_with_a_short_last_batch,
    labels_and_losses,
    labels_out_of_range,
    adam_with_frozen_layers,
    recurrent_cell_with_clipping,
]
