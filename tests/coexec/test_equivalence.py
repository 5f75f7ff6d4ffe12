"""`assert_equivalent` judges: what rounding explains passes, and nothing else does.

Programs here differ on purpose between their eager run and the other, by a planted amount; the other run records only
(`COEXEC_MODE=trace`), so that nothing is compiled, and the configured runner decides how numbers are compared.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from programs import data

import coexec
import minitensor as mt
from coexec.testing import NotEquivalent, assert_equivalent
from minitensor import functional as F


@pytest.fixture(autouse=True)
def _recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "mode", "trace")
    monkeypatch.setattr(coexec.config, "runner", "native")


def planted(difference: Any, eagerly: Any = 0.0) -> Any:
    """`difference`, in the eager run `eagerly`."""
    return eagerly if coexec.config.mode == "eager" else difference


def training(relative: float, *, at: int = 3) -> Callable[[], Callable[[int], Any]]:
    """Arbitrary floats through products, tanh, softmax and Adam; one weight is off by `relative` from a step on."""

    def make() -> Callable[[int], Any]:
        rng = np.random.default_rng(0)
        w, v = (mt.asarray(rng.normal(size=shape).astype(np.float32)) for shape in ((6, 16), (16, 4)))
        w.requires_grad = v.requires_grad = True
        optimiser = mt.optim.Adam([w, v], lr=0.01)
        losses: list[float] = []

        def step(i: int) -> Any:
            x = mt.asarray(rng.normal(size=(8, 6)).astype(np.float32))
            labels = mt.asarray(rng.integers(0, 4, 8))
            off = planted(relative)
            if i >= at and off:
                w.value = mt.asarray(w.detach().numpy() * np.float32(1 + off * (np.arange(16) == 3))).value
            optimiser.zero_grad()
            loss = F.cross_entropy(mt.tanh(x @ w) @ v, labels)
            loss.backward()
            optimiser.step()
            losses.append(float(loss))
            print(f"loss {losses[-1]:.4f}")
            return loss

        return step

    return make


def test_a_few_units_in_the_last_place_are_rounding() -> None:
    assert_equivalent(training(1e-7), steps=6, coexecuted=0)


@pytest.mark.parametrize("relative", [1e-2, 1e-4])
def test_more_is_not(relative: float) -> None:
    """A column of the weights that is off by 0.01 % is seen in the step in which it happens."""
    with pytest.raises(NotEquivalent, match=r"step 3, (result|state)[^:]*:(.|\n)*at most .* is allowed: what rounding"):
        assert_equivalent(training(relative), steps=6, coexecuted=0)


def test_what_is_exact_has_to_have_the_same_bits() -> None:
    """Small integers: nothing was rounded, so one unit in the last place is a difference, on either runner."""

    ulp = float(np.spacing(np.float32(1.0)))

    def make() -> Callable[[int], Any]:
        return lambda i: (data(3, offset=i) * 0.0 + 1.0) @ mt.ones((3,)) * 0.5 - 0.5 + planted(ulp)

    with pytest.raises(NotEquivalent, match="at most 0 is allowed"):
        assert_equivalent(make, steps=3, coexecuted=0)
    coexec.config.runner = "reference"
    with pytest.raises(NotEquivalent, match="step 0, result"):
        assert_equivalent(make, steps=3, coexecuted=0)


def test_a_sum_that_is_exact_in_one_order_may_be_rounded_in_another() -> None:
    """1 - 1 + 2⁻²⁴ is 2⁻²⁴, and 1 + 2⁻²⁴ - 1 is 0."""

    def make() -> Callable[[int], Any]:
        least = 2.0**-24
        return lambda i: mt.asarray(planted([1.0, least, -1.0], [1.0, -1.0, least]), dtype="float32").sum()

    assert_equivalent(make, steps=3, coexecuted=0)


def thirds(off: float) -> Callable[[], Callable[[int], Any]]:
    def make() -> Callable[[int], Any]:
        def step(i: int) -> Any:
            y = data(5, offset=i) / 3.0 * (1.0 + planted(off))
            value = float((y * y).sum())
            print(f"step {i}: {value:9.3f}", value)
            return y, value

        return step

    return make


def test_tolerances_of_ones_own() -> None:
    """Numbers in texts count, to the digits that are shown."""
    assert_equivalent(thirds(1e-4), steps=4, coexecuted=0, rtol=1e-3)
    assert_equivalent(thirds(1e-4), steps=4, coexecuted=0, atol=1e-2)
    for tolerance in ({"rtol": 1e-5}, {"atol": 1e-6}, {}):
        with pytest.raises(NotEquivalent, match="step 0, result"):
            assert_equivalent(thirds(1e-4), steps=4, coexecuted=0, **tolerance)
    with pytest.raises(NotEquivalent, match="step 0, printed"):
        assert_equivalent(lambda: lambda i: print(planted(i, i + 1), "steps"), steps=2, coexecuted=0, rtol=0.1)  # type: ignore[func-returns-value]
    with pytest.raises(TypeError, match="or compare"):
        assert_equivalent(thirds(0.0), rtol=1e-3, compare=lambda *_: None)


@pytest.mark.parametrize(
    ("eagerly", "otherwise"),
    [(1, 1.0), ([1], (1,)), ({"a": 1}, {"b": 1}), (3, 4), ("a", "b"), (float("nan"), 1.0), (np.float32(1), 1.0)],
)
def test_structure_is_never_rounding(eagerly: Any, otherwise: Any) -> None:
    for tolerance in ({}, {"rtol": 1.0, "atol": 1.0}):
        with pytest.raises(NotEquivalent, match="step 0, result"):
            assert_equivalent(
                lambda: lambda i: planted(otherwise, eagerly),
                steps=2,
                coexecuted=0,
                **tolerance,
            )


def test_a_program_that_rounding_sends_elsewhere_is_told() -> None:
    """Where a branch hangs on the last bit, no verdict is possible, and the message says what to do."""

    def make() -> Callable[[int], Any]:
        def step(i: int) -> Any:
            y = mt.exp(data(4, offset=i) / 3.0) * (1.0 + planted(1e-7))
            large = float(y.sum()) > float(mt.exp(data(4, offset=i) / 3.0).sum())
            return y, [1, 2] if large else [3]

        return step

    with pytest.raises(NotEquivalent, match="rounding alone makes the eager program take another path"):
        assert_equivalent(make, steps=2, coexecuted=0)


def test_generators_and_switches_are_left_as_they_were() -> None:
    before = mt.random.get_state(), np.random.get_state()[1].tobytes(), coexec.config.mode
    assert_equivalent(training(1e-7), steps=3, coexecuted=0, seed=5)
    assert before == (mt.random.get_state(), np.random.get_state()[1].tobytes(), coexec.config.mode)


def test_classes_made_with_the_step_and_arrays_of_objects() -> None:
    """Each run has a class of its own of that name; arrays of objects are compared by what they hold."""

    def make() -> Callable[[int], Any]:
        pair = namedtuple("pair", "left right")
        box = np.empty(2, dtype=object)

        def step(i: int) -> Any:
            box[i % 2] = data(2, offset=i) * planted(2.0 if i < 3 else 4.0, 2.0)
            return pair(i, box.copy())

        return step

    assert_equivalent(make, steps=3, coexecuted=0)
    with pytest.raises(NotEquivalent, match=r"step 3, result\[1\]\[1\]"):
        assert_equivalent(make, steps=4, coexecuted=0)


def test_state_that_make_shares_between_the_runs_is_said_to_be_that() -> None:
    shared = [0]

    def make() -> Callable[[int], Any]:
        def step(i: int) -> Any:
            shared[0] += 1
            return mt.ones((2,)) * float(shared[0])

        return step

    with pytest.raises(NotEquivalent, match=r"(?s)step 0.*has to make all state anew"):
        assert_equivalent(make, steps=4)


def test_a_program_that_differs_from_itself_explains_nothing() -> None:
    ticks = iter(range(10**6))

    def make() -> Callable[[int], Any]:
        def step(i: int) -> Any:
            x = mt.asarray(np.float32([0.1, 0.2])) * planted(2.0, 1.0)
            return x.sum() + (float(next(ticks)) if i > 1 else 0.0)  # a clock

        return step

    with pytest.raises(NotEquivalent, match="both are eager runs: the program differs from itself"):
        assert_equivalent(make, steps=4, coexecuted=0)


def test_only_differences_are_looked_into_again() -> None:
    made = []

    def make() -> Callable[[int], Any]:
        made.append(1)
        return lambda i: mt.asarray(np.float32([i, 0.5])).sum()

    assert_equivalent(make, steps=4, coexecuted=0)
    assert len(made) == 2  # once eagerly, once recorded


def test_a_step_in_place_of_make_is_refused() -> None:
    with pytest.raises(TypeError, match="Is it the step itself"):
        assert_equivalent(lambda i: i, steps=2)  # type: ignore[arg-type, misc]
    with pytest.raises(TypeError, match="returned None, not a step"):
        assert_equivalent(lambda: None, steps=2)  # type: ignore[arg-type, return-value]


def test_whether_two_shapes_are_one_tuple_is_not_compared() -> None:
    """Eagerly each result has a shape of its own; in the graph all of one size may share one."""

    def make() -> Callable[[int], Any]:
        shapes: list[tuple[int, ...]] = []

        def step(i: int) -> Any:
            x = data(3, offset=i) * 2.0
            shapes.extend([x.shape, x.shape if planted(True, False) else (*x.shape, 0)[:1]])
            return (x + 1.0).sum()

        return step

    assert_equivalent(make, steps=3, coexecuted=0)
