"""Where in the text the error of a launch belongs: at what says otherwise.

In: an error that knows what it is `about` (a name, a precondition's message, a subscript), the def with its text.
Out: the same error with line, column and caret; the error itself where there is no such place.
Invariant: nothing here happens before an error did: launches pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from comprehension.errors import ComprehensionError
from comprehension.kernel.outside import Outside
from comprehension.lang.forms import is_computed
from comprehension.lang.interface import Interface
from comprehension.lang.loops import LoopProgram, LoopStatement
from comprehension.lang.tree import Access, Span, walk


def placed(error: ComprehensionError, interface: Interface, program: Callable[[], LoopProgram]) -> ComprehensionError:
    """The error where it belongs in the def's text; `program` gives the loops that were launched.

    >>> from comprehension.lang.frontend import load
    >>> interface = load("def f(float(N) A) -> (B) { B(i) = A(i) }")["f"]
    >>> print(placed(ComprehensionError("f: A is no good", about="A"), interface, lambda: None))
    1:7: f: A is no good
    def f(float(N) A) -> (B) { B(i) = A(i) }
          ^
    """
    match error.about:
        case None:
            return error
        case Outside() as outside:
            return error.at(_access(outside, program()), interface.text)
        case str() as name:
            span = _of_name(name, interface)
            if span is None:
                span = next((p.span for p in program().preconditions if p.message == name), None)
            return error.at(span, interface.text)
    return error


def _of_name(name: str, interface: Interface) -> Span | None:
    """Where the text says what a parameter or a result is: its type in the header, or the statement that makes it."""
    for parameter in interface.parameters:
        if parameter.name == name:
            return parameter.type.span if parameter.type is not None else parameter.span
    return next((tensor.span for tensor in interface.tensors if tensor.name == name), None)


def _access(outside: Outside, program: LoopProgram) -> Span | None:
    """The access whose subscript left its tensor."""
    for statement in program.statements:
        if outside.statement not in ("", statement.name):
            continue
        for access in _accesses(statement):
            subscripts = access.subscripts[outside.axis : outside.axis + 1]
            if access.tensor == outside.tensor and any(map(is_computed, subscripts)):
                return access.span
    return None


def _accesses(statement: LoopStatement) -> Iterator[Access]:
    yield Access(statement.target, statement.subscripts, span=statement.span)
    for root in statement.expressions:
        yield from (node for node in walk(root) if isinstance(node, Access))
