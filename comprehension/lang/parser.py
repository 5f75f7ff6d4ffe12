"""Text to tree: `parse`.

In: the text of one or several defs (reference section 1; `grammar.lark` is the grammar).
Out: a `tree.Program` with spans, untyped and unchecked.
Invariant: whatever the text holds, the answer is a tree within the limits below or a `ComprehensionError`
that stands at the first token which cannot continue the text; `parse(to_text(p)) == p`.

`id(...)` becomes a `Call` where `id` is a builtin, or another def of the text and the whole right side of a
statement; everywhere else it is an `Access`.  A minus before a number stays a `Unary`.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import resources
from typing import Any, cast

import lark

from comprehension.errors import ComprehensionError, Diagnostic, shorten
from comprehension.lang.builtins import BUILTINS
from comprehension.lang.limits import MAX_INT, MAX_STATEMENTS, MAX_TEXT, TOO_LARGE, is_too_large
from comprehension.lang.tree import (
    Access,
    Binary,
    BinaryOp,
    Call,
    Cast,
    Def,
    Exists,
    Let,
    Name,
    Number,
    Param,
    Program,
    Range,
    Select,
    SizeOf,
    Span,
    Statement,
    TensorType,
    Unary,
    UnaryOp,
)
from comprehension.lang.types import ScalarType

_FLOAT32_LIMIT = (
    3.4028235677973366e38  # half an ulp past the largest float32: from here on a literal rounds to infinity
)
MAX_SYNTAX_ERRORS = 20  # of one text: one a def
_COMMENT_OR_DEFINITION = re.compile(r"#[^\n]*|\bdef\s+[A-Za-z_]\w*\s*\(", re.ASCII)
_DEFINED = re.compile(r"\bdef\s+([A-Za-z_]\w*)", re.ASCII)
_TYPES = {member.value: member for member in ScalarType} | {
    "float": ScalarType.FLOAT32,
    "double": ScalarType.FLOAT64,
}


def parse(text: str) -> Program:
    """The tree of a text.

    Raises ComprehensionError (with line, column and the source line) for what the grammar does not derive, for
    literals beyond their type (int32, float32) and for texts beyond the limits of `limits.py`: the first fault of
    each def.

    >>> program = parse("def twice(float(N) A) -> (B) { B(i) = 2 * A(i) }")
    >>> program.defs[0].statements[0].target
    'B'
    """
    if not isinstance(text, str):
        raise TypeError(f"a comprehension is a str, not {type(text).__name__}")
    if len(text) > MAX_TEXT:
        raise ComprehensionError(f"the text has {len(text)} characters; the limit is {MAX_TEXT}")
    errors: list[Diagnostic] = []
    start: int | None = 0
    while start is not None and len(errors) < MAX_SYNTAX_ERRORS:
        try:
            program = _grammar().parse(_from(text, start))
        except lark.exceptions.UnexpectedToken as error:
            errors.append(_unexpected_token(error, text))
            start = _next_definition(text, error.pos_in_stream)
        except lark.exceptions.UnexpectedCharacters as error:
            errors.append(_unexpected_character(error, text))
            start = _next_definition(text, error.pos_in_stream)
        except _Refused as refused:
            errors.append(Diagnostic.at(str(refused), refused.span, text))
            start = _next_definition(text, refused.span.start)
        else:
            break
    if errors:
        raise ComprehensionError(errors)
    assert isinstance(program, Program)
    return program


def parse_without(text: str, faults: Sequence[Diagnostic]) -> tuple[Program, set[str]]:
    """The tree of the defs in which no fault of syntax lies, and the names of the others.

    Raises ComprehensionError where no def is left, or the rest is no text either.
    """
    starts = [match.start() for match in _definitions(text)]
    lines = [0, *(match.end() for match in re.finditer("\n", text))]
    names: set[str] = set()
    for fault in faults:
        place = lines[(fault.line or 1) - 1] + (fault.column or 1) - 1
        number = bisect.bisect_left(starts, place)  # a def that does not end is missed where the next one begins
        start, end = [0, *starts, len(text)][number : number + 2]
        names |= {found.group(1) for found in _DEFINED.finditer(text, start, end)}
        text = text[:start] + _blank(text[start:end]) + text[end:]
    return parse(text), names


def _from(text: str, start: int) -> str:
    """The text from a place on, with every place as it was."""
    return _blank(text[:start]) + text[start:] if start else text


def _blank(text: str) -> str:
    """Space of the same lines."""
    return re.sub(r"[^\n]", " ", text)


def _next_definition(text: str, after: int | None) -> int | None:
    """Where the next def begins, for the faults behind a first one."""
    return next((match.start() for match in _definitions(text, after or len(text))), None)


def _definitions(text: str, start: int = 0) -> Iterator[re.Match[str]]:
    """Where a def seems to begin, outside of comments."""
    return (m for m in _COMMENT_OR_DEFINITION.finditer(text, start) if m.group().startswith("def"))


@functools.cache
def _grammar() -> lark.Lark:
    source = resources.files("comprehension.lang").joinpath("grammar.lark").read_text("utf-8")
    return lark.Lark(source, start="program", parser="lalr", maybe_placeholders=False, transformer=_Builder())


class _Refused(Exception):
    """A literal or limit refused while the tree is built; `parse` adds the text."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.span = span


class _Builder:
    """One method per rule of the grammar; lark's parser calls it at each reduction with the parts of the rule."""

    def program(self, parts: list[Any]) -> Program:
        names = {d.name for d in parts}
        statements = [s for d in parts for s in d.statements]
        if len(statements) > MAX_STATEMENTS:
            message = f"the text has {len(statements)} statements; the limit is {MAX_STATEMENTS}"
            raise _Refused(message, statements[MAX_STATEMENTS].span)
        return Program(tuple(_resolve_calls(d, names) for d in parts))

    def definition(self, parts: list[Any]) -> Def:
        _, name, inputs, _, outputs, *statements, brace = parts
        return Def(str(name), tuple(inputs), tuple(outputs), tuple(statements), span=_between(parts[0], brace))

    def parameters(self, parts: list[Any]) -> list[Any]:
        return parts

    def parameter(self, parts: list[Any]) -> Param:
        return Param(str(parts[1]), parts[0], span=_span(parts[1]))

    def untyped_parameter(self, parts: list[Any]) -> Param:
        return Param(str(parts[0]), span=_span(parts[0]))

    def type(self, parts: list[Any]) -> TensorType:
        leading, rest = _leading([p for p in parts[1:] if p.type != "RPAR"])
        dims = tuple(_integer(p) if p.type == "INT" else str(p) for p in rest)
        return TensorType(_TYPES[parts[0]], dims, leading=leading, span=_between(parts[0], parts[-1]))

    def statement(self, parts: list[Any]) -> Statement:
        target, assign, value, *rest = parts
        reduction, initialise = assign
        where: tuple[Any, ...] = ()
        equivalent = None
        for part in rest:
            if isinstance(part, list):
                where = tuple(part)
            elif isinstance(part, Access):
                equivalent = part
        end = where[-1].span.end if where else value.span.end
        span = dataclasses.replace(_span(target[0]), end=end)
        leading, subscripts = _leading(target[1])
        return Statement(
            str(target[0]),
            tuple(subscripts),
            value,
            reduction,
            initialise,
            where,
            equivalent,
            leading=leading,
            span=span,
        )

    def target(self, parts: list[Any]) -> tuple[Any, list[Any]]:
        return parts[0], parts[1] if len(parts) > 1 else []

    def assign(self, parts: list[Any]) -> tuple[Any, bool]:
        text = str(parts[0])
        return (None if text == "=" else text.rstrip("!").removesuffix("=")), text.endswith("!")

    def clauses(self, parts: list[Any]) -> list[Any]:
        return parts

    def range(self, parts: list[Any]) -> Range:
        name, _, lower, upper = parts
        return Range(str(name), lower, upper, span=_between(name, upper))

    def let(self, parts: list[Any]) -> Let:
        return Let(str(parts[0]), parts[2], span=_between(parts[0], parts[2]))

    def exists(self, parts: list[Any]) -> Exists:
        return Exists(parts[1], span=_between(parts[0], parts[1]))

    def select(self, parts: list[Any]) -> Select:
        return Select(*parts, span=_between(parts[0], parts[2]))

    def binary(self, parts: list[Any]) -> Binary:
        left, op, right = parts
        return Binary(cast(BinaryOp, str(op)), left, right, span=_between(left, right))

    def unary(self, parts: list[Any]) -> Unary:
        return Unary(cast(UnaryOp, str(parts[0])), parts[1], span=_between(*parts))

    def number(self, parts: list[Any]) -> Number:
        token = parts[0]
        return Number(_integer(token) if token.type == "INT" else _float(token), span=_span(token))

    def cast(self, parts: list[Any]) -> Cast:
        return Cast(_TYPES[parts[0]], parts[1], span=_between(parts[0], parts[2]))

    def extremum(self, parts: list[Any]) -> Call:
        return Call(str(parts[0]), (parts[1], parts[2]), span=_between(parts[0], parts[3]))

    def name(self, parts: list[Any]) -> Name:
        return Name(str(parts[0]), span=_span(parts[0]))

    def size_of(self, parts: list[Any]) -> SizeOf:
        return SizeOf(str(parts[0]), _integer(parts[2]), span=_between(parts[0], parts[2]))

    def access(self, parts: list[Any]) -> Access | Call:
        name, inner, end = parts
        span = _between(name, end)
        leading, subscripts = _leading(inner)
        if name not in BUILTINS:
            return Access(str(name), tuple(subscripts), leading=leading, span=span)
        if leading:
            raise _Refused(f"'...' stands for dimensions of a tensor, and '{name}' is a function", _span(inner[0]))
        return Call(str(name), tuple(subscripts), span=span)

    def subscripts(self, parts: list[Any]) -> list[Any]:
        return parts


def _leading(parts: list[Any]) -> tuple[bool, list[Any]]:
    """Whether `...` stands first, and what stands behind it."""
    leading = bool(parts) and isinstance(parts[0], lark.Token) and parts[0].type == "ELLIPSIS"
    return leading, parts[1:] if leading else parts


def _span(token: lark.Token) -> Span:
    return Span(token.start_pos, token.end_pos, token.line, token.column)


def _between(first: Any, last: Any) -> Span:
    """From the start of one token or node to the end of another."""
    start = _span(first) if isinstance(first, lark.Token) else first.span
    end = last.end_pos if isinstance(last, lark.Token) else last.span.end
    return Span(start.start, end, start.line, start.column)


def _integer(token: lark.Token) -> int:
    digits = token.lstrip("0")
    if len(digits) > len(str(MAX_INT)) or (digits and int(digits) > MAX_INT):
        raise _Refused(f"integer literal {shorten(token)} is beyond int32; the largest is {MAX_INT}", _span(token))
    return int(digits or "0")


def _float(token: lark.Token) -> float:
    value = float(token)
    if value >= _FLOAT32_LIMIT:
        raise _Refused(f"float literal {shorten(token)} is beyond float32; the largest is 3.4028235e38", _span(token))
    return value


def _resolve_calls(definition: Def, names: set[str]) -> Def:
    """Turns right sides that are whole calls of defs into `Call`s (a tensor of that name comes first)."""
    tensors = {p.name for p in (*definition.inputs, *definition.outputs)} | {s.target for s in definition.statements}
    called = names - tensors
    statements = []
    for statement in definition.statements:
        if is_too_large(statement):
            raise _Refused(TOO_LARGE, statement.span or Span(0, 0, 1, 1))
        value = statement.value
        if isinstance(value, Access) and value.tensor in called and value.leading:
            message = f"'...' stands for dimensions of a tensor, and {shorten(repr(value.tensor))} is a def"
            raise _Refused(message, value.span or Span(0, 0, 1, 1))
        if isinstance(value, Access) and value.tensor in called:
            statement = dataclasses.replace(statement, value=Call(value.tensor, value.subscripts, span=value.span))
        statements.append(statement)
    return dataclasses.replace(definition, statements=tuple(statements))


# --- what went wrong ---------------------------------------------------------------------------------------------

_SHOWN = {
    "NAME": "a name",
    "INT": "a number",
    "FLOAT": "a number",
    "TYPE": "a type",
    "EXTREMUM": "'min' or 'max'",
    "DEF": "'def'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "COMMA": "','",
    "COLON": "':'",
    "QMARK": "'?'",
    "DOT": "'.'",
    "ELLIPSIS": "'...'",
    "ARROW": "'->'",
    "EQUAL": "'='",
    "REDUCE": "a reduction such as '+=!'",
    "EQUIVALENT": "'<=>'",
    "WHERE": "'where'",
    "IN": "'in'",
    "EXISTS": "'exists'",
    "$END": "the end of the text",
}
_OPERATORS = {"PLUS", "MINUS", "MULTIPLICATIVE", "RELATION", "AND", "OR", "QMARK"}
_WORDS = ("def", "where", "in", "exists", "min", "max", *_TYPES)
_LAST_WORD = re.compile(r"\b[A-Za-z_]\w*(?=\s*\Z)", re.ASCII)
_LONGEST_WORD = 80  # with the space behind it
_ELSEWHERE = {  # what other languages call it
    "int": "int32",
    "long": "int64",
    "uint": "uint32",
    "half": "float16",
    "boolean": "bool",
    "and": "&&",
    "or": "||",
    "not": "!",
    "if": "condition ? a : b",
    "for": "`where i in 0:N`",
}
_NO_SIGNS = {
    "[": "; subscripts stand in ( )",
    "]": "; subscripts stand in ( )",
    ";": "; nothing stands between statements",
    "^": "; for a power write pow(a, b)",
    "&": "; for 'and' write &&",
    "|": "; for 'or' write ||",
    "~": "; for 'not' write !",
}
_EXPRESSION = {"NAME", "INT", "FLOAT", "TYPE", "EXTREMUM", "MINUS", "NOT", "LPAR"}


def _unexpected_token(error: lark.exceptions.UnexpectedToken, text: str) -> Diagnostic:
    token = error.token
    if token.type == "$END":
        return Diagnostic.at(
            f"expected {_expected(error.accepts or error.expected)} but found the end of the text", _end_of(text), text
        )
    found = f"expected {_expected(error.accepts or error.expected)} but found '{shorten(token)}'"
    return Diagnostic.at(found + _advice(token, text), _span(token), text)


def _advice(token: lark.Token, text: str) -> str:
    """What the token, or the word before it, may have been meant to be; or nothing."""
    start = token.start_pos or 0
    if token == "*" and text[:start].endswith("*"):
        return "; for a power write pow(a, b)"
    before = _LAST_WORD.search(text, max(0, start - _LONGEST_WORD), start)
    for word in ([str(token)] if token.type == "NAME" else []) + ([before.group()] if before is not None else []):
        if word in _ELSEWHERE:
            return f"; for '{word}' write {_ELSEWHERE[word]}"
        if word not in _WORDS and (near := get_close_matches(word, _WORDS, 1, 0.75)):
            return f"; did you mean '{near[0]}'?"
    return ""


def _unexpected_character(error: lark.exceptions.UnexpectedCharacters, text: str) -> Diagnostic:
    character = text[error.pos_in_stream]
    span = Span(error.pos_in_stream, error.pos_in_stream + 1, error.line, error.column)
    if not character.isascii():
        return Diagnostic.at(f"unexpected character {character!a}; text outside comments is ASCII", span, text)
    return Diagnostic.at(f"unexpected character {character!a}{_NO_SIGNS.get(character, '')}", span, text)


def _expected(terminals: Any) -> str:
    """The acceptable terminals in words; what can start or go on an expression is said once."""
    names = set(terminals)
    operators = ["an operator"] if names >= {"PLUS", "MINUS"} else []
    expression = ["an expression"] if names >= _EXPRESSION else []
    names -= (_OPERATORS if operators else set()) | (_EXPRESSION if expression else set())
    words = [*expression, *sorted({_SHOWN.get(name, name.lower()) for name in names}), *operators]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _end_of(text: str) -> Span:
    """The place just past the last character that is not white space."""
    end = len(text.rstrip())
    line = text.count("\n", 0, end) + 1
    return Span(end, end, line, end - (text.rfind("\n", 0, end) + 1) + 1)
