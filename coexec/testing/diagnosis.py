"""A failing program told: the first difference, the part of co-execution that is guilty, a file that runs by itself.

In: a program that is not equivalent.  Out: the name of a stage; a script.
Invariant: the stages are tried from the plainest to the fullest, so that the first one that fails brought the fault.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coexec.reports.report import Report
from coexec.testing.comparison import NotEquivalent
from coexec.testing.equivalence import assert_equivalent
from coexec.testing.imperative import ImperativeProgram
from coexec.testing.observation import MakeStep
from coexec.testing.switches import switched

# name, mode, runner: each has one part of the whole more than the one before
STAGES = (
    ("recording", "trace", "reference"),
    ("merging, validation or replay", "coexec", "reference"),
    ("kernels, plan or native runner", "coexec", "native"),
)


def guilty_stage(make: MakeStep, steps: int = 12, **options: Any) -> tuple[str, NotEquivalent] | None:
    """The first of `STAGES` in which the program is not equivalent, with the difference; None if it is in all.

    `options` are those of `assert_equivalent`.

    >>> import minitensor as mt
    >>> guilty_stage(lambda: lambda i: mt.ones((2,)) * float(i), steps=6) is None
    True
    """
    for name, mode, runner in STAGES:
        with switched(mode, runner):
            try:
                assert_equivalent(make, steps, **{**options, "coexecuted": 0})
            except NotEquivalent as difference:
                return name, difference
    return None


def assert_program_equivalent(program: ImperativeProgram, script: Path, steps: int = 24, **options: Any) -> Report:
    """`assert_equivalent` for a drawn program; one that fails is written to `script`.

    Under Hypothesis the last one written is the smallest.  Raises what `assert_equivalent` raises, the stage and the
    file in its notes.
    """
    try:
        return assert_equivalent(program.make, steps, **options)
    except AssertionError as error:
        found = guilty_stage(program.make, steps, **options)
        told = str(error) if found is None else f"{found[1]}\nguilty: {found[0]}"
        script.write_text(standalone(program, steps, told), encoding="utf-8")
        error.add_note(f"{told}\nwritten to {script}")
        raise


def standalone(program: ImperativeProgram, steps: int, told: str) -> str:
    """The program as a script that fails as long as the fault is there; what was found is its docstring.

    >>> from coexec.testing.imperative import render
    >>> compile(standalone(render(["a = a + t"]), 6, "step 3, result"), "script", "exec") is not None
    True
    """
    heading = "\n".join(told.replace("\\", "/").replace('"""', "'''").splitlines()[:8])
    main = f"from coexec.testing import assert_equivalent\n\nassert_equivalent(make, steps={steps}, coexecuted=0)\n"
    return f'"""{heading}\n"""\n\n{program}\n\n{main}'
