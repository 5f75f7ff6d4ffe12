"""Recurrent cells: one step of a recurrence; the loop over time is the program's own, in Python.

Invariant: parameters have PyTorch's names, shapes, order of gates and initial distributions, so that its state loads.
"""

from __future__ import annotations

from math import sqrt

from minitensor import functional as F
from minitensor import random
from minitensor.creation import zeros
from minitensor.elementwise import tanh
from minitensor.errors import ShapeError
from minitensor.nn.module import Module, Parameter
from minitensor.tensor import Tensor


class _Cell(Module):
    """Weights of `gates` gates, one below the other; they differ in what they make of them."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool, gates: int) -> None:
        self.input_size, self.hidden_size = input_size, hidden_size
        bound = 1.0 / sqrt(hidden_size) if hidden_size else 0.0
        rows = gates * hidden_size

        def drawn(*shape: int) -> Parameter:
            return Parameter(random.uniform(shape, -bound, bound))

        self.weight_ih = drawn(rows, input_size)
        self.weight_hh = drawn(rows, hidden_size)
        self.bias_ih = drawn(rows) if bias else None
        self.bias_hh = drawn(rows) if bias else None

    def _start(self, x: Tensor) -> Tensor:
        """Zeros for a state that was not given."""
        return zeros((*x.shape[:-1], self.hidden_size), dtype=x.dtype)

    def _products(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """W_ih x + b_ih and W_hh h + b_hh, of all gates."""
        for name, operand, size in (("x", x, self.input_size), ("the state", h, self.hidden_size)):
            if operand.ndim not in (1, 2) or operand.shape[-1] != size:
                kind = type(self).__name__
                raise ShapeError(f"{kind} takes {name} as (N, {size}) or ({size},), not {operand.shape}")
        return F.linear(x, self.weight_ih, self.bias_ih), F.linear(h, self.weight_hh, self.bias_hh)

    def _gate(self, rows: Tensor, number: int) -> Tensor:
        return rows[..., number * self.hidden_size : (number + 1) * self.hidden_size]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class LSTMCell(_Cell):
    """i, f, o = sigmoid(...), g = tanh(...);  c ← f·c + i·g;  h ← o·tanh(c)  (Hochreiter and Schmidhuber 1997).

    x (N, input_size) or (input_size,); the state (h, c), zeros if not given; the result (h, c), each with
    hidden_size numbers a row.  Gates stand in the weights in the order i, f, g, o.

    >>> import minitensor as mt
    >>> cell = mt.nn.LSTMCell(3, 4)
    >>> h, c = cell(mt.ones((2, 3)))
    >>> h, c = cell(mt.ones((2, 3)), (h, c))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, bias, gates=4)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = state if state is not None else (self._start(x), self._start(x))
        of_x, of_h = self._products(x, h)
        rows = of_x + of_h
        i, f, o = (F.sigmoid(self._gate(rows, number)) for number in (0, 1, 3))
        c = f * c + i * tanh(self._gate(rows, 2))
        return o * tanh(c), c


class GRUCell(_Cell):
    """r, z = sigmoid(...), n = tanh(W x + b + r·(U h + d));  h ← (1 − z)·n + z·h.

    Source: Cho and others 2014 (arXiv 1406.1078), with r outside of the product, as PyTorch has it.
    x (N, input_size) or (input_size,); the state h, zeros if not given; the result h, with hidden_size numbers a row.
    Gates stand in the weights in the order r, z, n.

    >>> import minitensor as mt
    >>> mt.nn.GRUCell(3, 4)(mt.ones((2, 3))).shape
    (2, 4)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, bias, gates=3)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        h = state if state is not None else self._start(x)
        of_x, of_h = self._products(x, h)
        r, z = (F.sigmoid(self._gate(of_x, number) + self._gate(of_h, number)) for number in (0, 1))
        n = tanh(self._gate(of_x, 2) + r * self._gate(of_h, 2))
        return n + z * (h - n)
