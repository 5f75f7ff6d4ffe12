"""The passes of the pipeline and what each of them prints.

In: a `Compilation` that holds what the passes before have made.  Out: the same, with one more field.
Invariant: a pass sets exactly one thing and reads only what an earlier one set; the order is `pipeline.STAGES`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from comprehension.codegen.cpu import GeneratedSource, generate
from comprehension.codegen.cuda import GeneratedCuda, generate_cuda
from comprehension.explain import MANIFEST, PORTRAIT
from comprehension.jit.describe import manifest_of
from comprehension.jit.emit import emit_kernel
from comprehension.jit.ptx import compile_cuda
from comprehension.jit.report import Resources
from comprehension.jit.request import ComprehensionRequest
from comprehension.kernel import ir
from comprehension.kernel.boxes import ask_for_boxes
from comprehension.kernel.build import build_kernel
from comprehension.kernel.certificate import Certificate, joined
from comprehension.kernel.destinations import ask_for_destinations
from comprehension.kernel.divide import divide_reductions
from comprehension.kernel.edges import split_edges
from comprehension.kernel.interleave import interleave_steps
from comprehension.kernel.large_sizes import place_at_launch
from comprehension.kernel.locality import place_accesses
from comprehension.kernel.lookups import ask_for_rows
from comprehension.kernel.strands import ask_for_strands
from comprehension.kernel.unroll import unroll
from comprehension.kernel.verify import verify_kernel
from comprehension.kernel.versions import Choice, at_settled_sizes, choice_of, chosen_at_launch, separate
from comprehension.kernel.windows import fold_windows
from comprehension.lang.check import check
from comprehension.lang.collapse import axis_as_written, collapse
from comprehension.lang.loop_printer import loops_text
from comprehension.lang.loops import LoopProgram
from comprehension.lang.parser import parse
from comprehension.lang.ranges import infer
from comprehension.options import MappingOptions
from comprehension.poly.certificate import BUDGET, certify
from comprehension.poly.dependence import Dependences, find_dependences
from comprehension.poly.looptree.apply import scheduled
from comprehension.poly.portrait import portrait_of
from comprehension.poly.schedule_tree import ScheduleTree
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import Scop, build_scop
from comprehension.poly.straighten import straighten
from comprehension.poly.transform.map_gpu import map_to_gpu, plain_loops
from comprehension.poly.typical import settled_sizes, typical_sizes
from comprehension.scheduling.steps import parse_steps

OBJECT = "kernel.o"
CUDA_ENTRIES = "cuda-entries.json"

T = TypeVar("T")


@dataclass(slots=True)
class Compilation:
    """What is known of one kernel so far: each stage sets one field."""

    request: ComprehensionRequest
    options: MappingOptions  # of this attempt: the request's, or simpler ones
    likely: tuple[tuple[str, int], ...] = ()  # sizes to plan for
    budget: int = BUDGET  # of the proof
    seconds: dict[str, float] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    _program: LoopProgram | None = None
    _loops: LoopProgram | None = None
    _scop: Scop | None = None
    _dependences: Dependences | None = None
    _tree: ScheduleTree | None = None
    _kernel: ir.Kernel | None = None
    _certificate: Certificate | None = None
    _generated: GeneratedSource | None = None
    _cuda: GeneratedCuda | None = None
    resources: dict[str, Resources] = field(default_factory=dict)
    locality: tuple[str, ...] = ()
    mapping: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # mappings that could not be proved
    proved: ir.Kernel | None = None  # what the mapping's certificate is of
    choice: Choice | None = None  # between this kernel and one planned for other sizes

    @property
    def program(self) -> LoopProgram:
        return _made(self._program)

    @property
    def loops(self) -> LoopProgram:
        """What is compiled: the program with fewer loops."""
        return _made(self._loops)

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

    @property
    def cuda(self) -> GeneratedCuda:
        return _made(self._cuda)


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


def infer_ranges(c: Compilation) -> None:
    """Text to loops: parsed, checked, ranges inferred, bounds made affine."""
    program = parse(c.request.text)
    definition = check(program, c.request.text)[c.request.name]
    found = infer(definition, c.request.specs, c.request.sizes)
    c._program = replace(straighten(found.with_layouts(c.request.layouts)), likely=c.likely)


def join_loops(c: Compilation) -> None:
    """Loops that always walk neighbouring axes together become one; tiles that a user asks for name them as written."""
    plain = c.request.target == "cpu" and not c.options.tile and c.request.steps is None
    c._loops = collapse(c.program) if plain else c.program


def build_polyhedra(c: Compilation) -> None:
    """Loops to domains and accesses."""
    c._scop = build_scop(c.loops)


def find_order(c: Compilation) -> None:
    """What every schedule must keep."""
    c._dependences = find_dependences(c.scop)


def choose_schedule(c: Compilation) -> None:
    """The schedule tree under the options of this attempt; for a GPU plain loops, which are divided later."""
    r = c.request
    if r.steps is not None:
        c._tree = scheduled(c.scop, c.dependences, parse_steps(r.steps), r.math)
        return
    options = plain_loops(c.options) if r.target == "cuda" else c.options
    c._tree = schedule(c.scop, c.dependences, machine=r.machine, options=options, math=r.math)


def build_loops(c: Compilation) -> None:
    """Schedule tree to KernelIR."""
    c._kernel = build_kernel(c.scop, c.tree, c.request.math)


def mind_caches(c: Compilation) -> None:
    """Which accesses go past the caches or are asked for ahead."""
    if c.kernel.sizes:
        sizes, general = typical_sizes(c.program), typical_sizes(replace(c.program, likely=()))
        placed = place_at_launch(c.kernel, c.request.machine, sizes, general)
        placed = ask_for_boxes(placed, c.request.machine, sizes)
    else:
        placed = place_accesses(c.kernel, c.request.machine)
        for ask in (ask_for_strands, ask_for_boxes, ask_for_rows, ask_for_destinations):
            placed = ask(placed, c.request.machine)
    c._kernel, c.locality = placed.kernel, placed.notes


def regroup_reductions(c: Compilation) -> None:
    """Reductions whose order is free: long ones in blocks, and in chunks that workers share; extrema of sliding windows
    from those of smaller ones; several steps in a vector where lanes are few.
    """
    if c.request.math == "fast":
        divided = divide_reductions(c.kernel, typical_sizes(c.program))
        folded = fold_windows(divided.kernel)
        woven = interleave_steps(folded.kernel, c.request.machine)
        c._kernel = woven.kernel
        c._tree = replace(c.tree, steps=(*c.tree.steps, *divided.notes, *folded.notes, *woven.notes))


def split_tiles(c: Compilation) -> None:
    """Tiles that are whole apart from those at an edge."""
    c._kernel = split_edges(c.kernel)


def unroll_loops(c: Compilation) -> None:
    """Innermost loops repeat their bodies, as the options say."""
    c._kernel = unroll(c.kernel, c.options.unroll or 1)


def verify_loops(c: Compilation) -> None:
    """KernelIR is well formed, or an exception says where not."""
    verify_kernel(c.kernel)


def prove(c: Compilation) -> None:
    """The certificate of the kernel as it stands: that of its mapping, where nothing has changed since."""
    if c.proved != c.kernel:
        c._certificate = certify(c.scop, c.dependences, c.kernel, c.request.math, budget=c.budget)


def join_plans(c: Compilation, other: Compilation) -> None:
    """The choice between two plans at launch, where the other one is the better for typical sizes; both are proved."""
    seen, typical = (typical_sizes(each.program) for each in (c, other))
    c.choice = choice_of(c.kernel, other.kernel, seen, typical, c.tree.assumed)
    if c.choice is not None:
        c._certificate = joined([c.certificate, other.certificate])


def draw(c: Compilation) -> None:
    """What pictures of the kernel show, as data."""
    c.files[PORTRAIT] = portrait_of(c.scop, c.dependences, c.tree).to_json().encode()


def set_versions(c: Compilation) -> None:
    """Stages of which a launch runs one: all of them are proved."""
    found = c.kernel if c.choice is None else chosen_at_launch(c.choice)
    c._kernel = separate(at_settled_sizes(found, settled_sizes(c.program)))


def print_cpu(c: Compilation) -> None:
    """KernelIR to Python for numba."""
    c._generated = generate(c.kernel, c.request.machine, checked=c.request.checked)


def describe_cpu(c: Compilation) -> None:
    """What a launch must know."""
    g = c.generated
    errors = g.errors
    if c.loops is not c.program:
        errors = tuple(replace(e, axis=axis_as_written(c.program, e.tensor, e.axis)) for e in errors)
    manifest = manifest_of(c.kernel, c.program, c.request.target, g.entries, g.scratch_bytes, errors)
    c.files[MANIFEST] = manifest.to_json().encode()


def assemble_cpu(c: Compilation) -> None:
    """Python to the object file."""
    c.files[OBJECT] = emit_kernel(c.request.name, c.generated.text, c.request.machine)


def map_to_threads(c: Compilation) -> None:
    """Loops to blocks and threads, as far as can be proved."""
    mapped = map_to_gpu(c.scop, c.kernel, c.options, c.request.math)
    c._kernel, c._certificate, c.proved = mapped.kernel, mapped.certificate, mapped.kernel
    c.mapping, c.refused = mapped.steps, mapped.refused


def print_cuda(c: Compilation) -> None:
    """KernelIR to Python for numba.cuda."""
    c._cuda = generate_cuda(c.kernel, checked=c.request.checked, shared=c.options.shared)


def describe_cuda(c: Compilation) -> None:
    """What a launch must know: the manifest, and each kernel's own parameters and threads."""
    names = [entry.name for entry in c.cuda.entries]
    c.files[MANIFEST] = manifest_of(c.kernel, c.program, "cuda", names, 0, c.cuda.errors).to_json().encode()
    c.files[CUDA_ENTRIES] = json.dumps([asdict(entry) for entry in c.cuda.entries], indent=1).encode()


def assemble_cuda(c: Compilation) -> None:
    """Python to PTX and machine code, where NVIDIA's wheels (the extra `cuda`) are installed.

    Without them the kernel has its source and its certificate, and says so when it is called.
    """
    if importlib.util.find_spec("numba_cuda") is None:
        return
    for number, made in enumerate(compile_cuda(c.cuda)):
        c.files[f"kernel{number}.ptx"] = made.ptx.encode()
        c.files[f"kernel{number}.cubin"] = made.cubin
        c.resources[made.entry.name] = asdict(made.resources)


# --- what each stage made, as text ----------------------------------------------------------------------------


def joined_text(c: Compilation) -> str:
    return "" if c.loops is c.program else loops_text(c.loops)


def scop_text(c: Compilation) -> str:
    lines: list[str] = []
    for statement in c.scop.statements:
        lines.append(f"{statement.name} ({statement.role.value}): {statement.domain}")
        for access in statement.accesses:
            kind = "writes" if access.is_write else "reads"
            lines.append(f"    {kind} {access.relation}" + ("" if access.exact else "    (over-approximated)"))
    return "\n".join(lines) + "\n"


def mapping_text(c: Compilation) -> str:
    return "".join(f"{step}\n" for step in (*c.refused, *c.mapping)) + "\n"


def locality_text(c: Compilation) -> str:
    return "".join(f"{note}\n" for note in c.locality) + "\n"


def dependences_text(c: Compilation) -> str:
    return "".join(
        f"{edge.kind} {edge.source} -> {edge.sink} through {edge.tensor}"
        f"{' (reduction)' if edge.is_reduction else ''}: {edge.relation}\n"
        for edge in c.dependences.edges
    )
