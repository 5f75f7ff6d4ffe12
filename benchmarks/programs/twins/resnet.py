"""ResNet in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs.program import Step, Weights
from benchmarks.programs.resnet import EVALUATE_EVERY, EXPANSION, LEARNING_RATE, MOMENTUM, Size, batches
from benchmarks.programs.twins.twin import Wrap, load


class Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        channels = size.width
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.blocks = nn.ModuleList()
        for stage in range(size.stages):
            width = size.width << stage
            for block in range(size.blocks):
                self.blocks.append(Bottleneck(channels, width, 2 if stage and block == 0 else 1))
                channels = width * EXPANSION
        self.classify = nn.Linear(channels, size.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.classify(x.mean((2, 3)))


def make(size: Size, weights: Weights, wrap: Wrap) -> Step:
    original = load(ResNet(size), weights["model"])
    model = wrap(original)
    optimizer = torch.optim.SGD(original.parameters(), LEARNING_RATE, momentum=MOMENTUM, weight_decay=1e-4)
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(size)]

    def step(number: int) -> float:
        pictures, labels = data[number % len(data)]
        if number % EVALUATE_EVERY == EVALUATE_EVERY - 1:
            original.eval()
            with torch.no_grad():
                loss = F.cross_entropy(model(pictures), labels)
            original.train()
            return float(loss.item())
        optimizer.zero_grad()
        loss = F.cross_entropy(model(pictures), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step
