"""What all optimisers share: the list of parameters, their state, and the walk over them.

In: parameters with gradients, in groups with hyperparameters of their own if that is wanted.  Out: the same Tensor
objects holding new values.
Invariant: an update is made of ordinary tensor operations under `no_grad`, so that it is recorded, fused and
compiled like everything else; numbers (learning rate, step count) stay Python numbers.  A group is an optimiser of the
same kind, so nothing else knows of groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from copy import copy
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from minitensor.autograd import no_grad
from minitensor.creation import asarray
from minitensor.dispatch import apply, apply_several, rebind
from minitensor.errors import ArgumentError, DTypeError
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
        params: any iterable of tensors that require grad, each once; or of groups of them, dicts with the entry
            "params" and hyperparameters that differ for these (`{"params": head.parameters(), "lr": 0.1}`).
        lr: learning rate, a positive number or zero; may be read and set at any time.

    The hyperparameters are attributes: those of the first group; setting one sets it for all groups.  `param_groups`
    has each group's own.

    A subclass sets its hyperparameters first, then calls this.

    Raises:
        TypeError: for anything in `params` that is not a Tensor, or tensors and groups in one list.
        ValueError: for no parameters at all, a parameter given twice, a tensor that is no leaf requiring grad,
            a hyperparameter that there is not, or one that cannot be (a negative learning rate).

    >>> import minitensor as mt
    >>> body, head = mt.nn.Linear(2, 3), mt.nn.Linear(3, 1)
    >>> groups = [{"params": body.parameters()}, {"params": head.parameters(), "lr": 0.5}]
    >>> optimizer = mt.optim.SGD(groups, lr=0.25)
    >>> for group in optimizer.param_groups:
    ...     group["lr"] *= 0.5
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.125, 0.25]
    """

    params: list[Tensor]
    state: list[State]
    _groups: tuple[Optimizer, ...] = ()  # of the same kind, if there are any

    def __init__(self, params: Iterable[Tensor] | Iterable[Mapping[str, Any]], lr: float) -> None:
        if isinstance(params, Tensor):
            raise DTypeError(f"parameters come as an iterable of tensors, [it], not as one {type(params).__name__}")
        try:
            given = list(params)
        except TypeError as error:
            raise DTypeError(f"parameters come as an iterable such as model.parameters(): {error}") from None
        self.lr = lr
        self.check()
        if any(isinstance(x, Mapping) for x in given):
            self._set_groups([self._group(x) for x in given])
        else:
            self.params = _checked(given)
            self.state = [{} for _ in self.params]

    def check(self) -> None:
        """Raises ValueError for a hyperparameter that cannot be."""
        check_number("lr", self.lr, 0.0, float("inf"))

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if self._groups and name in self.hyperparameters():
            for group in self._groups:
                setattr(group, name, value)

    def _group(self, given: Any, state: list[State] | None = None) -> Optimizer:
        """An optimiser like this one for the parameters of a group, with its hyperparameters."""
        if not isinstance(given, Mapping) or "params" not in given:
            raise DTypeError(f'parameters come as tensors or as groups, dicts with "params"; found {_described(given)}')
        try:
            known = self.hyperparameters()
        except AttributeError as error:
            advice = "set the hyperparameters before super().__init__()"
            raise DTypeError(f"{type(self).__name__} cannot take groups: {error}; {advice}") from None
        own = {name: value for name, value in given.items() if name != "params"}
        if not own.keys() <= known.keys():
            names = ", ".join(map(repr, sorted(own.keys() - known.keys())))
            raise ArgumentError(f"{type(self).__name__} has no hyperparameter {names}; it has {', '.join(known)}")
        group = copy(self)
        group._groups = ()
        for name, value in own.items():
            setattr(group, name, value)
        group.check()
        of = given["params"]
        group.params = _checked([of] if isinstance(of, Tensor) else list(of))
        group.state = [{} for _ in group.params] if state is None else state
        return group

    def _set_groups(self, groups: list[Optimizer]) -> None:
        self.params = _checked([param for group in groups for param in group.params])  # or nothing has changed
        self._groups = ()
        self.state = [state for group in groups for state in group.state]
        for name, value in groups[0].hyperparameters().items():
            setattr(self, name, value)
        self._groups = tuple(groups)

    @property
    def param_groups(self) -> tuple[ParamGroup, ...]:
        """The groups of parameters, each a dict of "params" and its hyperparameters, which may be set at any time.

        One with all parameters where none were given.
        """
        return tuple([ParamGroup(self, group) for group in self._groups or (self,)])

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """One group more, of parameters that are in none; what it does not name it has of the first group."""
        groups = self._groups or (self._group({"params": self.params}, self.state),)
        self._set_groups([*groups, self._group(group)])

    def __repr__(self) -> str:
        if self._groups:
            return "\n  ".join([f"{type(self).__name__}(", *map(repr, self.param_groups)]) + "\n)"
        shown = (f"{name}={value!r}" for name, value in self.hyperparameters().items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def zero_grad(self) -> None:
        """Sets every parameter's `.grad` to None."""
        for param in self.params:
            param.grad = None

    def step(self) -> None:
        """Updates every parameter that has a gradient; the others stay as they are, their state too."""
        for group in self._groups or (self,):
            group._step()

    def _step(self) -> None:
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
        """Numbers and per-parameter state (tensors as snapshots), for `load_state_dict`; of each group, if any."""
        if self._groups:
            return {"groups": [group.state_dict() for group in self._groups]}
        state = [{k: v.detach() if isinstance(v, Tensor) else v for k, v in one.items()} for one in self.state]
        return {**self.hyperparameters(), "state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            ValueError: if it was made for another number of parameters or groups or another kind of optimiser.
        """
        if self._groups:
            self._load_groups(state_dict)
            return
        expected = {*self.hyperparameters(), "state"}
        if set(state_dict) != expected:
            raise ArgumentError(
                f"this state belongs to another optimiser: {type(self).__name__} expects the entries "
                f"{sorted(expected)}, found {sorted(state_dict)}"
            )
        if len(state_dict["state"]) != len(self.params):
            raise ArgumentError(f"the state is of {len(state_dict['state'])} parameters, here are {len(self.params)}")
        for name in self.hyperparameters():
            setattr(self, name, state_dict[name])
        self.state = [
            {k: v.detach() if isinstance(v, Tensor) else v for k, v in one.items()} for one in state_dict["state"]
        ]

    def _load_groups(self, state_dict: dict[str, Any]) -> None:
        found = state_dict.get("groups", ())
        if len(found) != len(self._groups):
            raise ArgumentError(f"the state is of {len(found)} groups of parameters, here are {len(self._groups)}")
        for group, state in zip(self._groups, found, strict=True):
            group.load_state_dict(state)
        self._set_groups(list(self._groups))


class ParamGroup(MutableMapping[str, Any]):
    """Some of an optimiser's parameters, and the hyperparameters for them, as a dict that can be written to.

    >>> import minitensor as mt
    >>> (group,) = mt.optim.Adam([mt.nn.Parameter(mt.zeros(3))], lr=0.5).param_groups
    >>> group
    {'params': 1 tensors of 3 numbers, 'lr': 0.5, 'betas': (0.9, 0.999), 'eps': 1e-08, 'weight_decay': 0.0}
    """

    __slots__ = ("_optimizer", "_owner")

    def __init__(self, owner: Optimizer, optimizer: Optimizer) -> None:
        self._owner = owner
        self._optimizer = optimizer

    def __getitem__(self, name: str) -> Any:
        return self._optimizer.params if name == "params" else self._optimizer.hyperparameters()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        """Raises KeyError for what is no hyperparameter."""
        self._optimizer.hyperparameters()[name]
        setattr(self._optimizer, name, value)
        if self._owner._groups and self._optimizer is self._owner._groups[0]:
            object.__setattr__(self._owner, name, value)

    def __delitem__(self, name: str) -> None:
        raise DTypeError("a group has all of its optimiser's hyperparameters: none can be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self._optimizer.hyperparameters()))

    def __len__(self) -> int:
        return 1 + len(self._optimizer.hyperparameters())

    def __repr__(self) -> str:
        params = self._optimizer.params
        told = f"{len(params)} tensors of {sum(param.size for param in params)} numbers"
        rest = "".join(f", {name!r}: {value!r}" for name, value in self._optimizer.hyperparameters().items())
        return f"{{'params': {told}{rest}}}"


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
    """Raises ValueError unless low <= value < high, TypeError for what is no number."""
    try:
        fits = low <= value < high
    except TypeError:
        raise DTypeError(f"{name} must be a number, is {value!r}") from None
    if not fits:
        raise ArgumentError(f"{name} must be in [{low}, {high}), is {value}")


def _checked(params: list[Any]) -> list[Tensor]:
    """Parameters as they may be."""
    if not params:
        advice = "modules in a plain list are not found, in nn.ModuleList they are"
        raise ArgumentError(f"the optimiser was given no parameters; {advice}")
    seen: set[int] = set()
    for position, param in enumerate(params):
        if not isinstance(param, Tensor):
            raise DTypeError(f"parameter {position} is of type {type(param).__name__}, expected a Tensor")
        if not param.requires_grad or not param.is_leaf:
            raise ArgumentError(f"parameter {position} of shape {param.shape} is not a leaf that requires grad")
        if id(param) in seen:
            raise ArgumentError(f"parameter {position} of shape {param.shape} was given twice")
        seen.add(id(param))
    return params


def _described(given: Any) -> str:
    return f"the keys {', '.join(map(repr, given))}" if isinstance(given, Mapping) else f"a {type(given).__name__}"
