"""SDPoint (Kuen and others 2018) in a ResNet: each forward pass downsamples at one random point, by a random ratio.

Points stand behind the last block of each stage.  `random.randint` picks the point and its ratio and stores them on the
modules, where their own forward finds them.
"""

from __future__ import annotations

import random

import minitensor as mt
from benchmarks.programs import resnet
from benchmarks.programs.program import SEED, Program, Training
from minitensor import functional as F, nn

RATIOS = (0.5, 0.75)


class Point(nn.Module):
    """A block after which the features may shrink."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        self.ratio: float | None = None

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        x = self.block(x)
        if self.ratio is None:
            return x
        return F.adaptive_avg_pool2d(x, (int(x.shape[2] * self.ratio), int(x.shape[3] * self.ratio)))


class Network(nn.Module):
    def __init__(self, size: resnet.Size, draw: random.Random) -> None:
        self.body = resnet.ResNet(size)
        points = {k: Point(block) for k, block in enumerate(self.body.blocks) if (k + 1) % size.blocks == 0}
        self.body.blocks = nn.ModuleList([points.get(k, block) for k, block in enumerate(self.body.blocks)])
        self.points = list(points.values())
        self.draw = draw

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        chosen = self.draw.randint(0, len(self.points))  # the last number: nowhere
        for k, point in enumerate(self.points):
            point.ratio = self.draw.choice(RATIOS) if k == chosen else None
        return self.body(x)


def make(size: resnet.Size) -> Training:
    model = Network(size, random.Random(SEED))
    optimizer = mt.optim.SGD(model.parameters(), resnet.LEARNING_RATE, momentum=resnet.MOMENTUM)
    data = [(mt.asarray(x), mt.asarray(y)) for x, y in resnet.batches(size)]

    def step(number: int) -> float:
        pictures, labels = data[number % len(data)]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(pictures), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Training(step, {"model": model})


PROGRAM = Program(
    name="sdpoint",
    title="SDPoint",
    feature="random.randint picks point and ratio each forward, stored on modules",
    autograph=False,
    make=make,
    full=resnet.Size(),
    tiny=resnet.Size(width=2, stages=2, blocks=1, image=8, batch=3, classes=3),
)
