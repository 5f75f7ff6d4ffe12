"""Range inference: the ranges, shapes, reasons and preconditions of reference sections 3 and 10."""

from __future__ import annotations

import itertools
import time

import pytest

import comprehension as tc
from comprehension.errors import ComprehensionError
from comprehension.jit.expression import evaluate
from comprehension.kernel.size_text import text_of_tree
from comprehension.lang.frontend import load
from comprehension.lang.limits import MAX_STATEMENTS
from comprehension.lang.loops import LoopProgram, Role
from comprehension.lang.printer import to_text
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec


def symbolic(text: str) -> LoopProgram:
    return infer(list(load(text).values())[-1], None, "symbolic")


def static(text: str, *shapes: tuple[int, ...]) -> LoopProgram:
    definition = list(load(text).values())[-1]
    specs = [Spec(shape, p.type.scalar) for shape, p in zip(shapes, definition.parameters, strict=True) if p.type]
    return infer(definition, specs)


def ranges(program: LoopProgram, statement: int = 0) -> dict[str, str]:
    indices = program.statements[statement].indices
    return {i.name: f"{to_text(i.lower)}:{to_text(i.upper)}" for i in indices}


def shape(program: LoopProgram, tensor: str) -> list[str]:
    return [to_text(dim) for dim in program.tensor(tensor).shape]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("O(i) = A(2 * i)", {"i": "0:(N + 1) / 2"}),
        ("O(i) = A(3 * i + 2)", {"i": "0:N / 3"}),
        ("O(i) = A(i - 1)", {"i": "1:N + 1"}),
        ("O(i) = A(i + 1)", {"i": "0:N - 1"}),
        ("O(i) = A(i) + B(i)", {"i": "0:min(M, N)"}),
        ("O(i) +=! A(i + j) * B(j)", {"i": "0:N - M + 1", "j": "0:M"}),
        ("O(i, j) = A(i) where j in 2:M", {"i": "0:N", "j": "2:M"}),
        ("O(i) +=! A(j) where i in 0:M, j in 0:i", {"i": "0:M", "j": "0:i"}),
        ("O(i) = A(N - 1 - i)", {"i": "0:N"}),
        ("O(i) = A(i) * x where x = B(i + 2)", {"i": "0:min(M - 2, N)"}),
        ("O(i) = 1.0 where exists A(i + 3)", {"i": "0:N - 3"}),
        ("O(i) = i < 3 ? A(i) : B(i)", {"i": "0:min(M, N)"}),
    ],
)
def test_inferred_ranges(body: str, expected: dict[str, str]) -> None:
    assert ranges(symbolic(f"def f(float(N) A, float(M) B) -> (O) {{ {body} }}")) == expected


def test_reduction_indices_come_in_the_order_of_the_text() -> None:
    program = symbolic("def f(float(A, B, C) X, float(C, B) Y) -> (o) { o +=! Y(c, b) * X(a, b, c) }")
    assert list(ranges(program)) == ["c", "b", "a"]
    assert program.statements[0].left == 0


def test_ranges_say_why() -> None:
    program = symbolic("def f(float(H) I, float(K) W) -> (O) { O(h, n) +=! I(h + k) * W(k) where n in 0:2 }")
    assert [i.because for i in program.statements[0].indices] == ["I(h + k)", "where n in 0:2", "W(k)"]


def test_where_and_guard_do_not_narrow_the_other_index() -> None:
    text = "def f(float(H) I, float(K) W) -> (O) { O(h) +=! (h >= k ? I(h - k) : 0.0) * W(k) where h in 0:H }"
    program = symbolic(text)
    assert ranges(program) == {"h": "0:H", "k": "0:K"}
    assert program.preconditions == ()


def test_sums_of_sizes_in_conditions_around_reads_must_be_within_their_types() -> None:
    text = "def f(float(N) A) -> (B) { B(i) = i + 2 < N ? A(i + 2) : 0.0 where i in 0:N }"
    (precondition,) = symbolic(text).preconditions
    assert to_text(precondition.condition) == "N <= 2147483646"
    assert symbolic(text.replace("i + 2", "i")).preconditions == ()  # an index is less than a size


def test_eliminated_constraints_become_preconditions() -> None:
    text = "def f(float(N) B, float(M) C, float(K) D) -> (O) { O(i) +=! B(i) * C(i + j) * D(j) }"
    (precondition,) = symbolic(text).preconditions
    assert to_text(precondition.condition) == "N <= 0 || (K <= 0 || K + N <= M + 1)"
    assert "C(i + j), dimension 0" in precondition.message
    static(text, (3,), (5,), (3,))
    with pytest.raises(ComprehensionError, match="goes up to 4, but the size is 4"):
        static(text, (3,), (4,), (3,))


def test_extents_must_not_be_negative() -> None:
    text = "def f(float(H) I, float(K) W) -> (O) { O(h) +=! I(h + k) * W(k) }"
    (precondition,) = symbolic(text).preconditions
    assert to_text(precondition.condition) == "K <= H + 1"
    assert shape(static(text, (2,), (3,)), "O") == ["0"]
    with pytest.raises(ComprehensionError, match=r"empty range: 'h' runs from 0 to -1.*I\(h \+ k\)"):
        static(text, (2,), (4,))


def test_an_output_reaches_as_far_as_any_statement_writes() -> None:
    program = symbolic("def f(float(N) A) -> (O) { O(i) = A(i)  O(i) = 1.0 where i in 5:9 }")
    assert shape(program, "O") == ["max(9, N)"]
    assert program.tensor("O").role is Role.ACCUMULATED  # between N and 5 there may be elements that nobody writes


def test_roles() -> None:
    program = symbolic(
        "def f(float(N) A) -> (O, P, Q) { T(i) = A(i) O(i) = T(i) P += A(i) Q(i) = A(i) where i in 1:N }"
    )
    assert {t.name: t.role for t in program.tensors} == {
        "A": Role.INPUT,
        "O": Role.OUTPUT,
        "P": Role.ACCUMULATED,
        "Q": Role.ACCUMULATED,
        "T": Role.TEMPORARY,
    }


def test_a_scan_covers_its_tensor_and_needs_its_first_row() -> None:
    text = "def f(float(T, D) X) -> (O) { O(0, d) = X(0, d)  O(t, d) = O(t - 1, d) + X(t, d) where t in 1:T }"
    program = symbolic(text)
    assert shape(program, "O") == ["T", "D"]
    assert program.tensor("O").role is Role.OUTPUT
    with pytest.raises(ComprehensionError, match="no earlier statement has written"):
        symbolic("def f(float(T, D) X) -> (O) { O(t, d) = O(t - 1, d) + X(t, d) where t in 1:T }")


def test_undefined_elements_are_found_when_the_sizes_are_known() -> None:
    text = (
        "def f(float(N) A, float(M) B) -> (O) { T(i) = A(i) where i in 0:3  T(i) = A(i) where i in M:N  O(i) = T(i) }"
    )
    static(text, (5,), (3,))
    with pytest.raises(ComprehensionError, match=r"T\(i\) reads elements of 'T'"):
        static(text, (5,), (4,))


def test_a_temporary_that_may_be_read_unwritten_starts_as_zeros() -> None:
    program = symbolic("def f(float(N) A) -> (O) { T(2 * i) = A(i)  O(i) = T(i) }")
    assert [to_text(s.value) for s in program.statements] == ["float32(0)", "A(i)", "T(i)"]
    assert [s.name for s in program.statements] == ["S0", "S1", "S2"]


@pytest.mark.parametrize(
    "subscript", ["i < 0 ? i : 0 - i", "i < 0 ? i : i", "i < 0 ? i - 4 : i", "0 < i ? i : 0 < 1 ? i : 0"]
)
def test_reads_at_one_of_two_places_are_looked_at_in_both(subscript: str) -> None:
    """A choice was an unknown number, of which nothing is written: valid texts were refused."""
    text = f"def f() -> (T) {{ T(i) = int32(7) where i in 0:1  T(i) = T({subscript}) + 1 where i in 0:1 }}"
    assert tc.define(text).f.reference().tolist() == tc.define(text).f().tolist() == [8]


def test_updates_take_their_range_from_the_target() -> None:
    program = symbolic("def f(float(N, M) A, float(M) b) -> (O) { O(i, j) = A(i, j)  O(i, j) += b(j) }")
    assert ranges(program, 1) == {"i": "0:N", "j": "0:M"}


def test_names_in_specs_stay_and_numbers_are_bound() -> None:
    text = "def f(float(B, M) A, float(M, N) W) -> (O) { O(b, n) +=! A(b, m) * W(m, n) }"
    definition = load(text)["f"]
    program = infer(definition, [Spec(("batch", 3), "float32"), Spec((3, 4), "float32")], "symbolic")
    assert program.sizes == ("B",)
    assert shape(program, "O") == ["B", "4"]
    square = infer(definition, [Spec(("n", "n"), "float32"), Spec(("n", 4), "float32")], "symbolic")
    assert square.sizes == ("B",)
    assert shape(square, "A") == ["B", "B"]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 3)], r"expected 2 arguments \(A, W\), found 1"),
        ([(2, 3), (4, 5)], r"M is 4 here \(dimension 0 of W\) and 3 there \(dimension 1 of A\)"),
        ([(2, 3), (3,)], "W: expected 2 dimensions, found 1"),
        ([(2, 2**31), (2**31, 1)], "has 2147483648 elements; the limit is 2147483647"),
        ([(2, "m"), (3, 4)], "M is 3 here .* and m there"),
    ],
)
def test_specs_that_do_not_fit(shapes: list[tuple[int | str, ...]], message: str) -> None:
    definition = load("def f(float(B, M) A, float(M, N) W) -> (O) { O(b, n) +=! A(b, m) * W(m, n) }")["f"]
    with pytest.raises(ComprehensionError, match=message):
        infer(definition, [Spec(s, "float32") for s in shapes])


def test_dtypes_and_constant_dimensions_must_fit() -> None:
    definition = load("def f(float(3) A) -> (O) { O(i) = A(i) }")["f"]
    with pytest.raises(ComprehensionError, match="A: expected float32, found float64"):
        infer(definition, [Spec((3,), "float64")])
    with pytest.raises(ComprehensionError, match="A: expected 3 elements along dimension 0, found 4"):
        infer(definition, [Spec((4,), "float32")])


def test_sizes_of_calls_must_agree() -> None:
    text = """
    def add(float(N) X, float(N) Y) -> (Z) { Z(i) = X(i) + Y(i) }
    def f(float(A) P, float(B) Q) -> (R) { R = add(P, Q) }"""
    (precondition,) = symbolic(text).preconditions
    assert to_text(precondition.condition) == "A == B"
    with pytest.raises(ComprehensionError, match="dimension 0 of 'Q' must be N of def 'add': 2 is not 3"):
        static(text, (2,), (3,))


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ("def f(float(N) A) -> (B) { B(i) = 1.0 where i in 0:N * N }", [(2**17,)], "beyond int32"),
        ("def f(float(N) A) -> (B) { B(N * i) = A(i) }", [(2**17,)], "sizes are below 2\\*\\*31"),
        ("def f(float(N) A) -> (B) { B(i, j, k) = A(i) where j in 0:N, k in 0:N }", [(2**20,)], "bytes; the limit is"),
    ],
)
def test_sizes_beyond_the_limits(text: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ComprehensionError, match=message):
        static(text, *shapes)


def chain(step: str) -> str:
    lets = ", ".join(step.format(k + 1, k) for k in range(99))
    return f"def f(float(N) A) -> (B) {{ B(i) = A(x99) where x0 = i, {lets}, i in 0:2 }}"


HOSTILE = {
    "doubled lets": chain("x{0} = x{1} + x{1}"),
    "squared lets": chain("x{0} = x{1} * x{1}"),
    "divided lets": chain("x{0} = x{1} / (x{1} + 2)"),
    "least lets": chain("x{0} = min(x{1}, x{1} % 7 + 1)"),
    "calls that double": "def f0(float(N) A) -> (B) { B(i) = A(i) }\n"
    + "\n".join(f"def f{k + 1}(float(N) A) -> (B) {{ T = f{k}(A) B = f{k}(T) }}" for k in range(40)),
    "long sums": "def f(float(N) A) -> (B) { B(i) = " + "+".join(["A(i)"] * 20_000) + " }",
    "open parentheses": "def f(float(N) A) -> (B) { B(i) = " + "(" * 100_000,
    "a long text": "#" * 400_000,
    "statements": "def f(float A) -> (B) {" + "B=A " * (MAX_STATEMENTS + 1) + "}",
    "dimensions": f"def f(float({', '.join(['N'] * 1000)}) A) -> (B) {{ B = 1.0 }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_end_soon_in_a_short_message(name: str) -> None:
    start = time.thread_time()
    with pytest.raises(ComprehensionError) as caught:
        load(HOSTILE[name])
    assert len(str(caught.value)) < 4000
    assert time.thread_time() - start < 20.0  # seconds of the processor: others may use the machine


def test_lets_of_values_may_nest() -> None:
    lets = ", ".join(f"x{k + 1} = x{k} * x{k}" for k in range(99))
    symbolic(f"def f(float(N) A) -> (B) {{ B(i) = x99 where x0 = A(i), {lets} }}")


def test_any_name_will_do() -> None:
    program = symbolic("def __class__(float(N) __init__, float(M) lambda) -> (exec) { exec(None) = __init__(None) }")
    assert program.name == "__class__"
    assert ranges(program) == {"None": "0:N"}


def test_a_text_of_500_statements_parses_and_infers_soon() -> None:
    lines = "\n".join(f"T{k + 1}(i, j) = exp(T{k}(i, j)) + tanh(A(i, j)) * B(j)" for k in range(499))
    text = f"def f(float(N, M) A, float(M) B) -> (O) {{ T0(i, j) = A(i, j)\n{lines}\nO(i, j) = T499(i, j) }}"
    start = time.thread_time()
    assert len(symbolic(text).statements) == 501
    assert time.thread_time() - start < 10.0  # measured 0.6 s


def test_an_index_that_only_its_own_target_bounds_has_no_range() -> None:
    """Its range was that of the largest size, and no kernel could be proved."""
    with pytest.raises(ComprehensionError, match="the range of 'i' cannot be inferred"):
        symbolic("def f(float(M) A) -> (P) { P(i, j) += P(i, i) + A(j) where j in 0:M }")


def test_an_element_is_initialised_where_nothing_is_reduced() -> None:
    """So it must be there: no condition on N was asked for."""
    program = symbolic("def f(float(N) A) -> (B) { B(N - 1) +=! A(k) where k in 0:0 }")
    assert [to_text(p.condition) for p in program.preconditions] == ["1 <= N"]


def test_zero_divided_by_a_size_is_zero() -> None:
    program = symbolic("def f(float(N,M) A) -> (B) { B(i) = A(0 % M, 0 / N) where i in 0:N }")
    assert "1 <= M" in [to_text(p.condition) for p in program.preconditions]


@pytest.mark.parametrize(
    "subscript",
    [
        "max(0, i) + i < N ? max(0, i) + i : 0",
        "1 < N ? 1 : 0",
        "(i + j) % 4 < N ? (i + j) % 4 : 0",
        "j*j < N ? j*j : 0",
    ],
)
def test_a_result_is_no_larger_than_its_choices_let_it_be(subscript: str) -> None:
    """It had a row for the largest value that the subscript has without its condition."""
    body = f"O(i) = A(i, 0) * 0.0 where i in 0:N  O({subscript}) += A(i, j) where i in 0:N, j in 0:M"
    (extent,) = symbolic(f"def f(float(N,M) A) -> (O) {{ {body} }}").tensor("O").shape
    for n, m in itertools.product(range(1, 6), repeat=2):
        assert evaluate(text_of_tree(extent), {"N": n, "M": m}) == n
