"""A comprehension inside PyTorch: forward and backward as texts, one `torch.autograd.Function`.

In: nothing.  Out: on the screen, PyTorch's own check of the gradients.  Needs PyTorch (the extra `bench`); run by
`python -m examples.torch_autograd`.

Tensors go in and come out without a copy, by DLPack: what comes in decides what comes out.
"""

from __future__ import annotations

from typing import Any

import torch

import comprehension as tc

# A one-dimensional convolution and the two sums that its gradient is.
TEXT = """\
def smooth(double(N) X, double(K) W) -> (Y) { Y(i) +=! X(i + k) * W(k) }
def smooth_grad(double(N) X, double(K) W, double(M) d_Y) -> (d_X, d_W) {
    d_X(i) +=! (i - k >= 0 && i - k < M ? d_Y(i - k) * W(k) : 0.0) where i in 0:N
    d_W(k) +=! d_Y(i) * X(i + k) where k in 0:K
}
"""
MODULE = tc.define(TEXT)


class Smooth(torch.autograd.Function):
    """Y of shape (N - K + 1,) for X (N,) and W (K,), float64."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(x, w)
        return MODULE.smooth(x.detach(), w.detach())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, d_y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return MODULE.smooth_grad(*(t.detach() for t in (*context.saved_tensors, d_y)))


def main() -> None:
    """Checks the gradients, then takes a few steps of gradient descent."""
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, dtype=torch.float64, generator=generator, requires_grad=True) for n in (9, 3))
    assert torch.autograd.gradcheck(Smooth.apply, (x, w))
    print("gradients agree with finite differences")
    target = torch.nn.functional.conv1d(x.detach()[None, None], torch.tensor([[[0.5, -1.0, 2.0]]], dtype=x.dtype))[0, 0]
    optimizer = torch.optim.SGD([w], lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = ((Smooth.apply(x.detach(), w) - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"loss {losses[0]:.4f} -> {losses[-1]:.6f}, weights {[round(v, 2) for v in w.tolist()]}")
    assert losses[-1] < 0.5 * losses[0], losses


if __name__ == "__main__":
    main()
