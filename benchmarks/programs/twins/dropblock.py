"""DropBlock in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs import resnet
from benchmarks.programs.dropblock import Size, gamma_of, keep_probability
from benchmarks.programs.program import Step, Weights
from benchmarks.programs.twins.resnet import ResNet
from benchmarks.programs.twins.twin import Wrap, load, uniform


class DropBlock(nn.Module):
    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block
        self.keep, self.gamma = 1.0, 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.keep == 1.0:
            return x
        seeds = (uniform(x.shape) < self.gamma).float()
        kept = 1.0 - F.max_pool2d(seeds, self.block, stride=1, padding=self.block // 2)
        return x * kept * (x.numel() / kept.sum())


class Network(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.body = ResNet(size.network)
        self.drops = nn.ModuleList([DropBlock(size.block) for _ in self.body.blocks])

    def schedule(self, keep: float, image: int) -> None:
        for drop in self.drops:
            drop.keep, drop.gamma = keep, gamma_of(keep, drop.block, image)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.body.norm(self.body.stem(x)))
        for block, drop in zip(self.body.blocks, self.drops, strict=True):
            x = drop(block(x))
        return self.body.classify(x.mean((2, 3)))


def make(size: Size, weights: Weights, wrap: Wrap) -> Step:
    original = load(Network(size), weights["model"])
    model = wrap(original)
    optimizer = torch.optim.SGD(original.parameters(), resnet.LEARNING_RATE, momentum=resnet.MOMENTUM)
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in resnet.batches(size.network)]

    def step(number: int) -> float:
        pictures, labels = data[number % len(data)]
        original.schedule(keep_probability(number), size.network.image)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(pictures), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step
