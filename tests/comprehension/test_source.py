"""Remembered sources: what the cache knows of a text is what reading it again would find, and enough to call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import comprehension as tc
from comprehension.analysis import comprehensions_of
from comprehension.comprehension import Comprehension
from comprehension.jit import client
from comprehension.jit.request import key_of_source
from comprehension.lang import tree
from comprehension.lang.checked import CheckedDef
from comprehension.lang.frontend import load
from comprehension.lang.interface import Interface, interface_from_data, interface_to_data
from comprehension.lang.parser import parse
from comprehension.lang.printer import to_text
from comprehension.source import recall, source_of
from comprehension.testing import Example, examples
from tests.comprehension.test_places import ARGUMENTS, SUBSCRIPTS, marked

WINDOW = "# a window\ndef f(float(N) A,\n      float(K) B) -> (C) {\n  C(i) +=! A(i + k) * B(k)\n}"
PLUS_ONE = "def f(float(N) A) -> (B) { B(i) = A(i) + 1 }"
ONES = np.ones(8, np.float32)


def remembered(text: str) -> tc.Module:
    """The defs of a text as a later program has them, without a kernel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tc.ComprehensionWarning)
        source_of(load(text), to_text(parse(text)), text).remember()
        found = tc.define(text)
    assert all(type(each.interface) is Interface for each in found)
    return found


@given(examples())
def test_an_interface_comes_back_with_all_its_places(example: Example) -> None:
    for made in load(example.text).values():
        found = interface_from_data(json.loads(json.dumps(interface_to_data(made))), made.text)
        whole = asdict(made)
        assert asdict(found) == {name: whole[name] for name in asdict(found)}


def test_a_text_whose_kernel_is_cached_is_not_read_again(fresh_client: None, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = tc.define(WINDOW).f.compile(ONES, ONES[:4])

    def never(*_: object) -> None:
        raise AssertionError("the text was read although its kernel is in the cache")

    with monkeypatch.context() as patched:
        for name in ("lang.ranges.infer", "lang.parser.parse", "lang.frontend.parse", "lang.check.check"):
            patched.setattr(f"comprehension.{name}", never)
        again = tc.define(WINDOW).f
        found = again.compile(ONES, ONES[:4])
        assert found is not kernel and found.source == kernel.source and again.text == to_text(parse(WINDOW))
        assert (again(ONES, ONES[:4]) == 4).all() and found.certificate
        with pytest.raises(AssertionError, match="the text was read"):
            again.compile(ONES, ONES[:3])  # other sizes are looked at
        with pytest.raises(AssertionError, match="the text was read"):
            tc.define(WINDOW + " ")
    assert isinstance(again.definition, CheckedDef)
    assert again.signature == tc.define(WINDOW + " ").f.signature


def test_nothing_of_the_front_end_is_loaded_for_it(fresh_client: None) -> None:
    program = (
        "import sys, numpy as np, comprehension as tc\n"
        f"tc.define({PLUS_ONE!r}).f(np.ones(4, np.float32))\n"
        "lang = 'comprehension.lang'\n"
        "print(sorted({'lark', 'numba', 'islpy', f'{lang}.check', f'{lang}.parser'} & set(sys.modules)))"
    )
    environment = {"COMPREHENSION_CACHE": str(tc.config.cache_dir)}
    said = [_run(program, environment) for _ in range(2)]
    assert said == ["['comprehension.lang.check', 'comprehension.lang.parser', 'lark']", "[]"]


def _run(program: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return found.stdout.strip()


@pytest.mark.filterwarnings("ignore::comprehension.ComprehensionWarning")
@pytest.mark.parametrize("name", [*ARGUMENTS, *SUBSCRIPTS])
def test_what_is_said_of_a_remembered_text_is_what_is_said_of_a_new_one(name: str) -> None:
    text, inputs, keywords, _ = (*SUBSCRIPTS[name][:2], {}, "") if name in SUBSCRIPTS else ARGUMENTS[name]
    text, _ = marked(text)
    (new,) = comprehensions_of(text, "static")
    old = remembered(text).f
    assert isinstance(new.interface, CheckedDef)
    for method in ("__call__", "reference", "infer"):
        said = [_refusal(f, method, inputs, keywords if method != "infer" else {}) for f in (new, old)]
        assert said[0] == said[1]
        assert method == "infer" or said[0][1] == 1


def _refusal(f: Comprehension, method: str, inputs: Any, keywords: Any) -> tuple[str, int | None, int | None]:
    try:
        return str(getattr(f, method)(*inputs, **keywords)), None, None
    except tc.ComprehensionError as error:
        return str(error), error.line, error.column


def test_warnings_come_again(fresh_client: None) -> None:
    text = "def f(float(N) A) -> (s) {\n  s += A(i)\n}"
    said = []
    for _ in range(2):
        with pytest.warns(tc.ComprehensionWarning, match="uninitialised reduction") as warned:
            f = tc.define(text).f
        said.append([str(each.message) for each in warned])
        f(ONES, out=np.zeros((), np.float32))
    assert type(f.interface) is Interface
    assert said[0] == said[1] and said[0][0].startswith("2:3: ")


@pytest.mark.parametrize("kept", [b"", b"[]", b"\xff", b'{"text": "", "defs": [{}]}', b'{"text": 1, "defs": 2}'])
def test_what_makes_no_sense_is_read_again(fresh_client: None, kept: bytes, caplog: pytest.LogCaptureFixture) -> None:
    client.remember(key_of_source("text", PLUS_ONE), kept)
    before = tc.statistics.fallbacks["source read again"]
    with caplog.at_level("WARNING", logger="comprehension"):
        assert isinstance(tc.define(PLUS_ONE).f.interface, CheckedDef)
    assert "makes no sense" in caplog.text and tc.statistics.fallbacks["source read again"] == before + 1


def test_a_tree_is_remembered_apart_from_its_text(fresh_client: None) -> None:
    remembered(PLUS_ONE)
    a = tree.TensorType(tc.ScalarType.FLOAT32, ("N",))
    value = tree.Binary("+", tree.Access("A", (tree.Name("i"),)), tree.Number(1))
    made = tree.Def("f", (tree.Param("A", a),), (tree.Param("B"),), (tree.Statement("B", (tree.Name("i"),), value),))
    parsed = parse(PLUS_ONE)
    assert tree.Program((made,)) == parsed
    for program, line in ((tree.Program((made,)), None), (parsed, 1), (tree.Program((made,)), None)):
        f = tc.define(program).f
        f(ONES)
        with pytest.raises(tc.ComprehensionError) as refused:
            f(ONES, ONES)
        assert refused.value.line == line
    assert type(f.interface) is Interface and recall(parsed) is None


def test_a_text_that_fails_is_not_remembered(fresh_client: None) -> None:
    text = "def f(float(N) A) -> (B) { B(i) = A(i) where i in 0:N+1 }"
    with pytest.raises(tc.ComprehensionError):
        tc.define(text).f(ONES)
    assert recall(text) is None
