"""KernelIR to readable Python for numba: one function per stage.

In: a verified `ir.Kernel` and the machine.  Out: `GeneratedSource`; each entry has the signature
`int64(CPointer(voidptr) buffers, CPointer(int64) dims, voidptr scratch, int64 lo, int64 hi)`.
Invariant: the text depends on the kernel alone; it names no Python object, raises nothing, allocates
nothing, and every name in it went through `names.Scope`.

Shapes of IR that are fast are listed in `comprehension.codegen`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from comprehension.codegen.abi import dim_names, slot_names
from comprehension.codegen.check_text import print_check, print_scan
from comprehension.codegen.checks import ScanNode, checks_in_place, scan_of
from comprehension.codegen.function import NUMPY, CodegenError, Expr, Function
from comprehension.codegen.index_text import condition_text
from comprehension.codegen.liveness import overwritable
from comprehension.codegen.names import Scope, identifier
from comprehension.codegen.subscript import elements_of, simplified
from comprehension.codegen.value_text import SPREADS, Printer, TileContext
from comprehension.kernel import ir
from comprehension.kernel.given import at_given_sizes
from comprehension.kernel.occupied import is_occupied
from comprehension.kernel.outside import Outside
from comprehension.kernel.size_text import text_of

if TYPE_CHECKING:
    from comprehension.machine import Machine

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class GeneratedSource:
    """Python text, its entry functions in the order they run, and the scratch memory one worker needs.

    The first `checks` entries are check stages: run once each, serially (lo=0, hi=1), before anything is
    written; the others are the kernel's stages.  A check returns 0, or 1 + the number of a message in `errors`.
    """

    text: str
    entries: tuple[str, ...]
    scratch_bytes: int | str
    checks: int = 0
    errors: tuple[Outside, ...] = ()


def generate(kernel: ir.Kernel, machine: Machine | None = None, checked: bool = True) -> GeneratedSource:
    """Source of all stages.

    With `checked`, indirect subscripts are checked: those that depend on inputs alone by a check stage that runs
    first, others where they are used.
    Raises CodegenError for a kernel that only another target can run (barriers, shared memory).
    """
    failures: list[Outside] = []
    functions = [_stage(kernel, stage, machine, checked, failures) for stage in kernel.stages]
    firsts = [stage for stage in kernel.stages if not stage.is_alternative]  # alternatives read the same
    scan = [node for stage in firsts for node in scan_of(kernel, stage)] if checked else []
    if scan:
        functions.insert(0, _check_stage(kernel, scan, failures))
    sizes = [_scratch_offsets(function)[""] for function, _ in functions]
    return GeneratedSource(
        text=_module([function for function, _ in functions]),
        entries=tuple(name for _, name in functions),
        scratch_bytes=_largest(sizes),
        checks=1 if scan else 0,
        errors=tuple(failures),
    )


def _module(functions: Sequence[Function]) -> str:
    imports = sorted(set().union(*(f.imports for f in functions)))
    head = ["import numpy as np"]
    if any(f.builtins for f in functions):
        head.append("from comprehension.codegen import vecmath")
    if imports:
        head.append(f"from comprehension.codegen.simd import {', '.join(imports)}")
    return "\n".join(head) + "\n\n\n" + "\n\n\n".join("\n".join(f.lines) for f in functions) + "\n"


def entry_name(kernel: ir.Kernel, stage: ir.Stage) -> str:
    """The name of a stage's function: C and Python can both say it."""
    return identifier(f"{kernel.name}_{stage.name}")


# --- a stage ------------------------------------------------------------------------------------------------


def _stage(
    kernel: ir.Kernel, stage: ir.Stage, machine: Machine | None, checked: bool, failures: list[Outside]
) -> tuple[Function, str]:
    name = entry_name(kernel, stage)
    kernel, stage = at_given_sizes(kernel, stage)
    function = _new_function(kernel, name, checked, failures)
    function.overwritable = overwritable(kernel, stage.body)
    if machine is not None:
        function.vector_bits, function.vector_registers = machine.vector_bits, machine.vector_registers
    if stage.parallel is None:
        _body(function, stage.body)
    else:
        function.loops.append(stage.parallel)
        _parallel(function, stage.parallel, stage.body)
    _finish(function, name)
    return function, name


def _check_stage(kernel: ir.Kernel, scan: Sequence[ScanNode], failures: list[Outside]) -> tuple[Function, str]:
    """The stage that looks at the values of index tensors before anything is written."""
    name = identifier(f"{kernel.name}_check")
    while any(name == entry_name(kernel, stage) for stage in kernel.stages):
        name += "_"
    function = _new_function(kernel, name, True, failures)
    print_scan(function, scan)
    _finish(function, name)
    return function, name


def _new_function(kernel: ir.Kernel, name: str, checked: bool, failures: list[Outside]) -> Function:
    function = Function(kernel, Scope(frozenset({name})), failures=failures, checked=checked)
    for buffer in kernel.buffers:  # first, so that tensors keep the user's names
        function.scope.name(buffer.name, "register" if buffer.space is ir.Space.REGISTER else "buffer")
    return function


def _finish(function: Function, name: str) -> None:
    """Adds the head, now that it is known what the body uses."""
    if "stream" in function.imports:
        function.line(f"{function.use('settle')}()")
    function.line("return 0")
    function.lines[:0] = [f"def {name}(buffers, dims, scratch, lo, hi):", *_bindings(function)]


def _parallel(function: Function, loop: ir.Loop, body: tuple[ir.Node, ...]) -> None:
    """The chunk [lo, hi) of the stage's range."""
    printer = Printer(function)
    variable = function.variable(loop.variable)
    if loop.lower == ir.Int(0) and loop.step == 1:
        with function.block(f"for {variable} in range(lo, hi):"):
            _body(function, body)
        return
    with function.block("for unit in range(lo, hi):"):
        step = "unit" if loop.step == 1 else f"unit * {loop.step}"
        lower = printer.index(loop.lower).text
        function.line(f"{variable} = {step if lower == '0' else f'{lower} + {step}'}")
        _body(function, body)


# --- statements ---------------------------------------------------------------------------------------------


def _body(function: Function, body: Sequence[ir.Node]) -> None:
    for node in body:
        _node(function, node)


def _node(function: Function, node: ir.Node) -> None:
    printer = Printer(function)
    match node:
        case ir.Define(name, value):
            _define(printer, name, value)
        case ir.Store():
            _store(printer, node)
        case ir.Loop(variable, lower, upper, body, step, asks=asks):
            bounds = [printer.index(lower).text, printer.index(upper).text] + ([str(step)] if step != 1 else [])
            with function.block(f"for {function.variable(variable)} in range({', '.join(bounds)}):"):
                function.loops.append(node)
                for ask in asks:
                    _ask(printer, ask)
                _body(function, body)
                function.loops.pop()
        case ir.If(condition, body):
            with function.block(f"if {condition_text(printer, condition).text}:"):
                _body(function, body)
        case ir.Tile():
            _tile(function, node)
        case ir.Barrier():
            raise CodegenError("a barrier has no meaning on the CPU: a stage runs on one worker")
        case _:
            assert_never(node)


def _ask(printer: Printer, ask: ir.Ask) -> None:
    function = printer.function
    region = function.scope.fresh("t")
    function.line(f"{region} = {function.use('tile')}({ask.rows}, {ask.elements})")
    first = printer.index(ask.first).text
    function.line(f"{function.use('ahead')}({region}, {function.buffer(ask.buffer)}, {first}, {ask.apart}, 0)")


def _tile(function: Function, node: ir.Tile) -> None:
    printer = Printer(function)
    rows = node.rows.extent if node.rows else 1
    region = function.scope.fresh("t")
    axes = [axis for axis in (node.rows, node.lanes) if axis is not None]
    if all(axis.limit is None for axis in axes):
        function.line(f"{region} = {function.use('tile')}({rows}, {node.lanes.extent})")
    else:
        left = [_left(printer, node.rows, rows), _left(printer, node.lanes, node.lanes.extent)]
        arguments = f"{rows}, {node.lanes.extent}, {left[0]}, {left[1]}"
        some = all(is_occupied(axis, function.loops, function.kernel.sizes) for axis in axes)
        function.line(f"{region} = {function.use('tile_part' if some else 'tile_within')}({arguments})")
    context = TileContext(node, region, {axis.variable: axis.start for axis in axes})
    inner = Printer(function, context)
    outer = dict(function.locals), dict(function.definitions)
    for statement in node.body:
        match statement:
            case ir.Define(name, value):
                _define(inner, name, value)
            case ir.Store():
                _store(inner, statement)
            case _:
                assert_never(statement)
    function.locals, function.definitions = outer


def _left(printer: Printer, axis: ir.Axis | None, extent: int) -> str:
    """How many points of an axis are active; the literal extent where all are."""
    if axis is None or axis.limit is None:
        return str(extent)
    return printer.index(ir.IntOp("-", axis.limit, axis.start)).text


def _check(printer: Printer, statement: ir.Define | ir.Store) -> None:
    """The checks that only this place can make."""
    function = printer.function
    if function.checked:
        for check in checks_in_place(function.kernel, statement, function.definitions):
            print_check(printer, check)


def _define(printer: Printer, name: str, value: ir.Value) -> None:
    _check(printer, ir.Define(name, value))
    printer.function.definitions[name] = value
    found = printer.value(value)
    target = printer.function.scope.fresh(name)
    printer.function.line(f"{target} = {found.text}")
    printer.function.locals[name] = Expr(target, found.by_rows, found.by_lanes)


def _store(printer: Printer, store: ir.Store) -> None:
    function = printer.function
    _check(printer, store)
    buffer = function.kernel.buffer(store.buffer)
    if buffer.space is ir.Space.REGISTER:
        _store_register(printer, buffer, store)
        return
    offset, name = printer.offset(buffer, store.subscripts), function.buffer(store.buffer)
    if not store.streaming and (moved := printer.moved(store)) is not None:
        function.line(f"{function.use('move')}({moved})")
        return
    value = printer.value(store.value).text
    if printer.tile is None:
        function.line(f"{name}[{printer.index(offset).text}] = {value}")
        return
    region, regular = printer.tile.region, printer.steps(offset)
    if regular is None:
        offsets = printer.index(offset).text
        function.line(f"{function.use('scatter')}({region}, {name}, {offsets}, {value})")
        return
    start, by_rows, by_lanes = (printer.index(part).text for part in regular)
    if by_rows == by_lanes == "0" and not printer.tile.is_limited:
        function.line(f"{name}[{start}] = {value}")
        return
    how = function.use("stream" if store.streaming else "store")
    function.line(f"{how}({region}, {name}, {start}, {by_rows}, {by_lanes}, {value})")


def _store_register(printer: Printer, buffer: ir.Buffer, store: ir.Store) -> None:
    """Assigns a variable; a limited tile changes its active points only."""
    function, tile = printer.function, printer.tile
    target, value = printer.register(buffer, store.subscripts), printer.value(store.value)
    text = value.text
    if (value.by_rows, value.by_lanes) != (target.by_rows, target.by_lanes) and tile is not None:
        text = f"{function.use(SPREADS[target.by_rows, target.by_lanes])}({tile.region}, {text})"
    blends = buffer.name not in function.overwritable
    if tile is not None and tile.is_limited and not target.is_scalar and blends:
        old = printer.register_value(buffer, store.subscripts).text
        text = f"{function.use('keep')}({tile.region}, {text}, {old})"
    function.assigned.add(target.text)
    function.line(f"{target.text} = {text}")


# --- the head of the function --------------------------------------------------------------------------------


def _bindings(function: Function) -> list[str]:
    """Lines that bind the sizes, scalars and buffers that the body uses."""
    kernel, scope = function.kernel, function.scope
    offsets = {name: Printer(function).index(at).text for name, at in _scratch_offsets(function).items()}
    dims, slots = dim_names(kernel), slot_names(kernel)
    lines = [f"{scope.name(dim, 'dim')} = dims[{i}]" for i, dim in enumerate(dims) if dim in function.used_dims]
    for name, dtype in kernel.scalars:
        if name in function.used_scalars:
            source = f"{function.use('buffer')}(buffers, {slots.index(name)}, {NUMPY[dtype]})"
            lines.append(f"{scope.name(name, 'scalar')} = {source}[0]")
    for buffer in kernel.buffers:
        if buffer.name in function.used_buffers:
            number, dtype_text = function.number_of(buffer.name), NUMPY[buffer.dtype]
            target = scope.name(buffer.name, "buffer")
            if buffer.space is ir.Space.SCRATCH:
                source = f"{function.use('scratch_buffer')}(scratch, {offsets[buffer.name]}, {number}, {dtype_text})"
            else:
                source = f"{function.use('buffer')}(buffers, {number}, {dtype_text})"
            lines.append(f"{target} = {source}")
    return ["    " + line for line in lines + function.presets]


# --- scratch memory ------------------------------------------------------------------------------------------


def _scratch_offsets(function: Function) -> dict[str, ir.IntExpr]:
    """Where each scratch buffer of the stage begins, in bytes; the total under the empty name."""
    offsets: dict[str, ir.IntExpr] = {}
    at: ir.IntExpr = ir.Int(0)
    for buffer in function.kernel.buffers:
        if buffer.space is ir.Space.SCRATCH and buffer.name in function.used_buffers:
            offsets[buffer.name] = at
            size = ir.IntOp("*", elements_of(buffer), ir.Int(buffer.dtype.bits // 8))
            at = simplified(ir.IntOp("+", at, _aligned(simplified(size))))
    offsets[""] = at
    return offsets


def _aligned(size: ir.IntExpr) -> ir.IntExpr:
    """Rounded up to a cache line, so that buffers share none."""
    if isinstance(size, ir.Int):
        return ir.Int(-(-size.value // _ALIGNMENT) * _ALIGNMENT)
    lines = ir.IntOp("/", ir.IntOp("+", size, ir.Int(_ALIGNMENT - 1)), ir.Int(_ALIGNMENT))
    return ir.IntOp("*", lines, ir.Int(_ALIGNMENT))


def _largest(totals: Sequence[ir.IntExpr]) -> int | str:
    """The greatest of the stages' needs: a number, or text over sizes."""
    result: ir.IntExpr = ir.Int(0)
    for total in totals:
        if isinstance(total, ir.Int) and isinstance(result, ir.Int):
            result = ir.Int(max(total.value, result.value))
        elif total != result and total != ir.Int(0):
            result = total if result == ir.Int(0) else ir.IntOp("max", result, total)
    return result.value if isinstance(result, ir.Int) else text_of(result)
