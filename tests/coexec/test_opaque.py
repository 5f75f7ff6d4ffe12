"""What no kernel can do is known by operation, operands and attributes, and by nothing less."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec.traces import opaque
from coexec.traces.opaque import (
    BEYOND,
    blank_for,
    has_comprehension,
    operands_of,
    raise_if_impossible,
    spec_of,
    values_to_check,
    why_opaque,
)
from minitensor.errors import ScalarRangeError
from minitensor.ops.opdef import REGISTRY, Effect, TensorSpec

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


F32 = np.dtype("float32")


def test_a_spec_is_one_object_as_long_as_the_table_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opaque, "_specs", {})
    monkeypatch.setattr(opaque, "_MOST_ENTRIES", 2)
    first = spec_of((1,), F32)
    assert first == TensorSpec((1,), F32)
    assert spec_of((2,), F32) is not first and spec_of((1,), F32) is first
    for length in (3, 4, 5):
        assert spec_of((length,), F32) == TensorSpec((length,), F32)
        assert len(opaque._specs) <= 2
    assert spec_of((1,), F32) == first


def test_the_table_of_answers_keeps_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opaque, "_answers", {})
    monkeypatch.setattr(opaque, "_MOST_ENTRIES", 2)
    kept = []
    for length in (1, 2, 3, 4, 1):
        assert why_opaque(REGISTRY["negative"], (spec_of((length,), F32),), {}) is None
        kept.append(len(opaque._answers))
    assert kept == [1, 2, 1, 2, 1]


def test_what_acts_outside_and_what_has_no_comprehension_is_left_to_python() -> None:
    x = (spec_of((3, 3), F32),)
    inverse, negative = REGISTRY["inv"], REGISTRY["negative"]
    assert why_opaque(inverse, x, {}) == inverse.opaque_because
    assert not has_comprehension(inverse, x, {}) and has_comprehension(negative, x, {})
    assert why_opaque(replace(negative, effect=Effect.HOST), x, {}) == "it acts outside the tensors"


def test_sizes_that_differ_as_symbols_have_no_comprehension() -> None:
    add = REGISTRY["add"]
    assert has_comprehension(add, (TensorSpec(("n",), F32), TensorSpec(("n",), F32)), {})
    assert not has_comprehension(add, (TensorSpec(("n",), F32), TensorSpec(("m",), F32)), {})


def test_only_integers_and_bools_have_contents_that_decide() -> None:
    gather = REGISTRY["gather"]
    values = [mt.zeros((3,), dtype=dtype).value for dtype in (mt.float32, mt.int64, mt.uint8, mt.bool)]
    assert values_to_check(gather, (*values, 1)) == tuple(values[1:])
    assert values_to_check(REGISTRY["add"], (*values, 1)) == ()


def test_a_number_is_impossible_whatever_the_contents_are() -> None:
    add, x = REGISTRY["add"], mt.zeros((2**20,), dtype=mt.int8).value
    raise_if_impossible(add, (x, x), {})
    raise_if_impossible(add, (x, 100), {})
    with pytest.raises(ScalarRangeError):
        raise_if_impossible(add, (x, 1000), {})
    blank = blank_for(x)
    assert (blank.shape, blank.dtype, blank.strides) == (x.shape, x.dtype, (0,))
    assert blank_for(7) == 7


@pytest.mark.parametrize("operands", [("tensor", 4), (4, "tensor"), ("tensor", 2.5)])
def test_a_number_where_a_tensor_belongs_is_refused_in_the_words_of_the_eager_rule(operands: tuple[Any, ...]) -> None:
    def told(i: int) -> str:
        left, right = (mt.ones((4, 3)) * float(i) if x == "tensor" else x for x in operands)
        with pytest.raises(TypeError) as refused:
            left @ right
        return str(refused.value)

    step = coexec.coexecute(told)
    for i in range(4):
        assert step(i) == told(i)
        coexec.wait()
    assert "a matrix product takes two tensors, not a number" in told(0)
