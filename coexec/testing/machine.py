"""A Hypothesis state machine: one drawn program, called in every situation that co-execution knows, in any order.

In: Hypothesis' choices: record, co-execute, diverge, raise, keep and read later, read from another thread, reset.
Out: `CoexecutionMachine.TestCase`, for a test suite.
Invariant: beside every call stands the same call of a plain twin, from an equal state.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from threading import Thread
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from coexec.api import coexecute
from coexec.session import wait
from coexec.testing.comparison import assert_same
from coexec.testing.imperative import ImperativeProgram, imperative_programs
from coexec.testing.observation import MakeStep, call, program_state, settle
from coexec.testing.training import training_programs
from coexec.testing.trouble import forced_divergence


class CoexecutionMachine(RuleBasedStateMachine):
    """Rules over a pair of steps: `step` is co-executed, `plain` is not."""

    @initialize(program=st.one_of(imperative_programs(), training_programs()))
    def begin(self, program: ImperativeProgram) -> None:
        self.plain, self.step = program.make(), coexecute(_may_raise(program.make))
        self.number = 0
        self.kept: list[tuple[Any, Any]] = []  # results not read yet: eagerly, co-executed

    @rule()
    def run(self) -> None:
        """Recorded or co-executed, as the phase has it; read at once."""
        self._compare(*self._call(nullcontext()))

    @rule()
    def keep(self) -> None:
        """The result is not read for now."""
        self.kept.append(self._call(nullcontext()))

    @rule(operation=st.integers(0, 20))
    def diverge(self, operation: int) -> None:
        self._compare(*self._call(forced_divergence(self.step, operation=operation)))

    @rule(read=st.integers(0, 3))
    def diverge_at_a_read(self, read: int) -> None:
        self._compare(*self._call(forced_divergence(self.step, read=read)))

    @rule()
    def fail(self) -> None:
        """The program raises when all its operations are done."""
        expected = call(self.plain, self.number)
        seen = call(lambda i: self.step(i, fail=True), self.number)
        assert expected.error is not None or seen.error == (LookupError, "planned")
        self.number += 1

    @rule()
    def read_kept(self) -> None:
        while self.kept:
            self._compare(*self.kept.pop())

    @rule()
    def read_kept_in_another_thread(self) -> None:
        seen: list[Any] = []
        thread = Thread(target=lambda: seen.extend(settle(right) for _, right in self.kept))
        thread.start()
        thread.join()
        assert_same([settle(left) for left, _ in self.kept], seen, "read by another thread")
        self.kept.clear()

    @rule()
    def compare_states(self) -> None:
        assert_same(_state(self.plain), _state(self.step), "state")

    @rule()
    def wait_for_the_compiler(self) -> None:
        wait()

    @rule()
    def reset(self) -> None:
        self.step.reset()

    def _call(self, trouble: AbstractContextManager[None]) -> tuple[Any, Any]:
        expected = call(self.plain, self.number)
        with trouble:
            seen = call(self.step, self.number)
        self.number += 1
        assert_same((expected.error, expected.printed), (seen.error, seen.printed), "exception, printed")
        return expected.result, seen.result

    def _compare(self, expected: Any, seen: Any) -> None:
        assert_same(settle(expected), settle(seen), f"after {self.number} steps")


def _may_raise(make: MakeStep) -> Any:
    inner = make()

    def step(i: int, fail: bool = False) -> Any:
        result = inner(i)
        if fail:
            raise LookupError("planned")
        return result

    step.inner = inner  # type: ignore[attr-defined]
    return step


def _state(step: Any) -> dict[str, Any]:
    return program_state(getattr(step, "inner", step))
