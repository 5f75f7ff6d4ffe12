"""What no kernel can do is known by operation, operands and attributes, and by nothing less."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import minitensor as mt
from coexec.traces import opaque
from coexec.traces.opaque import BEYOND, operands_of, why_opaque
from minitensor.ops.opdef import REGISTRY

KINDS = ["int8", "int64", "float32"]
SHAPES = [(), (2, 3)]


def cases() -> list[tuple[str, tuple[Any, ...]]]:
    """Operations whose answers differ by dtype, by number and by type of number."""
    tensors = [mt.zeros(shape, dtype=getattr(mt, kind)) for shape in SHAPES for kind in KINDS]
    numbers = [1, 1000, 2**40, 2**70, 1.5, True]
    of_numbers = [(name, (x, number)) for name in ("add", "less", "pow") for x in tensors for number in numbers]
    return of_numbers + [("pow", (x, x)) for x in tensors] + [("add", (number, tensors[0])) for number in numbers]


@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_remembered_is_what_is_found(backwards: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for place, (name, inputs) in enumerate(cases()):
        monkeypatch.setattr(opaque, "_answers", {})
        found[place] = _because(name, inputs)
    assert {None, BEYOND} < set(found.values())
    monkeypatch.setattr(opaque, "_answers", {})
    order = list(enumerate(cases()))
    for place, (name, inputs) in order[::-1] if backwards else order:
        assert _because(name, inputs) == found[place], (name, inputs)


def _because(name: str, inputs: tuple[Any, ...]) -> str | None:
    values = [x.value if isinstance(x, mt.Tensor) else x for x in inputs]
    return why_opaque(REGISTRY[name], operands_of(values), {})


def test_a_number_is_refused_just_beyond_what_its_type_holds() -> None:
    x = mt.zeros((3,), dtype=mt.int8)
    for number in (-128, 127):
        assert _because("add", (x, number)) is None
    for number in (-129, 128):
        assert _because("add", (x, number)) == BEYOND
    largest = 2**1024 - 2**970 - 1  # rounds down, one more to what no float holds
    assert float(largest) == sys.float_info.max
    with pytest.raises(OverflowError):
        float(largest + 1)
    y = mt.zeros((3,))
    for number in (-largest, largest):
        assert _because("add", (y, number)) is None
    for number in (-largest - 1, largest + 1):
        assert _because("add", (y, number)) == BEYOND
