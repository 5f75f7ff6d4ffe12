"""What all optimisers share: the list of parameters, their state, and the walk over them.

In: parameters with gradients.  Out: the same Tensor objects holding new values.
Invariant: an update is made of ordinary tensor operations under `no_grad`, so that it is recorded, fused and
compiled like everything else; numbers (learning rate, step count) stay Python numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from minitensor.autograd import no_grad
from minitensor.creation import asarray
from minitensor.dispatch import apply, apply_several, rebind
from minitensor.manipulation import astype
from minitensor.ops.opdef import OpDef
from minitensor.tensor import Tensor
from minitensor.value import whole_calls

State = dict[str, Any]  # of one parameter: tensors and numbers by name
_REPLACEABLE = frozenset(("count", "form", "hyperparameters", "numbers", "step", "update", "_update_all"))
_methods = attrgetter(*sorted(_REPLACEABLE))
_written: dict[type, Any] = {}  # the methods of plain optimisers
Kind = TypeVar("Kind", bound="type[Optimizer]")


def plain(kind: Kind) -> Kind:
    """Marks an optimiser whose update does no more than operations on its parameter, gradient, state and numbers.

    Which operations they are depends on nothing but `form` and the names in the state.  An observer may then do a
    whole step at once (`WholeCalls.take_update`).
    """
    _written[kind] = _methods(kind)
    return kind


class Optimizer:
    """Base of the optimisers: subclasses implement `update`.

    Args:
        params: any iterable of tensors that require grad; each may stand in it once.
        lr: learning rate, a positive number or zero; may be read and set at any time.

    Raises:
        TypeError: for anything in `params` that is not a Tensor.
        ValueError: for no parameters at all, a parameter given twice, a tensor that is no leaf requiring grad,
            or a negative learning rate.
    """

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params: list[Tensor] = list(params)
        self.lr = lr
        self.state: list[State] = [{} for _ in self.params]
        _check_params(self.params)
        check_number("lr", lr, 0.0, float("inf"))

    def zero_grad(self) -> None:
        """Sets every parameter's `.grad` to None."""
        for param in self.params:
            param.grad = None

    def step(self) -> None:
        """Updates every parameter that has a gradient; the others stay as they are, their state too."""
        whole = whole_calls()
        if whole is not None and whole.take_update(self):
            return
        self._update_all()  # from one place only: locations must not depend on who looks on
        if whole is not None:
            whole.note_update()

    def _update_all(self) -> None:
        with no_grad():
            for param, state in zip(self.params, self.state, strict=True):
                if param.grad is not None:
                    self.update(param, param.grad, state)

    def update(self, param: Tensor, grad: Tensor, state: State) -> None:
        """Rebinds `param` to its next value.  Runs under `no_grad`."""
        raise NotImplementedError(f"{type(self).__name__} must implement update()")

    def numbers(self, state: State) -> tuple[float, ...]:
        """All numbers that the operations of the next update have as operands, for a parameter with this state."""
        raise NotImplementedError(f"{type(self).__name__} does not say its numbers")

    def count(self, state: State) -> None:
        """Notes in `state` that a step is made, where that is more than the new tensors."""

    def form(self) -> tuple[Any, ...]:
        """What decides which operations an update has, beside its state: the hyperparameters but `lr`."""
        return tuple([value for name, value in self.hyperparameters().items() if name != "lr"])

    @property
    def is_plain(self) -> bool:
        """Whether `update` is the function of the numbers, tensors and state that its `plain` class was written as.

        False for every other class, and where a method was replaced, on the class or on this object.
        """
        kind = type(self)
        written = _written.get(kind)
        return written is not None and _methods(kind) == written and not _REPLACEABLE & self.__dict__.keys()

    def hyperparameters(self) -> dict[str, Any]:
        """The numbers that a checkpoint keeps, by attribute name."""
        return {"lr": self.lr}

    def state_dict(self) -> dict[str, Any]:
        """Numbers and per-parameter state (tensors as snapshots), for `load_state_dict`."""
        state = [{k: v.detach() if isinstance(v, Tensor) else v for k, v in one.items()} for one in self.state]
        return {**self.hyperparameters(), "state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            ValueError: if it was made for another number of parameters or another kind of optimiser.
        """
        expected = {*self.hyperparameters(), "state"}
        if set(state_dict) != expected:
            raise ValueError(
                f"this state belongs to another optimiser: {type(self).__name__} expects the entries "
                f"{sorted(expected)}, found {sorted(state_dict)}"
            )
        if len(state_dict["state"]) != len(self.params):
            raise ValueError(f"the state is of {len(state_dict['state'])} parameters, here are {len(self.params)}")
        for name in self.hyperparameters():
            setattr(self, name, state_dict[name])
        self.state = [
            {k: v.detach() if isinstance(v, Tensor) else v for k, v in one.items()} for one in state_dict["state"]
        ]


def apply_update(param: Tensor, op: OpDef, *operands: Any, **attributes: Any) -> tuple[Tensor, ...]:
    """Rebinds `param` to the first output of an update record; returns the others, its new state.

    Gradient and state are taken in the parameter's dtype, which may have been changed since they were made.
    """
    dtype = param.dtype
    for x in operands:
        if isinstance(x, Tensor) and x.value.dtype != dtype:
            operands = tuple([astype(y, dtype) if isinstance(y, Tensor) else y for y in operands])
            break
    if op.outputs == 1:
        rebind(param, apply(op, param, *operands, **attributes).value)
        return ()
    new, *state = apply_several(op, param, *operands, **attributes)
    rebind(param, new.value)
    return tuple(state)


def zeros_for(param: Tensor) -> Tensor:
    """A parameter's state before its first step.

    Data, not an operation: the first step has the same operations as all others.
    """
    return asarray(np.zeros(param.shape, param.dtype))


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError unless low <= value < high (high itself allowed if infinite)."""
    if not low <= value < high:
        raise ValueError(f"{name} must be in [{low}, {high}), is {value}")


def _check_params(params: list[Tensor]) -> None:
    if not params:
        raise ValueError("the optimiser was given no parameters")
    seen: set[int] = set()
    for position, param in enumerate(params):
        if not isinstance(param, Tensor):
            advice = "; make one optimiser for each group of parameters" if isinstance(param, dict) else ""
            raise TypeError(f"parameter {position} is of type {type(param).__name__}, expected a Tensor{advice}")
        if not param.requires_grad or not param.is_leaf:
            raise ValueError(f"parameter {position} of shape {param.shape} is not a leaf that requires grad")
        if id(param) in seen:
            raise ValueError(f"parameter {position} of shape {param.shape} was given twice")
        seen.add(id(param))
