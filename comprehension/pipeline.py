"""The pipeline: from a request to an artifact, inside the compiler process.

In: a `ComprehensionRequest`.  Out: named files: object, manifest, certificate, report, and a text per stage.
Invariant: `STAGES` is the order, as data; each result is printed as soon as it exists, so that a failing
compilation leaves everything up to the failure; a kernel that is not proved is never handed out.

With `COMPREHENSION_DUMP=folder` each text is written under `folder/<def>-<key>/` when its stage has run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from comprehension.config import config
from comprehension.errors import IllegalSchedule
from comprehension.explain import CERTIFICATE, REPORT, write_dump
from comprehension.jit.report import report_of
from comprehension.jit.request import ComprehensionRequest, Target, key_of
from comprehension.kernel.printer import to_text as kernel_text
from comprehension.lang.loop_printer import loops_text
from comprehension.options import MappingOptions
from comprehension.poly.certificate import BUDGET, TRIAL_BUDGET
from comprehension.poly.looptree.apply import follow
from comprehension.scheduling.steps import parse_steps
from comprehension.stages import (
    Compilation,
    Stage,
    assemble_cpu,
    assemble_cuda,
    build_loops,
    build_polyhedra,
    choose_schedule,
    dependences_text,
    describe_cpu,
    describe_cuda,
    draw,
    find_order,
    infer_ranges,
    join_loops,
    join_plans,
    joined_text,
    locality_text,
    map_to_threads,
    mapping_text,
    mind_caches,
    print_cpu,
    print_cuda,
    prove,
    regroup_reductions,
    scop_text,
    set_versions,
    split_tiles,
    unroll_loops,
    verify_loops,
)

LOOPS = "loops.json"
SOURCE = "70-kernel.py"
SCHEDULE = "40-schedule.txt"
KERNEL_IR = "50-kernel-ir.txt"

FRONT: tuple[Stage, ...] = (
    Stage("infer", infer_ranges, "10-loops.txt", lambda c: loops_text(c.program)),
    Stage("collapse", join_loops, "15-joined-loops.txt", joined_text),
    Stage("scop", build_polyhedra, "20-scop.txt", scop_text),
    Stage("dependences", find_order, "30-dependences.txt", dependences_text),
)
_SCHEDULE = Stage("schedule", choose_schedule, SCHEDULE, lambda c: f"{c.tree}\n")
_BUILD = Stage("build", build_loops, KERNEL_IR, lambda c: kernel_text(c.kernel))
_DIVIDE = Stage("divide", regroup_reductions, SCHEDULE, lambda c: f"{c.tree}\n")
_PLACE = Stage("locality", mind_caches, KERNEL_IR, lambda c: locality_text(c) + kernel_text(c.kernel))
# Before accesses are placed: what is loaded once a body is then known.
_UNROLL = Stage("unroll", unroll_loops)
# After they are placed: a ragged tile is no second sweep.
_SPLIT = Stage("edges", split_tiles, KERNEL_IR, lambda c: locality_text(c) + kernel_text(c.kernel))
# Before the proof, which reads the kernel as if it were well formed.
_VERIFY = Stage("verify", verify_loops)
# Of the final kernel: no pass may change it after its certificate.
_PROVE = Stage("certify", prove, "60-certificate.txt", lambda c: f"{c.certificate}\n")

# Run again with simpler options where the proof does not succeed.
MIDDLE: dict[Target, tuple[Stage, ...]] = {
    "cpu": (_SCHEDULE, _BUILD, _DIVIDE, _UNROLL, _PLACE, _SPLIT, _VERIFY, _PROVE),
    # Threads come after the loops are known to be well formed; loops are unrolled once it is known which of them
    # threads run.
    "cuda": (
        _SCHEDULE,
        _BUILD,
        _VERIFY,
        Stage("map", map_to_threads),
        Stage("unroll", unroll_loops, "55-mapped-ir.txt", lambda c: mapping_text(c) + kernel_text(c.kernel)),
        Stage("verify mapped", verify_loops),
        _PROVE,
    ),
}
_DRAW = Stage("draw", draw)
BACK: dict[Target, tuple[Stage, ...]] = {
    "cpu": (
        _DRAW,
        Stage("versions", set_versions),
        Stage("generate", print_cpu, SOURCE, lambda c: c.generated.text),
        Stage("describe", describe_cpu),
        Stage("compile", assemble_cpu),
    ),
    "cuda": (
        _DRAW,
        Stage("generate", print_cuda, SOURCE, lambda c: c.cuda.text),
        Stage("describe", describe_cuda),
        Stage("compile", assemble_cuda),
    ),
}
STAGES: dict[Target, tuple[Stage, ...]] = {target: (*FRONT, *MIDDLE[target], *BACK[target]) for target in BACK}


class NotProved(Exception):
    """No schedule, not even the plainest, has a certificate: the kernel is not handed out."""


def compile_comprehension(request: ComprehensionRequest) -> dict[str, bytes]:
    """Runs all stages.

    Raises ComprehensionError where the text or the options are at fault, NotProved where no schedule could be
    proved within its budget, any other exception where we are at fault.
    """
    compilation = Compilation(request, request.options, request.likely)
    _keep(compilation, "00-source.tc", request.text)
    _run(compilation, FRONT)
    given_up = _run_until_proved(compilation)
    if request.likely and request.target == "cpu" and request.steps is None:
        given_up = (*given_up, *_plan_for_others(compilation))
    _run(compilation, BACK[request.target])
    compilation.files[CERTIFICATE] = compilation.certificate.to_json().encode()
    report = report_of(compilation.program, request.machine, compilation.seconds)
    report = replace(report, resources=compilation.resources, fallbacks=(*given_up, *compilation.refused))
    compilation.files[REPORT] = report.to_json().encode()
    return compilation.files


def follow_schedule(request: ComprehensionRequest) -> dict[str, bytes]:
    """The loops that the text says, and those after each step of a user's schedule.

    Raises IllegalSchedule for a step that breaks a dependence, ComprehensionError for one that does not fit.
    """
    compilation = Compilation(request, request.options)
    _run(compilation, FRONT)
    steps = parse_steps(request.steps or "")
    found = follow(compilation.scop, compilation.dependences, steps, request.math)
    return {LOOPS: json.dumps([stage.text for stage in found]).encode()}


def _plan_for_others(compilation: Compilation) -> tuple[str, ...]:
    """A second plan, for typical sizes, beside that for the sizes at hand, where it is the better one there.

    Returns why there is none, where it cannot be proved.
    """
    other = Compilation(compilation.request, compilation.options, budget=TRIAL_BUDGET)
    refusal = ""
    try:
        _run(other, (*FRONT, *MIDDLE["cpu"]))
    except IllegalSchedule as refused:
        refusal = str(refused)
    for stage, seconds in other.seconds.items():
        compilation.seconds[stage] = round(compilation.seconds[stage] + seconds, 6)
    if refusal or not other.certificate:
        why = f"a plan for typical sizes: {refusal or _not_proved(other)}"
        return (why, *_plan_for_all(compilation)) if compilation.tree.assumed else (why,)
    join_plans(compilation, other)
    if compilation.choice is None:
        return ()
    likely = ", ".join(f"{name} = {size}" for name, size in compilation.likely)
    for file in (SCHEDULE, KERNEL_IR):
        texts = [each.files[file].decode() for each in (compilation, other)]
        heads = [
            f"Planned for sizes like {likely}",
            "Planned for typical sizes: runs where it should be faster",
        ]
        _keep(compilation, file, "\n".join(f"# {head}\n\n{text}" for head, text in zip(heads, texts, strict=True)))
    return ()


def _plan_for_all(compilation: Compilation) -> tuple[str, ...]:
    """The same without sizes to plan for, where the plan for these is for some sizes only."""
    compilation.likely = ()
    _run(compilation, FRONT)
    return _run_until_proved(compilation)


def _run_until_proved(compilation: Compilation) -> tuple[str, ...]:
    """Runs the middle with ever simpler options until the certificate holds; why each attempt before failed."""
    given_up: list[str] = []
    if compilation.request.steps is not None:
        _run(compilation, MIDDLE[compilation.request.target])
        if not compilation.certificate:
            examples = "; ".join(compilation.certificate.counterexamples[:3])
            raise IllegalSchedule(f"the schedule of {compilation.request.name!r} cannot be proved: {examples}")
        return ()
    attempts = list(_attempts(compilation.request.options))
    for options in attempts:
        compilation.options = options
        compilation.budget = BUDGET if options is attempts[-1] else TRIAL_BUDGET
        try:
            _run(compilation, MIDDLE[compilation.request.target])
        except IllegalSchedule as refused:  # it cannot be written as loops, or no mapping to threads can be proved
            given_up.append(str(refused))
            continue
        if compilation.certificate:
            return tuple(given_up)
        given_up.append(_not_proved(compilation))
    raise NotProved(given_up[-1])


def _not_proved(compilation: Compilation) -> str:
    failed = [name for name, holds in compilation.certificate.properties.items() if not holds]
    examples = "; ".join(compilation.certificate.counterexamples[:3])
    return f"{', '.join(failed)} not proved ({examples})"


def _attempts(options: MappingOptions) -> Iterator[MappingOptions]:
    """The options asked for, then the same without fusion, then plain loops."""
    yield options
    yield replace(options, fusion="min")
    yield replace(options, fusion="min", vectorize=False, tile=(), unroll=None)


def _run(compilation: Compilation, stages: Sequence[Stage]) -> None:
    for stage in stages:
        started = time.perf_counter()
        stage.run(compilation)
        seconds = time.perf_counter() - started
        compilation.seconds[stage.name] = round(compilation.seconds.get(stage.name, 0.0) + seconds, 6)
        if stage.file is not None and stage.show is not None:
            text = stage.show(compilation)
            if text:  # a stage that changed nothing has nothing to show
                _keep(compilation, stage.file, text)


def _keep(compilation: Compilation, file: str, text: str) -> None:
    compilation.files[file] = text.encode()
    if config.dump is not None:
        write_dump(config.dump, compilation.request.name, key_of(compilation.request), file, text)
