"""Optimisers: SGD, Adam, AdamW, RMSprop, Adagrad, and learning-rate schedules in `lr_scheduler`."""

from typing import Never

from minitensor import other_names
from minitensor.optim import lr_scheduler
from minitensor.optim.adagrad import Adagrad
from minitensor.optim.adam import Adam, AdamW
from minitensor.optim.optimizer import Optimizer, ParamGroup
from minitensor.optim.rmsprop import RMSprop
from minitensor.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "ParamGroup", "RMSprop", "lr_scheduler"]


def __getattr__(name: str) -> Never:
    raise other_names.missing("module 'minitensor.optim'", name, other_names.OPTIM)
