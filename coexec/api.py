"""The public face: `coexecute`, `explain`.

In: a function that does one step (of training, of inference).  Out: a function that does the same, co-executed.
Invariant: the wrapper adds no behaviour of its own: arguments, results, exceptions and attributes are the function's.
"""

from __future__ import annotations

import copy
import functools
import inspect
import threading
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from coexec.config import NUMERICS, check_choice, config
from coexec.errors import CoexecError, NotAStep
from coexec.graph_side.reference_runner import compile_reference
from coexec.graph_side.runner_protocol import GraphCompiler
from coexec.reports.report import Report, merge_reports
from coexec.session import Session

if TYPE_CHECKING:
    from coexec.reports.explanation import Explanation

P = ParamSpec("P")
R = TypeVar("R")


class _Inside(threading.local):
    """The step that this thread is inside of, in whatever phase: what it calls there is part of it."""

    step: Any = None


_inside = _Inside()


class Step(Generic[P, R]):
    """A co-executed step function; made by `coexecute`.

    Calls that overlap (in several threads) have a session each: traces and graph of its own.
    """

    def __init__(self, function: Callable[P, R], numerics: str) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._numerics = numerics
        self._name = getattr(function, "__qualname__", repr(function))
        self._growing = threading.Lock()
        self._sessions = [self._new_session()]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if _inside.step is not None:
            return self._function(*args, **kwargs)
        session = self._free_session()
        _inside.step = self
        try:
            result: R = session.call(self._function, args, kwargs)
            return result
        finally:
            _inside.step = None
            session.busy.release()

    def _new_session(self) -> Session:
        return Session(self._name, self._numerics, _compiler)

    def _free_session(self) -> Session:
        """A session that nobody uses, now used by the caller."""
        for session in self._sessions:
            if session.busy.acquire(blocking=False):
                return session
        session = self._new_session()
        session.busy.acquire()
        with self._growing:
            self._sessions.append(session)
        return session

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method: one wrapper, with its traces and graph, serves all instances.

        What does not bind as an attribute of a class (a partial, a bound or static method) does not here.
        """
        binds = hasattr(type(self._function), "__get__") and not isinstance(self._function, _UNBINDING)
        return BoundStep(self, instance) if binds and instance is not None else self

    def __copy__(self) -> Step[P, R]:
        return self  # as a function is its own copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Step[P, R]:
        function = copy.deepcopy(self._function, memo)
        return self if function is self._function else Step(function, self._numerics)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickled as what it wraps: a function by its name, anything else by its contents."""
        if isinstance(self._function, types.FunctionType):
            return self._name
        return Step, (self._function, self._numerics)

    def __repr__(self) -> str:
        return f"<co-executed {self._name}, {self.report().steps} steps>"

    def report(self) -> Report:
        """What happened so far, as a copy that later steps leave alone; any thread may ask at any time."""
        for session in self._sessions:
            session.count_graph_times()
        return merge_reports([session.report.snapshot() for session in self._sessions])

    def reset(self) -> None:
        """Forgets all traces and graphs, and starts the report again; waits for calls under way.

        Raises CoexecError within the step itself, which cannot be waited for.
        """
        if _inside.step is self:
            raise CoexecError(f"{self._name} is under way: reset() it between its calls")
        with self._growing:
            for session in self._sessions:
                with session.busy:
                    session.reset()
            del self._sessions[1:]

    @property
    def session(self) -> Session:
        """The state machine (the first, where calls overlapped), for `explain`, drawings and tests."""
        return self._sessions[0]


_UNBINDING = (types.MethodType, staticmethod)


class BoundStep:
    """A step taken from an instance."""

    __slots__ = ("__self__", "__wrapped__")

    def __init__(self, step: Step[..., Any], instance: Any) -> None:
        self.__wrapped__ = step
        self.__self__ = instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"{repr(self.__wrapped__)[:-1]}, of {self.__self__!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.__self__, vars(self.__wrapped__)["__name__"])

    def __copy__(self) -> BoundStep:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> BoundStep:
        return BoundStep(self.__wrapped__, copy.deepcopy(self.__self__, memo))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BoundStep):
            return NotImplemented
        return self.__wrapped__ is other.__wrapped__ and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((id(self.__wrapped__), id(self.__self__)))


@overload
def coexecute(function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def coexecute(*, numerics: str = "fast") -> Callable[[Callable[P, R]], Step[P, R]]: ...


def coexecute(function: Callable[..., Any] | None = None, /, *, numerics: str = "fast") -> Any:
    """Makes a step function co-executed: the same behaviour, computed by a compiled graph beside Python.

    Args:
        function: one step; a function, method, bound method or other callable.  Any Python inside.
        numerics: "fast": floats within the stated bounds of eager execution.  "reproducible": + − × ÷ sqrt,
            comparisons, casts and movement bit-equal to eager, kernels entering at a step fixed by count.

    Raises NotAStep for generator and async functions and for what cannot be called; ConfigError for another
    `numerics`.

    >>> import minitensor as mt
    >>> @coexecute
    ... def step(x):
    ...     return float((x * x).sum())
    >>> [step(mt.asarray([1.0, 2.0])) for _ in range(4)]
    [5.0, 5.0, 5.0, 5.0]
    >>> step.report().steps
    4
    """
    check_choice("numerics", numerics, NUMERICS)
    if function is None:
        return functools.partial(coexecute, numerics=numerics)
    _check_step(function)
    return function if isinstance(function, Step) else Step(function, numerics)


def explain(step: Any) -> Explanation:
    """Everything that co-execution made of a step: its report, where each operation went and why not elsewhere, the
    traces, the symbolic graph, all stages of its kernels.  A text; `.operations` has the second as records, `.traces`
    and `.symbolic` are drawings, `.page()` is an HTML document of it all.  To be called between steps.

    Raises TypeError for anything but a co-executed step.
    """
    session = getattr(step, "session", None)
    if not isinstance(session, Session):
        raise TypeError(f"explain() takes a step made by coexecute, not {type(step).__name__}")
    from coexec.reports.explanation import explanation_of  # with drawings: a program that only runs needs none of it

    return explanation_of(step.report(), session.traces, session.compiled)


def _check_step(function: Any) -> None:
    if not callable(function):
        raise NotAStep(f"coexecute takes a function, not {type(function).__name__}")
    code = inspect.unwrap(function)
    code = getattr(code, "__func__", code)
    name = getattr(function, "__qualname__", repr(function))
    if inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code):
        raise NotAStep(f"{name} is async: co-execute the ordinary function that does one step, and await around it")
    if inspect.isgeneratorfunction(code):
        raise NotAStep(f"{name} is a generator: co-execute what does the work of one item, and loop around it")


def _compiler() -> GraphCompiler:
    """The compiler that the configuration asks for."""
    if config.runner == "reference":
        return compile_reference
    from coexec.graph_side.graph_compiler import compile_native  # loaded when a first graph is built

    return compile_native


__all__ = ["BoundStep", "Step", "coexecute", "explain"]
