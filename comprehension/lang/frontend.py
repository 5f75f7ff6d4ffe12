"""From a source to defs that mean something for some sizes: all that `define` has to ask.

In: a text, or a tree made by a program.  Out: checked defs by name.
Invariant: what is refused here does not depend on sizes or on the number of leading dimensions (`...`); what does is
refused when they are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from comprehension.errors import ComprehensionError, Diagnostic
from comprehension.lang.check import check
from comprehension.lang.checked import CheckedDef
from comprehension.lang.expressions import Fault
from comprehension.lang.leading import at_rank, check_leading, has_leading, uses_leading
from comprehension.lang.parser import parse, parse_without
from comprehension.lang.ranges import infer
from comprehension.lang.tree import Access, Call, Def, Program

SHOWN_LEADING = 1  # dimensions that `...` is where no call says how many


def load(source: str) -> dict[str, CheckedDef]:
    """The checked defs of a text: `read`, then `analyse`.

    >>> list(load("def f(float(N) A) -> (B) { B(i) = 2 * A(i) }"))
    ['f']
    """
    return analyse(read(source), source)


def read(source: str) -> Program:
    """The tree of a text.

    Raises ComprehensionError for faults of syntax, and for all faults of the other defs with them.

    >>> read("def f(float(N) A) -> (B) { B(i) = A(i } def g(float(N) A) -> (B) { B(i) = A(j) }")
    Traceback (most recent call last):
    comprehension.errors.ComprehensionError: 1:39: expected ')' or ',' but found '}'
    def f(float(N) A) -> (B) { B(i) = A(i } def g(float(N) A) -> (B) { B(i) = A(j) }
                                          ^
    1:77: reduction variable 'j' without a reduction; use +=! or another one
    def f(float(N) A) -> (B) { B(i) = A(i } def g(float(N) A) -> (B) { B(i) = A(j) }
                                                                                ^
    """
    try:
        return parse(source)
    except ComprehensionError as error:
        faults = [*error.errors, *_faults_beside(source, error)]
        raise ComprehensionError(sorted(faults, key=lambda e: (e.line or 0, e.column or 0))) from None


def _faults_beside(source: str, error: ComprehensionError) -> Sequence[Diagnostic]:
    """What is wrong with the defs that have no fault of syntax and call none that has."""
    try:
        rest, broken = parse_without(source, error.errors)
    except ComprehensionError:  # a limit on the whole text
        return ()
    kept: list[Def] = []
    for definition in rest.defs:
        if broken.isdisjoint(_mentioned(definition)):
            kept.append(definition)
        else:
            broken = broken | {definition.name}
    try:
        analyse(Program(tuple(kept)), source)
    except ComprehensionError as others:
        return others.errors
    return ()


def _mentioned(definition: Def) -> set[str]:
    """What a def may call: `T = f(...)` is a call only where `f` is a def of the text."""
    values = [statement.value for statement in definition.statements]
    return _calls(definition) | {value.tensor for value in values if isinstance(value, Access)}


def analyse(program: Program, text: str | None = None) -> dict[str, CheckedDef]:
    """Checks a program and infers every range with symbolic sizes; `text` is its source, for carets.

    A def with `...` is checked as if that were one dimension.
    Raises ComprehensionError for whatever no size could make right: names, types, indices without a range, constant
    ranges of negative extent, reads of what was never written.  Warnings stay with the defs (`CheckedDef.warnings`).
    """
    if uses_leading(program):
        return _analyse_leading(program, text)
    checked = check(program, text)
    _infer_all(program.defs, checked)
    return checked


def without_leading(program: Program, name: str, text: str | None, leading: int = SHOWN_LEADING) -> Program:
    """The program that a def is for so many leading dimensions; `text` is the source, for carets.

    Raises ComprehensionError for a call whose arguments do not fit.
    """
    try:
        return at_rank(program, name, leading)
    except Fault as fault:
        raise ComprehensionError([Diagnostic.at(str(fault), fault.span, text)]) from None


def _infer_all(defs: Iterable[Def], checked: dict[str, CheckedDef]) -> None:
    errors: list[Diagnostic] = []
    faulty: set[str] = set()
    for definition in defs:
        if _calls(definition).isdisjoint(faulty):
            try:
                infer(checked[definition.name], None, "symbolic")
                continue
            except ComprehensionError as error:
                errors += error.errors
        faulty.add(definition.name)  # what calls it would fail where it calls, and for the same reason
    if errors:
        raise ComprehensionError(errors)


def _analyse_leading(program: Program, text: str | None) -> dict[str, CheckedDef]:
    """Each def by itself, behind what it calls."""
    faults = [fault for definition in program.defs for fault in check_leading(definition)]
    if faults:
        raise ComprehensionError([Diagnostic.at(str(f), f.span, text) for f in faults])
    checked: dict[str, CheckedDef] = {}
    errors: dict[Diagnostic, None] = {}
    faulty: set[str] = set()
    for definition in program.defs:
        name = definition.name
        if name in checked:
            errors[Diagnostic.at(f"def '{name}' is already defined", definition.span, text)] = None
            continue
        if _calls(definition).isdisjoint(faulty):
            try:
                alone = without_leading(program, name, text, SHOWN_LEADING if has_leading(definition) else 0)
                found = check(alone, text)
                _infer_all(alone.defs, found)
                checked[name] = found[name]
                continue
            except ComprehensionError as error:
                errors |= dict.fromkeys(error.errors)
        faulty.add(name)
    if errors:
        raise ComprehensionError(sorted(errors, key=lambda e: (e.line or 0, e.column or 0)))
    return checked


def _calls(definition: Def) -> set[str]:
    return {s.value.function for s in definition.statements if isinstance(s.value, Call)}
