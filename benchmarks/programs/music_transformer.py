"""Music Transformer (Huang and others 2019): relative attention by skewing, sequences of several lengths.

Each attention stores the lengths of its input on itself and branches on them: shorter sequences take the left part of
the relative embedding, and only sequences longer than `SHORT` are masked by a slice of the full mask.
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
    layers: int = 2
    width: int = 64
    heads: int = 4
    lengths: tuple[int, ...] = (48, 32, 24)  # the first is the longest
    events: int = 64
    batch: int = 4


LEARNING_RATE = 1e-3
SAME_LENGTH = 4  # steps in a row


def batches(size: Size) -> list[tuple[Array, Array]]:
    """Runs of notes with mistakes: events (batch, length) and the events that follow; the length changes."""
    draw = np.random.default_rng(0)
    made = []
    for k in range(SAME_LENGTH * len(size.lengths)):
        length = size.lengths[k // SAME_LENGTH]
        start, stride = draw.integers(0, size.events, (size.batch, 1)), draw.integers(1, 4, (size.batch, 1))
        notes = (start + stride * np.arange(length + 1) + (draw.random((size.batch, length + 1)) < 0.1)) % size.events
        made.append((notes[:, :-1].copy(), notes[:, 1:].copy()))
    return made


class RelativeAttention(nn.Module):
    def __init__(self, width: int, heads: int, longest: int) -> None:
        self.heads, self.longest = heads, longest
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)
        self.relative = nn.Parameter(mt.random.normal((longest, width // heads)) * 0.1)
        self.register_buffer("mask", mt.tril(mt.ones((longest, longest))) > 0)
        self.length = 0

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        n, self.length, width = x.shape
        query, key, value = (
            mt.permute_dims(layer(x).reshape((n, self.length, self.heads, -1)), (0, 2, 1, 3))
            for layer in (self.query, self.key, self.value)
        )
        embedding, mask = self.relative, self.mask
        if self.length < self.longest:
            embedding = embedding[self.longest - self.length :]
            mask = mask[: self.length, : self.length]
        skewed = self._skew(query @ embedding.mT)
        scores = (query @ key.mT + skewed) * (1.0 / math.sqrt(width / self.heads))
        mixed = F.softmax(mt.where(mask, scores, -math.inf), -1) @ value
        return self.project(mt.permute_dims(mixed, (0, 2, 1, 3)).reshape((n, self.length, width)))

    def _skew(self, scores: mt.Tensor) -> mt.Tensor:
        """Row i moved left until column j holds distance i − j (the paper's figure 1)."""
        n, heads, length, _ = scores.shape
        padded = mt.concat([mt.zeros((n, heads, length, 1)), scores], axis=3)
        return padded.reshape((n, heads, length + 1, length))[:, :, 1:]


class Layer(nn.Module):
    def __init__(self, size: Size) -> None:
        self.attention = RelativeAttention(size.width, size.heads, size.lengths[0])
        self.widen, self.narrow = nn.Linear(size.width, 2 * size.width), nn.Linear(2 * size.width, size.width)
        self.norm1, self.norm2 = nn.LayerNorm(size.width, eps=1e-6), nn.LayerNorm(size.width, eps=1e-6)

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.narrow(F.relu(self.widen(x))))


class MusicTransformer(nn.Module):
    def __init__(self, size: Size) -> None:
        self.events = nn.Embedding(size.events, size.width)
        self.layers = nn.ModuleList([Layer(size) for _ in range(size.layers)])
        self.predict = nn.Linear(size.width, size.events)

    def forward(self, events: mt.Tensor) -> mt.Tensor:
        x = self.events(events)
        for layer in self.layers:
            x = layer(x)
        return self.predict(x)


def make(size: Size) -> Training:
    model = MusicTransformer(size)
    optimizer = mt.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    data = [(mt.asarray(x), mt.asarray(y)) for x, y in batches(size)]

    def step(number: int) -> float:
        events, targets = data[number % len(data)]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(events).reshape((-1, size.events)), targets.reshape((-1,)))
        loss.backward()
        optimizer.step()
        return loss.item()

    return Training(step, {"model": model})


PROGRAM = Program(
    name="music_transformer",
    title="MusicTransformer",
    feature="lengths stored on self in the forward pass, then branched on",
    autograph=False,
    make=make,
    full=Size(),
    tiny=Size(layers=1, width=8, heads=2, lengths=(6, 4), events=7, batch=2),
)
