"""DCGAN (Radford and others 2016): a generator of transposed convolutions against a discriminator, two optimisers.

Four of the original's five stages: pictures of 32², not 64².  The discriminator's loss is read, and its optimiser rests
where it is far ahead: a branch on a value between the two halves of the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import minitensor as mt
from benchmarks.programs.program import Array, Program, Training
from minitensor import functional as F, nn


@dataclass(frozen=True, slots=True)
class Size:
    noise: int = 32
    width: int = 8  # channels of the outermost stage; each further one has twice as many
    batch: int = 16
    channels: int = 1
    ahead: float = 0.1  # the discriminator's loss below which it rests


IMAGE = 32
LEARNING_RATE, BETAS, SLOPE = 2e-3, (0.5, 0.999), 0.2


def batches(size: Size) -> list[Array]:
    """Pictures (batch, channels, 32, 32) in [-1, 1]: a soft disc somewhere."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:IMAGE, :IMAGE]
    made = []
    for _ in range(8):
        centres = draw.uniform(8, 24, (size.batch, size.channels, 2, 1, 1))
        distances = (rows - centres[:, :, 0]) ** 2 + (columns - centres[:, :, 1]) ** 2
        made.append((2.0 * np.exp(-distances / 48.0) - 1.0).astype(np.float32))
    return made


class Generator(nn.Module):
    """Noise (batch, noise, 1, 1) to pictures."""

    def __init__(self, size: Size) -> None:
        w = size.width
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(size.noise, 4 * w, 4, bias=False),
            nn.BatchNorm2d(4 * w),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * w, 2 * w, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * w),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(),
            nn.ConvTranspose2d(w, size.channels, 4, stride=2, padding=1, bias=False),
            nn.Tanh(),
        )

    def forward(self, noise: mt.Tensor) -> mt.Tensor:
        return self.layers(noise)


class Discriminator(nn.Module):
    """Pictures to logits (batch,)."""

    def __init__(self, size: Size) -> None:
        w = size.width
        self.layers = nn.Sequential(
            nn.Conv2d(size.channels, w, 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * w),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(2 * w, 4 * w, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4 * w),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(4 * w, 1, 4, bias=False),
        )

    def forward(self, pictures: mt.Tensor) -> mt.Tensor:
        return self.layers(pictures).reshape((-1,))


def make(size: Size) -> Training:
    generator, discriminator = Generator(size), Discriminator(size)
    of_generator = mt.optim.Adam(generator.parameters(), lr=LEARNING_RATE, betas=BETAS)
    of_discriminator = mt.optim.Adam(discriminator.parameters(), lr=LEARNING_RATE, betas=BETAS)
    data = [mt.asarray(x) for x in batches(size)]
    real, fake = mt.ones(size.batch), mt.zeros(size.batch)

    def step(number: int) -> float:
        pictures = data[number % len(data)]
        made = generator(mt.random.normal((size.batch, size.noise, 1, 1)))
        of_discriminator.zero_grad()
        loss = F.binary_cross_entropy_with_logits(discriminator(pictures), real) + F.binary_cross_entropy_with_logits(
            discriminator(made.detach()), fake
        )
        against = loss.item()
        if against > size.ahead:
            loss.backward()
            of_discriminator.step()
        of_generator.zero_grad()
        fooled = F.binary_cross_entropy_with_logits(discriminator(made), real)
        fooled.backward()
        of_generator.step()
        return against + fooled.item()

    return Training(step, {"generator": generator, "discriminator": discriminator})


PROGRAM = Program(
    name="dcgan",
    title="DCGAN",
    feature="two optimisers; the discriminator's rests where its loss, read, is low",
    autograph=True,
    make=make,
    full=Size(),
    tiny=Size(noise=3, width=2, batch=3),
)
