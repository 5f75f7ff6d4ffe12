"""BERT for classification: the predictions are read in the step, judged with NumPy, and decide how the loss is made.

Where less than three quarters of a batch are right, the wrong ones weigh double: a branch on what a third party
computed from values read in mid-step.
"""

from __future__ import annotations

import numpy as np

import minitensor as mt
from benchmarks.programs import bert
from benchmarks.programs.program import Array, Program, Training
from minitensor import functional as F, nn

CLASSES, LEARNING_RATE, ENOUGH = 4, 1e-3, 0.75


def batches(size: bert.Size) -> list[tuple[Array, Array, Array, Array]]:
    """Tokens, kinds, which are real (batch, longest), and labels: a class has its own half of the vocabulary."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(8):
        labels = draw.integers(0, CLASSES, size.batch)
        common = draw.integers(0, size.vocabulary, (size.batch, size.longest))
        own = (common // CLASSES) * CLASSES % (size.vocabulary - CLASSES + 1) + labels[:, None]
        tokens = np.where(draw.random(common.shape) < 0.3, own, common)
        lengths = draw.integers(size.longest // 2, size.longest + 1, size.batch)
        real = np.arange(size.longest) < lengths[:, None]
        kinds = (np.arange(size.longest) > lengths[:, None] // 2).astype(np.int64)
        made.append((np.where(real, tokens, 0), kinds, real, labels))
    return made


class Classifier(nn.Module):
    def __init__(self, size: bert.Size) -> None:
        self.encoder = bert.Encoder(size)
        self.pool, self.classify = nn.Linear(size.width, size.width), nn.Linear(size.width, CLASSES)

    def forward(self, tokens: mt.Tensor, kinds: mt.Tensor, real: mt.Tensor) -> mt.Tensor:
        features = self.encoder(tokens, kinds, real)
        return self.classify(mt.tanh(self.pool(features[:, 0])))


def wrong_ones(logits: Array, labels: Array) -> Array:
    """bool (batch,): where the largest logit is not the label's."""
    return np.asarray(logits.argmax(axis=1) != labels)


def make(size: bert.Size) -> Training:
    model = Classifier(size)
    optimizer = mt.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    data = [(*(mt.asarray(x) for x in arrays), arrays[-1]) for arrays in batches(size)]

    def step(number: int) -> float:
        tokens, kinds, real, targets, labels = data[number % len(data)]
        optimizer.zero_grad()
        logits = model(tokens, kinds, real)
        wrong = wrong_ones(logits.detach().numpy(), labels)
        if wrong.mean() > 1.0 - ENOUGH:
            weights = 1.0 + wrong.astype(np.float32)
            each = F.cross_entropy(logits, targets, reduction="none")
            loss = (each * mt.asarray(weights)).sum() / float(weights.sum())
        else:
            loss = F.cross_entropy(logits, targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Training(step, {"model": model})


PROGRAM = Program(
    name="bert_cls",
    title="BERT-CLS",
    feature="predictions read in the step, judged with NumPy, branched on",
    autograph=False,
    make=make,
    full=bert.Size(),
    tiny=bert.Size(layers=2, width=8, heads=2, longest=5, vocabulary=20, batch=4),
)
