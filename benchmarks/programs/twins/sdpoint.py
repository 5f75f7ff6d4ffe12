"""SDPoint in PyTorch."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs import resnet
from benchmarks.programs.program import SEED, Step, Weights
from benchmarks.programs.sdpoint import RATIOS
from benchmarks.programs.twins.resnet import ResNet
from benchmarks.programs.twins.twin import Wrap, load


class Point(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.ratio: float | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block(x)
        if self.ratio is None:
            return x
        return F.adaptive_avg_pool2d(x, (int(x.shape[2] * self.ratio), int(x.shape[3] * self.ratio)))


class Network(nn.Module):
    def __init__(self, size: resnet.Size, draw: random.Random) -> None:
        super().__init__()
        self.body = ResNet(size)
        points = {k: Point(block) for k, block in enumerate(self.body.blocks) if (k + 1) % size.blocks == 0}
        self.body.blocks = nn.ModuleList([points.get(k, block) for k, block in enumerate(self.body.blocks)])
        self.points = list(points.values())
        self.draw = draw

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen = self.draw.randint(0, len(self.points))
        for k, point in enumerate(self.points):
            point.ratio = self.draw.choice(RATIOS) if k == chosen else None
        return self.body(x)


def make(size: resnet.Size, weights: Weights, wrap: Wrap) -> Step:
    original = load(Network(size, random.Random(SEED)), weights["model"])
    model = wrap(original)
    optimizer = torch.optim.SGD(original.parameters(), resnet.LEARNING_RATE, momentum=resnet.MOMENTUM)
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in resnet.batches(size)]

    def step(number: int) -> float:
        pictures, labels = data[number % len(data)]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(pictures), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step
