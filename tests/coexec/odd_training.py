"""Training loops as people write them, with an odd turn each: part of what `test_coexec_odd_programs` runs.

Real numbers, unlike in `training`: over kernels they may differ as far as rounding explains.
"""

from __future__ import annotations

import collections
import copy
import itertools
import math
import random
from typing import Any

import numpy as np
from programs import Step

import minitensor as mt
from minitensor import functional as F, nn, optim


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> mt.Tensor:
    return mt.asarray((rng.normal(size=shape) * scale).astype(np.float32))


def labels(rng: np.random.Generator, most: int, n: int) -> mt.Tensor:
    return mt.asarray(rng.integers(0, most, n))


# --- lengths that vary ----------------------------------------------------------------------------------


def ragged_batches() -> Step:
    """Another number of sequences in each step, each of another length: embedded, averaged, classified."""
    rng = np.random.default_rng(5)
    embedding, out = nn.Embedding(20, 6), nn.Linear(6, 2)
    optimiser = optim.Adam([*embedding.parameters(), *out.parameters()], lr=1e-2)

    def step(i: int) -> Any:
        lengths = rng.integers(1, 7, rng.integers(2, 6))
        pooled = [embedding(labels(rng, 20, n)).mean(axis=0) for n in lengths]
        loss = F.cross_entropy(out(mt.stack(pooled)), mt.asarray(lengths % 2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss, len(lengths)

    return step


def policy_gradient() -> Step:
    """Episodes of 3 to 7 rounds, actions drawn from what the policy says: branches by values, a tape of any length."""
    rng = np.random.default_rng(3)
    policy = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    optimiser = optim.Adam(policy.parameters(), lr=2e-2)

    def episode() -> tuple[list[mt.Tensor], list[float]]:
        x, chosen, rewards = 0.0, [], []
        while abs(x) <= 1.5 and len(rewards) < 7:
            state = mt.asarray(np.array([[x, 1.0]], np.float32))
            log_p = F.log_softmax(policy(state), axis=-1)[0]
            p = np.exp(log_p.detach().numpy().astype(np.float64))
            action = int(rng.random() < p[1] / p.sum())
            chosen.append(log_p[action])
            x += (action - 0.5) + rng.normal() * 0.1
            rewards.append(1.0 if x > 1.5 else -0.1)
        return chosen, rewards

    def step(i: int) -> Any:
        chosen, rewards = episode()
        returns = [*itertools.accumulate(reversed(rewards), lambda g, r: r + 0.9 * g)][::-1]
        gain = mt.asarray(returns)
        loss = -(mt.stack(chosen) * (gain - gain.mean())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss, len(rewards)

    return step


def recurrent_lengths() -> Step:
    rng = np.random.default_rng(9)
    cell, head = nn.LSTMCell(3, 4), nn.Linear(4, 1)
    optimiser = optim.Adam([*cell.parameters(), *head.parameters()], lr=1e-2)

    def step(i: int) -> Any:
        state, loss = None, mt.asarray(0.0)
        for t in range((3, 5, 4)[i % 3]):
            state = cell(normal(rng, 2, 3), state)
            loss = loss + (head(state[0]) ** 2).mean() * 0.9**t
        optimiser.zero_grad()
        loss.backward()
        nn.clip_grad_norm_(cell.parameters(), 0.5)
        optimiser.step()
        return loss, state[0]

    return step


def accumulation_of_varying_length() -> Step:
    """One to four backward passes before an update; the number of them scales the gradients."""
    rng = np.random.default_rng(11)
    model = nn.Linear(3, 1)
    optimiser = optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)

    def step(i: int) -> Any:
        parts = 1 + i * 7 % 4
        optimiser.zero_grad()
        total = 0.0
        for _ in range(parts):
            loss = (model(normal(rng, 2, 3)) ** 2).mean() / parts
            loss.backward()
            total += float(loss)
        optimiser.step()
        return total

    return step


def beams() -> Step:
    """A search whose order NumPy decides, and which may end early."""
    rng = np.random.default_rng(10)
    embedding, w, out = normal(rng, 9, 6), normal(rng, 6, 6, scale=0.4), normal(rng, 6, 9)

    def step(i: int) -> Any:
        found = [(0.0, (i % 9,), mt.zeros((6,)))]
        for _ in range(3):
            last = mt.asarray([tokens[-1] for _, tokens, _ in found])
            h = mt.tanh(embedding[last] + mt.stack([state for *_, state in found]) @ w)
            scores = F.log_softmax(h @ out, axis=-1).numpy() + np.array([[score] for score, *_ in found])
            order = np.argsort(-scores, axis=None, kind="stable")[:3]
            found = [(float(scores.flat[k]), (*found[k // 9][1], int(k % 9)), h[int(k // 9)]) for k in order]
            if all(tokens[-1] == 0 for _, tokens, _ in found):
                break
        return [tokens for _, tokens, _ in found], found[0][2]

    return step


def experts_chosen_by_a_gate() -> Step:
    """Rows go to the expert that the gate chose; an expert may get one row, or none, and is skipped then."""
    rng = np.random.default_rng(28)
    gate, experts = nn.Linear(4, 2), [nn.Linear(4, 2) for _ in range(2)]
    optimiser = optim.SGD([*gate.parameters(), *[p for e in experts for p in e.parameters()]], lr=0.05)

    def step(i: int) -> Any:
        x = normal(rng, 6, 4)
        p = F.softmax(gate(x), axis=-1)
        top, out = p.argmax(axis=-1).numpy(), mt.zeros((6, 2))
        for k, expert in enumerate(experts):
            rows = np.flatnonzero(top == k)
            if len(rows):
                r = mt.asarray(rows)
                out = out + mt.scatter_add(expert(x[r]) * p[r, k][:, None], r, axis=0, extent=6)
        loss = ((out - x[:, :2]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss, top

    return step


# --- gradients of gradients -----------------------------------------------------------------------------


def gradient_penalty() -> Step:
    rng = np.random.default_rng(2)
    critic = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))
    optimiser = optim.Adam(critic.parameters(), lr=1e-2)

    def step(i: int) -> Any:
        real, fake = normal(rng, 4, 3), normal(rng, 4, 3) + 1.0
        e = mt.random.uniform((4, 1))
        mixed = (e * real + (1 - e) * fake).detach()
        mixed.requires_grad = True
        critic(mixed).sum().backward(create_graph=True)
        g = mixed.grad
        assert g is not None
        optimiser.zero_grad()
        penalty = ((mt.sqrt((g * g).sum(axis=1) + 1e-8) - 1.0) ** 2).mean()
        loss = critic(fake).mean() - critic(real).mean() + (1.0 + i % 3) * penalty
        loss.backward()
        optimiser.step()
        return loss, penalty

    return step


def inner_loops_of_learning_to_learn() -> Step:
    rng = np.random.default_rng(8)
    w, v = nn.Parameter(normal(rng, 1, 4)), nn.Parameter(normal(rng, 4, 1))
    optimiser = optim.SGD([w, v], lr=0.01)

    def predict(w: Any, v: Any, x: Any) -> Any:
        return mt.tanh(x @ w) @ v

    def step(i: int) -> Any:
        meta = mt.asarray(0.0)
        for _ in range(1 + i % 2):
            x = normal(rng, 6, 1)
            y = mt.sin(x * float(rng.uniform(0.5, 2.0)))
            fast: Any = (w, v)
            for _ in range(2):
                loss_of = lambda *p, x=x, y=y: F.mse_loss(predict(*p, x[:3]), y[:3])  # noqa: E731
                gradients = mt.grad(loss_of, argnums=(0, 1))(*fast)
                fast = tuple([p - 0.0625 * g for p, g in zip(fast, gradients, strict=True)])
            meta = meta + F.mse_loss(predict(*fast, x[3:]), y[3:])
        optimiser.zero_grad()
        meta.backward()
        optimiser.step()
        return meta

    return step


def conjugate_gradients() -> Step:
    """Products with the Hessian, as many as a residual that is read asks for."""
    rng = np.random.default_rng(24)
    w, a = nn.Parameter(normal(rng, 4)), normal(rng, 7, 4)

    def loss_of(u: mt.Tensor) -> mt.Tensor:
        return F.softplus(a @ u).sum() + 0.5 * (u * u).sum()

    def step(i: int) -> Any:
        at = w.detach()
        r = -mt.grad(loss_of)(at)
        x, p, square, rounds = mt.zeros((4,)), r, (r * r).sum(), 0
        while float(square) > 1e-3 and rounds < 1 + i % 3:
            product = mt.grad(lambda u, p=p: (mt.grad(loss_of)(u) * p).sum())(at)
            alpha = square / (p * product).sum()
            x, r = x + alpha * p, r - alpha * product
            new = (r * r).sum()
            p, square, rounds = r + new / square * p, new, rounds + 1
        with mt.no_grad():
            w[...] = normal(rng, 4) if i % 7 == 6 else w + 0.25 * x
        return loss_of(w.detach()), rounds

    return step


def adversarial_inputs() -> Step:
    """A gradient of the input first, then of the parameters at the input moved by its sign."""
    rng = np.random.default_rng(12)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    optimiser = optim.SGD(model.parameters(), lr=0.1)

    def step(i: int) -> Any:
        x, y = normal(rng, 5, 4), labels(rng, 2, 5)
        x.requires_grad = True
        F.cross_entropy(model(x), y).backward()
        assert x.grad is not None
        moved = (x + (0.125 if i % 3 else 0.0) * mt.sign(x.grad)).detach()
        optimiser.zero_grad()
        loss = F.cross_entropy(model(moved), y)
        loss.backward()
        optimiser.step()
        return loss, x.grad

    return step


# --- updates of one's own -------------------------------------------------------------------------------


def an_optimiser_of_ones_own() -> Step:
    class Lion(optim.Optimizer):
        def __init__(self, params: Any, lr: float = 0.0625) -> None:
            super().__init__(params, lr)
            self.moments: dict[int, mt.Tensor] = {}

        def step(self) -> None:
            with mt.no_grad():
                for k, p in enumerate(self.params):
                    if p.grad is not None:
                        m = self.moments.get(k, mt.zeros(p.shape))
                        p -= self.lr * mt.sign(0.875 * m + 0.125 * p.grad)
                        self.moments[k] = 0.75 * m + 0.25 * p.grad

    rng = np.random.default_rng(13)
    w = nn.Parameter(normal(rng, 4))
    optimiser = Lion([w])

    def step(i: int) -> Any:
        optimiser.zero_grad()
        loss = ((w - normal(rng, 4)) ** 2).sum()
        loss.backward()
        optimiser.step()
        return loss, w.detach()

    return step


def a_step_length_searched_for() -> Step:
    rng = np.random.default_rng(25)
    w, a = nn.Parameter(normal(rng, 3)), normal(rng, 5, 3)

    def step(i: int) -> Any:
        if i % 9 == 8:
            w.copy_(normal(rng, 3)) if not w.requires_grad else w.data.copy_(normal(rng, 3))
        y = ((a @ w - 1.0) ** 2).sum()
        w.grad = None
        y.backward()
        g, t, tries = w.grad, 1.0, 0
        assert g is not None
        while True:
            candidate = w.detach() - t * g
            new = ((a @ candidate - 1.0) ** 2).sum()
            if float(new) <= float(y) - 0.25 * t * float((g * g).sum()) or tries > 7:
                break
            t, tries = t * 0.5, tries + 1
        with mt.no_grad():
            w[...] = candidate
        return y, new, tries

    return step


def optimisers_exchanged() -> Step:
    rng = np.random.default_rng(39)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    kinds = [optim.Adam(model.parameters(), lr=0.01), optim.SGD(model.parameters(), lr=0.01, momentum=0.9)]

    def step(i: int) -> Any:
        optimiser, x = kinds[(i // 5) % 2], normal(rng, 4, 3)
        if i == 14:
            kinds[0] = optim.Adam(model.parameters(), lr=0.02, betas=(0.5, 0.9))
        loss = F.smooth_l1_loss(model(x), x.sum(axis=1, keepdims=True))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    return step


def layers_frozen_and_thawed() -> Step:
    rng = np.random.default_rng(23)
    body, head = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU()), nn.Linear(5, 2)
    optimiser = optim.Adam([*body.parameters(), *head.parameters()], lr=0.02)

    def step(i: int) -> Any:
        frozen = (i // 6) % 2 == 1
        for p in body.parameters():
            p.requires_grad = not frozen
        body.train(not frozen)
        loss = F.cross_entropy(head(body(normal(rng, 6, 4))), labels(rng, 2, 6))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss, [p.grad is None for p in body.parameters()]

    return step


def modules_operated_on() -> Step:
    """A layer is added, `forward` replaced on the instance, a hook registered and removed, weights tied and untied."""
    rng = np.random.default_rng(14)
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    seen: list[float] = []
    handles: list[Any] = []

    def step(i: int) -> Any:
        match i:
            case 8:
                model.extra = nn.Linear(3, 2)
            case 11:
                model.forward = lambda x: type(model).forward(model, x) * 2.0
            case 13:
                del model.forward
            case 15:
                model[2].weight = model[0].weight
            case 18:
                model[2].weight = nn.Parameter(model[0].weight.detach())
        if i % 10 == 3:
            handles.append(model[0].register_forward_hook(lambda module, args, out: seen.append(float(out.sum()))))
        if i % 10 == 5:
            handles.pop().remove()
        y = model(normal(rng, 4, 3))
        if hasattr(model, "extra"):
            y = model.extra(y)
        for p in model.parameters():
            p.grad = None
        y.sum().backward()
        return y, [p.grad for p in model.parameters()], len(seen)

    return step


def hooks_that_raise() -> Step:
    rng = np.random.default_rng(15)

    class Model(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(3, 2)
            self.hook: Any = None

        def forward(self, x: mt.Tensor) -> mt.Tensor:
            y = self.layer(x)
            if self.hook:
                self.hook(y)
            return y * 2.0

    model = Model()
    optimiser = optim.SGD(model.parameters(), lr=0.05)

    def step(i: int) -> Any:
        def hook(y: mt.Tensor) -> None:
            if float(y.sum()) > 1e9 or i % 6 == 5:
                raise RuntimeError(f"hook {i}")

        model.hook = hook if i % 3 == 2 else None
        optimiser.zero_grad()
        try:
            loss = model(normal(rng, 4, 3)).sum()
            loss.backward()
        except RuntimeError as error:
            return str(error), model.layer.weight.grad
        optimiser.step()
        return loss

    return step


def operators_of_ones_own_that_fail() -> Step:
    """One has no gradient: `backward` stops midway, with the gradients that it has given so far."""
    twice = mt.operator("def twice(float(N) X) -> (Y) { Y(i) = X(i) * 2.0 }")
    w, v = nn.Parameter(mt.asarray([1.0, -2.0, 3.0])), nn.Parameter(mt.ones((3,)))

    def step(i: int) -> Any:
        w.grad = v.grad = None
        x = mt.asarray(np.arange(3, dtype=np.float32) + i % 5)
        y = (v * x).sum() + (twice(w) if i % 3 == 2 else w * 2.0).sum()
        try:
            y.backward()
        except Exception as error:
            return type(error).__name__, w.grad, v.grad
        return y, w.grad, v.grad

    return step


# --- around the model -----------------------------------------------------------------------------------


def a_teacher_that_follows() -> Step:
    rng = np.random.default_rng(1)
    student = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    teacher = copy.deepcopy(student)
    optimiser = optim.SGD(student.parameters(), lr=0.05, momentum=0.9, nesterov=True)

    def step(i: int) -> Any:
        x = normal(rng, 4, 4)
        with mt.no_grad():
            target = F.softmax(teacher(x) / 0.5, axis=-1)
        loss = -(target * F.log_softmax(student(x + 0.1 * mt.random.normal((4, 4))), axis=-1)).sum(axis=-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        keep = 1 - 1 / (i + 2)
        with mt.no_grad():
            for p, q in zip(teacher.parameters(), student.parameters(), strict=True):
                p *= keep
                p += (1 - keep) * q
        return loss.item()

    return step


def a_codebook_revived() -> Step:
    rng = np.random.default_rng(20)
    encoder, decoder = nn.Linear(4, 3), nn.Linear(3, 4)
    optimiser = optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=0.02)
    book, count = normal(rng, 4, 3), mt.ones((4,))

    def step(i: int) -> Any:
        nonlocal book, count
        x = normal(rng, 6, 4)
        z = encoder(x)
        nearest = mt.argmin(((z[:, None, :] - book) ** 2).sum(axis=-1).detach(), axis=1)
        q = book[nearest]
        loss = F.mse_loss(decoder(z + (q - z).detach()), x) + 0.25 * F.mse_loss(z, q)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        hits = F.one_hot(nearest, 4).astype("float32")
        count = 0.75 * count + 0.25 * hits.sum(axis=0)
        book = book * 0.875 + 0.125 * (hits.T @ z.detach()) / mt.maximum(hits.sum(axis=0), 1.0)[:, None]
        dead = np.flatnonzero(count.numpy() < 0.25)
        if dead.size:
            book[mt.asarray(dead)] = normal(rng, int(dead.size), 3)
            count[mt.asarray(dead)] = 1.0
        return loss, nearest, dead

    return step


def replayed_memories() -> Step:
    rng, draw = np.random.default_rng(22), random.Random(22)
    q = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
    target, memory = copy.deepcopy(q), collections.deque(maxlen=20)  # type: ignore[var-annotated]
    optimiser = optim.Adam(q.parameters(), lr=1e-2)

    def step(i: int) -> Any:
        state = rng.normal(size=3).astype(np.float32)
        action = draw.randrange(2) if draw.random() < 0.3 else int(q(mt.asarray(state[None])).argmax(axis=1)[0])
        memory.append((state, action, float(state[action])))
        if len(memory) < 4:
            return action
        states, actions, rewards = zip(*draw.sample(list(memory), 4), strict=True)
        x = mt.asarray(np.stack(states))
        with mt.no_grad():
            wanted = mt.asarray(np.array(rewards, np.float32)) + 0.9 * target(x).max(axis=1)
        chosen = mt.take_along_axis(q(x), mt.asarray(np.array(actions))[:, None], axis=1)[:, 0]
        loss = F.smooth_l1_loss(chosen, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if i % 8 == 0:
            target.load_state_dict(q.state_dict())
        return loss, action

    return step


def averages_of_snapshots() -> Step:
    rng = np.random.default_rng(38)
    model = nn.Linear(3, 1)
    optimiser = optim.SGD(model.parameters(), lr=0.1)
    kept: list[dict[str, Any]] = []

    def step(i: int) -> Any:
        x = normal(rng, 4, 3)
        loss = (model(x) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if i % 4 == 3:
            kept.append(dict(model.state_dict()))
            del kept[:-2]
        if i % 8 != 7:
            return loss, None
        now = model.state_dict()
        model.load_state_dict({k: mt.stack([s[k] for s in kept]).mean(axis=0) for k in kept[0]})
        judged = float((model(x) ** 2).mean())
        model.load_state_dict(now)
        return loss, judged

    return step


def tasks_in_turns() -> Step:
    rng, draw = np.random.default_rng(40), random.Random(0)
    trunk, heads = nn.Linear(4, 5), {"a": nn.Linear(5, 1), "b": nn.Linear(5, 3)}
    optimiser = optim.AdamW([*trunk.parameters(), *[p for h in heads.values() for p in h.parameters()]], lr=0.01)

    def step(i: int) -> Any:
        task, x = draw.choice("ab"), normal(rng, 4, 4)
        out = heads[task](F.relu(trunk(x)))
        loss = F.mse_loss(out, x[:, :1]) if task == "a" else F.cross_entropy(out, labels(rng, 3, 4))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return task, loss, heads["b" if task == "a" else "a"].weight.grad is None

    return step


def depth_that_chance_decides() -> Step:
    rng, draw = np.random.default_rng(41), random.Random(5)
    layers = [nn.Linear(3, 3) for _ in range(4)]
    optimiser = optim.SGD([p for layer in layers for p in layer.parameters()], lr=0.05)

    def step(i: int) -> Any:
        x = normal(rng, 4, 3)
        for k, layer in enumerate(layers):
            if draw.random() > k / 8:
                x = x + mt.tanh(layer(x))
        loss = (x * x).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss, [layer.weight.grad is None for layer in layers]

    return step


def half_precision_with_scaled_losses() -> Step:
    rng = np.random.default_rng(42)
    model = nn.Linear(4, 1)
    optimiser = optim.SGD(model.parameters(), lr=0.05)
    scale, good = [2.0**10], [0]

    def step(i: int) -> Any:
        x = normal(rng, 4, 4) * (1e4 if i % 9 == 7 else 1.0)
        out = (x.astype("float16") @ model.weight.T.astype("float16") + model.bias.astype("float16")).astype("float32")
        loss = (out * out).mean()
        optimiser.zero_grad()
        (loss * scale[0]).backward()
        gradients = [p.grad / scale[0] for p in model.parameters()]
        if not all(bool(mt.isfinite(g).all()) for g in gradients):
            scale[0], good[0] = scale[0] / 2, 0
            return "skipped", scale[0]
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.grad = g
        optimiser.step()
        good[0] += 1
        if good[0] % 4 == 0:
            scale[0] *= 2
        return loss, scale[0]

    return step


def schedules_of_everything() -> Step:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))
    optimiser = optim.AdamW(model.parameters(), lr=1e-2)

    def step(i: int) -> Any:
        optimiser.lr = 5e-3 * min(1.0, (i + 1) / 10) * (1 + math.cos(math.pi * i / 60))
        optimiser.betas, optimiser.weight_decay = (0.9 - 0.001 * i, 0.999), 0.1 * i / 60
        smooth = 0.1 * (i % 5) / 5
        log_p = F.log_softmax(model(normal(rng, 6, 4)) / (1.0 + 1.0 / (1 + i)), axis=-1)
        loss = (1 - smooth) * F.nll_loss(log_p, labels(rng, 3, 6)) - smooth * log_p.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    return step


ODD_TRAINING = [
    ragged_batches,
    policy_gradient,
    recurrent_lengths,
    accumulation_of_varying_length,
    beams,
    experts_chosen_by_a_gate,
    gradient_penalty,
    inner_loops_of_learning_to_learn,
    conjugate_gradients,
    adversarial_inputs,
    an_optimiser_of_ones_own,
    a_step_length_searched_for,
    optimisers_exchanged,
    layers_frozen_and_thawed,
    modules_operated_on,
    hooks_that_raise,
    operators_of_ones_own_that_fail,
    a_teacher_that_follows,
    a_codebook_revived,
    replayed_memories,
    averages_of_snapshots,
    tasks_in_turns,
    depth_that_chance_decides,
    half_precision_with_scaled_losses,
    schedules_of_everything,
]
