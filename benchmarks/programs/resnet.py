"""ResNet (He and others 2016): bottleneck blocks with batch normalisation, SGD with momentum.

The running statistics of every batch norm are state that the step changes; each tenth step evaluates instead, in eval
mode, with the statistics gathered so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import minitensor as mt
from benchmarks.programs.program import Array, Program, Training
from minitensor import functional as F, nn


@dataclass(frozen=True, slots=True)
class Size:
    width: int = 16  # of the first stage's inner convolutions
    stages: int = 2
    blocks: int = 2  # a stage
    image: int = 16
    batch: int = 16
    classes: int = 10


EXPANSION = 4
EVALUATE_EVERY = 10
LEARNING_RATE, MOMENTUM = 0.02, 0.9


def batches(size: Size) -> list[tuple[Array, Array]]:
    """Pictures (batch, 3, image, image): a pattern of their class in noise."""
    draw = np.random.default_rng(0)
    patterns = draw.standard_normal((size.classes, 3, size.image, size.image), dtype=np.float32)
    labels = draw.integers(0, size.classes, (8, size.batch))
    return [(patterns[y] + draw.standard_normal((size.batch, *patterns.shape[1:]), np.float32), y) for y in labels]


class Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        out = width * EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.shortcut = None
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    def __init__(self, size: Size) -> None:
        channels = size.width
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        blocks: list[nn.Module] = []
        for stage in range(size.stages):
            width = size.width << stage
            for block in range(size.blocks):
                blocks.append(Bottleneck(channels, width, 2 if stage and block == 0 else 1))
                channels = width * EXPANSION
        self.blocks = nn.ModuleList(blocks)
        self.classify = nn.Linear(channels, size.classes)

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.classify(mt.mean(x, axis=(2, 3)))


def make(size: Size) -> Training:
    model = ResNet(size)
    optimizer = mt.optim.SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM, weight_decay=1e-4)
    data = [(mt.asarray(x), mt.asarray(y)) for x, y in batches(size)]

    def step(number: int) -> float:
        pictures, labels = data[number % len(data)]
        if number % EVALUATE_EVERY == EVALUATE_EVERY - 1:
            model.eval()
            with mt.no_grad():
                loss = F.cross_entropy(model(pictures), labels)
            model.train()
            return loss.item()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(pictures), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Training(step, {"model": model})


PROGRAM = Program(
    name="resnet",
    title="ResNet50",
    feature="batch-norm state; every tenth step evaluates",
    autograph=True,
    make=make,
    full=Size(),
    tiny=Size(width=2, stages=2, blocks=1, image=4, batch=4, classes=3),
)
