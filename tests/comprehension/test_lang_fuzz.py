"""Properties of the language for drawn programs: printing, hostile texts, static and symbolic inference."""

from __future__ import annotations

import contextlib
import time
import warnings
from typing import Any

import numpy as np
from hypothesis import given, strategies as st

from comprehension.errors import MAX_MESSAGE, ComprehensionError
from comprehension.lang.checked import CheckedDef
from comprehension.lang.frontend import analyse, load
from comprehension.lang.parser import parse
from comprehension.lang.printer import to_text
from comprehension.lang.ranges import Sizes, infer
from comprehension.lang.reference import run
from comprehension.lang.tree import Program
from comprehension.lang.types import Spec
from comprehension.lang.verify import verify_program
from comprehension.testing import Example, broken_texts, examples, texts, trees


@given(trees())
def test_printing_and_parsing_is_the_identity(tree: Program) -> None:
    assert parse(to_text(tree)) == tree


@given(texts())
def test_spacing_and_comments_mean_nothing(text: str) -> None:
    tree = parse(text)
    assert parse(to_text(tree)) == tree
    assert to_text(parse(to_text(tree))) == to_text(tree)


@given(trees())
def test_trees_pass_the_checks_or_get_a_comprehension_error(tree: Program) -> None:
    try:
        analyse(tree)
    except ComprehensionError as error:
        assert error.errors and str(error)


@given(st.one_of(broken_texts(), broken_texts(examples().map(lambda e: e.text))))
def test_broken_texts_get_comprehension_errors_only_and_soon(text: str) -> None:
    start = time.thread_time()
    try:
        load(text)
    except ComprehensionError as error:
        assert len(str(error)) <= MAX_MESSAGE
        assert error.line is None or 1 <= error.line <= text.count("\n") + 1
        if error.source_line is not None:
            assert error.source_line in text
    assert time.thread_time() - start < 5.0


@given(st.text(max_size=200))
def test_any_string_is_refused_or_parsed(text: str) -> None:
    with contextlib.suppress(ComprehensionError):
        parse(text)


@given(examples())
def test_examples_mean_the_same_static_and_symbolic(example: Example) -> None:
    definition = load(example.text)["f"]
    verify_program(infer(definition, None, "symbolic"))
    static, symbolic = outputs(definition, example, "static"), outputs(definition, example, "symbolic")
    assert static.keys() == symbolic.keys()
    for name, array in static.items():
        assert array.shape == symbolic[name].shape
        np.testing.assert_array_equal(array, symbolic[name])


@given(examples())
def test_examples_survive_printing(example: Example) -> None:
    again = to_text(parse(example.text))
    first, second = load(example.text)["f"], load(again)["f"]
    assert infer(first, None, "symbolic") == infer(second, None, "symbolic")


def outputs(definition: CheckedDef, example: Example, sizes: Sizes) -> dict[str, Any]:
    """What the reference interpreter makes of an example."""
    arrays = {p.name: v for p, v in zip(definition.parameters, example.inputs, strict=True)}
    scalars = {s.name: arrays.pop(s.name) for s in definition.scalars}
    specs = None
    if sizes == "static":
        specs = [Spec(np.shape(v), t.type.scalar) for v, t in zip(example.inputs, definition.parameters, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the interpreter's arithmetic is silent
        return run(infer(definition, specs, sizes), arrays, scalars)
