"""YOLOv3 in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs.program import Step, Weights
from benchmarks.programs.twins.twin import Wrap, load
from benchmarks.programs.yolov3 import ANCHORS, IGNORE, LEARNING_RATE, MOMENTUM, STRIDES, Size, batches, grid_of


class Unit(nn.Module):
    def __init__(self, channels: int, filters: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.1)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow, self.widen = Unit(channels, channels // 2, 1), Unit(channels // 2, channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.widen(self.narrow(x))


class YOLOv3(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        w, out = size.width, len(ANCHORS[0]) * (5 + size.classes)
        self.stem, self.down = Unit(3, w, 3, 2), Unit(w, 2 * w, 3, 2)
        self.fine, self.further = Residual(2 * w), Unit(2 * w, 4 * w, 3, 2)
        self.coarse = Residual(4 * w)
        self.coarse_head, self.fine_head = nn.Conv2d(4 * w, out, 1), nn.Conv2d(4 * w, out, 1)
        self.lateral, self.upsample = Unit(4 * w, 2 * w, 1), nn.Upsample(scale_factor=2)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        fine = self.fine(self.down(self.stem(x)))
        coarse = self.coarse(self.further(fine))
        joined = torch.cat([self.upsample(self.lateral(coarse)), fine], 1)
        return [self._split(self.coarse_head(coarse)), self._split(self.fine_head(joined))]

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        n, _, h, w = x.shape
        return x.view(n, len(ANCHORS[0]), -1, h, w).permute(0, 1, 3, 4, 2)


def best_overlap(boxes: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    a, b = boxes.unsqueeze(4), truth.view(len(truth), 1, 1, 1, -1, 4)
    low = torch.maximum(a[..., :2] - a[..., 2:] * 0.5, b[..., :2] - b[..., 2:] * 0.5)
    high = torch.minimum(a[..., :2] + a[..., 2:] * 0.5, b[..., :2] + b[..., 2:] * 0.5)
    shared = F.relu(high - low).prod(-1)
    return (shared / (a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - shared)).amax(-1)


def scale_loss(
    raw: torch.Tensor, grid: list[torch.Tensor], truth: torch.Tensor, labels: list[torch.Tensor]
) -> torch.Tensor:
    objects, targets, weights, kinds = labels
    centres = (torch.sigmoid(raw[..., :2]) + grid[0]) * (1.0 / raw.shape[2])
    boxes = torch.cat([centres, torch.exp(raw[..., 2:4]) * grid[1]], -1)
    with torch.no_grad():
        counted = torch.where(best_overlap(boxes, truth) > IGNORE, objects, 1.0)
    judge = F.binary_cross_entropy_with_logits
    difference = (boxes - targets) * weights
    of_objects = (judge(raw[..., 4], objects, reduction="none") * counted).sum()
    of_kinds = (judge(raw[..., 5:], kinds, reduction="none") * objects.unsqueeze(-1)).sum()
    return (difference.square().sum() * 5.0 + of_objects + of_kinds) * (1.0 / len(truth))


def make(size: Size, weights: Weights, wrap: Wrap) -> Step:
    original = load(YOLOv3(size), weights["model"])
    model = wrap(original)
    optimizer = torch.optim.SGD(original.parameters(), LEARNING_RATE, momentum=MOMENTUM)
    tensor = torch.from_numpy
    data = [(tensor(b.pictures), tensor(b.boxes), [[tensor(x) for x in y] for y in b.labels]) for b in batches(size)]
    grids = {
        image: [[tensor(x) for x in grid_of(image // stride, k)] for k, stride in enumerate(STRIDES)]
        for image in size.images
    }

    def step(number: int) -> float:
        pictures, truth, labels = data[number % len(data)]
        optimizer.zero_grad()
        grid = grids[pictures.shape[2]]
        losses = [scale_loss(raw, grid[k], truth, labels[k]) for k, raw in enumerate(model(pictures))]
        loss = losses[0] + losses[1]
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step
