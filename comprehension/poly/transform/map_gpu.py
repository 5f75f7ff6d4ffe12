"""Mapping to a GPU: from loops to blocks and threads, with barriers, and the proof that it is right.

In: a Scop and its kernel of plain loops, the options.  Out: `Mapped`: the kernel that will be printed, its certificate,
and what was done.
Invariant: the certificate is that of the kernel returned.  Each step may go wrong only in the direction of a kernel
that cannot be proved; then fewer dimensions of threads are tried, down to one thread a block.

Order: loops are mapped first, because what is shared depends on which threads use it; elements are kept in registers
and loops unrolled before barriers are placed, because both change what is read and written when.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from comprehension.errors import IllegalSchedule
from comprehension.kernel import ir
from comprehension.kernel.certificate import Certificate
from comprehension.kernel.rewrite import nodes_of
from comprehension.options import MappingOptions
from comprehension.poly import isl
from comprehension.poly.certificate import BUDGET, Math, certify
from comprehension.poly.proof.extract import Extraction, NotExtractable, extract
from comprehension.poly.scop import Scop
from comprehension.poly.transform.gpu_barriers import with_barriers
from comprehension.poly.transform.gpu_loops import Shape, map_stage, threads_used
from comprehension.poly.transform.gpu_memory import place_local_buffers
from comprehension.poly.transform.names import Names
from comprehension.poly.transform.parallelism import Parallelism
from comprehension.poly.transform.registers import keep_in_registers

DEFAULT_THREADS = {1: (128,), 2: (32, 8)}
"""Threads of a block by the number of dimensions that a stage can use, where the options do not say."""


def plain_loops(options: MappingOptions) -> MappingOptions:
    """What the scheduler is asked for: loops in a good order, which are tiled and divided here."""
    return replace(options, vectorize=False, tile=None, threads=None, blocks=None)


@dataclass(frozen=True, slots=True)
class Mapped:
    """`steps` says of each stage what blocks and threads divide; `refused`, what could not be proved before that."""

    kernel: ir.Kernel
    certificate: Certificate
    steps: tuple[str, ...]
    refused: tuple[str, ...] = ()


def map_to_gpu(scop: Scop, kernel: ir.Kernel, options: MappingOptions, math: Math = "fast") -> Mapped:
    """The kernel with its stages mapped as far as can be proved.

    Raises IllegalSchedule if not even one thread a block can be proved, with the counterexample.
    """
    plain = _without_ranges(kernel)
    refused: list[str] = []
    for attempt in _attempts(options):
        try:
            mapped = _mapped(scop, plain, attempt)
        except (NotExtractable, isl.OutOfBudget) as reason:
            refused.append(f"{attempt.words}: {reason}")
            continue
        certificate = certify(scop, None, mapped, math)
        if certificate:
            return Mapped(mapped, certificate, tuple(_described(mapped)), tuple(refused))
        refused.append(f"{attempt.words}: {'; '.join(certificate.counterexamples[:2])}")
    raise IllegalSchedule(f"no mapping of {kernel.name} can be proved:\n" + "\n".join(refused))


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How to map; `dimensions` of threads at most."""

    options: MappingOptions
    dimensions: int
    registers: bool

    @property
    def words(self) -> str:
        return f"{self.dimensions} dimensions of threads{'' if self.registers else ', nothing in registers'}"

    def shape(self, threads: tuple[int, ...]) -> Shape:
        blocks = 3 if self.options.blocks is None else len(self.options.blocks)
        return Shape(threads[: self.dimensions], self.options.tile or (), blocks)


def _attempts(options: MappingOptions) -> Iterator[_Attempt]:
    most = 2 if options.threads is None else len(options.threads)
    if options.private:
        yield _Attempt(options, most, True)
    for dimensions in range(most, -1, -1):
        yield _Attempt(options, dimensions, False)


def _mapped(scop: Scop, plain: ir.Kernel, attempt: _Attempt) -> ir.Kernel:
    extraction = _extracted(plain, scop)
    names = Names.of(plain)
    context = scop.context.get_ctx()
    stages = tuple(
        isl.bounded(context, BUDGET, lambda n=n, s=s: _stage(extraction, n, s, attempt, names))  # type: ignore[misc]
        for n, s in enumerate(plain.stages)
    )
    kernel = place_local_buffers(replace(plain, stages=stages))
    if attempt.registers:
        kernel = keep_in_registers(kernel, names)
    after = _extracted(kernel, scop)
    return isl.bounded(context, BUDGET, lambda: with_barriers(kernel, after))


def _stage(extraction: Extraction, number: int, stage: ir.Stage, attempt: _Attempt, names: Names) -> ir.Stage:
    parallelism = Parallelism(extraction, number)
    wanted = attempt.options.threads
    threads = wanted or DEFAULT_THREADS[2]
    mapped = map_stage(stage, parallelism, attempt.shape(threads), names)
    if wanted is None and threads_used(mapped) == 1:
        threads = DEFAULT_THREADS[1]
        mapped = map_stage(stage, parallelism, attempt.shape(threads), names)
    return replace(mapped, threads=threads, blocks=attempt.options.blocks or ())


def _extracted(kernel: ir.Kernel, scop: Scop) -> Extraction:
    return isl.bounded(scop.context.get_ctx(), BUDGET, lambda: extract(kernel, scop.context))


def _without_ranges(kernel: ir.Kernel) -> ir.Kernel:
    """Each stage's range as a loop like the others."""
    stages = []
    for stage in kernel.stages:
        if stage.parallel is not None:
            stage = replace(stage, parallel=None, body=(replace(stage.parallel, body=stage.body),), grain=1)
        stages.append(stage)
    return replace(kernel, stages=tuple(stages))


def _described(kernel: ir.Kernel) -> Iterator[str]:
    for stage in kernel.stages:
        divided = [f"{loop.variable} on {loop.mapping}" for loop in nodes_of(stage, ir.Loop) if loop.mapping]
        barriers = sum(1 for _ in nodes_of(stage, ir.Barrier))
        shared = _listed(b.name for b in kernel.buffers if b.space is ir.Space.SHARED and _touches(stage, b.name))
        yield (
            f"{stage.name}: {', '.join(divided) or 'one thread'}"
            + (f"; barriers: {barriers}" if barriers else "")
            + (f"; shared by a block: {shared}" if shared else "")
        )


def _listed(names: Iterator[str]) -> str:
    return ", ".join(names)


def _touches(stage: ir.Stage, buffer: str) -> bool:
    accesses: Sequence[ir.Load | ir.Store] = [*nodes_of(stage, ir.Load), *nodes_of(stage, ir.Store)]
    return any(access.buffer == buffer for access in accesses)
