"""What bad texts get: the message, and the caret under the right column, one case for each rule of section 2.

A case is a text with `<<` and `>>` around the place where the error must stand; the marks are taken out first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import comprehension as tc
import comprehension.lang
from comprehension.errors import MAX_MESSAGE, ComprehensionError
from comprehension.lang.check import check
from comprehension.lang.frontend import load
from comprehension.lang.limits import MAX_DEPTH
from comprehension.lang.parser import parse

SYNTAX = {
    "expected ')' or ',' but found '->'": "def f(float(N) A <<->>> (B) { B(i) = A(i) }",
    "expected 'def' but found 'foo'": "<<foo>> def f(float(N) A) -> (B) { B(i) = A(i) }",
    "expected an expression but found '}'": "def f(float(N) A) -> (B) { B(i) = <<}>>",
    "expected an expression but found the end of the text": "def f(float(N) A) -> (B) { B(i) = A(i) +<<>>\n\n",
    "expected ':' or an operator but found '4'": "def f(float(N) A) -> (B) { B(i) = A(i) where i in 0 <<4>> }",
    "but found '=='": "def f(float(N) A) -> (B) { B(i) <<==>> A(i) }",
    "a name": "def f(float(N) A) -> (B) { B(i) = A(i)\n<<in>> = 3 }",
    "expected a number but found 'k'": "def f(float(N) A) -> (B) { B(i) = A.<<k>> }",
    "but found '.5'": "def f(float(N) A) -> (B) { B(i) = A.0<<.5>> }",
    "unexpected character '\\x00'": "def f(float(N) A) -> (B) { B(i) = A(i)<<\0>> }",
    "text outside comments is ASCII": "def f(float(N) A) -> (B) { B(i) = A(i) * <<\u03c0>> }",
    "integer literal 3000000000 is beyond int32": "def f(float(N) A) -> (B) { B(i) = <<3000000000>> }",
    "float literal 1e39 is beyond float32": "def f(float(N) A) -> (B) { B(i) = <<1e39>> }",
    "unexpected character '&'; for 'and' write &&": "def f(bool(N) A) -> (B) { B(i) = A(i) <<&>> A(i) }",
    "unexpected character '['; subscripts stand in ( )": "def f(float(N) A) -> (B) { B<<[>>i] = A(i) }",
    "found '('; did you mean 'float'?": "def f(flaot<<(>>N) A) -> (B) { B(i) = A(i) }",
    "found 'i'; did you mean 'where'?": "def f(float(N) A) -> (B) { B(i) = A(i) wher <<i>> in 0:4 }",
    "found '('; for 'int' write int32": "def f(int<<(>>N) A) -> (B) { B(i) = A(i) }",
    "found '*'; for a power write pow(a, b)": "def f(float(N) A) -> (B) { B(i) = A(i)*<<*>>2 }",
}
CHECKS = {
    # 1: the left
    "'A' is an input and immutable": "def f(float(N) A) -> (B) { <<A(i)>> = 1.0 B(i) = A(i) }",
    "'s' is an input and immutable": "def f(float s) -> (B) { <<s>> = 1.0 B = s }",
    # 2: where
    "'N' is a size; only an index has a range": "def f(float(N) A) -> (B) { B(i) = A(i) where <<N in 0:4>> }",
    "a bound of a range must be integral, not float32": "def f(float(N) A) -> (B) { B(i) = A(i) where i in 0:<<2.5>> }",
    "a bound cannot read 'J'": "def f(int32(N) J) -> (B) { B(i) = J(i) where i in 0:<<J(0)>> }",
    "undefined name 'M'": "def f(float(N) A) -> (B) { B(i) = A(i) where i in 0:<<M>> }",
    "the range of 'i' is already defined": "def f(float(N) A) -> (B) { B(i) = A(i) where i in 0:2, <<i in 0:3>> }",
    "let 'y' is used before it is defined": "def f(float(N) A) -> (B) { B(i) = A(i) * x where x = <<y>>, y = 2 }",
    "'x' is already defined as a let": "def f(float(N) A) -> (B) { B(i) = A(i) * x where x = 1, <<x = 2>> }",
    "the bounds of 'i' use 'j', which is not further out": (
        "def f(float(N, N) A) -> (B) { B(i, j) = A(i, j) where <<i in 0:j>>, j in 0:N }"
    ),
    "a bound cannot use the let 'm'": "def f(float(N) A) -> (B) { B(i) = A(i) where m = 3, i in 0:<<m>> }",
    # 3 and 5: reduction indices
    "reduction variable 'j' without a reduction": "def f(float(N, M) A) -> (B) { B(i) = A(i, <<j>>) }",
    "did you mean 'alpha'?": "def f(float(N) A, float alpha) -> (B) { B(i) = A(i) * <<alhpa>> }",
    "uninitialised reduction of temporary 'T'; use +=!": (
        "def f(float(N, M) A) -> (B) { <<T(i)>> += A(i, j) B(i) = T(i) }"
    ),
    # 4: annotations
    "wrong number of dimensions: 'B' has 2, but 1 subscripts are given": (
        "def f(float(N) A) -> (float(N, N) B) { <<B(i)>> = A(i) }"
    ),
    "narrowing without a cast: 'B' is float32, the value is float64": (
        "def f(double(N) A) -> (float(N) B) { B(i) = <<A(i)>> }"
    ),
    "narrowing without a cast: 'B' is uint32, the value is int32": (
        "def f(uint32(N) A) -> (uint32(N) B) { B(i) = <<A(i)>> + 1 }"
    ),
    "'T' is int32, the value is float32; write int32(...) if that is meant, or float32(...) in its first statement": (
        "def f(float(N) A) -> (B) { T(i) = 1 where i in 0:N T(i) = <<A(i)>> B(i) = T(i) }"
    ),
    # 6: names
    "'exp' is a builtin function and cannot be redefined as a temporary": (
        "def f(float(N) A) -> (B) { <<exp(i)>> = A(i) B(i) = A(i) }"
    ),
    "'floor' is a builtin function and cannot be redefined as an input": (
        "def f(float(N) <<floor>>) -> (B) { B(i) = 1.0 where i in 0:N }"
    ),
    "'erf' is a builtin function and cannot be redefined as a def": "<<def>> erf(float(N) A) -> (B) { B(i) = A(i) }",
    "'A' is already defined as an input": "def f(float(N) A, float(N) <<A>>) -> (B) { B(i) = A(i) }",
    "'N' is already defined as a size": "def f(float(N) <<N>>) -> (B) { B(i) = 1.0 where i in 0:4 }",
    "'i' is already defined as an index": "def f(float(N) A) -> (B) { B(i) = A(i) <<i(j)>> = A(j) }",
    "def 'f' is already defined": (
        "def f(float(N) A) -> (B) { B(i) = A(i) }\n<<def>> f(float(N) A) -> (B) { B(i) = A(i) }"
    ),
    "no statement writes output 'C'": "def f(float(N) A) -> (B, <<C>>) { B(i) = A(i) }",
    "input 'A' must have its type": "def f(<<A>>) -> (B) { B(i) = 1.0 where i in 0:4 }",
    "undefined size 'M': no input has it": "def f(float(N) A) -> (<<float(M)>> B) { B(i) = A(i) }",
    # expressions
    "tensor 'A' stands where a scalar belongs": "def f(float(N) A) -> (B) { B(i) = A(i) + <<A>> }",
    "'s' is a scalar and stands where a tensor belongs": (
        "def f(float(N) A, float s) -> (B) { B(i) = A(i) * <<s(i)>> }"
    ),
    "'i' is an index and stands where a tensor belongs": "def f(float(N) A) -> (B) { B(i) = A(i) + <<i(0)>> }",
    "wrong number of dimensions: 'A' has 1, but 2 subscripts are given": (
        "def f(float(N) A) -> (B) { B(i) = <<A(i, i)>> }"
    ),
    "wrong number of dimensions: 'A' has 1, there is no dimension 1": (
        "def f(float(N) A) -> (B) { B(i) = A(i) * <<A.1>> }"
    ),
    "'s' is a scalar and has no dimensions": "def f(float s) -> (B) { B = s * <<s.0>> }",
    "wrong number of arguments: pow takes 2, but 1 are given": "def f(float(N) A) -> (B) { B(i) = <<pow(A(i))>> }",
    "a subscript of 'A' must be integral, not float32": "def f(float(N) A) -> (B) { B(i) = A(<<A(i)>>) }",
    "the condition of `?:` must be boolean, not float32": "def f(float(N) A) -> (B) { B(i) = <<A(i)>> ? 1 : 2 }",
    "an operand of `&&` must be boolean, not int32": "def f(bool(N) A) -> (B) { B(i) = A(i) && <<1>> }",
    "the operand of `!` must be boolean, not float32": "def f(float(N) A) -> (B) { B(i) = !<<A(i)>> }",
    "`+` needs numbers, and this is bool": "def f(bool(N) A) -> (B) { B(i) = <<A(i)>> + 1 }",
    "`exp` needs numbers, and this is bool": "def f(bool(N) A) -> (B) { B(i) = exp(<<A(i)>>) }",
    "`+=` needs numbers, and this is bool": "def f(bool(N) A) -> (B) { <<B>> +=! A(i) }",
    "an operand of `%` must be integral, not float32": "def f(float(N) A) -> (B) { B(i) = <<A(i)>> % 2 }",
    "an argument of philox must be integral, not float32": (
        "def f(uint32(4) A) -> (B) { B(i) = philox(A(0), A(1), <<1.0>>, 0, 0, i) where i in 0:4 }"
    ),
    "undefined tensor or function 'sine'; did you mean 'sin'?": "def f(float(N) A) -> (B) { B(i) = <<sine(A(i))>> }",
    "output 'C' is read before a statement writes it": (
        "def f(float(N) A) -> (B, C) { B(i) = A(i) + <<C(i)>> C(i) = B(i) }"
    ),
    "temporary 'T' is read before a statement writes it": (
        "def f(float(N) A) -> (B) { B(i) = A(i) + <<T(i)>> T(i) = B(i) }"
    ),
    "a write through the contents of a tensor must be a reduction": (
        "def f(float(N) A, int32(N) J) -> (float(N) B) { B(<<J(i)>>) = A(i) }"
    ),
    # calls
    "def 'f' is not defined before this one": "def f(float(N) A) -> (B) { B = <<f(A)>> }",
    "wrong number of arguments: def 'g' takes 1, but 2 are given": (
        "def g(float(N) A) -> (B) { B(i) = A(i) }\ndef f(float(N) A) -> (B) { B = <<g(A, A)>> }"
    ),
    "a call of def 'g' stands alone": (
        "def g(float(N) A) -> (B) { B(i) = A(i) }\ndef f(float(N) A) -> (B) { B(i) = <<g(A)>> }"
    ),
    "a call must be the whole right side": (
        "def g(float(N) A) -> (B) { B(i) = A(i) }\ndef f(float(N) A) -> (B) { B(i) = 1 + <<g(A)>> }"
    ),
    "'A' is float32, but 'X' must be float64": (
        "def g(double(N) X) -> (B) { B(i) = X(i) }\ndef f(float(N) A) -> (B) { B = g(<<A>>) }"
    ),
    "def 'g' has 2 outputs": (
        "def g(float(N) A) -> (B, C) { B(i) = A(i) C(i) = A(i) }\ndef f(float(N) A) -> (B) { B = <<g(A)>> }"
    ),
    "def 'g' accumulates into its caller's buffer": (
        "def g(float(N) A) -> (B) { B(i) += A(i) }\ndef f(float(N) A) -> (B) { B = <<g(A)>> }"
    ),
}
RANGES = {
    "the range of 'i' cannot be inferred": "def f(float s) -> (B) { <<B(i)>> = s }",
    "the range of 'i' cannot be inferred; ": "def f(float(N) A) -> (B) { B(i) = <<A(i * i)>> }",
    "empty range: 'i' runs from 8 to 4, which is negative": (
        "def f(float(N) A) -> (B) { B(i) = A(i) where <<i in 8:4>> }"
    ),
    "the subscript goes down to -1": "def f(float(N) A) -> (B) { B(i) = <<A(i - 1)>> where i in 0:4 }",
    "out of bounds: B(i), dimension 0: the subscript goes down to -1": (
        "def f(float(N) A) -> (B) { <<B(i)>> = A(i + 1) where i in -1:2 }"
    ),
    "reads elements of 'B' that no earlier statement has written": (
        "def f(float(N) A) -> (B) { B(i) = <<B(i - 1)>> + A(i) where i in 1:N }"
    ),
    "several points may write one element of 'B'": "def f(float(N) A) -> (B) { <<B(i / 2)>> = A(i) }",
    "start the elements in a statement before and use += or its like, without '!'": (
        "def f(float(N) A) -> (B) { <<B(i / 2)>> max=! A(i) }"
    ),
    "the subscript goes up to 4, but the size is 3": "def f(float(3) A) -> (B) { B(i) = <<A(i)>> where i in 0:5 }",
    "dimension 0 of 'B' is annotated 4: 3 is not 4": "def f(float(3) A) -> (float(4) B) { <<B(i)>> = A(i) }",
}


def marked(text: str) -> tuple[str, int]:
    """The text without its marks, and the offset of the place between them."""
    before, rest = text.split("<<", 1)
    place, after = rest.split(">>", 1)
    return before + place + after, len(before)


def place_of(text: str, offset: int) -> tuple[int, int]:
    line = text.count("\n", 0, offset) + 1
    return line, offset - (text.rfind("\n", 0, offset) + 1) + 1


@pytest.mark.parametrize(("message", "case"), [*SYNTAX.items(), *CHECKS.items(), *RANGES.items()])
def test_message_stands_at_its_place(message: str, case: str) -> None:
    text, offset = marked(case)
    with pytest.raises(ComprehensionError) as caught:
        load(text)
    error = caught.value
    assert message.strip() in str(error)
    assert (error.line, error.column) == place_of(text, offset)
    assert error.source_line == text.split("\n")[error.line - 1]
    shown = str(error).split("\n")
    assert shown[1] == error.source_line
    assert shown[2].index("^") == error.column - 1


def test_several_errors_come_in_the_order_of_the_text() -> None:
    text = "def f(float(N) A) -> (B, C) {\n  B(i) = A(j)\r\n  C(i) = A(i, i)\n  T(i) = Q(i)\n}\n"
    with pytest.raises(ComprehensionError) as caught:
        load(text)
    errors = caught.value.errors
    assert [(e.line, e.column) for e in errors] == [(2, 12), (3, 10), (4, 10)]
    assert caught.value.source_line == "  B(i) = A(j)"
    assert str(caught.value).count("^") == 3


MANY = {
    "in one statement": (
        "def f(float(N) A, float alpha) -> (B) {\n"
        "  B(i) = <<alhpa>> * <<Q(i)>> + <<sine(A(i))>> where j in 0:<<1.5>> }",
        ["did you mean 'alpha'?", "undefined tensor or function 'Q'", "did you mean 'sin'?", "not float32"],
    ),
    "in arguments and branches": (
        "def f(float(N) A) -> (B) { B(i) = pow(<<A(i, i)>>, <<A(i)>> ? <<R(i)>> : A(<<1.0>>)) }",
        ["wrong number of dimensions", "must be boolean", "undefined tensor or function 'R'", "must be integral"],
    ),
    "of ranges": (
        "def f(float(N) A) -> (B, C, D) { B(i) = <<A(i * i)>>  C(i) = B(i)  D(i) = A(i) where <<i in 8:4>> }",
        ["the range of 'i' cannot be inferred", "empty range"],
    ),
    "in several defs": (
        "def g(float(N) X) -> (Y) { Y(i) = <<X(i - 1)>> where i in 0:3 }\n"
        "def f(float(N) A) -> (B) { B = g(A) }\n"
        "def h(float(N) A) -> (B) { <<B(i / 2)>> = A(i) }",
        ["the subscript goes down to -1", "several points may write one element"],
    ),
    "of syntax, one a def": (
        "def g(float(N) X <<->>> (Y) { Y(i) = X(i) } # def x(\n"
        "def f(float(N) A) -> (B) { B(i) = A(i) }\n"
        "def h(float(N) A) -> (B) { B(i) = <<}>>\ndef k() -> (B) { B = <<3000000000>> }",
        ["but found '->'", "expected an expression", "beyond int32"],
    ),
    "of syntax, and of meaning in the other defs": (
        "def g(float(N) X) -> (Y) { Y(i) = X(i)<<)>> }\n"
        "def f(float(N) A) -> (B) { B(i) = <<sine(A(i))>> }\n"
        "def h(float(N) A) -> (B) { B = g(A) }\n"
        "def j(float(N) A) -> (B) { B = h(A) }\n"
        "def k(float(N) A) -> (B) { B(i) = A(i)\n"
        "<<def>> l(float(N) A) -> (B) { B(i) = <<A(i, i)>> }",
        ["found ')'", "did you mean 'sin'?", "but found 'def'", "wrong number of dimensions"],
    ),
    "in a header and a statement": (
        "def f(<<A>>, float(N) <<N>>) -> (B) { B(i) = A(i) + <<C(i)>> }",
        ["must have its type", "already defined", "undefined tensor or function 'C'"],
    ),
}


@pytest.mark.parametrize("name", MANY)
def test_several_errors_are_reported_together(name: str) -> None:
    case, messages = MANY[name]
    places = []
    while "<<" in case:
        before, rest = case.split("<<", 1)
        places.append(len(before))
        case = before + rest.replace(">>", "", 1)
    with pytest.raises(ComprehensionError) as caught:
        load(case)
    errors = caught.value.errors
    assert [(e.line, e.column) for e in errors] == [place_of(case, offset) for offset in places]
    assert all(message in error.message for message, error in zip(messages, errors, strict=True))
    assert str(caught.value).count("^") == len(places)


@pytest.mark.parametrize("text", ["def f(float(N) A) -> (B) { B(i) = \ud800 }", "def f(A) -> (B) { B = 1 } # \udfff"])
def test_half_surrogates_can_be_printed(text: str) -> None:
    with pytest.raises(ComprehensionError) as caught:
        load(text)
    assert caught.value.source_line == text
    _, line, caret = str(caught.value).split("\n")
    assert line.encode() and len(line) == len(text)
    assert caret.index("^") + 1 == caught.value.column


def test_near_names_are_proposed() -> None:
    with pytest.raises(ComprehensionError, match="did you mean it by 'Resutl'"):
        load("def f(float(N) A) -> (Result) { Resutl(i) = A(i) }")
    with pytest.raises(ComprehensionError, match="did you mean 'matmul'"):
        tc.define("def matmul(float(N) A) -> (B) { B(i) = A(i) }")["matmull"]


def test_a_fault_hides_what_only_follows_from_it() -> None:
    text = "def f(float(N) A) -> (B) { T(i) = Q(i)  U(i) = T(i) * 2  B(i) = U(i) }"
    with pytest.raises(ComprehensionError) as caught:
        load(text)
    assert len(caught.value.errors) == 1


def test_uninitialised_output_warns() -> None:
    text = "def f(float(N) A) -> (B) {\n  B += A(i)\n}"
    (warning,) = load(text)["f"].warnings
    assert "uninitialised reduction" in warning.message
    assert (warning.line, warning.column) == (2, 3)


def test_messages_stay_short() -> None:
    many = "\n".join(f"T{i}(i) = Q{i}(i)" for i in range(500))
    text = f"def f(float(N) A) -> (B) {{ B(i) = A(i)\n{many} }}"
    with pytest.raises(ComprehensionError) as caught:
        load(text)
    assert len(caught.value.errors) == 500
    assert len(str(caught.value)) <= MAX_MESSAGE
    assert "more errors" in str(caught.value)


def test_long_lines_are_cut_around_the_caret() -> None:
    name = "x" * 3000
    text = f"def f(float(N) A) -> (B) {{ B(i) = A(i) + {name}(i) + A(i) }}"
    with pytest.raises(ComprehensionError) as caught:
        load(text)
    _, line, caret = str(caught.value).split("\n")
    assert len(line) < 200
    assert line[caret.index("^")] == "x" and line[caret.index("^") - 1] == " "


def test_errors_without_a_text_have_no_place() -> None:
    error = ComprehensionError("what went wrong")
    assert (error.line, error.column, error.source_line) == (None, None, None)
    assert str(error) == "what went wrong"


def test_tabs_keep_the_caret_under_its_column() -> None:
    text = "def f(float(N) A) -> (B) {\n\tB(i) =\tQ(i)\n}"
    with pytest.raises(ComprehensionError) as caught:
        load(text)
    _, line, caret = str(caught.value).split("\n")
    assert line == "\tB(i) =\tQ(i)"
    assert caret == "\t      \t^"


def test_depth_is_limited_and_parentheses_are_free() -> None:
    deep = "(" * 500 + "A(i)" + ")" * 500
    parse(f"def f(float(N) A) -> (B) {{ B(i) = {deep} }}")
    sums = " + ".join(["A(i)"] * (MAX_DEPTH - 1))
    check(parse(f"def f(float(N) A) -> (B) {{ B(i) = {sums} }}"))
    with pytest.raises(ComprehensionError, match="levels"):
        parse(f"def f(float(N) A) -> (B) {{ B(i) = {'-' * MAX_DEPTH} A(i) }}")


def messages_in_code() -> Iterator[str]:
    """The messages of the language's code as patterns: what is filled in is anything."""
    for file in sorted(Path(comprehension.lang.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="Fault" | "_Refused" | "ComprehensionError"), args=[message, *_]):
                    parts = list(literal_parts(message))
                    if sum(len(part) for part in parts if part is not None) > 5:  # else all of it is filled in
                        yield ".*".join("" if part is None else re.escape(part) for part in parts)


def literal_parts(node: ast.expr) -> Iterator[str | None]:
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr(values=values):
            for value in values:
                yield from literal_parts(value)
        case ast.BinOp(left=left, right=right):
            yield from literal_parts(left)
            yield from literal_parts(right)
        case _:
            yield None


def test_every_message_has_its_example_in_the_error_index() -> None:
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    patterns = list(messages_in_code())
    assert len(patterns) > 60
    assert [pattern for pattern in patterns if not re.search(pattern, page)] == []
