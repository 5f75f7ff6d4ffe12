"""Faster R-CNN (Ren and others 2015): proposals, suppression and sampling in NumPy between two networks.

The proposals are read in mid-step; boxes are suppressed, matched and sampled (by shuffles) in NumPy, and how many there
are decides sizes and branches of what follows.  Each step prints a line and appends to a list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import minitensor as mt
from benchmarks.programs.program import SEED, Array, Program, Training
from minitensor import functional as F, nn


@dataclass(frozen=True, slots=True)
class Size:
    width: int = 16
    image: int = 32
    classes: int = 4  # 0: background
    proposals: int = 24
    anchors: int = 32  # sampled for the proposals' loss
    regions: int = 16  # sampled for the head's
    hidden: int = 64


STRIDE, SIDES, GRID, OBJECTS = 4, (6.0, 10.0, 16.0), 3, 2
OVERLAP = 0.6  # beyond which the weaker of two boxes is suppressed
LEARNING_RATE, MOMENTUM = 0.01, 0.9


@dataclass(frozen=True, slots=True)
class Picture:
    """pixels (1, 3, S, S), true boxes (OBJECTS, 4) as corners in pixels, their classes from 1."""

    pixels: Array
    boxes: Array
    kinds: Array


def batches(size: Size) -> list[Picture]:
    draw = np.random.default_rng(0)
    made = []
    for _ in range(8):
        pixels = 0.3 * draw.standard_normal((1, 3, size.image, size.image))
        extents = draw.uniform(size.image / 5, size.image / 2, (OBJECTS, 2))
        corners = draw.uniform(0, size.image - extents)
        boxes, kinds = np.concatenate([corners, corners + extents], axis=1), draw.integers(1, size.classes, OBJECTS)
        for (left, top, right, bottom), kind in zip(boxes.astype(int), kinds, strict=True):
            pixels[0, kind % 3, top : bottom + 1, left : right + 1] += 1.5
        made.append(Picture(pixels.astype(np.float32), boxes.astype(np.float32), kinds))
    return made


# --- boxes in NumPy: corners (n, 4) in pixels -----------------------------------------------------------------


def anchors_of(size: Size) -> Array:
    """Squares of three sides around the centre of each cell, in the order of the network's predictions."""
    centres = (np.arange(size.image // STRIDE) + 0.5) * STRIDE
    y, x = np.meshgrid(centres, centres, indexing="ij")
    boxes = [np.stack([x - s / 2, y - s / 2, x + s / 2, y + s / 2], axis=-1) for s in SIDES]
    return np.stack(boxes).reshape(-1, 4).astype(np.float32)


def overlaps(a: Array, b: Array) -> Array:
    """Intersection over union (n, m)."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return np.asarray(shared / (areas[0][:, None] + areas[1] - shared))


def propose(size: Size, boxes: Array, scores: Array) -> Array:
    """The best boxes inside the picture that are no copies of better ones: non-maximum suppression."""
    boxes = np.clip(boxes, 0, size.image)
    large = ((boxes[:, 2:] - boxes[:, :2]) >= 2).all(axis=1)
    boxes, order = boxes[large], np.argsort(-scores[large], kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < size.proposals:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        order = order[overlaps(boxes[best : best + 1], boxes[order])[0] <= OVERLAP]
    return np.asarray(boxes[kept])


def encode(boxes: Array, around: Array) -> Array:
    """Offsets (n, 4) that move the boxes `around` to `boxes`."""
    extents, wanted = around[:, 2:] - around[:, :2], boxes[:, 2:] - boxes[:, :2]
    moved = ((boxes[:, :2] + boxes[:, 2:]) - (around[:, :2] + around[:, 2:])) / 2 / extents
    return np.concatenate([moved, np.log(wanted / extents)], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Sample:
    """Which boxes count, the positive ones first; what each should be; offsets wanted by the positive ones."""

    chosen: Array
    kinds: Array
    offsets: Array
    positive: Array  # bool, of the chosen


def sample(boxes: Array, truth: Picture, count: int, high: float, low: float, draw: np.random.Generator) -> Sample:
    """Up to half positive boxes (overlap above `high`), the rest negative ones (below `low`), shuffled."""
    shared = overlaps(boxes, truth.boxes)
    best, nearest = shared.max(axis=1), shared.argmax(axis=1)
    positive, negative = np.flatnonzero(best >= high), np.flatnonzero(best < low)
    draw.shuffle(positive)
    draw.shuffle(negative)
    positive = positive[: count // 2]
    chosen = np.concatenate([positive, negative[: count - len(positive)]])
    is_positive = np.arange(len(chosen)) < len(positive)
    kinds = np.where(is_positive, truth.kinds[nearest[chosen]], 0)
    return Sample(chosen, kinds, encode(truth.boxes[nearest[positive]], boxes[positive]), is_positive)


def align(regions: Array, cells: int) -> tuple[Array, Array]:
    """For GRID² points of each region: the four cells around (n·GRID²·4) and bilinear weights (n, GRID², 4, 1)."""
    steps = (np.arange(GRID) + 0.5) / GRID
    spans = regions[:, 2:] - regions[:, :2]
    x, y = (regions[:, k : k + 1] + spans[:, k : k + 1] * steps for k in (0, 1))
    points = np.stack(np.broadcast_arrays(y[:, :, None], x[:, None, :]), axis=-1).reshape(len(regions), -1, 2)
    points = np.clip(points / STRIDE - 0.5, 0, cells - 1)
    low = np.minimum(points.astype(np.int64), cells - 2)
    part = points - low
    places, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            places.append((low[..., 0] + dy) * cells + low[..., 1] + dx)
            weights.append(np.abs(1 - dy - part[..., 0]) * np.abs(1 - dx - part[..., 1]))
    return np.stack(places, axis=-1).reshape(-1), np.stack(weights, axis=-1)[..., None].astype(np.float32)


# --- networks ---------------------------------------------------------------------------------------------


class Unit(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int) -> None:
        self.conv = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        return F.relu(self.norm(self.conv(x)))


class Proposer(nn.Module):
    """Pixels to features (cells², channels), objectness (P) and offsets (P, 4) of the anchors."""

    def __init__(self, size: Size) -> None:
        w = size.width
        self.body = nn.Sequential(Unit(3, w, 2), Unit(w, w, 1), Unit(w, 2 * w, 2), Unit(2 * w, 2 * w, 1))
        self.look = nn.Conv2d(2 * w, 2 * w, 3, padding=1)
        self.objectness, self.offsets = nn.Conv2d(2 * w, len(SIDES), 1), nn.Conv2d(2 * w, 4 * len(SIDES), 1)

    def forward(self, pixels: mt.Tensor) -> tuple[mt.Tensor, mt.Tensor, mt.Tensor]:
        features = self.body(pixels)
        seen = F.relu(self.look(features))
        flat = features.reshape((features.shape[1], -1)).mT
        offsets = mt.permute_dims(self.offsets(seen).reshape((len(SIDES), 4, -1)), (0, 2, 1))
        return flat, self.objectness(seen).reshape((-1,)), offsets.reshape((-1, 4))


class Head(nn.Module):
    """Features of regions (n, GRID²·channels) to logits (n, classes) and offsets (n, 4)."""

    def __init__(self, size: Size) -> None:
        self.hidden = nn.Linear(GRID * GRID * 2 * size.width, size.hidden)
        self.further = nn.Linear(size.hidden, size.hidden)
        self.kinds, self.offsets = nn.Linear(size.hidden, size.classes), nn.Linear(size.hidden, 4)

    def forward(self, x: mt.Tensor) -> tuple[mt.Tensor, mt.Tensor]:
        x = F.relu(self.further(F.relu(self.hidden(x))))
        return self.kinds(x), self.offsets(x)


def moved(anchors: mt.Tensor, offsets: mt.Tensor) -> mt.Tensor:
    """Anchors moved by offsets: the inverse of `encode`."""
    extents = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, :2] + anchors[:, 2:]) * 0.5 + offsets[:, :2] * extents
    half = mt.exp(mt.clip(offsets[:, 2:], -4.0, 4.0)) * extents * 0.5
    return mt.concat([centres - half, centres + half], axis=1)


def make(size: Size) -> Training:
    proposer, head = Proposer(size), Head(size)
    optimizer = mt.optim.SGD([*proposer.parameters(), *head.parameters()], LEARNING_RATE, momentum=MOMENTUM)
    draw = np.random.default_rng(SEED)
    data = [(mt.asarray(p.pixels), p) for p in batches(size)]
    anchors = anchors_of(size)
    anchor_tensor = mt.asarray(anchors)
    history: list[tuple[float, int]] = []

    def step(number: int) -> float:
        pixels, truth = data[number % len(data)]
        optimizer.zero_grad()
        features, objectness, offsets = proposer(pixels)
        boxes = moved(anchor_tensor, offsets.detach()).numpy()
        regions = np.concatenate([propose(size, boxes, objectness.detach().numpy()), truth.boxes])

        found = sample(anchors, truth, size.anchors, 0.5, 0.3, draw)
        wanted = mt.asarray(found.positive.astype(np.float32))
        picked = mt.take(objectness, mt.asarray(found.chosen), axis=0)
        loss = F.binary_cross_entropy_with_logits(picked, wanted)
        if found.positive.any():
            guesses = mt.take(offsets, mt.asarray(found.chosen), axis=0)[mt.asarray(found.positive)]
            loss = loss + F.smooth_l1_loss(guesses, mt.asarray(found.offsets), "sum") * (1.0 / len(found.chosen))

        rois = sample(regions, truth, size.regions, 0.5, 0.5, draw)
        places, weights = align(regions[rois.chosen], size.image // STRIDE)
        around = mt.take(features, mt.asarray(places), axis=0).reshape((len(rois.chosen), GRID * GRID, 4, -1))
        pooled = (around * mt.asarray(weights)).sum(axis=2).reshape((len(rois.chosen), -1))
        logits, corrections = head(pooled)
        loss = loss + F.cross_entropy(logits, mt.asarray(rois.kinds))
        if rois.positive.any():
            guesses = corrections[mt.asarray(rois.positive)]
            loss = loss + F.smooth_l1_loss(guesses, mt.asarray(rois.offsets), "sum") * (1.0 / len(rois.chosen))
        loss.backward()
        optimizer.step()
        result = loss.item()
        history.append((result, len(regions)))
        print(f"step {number}: {len(regions)} regions, {int(rois.positive.sum())} positive of {len(rois.chosen)}")
        return result

    return Training(step, {"proposer": proposer, "head": head})


PROGRAM = Program(
    name="faster_rcnn",
    title="FasterRCNN",
    feature="NumPy on read values, masks, shuffles, data-dependent counts, print and append",
    autograph=False,
    make=make,
    full=Size(),
    tiny=Size(width=2, image=16, classes=3, proposals=6, anchors=8, regions=6, hidden=4),
)
