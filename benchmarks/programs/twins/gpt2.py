"""GPT-2 in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs.gpt2 import LEARNING_RATE, Size, batches, learning_rate
from benchmarks.programs.program import Step, Weights
from benchmarks.programs.twins.twin import Wrap, load


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.join, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.register_buffer("mask", torch.ones(context, context).tril() > 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        parts = (part.view(n, length, self.heads, -1).transpose(1, 2) for part in self.join(x).split(width, -1))
        mixed = F.scaled_dot_product_attention(*parts, is_causal=True)
        return self.project(mixed.transpose(1, 2).reshape(n, length, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, context)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.narrow(F.gelu(self.widen(self.norm2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.context, size.width)
        self.blocks = nn.ModuleList([Block(size.width, size.heads, size.context) for _ in range(size.layers)])
        self.norm = nn.LayerNorm(size.width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


def make(size: Size, weights: Weights, wrap: Wrap) -> Step:
    original = load(GPT2(size), weights["model"])
    model = wrap(original)
    optimizer = torch.optim.AdamW(original.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(size)]

    def step(number: int) -> float:
        tokens, targets = data[number % len(data)]
        optimizer.param_groups[0]["lr"] = learning_rate(number)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens).view(-1, size.vocabulary), targets.view(-1))
        loss.backward()
        norm = float(torch.nn.utils.get_total_norm([p.grad for p in original.parameters() if p.grad is not None]))
        if norm > size.limit:
            for p in original.parameters():
                if p.grad is not None:
                    p.grad.mul_(size.limit / norm)
        optimizer.step()
        return float(loss.item())

    return step
