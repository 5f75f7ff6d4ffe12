"""DropBlock (Ghiasi and others 2018) in a ResNet: squares of the features are dropped in training.

`keep` and `gamma` are plain attributes of the layers, set between steps by a schedule; a layer that keeps all, or is in
eval mode, does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import minitensor as mt
from benchmarks.programs import resnet
from benchmarks.programs.program import Program, Training
from minitensor import functional as F, nn

KEEP, RAMP = 0.8, 40  # the probability reached, and in how many steps
REST = 8  # every eighth step keeps all


@dataclass(frozen=True, slots=True)
class Size:
    network: resnet.Size
    block: int = 3


def keep_probability(number: int) -> float:
    """From 1 linearly to `KEEP`; 1 at the steps of rest."""
    return 1.0 if number % REST == 0 else 1.0 - (1.0 - KEEP) * min(number / RAMP, 1.0)


def gamma_of(keep: float, block: int, size: int) -> float:
    """The rate of seeds that drops 1 − keep of the elements (equation 1)."""
    return (1.0 - keep) / block**2 * size**2 / (size - block + 1) ** 2


class DropBlock(nn.Module):
    def __init__(self, block: int) -> None:
        self.block = block
        self.keep, self.gamma = 1.0, 0.0

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        if not self.training or self.keep == 1.0:
            return x
        seeds = (mt.random.uniform(x.shape) < self.gamma).astype(mt.float32)
        kept = 1.0 - F.max_pool2d(seeds, self.block, stride=1, padding=self.block // 2)
        return x * kept * (x.size / kept.sum())


class Network(nn.Module):
    def __init__(self, size: Size) -> None:
        self.body = resnet.ResNet(size.network)
        self.drops = nn.ModuleList([DropBlock(size.block) for _ in self.body.blocks])

    def schedule(self, keep: float, image: int) -> None:
        """Sets the attributes that the next forward pass reads."""
        for drop in self.drops:
            drop.keep, drop.gamma = keep, gamma_of(keep, drop.block, image)

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        x = F.relu(self.body.norm(self.body.stem(x)))
        for block, drop in zip(self.body.blocks, self.drops, strict=True):
            x = drop(block(x))
        return self.body.classify(mt.mean(x, axis=(2, 3)))


def make(size: Size) -> Training:
    model = Network(size)
    optimizer = mt.optim.SGD(model.parameters(), resnet.LEARNING_RATE, momentum=resnet.MOMENTUM)
    data = [(mt.asarray(x), mt.asarray(y)) for x, y in resnet.batches(size.network)]

    def step(number: int) -> float:
        pictures, labels = data[number % len(data)]
        model.schedule(keep_probability(number), size.network.image)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(pictures), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Training(step, {"model": model})


PROGRAM = Program(
    name="dropblock",
    title="DropBlock",
    feature="keep probability and gamma are attributes changed between steps",
    autograph=False,
    make=make,
    full=Size(resnet.Size()),
    tiny=Size(resnet.Size(width=2, stages=1, blocks=3, image=5, batch=3, classes=3)),
)
