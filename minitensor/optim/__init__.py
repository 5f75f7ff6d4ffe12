"""Optimisers."""

from minitensor.optim.sgd import SGD

__all__ = ["SGD"]
