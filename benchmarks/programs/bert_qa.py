"""BERT for questions and answers: the span's start and end; batches are padded to their own longest text.

So the length of the batch is another in almost every step, and the last batch of a round is a short one.
"""

from __future__ import annotations

import numpy as np

import minitensor as mt
from benchmarks.programs import bert
from benchmarks.programs.program import Array, Program, Training
from minitensor import functional as F, nn

LEARNING_RATE, NOWHERE = 1e-3, -1e4


def batches(size: bert.Size) -> list[tuple[Array, ...]]:
    """Tokens, kinds, which are real (batch, length), starts and ends: the answer stands between two marks."""
    draw = np.random.default_rng(0)
    made = []
    for k in range(8):
        count = size.batch if k < 7 else max(size.batch // 2, 1)
        lengths = draw.integers(size.longest // 2 + 1, size.longest + 1 - (k % 4), count)
        length = int(lengths.max())
        tokens = draw.integers(2, size.vocabulary, (count, length))
        starts = draw.integers(size.longest // 4, lengths - 1)
        ends = np.minimum(starts + draw.integers(0, 3, count), lengths - 1)
        rows = np.arange(count)
        tokens[rows, starts], tokens[rows, ends] = 0, 1
        real = np.arange(length) < lengths[:, None]
        kinds = np.broadcast_to(np.arange(length) >= size.longest // 4, tokens.shape).astype(np.int64)
        made.append((np.where(real, tokens, 0), kinds, real, starts, ends))
    return made


class Spans(nn.Module):
    def __init__(self, size: bert.Size) -> None:
        self.encoder = bert.Encoder(size)
        self.ends = nn.Linear(size.width, 2)

    def forward(self, tokens: mt.Tensor, kinds: mt.Tensor, real: mt.Tensor) -> tuple[mt.Tensor, mt.Tensor]:
        logits = self.ends(self.encoder(tokens, kinds, real))
        return mt.where(real, logits[..., 0], NOWHERE), mt.where(real, logits[..., 1], NOWHERE)


def make(size: bert.Size) -> Training:
    model = Spans(size)
    optimizer = mt.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    data = [tuple(mt.asarray(x) for x in arrays) for arrays in batches(size)]

    def step(number: int) -> float:
        tokens, kinds, real, starts, ends = data[number % len(data)]
        optimizer.zero_grad()
        start, end = model(tokens, kinds, real)
        loss = (F.cross_entropy(start, starts) + F.cross_entropy(end, ends)) * 0.5
        loss.backward()
        optimizer.step()
        return loss.item()

    return Training(step, {"model": model})


PROGRAM = Program(
    name="bert_qa",
    title="BERT-Q&A",
    feature="batches padded to their own longest text, the last one short",
    autograph=True,
    make=make,
    full=bert.Size(),
    tiny=bert.Size(layers=1, width=8, heads=2, longest=9, vocabulary=20, batch=3),
)
