"""Music Transformer in PyTorch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs.music_transformer import LEARNING_RATE, Size, batches
from benchmarks.programs.program import Step, Weights
from benchmarks.programs.twins.twin import Wrap, load


class RelativeAttention(nn.Module):
    def __init__(self, width: int, heads: int, longest: int) -> None:
        super().__init__()
        self.heads, self.longest = heads, longest
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)
        self.relative = nn.Parameter(torch.zeros(longest, width // heads))
        self.register_buffer("mask", torch.ones(longest, longest).tril() > 0)
        self.length = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, self.length, width = x.shape
        query, key, value = (
            layer(x).view(n, self.length, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        embedding, mask = self.relative, self.mask
        if self.length < self.longest:
            embedding = embedding[self.longest - self.length :]
            mask = mask[: self.length, : self.length]
        skewed = self._skew(query @ embedding.mT)
        scores = (query @ key.mT + skewed) * (1.0 / math.sqrt(width / self.heads))
        mixed = F.softmax(scores.masked_fill(~mask, -math.inf), -1) @ value
        return self.project(mixed.transpose(1, 2).reshape(n, self.length, width))

    def _skew(self, scores: torch.Tensor) -> torch.Tensor:
        n, heads, length, _ = scores.shape
        return F.pad(scores, (1, 0)).view(n, heads, length + 1, length)[:, :, 1:]


class Layer(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.attention = RelativeAttention(size.width, size.heads, size.lengths[0])
        self.widen, self.narrow = nn.Linear(size.width, 2 * size.width), nn.Linear(2 * size.width, size.width)
        self.norm1, self.norm2 = nn.LayerNorm(size.width, eps=1e-6), nn.LayerNorm(size.width, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.narrow(F.relu(self.widen(x))))


class MusicTransformer(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.events = nn.Embedding(size.events, size.width)
        self.layers = nn.ModuleList([Layer(size) for _ in range(size.layers)])
        self.predict = nn.Linear(size.width, size.events)

    def forward(self, events: torch.Tensor) -> torch.Tensor:
        x = self.events(events)
        for layer in self.layers:
            x = layer(x)
        return self.predict(x)


def make(size: Size, weights: Weights, wrap: Wrap) -> Step:
    original = load(MusicTransformer(size), weights["model"])
    model = wrap(original)
    optimizer = torch.optim.Adam(original.parameters(), lr=LEARNING_RATE)
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(size)]

    def step(number: int) -> float:
        events, targets = data[number % len(data)]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(events).view(-1, size.events), targets.view(-1))
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step
