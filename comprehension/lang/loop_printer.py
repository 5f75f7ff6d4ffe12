"""LoopProgram to text: tensors with their shapes, statements with their loops, what a launch checks.

In: a `LoopProgram`.  Out: text in the language's own notation, for people (`10-loops.txt`).
Invariant: nothing is left out: statements stand in the order in which they run, conversions are explicit.
"""

from __future__ import annotations

from comprehension.lang.loops import LoopProgram, LoopStatement
from comprehension.lang.printer import to_text
from comprehension.lang.tree import Statement
from comprehension.layout import layout_text


def loops_text(program: LoopProgram) -> str:
    """The whole program.

    >>> from comprehension.lang.frontend import load
    >>> from comprehension.lang.ranges import infer
    >>> definition = load("def f(float(N) A, float(K) W) -> (O) { O(h) +=! A(h + k) * W(k) }")["f"]
    >>> print(loops_text(infer(definition, None, "symbolic")))  # doctest: +ELLIPSIS
    input       float32 A(N)
    input       float32 W(K)
    output      float32 O(N - K + 1)
    <BLANKLINE>
    S0: O(h) +=! A(h + k) * W(k)
        h in 0:N - K + 1    # A(h + k)
        k in 0:K    # W(k)
    <BLANKLINE>
    at launch: empty range: ...
    """
    lines = [
        f"{tensor.role.value:<12}{tensor.dtype} {tensor.name}({', '.join(map(to_text, tensor.shape))})"
        + ("" if tensor.layout is None else f" strides {layout_text(tensor.layout)}")
        for tensor in program.tensors
    ]
    for statement in program.statements:
        lines.append(f"\n{statement.name}: {statement_text(statement)}")
        for index in statement.indices:
            because = f"    # {index.because}" if index.because else ""
            lines.append(f"    {index.name} in {to_text(index.lower)}:{to_text(index.upper)}{because}")
    lines += [f"\nat launch: {p.message}" for p in program.preconditions]
    return "\n".join(lines) + "\n"


def statement_text(statement: LoopStatement) -> str:
    """The statement as a text says it, its ranges aside."""
    s = statement
    return to_text(Statement(s.target, s.subscripts, s.value, s.reduction, s.initialise, s.lets))
