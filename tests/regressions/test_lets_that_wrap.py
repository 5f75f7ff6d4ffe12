"""Lets of indices as values: once computed exactly where the language wraps, or not proved.

`v = (i + 2147483647) / 2` is a quotient of what wrapped; as a subscript it is exact, as a value it is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import comprehension as tc
from comprehension.kernel.build import build_kernel
from comprehension.kernel.values import ValueBuilder
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.machine import host
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop

LETS = {
    "a quotient of a sum": ("v", "v = (i + 2147483647) / 2", 0),
    "a quotient of a product": ("v", "v = (s * s) / 2", 50_000),
    "an extreme": ("v", "v = max(s * s, 0)", 50_000),
    "a choice": ("v", "v = s * s > 0 ? 1 : 2", 50_000),
    "a product in a type of its own": ("w", "v = uint32(s) * uint32(s), w = int64(v)", 70_000),
    "a sign that is lost": ("w", "v = uint32(s), w = int64(v)", -1),
    "a narrow constant": ("v", "v = 1 + int8(300)", 0),
    "a random word": ("v", "v = int32(philox(i, 0, 1, 2, 3, 4))", 0),
    "lets of lets": ("v + w", "u = i + 2147483647, v = u / 2, w = v + u", 0),
    "a value and a subscript": ("v + int32(A(v - 1073741823))", "v = (i + 2147483647) / 2", 0),
}


@pytest.mark.parametrize("name", LETS)
def test_lets_of_indices_wrap_as_values(name: str) -> None:
    value, lets, scalar = LETS[name]
    f = tc.define(f"def f(double(4) A, int32 s) -> (B) {{ B(i) = A(i) + {value} where i in 0:2, {lets} }}").f
    a = np.arange(4.0)
    for math in ("fast", "strict"):
        kernel = f.compile(a, scalar, math=math)
        assert kernel.certificate and kernel.report.fallbacks == ()
        np.testing.assert_array_equal(kernel(a, scalar), f.reference(a, scalar))


@pytest.mark.parametrize("number", [2**33 + 7, -1])
def test_narrowing_lets_lose_what_they_cannot_hold(number: int) -> None:
    text = "def f(int64(N) A, int64 s) -> (B) { B(i) = A(i) + w where v = int32(s), w = int64(v) }"
    f = tc.define(text).f
    a = np.arange(3)
    np.testing.assert_array_equal(f(a, number), f.reference(a, number))


def test_the_certificate_refuses_a_quotient_that_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was planned once: the let's exact integer in place of its value."""

    def exactly(self: ValueBuilder, let: Any, name: str) -> None:
        self.names[let.name] = self.integer(let.value)

    monkeypatch.setattr(ValueBuilder, "define_let", exactly)
    text = "def f(double(4) A) -> (B) { B(i) = A(i) + v where v = (i + 2147483647) / 2 }"
    scop = build_scop(infer(load(text)["f"], [tc.Spec((4,), "float64")]))
    dependences = find_dependences(scop)
    kernel = build_kernel(scop, schedule(scop, dependences, machine=host(), math="strict"), "strict")
    assert not certify(scop, dependences, kernel, "strict")
