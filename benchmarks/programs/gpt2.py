"""GPT-2 (Radford and others 2019) on characters: pre-norm blocks, causal attention, tied embeddings, AdamW.

The step reads the norm of the gradients and clips them only where it exceeds the limit: a branch on a value; the
learning rate warms up and decays along a cosine, another number at each step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

import minitensor as mt
from benchmarks.programs.program import Array, Program, Training
from minitensor import functional as F, nn


@dataclass(frozen=True, slots=True)
class Size:
    layers: int = 3
    width: int = 64
    heads: int = 4
    context: int = 48
    vocabulary: int = 64
    batch: int = 8
    limit: float = 1.2  # of the gradients' norm


LEARNING_RATE, WARM_UP, DECAY = 2e-3, 10, 200


def learning_rate(number: int) -> float:
    """Linear warm-up, then half a cosine."""
    if number < WARM_UP:
        return LEARNING_RATE * (number + 1) / WARM_UP
    return LEARNING_RATE * (0.55 + 0.45 * math.cos(math.pi * min(number / DECAY, 1.0)))


def batches(size: Size) -> list[tuple[Array, Array]]:
    """Windows of a periodic text with mistakes: tokens (batch, context) and the tokens that follow."""
    draw = np.random.default_rng(0)
    phrase = draw.integers(0, size.vocabulary, 40)
    text = np.tile(phrase, 100)
    text = np.where(draw.random(text.shape) < 0.05, draw.integers(0, size.vocabulary, text.shape), text)
    starts = draw.integers(0, len(text) - size.context - 1, (8, size.batch))
    windows = [np.stack([text[s : s + size.context + 1] for s in row]) for row in starts]
    return [(window[:, :-1].copy(), window[:, 1:].copy()) for window in windows]


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, context: int) -> None:
        self.heads = heads
        self.join = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.register_buffer("mask", mt.tril(mt.ones((context, context))) > 0)

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        n, length, width = x.shape
        joined = self.join(x)
        query, key, value = (
            mt.permute_dims(part.reshape((n, length, self.heads, -1)), (0, 2, 1, 3))
            for part in (joined[..., :width], joined[..., width : 2 * width], joined[..., 2 * width :])
        )
        mixed = F.scaled_dot_product_attention(query, key, value, self.mask[:length, :length])
        return self.project(mt.permute_dims(mixed, (0, 2, 1, 3)).reshape((n, length, width)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, context: int) -> None:
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, context)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.narrow(F.gelu(self.widen(self.norm2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, size: Size) -> None:
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.context, size.width)
        with mt.no_grad():  # N(0, 0.02), as the original
            self.tokens.weight *= 0.02
            self.positions.weight *= 0.02
        self.blocks = nn.ModuleList([Block(size.width, size.heads, size.context) for _ in range(size.layers)])
        self.norm = nn.LayerNorm(size.width)

    def forward(self, tokens: mt.Tensor) -> mt.Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


def make(size: Size) -> Training:
    model = GPT2(size)
    optimizer = mt.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    data = [(mt.asarray(x), mt.asarray(y)) for x, y in batches(size)]

    def step(number: int) -> float:
        tokens, targets = data[number % len(data)]
        optimizer.lr = learning_rate(number)
        optimizer.zero_grad()
        logits = model(tokens)
        loss = F.cross_entropy(logits.reshape((-1, size.vocabulary)), targets.reshape((-1,)))
        loss.backward()
        grads = [p.grad for p in optimizer.params if p.grad is not None]
        norm = math.sqrt(float(sum((g * g).sum() for g in grads)))
        if norm > size.limit:
            for p in optimizer.params:
                if p.grad is not None:
                    p.grad = p.grad * (size.limit / norm)
        optimizer.step()
        return loss.item()

    return Training(step, {"model": model})


PROGRAM = Program(
    name="gpt2",
    title="GPT2",
    feature="gradients clipped where their norm, read, exceeds a limit",
    autograph=True,
    make=make,
    full=Size(),
    tiny=Size(layers=2, width=8, heads=2, context=6, vocabulary=11, batch=2, limit=1.6),
)
