"""`...`: any leading dimensions, the same for every tensor of a def that begins with them.

In: a program whose types, accesses and targets may begin with `...`.  Out: for a number of leading dimensions, the
program that `...` abbreviates.
Invariant: what comes out has no `...`; places in the text stay what they were.

    def scale(float(..., K) A, float(K) s) -> (B) { B(..., k) = A(..., k) * s(k) }

called with an A of three dimensions is

    def scale(float(D0, D1, K) A, float(K) s) -> (B) { B(d0, d1, k) = A(d0, d1, k) * s(k) }

Dimensions are equal, never broadcast: a tensor that does not vary along them has no `...`.  `T.k` counts the dimensions
behind `...`.  A def that is called is expanded too, for the dimensions of its arguments, under a name of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from comprehension.lang.expressions import Fault, quoted
from comprehension.lang.limits import TOO_LARGE, is_too_large
from comprehension.lang.tree import (
    Access,
    Call,
    Clause,
    Def,
    Expr,
    Let,
    Name,
    Param,
    Program,
    Range,
    SizeOf,
    Statement,
    TensorType,
    children,
    rebuild,
    walk,
)


def has_leading(definition: Def) -> bool:
    """Whether the def's rank is that of its arguments: an input begins with `...`."""
    return any(p.type is not None and p.type.leading for p in definition.inputs)


def uses_leading(program: Program) -> bool:
    """Whether `...` stands anywhere in a program."""
    return any(True for definition in program.defs for _ in _marks(definition))


def _marks(definition: Def) -> Iterator[Param | Statement | Access]:
    """All that begins with `...`, in the order of the text."""
    yield from (p for p in (*definition.inputs, *definition.outputs) if p.type is not None and p.type.leading)
    for statement in definition.statements:
        if statement.leading:
            yield statement
        yield from (node for node in _nodes(statement) if isinstance(node, Access) and node.leading)


def _nodes(statement: Statement) -> Iterator[Expr]:
    for root in (*statement.subscripts, statement.value, *_in_clauses(statement)):
        yield from walk(root)


def _in_clauses(statement: Statement) -> Iterator[Expr]:
    for clause in statement.where:
        yield from (clause.lower, clause.upper) if isinstance(clause, Range) else (clause.value,)


# --- whether a def uses `...` rightly ------------------------------------------------------------------------------


def check_leading(definition: Def) -> Iterator[Fault]:
    """What is wrong with a def's use of `...`, whatever the number of dimensions."""
    marks = list(_marks(definition))
    if marks and not has_leading(definition):
        yield Fault("'...' needs an input that begins with it, which says how many dimensions it is", marks[0].span)
        return
    tensors = {p.name: p.type is not None and p.type.leading for p in definition.inputs}
    tensors |= {p.name: p.type.leading for p in definition.outputs if p.type is not None}
    written: set[str] = set()
    for statement in definition.statements:
        if isinstance(statement.value, Call) and statement.target not in tensors:
            written.add(statement.target)
            continue  # the call's result has the dimensions that it has
        yield from _check_statement(statement, tensors, written)
        tensors.setdefault(statement.target, statement.leading)
        written.add(statement.target)


def _check_statement(statement: Statement, tensors: Mapping[str, bool], written: set[str]) -> Iterator[Fault]:
    read = [node for node in _nodes(statement) if isinstance(node, Access)]
    used = [(statement.target, statement.leading, statement.span)]
    used += [(node.tensor, node.leading, node.span) for node in read]
    faults = [
        Fault(_mismatch(name, tensors[name]), span)
        for name, leading, span in used
        if leading is not tensors.get(name, leading)
    ]
    if faults:
        yield from faults
        return
    on_right = next((node for node in read if node.leading), None)
    if on_right is not None and not statement.leading and statement.reduction is None:
        yield Fault(
            "'...' stands on the right only: reduce over it, as by +=!, or begin the left with it", on_right.span
        )
    known = statement.reduction is not None and not statement.initialise and statement.target in written
    if statement.leading and on_right is None and not known:
        message = "'...' stands on the left only, and nothing says how far it goes; add `where exists` and an access"
        yield Fault(message, statement.span)


def _mismatch(tensor: str, leading: bool) -> str:
    if leading:
        return f"{quoted(tensor)} has leading dimensions: begin its subscripts with '...'"
    return f"{quoted(tensor)} has no leading dimensions; leave out '...'"


def leading_of(definition: Def, ranks: Sequence[int]) -> int:
    """How many dimensions `...` is for inputs of these ranks.

    Raises Fault where an input has too few, or two inputs disagree.

    >>> from comprehension.lang.parser import parse
    >>> (f,) = parse("def f(float(..., K) A, float(...) s) -> (B) { B(..., k) = A(..., k) * s(...) }").defs
    >>> leading_of(f, (3, 2))
    2
    """
    found: dict[str, int] = {}
    for parameter, rank in zip(definition.inputs, ranks, strict=False):
        if parameter.type is None or not parameter.type.leading:
            continue
        own = len(parameter.type.dims)
        if rank < own:
            raise Fault(f"{parameter.name}: expected at least {own} dimensions, found {rank}", None)
        found[parameter.name] = rank - own
    here = next(iter(found), None)
    there = next((name for name in found if found[name] != found[here or name]), None)
    if here is not None and there is not None:
        raise Fault(f"{there}: '...' is {found[there]} dimensions here and {found[here]} in {here}", None)
    return 0 if here is None else found[here]


# --- the program for one number of dimensions -----------------------------------------------------------------------


def at_rank(program: Program, name: str, leading: int) -> Program:
    """The def `name` with `...` as so many dimensions, behind what it calls; other defs are left out.

    Raises Fault for a call whose arguments do not fit.

    >>> from comprehension.lang.parser import parse
    >>> from comprehension.lang.printer import to_text
    >>> program = parse("def f(float(..., K) A) -> (B) { B(..., k) = A(..., k) * 2 }")
    >>> print(to_text(at_rank(program, "f", 2)))
    def f(float(D0, D1, K) A) -> (B) {
        B(d0, d1, k) = A(d0, d1, k) * 2
    }
    """
    expansion = _Expansion(program)
    position = max(n for n, d in enumerate(program.defs) if d.name == name)
    expansion.instance(position, leading, keep_name=True)
    return Program(tuple(expansion.made))


class _Expansion:
    """The defs made so far, in an order in which each stands behind those that it calls."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.taken = {d.name for d in program.defs}.union(*map(_names, program.defs))
        self.made: list[Def] = []
        self.known: dict[tuple[int, int], tuple[str, int]] = {}  # def and dimensions: its name here, its result's rank

    def instance(self, position: int, leading: int, keep_name: bool = False) -> tuple[str, int]:
        """The name of a def for so many dimensions, and the rank of its (last) result."""
        key = position, leading
        if key not in self.known:
            definition = self.program.defs[position]
            generic = has_leading(definition) and not keep_name
            name = _fresh(f"{definition.name}_{leading}", self.taken) if generic else definition.name
            self.taken.add(name)
            made, rank = self.expanded(position, leading, name)
            self.made.append(made)
            self.known[key] = name, rank
        return self.known[key]

    def expanded(self, position: int, leading: int, name: str) -> tuple[Def, int]:
        definition = self.program.defs[position]
        write = _Writer(definition, leading)
        inputs, outputs = (tuple(map(write.param, params)) for params in (definition.inputs, definition.outputs))
        ranks = {p.name: len(p.type.dims) for p in (*inputs, *outputs) if p.type is not None}
        statements: list[Statement] = []
        for statement in definition.statements:
            if is_too_large(statement):
                raise Fault(TOO_LARGE, statement.span)
            made = write.statement(statement)
            if isinstance(made.value, Call) and any(d.name == made.value.function for d in self.program.defs):
                call, rank = self.called(position, made.value, ranks)
                made = dataclasses.replace(made, value=call)
                ranks.setdefault(made.target, rank)
            else:
                ranks.setdefault(made.target, len(made.subscripts))
            statements.append(made)
        result = ranks.get(outputs[-1].name, 0) if outputs else 0
        return dataclasses.replace(
            definition, name=name, inputs=inputs, outputs=outputs, statements=tuple(statements)
        ), result

    def called(self, position: int, call: Call, ranks: Mapping[str, int]) -> tuple[Call, int]:
        """The call of the def for the dimensions of the arguments, and the rank of its result."""
        earlier = [n for n, d in enumerate(self.program.defs[:position]) if d.name == call.function]
        if not earlier:
            message = f"def {quoted(call.function)} is not defined before this one; recursion is not possible"
            raise Fault(message, call.span)
        callee = self.program.defs[earlier[-1]]
        given = [ranks.get(a.id, 0) if isinstance(a, Name) else 0 for a in call.arguments]
        try:
            leading = leading_of(callee, given) if has_leading(callee) else 0
        except Fault as fault:
            raise Fault(f"def {quoted(callee.name)}: {fault}", call.span) from None
        name, rank = self.instance(earlier[-1], leading)
        return dataclasses.replace(call, function=name), rank


class _Writer:
    """Writes one def's `...` as sizes and indices that have no other meaning there."""

    def __init__(self, definition: Def, leading: int) -> None:
        taken = _names(definition)
        self.leading = leading
        self.sizes = tuple(_several("D", leading, taken))
        self.indices = tuple(_several("d", leading, taken))
        everything = (*definition.inputs, *definition.outputs)
        self.tensors = {p.name for p in everything if p.type is not None and p.type.leading}
        self.tensors |= {s.target for s in definition.statements if s.leading}

    def param(self, param: Param) -> Param:
        kind = param.type
        if kind is None or not kind.leading:
            return param
        return dataclasses.replace(param, type=TensorType(kind.scalar, (*self.sizes, *kind.dims), span=kind.span))

    def statement(self, statement: Statement) -> Statement:
        equivalent = statement.equivalent
        if equivalent is not None:
            equivalent = dataclasses.replace(equivalent, leading=False)
        return dataclasses.replace(
            statement,
            subscripts=self.subscripts(statement, map(self.expr, statement.subscripts)),
            value=self.expr(statement.value),
            where=tuple(map(self.clause, statement.where)),
            equivalent=equivalent,
            leading=False,
        )

    def subscripts(self, node: Statement | Access, own: Iterator[Expr]) -> tuple[Expr, ...]:
        leading = (Name(index, span=node.span) for index in self.indices) if node.leading else ()
        return (*leading, *own)

    def clause(self, clause: Clause) -> Clause:
        if isinstance(clause, Range):
            return dataclasses.replace(clause, lower=self.expr(clause.lower), upper=self.expr(clause.upper))
        return dataclasses.replace(clause, value=self.expr(clause.value))

    def expr(self, node: Expr) -> Expr:
        match node:
            case Access(leading=True):
                parts = self.subscripts(node, map(self.expr, node.subscripts))
                return dataclasses.replace(node, subscripts=parts, leading=False)
            case SizeOf(tensor=tensor, axis=axis) if tensor in self.tensors:
                return dataclasses.replace(node, axis=axis + self.leading)
            case _:
                return rebuild(node, tuple(map(self.expr, children(node))))


def _names(definition: Def) -> set[str]:
    """Every name in a def."""
    found = {p.name for p in (*definition.inputs, *definition.outputs)}
    kinds = [p.type for p in (*definition.inputs, *definition.outputs) if p.type is not None]
    found |= {dim for kind in kinds for dim in kind.dims if isinstance(dim, str)}
    for statement in definition.statements:
        found.add(statement.target)
        found |= {c.index for c in statement.where if isinstance(c, Range)}
        found |= {c.name for c in statement.where if isinstance(c, Let)}
        for node in _nodes(statement):
            match node:
                case Name(id=name) | Access(tensor=name) | SizeOf(tensor=name) | Call(function=name):
                    found.add(name)
    return found


def _several(wish: str, count: int, taken: set[str]) -> Iterator[str]:
    """`wish` with numbers, lengthened until none of them is taken."""
    while any(f"{wish}{number}" in taken for number in range(count)):
        wish += "_"
    return (f"{wish}{number}" for number in range(count))


def _fresh(wish: str, taken: set[str]) -> str:
    while wish in taken:
        wish += "_"
    return wish
