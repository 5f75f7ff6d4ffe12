"""Which indirect subscripts must be checked, and where: before anything is written, or in place.

In: a Kernel whose subscripts may come from the values of tensors (`FromValue`).
Out: a scan, the kernel's loops with checks for statements, for subscripts that depend on inputs alone; and per
statement the checks of subscripts that the kernel itself computes, which can only be made in place.
Invariant: a check reads nothing that an earlier check has not found to be in range; a guard of `?:` around an
access is a guard around its check; loops in which no check varies are scanned once.  Values with names (lets) keep
them, here too: written out where they are used, lets that use lets would grow exponentially.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from comprehension.codegen.subscript import variables
from comprehension.kernel import ir
from comprehension.kernel.outside import Outside
from comprehension.kernel.rewrite import nodes_of
from comprehension.lang.types import ScalarType


@dataclass(frozen=True, slots=True)
class Check:
    """0 <= subscript < extent wherever all guards hold; `outside` says which access it is."""

    subscript: ir.IntExpr
    extent: ir.IntExpr
    outside: Outside
    guards: tuple[ir.Value, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanLoop:
    """`for variable in range(lower, upper, step)`."""

    variable: str
    lower: ir.IntExpr
    upper: ir.IntExpr
    step: int
    body: tuple[ScanNode, ...]


@dataclass(frozen=True, slots=True)
class ScanIf:
    condition: ir.Condition
    body: tuple[ScanNode, ...]


ScanNode = Check | ScanLoop | ScanIf | ir.Define
Definitions = Mapping[str, ir.Value]


def checks_in_place(kernel: ir.Kernel, statement: ir.Define | ir.Store, definitions: Definitions) -> list[Check]:
    """The checks of a statement that no scan can make beforehand; they name the locals in force."""
    return [check for check in checks_of(kernel, statement) if is_computed(kernel, check, definitions)]


def is_computed(kernel: ir.Kernel, check: Check, definitions: Definitions) -> bool:
    """Whether a check reads what the kernel itself writes."""
    return _reads_computed(kernel, (check.subscript, *check.guards), definitions)


def _reads_computed(kernel: ir.Kernel, expressions: tuple[object, ...], definitions: Definitions) -> bool:
    waiting, seen = list(expressions), set[str]()
    while waiting:
        expression = waiting.pop()
        loads = nodes_of(expression, ir.Load)
        if any(kernel.buffer(load.buffer).space is not ir.Space.INPUT for load in loads):
            return True
        for name in {local.name for local in nodes_of(expression, ir.Local)} - seen:
            seen.add(name)
            waiting.append(definitions[name])
    return False


def scan_of(kernel: ir.Kernel, stage: ir.Stage) -> tuple[ScanNode, ...]:
    """The checks of a stage that can be made before the kernel runs."""
    body = _scan_body(kernel, stage.body, {})
    if stage.parallel is None:
        return body
    loop = stage.parallel
    return _around(ScanLoop(loop.variable, loop.lower, loop.upper, loop.step, body))


def _scan_body(kernel: ir.Kernel, body: Sequence[ir.Node], outer: Definitions) -> tuple[ScanNode, ...]:
    found: list[ScanNode] = []
    definitions = dict(outer)
    for node in body:
        found += [n for n in _scan_node(kernel, node, definitions) if n not in found]
        if isinstance(node, ir.Define):
            definitions[node.name] = node.value
            found.append(node)
    return _needed(found)


def _needed(nodes: Sequence[ScanNode]) -> tuple[ScanNode, ...]:
    """The nodes without values that no check after them uses."""
    kept: list[ScanNode] = []
    used: set[str] = set()
    for node in reversed(nodes):
        if isinstance(node, ir.Define) and node.name not in used:
            continue
        kept.append(node)
        used |= {local.name for local in nodes_of(node, ir.Local)}
    return tuple(reversed(kept))


def _scan_node(kernel: ir.Kernel, node: ir.Node, definitions: Definitions) -> tuple[ScanNode, ...]:
    match node:
        case ir.Define() | ir.Store():
            return tuple(check for check in checks_of(kernel, node) if not is_computed(kernel, check, definitions))
        case ir.Loop(variable, lower, upper, body, step):
            return _around(ScanLoop(variable, lower, upper, step, _scan_body(kernel, body, definitions)))
        case ir.If(condition, body):
            inner = _scan_body(kernel, body, definitions)
            return (ScanIf(condition, inner),) if inner else ()
        case ir.Tile(rows, lanes, body):
            inner = _around(_axis_loop(lanes, _scan_body(kernel, body, definitions)))
            return inner if rows is None else _around(_axis_loop(rows, inner))
        case ir.Barrier():
            return ()
        case _:
            assert_never(node)


def _axis_loop(axis: ir.Axis, body: tuple[ScanNode, ...]) -> ScanLoop:
    end: ir.IntExpr = ir.IntOp("+", axis.start, ir.Int(axis.extent))
    if axis.limit is not None:
        end = ir.IntOp("min", end, axis.limit)
    return ScanLoop(axis.variable, axis.start, end, 1, body)


def _around(loop: ScanLoop) -> tuple[ScanNode, ...]:
    """The loop; once is enough where its variable does not matter, if it runs at all."""
    if not loop.body:
        return ()
    if any(loop.variable in _scan_variables(node) for node in loop.body):
        return (loop,)
    return (ScanIf(ir.Compare("<", loop.lower, loop.upper), loop.body),)


def _scan_variables(node: ScanNode) -> frozenset[str]:
    match node:
        case Check(subscript, extent, _, guards):
            return variables(subscript) | variables(extent) | frozenset().union(*map(variables, guards))
        case ir.Define(value=value):
            return variables(value)
        case ScanLoop(_, lower, upper, _, body):
            return variables(lower) | variables(upper) | frozenset().union(*map(_scan_variables, body))
        case ScanIf(condition, body):
            return variables(condition) | frozenset().union(*map(_scan_variables, body))
        case _:
            assert_never(node)


# --- the checks of one statement ----------------------------------------------------------------------------------


def checks_of(kernel: ir.Kernel, statement: ir.Define | ir.Store) -> list[Check]:
    """The checks of a statement, innermost subscripts first; those of the values that it names stand at their own."""
    found: list[Check] = []
    for check in _of_value(kernel, statement.value, ()):
        if check not in found:
            found.append(check)
    if isinstance(statement, ir.Store):
        for check in _of_access(kernel, statement.buffer, statement.subscripts, ()):
            if check not in found:
                found.append(check)
        if statement.instance is not None:
            name = statement.instance.statement
            found = [replace(c, outside=replace(c.outside, statement=name)) for c in found]
    return found


def _of_access(
    kernel: ir.Kernel, name: str, subscripts: Sequence[ir.IntExpr], guards: tuple[ir.Value, ...]
) -> Iterator[Check]:
    buffer = kernel.buffer(name)
    for axis, (subscript, extent) in enumerate(zip(subscripts, buffer.shape, strict=True)):
        values = list(nodes_of(subscript, ir.FromValue))
        for node in values:
            yield from _of_value(kernel, node.value, guards)
        if values:
            unsigned = isinstance(subscript, ir.FromValue) and subscript.value.dtype is ScalarType.UINT64
            yield Check(subscript, extent, Outside(name, axis, unsigned=unsigned), guards)


def _of_value(kernel: ir.Kernel, value: ir.Value, guards: tuple[ir.Value, ...]) -> Iterator[Check]:
    match value:
        case ir.Const() | ir.Local() | ir.ScalarArg() | ir.IndexValue():
            pass
        case ir.Load(buffer, subscripts):
            yield from _of_access(kernel, buffer, subscripts, guards)
        case ir.SelectValue(condition, then, otherwise):
            yield from _of_value(kernel, condition, guards)
            yield from _of_value(kernel, then, (*guards, condition))
            yield from _of_value(kernel, otherwise, (*guards, ir.UnaryOp("!", condition, ScalarType.BOOL)))
        case _:
            for operand in operands(value):
                yield from _of_value(kernel, operand, guards)


def operands(value: ir.Value) -> tuple[ir.Value, ...]:
    """The values that an operation works on directly."""
    match value:
        case ir.UnaryOp(operand=operand) | ir.Convert(operand=operand) | ir.Fold(value=operand):
            return (operand,)
        case ir.BinaryOp(left=left, right=right):
            return (left, right)
        case ir.Fma(a, b, c) | ir.SelectValue(a, b, c):
            return (a, b, c)
        case ir.Builtin(arguments=arguments):
            return arguments
        case ir.Const() | ir.Load() | ir.Local() | ir.ScalarArg() | ir.IndexValue():
            return ()
        case _:
            assert_never(value)
