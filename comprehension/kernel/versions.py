"""Versions: stages, or whole kernels, of which a launch runs one, by its sizes.

In: proved Kernels.  Out: one whose stages say when they run, ready to be printed.
Invariant: for all sizes exactly one version of each stage runs, all stages of one launch are of one kernel, and every
version has been proved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeVar

from comprehension.jit.expression import evaluate
from comprehension.kernel import ir
from comprehension.kernel.choice import negated
from comprehension.kernel.effort import effort
from comprehension.kernel.rewrite import rewrite
from comprehension.kernel.simplify import simplify
from comprehension.kernel.size_text import text_of

GAIN = 1.25  # by how much a second kernel must be faster somewhere, for the time that it takes to compile
REACH = 4  # times the data that a kernel was planned for
SLACK = 4  # times the operations of the second kernel, where the first one is the better one for memory
Tree = TypeVar("Tree")
_SHARED = (ir.Space.INPUT, ir.Space.OUTPUT, ir.Space.WORKSPACE)


def separate(kernel: ir.Kernel) -> ir.Kernel:
    """A stage with a body for large sizes becomes two stages."""
    return replace(kernel, stages=tuple(part for stage in kernel.stages for part in _parts(stage)))


def _parts(stage: ir.Stage) -> tuple[ir.Stage, ...]:
    if stage.beyond is None:
        return (stage,)
    large, usual = stage.beyond.condition, negated(stage.beyond.condition)
    return (
        replace(stage, beyond=None, when=_both(stage.when, usual)),
        replace(
            stage,
            name=f"{stage.name}_large",
            body=stage.beyond.body,
            beyond=None,
            when=_both(stage.when, large),
            is_alternative=True,
        ),
    )


def _both(first: ir.Condition | None, second: ir.Condition) -> ir.Condition:
    return second if first is None else ir.BoolOp("and", first, second)


# --- kernels planned for different sizes ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """The kernel planned for sizes seen, one planned for others, and the condition on sizes for the first."""

    near: ir.Kernel
    far: ir.Kernel
    condition: ir.Condition


def choice_of(
    near: ir.Kernel,
    far: ir.Kernel,
    seen: Mapping[str, int],
    typical: Mapping[str, int],
    assumed: Sequence[tuple[str, int]] = (),
) -> Choice | None:
    """When to run which; None where the first one is as good as the second at the sizes of either.

    `assumed`: what sizes the first one is for at most.  Where there are such, it is the better one for memory, which
    `effort` does not count.

    The first runs where it takes no longer, up to `REACH` times the data that it was planned for: it may rely on data
    that stay in a cache.
    """
    if near.stages == far.stages:
        return None
    first, second = effort(near), effort(far)
    data, most = _bytes(near), REACH * _value(_bytes(near), seen)
    here, there = (_value(first, sizes) / max(1, _value(second, sizes)) for sizes in (seen, typical))
    faster: ir.Condition = ir.Compare("<=", first, second)
    if _relies_on_caches(near):
        faster = ir.BoolOp("and", ir.Compare("<=", data, ir.Int(most)), faster)
        there = max(there, _value(data, typical) / most)
    if assumed:
        condition: ir.Condition = ir.Compare("<=", first, simplify(ir.IntOp("*", ir.Int(SLACK), second)))
        for name, limit in assumed:
            condition = ir.BoolOp("and", ir.Compare("<=", ir.Var(name), ir.Int(limit)), condition)
        return Choice(near, far, condition)
    return Choice(near, far, faster) if max(here, there) >= GAIN else None


def _relies_on_caches(kernel: ir.Kernel) -> bool:
    """Whether it has register tiles of several rows: they read again what they have read, from as near as it stays."""
    return any(buffer.space is ir.Space.REGISTER and len(buffer.shape) > 1 for buffer in kernel.buffers)


def at_settled_sizes(kernel: ir.Kernel, sizes: Mapping[str, int]) -> ir.Kernel:
    """A kernel whose first plan has a version of each stage for exactly these of its sizes, and one for others."""
    if not sizes:
        return kernel
    exactly = _exactly(sizes)
    first = [stage for stage in kernel.stages if not stage.is_alternative]
    stages = [replace(stage, when=_both(stage.when, exactly), given=tuple(sizes.items())) for stage in first]
    others = [
        replace(stage, name=f"{stage.name}_open", when=_both(stage.when, negated(exactly)), is_alternative=True)
        for stage in first
    ]
    return replace(kernel, stages=(*stages, *others, *(stage for stage in kernel.stages if stage.is_alternative)))


def _exactly(sizes: Mapping[str, int]) -> ir.Condition:
    tests: list[ir.Condition] = [ir.Compare("==", ir.Var(name), ir.Int(size)) for name, size in sizes.items()]
    return reduce(lambda first, second: ir.BoolOp("and", first, second), tests)


def chosen_at_launch(choice: Choice) -> ir.Kernel:
    """One kernel with the stages of both; a launch runs those of one."""
    near, far = choice.near, _renamed(choice.far, {b.name for b in choice.near.buffers})
    known = {buffer.name for buffer in near.buffers}
    return replace(
        near,
        buffers=(*near.buffers, *(buffer for buffer in far.buffers if buffer.name not in known)),
        stages=(
            *(replace(stage, when=choice.condition) for stage in near.stages),
            *(
                replace(stage, name=f"{stage.name}_far", when=negated(choice.condition), is_alternative=True)
                for stage in far.stages
            ),
        ),
    )


def _renamed(kernel: ir.Kernel, taken: set[str]) -> ir.Kernel:
    """The kernel with other names for its own buffers."""
    names: dict[str, str] = {}
    for buffer in kernel.buffers:
        if buffer.space not in _SHARED:
            name = f"{buffer.name}_far"
            while name in taken:
                name += "_"
            names[buffer.name] = name

    def renamed(node: Tree) -> Tree:
        return replace(node, buffer=names.get(node.buffer, node.buffer))  # type: ignore[type-var,attr-defined]

    buffers = tuple(replace(buffer, name=names.get(buffer.name, buffer.name)) for buffer in kernel.buffers)
    return replace(kernel, buffers=buffers, stages=rewrite(kernel.stages, (ir.Load, ir.Store, ir.Ask), renamed))


def _bytes(kernel: ir.Kernel) -> ir.IntExpr:
    """Of the tensors that a launch is given."""
    given = [b for b in kernel.buffers if b.space in (ir.Space.INPUT, ir.Space.OUTPUT)]
    sizes = [_product([ir.Int(b.dtype.bits // 8), *b.shape]) for b in given]
    total: ir.IntExpr = ir.Int(0)
    for size in sizes:
        total = ir.IntOp("+", total, size)
    return simplify(total)


def _product(factors: Sequence[ir.IntExpr]) -> ir.IntExpr:
    return reduce(lambda first, second: ir.IntOp("*", first, second), factors)


def _value(expr: ir.IntExpr, sizes: Mapping[str, int]) -> int:
    return int(evaluate(text_of(expr), dict(sizes)))
