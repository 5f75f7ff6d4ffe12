"""BERT for questions and answers in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs import bert
from benchmarks.programs.bert_qa import LEARNING_RATE, NOWHERE, batches
from benchmarks.programs.program import Step, Weights
from benchmarks.programs.twins.bert import Encoder
from benchmarks.programs.twins.twin import Wrap, load


class Spans(nn.Module):
    def __init__(self, size: bert.Size) -> None:
        super().__init__()
        self.encoder = Encoder(size)
        self.ends = nn.Linear(size.width, 2)

    def forward(
        self, tokens: torch.Tensor, kinds: torch.Tensor, real: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.ends(self.encoder(tokens, kinds, real)).masked_fill(~real.unsqueeze(-1), NOWHERE)
        return logits[..., 0], logits[..., 1]


def make(size: bert.Size, weights: Weights, wrap: Wrap) -> Step:
    original = load(Spans(size), weights["model"])
    model = wrap(original)
    optimizer = torch.optim.AdamW(original.parameters(), lr=LEARNING_RATE)
    data = [tuple(torch.from_numpy(x) for x in arrays) for arrays in batches(size)]

    def step(number: int) -> float:
        tokens, kinds, real, starts, ends = data[number % len(data)]
        optimizer.zero_grad()
        start, end = model(tokens, kinds, real)
        loss = (F.cross_entropy(start, starts) + F.cross_entropy(end, ends)) * 0.5
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step
