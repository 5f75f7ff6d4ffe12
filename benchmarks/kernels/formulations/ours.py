"""Ours: the case's text, defined, compiled and called."""

from __future__ import annotations

from typing import Any

import numpy as np

import comprehension as tc
from benchmarks.kernels.case import Arrays, Case
from benchmarks.kernels.formulations import Calls, as_tuple, in_turn
from comprehension.jit import native_function as quick_calls


def prepare(case: Case, variants: list[Arrays]) -> Calls:
    if case.family == "group_norm_two":
        return _group_norm_two(case, variants)
    (comprehension,) = tc.define(case.text)
    kernel = comprehension.compile(*variants[0])
    quick_calls.prepare()  # what a program gets in the background after its first launches
    held = tuple(np.empty(spec.shape, np.float32) for spec in as_tuple(comprehension.infer(*variants[0])))
    out = held if len(held) > 1 else held[0]

    def into(*inputs: Any) -> Any:
        return kernel(*inputs, out=out)

    return Calls(in_turn(kernel, variants), in_turn(into, variants), as_tuple)


def _group_norm_two(case: Case, variants: list[Arrays]) -> Calls:
    module = tc.define(case.text)
    ((x, gamma, beta),) = variants
    moments = module.moments.compile(x)
    mean, var = moments(x)
    normalise = module.normalise.compile(x, gamma, beta, mean, var)
    quick_calls.prepare()
    out = np.empty_like(x)

    def into() -> Any:
        moments(x, out=(mean, var))
        return normalise(x, gamma, beta, mean, var, out=out)

    return Calls(lambda: normalise(x, gamma, beta, *moments(x)), into, as_tuple)
