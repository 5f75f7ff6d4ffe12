"""BERT for classification in PyTorch."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs import bert
from benchmarks.programs.bert_cls import CLASSES, ENOUGH, LEARNING_RATE, batches, wrong_ones
from benchmarks.programs.program import Step, Weights
from benchmarks.programs.twins.bert import Encoder
from benchmarks.programs.twins.twin import Wrap, load


class Classifier(nn.Module):
    def __init__(self, size: bert.Size) -> None:
        super().__init__()
        self.encoder = Encoder(size)
        self.pool, self.classify = nn.Linear(size.width, size.width), nn.Linear(size.width, CLASSES)

    def forward(self, tokens: torch.Tensor, kinds: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        features = self.encoder(tokens, kinds, real)
        return self.classify(torch.tanh(self.pool(features[:, 0])))


def make(size: bert.Size, weights: Weights, wrap: Wrap) -> Step:
    original = load(Classifier(size), weights["model"])
    model = wrap(original)
    optimizer = torch.optim.AdamW(original.parameters(), lr=LEARNING_RATE)
    data = [(*(torch.from_numpy(x) for x in arrays), arrays[-1]) for arrays in batches(size)]

    def step(number: int) -> float:
        tokens, kinds, real, targets, labels = data[number % len(data)]
        optimizer.zero_grad()
        logits = model(tokens, kinds, real)
        wrong = wrong_ones(logits.detach().numpy(), labels)
        if wrong.mean() > 1.0 - ENOUGH:
            weights = 1.0 + wrong.astype(np.float32)
            each = F.cross_entropy(logits, targets, reduction="none")
            loss = (each * torch.from_numpy(weights)).sum() / float(weights.sum())
        else:
            loss = F.cross_entropy(logits, targets)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step
