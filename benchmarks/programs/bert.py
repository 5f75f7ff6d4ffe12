"""BERT's encoder (Devlin and others 2019): post-norm blocks, padding masks; the body of `bert_cls` and `bert_qa`."""

from __future__ import annotations

from dataclasses import dataclass

import minitensor as mt
from minitensor import functional as F, nn

EPS = 1e-12


@dataclass(frozen=True, slots=True)
class Size:
    layers: int = 2
    width: int = 64
    heads: int = 4
    longest: int = 32
    vocabulary: int = 100
    batch: int = 8


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: mt.Tensor, mask: mt.Tensor) -> mt.Tensor:
        n, length, width = x.shape
        parts = (
            mt.permute_dims(layer(x).reshape((n, length, self.heads, -1)), (0, 2, 1, 3))
            for layer in (self.query, self.key, self.value)
        )
        mixed = mt.permute_dims(F.scaled_dot_product_attention(*parts, mask), (0, 2, 1, 3))
        x = self.norm1(x + self.project(mixed.reshape((n, length, width))))
        return self.norm2(x + self.narrow(F.gelu(self.widen(x))))


class Encoder(nn.Module):
    """Token ids and kinds (batch, length), and which are no padding, to features (batch, length, width)."""

    def __init__(self, size: Size) -> None:
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.longest, size.width)
        self.kinds = nn.Embedding(2, size.width)
        self.norm = nn.LayerNorm(size.width, eps=EPS)
        self.layers = nn.ModuleList([Layer(size.width, size.heads) for _ in range(size.layers)])

    def forward(self, tokens: mt.Tensor, kinds: mt.Tensor, real: mt.Tensor) -> mt.Tensor:
        n, length = tokens.shape
        x = self.norm(self.tokens(tokens) + self.positions.weight[:length] + self.kinds(kinds))
        mask = real.reshape((n, 1, 1, length))
        for layer in self.layers:
            x = layer(x, mask)
        return x
