"""torch.compile: the formulations of PyTorch eager, compiled for these shapes; `into` copies within the graph."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.kernels.case import Arrays, Case
from benchmarks.kernels.formulations import Calls, as_tuple, in_turn
from benchmarks.kernels.formulations.with_torch import FRESH, taken, to_arrays


def prepare(case: Case, variants: list[Arrays]) -> Calls:
    torch._dynamo.reset()
    tensors, body = taken(variants), FRESH[case.family]

    def fresh(*inputs: torch.Tensor) -> Any:
        return body(*inputs, **case.fixed)

    def into(held: tuple[torch.Tensor, ...], *inputs: torch.Tensor) -> Any:
        for target, found in zip(held, as_tuple(fresh(*inputs)), strict=True):
            target.copy_(found)

    compiled, compiled_into = torch.compile(fresh, dynamic=False), torch.compile(into, dynamic=False)
    held = tuple(torch.empty_like(x) for x in as_tuple(fresh(*tensors[0])))

    def call_into(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        compiled_into(held, *inputs)
        return held

    return Calls(in_turn(compiled, tensors), in_turn(call_into, tensors), to_arrays)
