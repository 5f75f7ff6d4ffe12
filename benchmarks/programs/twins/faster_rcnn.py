"""Faster R-CNN in PyTorch; suppression, matching and sampling are the same NumPy functions."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs.faster_rcnn import (
    GRID,
    LEARNING_RATE,
    MOMENTUM,
    SIDES,
    STRIDE,
    Size,
    align,
    anchors_of,
    batches,
    propose,
    sample,
)
from benchmarks.programs.program import SEED, Step, Weights
from benchmarks.programs.twins.twin import Wrap, load


class Unit(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)))


class Proposer(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        w = size.width
        self.body = nn.Sequential(Unit(3, w, 2), Unit(w, w, 1), Unit(w, 2 * w, 2), Unit(2 * w, 2 * w, 1))
        self.look = nn.Conv2d(2 * w, 2 * w, 3, padding=1)
        self.objectness, self.offsets = nn.Conv2d(2 * w, len(SIDES), 1), nn.Conv2d(2 * w, 4 * len(SIDES), 1)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.body(pixels)
        seen = F.relu(self.look(features))
        flat = features.reshape(features.shape[1], -1).mT
        offsets = self.offsets(seen).view(len(SIDES), 4, -1).transpose(1, 2)
        return flat, self.objectness(seen).view(-1), offsets.reshape(-1, 4)


class Head(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.hidden = nn.Linear(GRID * GRID * 2 * size.width, size.hidden)
        self.further = nn.Linear(size.hidden, size.hidden)
        self.kinds, self.offsets = nn.Linear(size.hidden, size.classes), nn.Linear(size.hidden, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = F.relu(self.further(F.relu(self.hidden(x))))
        return self.kinds(x), self.offsets(x)


def moved(anchors: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    extents = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, :2] + anchors[:, 2:]) * 0.5 + offsets[:, :2] * extents
    half = torch.exp(offsets[:, 2:].clamp(-4.0, 4.0)) * extents * 0.5
    return torch.cat([centres - half, centres + half], 1)


def make(size: Size, weights: Weights, wrap: Wrap) -> Step:
    plain = load(Proposer(size), weights["proposer"]), load(Head(size), weights["head"])
    proposer, head = wrap(plain[0]), wrap(plain[1])
    parameters = [*plain[0].parameters(), *plain[1].parameters()]
    optimizer = torch.optim.SGD(parameters, LEARNING_RATE, momentum=MOMENTUM)
    draw = np.random.default_rng(SEED)
    tensor = torch.from_numpy
    data = [(tensor(p.pixels), p) for p in batches(size)]
    anchors = anchors_of(size)
    history: list[tuple[float, int]] = []

    def step(number: int) -> float:
        pixels, truth = data[number % len(data)]
        optimizer.zero_grad()
        features, objectness, offsets = proposer(pixels)
        boxes = moved(tensor(anchors), offsets.detach()).numpy()
        regions = np.concatenate([propose(size, boxes, objectness.detach().numpy()), truth.boxes])

        found = sample(anchors, truth, size.anchors, 0.5, 0.3, draw)
        chosen = tensor(found.chosen)
        wanted = tensor(found.positive.astype(np.float32))
        loss = F.binary_cross_entropy_with_logits(objectness[chosen], wanted)
        if found.positive.any():
            guesses = offsets[chosen][tensor(found.positive)]
            loss = loss + F.smooth_l1_loss(guesses, tensor(found.offsets), reduction="sum") * (1.0 / len(chosen))

        rois = sample(regions, truth, size.regions, 0.5, 0.5, draw)
        places, shares = align(regions[rois.chosen], size.image // STRIDE)
        around = features[tensor(places)].view(len(rois.chosen), GRID * GRID, 4, -1)
        logits, corrections = head((around * tensor(shares)).sum(2).reshape(len(rois.chosen), -1))
        loss = loss + F.cross_entropy(logits, tensor(rois.kinds))
        if rois.positive.any():
            guesses = corrections[tensor(rois.positive)]
            loss = loss + F.smooth_l1_loss(guesses, tensor(rois.offsets), reduction="sum") * (1.0 / len(rois.chosen))
        loss.backward()
        optimizer.step()
        result = float(loss.item())
        history.append((result, len(regions)))
        print(f"step {number}: {len(regions)} regions, {int(rois.positive.sum())} positive of {len(rois.chosen)}")
        return result

    return step
