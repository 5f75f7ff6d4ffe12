"""How each library is asked for each family of cases.

In: a case and its variants of inputs.  Out: `Calls`: one call that makes its outputs and, where the library can,
one that writes into outputs held already; both return the outputs.
Invariant: a formulation is what the library's users would write for speed; nothing in it is held back or helped
by what another library does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import cycle
from typing import Any

from benchmarks.kernels.case import Arrays, Case

SIDES = ("ours", "numpy", "torch", "torch.compile", "jax")
_MODULES = {
    "ours": "ours",
    "numpy": "with_numpy",
    "torch": "with_torch",
    "torch.compile": "with_compile",
    "jax": "with_jax",
}


@dataclass(frozen=True, slots=True)
class Calls:
    """`fresh` and `into` take no arguments; `to_arrays` makes NumPy arrays of what they return."""

    fresh: Callable[[], Any]
    into: Callable[[], Any] | None
    to_arrays: Callable[[Any], Arrays]


def prepare(side: str, case: Case) -> Calls:
    """Draws the inputs and compiles what is to be compiled."""
    module = import_module(f"{__name__}.{_MODULES[side]}")
    calls: Calls = module.prepare(case, case.inputs())
    return calls


def in_turn(call: Callable[..., Any], variants: list[tuple[Any, ...]]) -> Callable[[], Any]:
    """Calls with the variants of the inputs, one after the other."""
    if len(variants) == 1:
        (only,) = variants
        return lambda: call(*only)
    following = cycle(variants)
    return lambda: call(*next(following))


def as_tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)
