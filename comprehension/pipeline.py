"""The pipeline: from a request to an artifact, inside the compiler process.

In: a `ComprehensionRequest`.  Out: named files: object, manifest, certificate, report, and a text per stage.
Invariant: `STAGES` is the order, as data; after each stage its result is verified where it has a verifier and
printed where it has a printer, so that a failing compilation leaves everything up to the failure.

With `COMPREHENSION_DUMP=folder` each text is written as soon as it exists, under `folder/<def>-<key>/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from comprehension.codegen.cpu import GeneratedSource, generate
from comprehension.config import config
from comprehension.explain import write_dump
from comprehension.jit.describe import manifest_of
from comprehension.jit.emit import STAGE_SIGNATURE, emit_object
from comprehension.jit.expression import text_of_tree
from comprehension.jit.report import report_of
from comprehension.jit.request import ComprehensionRequest, key_of
from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.certificate import Certificate
from comprehension.kernel.printer import to_text as kernel_text
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.check import check
from comprehension.lang.loops import LoopProgram
from comprehension.lang.parser import parse
from comprehension.lang.ranges import infer
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import Dependences, find_dependences
from comprehension.poly.schedule_tree import ScheduleTree
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import Scop, build_scop

OBJECT = "kernel.o"
MANIFEST = "manifest.json"
CERTIFICATE = "certificate.json"
REPORT = "report.json"
SOURCE = "70-kernel.py"
SCHEDULE = "40-schedule.txt"

T = TypeVar("T")


@dataclass(slots=True)
class Compilation:
    """What is known of one kernel so far: each stage sets one field."""

    request: ComprehensionRequest
    seconds: dict[str, float] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    _program: LoopProgram | None = None
    _scop: Scop | None = None
    _dependences: Dependences | None = None
    _tree: ScheduleTree | None = None
    _kernel: ir.Kernel | None = None
    _certificate: Certificate | None = None
    _generated: GeneratedSource | None = None

    @property
    def program(self) -> LoopProgram:
        return _made(self._program)

    @property
    def scop(self) -> Scop:
        return _made(self._scop)

    @property
    def dependences(self) -> Dependences:
        return _made(self._dependences)

    @property
    def tree(self) -> ScheduleTree:
        return _made(self._tree)

    @property
    def kernel(self) -> ir.Kernel:
        return _made(self._kernel)

    @property
    def certificate(self) -> Certificate:
        return _made(self._certificate)

    @property
    def generated(self) -> GeneratedSource:
        return _made(self._generated)


def _made(value: T | None) -> T:
    if value is None:
        raise AssertionError("a stage of the pipeline ran before the one that it builds on")
    return value


@dataclass(frozen=True, slots=True)
class Stage:
    """One pass: `run` sets its result, `show` prints it into `file`."""

    name: str
    run: Callable[[Compilation], None]
    file: str | None = None
    show: Callable[[Compilation], str] | None = None


# --- the stages ---------------------------------------------------------------------------------------------


def _infer(c: Compilation) -> None:
    program = parse(c.request.text)
    definition = check(program, c.request.text)[c.request.name]
    c._program = infer(definition, c.request.specs, c.request.sizes)


def _build_scop(c: Compilation) -> None:
    c._scop = build_scop(c.program)


def _find_dependences(c: Compilation) -> None:
    c._dependences = find_dependences(c.scop)


def _schedule(c: Compilation) -> None:
    r = c.request
    c._tree = schedule(c.scop, c.dependences, machine=r.machine, options=r.options, math=r.math)


def _build(c: Compilation) -> None:
    c._kernel = build_kernel(c.scop, c.tree, c.request.math)


def _verify(c: Compilation) -> None:
    verify_kernel(c.kernel)


def _certify(c: Compilation) -> None:
    c._certificate = certify(c.scop, c.dependences, c.kernel, c.request.math)


def _generate(c: Compilation) -> None:
    c._generated = generate(c.kernel, c.request.machine, checked=c.request.checked)


def _describe(c: Compilation) -> None:
    g = c.generated
    manifest = manifest_of(c.kernel, c.program, c.request.target, g.entries, g.scratch_bytes, g.errors)
    c.files[MANIFEST] = manifest.to_json().encode()


def _compile(c: Compilation) -> None:
    g = c.generated
    c.files[OBJECT] = emit_object(c.request.name, g.text, dict.fromkeys(g.entries, STAGE_SIGNATURE), c.request.machine)


# --- what each stage made, as text ----------------------------------------------------------------------------


def _loops_text(c: Compilation) -> str:
    lines: list[str] = []
    for tensor in c.program.tensors:
        shape = ", ".join(text_of_tree(extent) for extent in tensor.shape)
        lines.append(f"{tensor.role.value:<12}{tensor.dtype} {tensor.name}({shape})")
    for statement in c.program.statements:
        lines.append(f"\n{statement.name}: writes {statement.target}")
        for index in statement.indices:
            because = f"    # {index.because}" if index.because else ""
            lines.append(f"    {index.name} in {text_of_tree(index.lower)}:{text_of_tree(index.upper)}{because}")
    lines += [f"\nat launch: {p.message}" for p in c.program.preconditions]
    return "\n".join(lines) + "\n"


def _scop_text(c: Compilation) -> str:
    lines: list[str] = []
    for statement in c.scop.statements:
        lines.append(f"{statement.name} ({statement.role.value}): {statement.domain}")
        for access in statement.accesses:
            kind = "writes" if access.is_write else "reads"
            lines.append(f"    {kind} {access.relation}" + ("" if access.exact else "    (over-approximated)"))
    return "\n".join(lines) + "\n"


def _dependences_text(c: Compilation) -> str:
    return "".join(
        f"{edge.kind} {edge.source} -> {edge.sink} through {edge.tensor}"
        f"{' (reduction)' if edge.is_reduction else ''}: {edge.relation}\n"
        for edge in c.dependences.edges
    )


STAGES: tuple[Stage, ...] = (
    Stage("infer", _infer, "10-loops.txt", _loops_text),
    Stage("scop", _build_scop, "20-scop.txt", _scop_text),
    Stage("dependences", _find_dependences, "30-dependences.txt", _dependences_text),
    Stage("schedule", _schedule, SCHEDULE, lambda c: f"{c.tree}\n"),
    Stage("build", _build, "50-kernel-ir.txt", lambda c: kernel_text(c.kernel)),
    # Before the proof, which reads the kernel as if it were well formed.
    Stage("verify", _verify),
    # Of the final kernel: no pass may change it after its certificate.
    Stage("certify", _certify, "60-certificate.txt", lambda c: f"{c.certificate}\n"),
    Stage("generate", _generate, SOURCE, lambda c: c.generated.text),
    Stage("describe", _describe),
    Stage("compile", _compile),
)


def compile_comprehension(request: ComprehensionRequest) -> dict[str, bytes]:
    """Runs all stages.

    Raises ComprehensionError where the text or the options are at fault, any other exception where we are.
    """
    compilation = Compilation(request)
    _keep(compilation, "00-source.tc", request.text)
    for stage in STAGES:
        started = time.perf_counter()
        stage.run(compilation)
        compilation.seconds[stage.name] = round(time.perf_counter() - started, 6)
        if stage.file is not None and stage.show is not None:
            _keep(compilation, stage.file, stage.show(compilation))
    compilation.files[CERTIFICATE] = compilation.certificate.to_json().encode()
    report = report_of(compilation.program, request.machine, compilation.seconds)
    compilation.files[REPORT] = report.to_json().encode()
    return compilation.files


def _keep(compilation: Compilation, file: str, text: str) -> None:
    compilation.files[file] = text.encode()
    if config.dump is not None:
        write_dump(config.dump, compilation.request.name, key_of(compilation.request), file, text)
