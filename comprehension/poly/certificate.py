"""The certificate: five properties (six on a GPU), proved on the final KernelIR against the Scop.

In: a Scop, a Kernel and the math mode.  Out: a `Certificate`.
Invariant: made from the kernel alone (instances, order and addresses are extracted again from the loops,
tiles, masks, copies and accumulators); what cannot be decided within the budget counts as not proved.

1. dependences: every read of a tensor sees the value that the program's order gives it.
2. instances: every statement instance runs exactly once and computes its statement; padding writes private
   buffers only.
3. bounds: every access is inside of its buffer, or a check at launch is named that makes it so.
4. parallel: units of a stage, and lanes of a tile, never meet in memory.
5. buffers: promoted and packed buffers hold what is read from them, and are written back in time.
6. barriers (kernels mapped to a GPU): threads that depend on each other meet in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

from comprehension.kernel import ir
from comprehension.kernel.certificate import Certificate
from comprehension.kernel.choice import join_choices
from comprehension.kernel.joined import join_edges
from comprehension.kernel.rewrite import nodes_of
from comprehension.poly import isl
from comprehension.poly.dependence import Dependences
from comprehension.poly.proof.accumulators import check_combinations, check_shapes
from comprehension.poly.proof.barriers import check_barriers
from comprehension.poly.proof.extract import Extraction, NotExtractable, extract
from comprehension.poly.proof.instances import check_addresses, check_bounds, check_instances
from comprehension.poly.proof.order import check_order
from comprehension.poly.proof.parallel import check_parallel
from comprehension.poly.proof.promotion import check_family, families
from comprehension.poly.proof.values import check_values
from comprehension.poly.proof.verdict import Finding, Guard, NotDecided, Property, Violation
from comprehension.poly.scop import Scop

Math = Literal["fast", "strict"]

BUDGET = 20_000_000
"""isl operations that one step of the proof may use."""


def certify(
    scop: Scop, dependences: Dependences | None, kernel: ir.Kernel, math: Math = "fast", *, budget: int = BUDGET
) -> Certificate:
    """Proves the five properties of `kernel`, or says where they fail.

    The order to keep is computed again from `scop`; `dependences` (what the scheduler used) is not trusted
    and not read.  `budget` bounds the isl operations of each step.
    """
    del dependences
    context = scop.context.get_ctx()
    live = tuple(s for s in scop.statements if not s.domain.intersect_params(scop.context).is_empty())
    scop = replace(scop, statements=live)
    findings: list[Finding] = []
    kernel = join_choices(join_edges(kernel))
    try:
        extraction = isl.bounded(context, budget, lambda: extract(kernel, scop.context))
    except (NotExtractable, isl.OutOfBudget) as error:
        return _certificate(kernel, [Violation(of, f"not proved: {error}") for of in _properties(kernel)])
    for of, step in _steps(scop, extraction, fast=math == "fast"):
        try:
            findings.extend(isl.bounded(context, budget, partial(_all, step)))
        except (NotDecided, isl.OutOfBudget) as error:
            findings.append(Violation(of, f"not proved: {error}"))
    return _certificate(kernel, findings)


def _steps(
    scop: Scop, extraction: Extraction, *, fast: bool
) -> Iterator[tuple[Property, Callable[[], Iterator[Finding]]]]:
    """The steps of the proof, with the property that fails where a step does not finish."""
    yield Property.INSTANCES, lambda: check_instances(scop, extraction)
    yield Property.INSTANCES, lambda: check_values(scop, extraction, fast=fast)
    yield Property.DEPENDENCES, lambda: check_addresses(scop, extraction)
    yield Property.DEPENDENCES, lambda: check_shapes(scop, extraction)
    yield Property.BUFFERS, lambda: check_combinations(extraction)
    yield Property.BOUNDS, lambda: check_bounds(scop, extraction)
    yield Property.PARALLEL, lambda: check_parallel(extraction)
    if Property.BARRIERS in _properties(extraction.kernel):
        yield Property.BARRIERS, lambda: check_barriers(extraction)
    groups = families(scop, extraction)
    promoted = {tensor for family in groups for tensor in family.tensors}
    direct = {t.name for t in scop.program.tensors} - promoted
    yield Property.DEPENDENCES, lambda: check_order(scop, extraction, direct, fast=fast)
    for family in groups:
        yield Property.BUFFERS, partial(check_family, scop, extraction, family, fast=fast)


def _properties(kernel: ir.Kernel) -> list[Property]:
    """Those that apply: barriers where loops are mapped to threads."""
    mapped = any(loop.mapping is not None for loop in nodes_of(kernel.stages, ir.Loop))
    return [of for of in Property if mapped or of is not Property.BARRIERS]


def _all(step: Callable[[], Iterator[Finding]]) -> list[Finding]:
    return list(step())


def _certificate(kernel: ir.Kernel, findings: list[Finding]) -> Certificate:
    violations = [f for f in findings if isinstance(f, Violation)]
    failed = {v.of for v in violations}
    guards = dict.fromkeys(f"{f.of.value}: {f.what}" for f in findings if isinstance(f, Guard))
    examples = dict.fromkeys(f"{v.of.value}: {v.what}" + (f", at {v.witness}" if v.witness else "") for v in violations)
    return Certificate({of.value: of not in failed for of in _properties(kernel)}, tuple(guards), tuple(examples))
