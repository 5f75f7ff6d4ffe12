"""Following steps: each changes the loops and is proved before the next one.

In: a Scop, its dependences and steps.  Out: the schedule tree, and the loops as text before and after each step.
Invariant: what is returned is legal; a step that would break a dependence, or whose local buffers cannot be proved to
hold what is read from them, ends in IllegalSchedule and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from comprehension.errors import ComprehensionError, IllegalSchedule
from comprehension.kernel import ir
from comprehension.kernel.build import Math, build_kernel
from comprehension.kernel.verify import KernelError, verify_kernel
from comprehension.poly import isl
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import Dependences
from comprehension.poly.looptree import move, order, realise, split
from comprehension.poly.looptree.legality import check_legal
from comprehension.poly.looptree.lower import lower
from comprehension.poly.looptree.pseudo import pseudo_code
from comprehension.poly.looptree.tree import Loop, LoopTree, initial_tree
from comprehension.poly.schedule_tree import AccumulateMark, PromoteMark, ScheduleTree, StageMark, TileMark
from comprehension.poly.scop import Scop
from comprehension.scheduling import steps as data

BUDGET = 50_000_000  # isl operations of one step
MOST_DEPTH = 32  # loops around a statement
MOST_EXAMPLES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """The loops after a step (before the first: `step` is None)."""

    step: data.Step | None
    loops: LoopTree
    tree: ScheduleTree
    text: str


def follow(scop: Scop, dependences: Dependences, steps: Sequence[data.Step], math: Math = "fast") -> tuple[Stage, ...]:
    """The loops that the text says, and those after each step.

    Raises IllegalSchedule for a step that would break a dependence, ComprehensionError for one that does not
    fit the loops or exceeds its budget of isl operations.
    """
    context = scop.context.get_ctx()
    loops = initial_tree(scop)
    stages = [_stage(loops, dependences, None)]
    for step in steps:
        what = data.step_text(step)
        try:
            stage = isl.bounded(context, BUDGET, lambda: next_stage(loops, dependences, step, math))  # noqa: B023
        except isl.OutOfBudget as spent:
            raise ComprehensionError(f"schedule: {what} takes {spent}") from spent
        loops = stage.loops
        stages.append(stage)
    return tuple(stages)


def scheduled(scop: Scop, dependences: Dependences, steps: Sequence[data.Step], math: Math) -> ScheduleTree:
    """The schedule tree after all steps; its own steps tell the loops before and after each."""
    stages = follow(scop, dependences, steps, math)
    told = tuple(told_of(stage) for stage in stages)
    tree = stages[-1].tree
    return replace(tree, history=told)


def told_of(stage: Stage) -> str:
    head = "As written" if stage.step is None else data.step_text(stage.step)
    return f"{head}:\n{stage.text}"


def next_stage(loops: LoopTree, dependences: Dependences, step: data.Step, math: Math) -> Stage:
    """The loops after one more step.  Raises as `follow` does."""
    try:
        return _proved(loops.scop, change(loops, step), dependences, step, math)
    except IllegalSchedule:
        if not isinstance(step, data.Fuse):
            raise
        try:  # what stands between the loops may go before the fused one instead of after it
            return _proved(loops.scop, order.fuse(loops, step.loops, low=True), dependences, step, math)
        except IllegalSchedule:
            pass
        raise


def _proved(scop: Scop, changed: LoopTree, dependences: Dependences, step: data.Step, math: Math) -> Stage:
    what = data.step_text(step)
    _check_shape(changed, what)
    check_legal(changed, dependences, what, strict=math == "strict")
    stage = _stage(changed, dependences, step)
    decisions = stage.tree.decisions.values()
    if any(
        isinstance(d, PromoteMark | AccumulateMark | TileMark) or (isinstance(d, StageMark) and d.parallel)
        for d in decisions
    ):
        _check_realised(changed, stage.tree, what, math)
    return stage


def _stage(loops: LoopTree, dependences: Dependences, step: data.Step | None) -> Stage:
    tree = lower(loops, dependences)
    return Stage(step, loops, tree, pseudo_code(loops.scop, tree))


def change(loops: LoopTree, step: data.Step) -> LoopTree:
    """The loops after a step that nobody has proved yet.

    Raises ComprehensionError for a step that does not fit.
    """
    match step:
        case data.Split(loop, size):
            return split.split(loops, loop, size)
        case data.Tile(sizes):
            return split.tile(loops, sizes)
        case data.Reorder(names):
            return order.reorder(loops, names)
        case data.Fuse(names):
            return order.fuse(loops, names)
        case data.Distribute(loop):
            return order.distribute(loops, loop)
        case data.Shift(loop, by):
            return move.shift(loops, loop, by)
        case data.Reverse(loop):
            return move.reverse(loops, loop)
        case data.Skew(loop, along, by):
            return move.skew(loops, loop, along, by)
        case data.Unroll(loop, times):
            return realise.unroll(loops, loop, times)
        case data.Vectorize(sizes):
            return realise.vectorize(loops, sizes)
        case data.Parallelize(loop):
            return realise.parallelize(loops, loop)
        case data.Promote(tensor, at):
            return realise.promote(loops, tensor, at, packed=False)
        case data.Pack(tensor, at):
            return realise.promote(loops, tensor, at, packed=True)
        case _:
            assert_never(step)


def _check_shape(loops: LoopTree, what: str) -> None:
    for path, loop in loops.loops():
        if len(path) > MOST_DEPTH:
            raise ComprehensionError(f"schedule: {what}: more than {MOST_DEPTH} loops would stand in one another")
        if loop.parallel and len(path) > 1:
            raise ComprehensionError(f"schedule: {what}: {loop.label} runs in parallel and must stay outermost")


def _check_realised(loops: LoopTree, tree: ScheduleTree, what: str, math: Math) -> None:
    """Parallel loops are loops of the kernel; local buffers and accumulators have its certificate."""
    scop = loops.scop
    try:
        kernel = build_kernel(scop, tree, math)
        verify_kernel(kernel)
    except (ComprehensionError, KernelError) as error:
        raise ComprehensionError(f"schedule: {what}: the loops cannot be realised: {error}") from error
    if len(kernel.stages) == len(loops.nodes):
        for node, stage in zip(loops.nodes, kernel.stages, strict=True):
            several = sum(isinstance(part, ir.Loop) for part in stage.body) > 1
            if isinstance(node, Loop) and node.parallel and stage.parallel is None and several:
                raise ComprehensionError(
                    f"schedule: {what}: not all statements in {node.label} share its iterations: it becomes several"
                    f" loops, which cannot run in parallel; distribute({node.label!r})"
                )
    certificate = certify(scop, None, kernel, math)
    if not certificate:
        examples = "; ".join(certificate.counterexamples[:MOST_EXAMPLES])
        raise IllegalSchedule(f"{what} is illegal, or cannot be proved: {examples}")
