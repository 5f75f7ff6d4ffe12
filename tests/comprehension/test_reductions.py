"""Long reductions in blocks and chunks: proved, right for every operator and type, the same on any threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from test_poly_kernels import AVX512

import comprehension as tc
from comprehension.config import config
from comprehension.kernel import chunks, divide, ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.divide import divide_reductions
from comprehension.kernel.interpret import interpret
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import Scop, build_scop
from comprehension.poly.typical import typical_sizes

SHAPES = {"all": (6, 70), "few rows": (3, 150), "few columns": (150, 3), "many rows": (9, 150)}
BODIES = {
    "all": "Y() {op}=! X(m,n)",
    "few rows": "Y(m) {op}=! X(m,n)",
    "few columns": "Y(n) {op}=! X(m,n)",
    "many rows": "Y(m) {op}=! X(m,n)",
}
TYPES = {
    "float": ScalarType.FLOAT32,
    "double": ScalarType.FLOAT64,
    "int32": ScalarType.INT32,
    "uint8": ScalarType.UINT8,
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks and blocks of a few terms, so that small reductions are long."""
    monkeypatch.setattr(chunks, "CHUNK", 48)
    monkeypatch.setattr(chunks, "FEWEST_CHUNKS", 2)
    monkeypatch.setattr(divide, "BLOCK", 2)


def divided(text: str, specs: tuple[Spec, ...] | None) -> tuple[Scop, ir.Kernel, tuple[str, ...]]:
    program = infer(load(text)["f"], specs, "symbolic" if specs is None else "static")
    scop = build_scop(program)
    machine = replace(AVX512, vector_bits=128)  # four lanes: more of everything in small sizes
    tree = schedule(scop, find_dependences(scop), machine=machine)
    found = divide_reductions(build_kernel(scop, tree), typical_sizes(program))
    verify_kernel(found.kernel)
    return scop, found.kernel, found.notes


def drawn(shape: tuple[int, ...], dtype: ScalarType) -> np.ndarray:
    draw = np.random.default_rng(sum(shape))
    low = 0 if not dtype.is_signed and dtype.is_integer else -2
    return draw.integers(low, 3, shape).astype(dtype.numpy)


# --- every operator and type, in small ------------------------------------------------------------------------


OPERATORS = ("+", "*", "min", "max")
CASES = [
    *((kind, op, "float") for kind in BODIES for op in OPERATORS),
    *(("all", op, dtype) for op in OPERATORS for dtype in TYPES if dtype != "float"),
]


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize(("kind", "op", "dtype"), CASES)
@pytest.mark.usefixtures("short")
def test_divided_reductions_are_right_and_proved(kind: str, op: str, dtype: str, sizes: str) -> None:
    text = f"def f({dtype}(M,N) X) -> (Y) {{ {BODIES[kind].format(op=op)} }}"
    specs = (Spec(SHAPES[kind], TYPES[dtype]),) if sizes == "static" else None
    scop, kernel, _ = divided(text, specs)
    assert certify(scop, None, kernel)
    x = drawn(SHAPES[kind], TYPES[dtype])
    wanted = run(infer(load(text)["f"], (Spec(x.shape, TYPES[dtype]),)), {"X": x})
    named = dict(zip("MN", x.shape, strict=True)) if specs is None else {}
    for order in (iter, reversed):  # small integers: exact in any order
        np.testing.assert_array_equal(interpret(kernel, {"X": x}, named, order=order)["Y"], wanted["Y"])


@pytest.mark.parametrize("kind", ["all", "few rows", "few columns"])
@pytest.mark.usefixtures("short")
def test_a_stage_without_units_gets_some(kind: str) -> None:
    text = f"def f(float(M,N) X) -> (Y) {{ {BODIES[kind].format(op='+')} }}"
    _, kernel, notes = divided(text, (Spec(SHAPES[kind], ScalarType.FLOAT32),))
    first, *_ = kernel.stages
    assert first.parallel is not None and first.parallel.upper != ir.Int(1)
    assert any("in chunks" in note for note in notes)


def test_what_is_short_stays_as_it_is() -> None:
    for kind in BODIES:
        text = f"def f(float(M,N) X) -> (Y) {{ {BODIES[kind].format(op='+')} }}"
        _, kernel, notes = divided(text, (Spec(SHAPES[kind], ScalarType.FLOAT32),))
        assert not notes and len(kernel.stages) == 1


@pytest.mark.usefixtures("short")
def test_reductions_of_one_operand_share_a_sweep() -> None:
    text = "def f(float(N) X) -> (S, T) { S() +=! X(n)\n T() max=! X(n) }"
    scop, kernel, _ = divided(text, (Spec((200,), ScalarType.FLOAT32),))
    assert len(kernel.stages) == 2 and certify(scop, None, kernel)


@pytest.mark.usefixtures("short")
def test_a_reduction_over_what_the_stage_made_waits_for_it() -> None:
    text = "def f(float(N) X) -> (S, V) { S() +=! X(n)\n V() +=! (X(n) - S()) * (X(n) - S()) }"
    scop, kernel, _ = divided(text, (Spec((200,), ScalarType.FLOAT32),))
    assert certify(scop, None, kernel)
    x = drawn((200,), ScalarType.FLOAT32)
    found = interpret(kernel, {"X": x}, {})
    assert found["S"] == x.sum() and found["V"] == ((x - x.sum()) ** 2).sum()


WINDOW = "def f(float(C,H,W) I, float(C,P,Q) K) -> (O) { O(c,h,w) +=! I(c,h+p,w+q) * K(c,p,q) }"


@pytest.mark.usefixtures("short")
def test_loops_inside_may_be_empty() -> None:
    scop, kernel, notes = divided(WINDOW, None)
    assert any("blocks" in note for note in notes) and certify(scop, None, kernel)


def test_windows_are_no_long_reductions() -> None:
    assert not divided(WINDOW, None)[2]


@pytest.mark.usefixtures("short")
def test_loops_whose_length_changes_are_left_alone() -> None:
    text = "def f(float(N,N) A) -> (S) { S() +=! A(i,j) where j in 0:i+1 }"
    scop, kernel, notes = divided(text, (Spec((40, 40), ScalarType.FLOAT32),))
    assert certify(scop, None, kernel) and not any("chunks" in note for note in notes)


# --- wrong divisions are refused --------------------------------------------------------------------------------


def broken(kernel: ir.Kernel, change: str) -> ir.Kernel:
    """The kernel with one mistake in its chunks."""
    match change:
        case "a chunk too far":
            first, *rest = kernel.stages
            assert first.parallel is not None
            longer = replace(first.parallel, upper=ir.IntOp("-", first.parallel.upper, ir.Int(1)))
            return replace(kernel, stages=(replace(first, parallel=longer), *rest))
        case "an identity of another operator":
            return rewrite(kernel, ir.Store, _starting_from_one)
        case "a part combined twice":
            return rewrite(kernel, ir.Loop, _twice)
        case "one place for all parts":
            return rewrite(kernel, (ir.Load, ir.Store), _in_one_place)
    raise ValueError(change)


def _starting_from_one(store: ir.Store) -> ir.Store:
    own = store.buffer.endswith("_chunk") and store.role is ir.StoreRole.FILL
    return replace(store, value=ir.Const(1.0, ScalarType.FLOAT32)) if own else store


def _twice(loop: ir.Loop) -> ir.Loop:
    combines = any(store.role is ir.StoreRole.COMBINE for store in nodes_of(loop, ir.Store))
    return replace(loop, body=(*loop.body, *loop.body)) if combines else loop


def _in_one_place(access: ir.Load | ir.Store) -> ir.Load | ir.Store:
    parts = access.buffer.endswith("_parts")
    return replace(access, subscripts=(ir.Int(0), *access.subscripts[1:])) if parts else access


@pytest.mark.parametrize(
    "change",
    ["a chunk too far", "an identity of another operator", "a part combined twice", "one place for all parts"],
)
@pytest.mark.usefixtures("short")
def test_the_certificate_refuses_wrong_divisions(change: str) -> None:
    text = "def f(float(N) X) -> (S) { S() +=! X(n) }"
    scop, kernel, _ = divided(text, (Spec((200,), ScalarType.FLOAT32),))
    assert certify(scop, None, kernel)
    assert not certify(scop, None, broken(kernel, change))


# --- compiled -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@given(seed=st.integers(0, 2**32 - 1))
def test_sums_are_the_same_on_any_number_of_threads(sizes: str, seed: int) -> None:
    f = tc.define("def f(float(N) X) -> (S, L) { S() +=! X(n)\n L() max=! X(n) }", sizes=sizes).f
    x = np.random.default_rng(seed).standard_normal(300_000).astype(np.float32)
    before, found = config.threads, []
    try:
        for threads in (1, 2, 3):
            config.threads = threads
            found.append(f(x))
    finally:
        config.threads = before
    assert all(s == found[0][0] and top == x.max() for s, top in found)


def test_a_long_sum_is_accurate() -> None:
    """A term takes part in `additions` roundings at most: those of its chunk, the chunks after it, and the fold."""
    x = np.random.default_rng(1).random(2_000_000, np.float32)
    f = tc.define("def f(float(N) X) -> (S) { S() +=! X(n) }").f
    lanes = 4 * tc.machine.host().lanes(32)
    additions = chunks.CHUNK // lanes + -(-x.size // chunks.CHUNK) + lanes.bit_length() + 1
    exact = x.sum(dtype=np.float64)
    assert abs(f(x) - exact) <= additions * 2.0**-24 * exact
    assert additions < 5_000  # one accumulator would have taken two million


def test_columns_are_summed_in_blocks() -> None:
    x = np.random.default_rng(2).random((100_000, 40), np.float32)
    found = tc.define("def f(float(M,N) X) -> (S) { S(n) +=! X(m,n) }").f(x)
    exact = x.sum(axis=0, dtype=np.float64)
    additions = divide.BLOCK + x.shape[0] // divide.BLOCK + chunks.CHUNK
    assert (np.abs(found - exact) <= additions * 2.0**-24 * exact).all()


def test_strict_keeps_the_order_of_the_text() -> None:
    x = np.random.default_rng(3).standard_normal(3_000).astype(np.float32)
    f = tc.define("def f(float(N) X) -> (S) { S() +=! X(n) }").f
    assert f.compile(x, math="strict")(x) == f.reference(x)


def test_the_schedule_says_what_was_divided() -> None:
    kernel = tc.define("def f(float(N) X) -> (S) { S() +=! X(n) }").f.compile(tc.Spec((2_000_000,), "float32"))
    assert "in chunks of" in kernel.schedule
    assert [stage.extent > 1 for stage in kernel.manifest.stages] == [True, False]


ARGMAX = """def f(float(M,N) X) -> (top, at) {
    top(m) max=! X(m,n)
    at(m) min=! X(m,n) == top(m) ? n : N }"""


@given(data=st.data())
def test_the_first_greatest_element_by_a_temporary(data: st.DataObject) -> None:
    f = tc.define(ARGMAX, sizes="symbolic").f
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 200)))
    x = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 9, shape).astype(np.float32)
    top, at = f(x)
    np.testing.assert_array_equal(top, x.max(axis=1))
    np.testing.assert_array_equal(at, x.argmax(axis=1))
