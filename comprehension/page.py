"""Explanations as HTML: what a notebook shows of a kernel, a comprehension, a module, and a page of its own.

In: an `Explanation`, or comprehensions.  Out: a fragment for any page (`drawing.html` has the pieces).
Invariant: self-contained: no scripts, no fonts, nothing from the network; every text of the user is escaped; readable
on light and dark grounds.
"""

from __future__ import annotations

from collections.abc import Sequence

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from comprehension.api import Module
from comprehension.comprehension import Comprehension
from comprehension.drawing.graph import Arrow, Box, draw_graph
from comprehension.drawing.html import folded, fragment, mark, scroll
from comprehension.drawing.svg import printable, safe
from comprehension.explain import Explanation, Section
from comprehension.highlight import ComprehensionLexer
from comprehension.lang import tree
from comprehension.lang.loop_printer import statement_text
from comprehension.lang.loops import LoopProgram, Role
from comprehension.lang.printer import to_text
from comprehension.lang.ranges import infer
from comprehension.pictures import draw_domains, draw_schedule, legend

_LEXERS = {"py": PythonLexer, "tc": ComprehensionLexer}
_OPEN = ("source",)


def kernel_fragment(explanation: Explanation) -> str:
    """A kernel: what was proved, its text, its pictures, then every stage to be opened."""
    parts = [f"<h3>{safe(explanation.heading)}</h3>", _marks(explanation)]
    for section in explanation.sections:
        parts.append(folded(section.title, _text(section), is_open=section.stage in _OPEN))
        if section.stage == "schedule" and explanation.portrait is not None:
            parts += _pictures(explanation)
    return fragment(parts)


def _pictures(explanation: Explanation) -> list[str]:
    portrait = explanation.portrait
    assert portrait is not None
    shown = [folded("Schedule tree", scroll(draw_schedule(portrait)), is_open=True)]
    told = f"<p>{safe('; '.join(legend(portrait)))}.</p>"
    if portrait.planes:
        told += scroll(draw_domains(portrait))
    return [*shown, folded("Instances, their order and their dependences", told, is_open=True)]


def _marks(explanation: Explanation) -> str:
    """What was proved, and what is checked at each launch, at a glance."""
    if explanation.certificate is None:
        return ""
    certificate = explanation.certificate
    marks = [
        mark(f"{name} ✓", "tc-holds") if holds else mark(f"{name}: not proved", "tc-fails")
        for name, holds in certificate.properties.items()
    ]
    return f"<div>{''.join([*marks, *(mark(f'checked at launch: {guard}') for guard in certificate.guards)])}</div>"


def module_fragment(module: Module) -> str:
    """A module: each of its comprehensions."""
    return fragment([_comprehension(each) for each in module])


def comprehension_fragment(comprehension: Comprehension) -> str:
    """A comprehension: its signature, its statements and what they read, its ranges."""
    return fragment([_comprehension(comprehension)])


def _comprehension(comprehension: Comprehension) -> str:
    program = infer(comprehension.definition, None, "symbolic")
    ranges = "\n".join(
        f"{s.name}: {i.name} in {to_text(i.lower)}:{to_text(i.upper)}{f'    because {i.because}' if i.because else ''}"
        for s in program.statements
        for i in s.indices
    )
    kernels = "\n".join(map(repr, comprehension.kernels))
    parts = [
        f"<h3>{safe(comprehension.signature)}</h3>",
        folded("Statements, and what they read", scroll(draw_graph(*_data_flow(program))), is_open=True),
        folded("Ranges, with the access that gave each", f"<pre>{safe(ranges)}</pre>"),
    ]
    if kernels:
        parts.append(folded("Kernels made so far", f"<pre>{safe(kernels)}</pre>"))
    return "".join(parts)


def _data_flow(program: LoopProgram) -> tuple[list[Box], list[Arrow]]:
    """Inputs, statements, outputs; an arrow from whatever wrote a tensor last to each statement that reads it."""
    boxes: list[Box] = []
    arrows: list[Arrow] = []
    writer: dict[str, int] = {}
    for tensor in program.tensors:
        if tensor.role is Role.INPUT:
            writer[tensor.name] = len(boxes)
            boxes.append(Box(_tensor(tensor.name, tensor.shape), f"input, {tensor.dtype}", 0))
    for statement in program.statements:
        at = len(boxes)
        boxes.append(Box(f"{statement.name}: {statement_text(statement)}", f"writes {statement.target}"))
        exprs = statement.expressions
        read = [node.tensor for expr in exprs for node in tree.walk(expr) if isinstance(node, tree.Access)]
        again = [statement.target] if statement.target in writer else []
        arrows += [Arrow(writer[name], at) for name in dict.fromkeys([*read, *again]) if name in writer]
        writer[statement.target] = at
    for tensor in program.tensors:
        if tensor.role in (Role.OUTPUT, Role.ACCUMULATED) and tensor.name in writer:
            arrows.append(Arrow(writer[tensor.name], len(boxes)))
            boxes.append(Box(_tensor(tensor.name, tensor.shape), f"output, {tensor.dtype}", 2))
    return boxes, arrows


def _tensor(name: str, shape: Sequence[tree.Expr]) -> str:
    return f"{name}({', '.join(map(to_text, shape))})" if shape else name


def _text(section: Section) -> str:
    """A section's text, coloured where there is a lexer for it; pygments escapes."""
    lexer = _LEXERS.get(section.file.rpartition(".")[2])
    if lexer is None:
        return f"<pre>{safe(section.text.rstrip())}</pre>"
    coloured = highlight(printable(section.text), lexer(), HtmlFormatter(nowrap=True))
    return f"<pre>{coloured.rstrip()}</pre>"
