"""minitensor: a small eager tensor library with autograd.

>>> import minitensor as mt
>>> w = mt.asarray([[1.0], [2.0]], requires_grad=True)
>>> loss = ((mt.asarray([[3.0, 4.0]]) @ w) ** 2).sum()
>>> loss.backward()
>>> w.grad
tensor([[66.],
        [88.]])
"""

from minitensor import methods as methods  # puts the operators on Tensor
from minitensor import functional, optim
from minitensor.autograd import enable_grad, grad, is_grad_enabled, no_grad, value_and_grad
from minitensor.creation import asarray, full, ones, zeros
from minitensor.dtypes import *  # noqa: F403
from minitensor.tensor import Tensor
