"""BERT's encoder in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs.bert import EPS, Size


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        parts = (
            layer(x).view(n, length, self.heads, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(*parts, attn_mask=mask).transpose(1, 2)
        x = self.norm1(x + self.project(mixed.reshape(n, length, width)))
        return self.norm2(x + self.narrow(F.gelu(self.widen(x))))


class Encoder(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.longest, size.width)
        self.kinds = nn.Embedding(2, size.width)
        self.norm = nn.LayerNorm(size.width, eps=EPS)
        self.layers = nn.ModuleList([Layer(size.width, size.heads) for _ in range(size.layers)])

    def forward(self, tokens: torch.Tensor, kinds: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        n, length = tokens.shape
        x = self.norm(self.tokens(tokens) + self.positions.weight[:length] + self.kinds(kinds))
        mask = real.view(n, 1, 1, length)
        for layer in self.layers:
            x = layer(x, mask)
        return x
