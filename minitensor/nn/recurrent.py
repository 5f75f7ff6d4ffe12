"""Recurrent cells, one step of a recurrence each, and recurrences over whole sequences.

In: one row, or a sequence of rows; a state.  Out: the next state; or all states and the last.
Invariant: parameters have PyTorch's names, shapes, order of gates and initial distributions, so that its state loads.
A cell and a recurrence make a step by the same function.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

from minitensor import functional as F, random
from minitensor.creation import zeros
from minitensor.elementwise import tanh
from minitensor.errors import ArgumentError, ShapeError
from minitensor.manipulation import concat, permute_dims, stack
from minitensor.nn.module import Module, Parameter
from minitensor.tensor import Tensor

State = tuple[Tensor, ...]  # h, or h and c
StepRule = Callable[[Tensor, Tensor, State], State]  # (W_ih x + b_ih, W_hh h + b_hh, state) -> next state


# --- one step ----------------------------------------------------------------------------------------------


def _gates(rows: Tensor, count: int) -> list[Tensor]:
    """The parts of all gates, which stand side by side."""
    size = rows.shape[-1] // count
    return [rows[..., number * size : (number + 1) * size] for number in range(count)]


def _lstm_step(of_x: Tensor, of_h: Tensor, state: State) -> State:
    i, f, g, o = _gates(of_x + of_h, 4)
    c = F.sigmoid(f) * state[1] + F.sigmoid(i) * tanh(g)
    return F.sigmoid(o) * tanh(c), c


def _gru_step(of_x: Tensor, of_h: Tensor, state: State) -> State:
    (rx, zx, nx), (rh, zh, nh) = _gates(of_x, 3), _gates(of_h, 3)
    r, z = F.sigmoid(rx + rh), F.sigmoid(zx + zh)
    n = tanh(nx + r * nh)
    return (n + z * (state[0] - n),)


def _tanh_step(of_x: Tensor, of_h: Tensor, state: State) -> State:
    return (tanh(of_x + of_h),)


def _relu_step(of_x: Tensor, of_h: Tensor, state: State) -> State:
    return (F.relu(of_x + of_h),)


def _plain_step(nonlinearity: str) -> StepRule:
    rules = {"tanh": _tanh_step, "relu": _relu_step}
    if nonlinearity not in rules:
        raise ArgumentError(f"nonlinearity is 'tanh' or 'relu', not {nonlinearity!r}")
    return rules[nonlinearity]


def _drawn(hidden_size: int, *shape: int) -> Parameter:
    bound = 1.0 / sqrt(hidden_size) if hidden_size else 0.0
    return Parameter(random.uniform(shape, -bound, bound))


# --- cells -------------------------------------------------------------------------------------------------


class _Cell(Module):
    """Weights of `gates` gates, one below the other; they differ in what they make of them."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool, gates: int) -> None:
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = gates * hidden_size
        self.weight_ih = _drawn(hidden_size, rows, input_size)
        self.weight_hh = _drawn(hidden_size, rows, hidden_size)
        self.bias_ih = _drawn(hidden_size, rows) if bias else None
        self.bias_hh = _drawn(hidden_size, rows) if bias else None

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

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class RNNCell(_Cell):
    """h ← tanh(W x + b + U h + d), or relu of it (Elman 1990).

    x (N, input_size) or (input_size,); the state h, zeros if not given; the result h, with hidden_size numbers a row.

    >>> import minitensor as mt
    >>> mt.nn.RNNCell(3, 4)(mt.ones((2, 3))).shape
    (2, 4)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh") -> None:
        super().__init__(input_size, hidden_size, bias, gates=1)
        self._step = _plain_step(nonlinearity)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        h = state if state is not None else self._start(x)
        return self._step(*self._products(x, h), (h,))[0]


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
        h, c = _lstm_step(*self._products(x, h), (h, c))
        return h, c


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
        return _gru_step(*self._products(x, h), (h,))[0]


# --- sequences ---------------------------------------------------------------------------------------------


class _Recurrence(Module):
    """Layers of a recurrence over sequences, in one direction or both."""

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        if num_layers < 1:
            raise ArgumentError(f"num_layers must be at least 1, is {num_layers}")
        if not 0.0 <= dropout <= 1.0:
            raise ArgumentError(f"dropout is a probability in [0, 1], not {dropout}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self._suffixes = ("", "_reverse") if bidirectional else ("",)
        rows = self._gates * hidden_size
        for layer in range(num_layers):
            columns = input_size if layer == 0 else hidden_size * len(self._suffixes)
            for suffix in self._suffixes:
                name = f"l{layer}{suffix}"
                setattr(self, f"weight_ih_{name}", _drawn(hidden_size, rows, columns))
                setattr(self, f"weight_hh_{name}", _drawn(hidden_size, rows, hidden_size))
                setattr(self, f"bias_ih_{name}", _drawn(hidden_size, rows) if bias else None)
                setattr(self, f"bias_hh_{name}", _drawn(hidden_size, rows) if bias else None)

    def _run(self, x: Tensor, state: State | None, parts: int, step: StepRule) -> tuple[Tensor, State]:
        """All hidden states and the last state, which has `parts` tensors."""
        batched = x.ndim == 3
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            order = "(N, L, {0}) or (L, {0})" if self.batch_first else "(L, N, {0}) or (L, {0})"
            raise ShapeError(f"{type(self).__name__} takes {order.format(self.input_size)}, not {x.shape}")
        if batched and self.batch_first:
            x = permute_dims(x, (1, 0, 2))
        if not x.shape[0]:
            raise ShapeError(f"{type(self).__name__} needs sequences of at least one row, x is {x.shape}")
        shape = (self.num_layers * len(self._suffixes), *x.shape[1:-1], self.hidden_size)
        start = state if state is not None else (zeros(shape, dtype=x.dtype),) * parts
        if any(part.shape != shape for part in start):
            raise ShapeError(f"{type(self).__name__}'s state has shape {shape}, not {[part.shape for part in start]}")
        ends: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            sides = []
            for suffix in self._suffixes:
                rows, end = self._one_way(x, f"l{layer}{suffix}", tuple(part[len(ends)] for part in start), step)
                sides.append(rows)
                ends.append(end)
            x = concat(sides, axis=-1) if len(sides) > 1 else sides[0]
        last = tuple(stack([end[part] for end in ends]) for part in range(parts))
        return permute_dims(x, (1, 0, 2)) if batched and self.batch_first else x, last

    def _one_way(self, x: Tensor, name: str, state: State, step: StepRule) -> tuple[Tensor, State]:
        """One layer in one direction: the products with x are made for all rows at once."""
        backwards = name.endswith("_reverse")
        of_x = F.linear(x, getattr(self, f"weight_ih_{name}"), getattr(self, f"bias_ih_{name}"))
        weight, bias = getattr(self, f"weight_hh_{name}"), getattr(self, f"bias_hh_{name}")
        rows: list[Tensor] = []
        for at in reversed(range(x.shape[0])) if backwards else range(x.shape[0]):
            state = step(of_x[at], F.linear(state[0], weight, bias), state)
            rows.append(state[0])
        return stack(rows[::-1] if backwards else rows), state

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"


class RNN(_Recurrence):
    """`RNNCell` over sequences: x (L, N, input_size), with `batch_first` (N, L, input_size), or (L, input_size).

    The state h (layers·directions, N, hidden_size), zeros if not given.  Returns all h of the last layer, shaped as x
    with both directions side by side, and the last h of each layer and direction.

    Args:
        dropout: between layers, in training.
        bidirectional: each layer also runs from the last row to the first.

    >>> import minitensor as mt
    >>> rows, h = mt.nn.RNN(3, 4, num_layers=2, bidirectional=True)(mt.ones((5, 2, 3)))
    >>> rows.shape, h.shape
    ((5, 2, 8), (4, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        self._step = _plain_step(nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows, (h,) = self._run(x, None if state is None else (state,), 1, self._step)
        return rows, h


class LSTM(_Recurrence):
    """`LSTMCell` over sequences; arguments and shapes as of `RNN`, the state is (h, c).

    >>> import minitensor as mt
    >>> rows, (h, c) = mt.nn.LSTM(3, 4, num_layers=2, batch_first=True)(mt.ones((2, 5, 3)))
    >>> rows.shape, h.shape, c.shape
    ((2, 5, 4), (2, 2, 4), (2, 2, 4))
    """

    _gates = 4

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        rows, (h, c) = self._run(x, state, 2, _lstm_step)
        return rows, (h, c)


class GRU(_Recurrence):
    """`GRUCell` over sequences; arguments, state and shapes as of `RNN`.

    >>> import minitensor as mt
    >>> rows, h = mt.nn.GRU(3, 4)(mt.ones((5, 2, 3)))
    >>> rows.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    _gates = 3

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows, (h,) = self._run(x, None if state is None else (state,), 1, _gru_step)
        return rows, h
