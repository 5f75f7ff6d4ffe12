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
from comprehension.poly.parameter_facts import with_facts
from comprehension.poly.parameters import parameters_of
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
"""isl operations that one proof may use, and `PER_STORE` more for each store: some seconds."""
TRIAL_BUDGET = 4_000_000
"""The same for a kernel beside which there is a simpler one."""
PER_STORE = 20_000


def certify(
    scop: Scop, dependences: Dependences | None, kernel: ir.Kernel, math: Math = "fast", *, budget: int = BUDGET
) -> Certificate:
    """Proves the five properties of `kernel`, or says where they fail.

    The order to keep is computed again from `scop`; `dependences` (what the scheduler used) is not trusted
    and not read.  `budget` bounds the isl operations of the proof, and of the next where that one fails: branches are
    looked at as choices within values first, then as they are, which is more work, but each is then alone.
    """
    del dependences
    branches = join_edges(kernel)
    choices = join_choices(branches)
    certificate = _certified(scop, choices, math, budget)
    if certificate or choices == branches:
        return certificate
    return _certified(scop, branches, math, budget) or certificate


def _certified(scop: Scop, kernel: ir.Kernel, math: Math, budget: int) -> Certificate:
    """What can be proved of this kernel, with what is known of the parameters where that is needed."""
    proof = _Proof(scop, kernel, fast=math == "fast")
    certificate = proof.run(budget)
    facts = parameters_of(scop.program)
    if facts and proof.finished and not certificate:
        scop = replace(scop, context=with_facts(scop.context, facts))
        certificate = _Proof(scop, kernel, fast=math == "fast").run(budget)
    return certificate


class _Proof:
    """All steps, for sizes in the scop's context; `pending` are the properties whose steps have not been taken."""

    def __init__(self, scop: Scop, kernel: ir.Kernel, *, fast: bool) -> None:
        live = tuple(s for s in scop.statements if not s.domain.intersect_params(scop.context).is_empty())
        self.scop, self.kernel, self.fast = replace(scop, statements=live), kernel, fast
        self.findings: list[Finding] = []
        self.pending = _properties(kernel)

    @property
    def finished(self) -> bool:
        return not self.pending

    def run(self, budget: int) -> Certificate:
        stores = sum(1 for _ in nodes_of(self.kernel.stages, ir.Store))
        try:
            isl.bounded(self.scop.context.get_ctx(), budget + PER_STORE * stores, self._take_steps)
        except (NotExtractable, isl.OutOfBudget) as error:
            self.findings += [Violation(of, f"not proved: {error}") for of in self.pending]
        return self._certificate()

    def _take_steps(self) -> None:
        steps = list(_steps(self.scop, extract(self.kernel, self.scop.context), fast=self.fast))
        for number, (of, step) in enumerate(steps, 1):
            try:
                self.findings.extend(step())
            except NotDecided as error:
                self.findings.append(Violation(of, f"not proved: {error}"))
            self.pending = [of for of, _ in steps[number:]]

    def _certificate(self) -> Certificate:
        violations = [f for f in self.findings if isinstance(f, Violation)]
        failed = {v.of for v in violations}
        guards = dict.fromkeys(f"{f.of.value}: {f.what}" for f in self.findings if isinstance(f, Guard))
        said = (f"{v.of.value}: {v.what}" + (f", at {v.witness}" if v.witness else "") for v in violations)
        properties = {of.value: of not in failed for of in _properties(self.kernel)}
        return Certificate(properties, tuple(guards), tuple(dict.fromkeys(said)))


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
