"""DCGAN in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.programs.dcgan import BETAS, LEARNING_RATE, SLOPE, Size, batches
from benchmarks.programs.program import Step, Weights
from benchmarks.programs.twins.twin import Wrap, load, normal


class Generator(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
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

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.layers(noise)


class Discriminator(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
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

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.layers(pictures).view(-1)


def make(size: Size, weights: Weights, wrap: Wrap) -> Step:
    plain = load(Generator(size), weights["generator"]), load(Discriminator(size), weights["discriminator"])
    of_generator, of_discriminator = (torch.optim.Adam(m.parameters(), lr=LEARNING_RATE, betas=BETAS) for m in plain)
    generator, discriminator = wrap(plain[0]), wrap(plain[1])
    data = [torch.from_numpy(x) for x in batches(size)]
    real, fake = torch.ones(size.batch), torch.zeros(size.batch)
    judge = F.binary_cross_entropy_with_logits

    def step(number: int) -> float:
        pictures = data[number % len(data)]
        made = generator(normal((size.batch, size.noise, 1, 1)))
        of_discriminator.zero_grad()
        loss = judge(discriminator(pictures), real) + judge(discriminator(made.detach()), fake)
        against = float(loss.item())
        if against > size.ahead:
            loss.backward()
            of_discriminator.step()
        of_generator.zero_grad()
        fooled = judge(discriminator(made), real)
        fooled.backward()
        of_generator.step()
        return against + float(fooled.item())

    return step
