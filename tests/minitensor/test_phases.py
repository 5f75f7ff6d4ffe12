"""Phases of strided windows: they cover pixels and elements once, and gradients made of them are the scattered ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minitensor.ops.convolution_eager import _by_phases, _scattered
from minitensor.ops.opdef import REGISTRY
from minitensor.ops.phases import phases
from minitensor.testing import check_meaning
from minitensor.testing.strategies import Case

Axis = tuple[int, int, int, int, int]


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    """Size, kernel, stride, padding, dilation: the kernel fits."""
    kernel, stride, dilation = (draw(st.integers(1, 4)) for _ in range(3))
    padding = draw(st.integers(0, 4))
    least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    return draw(st.integers(least, least + 6)), kernel, stride, padding, dilation


@given(axes())
def test_phases_are_the_pairs_of_pixels_and_elements(axis: Axis) -> None:
    size, kernel, stride, padding, dilation = axis
    found = [
        (phase.pixel + stride * k, phase.first + phase.step * j, k + phase.offset - phase.apart * j)
        for phase in phases(*axis)
        for k in range(phase.count)
        for j in range(phase.taps)
    ]
    met = [
        (pixel, element, (pixel + padding - element * dilation) // stride)
        for pixel in range(size)
        for element in range(kernel)
        if (pixel + padding - element * dilation) % stride == 0
    ]
    assert sorted(found) == sorted(met)
    assert sorted(p.pixel + stride * k for p in phases(*axis) for k in range(p.count)) == list(range(size))


@given(axes(), axes(), st.integers(0, 2**32 - 1))
def test_the_input_gradient_by_phases_is_the_scattered_one(rows: Axis, columns: Axis, seed: int) -> None:
    draw = np.random.default_rng(seed)
    (size, kernel, stride, padding, dilation) = zip(rows, columns, strict=True)
    out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in (rows, columns)]
    g, weight = draw.integers(-4, 5, (2, 3, *out)) * 1.0, draw.integers(-4, 5, (3, 2, *kernel)) * 1.0
    by_phases = _by_phases(g, weight, size, stride, padding, dilation)
    np.testing.assert_array_equal(by_phases, _scattered(g, weight, size, stride, padding, dilation))


@pytest.mark.parametrize("stride", [(2, 2), (2, 1), (3, 2)])
@pytest.mark.parametrize(("size", "padding"), [((6, 4), (0, 0)), ((5, 4), (0, 0)), ((6, 4), (1, 1))])
def test_one_phase_is_spread_over_the_picture_at_once(
    stride: tuple[int, int], size: tuple[int, int], padding: tuple[int, int]
) -> None:
    rng, op = np.random.default_rng(0), REGISTRY["conv2d_input_grad"]
    out = tuple((n + 2 * p - 1) // s + 1 for n, p, s in zip(size, padding, stride, strict=True))
    g, weight = (rng.integers(-3, 4, shape).astype("f") for shape in ((2, 3, *out), (3, 2, 1, 1)))
    window = {"stride": stride, "padding": padding, "dilation": (1, 1), "groups": 1}
    case = Case((g, weight), {"shape": (2, 2, *size), **window})
    assert op.comprehension is not None
    written = [statement.target for statement in op.comprehension(*case.specs, **case.attributes).statements]
    whole = all(n % s == 0 for n, s in zip(size, stride, strict=True))
    assert (written.count("r0") == 1) == whole
    check_meaning(op, case, integers=True)
