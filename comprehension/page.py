"""Explanations as HTML: what a notebook shows of a kernel, a comprehension, a module, and a page of its own.

In: an `Explanation`, or comprehensions.  Out: a fragment for any page, or a whole document.
Invariant: self-contained: no scripts, no fonts, nothing from the network; every text of the user is escaped; readable
on light and dark grounds.
"""

from __future__ import annotations

from collections.abc import Sequence

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from comprehension.api import Comprehension, Module
from comprehension.drawing.graph import Arrow, Box, draw_graph
from comprehension.drawing.svg import printable, safe
from comprehension.drawing.theme import variables
from comprehension.explain import Explanation, Section
from comprehension.highlight import ComprehensionLexer
from comprehension.lang import tree
from comprehension.lang.loop_printer import statement_text
from comprehension.lang.loops import LoopProgram, Role
from comprehension.lang.printer import to_text
from comprehension.lang.ranges import infer
from comprehension.pictures import draw_domains, draw_schedule, legend

_MONO = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
_RULES = {
    "": "color:var(--tc-ink);background:var(--tc-paper);font:14px/1.5 system-ui,sans-serif;padding:.6em 1em",
    "h3": "font-size:1.15em;margin:.2em 0 .6em",
    "p": "margin:.3em 0;color:var(--tc-dim)",
    "details": "border-top:1px solid var(--tc-line)",
    "summary": "cursor:pointer;padding:.25em 0;font-weight:600",
    "pre": f"background:var(--tc-shade);color:var(--tc-ink);font:12px/1.45 {_MONO};padding:.7em .9em;"
    "border-radius:5px;overflow:auto;max-height:34em;margin:.4em 0 1em",
    ".tc-scroll": "overflow:auto;padding-bottom:.6em",
    ".tc-mark": "display:inline-block;border:1px solid var(--tc-line);border-radius:1em;padding:.05em .7em;"
    "margin:0 .4em .4em 0",
    ".tc-holds": "border-color:#3f9c55",
    ".tc-fails": "border-color:#d64545;font-weight:700",
    "pre :is(.k,.kt,.kd,.kn,.ow)": "color:#9b6bd6",
    "pre :is(.mi,.mf)": "color:#c4742f",
    "pre :is(.c,.c1,.ch)": "color:var(--tc-dim)",
    "pre :is(.nf,.nb)": "color:#3a80cf",
    "pre :is(.s1,.s2)": "color:#3f9c55",
}
_STYLE = variables(".tc-page") + "".join(f".tc-page {part}{{{rules}}}" for part, rules in _RULES.items())
_LEXERS = {"py": PythonLexer, "tc": ComprehensionLexer}
_OPEN = ("source",)


def document(title: str, fragment: str) -> str:
    """A whole page around a fragment.

    >>> document("a<b", "").count("a&lt;b")
    1
    """
    scheme = '<meta name="color-scheme" content="light dark">'
    head = f'<meta charset="utf-8">{scheme}<title>{safe(title)}</title>'
    style = "<style>body{margin:0 auto;max-width:1240px}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}{style}</head>\n<body>\n{fragment}\n</body></html>\n'


def kernel_fragment(explanation: Explanation) -> str:
    """A kernel: what was proved, its text, its pictures, then every stage to be opened."""
    parts = [f"<h3>{safe(explanation.heading)}</h3>", _marks(explanation)]
    for section in explanation.sections:
        parts.append(_folded(section.title, _text(section), is_open=section.stage in _OPEN))
        if section.stage == "schedule" and explanation.portrait is not None:
            parts += _pictures(explanation)
    return _fragment(parts)


def _pictures(explanation: Explanation) -> list[str]:
    portrait = explanation.portrait
    assert portrait is not None
    shown = [_folded("Schedule tree", _scroll(draw_schedule(portrait)), is_open=True)]
    told = f"<p>{safe('; '.join(legend(portrait)))}.</p>"
    if portrait.planes:
        told += _scroll(draw_domains(portrait))
    return [*shown, _folded("Instances, their order and their dependences", told, is_open=True)]


def _marks(explanation: Explanation) -> str:
    """What was proved, and what is checked at each launch, at a glance."""
    if explanation.certificate is None:
        return ""
    certificate = explanation.certificate
    marks = [
        _mark(f"{name} ✓", "tc-holds") if holds else _mark(f"{name}: not proved", "tc-fails")
        for name, holds in certificate.properties.items()
    ]
    return f"<div>{''.join([*marks, *(_mark(f'checked at launch: {guard}') for guard in certificate.guards)])}</div>"


def _mark(told: str, kind: str = "") -> str:
    return f'<span class="tc-mark {kind}">{safe(told)}</span>'


def module_fragment(module: Module) -> str:
    """A module: each of its comprehensions."""
    return _fragment([_comprehension(each) for each in module])


def comprehension_fragment(comprehension: Comprehension) -> str:
    """A comprehension: its signature, its statements and what they read, its ranges."""
    return _fragment([_comprehension(comprehension)])


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
        _folded("Statements, and what they read", _scroll(draw_graph(*_data_flow(program))), is_open=True),
        _folded("Ranges, with the access that gave each", f"<pre>{safe(ranges)}</pre>"),
    ]
    if kernels:
        parts.append(_folded("Kernels made so far", f"<pre>{safe(kernels)}</pre>"))
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
        exprs = [*(let.value for let in statement.lets), *statement.subscripts, statement.value]
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


# --- pieces of HTML -----------------------------------------------------------------------------------------------


def _fragment(parts: Sequence[str]) -> str:
    return f'<div class="tc-page"><style>{_STYLE}</style>\n{"".join(parts)}</div>'


def _folded(title: str, content: str, *, is_open: bool = False) -> str:
    return f"<details{' open' if is_open else ''}><summary>{safe(title)}</summary>{content}</details>\n"


def _scroll(content: str) -> str:
    return f'<div class="tc-scroll">{content}</div>'


def _text(section: Section) -> str:
    """A section's text, coloured where there is a lexer for it; pygments escapes."""
    lexer = _LEXERS.get(section.file.rpartition(".")[2])
    if lexer is None:
        return f"<pre>{safe(section.text.rstrip())}</pre>"
    coloured = highlight(printable(section.text), lexer(), HtmlFormatter(nowrap=True))
    return f"<pre>{coloured.rstrip()}</pre>"
