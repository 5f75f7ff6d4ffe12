"""Checks of a program (reference section 2, in its order), types, and the expansion of calls.

In: a tree, from a text or from a program.  Out: one `CheckedDef` per def.
Invariant: what passes has meaning for some sizes; what does not is one `ComprehensionError` that holds the faults of
every statement, in the order of the text, without those that only follow from others.  Trees made by programs go
through the same checks.

Names: sizes, tensors, scalars, indices and lets of a def share one name space; indices and lets end with their
statement.  A name on the left that is nothing else is a left index; on the right, in a let, in `exists` or ranged by
`where` it is a reduction index, in the order of the text.  Bounds introduce none.
An output whose first write is a reduction without `!` accumulates into the caller's buffer (`Role.ACCUMULATED`).
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from comprehension.errors import ComprehensionError, Diagnostic
from comprehension.lang.call import bind_arguments, check_call_shape, find_callee
from comprehension.lang.checked import CheckedDef, CheckedStatement, SameSize
from comprehension.lang.expand import expand_call
from comprehension.lang.expressions import Fault, Readable, Scope, dtype_of, propose, quoted
from comprehension.lang.header import check_header
from comprehension.lang.interface import Declared
from comprehension.lang.limits import MAX_RANK, MAX_STATEMENTS, TOO_LARGE, is_too_large
from comprehension.lang.loops import Role
from comprehension.lang.statement import TypedStatement, check_statement, reads
from comprehension.lang.tree import Access, Call, Def, Expr, Name, Program, Span, Statement
from comprehension.lang.types import ScalarType, promote


def check(program: Program, text: str | None = None) -> dict[str, CheckedDef]:
    r"""The checked defs by name; `text` is the source, for the carets of messages.

    Raises ComprehensionError with every fault found.

    >>> from comprehension.lang.parser import parse
    >>> text = "def f(float(N) A) -> (B) { B(i) = A(j) }"
    >>> check(parse(text), text)
    Traceback (most recent call last):
    comprehension.errors.ComprehensionError: 1:37: reduction variable 'j' without a reduction; use +=! or another one
    def f(float(N) A) -> (B) { B(i) = A(j) }
                                        ^
    """
    checked: dict[str, CheckedDef] = {}
    faults: list[Fault] = []
    names = {d.name for d in program.defs}
    for definition in program.defs:
        if definition.name in checked:
            faults.append(Fault(f"def {quoted(definition.name)} is already defined", definition.span))
        checker = _DefChecker(definition, checked, names, faults, text)
        checked[definition.name] = checker.run()
    if faults:
        faults.sort(key=lambda f: f.span.start if f.span else -1)
        raise ComprehensionError([Diagnostic.at(str(f), f.span, text) for f in faults])
    return checked


class _DefChecker:
    """The state of one def's checks: what is declared, what has been written so far, the faults."""

    def __init__(
        self, definition: Def, earlier: Mapping[str, CheckedDef], defs: Set[str], faults: list[Fault], text: str | None
    ) -> None:
        self.definition = definition
        self.earlier = dict(earlier)
        self.faults = faults
        self.text = text
        header = self.header = check_header(definition, faults.append)
        self.names = header.names
        self.known: dict[str, Declared] = dict(header.inputs)  # inputs, and what statements so far have written
        self.readable = {t.name: Readable(t.dtype, t.rank) for t in header.inputs.values()}
        self.readable |= {name: Readable(None, 0) for name in header.unknown}
        self.unwritten = {s.target: "temporary" for s in definition.statements if s.target not in self.names}
        self.unwritten |= dict.fromkeys(header.outputs, "output")
        self.scalars = {s.name: s.dtype for s in header.scalars.values()}
        self.defs = defs
        self.statements: list[CheckedStatement] = []
        self.same_sizes: list[SameSize] = []
        self.warnings: list[Diagnostic] = []

    def run(self) -> CheckedDef:
        for statement in self.definition.statements:
            try:
                self.check_target(statement)
                self.check_statement(statement)
            except Fault as fault:
                self.faults += fault.all()
                self.hide(statement)
        for name, param in self.header.outputs.items():
            if name in self.unwritten:
                self.faults.append(Fault(f"no statement writes output {quoted(name)}{self.misspelt(name)}", param.span))
        outputs = [self.known[name] for name in self.header.outputs if name in self.known]
        temporaries = [t for t in self.known.values() if t.role is Role.TEMPORARY]
        return CheckedDef(
            name=self.definition.name,
            parameters=self.definition.inputs,
            sizes=tuple(self.header.sizes),
            scalars=tuple(self.header.scalars.values()),
            tensors=(*self.header.inputs.values(), *outputs, *temporaries),
            statements=tuple(self.statements),
            same_sizes=tuple(self.same_sizes),
            warnings=tuple(self.warnings),
            text=self.text,
        )

    def misspelt(self, output: str) -> str:
        """A temporary that may be meant by an output that nothing writes."""
        temporaries = {s.target for s in self.definition.statements} - self.header.outputs.keys()
        near = propose(output, temporaries)
        return near.replace("did you mean", "did you mean it by") if near else ""

    def hide(self, statement: Statement) -> None:
        """After a fault: what would follow from a missing write is not reported."""
        if statement.target in self.unwritten:
            del self.unwritten[statement.target]
            self.readable[statement.target] = Readable(None, len(statement.subscripts))

    # --- one statement -------------------------------------------------------------------------------------------

    def check_target(self, statement: Statement) -> None:
        """Check 6: inputs are immutable, builtins are no tensors, and a new name becomes a temporary."""
        name, span = statement.target, statement.span
        if name in self.header.inputs or name in self.header.scalars:
            raise Fault(f"{quoted(name)} is an input and immutable; write to an output or a temporary", span)
        if name not in self.header.outputs:
            self.names.declare(name, "a temporary", span, again=True)
        if len(statement.subscripts) > MAX_RANK:
            raise Fault(f"{len(statement.subscripts)} dimensions; the limit is {MAX_RANK}", span)
        if is_too_large(statement):
            raise Fault(TOO_LARGE, span)
        self.check_room(1, span)

    def check_room(self, more: int, span: Span | None) -> None:
        if len(self.statements) + more > MAX_STATEMENTS:
            raise Fault(f"more than {MAX_STATEMENTS} statements once calls are expanded", span)

    def check_statement(self, statement: Statement) -> None:
        if isinstance(statement.value, Call) and statement.value.function in self.defs:
            self.call(statement, statement.value)
            return
        if statement.target in self.known:
            typed = check_statement(statement, self.scope(), self.names)
            declared = self.known[statement.target]
            self.check_stored(statement, dtype_of(typed.node.value), declared)
        else:
            typed, declared = self.first_write(statement)
            self.write(declared)
        self.statements.append(typed.stored_as(declared.dtype))

    def scope(self) -> Scope:
        return Scope(self.readable, self.unwritten, self.scalars, self.header.sizes, self.defs)

    def first_write(self, statement: Statement) -> tuple[TypedStatement, Declared]:
        """The statement that gives its target rank and type, and what it makes of the target."""
        declared = self.annotated(statement)
        if declared is None and not reads(statement, statement.target):
            typed = check_statement(statement, self.scope(), self.names)
            dtype = dtype_of(typed.node.value)
            declared = Declared(
                statement.target, dtype, len(statement.subscripts), self.role(statement), None, statement.span
            )
        elif declared is not None:
            typed = check_statement(statement, self.self_scope(declared), self.names)
        else:
            typed, declared = self.typed_by_itself(statement)
        self.check_stored(statement, dtype_of(typed.node.value), declared)
        return typed, declared

    def annotated(self, statement: Statement) -> Declared | None:
        """Check 4, the rank: the target as its annotation has it."""
        param = self.header.outputs.get(statement.target)
        if param is None or param.type is None:
            return None
        kind = param.type
        return Declared(param.name, kind.scalar, len(kind.dims), self.role(statement), kind.dims, param.span)

    def self_scope(self, declared: Declared) -> Scope:
        """The scope of a first statement that may read its own target: a scan whose start stands under a guard."""
        scope = self.scope()
        scope.tensors = {**self.readable, declared.name: Readable(declared.dtype, declared.rank)}
        return scope

    def typed_by_itself(self, statement: Statement) -> tuple[TypedStatement, Declared]:
        """The first type that the value has if its target has it, for a target read by its first statement."""
        first: Fault | None = None
        typed_once = False
        for dtype in (ScalarType.INT32, ScalarType.FLOAT32, *ScalarType):
            declared = Declared(
                statement.target, dtype, len(statement.subscripts), self.role(statement), None, statement.span
            )
            try:
                typed = check_statement(statement, self.self_scope(declared), self.names)
            except Fault as fault:
                first = first or fault
                continue
            if typed.node.value.dtype is dtype:
                return typed, declared
            typed_once = True
        if first is not None and not typed_once:
            raise first
        raise Fault(f"the type of {quoted(statement.target)} depends on itself; annotate it", statement.span)

    def role(self, statement: Statement) -> Role:
        """What the first statement makes of its target; a reduction without `!` needs something to start from."""
        accumulates = statement.reduction is not None and not statement.initialise
        name = statement.target
        if name not in self.header.outputs:
            if accumulates:
                message = f"uninitialised reduction of temporary {quoted(name)}; use {statement.reduction}=!"
                raise Fault(message, statement.span)
            return Role.TEMPORARY
        if not accumulates:
            return Role.OUTPUT
        message = (
            f"uninitialised reduction: {quoted(name)} accumulates into the caller's out=; use {statement.reduction}=! "
        )
        self.warnings.append(Diagnostic.at(message + "to start from the identity", statement.span, self.text))
        return Role.ACCUMULATED

    def check_stored(self, statement: Statement, value: ScalarType, declared: Declared) -> None:
        """Check 4: the target's rank, and no narrowing without a cast."""
        name, count = quoted(declared.name), len(statement.subscripts)
        if count != declared.rank:
            raise Fault(
                f"wrong number of dimensions: {name} has {declared.rank}, but {count} subscripts are given",
                statement.span,
            )
        if statement.reduction is not None and ScalarType.BOOL in (value, declared.dtype):
            raise Fault(
                f"`{statement.reduction}=` needs numbers, and this is bool; cast it, as in int32(...)", statement.span
            )
        if promote(declared.dtype, value) is not declared.dtype:
            message = f"narrowing without a cast: {name} is {declared.dtype}, the value is {value}"
            message += f"; write {declared.dtype}(...) if that is meant"
            if declared.dims is None:
                wider = promote(declared.dtype, value)
                message += f", or {wider}(...) in its first statement, which has given {name} its type"
            raise Fault(message, statement.value.span or statement.span)

    def write(self, declared: Declared) -> None:
        """From here on the tensor can be read."""
        self.known[declared.name] = declared
        self.readable[declared.name] = Readable(declared.dtype, declared.rank)
        self.unwritten.pop(declared.name, None)

    # --- calls -----------------------------------------------------------------------------------------------------

    def call(self, statement: Statement, call: Call) -> None:
        """`T = f(A, B)`: f's statements stand here, with T for its result.

        The result goes through a temporary where T is annotated with another type or has been written already
        (it could be an argument of the same call).
        """
        check_call_shape(statement, call)
        callee = find_callee(call, self.earlier)
        tensors, scalars = bind_arguments(call, callee, self.known, self.scope())
        self.check_room(len(callee.statements) + 1, call.span)
        result = next(t for t in callee.tensors if t.role is Role.OUTPUT)
        param = self.header.outputs.get(statement.target)
        annotation = param.type if param is not None else None
        direct = statement.target not in self.known and (annotation is None or annotation.scalar is result.dtype)
        name = statement.target if direct else self.names.fresh(f"{statement.target}_{result.name}", "a temporary")
        role = Role.OUTPUT if direct and param is not None else Role.TEMPORARY
        dims = annotation.dims if direct and annotation is not None else None
        if dims is not None and len(dims) != result.rank:
            message = f"{quoted(statement.target)} has {len(dims)}, but the result of the call has {result.rank}"
            raise Fault(f"wrong number of dimensions: {message}", call.span)
        expansion = expand_call(callee, tensors, scalars, name, self.names, len(self.statements), call.span)
        self.statements += expansion.statements
        self.same_sizes += expansion.same_sizes
        for declared in (*expansion.temporaries, Declared(name, result.dtype, result.rank, role, dims, call.span)):
            self.write(declared)
        if not direct:
            self.copy(statement, name, result.rank)

    def copy(self, statement: Statement, source: str, rank: int) -> None:
        """`T(i0, i1) = source(i0, i1)`."""
        span = statement.span
        indices = tuple(Name(self.names.fresh(f"i{axis}", "an index"), span=span) for axis in range(rank))
        value: Expr = Access(source, indices, span=span) if rank else Name(source, span=span)
        self.check_statement(Statement(statement.target, indices, value, span=span))
