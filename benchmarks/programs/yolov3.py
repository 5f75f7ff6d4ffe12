"""YOLOv3 (Redmon and Farhadi 2018): a residual backbone, heads at two scales, decoded boxes, and the loss.

Training is multi-scale, as the original's: the pictures' size changes every tenth step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import minitensor as mt
from benchmarks.programs.program import Array, Program, Training
from minitensor import functional as F, nn


@dataclass(frozen=True, slots=True)
class Size:
    width: int = 8
    images: tuple[int, ...] = (32, 48)
    batch: int = 4
    classes: int = 5


ANCHORS = (((0.5, 0.4), (0.4, 0.7)), ((0.2, 0.25), (0.3, 0.15)))  # of the coarse and the fine scale: parts of a picture
STRIDES = (8, 4)
SAME_SIZE, BOXES, IGNORE = 10, 2, 0.5
LEARNING_RATE, MOMENTUM = 0.001, 0.9
Labels = tuple[Array, Array, Array, Array]  # objectness (N,A,H,W), boxes and their weight (…,4), classes (…,C)


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures (N, 3, S, S), true boxes (N, BOXES, 4) as centre and extent, labels of both scales."""

    pictures: Array
    boxes: Array
    labels: tuple[Labels, Labels]


def batches(size: Size) -> list[Batch]:
    draw = np.random.default_rng(0)
    return [_batch(size, size.images[k // SAME_SIZE], draw) for k in range(SAME_SIZE * len(size.images))]


def _batch(size: Size, image: int, draw: np.random.Generator) -> Batch:
    """Rectangles of the class's brightness on noise."""
    extents = draw.uniform(0.15, 0.6, (size.batch, BOXES, 2))
    centres = draw.uniform(extents / 2, 1 - extents / 2)
    classes = draw.integers(0, size.classes, (size.batch, BOXES))
    pictures = 0.3 * draw.standard_normal((size.batch, 3, image, image))
    for n in range(size.batch):
        for centre, extent, kind in zip(centres[n], extents[n], classes[n], strict=True):
            (left, top), (right, bottom) = ((centre + s * extent / 2) * image for s in (-1, 1))
            pictures[n, kind % 3, int(top) : int(bottom) + 1, int(left) : int(right) + 1] += 1 + kind / size.classes
    boxes = np.concatenate([centres, extents], axis=2).astype(np.float32)
    labels = [_labels(size, image // stride, scale, boxes, classes) for scale, stride in enumerate(STRIDES)]
    return Batch(pictures.astype(np.float32), boxes, (labels[0], labels[1]))


def _labels(size: Size, cells: int, scale: int, boxes: Array, classes: Array) -> Labels:
    """Each box belongs to the anchor of all scales that overlaps it most, at the cell of its centre."""
    count = len(ANCHORS[scale])
    objects = np.zeros((size.batch, count, cells, cells), np.float32)
    targets, weights = (np.zeros((*objects.shape, 4), np.float32) for _ in range(2))
    kinds = np.zeros((*objects.shape, size.classes), np.float32)
    flat = np.array([anchor for anchors in ANCHORS for anchor in anchors])
    for n in range(size.batch):
        for (x, y, w, h), kind in zip(boxes[n], classes[n], strict=True):
            shared = np.minimum(flat, (w, h)).prod(axis=1)
            best = int(np.argmax(shared / (flat.prod(axis=1) + w * h - shared))) - count * scale
            if 0 <= best < count:
                place = (n, best, int(y * cells), int(x * cells))
                objects[place], targets[place], weights[place] = 1.0, (x, y, w, h), 2.0 - w * h
                kinds[place] = np.arange(size.classes) == kind
    return objects, targets, weights, kinds


class Unit(nn.Module):
    """Convolution, batch norm, leaky ReLU."""

    def __init__(self, channels: int, filters: int, kernel: int, stride: int = 1) -> None:
        self.conv = nn.Conv2d(channels, filters, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.1)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        self.narrow, self.widen = Unit(channels, channels // 2, 1), Unit(channels // 2, channels, 3)

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        return x + self.widen(self.narrow(x))


class YOLOv3(nn.Module):
    """Pictures to raw predictions (N, A, H, W, 5 + classes) at both scales, the coarse one first."""

    def __init__(self, size: Size) -> None:
        w, out = size.width, len(ANCHORS[0]) * (5 + size.classes)
        self.stem, self.down = Unit(3, w, 3, 2), Unit(w, 2 * w, 3, 2)
        self.fine, self.further = Residual(2 * w), Unit(2 * w, 4 * w, 3, 2)
        self.coarse = Residual(4 * w)
        self.coarse_head, self.fine_head = nn.Conv2d(4 * w, out, 1), nn.Conv2d(4 * w, out, 1)
        self.lateral, self.upsample = Unit(4 * w, 2 * w, 1), nn.Upsample(2)

    def forward(self, x: mt.Tensor) -> list[mt.Tensor]:
        fine = self.fine(self.down(self.stem(x)))
        coarse = self.coarse(self.further(fine))
        joined = mt.concat([self.upsample(self.lateral(coarse)), fine], axis=1)
        return [self._split(self.coarse_head(coarse)), self._split(self.fine_head(joined))]

    def _split(self, x: mt.Tensor) -> mt.Tensor:
        n, _, h, w = x.shape
        return mt.permute_dims(x.reshape((n, len(ANCHORS[0]), -1, h, w)), (0, 1, 3, 4, 2))


def grid_of(cells: int, scale: int) -> tuple[Array, Array]:
    """Corners of the cells (cells, cells, 2) and anchors (A, 1, 1, 2)."""
    corners = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1).astype(np.float32)
    return corners, np.array(ANCHORS[scale], np.float32)[:, None, None]


def decode(raw: mt.Tensor, corners: mt.Tensor, anchors: mt.Tensor) -> mt.Tensor:
    """Boxes (N, A, H, W, 4): centre and extent as parts of the picture."""
    centres = (F.sigmoid(raw[..., :2]) + corners) * (1.0 / raw.shape[2])
    return mt.concat([centres, mt.exp(raw[..., 2:4]) * anchors], axis=-1)


def best_overlap(boxes: mt.Tensor, truth: mt.Tensor) -> mt.Tensor:
    """The largest intersection over union (N, A, H, W) with any true box."""
    n = truth.shape[0]
    a, b = mt.expand_dims(boxes, 4), truth.reshape((n, 1, 1, 1, -1, 4))
    low = mt.maximum(a[..., :2] - a[..., 2:] * 0.5, b[..., :2] - b[..., 2:] * 0.5)
    high = mt.minimum(a[..., :2] + a[..., 2:] * 0.5, b[..., :2] + b[..., 2:] * 0.5)
    sides = F.relu(high - low)
    shared = sides[..., 0] * sides[..., 1]
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - shared
    return mt.max(shared / union, axis=-1)


def scale_loss(
    raw: mt.Tensor, grid: tuple[mt.Tensor, mt.Tensor], truth: mt.Tensor, labels: list[mt.Tensor]
) -> mt.Tensor:
    """Squared errors of boxes, cross-entropies of objectness and classes; good guesses without label do not count."""
    objects, targets, weights, kinds = labels
    boxes = decode(raw, *grid)
    with mt.no_grad():
        ignored = best_overlap(boxes.detach(), truth) > IGNORE
        counted = mt.where(ignored, objects, 1.0)
    judge = F.binary_cross_entropy_with_logits
    difference = (boxes - targets) * weights
    of_objects = (judge(raw[..., 4], objects, reduction="none") * counted).sum()
    of_kinds = (judge(raw[..., 5:], kinds, reduction="none") * mt.expand_dims(objects, -1)).sum()
    return ((difference * difference).sum() * 5.0 + of_objects + of_kinds) * (1.0 / truth.shape[0])


def make(size: Size) -> Training:
    model = YOLOv3(size)
    optimizer = mt.optim.SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM)
    data = [
        (mt.asarray(b.pictures), mt.asarray(b.boxes), [[mt.asarray(x) for x in y] for y in b.labels])
        for b in batches(size)
    ]
    grids = {
        image: [tuple(mt.asarray(x) for x in grid_of(image // stride, k)) for k, stride in enumerate(STRIDES)]
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
        return loss.item()

    return Training(step, {"model": model})


PROGRAM = Program(
    name="yolov3",
    title="YOLOv3",
    feature="multi-scale: the pictures' size changes every tenth step",
    autograph=True,
    make=make,
    full=Size(),
    tiny=Size(width=2, images=(8, 16), batch=2, classes=2),
)
