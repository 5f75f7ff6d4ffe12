"""Loops of our own, lowered without numba: drawn programs do what Python does with the same text."""

from __future__ import annotations

import ctypes
import textwrap
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from comprehension.codegen.lowering import Unknown
from comprehension.jit.emit import emit_loops
from comprehension.jit.load import LoadedObject, load_object
from comprehension.machine import host

NAMES = ("a", "b", "c")
ROUNDS = 7
LIMIT = 1000  # of all values: so no product leaves int64
PRELUDE = f"""
STEP, TURN = 3, -2

def near(x: int) -> int:
    if x > {LIMIT}:
        return x % {LIMIT}
    elif x < -{LIMIT}:
        return -(-x % {LIMIT})
    return x

def is_small(x: int) -> bool:
    return -10 < x and x < 10

def nothing(x: int) -> None:
    while x > 0:
        x -= 1
        if x == 5:
            return
"""

leaves = st.one_of(st.sampled_from([*NAMES, "STEP", "TURN"]), st.integers(-20, 20).map(str))
divisors = st.integers(-20, 20).filter(bool).map("({})".format)


def deeper(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    compared = st.builds("{} {} {}".format, values, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), values)
    conditions = st.one_of(
        compared,
        values,
        st.builds("({} {} {})".format, compared, st.sampled_from(["and", "or"]), values),
        st.builds("(not {})".format, compared),
        st.builds("is_small({})".format, values),
    )
    return st.one_of(
        st.builds("near({} {} {})".format, values, st.sampled_from(["+", "-", "*", "&", "|", "^"]), values),
        st.builds("({} {} {})".format, values, st.sampled_from(["//", "%"]), divisors),
        st.builds("({} >> {})".format, values, st.integers(0, 9)),
        st.builds("near({} << {})".format, values, st.integers(0, 9)),
        st.builds("-({})".format, values),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), values, values),
        st.builds("({} if {} else {})".format, values, conditions, values),
    )


values = st.one_of(leaves, deeper(leaves), deeper(deeper(leaves)))
conditions = st.one_of(
    st.builds("{} < {}".format, values, leaves),
    st.builds("{} != {} and not is_small({})".format, leaves, values, leaves),
    st.builds("{} or {} >= {}".format, leaves, leaves, values),
)


def block(*parts: str) -> str:
    return textwrap.indent("\n".join(parts), "    ")


@st.composite
def statements(draw: Any, depth: int, in_loop: bool) -> str:
    simple = st.one_of(
        st.builds("{} = near({})".format, st.sampled_from(NAMES), values),
        st.builds("{}, {} = {}, {}".format, st.just("a"), st.just("b"), values, values),
        st.builds("{} += {}\n{} = near(a + b + c)".format, st.just("c"), values, st.just("c")),
        st.builds("nothing({})".format, values),
    )
    ends = st.sampled_from(["return a - b", *(["break", "continue"] if in_loop else [])])
    if not depth:
        return str(draw(simple))
    inner = st.lists(statements(depth - 1, in_loop), min_size=1, max_size=2).map(lambda found: block(*found))
    looped = st.lists(statements(depth - 1, True), min_size=1, max_size=2).map(lambda found: block(*found))
    bounds = st.sampled_from([f"{ROUNDS}", f"-2, {ROUNDS}", f"a, a + {ROUNDS}, 2", f"b, min(a, b + {ROUNDS})"])
    counted = st.builds("for i in range({}):\n{}".format, bounds, looped)
    # A counter for each depth, so that loops end.
    guarded = f"n{depth} = 0\nwhile n{depth} < {ROUNDS} and ({{}}):\n    n{depth} += 1\n{{}}"
    endless = f"n{depth} = 0\nwhile True:\n    n{depth} += 1\n    if n{depth} > {ROUNDS}:\n        break\n{{}}"
    return str(
        draw(
            st.one_of(
                simple,
                st.builds("if {}:\n{}".format, conditions, inner),
                st.builds("if {}:\n{}\nelif {}:\n{}\nelse:\n{}".format, conditions, inner, conditions, inner, inner),
                st.builds("if {}:\n    {}".format, conditions, ends),
                counted,
                st.builds(guarded.format, conditions, looped),
                st.builds(endless.format, looped),
            )
        )
    )


programs = st.lists(statements(2, False), min_size=1, max_size=4).map(
    lambda found: PRELUDE + "\ndef program(a: int, b: int) -> int:\n" + block("c = a", *found, "return near(a + b * c)")
)


def compiled(text: str, entries: dict[str, int]) -> tuple[LoadedObject, Any]:
    loaded = load_object("loops", emit_loops("loops", text, entries, host()), entries)
    (name, count), *_ = entries.items()
    return loaded, ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * count)(loaded.addresses[name])


@given(programs)
@settings(max_examples=30)
def test_loops_do_what_python_does(text: str) -> None:
    names: dict[str, Any] = {}
    exec(text, names)
    loaded, native = compiled(text, {"program": 2})
    for a, b in [(0, 0), (3, -2), (-7, 5), (40, 41), (-LIMIT, LIMIT)]:
        assert native(a, b) == names["program"](a, b), (a, b)
    assert loaded.addresses.keys() == {"program"}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["return missing"], "line 2: missing is no word"),
        (["x = 0.5", "return x"], "line 2: 0.5"),
        (["raise ValueError"], "line 2: raise ValueError"),
        (["x[0] = a", "return a"], r"line 2: x\[0\]"),
        (["return print(a)"], r"line 2: print\(a\)"),
        (["return f(a, a)"], "line 2: f takes 1 words, not 2"),
        (["if a:", "    return 1"], "f does not end in a return"),
        (["for i in range(0, a, -1):", "    pass", "return 0"], "line 2: a range with other bounds"),
        (["return a / 2"], "Div"),
    ],
)
def test_what_is_not_of_words_is_refused(lines: list[str], said: str) -> None:
    with pytest.raises(Unknown, match=said):
        emit_loops("m", "def f(a):\n" + block(*lines) + "\n", {"f": 1}, host())


def test_entries_are_there_with_as_many_words_as_said() -> None:
    text = "def f(a):\n    return a\n"
    for entries in ({"g": 1}, {"f": 2}):
        with pytest.raises(Unknown, match="has no function"):
            emit_loops("m", text, entries, host())
