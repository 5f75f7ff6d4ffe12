"""Checks of indirect subscripts as source text.

In: checks found by `codegen.checks`.  Out: lines that fill the error record and return a nonzero code.
Invariant: the code is 1 + the number of the message; the record holds the code, the same number again, the
subscript seen and how many elements there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from comprehension.codegen.abi import slot_names
from comprehension.codegen.checks import Check, ScanIf, ScanLoop, ScanNode
from comprehension.codegen.function import Expr, Function, varying
from comprehension.codegen.index_text import condition_text
from comprehension.codegen.value_text import Printer
from comprehension.kernel import ir
from comprehension.lang.types import ScalarType


def print_scan(function: Function, nodes: Sequence[ScanNode]) -> None:
    """The body of a check stage."""
    printer = Printer(function)
    for node in nodes:
        match node:
            case Check():
                print_check(printer, node)
            case ScanLoop(variable, lower, upper, step, body):
                bounds = [printer.index(lower).text, printer.index(upper).text] + ([str(step)] if step != 1 else [])
                with function.block(f"for {function.variable(variable)} in range({', '.join(bounds)}):"):
                    print_scan(function, body)
            case ir.Define(name, value):
                target = function.scope.fresh(name)
                function.line(f"{target} = {printer.value(value).text}")
                function.locals[name] = Expr(target)
            case ScanIf(condition, body):
                with function.block(f"if {condition_text(printer, condition).text}:"):
                    print_scan(function, body)
            case _:
                assert_never(node)


def print_check(printer: Printer, check: Check) -> None:
    """Returns from the function if the check fails (in a tile: at any active point)."""
    if printer.tile is None:
        _print_scalar_check(printer, check, check.guards)
    else:
        _print_tile_check(printer, check)


def _print_scalar_check(printer: Printer, check: Check, guards: Sequence[ir.Value]) -> None:
    function = printer.function
    if guards:
        with function.block(f"if {printer.value(guards[0]).text}:"):
            _print_scalar_check(printer, check, guards[1:])
        return
    found = function.scope.fresh("subscript")
    function.line(f"{found} = {printer.index(check.subscript).text}")
    extent = printer.index(check.extent).text
    with function.block(f"if {found} < 0 or {found} >= {extent}:"):
        _fail(function, check, found, extent)


def _print_tile_check(printer: Printer, check: Check) -> None:
    assert printer.tile is not None
    function, region = printer.function, printer.tile.region
    guard: ir.Value = ir.Const(True, ScalarType.BOOL)
    for part in check.guards:
        guard = part if guard == ir.Const(True, ScalarType.BOOL) else ir.BinaryOp("&&", guard, part, ScalarType.BOOL)
    condition = printer.named("guarded", printer.value(guard))
    with printer.guarding(condition):
        subscript = printer.named("subscript", printer.index(check.subscript))
    extent = printer.index(check.extent).text
    outside = varying(
        f"({condition.text} & (({subscript.text} < 0) | ({subscript.text} >= {extent})))", condition, subscript
    )
    is_outside = Expr(outside.text, outside.by_rows, outside.by_lanes)
    with function.block(f"if {_largest(printer, is_outside, '1', '0', region)} > 0:"):
        _fail(function, check, _largest(printer, is_outside, subscript.text, "-(1 << 62) - (1 << 62)", region), extent)


def _largest(printer: Printer, outside: Expr, there: str, elsewhere: str, region: str) -> str:
    """The largest of what is `there` at the active points outside, and `elsewhere` at the others."""
    function = printer.function
    text = f"{function.use('select')}({outside.text}, {there}, {elsewhere})"
    if outside.by_rows:
        text = f"{function.use('max_rows')}({region}, {text})"
    if outside.by_lanes:
        text = f"{function.use('max_lanes')}({region}, {text})"
    name = function.scope.fresh("outside")
    function.line(f"{name} = {text}")
    return name


def _fail(function: Function, check: Check, seen: str, extent: str) -> None:
    code = function.failure(check.outside) + 1
    record = function.scope.fresh("record")
    slot = len(slot_names(function.kernel))
    function.line(f"{record} = {function.use('buffer')}(buffers, {slot}, np.int64)")
    for word, value in enumerate((str(code), str(code), seen, extent)):
        function.line(f"{record}[{word}] = {value}")
    function.line(f"return {code}")
