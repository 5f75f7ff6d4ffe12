"""What a step lets see: result, exception, printed lines, random states, and the state that it can reach.

In: a step function.  Out: `Observation`s; `program_state`: flat, from paths such as "optimiser.state[0]['m']" to
arrays and Python values.
Invariant: an observation is a snapshot: nothing that the program does later changes it.
"""

from __future__ import annotations

import io
import random
import re
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from coexec.testing.comparison import Difference, NotEquivalent, differences
from minitensor import random as tensor_random
from minitensor.tensor import Tensor

MakeStep = Callable[[], Callable[[int], Any]]  # fresh state and a step that takes the number of the step
# Whose objects are how things are done, not what a program has: kernels, compilers, locks, loggers, rules.
_MACHINERY = re.compile(
    r"(comprehension|coexec|llvmlite|numba|_?ctypes|_thread|threading|logging|_?asyncio|selectors|_?socket"
    r"|minitensor\.(autograd|dispatch|operators|ops|tape|value))(\.|$)"
)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # another one in each run
_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, PurePath)


@dataclass(frozen=True, slots=True)
class Observation:
    """What one call of a step let see; `error` is the class and text of its exception."""

    result: Any
    error: tuple[type[BaseException], str] | None
    printed: str
    random_state: dict[str, Any]  # of mt.random, random and numpy.random, after the step


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at a program.  what: at which point.  shown: what it let see, by name, tensors as arrays."""

    what: str
    shown: dict[str, Any]

    def differences(self, seen: Snapshot) -> Iterator[Difference]:
        """The floating-point numbers that differ.  Raises NotEquivalent where anything else does."""
        for _, what, expected, found in self.pairs(seen):
            yield from differences(expected, found, what)

    def pairs(self, seen: Snapshot) -> Iterator[tuple[str, str, Any, Any]]:
        """(name, place, here, in `seen`).  Raises NotEquivalent where something is absent on one side."""
        missing = object()
        for name in {**self.shown, **seen.shown}:
            expected, found = self.shown.get(name, missing), seen.shown.get(name, missing)
            what = f"{self.what}, {name}"
            if expected is missing or found is missing:
                raise NotEquivalent(what, *("absent" if x is missing else x for x in (expected, found)))
            yield name, what, expected, found


def observe(step: Callable[[int], Any], number: int) -> Observation:
    """Calls a step once; tensors in its result become arrays."""
    seen = call(step, number)
    return Observation(settle(seen.result), seen.error, seen.printed, seen.random_state)


def call(step: Callable[[int], Any], number: int) -> Observation:
    """Calls a step once; its result is as the step gave it, tensors unread."""
    result, error, printed = None, None, io.StringIO()
    with redirect_stdout(printed):
        try:
            result = step(number)
        except Exception as raised:  # an exception is a result like any other here
            error = (type(raised), str(raised))
    return Observation(result, error, printed.getvalue(), random_states())


def seed_all(seed: int) -> None:
    """Seeds the three generators that a step may use."""
    tensor_random.seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def random_states() -> dict[str, Any]:
    """The states of the three generators, the longer two as hashes."""
    _, words, *rest = np.random.get_state()
    return {
        "mt.random": tensor_random.get_state(),
        "random": hash(random.getstate()),
        "numpy.random": hash((np.asarray(words).tobytes(), *rest)),
    }


def settle(x: Any) -> Any:
    """The structure with every tensor as an array of its own.

    Raises AssertionError for a tensor whose contents are not what its shape and dtype promise.
    """
    if isinstance(x, Tensor):
        promised = (x.shape, x.dtype)
        array = np.array(x.detach().numpy())
        if promised != (array.shape, array.dtype):
            raise AssertionError(f"a tensor promised as {promised} has {(array.shape, array.dtype)}")
        return array
    if isinstance(x, np.ndarray) and x.dtype == object:
        return [settle(part) for part in x.ravel().tolist()]
    if isinstance(x, dict):
        return {key: settle(value) for key, value in x.items()}
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(settle, x))
    if isinstance(x, list | tuple):
        return type(x)([settle(value) for value in x])
    return x


# --- the state that a step can reach --------------------------------------------------------------------


def program_state(step: Callable[..., Any]) -> dict[str, Any]:
    """Everything a step can change and see again, by path: closure variables, globals that it names, the object
    that it is bound to; of those, tensors (with gradients), containers, attributes of objects, closures in turn.

    >>> total = [1.0]
    >>> def step(i):
    ...     total.append(i)
    >>> program_state(step)
    {'total[0]': 1.0}

    What is no data (modules, classes, locks, generators) is left out.
    """
    walk = _Walk()
    walk.visit_function(inner_function(step), "")
    return walk.found


def inner_function(step: Any) -> Any:
    """What a co-executed step (or another wrapper) calls."""
    while hasattr(step, "__wrapped__"):
        bound = getattr(step, "__self__", None)
        step = step.__wrapped__
        if bound is not None and not hasattr(step, "__self__"):
            step = types.MethodType(inner_function(step), bound)
    return step


class _Walk:
    """One walk over reachable objects; each is visited once, under the first path that leads to it."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self._paths: dict[int, str] = {}
        self._kept: list[Any] = []  # so that no identity is used twice during the walk

    def visit_function(self, function: Any, path: str) -> None:
        """The variables of a function or of a bound method."""
        if isinstance(function, types.MethodType):
            self.visit(function.__self__, f"{path}self")
            function = function.__func__
        if not isinstance(function, types.FunctionType):
            self.visit(function, f"{path}step")
            return
        for name, x in _variables(function):
            self.visit(x, f"{path}{name}")

    def visit(self, x: Any, path: str) -> None:
        if isinstance(x, _PLAIN):
            self.found[path] = x
            return
        if id(x) in self._paths:
            self.found[path] = f"is {self._paths[id(x)]}"
            return
        if type(x) is not tuple:  # whether two shapes, say, are one tuple is Python's business
            self._paths[id(x)] = path
            self._kept.append(x)
        if isinstance(x, types.FunctionType | types.MethodType):
            self.visit_function(x, f"{path}.")
        elif hasattr(x, "__wrapped__"):
            self.visit(inner_function(x), path)
        elif isinstance(x, Tensor):
            self._visit_tensor(x, path)
        else:
            self._visit_object(x, path)

    def _visit_tensor(self, x: Tensor, path: str) -> None:
        self.found[path] = settle(x)
        if x.requires_grad and x.is_leaf:
            self.found[f"{path}.grad"] = settle(x.grad)
        for name, part in getattr(x, "__dict__", {}).items():
            self.visit(part, f"{path}.{name}")

    def _visit_object(self, x: Any, path: str) -> None:
        match x:
            case np.ndarray() if x.dtype == object:
                for i, part in enumerate(x.ravel().tolist()):
                    self.visit(part, f"{path}.flat[{i}]")
            case np.ndarray():
                self.found[path] = x.copy()
            case dict():
                for number, (key, part) in enumerate(list(x.items())):
                    self.visit(part, f"{path}[{_ADDRESS.sub(f' number {number}', repr(key))}]")
            case list() | tuple() | deque():
                for i, part in enumerate(list(x)):
                    self.visit(part, f"{path}[{i}]")
            case set() | frozenset():
                self.found[path] = sorted(_ADDRESS.sub("", repr(part)) for part in x)
            case random.Random():
                self.found[path] = hash(x.getstate())
            case np.random.Generator():
                self.found[path] = repr(x.bit_generator.state)
            case weakref.ref():
                self.found[path] = "alive" if x() is not None else "dead"
            case type() | types.ModuleType():
                pass
            case _ if _MACHINERY.match(type(x).__module__):
                pass
            case _:
                for name, part in _attributes(x):
                    self.visit(part, f"{path}.{name}")


def _attributes(x: Any) -> Iterator[tuple[str, Any]]:
    own = getattr(x, "__dict__", None)
    yield from list(own.items()) if isinstance(own, dict) else ()
    for cls in type(x).__mro__:
        for name in _slots(cls):
            if hasattr(x, name) and not name.startswith("__"):
                yield name, getattr(x, name)


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _variables(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Closure variables, then the globals that hold data, then the defaults, by name."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in function.__code__.co_names:
        if name in function.__globals__ and not isinstance(function.__globals__[name], types.ModuleType | type):
            yield name, function.__globals__[name]
    for number, default in enumerate(function.__defaults__ or ()):
        yield f"default {number}", default
