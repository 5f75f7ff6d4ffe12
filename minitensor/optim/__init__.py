"""Optimisers: SGD, Adam, AdamW, and learning-rate schedules in `lr_scheduler`."""

from minitensor.optim import lr_scheduler
from minitensor.optim.adam import Adam, AdamW
from minitensor.optim.optimizer import Optimizer
from minitensor.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
