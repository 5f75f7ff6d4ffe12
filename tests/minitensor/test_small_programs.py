"""Ten small programs as a newcomer from NumPy or PyTorch writes them: each runs, and gets better at what it does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import minitensor as mt
from minitensor import functional as F, nn, optim


def trained(loss_of: Callable[[], mt.Tensor], optimizer: optim.Optimizer, steps: int) -> tuple[float, float]:
    """The loss before and after some steps."""
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def mlp() -> tuple[float, float]:
    x = mt.random.normal((64, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype("int64")
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 2))
    criterion = nn.CrossEntropyLoss()
    before, after = trained(lambda: criterion(model(x), y), optim.Adam(model.parameters(), lr=0.05), 80)
    model.eval()
    assert (model(x).argmax(1) == y).astype("float32").mean().item() > 0.85
    return before, after


def cnn() -> tuple[float, float]:
    images = mt.random.normal((16, 1, 8, 8))
    images[8:, :, 2:5, 2:5] += 2.0
    labels = mt.asarray([0] * 8 + [1] * 8)
    layers = [nn.Conv2d(1, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(64, 2))
    return trained(lambda: F.cross_entropy(model(images), labels), optim.SGD(model.parameters(), 0.1, momentum=0.9), 15)


def rnn() -> tuple[float, float]:
    class Echo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.gru, self.head = nn.Embedding(4, 8), nn.GRU(8, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, tokens: mt.Tensor) -> mt.Tensor:
            hidden, _ = self.gru(self.embed(tokens))
            return self.head(hidden)  # type: ignore[no-any-return]

    tokens = mt.random.randint(0, 4, (8, 5))
    shifted = mt.roll(tokens, 1, axis=1)
    model = Echo()
    optimizer = optim.Adam(model.parameters(), lr=0.02)

    def loss_of() -> mt.Tensor:
        logits = model(tokens)[:, 1:].reshape(-1, 4)
        return F.cross_entropy(logits, shifted[:, 1:].flatten())

    return trained(loss_of, optimizer, 40)


def attention() -> tuple[float, float]:
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    model, head = nn.TransformerEncoder(layer, 2), nn.Linear(16, 3)
    x, y = mt.random.normal((6, 4, 16)), mt.random.randint(0, 3, (6,))
    optimizer = optim.AdamW([*model.parameters(), *head.parameters()], lr=0.01)

    def loss_of() -> mt.Tensor:
        return F.cross_entropy(head(model(x).mean(1)), y)

    result = trained(loss_of, optimizer, 20)
    assert nn.clip_grad_norm_(model.parameters(), 1.0) > 0
    return result


def vae() -> tuple[float, float]:
    x = mt.random.bernoulli(0.2, (16, 12)).astype("float32")
    encoder, decoder = nn.Linear(12, 4), nn.Linear(2, 12)

    def loss_of() -> mt.Tensor:
        mean, log_var = mt.split(encoder(x), 2, axis=1)
        z = mean + mt.exp(0.5 * log_var) * mt.random.normal(mean.shape)
        divergence = -0.5 * (1 + log_var - mean**2 - mt.exp(log_var)).sum(axis=1).mean()
        return F.binary_cross_entropy_with_logits(decoder(z), x, "sum") / len(x) + divergence

    return trained(loss_of, optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=0.02), 60)


def gan() -> tuple[float, float]:
    maker = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    judge = nn.Sequential(nn.Linear(1, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    of_maker, of_judge = (optim.Adam(m.parameters(), 0.01, betas=(0.5, 0.9)) for m in (maker, judge))
    criterion = nn.BCEWithLogitsLoss()

    def gap() -> float:
        return abs(maker(mt.random.normal((256, 2))).mean().item() - 3.0)

    before = gap()
    for _ in range(60):
        real, fake = mt.random.normal((32, 1)) + 3.0, maker(mt.random.normal((32, 2)))
        ones, zeros = mt.ones_like(real), mt.zeros_like(real)
        of_judge.zero_grad()
        (criterion(judge(real), ones) + criterion(judge(fake.detach()), zeros)).backward()
        of_judge.step()
        of_maker.zero_grad()
        criterion(judge(fake), ones).backward()
        of_maker.step()
    return before, gap()


def reinforcement() -> tuple[float, float]:
    """A bandit with three arms, by the gradient of the policy."""
    reward = np.array([0.1, 0.9, 0.3], np.float32)
    logits = nn.Parameter(mt.zeros(3))
    optimizer = optim.SGD([logits], lr=0.5)
    for _ in range(60):
        actions = mt.random.categorical(logits.detach(), (16,))
        gains = mt.asarray(reward[actions.numpy()])
        chosen = mt.take(F.log_softmax(logits), actions, axis=0)
        optimizer.zero_grad()
        (-(gains - gains.mean()) * chosen).mean().backward()
        optimizer.step()
    return 1.0 - 1 / 3, 1.0 - F.softmax(logits)[1].item()


def kmeans() -> tuple[float, float]:
    points = mt.concat([mt.random.normal((20, 2)) + shift for shift in (-4.0, 0.0, 4.0)])
    centers = points[mt.random.permutation(60)[:3]]
    spreads = []
    for _ in range(8):
        distances = mt.linalg.norm(points[:, None] - centers, axis=-1)
        nearest = distances.argmin(axis=1)
        spreads.append(distances.min(axis=1).mean().item())
        counts = F.one_hot(nearest, 3).sum(0)
        sums = mt.scatter_add(points, nearest, axis=0, extent=3)
        centers = mt.where(counts[:, None] > 0, sums / mt.maximum(counts, 1)[:, None], centers)
    return spreads[0], spreads[-1]


def regression() -> tuple[float, float]:
    x = np.random.default_rng(0).standard_normal((50, 3))
    y = mt.asarray(x @ [1.0, -2.0, 0.5] + 0.25)
    design = mt.concat([mt.asarray(x), mt.ones((50, 1), dtype="float64")], axis=1)
    solved = mt.linalg.pinv(design) @ y
    assert mt.allclose(solved, mt.asarray([1.0, -2.0, 0.5, 0.25], dtype="float64"))
    weights = mt.zeros(4, dtype="float64")
    weights.requires_grad = True
    first = ((design @ weights - y) ** 2).mean().item()
    for _ in range(100):
        loss = ((design @ weights - y) ** 2).mean()
        loss.backward()
        with mt.no_grad():
            weights -= 0.1 * weights.grad
        weights.grad = None
    return first, loss.item()


def image_filter() -> tuple[float, float]:
    picture = np.zeros((16, 16), np.float32)
    picture[4:12, 4:12] = 1.0
    noisy = mt.asarray(picture) + 0.3 * mt.random.normal((16, 16))
    axis = mt.arange(-2.0, 3.0)
    bell = mt.exp(-0.5 * axis**2)
    kernel = mt.outer(bell, bell)
    kernel /= kernel.sum()
    smooth = F.conv2d(noisy[None, None], kernel[None, None], padding="same")[0, 0]
    edges = mt.abs(mt.diff(smooth, axis=0)) > 0.2
    assert edges.any() and smooth.clip(0.0, 1.0).max() <= 1.0
    return tuple(float(mt.abs(image - picture).mean()) for image in (noisy, smooth))  # type: ignore[return-value]


@pytest.mark.parametrize(
    "program",
    [mlp, cnn, rnn, attention, vae, gan, reinforcement, kmeans, regression, image_filter],
    ids=lambda f: f.__name__,
)
def test_program_gets_better(program: Callable[[], tuple[float, float]]) -> None:
    mt.random.seed(1)
    before, after = program()
    assert after < before
