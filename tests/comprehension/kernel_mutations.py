"""Small changes to KernelIR, each of which a compiler could make by mistake."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of, rewrite

_OTHER_OP = {"+": "-", "*": "+", "max": "min", "min": "max", "-": "+", "/": "*"}


def mutants(kernel):
    """All (description, kernel) with one change."""
    for number, stage in enumerate(kernel.stages):
        for what, changed in [*_variants(stage), *_parallelised(stage)]:
            stages = (*kernel.stages[:number], changed, *kernel.stages[number + 1 :])
            yield f"{stage.name}: {what}", replace(kernel, stages=stages)
    for number in range(1, len(kernel.stages)):
        swapped = (*kernel.stages[: number - 1], kernel.stages[number], kernel.stages[number - 1])
        yield f"stage {number} too early", replace(kernel, stages=(*swapped, *kernel.stages[number + 1 :]))
    for one in kernel.buffers:
        for other in kernel.buffers:
            if one is not other and one.shape == other.shape and one.dtype is other.dtype:
                yield from _confused(kernel, one.name, other.name)


def _confused(kernel, one, other):
    """Another buffer of the same shape is read, or written."""
    for kind in (ir.Load, ir.Store):
        nodes = [n for n in nodes_of(kernel.stages, kind) if n.buffer == one]
        for node in nodes:
            stages = rewrite(kernel.stages, kind, lambda n, node=node: replace(n, buffer=other) if n == node else n)
            yield f"{kind.__name__.lower()} of {one} becomes {other}", replace(kernel, stages=stages)


def _variants(node):
    """The node with one change in it or below it."""
    yield from _local(node)
    if isinstance(node, tuple):
        for position, part in enumerate(node):
            for what, changed in _variants(part):
                yield what, (*node[:position], changed, *node[position + 1 :])
    elif is_dataclass(node):
        for field in fields(node):
            if field.name in ("buffers", "dtype"):
                continue
            for what, changed in _variants(getattr(node, field.name)):
                yield what, replace(node, **{field.name: changed})


def _shifted(expr, by):
    return ir.IntOp("+", expr, ir.Int(by))


def _local(node):
    match node:
        case ir.Loop():
            yield f"lower bound of {node.variable} + 1", replace(node, lower=_shifted(node.lower, 1))
            yield f"upper bound of {node.variable} + 1", replace(node, upper=_shifted(node.upper, 1))
            yield f"upper bound of {node.variable} - 1", replace(node, upper=_shifted(node.upper, -1))
            yield f"step of {node.variable} + 1", replace(node, step=node.step + 1)
            yield f"{node.variable} runs once", replace(node, upper=_shifted(node.lower, 1))
        case ir.If():
            yield "condition dropped", ir.If(ir.Compare("==", ir.Int(0), ir.Int(0)), node.body)
        case ir.Compare():
            other = {"<": "<=", "<=": "<", "==": "!=", "!=": "=="}[node.op]
            yield f"{node.op} becomes {other}", replace(node, op=other)
        case ir.Tile():
            if node.rows is not None and node.rows.extent == node.lanes.extent:
                yield "rows and lanes swapped", replace(node, rows=node.lanes, lanes=node.rows)
        case ir.Axis():
            yield f"start of {node.variable} + 1", replace(node, start=_shifted(node.start, 1))
            yield f"extent of {node.variable} - 1", replace(node, extent=node.extent - 1)
            yield f"extent of {node.variable} + 1", replace(node, extent=node.extent + 1)
            if node.limit is not None:
                yield f"limit of {node.variable} dropped", replace(node, limit=None)
                yield f"limit of {node.variable} + 1", replace(node, limit=_shifted(node.limit, 1))
                yield f"limit of {node.variable} - 1", replace(node, limit=_shifted(node.limit, -1))
        case ir.Store():
            yield from _stores(node)
        case ir.Load():
            yield from _subscripts(node, f"load of {node.buffer}")
            if node.access is not None:
                yield f"access {node.access} + 1", replace(node, access=node.access + 1)
        case ir.BinaryOp():
            if node.op in _OTHER_OP:
                yield f"{node.op} becomes {_OTHER_OP[node.op]}", replace(node, op=_OTHER_OP[node.op])
        case ir.Fold():
            yield f"fold {node.op} becomes {_OTHER_OP[node.op]}", replace(node, op=_OTHER_OP[node.op])
            yield "fold dropped", node.value
        case tuple() if node and isinstance(node[0], ir.Define | ir.Store | ir.Loop | ir.If | ir.Tile):
            yield from _bodies(node)


def _stores(node):
    yield from _subscripts(node, f"store to {node.buffer}")
    if node.instance is not None:
        for axis, at in enumerate(node.instance.point):
            point = (*node.instance.point[:axis], _shifted(at, 1), *node.instance.point[axis + 1 :])
            instance = replace(node.instance, point=point)
            yield f"instance {node.instance.statement} axis {axis} + 1", replace(node, instance=instance)
        yield "no instance", replace(node, instance=None)
    if node.role is ir.StoreRole.COPY:
        doubled = ir.BinaryOp("+", node.value, node.value, node.value.dtype)
        yield f"copy of {node.buffer} doubles", replace(node, value=doubled)
    if node.role is ir.StoreRole.COMBINE:
        yield f"combine of {node.buffer} as a copy", replace(node, role=ir.StoreRole.COPY)
    if node.role is ir.StoreRole.FILL:
        yield f"fill of {node.buffer} with 7", replace(node, value=replace(node.value, value=7.0))


def _subscripts(node, what):
    for axis, subscript in enumerate(node.subscripts):
        for by in (1, -1):
            shifted = (*node.subscripts[:axis], _shifted(subscript, by), *node.subscripts[axis + 1 :])
            yield f"{what} axis {axis} {by:+d}", replace(node, subscripts=shifted)


def _bodies(body):
    for position, node in enumerate(body):
        rest = (*body[:position], *body[position + 1 :])
        if rest:
            yield f"{_name(node)} dropped", rest
        yield f"{_name(node)} doubled", (*body[: position + 1], *body[position:])
        if isinstance(node, ir.Loop) and node.body:
            yield f"{_name(node.body[0])} before its loop", (*body[:position], node.body[0], *body[position:])
            hoisted = replace(node, body=node.body[1:])
            if hoisted.body:
                moved = (*body[:position], node.body[0], hoisted, *body[position + 1 :])
                yield f"{_name(node.body[0])} hoisted", moved
        if position:
            swapped = (*body[: position - 1], node, body[position - 1], *body[position + 1 :])
            yield f"{_name(body[position - 1])} and {_name(node)} swapped", swapped


def _parallelised(stage):
    """Another loop as the stage's range: the loops around it become part of the unit."""
    if len(stage.body) == 1 and isinstance(inner := stage.body[0], ir.Loop) and stage.parallel is not None:
        outer = replace(stage.parallel, body=inner.body)
        yield f"parallel over {inner.variable}", replace(stage, parallel=replace(inner, body=()), body=(outer,))
    if stage.parallel is not None:
        for position, node in enumerate(stage.body):
            if isinstance(node, ir.Loop) and len(stage.body) == 1:
                everything = replace(stage.parallel, body=stage.body)
                yield f"serial {node.variable} at {position}", replace(stage, parallel=None, body=(everything,))


def _name(node):
    match node:
        case ir.Store():
            return f"{node.role.value} of {node.buffer}"
        case ir.Loop(variable=variable):
            return f"loop {variable}"
        case ir.Tile():
            return "tile of " + ", ".join(_name(n) for n in node.body)
        case _:
            return type(node).__name__.lower()
