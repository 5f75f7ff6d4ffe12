"""Rows of tensors as kernels' inputs: what is taken for one, that it means the same, where it lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import GraphBuilder
from hypothesis import given, strategies as st

import comprehension as tc
import minitensor  # noqa: F401 - registers the operations
from coexec.clusters.forward import TensorType
from coexec.clusters.rows import MOST_ROWS, take_rows
from coexec.errors import CoexecError
from coexec.graph.symbolic import Case, End, Goto, Output
from coexec.graph_side.graph_compiler import build_native
from coexec.graph_side.instructions import Launch, Row
from coexec.graph_side.reference_runner import ReferenceGraph
from comprehension.lang import tree
from comprehension.lang.parser import parse
from comprehension.lang.printer import to_text
from comprehension.lang.types import ScalarType

F32 = np.float32


def taken(text: str) -> tuple[str, list[tuple[str, tuple[int | str, ...]]]]:
    """The statements of a def with rows taken, as text, and each row with its shape."""
    (definition,) = parse(text).defs
    types = {p.name: TensorType(p.type.scalar, p.type.dims) for p in definition.inputs if p.type is not None}
    statements, rows = take_rows(definition.statements, types, types)
    program = tree.Program((tree.Def("f", (), definition.outputs, statements),))
    body = to_text(program).split("{", 1)[1].rsplit("}", 1)[0]
    return " ".join(body.split()), [(row.name, row.type.shape) for row in rows]


CASES = {
    "a row": ("float(4,N) A", "y(i) = A(3, i)", "y(i) = A[3](i)", [("A[3]", ("N",))]),
    "of two outer dimensions": ("float(4,M,N) A", "y(i) = A(3, 1, i)", "y(i) = A[3, 1](i)", [("A[3, 1]", ("N",))]),
    "by a sum of numbers": ("float(4,N) A", "y(i) = A(2 + 1 * 1, i)", "y(i) = A[3](i)", [("A[3]", ("N",))]),
    "two rows": (
        "float(4,N) A",
        "y(i) = A(3, i) - A(0, i)",
        "y(i) = A[3](i) - A[0](i)",
        [("A[3]", ("N",)), ("A[0]", ("N",))],
    ),
    "as deep as all reads have numbers for": (
        "float(4,5,N) A",
        "y(i) = A(3, 1, i) + A(2, i, 0)",
        "y(i) = A[3](1, i) + A[2](i, 0)",
        [("A[3]", (5, "N")), ("A[2]", (5, "N"))],
    ),
    "one dimension is left": ("float(4,5) A", "y(i) = A(3, 1)", "y(i) = A[3](1)", [("A[3]", (5,))]),
    "in a subscript": (
        "float(N) B, int32(4,N) A",
        "y(i) = B(A(1, i))",
        "y(i) = B(A[1](i))",
        [("A[1]", ("N",))],
    ),
    "of a row's row": (
        "int32(4,N) A",
        "y(i) = A(1, A(1, i))",
        "y(i) = A[1](A[1](i))",
        [("A[1]", ("N",))],
    ),
    "in a range": (
        "int32(2,N) A, float(N,N) B",
        "y(i) +=! B(i, j) where j in 0:A(1, i)",
        "y(i) +=! B(i, j) where j in 0:A[1](i)",
        [("A[1]", ("N",))],
    ),
    "not of a dimension inside": ("float(N,4) A", "y(i) = A(i, 3)", "y(i) = A(i, 3)", []),
    "not where it is read by an index, too": (
        "float(4,4) A",
        "y(i) = A(3, i) + A(i, 3)",
        "y(i) = A(3, i) + A(i, 3)",
        [],
    ),
    "not where its size is asked for": (
        "float(4,N) A",
        "y(i) = A(3, i) + A.0",
        "y(i) = A(3, i) + A.0",
        [],
    ),
    "not out of bounds": ("float(4,N) A", "y(i) = A(4, i)", "y(i) = A(4, i)", []),
    "not below": ("float(4,N) A", "y(i) = A(1 - 2, i)", "y(i) = A(1 - 2, i)", []),
    "only as deep as it is in bounds": (
        "float(4,5,N) A",
        "y(i) = A(3, 5, i)",
        "y(i) = A[3](5, i)",
        [("A[3]", (5, "N"))],
    ),
    "an element of a vector is none": ("float(4) A, float(N) B", "y(i) = A(3) * B(i)", "y(i) = A(3) * B(i)", []),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_taken_for_a_row(name: str) -> None:
    inputs, statement, expected, rows = CASES[name]
    assert taken(f"def f({inputs}) -> (y) {{ {statement} }}") == (expected, rows)


def test_a_kernel_that_reads_many_rows_takes_the_tensor() -> None:
    def sum_of(count: int) -> int:
        terms = " + ".join(f"A({k}, i)" for k in range(count))
        return len(taken(f"def f(float(64,N) A) -> (y) {{ y(i) = {terms} }}")[1])

    assert (sum_of(MOST_ROWS), sum_of(MOST_ROWS + 1)) == (MOST_ROWS, 0)


# --- where they lie -----------------------------------------------------------------------------------------


def rows_read(compiled: Any) -> list[tuple[int, ...]]:
    """The place in the outer dimensions of each row that a launch reads."""
    launches = [i for i in compiled.plan.program.instructions if isinstance(i, Launch)]
    return [place.index for launch in launches for place in launch.reads if isinstance(place, Row)]


@st.composite
def shapes_and_places(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """A shape, and one or two places in all its dimensions but the last."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=2, max_size=4)))
    place = st.tuples(*(st.integers(0, extent - 1) for extent in shape[:-1]))
    return shape, draw(st.lists(place, min_size=1, max_size=2))


@given(shapes_and_places(), st.lists(st.booleans(), min_size=3, max_size=3), st.sampled_from(["feed", "made", "phi"]))
def test_a_row_is_read_where_it_lies_for_all_sizes(
    drawn: tuple[tuple[int, ...], list[tuple[int, ...]]], named: list[bool], kind: str
) -> None:
    """Of what is fed, made by a kernel before, or chosen between two; sizes known or not."""
    shape, places = drawn
    symbols = [f"n{k}" for k, extent in enumerate(shape[:-1]) if named[k] and extent > 1]
    dims = tuple(f"n{k}" if f"n{k}" in symbols else extent for k, extent in enumerate(shape))
    g = GraphBuilder()
    x: Any = g.feed(dims)
    if kind != "feed":
        x = g.op("negative", x)
        g.fetch(x)  # so that no kernel has it to itself
    if kind == "phi":
        x = g.phi(x)
        g.close(Goto(1))
    rows = [g.op("getitem", x, key=(*place, None)) for place in places]
    total = g.op("multiply", rows[0], rows[-1])
    compiled = build_native(g.graph(kept=(total,), symbols=tuple(symbols)), "fast")
    assert rows_read(compiled) == [*dict.fromkeys(places)]
    for larger in (0, 3, 0):
        extents = tuple(extent + larger * (dims[k] == f"n{k}") for k, extent in enumerate(shape))
        data = np.arange(np.prod(extents), dtype=F32).reshape(extents)
        run = compiled.start()
        for number, symbol in enumerate(symbols):
            run.bind(number, extents[int(symbol[1:])])
        run.feed(0, data)
        (handle,) = run.finish([total])
        np.testing.assert_array_equal(handle.wait(), data[places[0]] * data[places[-1]])


def test_a_row_that_is_not_there_is_not_read() -> None:
    """Python leaves the graph where a row is out of bounds; until it has, the graph stops there."""
    g = GraphBuilder()
    x = g.feed(("n", 3))
    y = g.op("exp", g.op("getitem", x, key=(2, None)))
    compiled = build_native(g.graph(kept=(y,), symbols=("n",)), "fast")
    for rows in (3, 2, 4):
        run = compiled.start()
        run.bind(0, rows)
        run.feed(0, np.zeros((rows, 3), F32))
        (handle,) = run.finish([y])
        if rows > 2:
            np.testing.assert_array_equal(handle.wait(), np.ones(3, F32))
        else:
            with pytest.raises(CoexecError):
                handle.wait()


def test_the_row_of_what_goes_round_a_loop_is_the_latest_rounds() -> None:
    g = GraphBuilder()
    phi = g.phi(g.op("negative", g.feed((3, 4))))
    g.close(Goto(1))
    g.close(Case(0, (2, 3)))
    row = g.op("getitem", phi, key=(1, None))
    g.select(phi, g.op("add", phi, row))
    g.fetch(g.op("exp", row))
    g.close(Goto(1))
    last = g.op("abs", g.op("getitem", phi, key=(2, None)))
    g.close(End())
    graph = g.graph(kept=(last,))
    x = np.random.default_rng(0).integers(-3, 4, (3, 4)).astype(F32)
    found = []
    for compiled in (build_native(graph, "fast"), ReferenceGraph(graph)):
        run = compiled.start()
        run.feed(0, x)
        for choice in (0, 0, 0, 1):
            run.choose(0, choice)
        (handle,) = run.finish([last])
        found.append(handle.wait())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[1], np.abs(-x[2] - 7 * x[1]))


def test_the_rounds_of_an_unrolled_loop_share_their_kernels() -> None:
    """Whatever their number: the sequence's length is in no text."""

    def texts(rounds: int) -> set[str]:
        g = GraphBuilder()
        x, w, state = g.feed((rounds, 2, 3)), g.feed((3, 3)), g.feed((2, 3))
        made: list[Output] = []
        for t in range(rounds):
            row = g.op("getitem", x, key=(t, None, None))
            made.append(g.op("tanh", g.op("add", row, g.op("matmul", made[-1] if made else state, w))))
        compiled = build_native(g.graph(kept=(made[-1],)), "fast")
        assert [index for (index,) in rows_read(compiled)] == list(range(rounds))
        return {to_text(tree.Program((cluster.lowered.definition,))) for cluster in compiled.clusters}

    assert len(texts(5)) == 1 and texts(5) == texts(2)


def test_rows_mean_what_the_tensor_means() -> None:
    """A kernel with a row as its input is the kernel of the tensor that reads that row."""
    text = "def f(float(4,N) A, float(N) B) -> (y) { y(i) = A(3, i) * B(i) + A(1, i) }"
    (definition,) = parse(text).defs
    types = {p.name: TensorType(p.type.scalar, p.type.dims) for p in definition.inputs if p.type is not None}
    statements, rows = take_rows(definition.statements, types, ["A"])
    inputs = [tree.Param(f"r{k}", tree.TensorType(ScalarType.FLOAT32, row.type.shape)) for k, row in enumerate(rows)]
    renamed = to_text(tree.Program((tree.Def("g", (*inputs, definition.inputs[1]), definition.outputs, statements),)))
    for k, row in enumerate(rows):
        renamed = renamed.replace(row.name, f"r{k}")
    a, b = np.random.default_rng(1).random((4, 6), F32), np.arange(6, dtype=F32)
    whole, parts = tc.define(text).f.reference(a, b), tc.define(renamed).g.reference(a[3], a[1], b)
    np.testing.assert_array_equal(whole, parts)
