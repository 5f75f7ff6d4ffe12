"""What the proof says of kernels that were changed in one place: `refusals.txt`, or that they are proved.

`test_certificate.py` shows that what is accepted computes the same.  Here stands why the others are refused: a step of
the proof that finds nothing any more is seen even where another step still refuses the kernel.  What was meant to
change is written down by

    python tests/comprehension/test_refusals.py

and is then read in the diff.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import hand_written as hw
import pytest
from approved import WrittenDown
from kernel_mutations import mutants
from test_written_kernels import CASES as KERNELS, gpu, kernel_of, program_of

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.lang.loops import LoopProgram
from comprehension.poly.certificate import certify
from comprehension.poly.scop import build_scop

PLACE = re.compile(r"stage\d+: store to (\w+) in loops \([^)]*\)")
Made = tuple[LoopProgram, ir.Kernel]


def on_a_gpu(name: str, shapes: tuple[tuple[int, ...], ...], **options: Any) -> Made:
    case = gpu(name, shapes, **options)
    return program_of(case), kernel_of(case)[0]


def compiled(title: str) -> Made:
    case = KERNELS[title]
    return program_of(case), kernel_of(case)[0]


@dataclass(frozen=True, slots=True)
class Case:
    """A kernel, of whose changes every so manyth is looked at, beginning with number `first`."""

    make: Callable[[], Made]
    every: int = 1
    first: int = 0
    math: Literal["fast", "strict"] = "fast"


CASES = {
    "product": Case(lambda: hw.matmul_plain(4, 3, 5)),
    "product of any sizes": Case(lambda: hw.matmul_plain("M", "N", "K"), 2),
    "product in tiles": Case(lambda: hw.matmul_tiled(6, 11, 3), 2),
    "product in panels": Case(lambda: hw.matmul_packed(5, 7, 7, mb=4, mr=2, nr=4, kb=4), 41, 3),
    "softmax": Case(lambda: hw.softmax_rows(3, 5, lanes=4), 7),
    "softmax of any sizes": Case(lambda: hw.softmax_rows("M", "N", lanes=4), 61, 5),
    "softmax of nothing": Case(lambda: hw.softmax_rows(3, 0, lanes=4), 43, 2),
    "scan": Case(lambda: hw.scan_lanes(4, 11), 2),
    "scan of any sizes": Case(lambda: hw.scan_lanes("T", "D"), 9, 1),
    "stencil": Case(lambda: hw.stencil_stages(9)),
    "strict product": Case(lambda: hw.matmul_plain(4, 3, 5), 4, math="strict"),
    "strict scan": Case(lambda: hw.scan_lanes(4, 11), 7, math="strict"),
    "softmax on a GPU": Case(lambda: on_a_gpu("softmax", ((3, 5),), threads=(4,)), 7),
    "product on a GPU": Case(lambda: on_a_gpu("matmul", ((5, 3), (3, 6)), threads=(4, 2)), 7),
    "scatter": Case(lambda: compiled("scatter"), 3),
    "lookup": Case(lambda: compiled("lookup"), 4),
    "sums of two": Case(lambda: compiled("sums of two"), 9),
}


def changed(kernel: ir.Kernel) -> Iterator[tuple[str, ir.Kernel]]:
    """Those of `kernel_mutations`; loops that threads and blocks divide otherwise, barriers that are lost."""
    yield from mutants(kernel)
    loops = [loop for loop in nodes_of(kernel.stages, ir.Loop) if loop.mapping is not None]
    for loop in loops:
        for mapping in ("thread.y", "block.x", None):
            if mapping != loop.mapping:
                yield f"{loop.variable} on {mapping}", replaced(kernel, loop, replace(loop, mapping=mapping))
    for number, _ in enumerate(nodes_of(kernel.stages, ir.Barrier)):
        yield f"barrier {number} lost", without_barrier(kernel, number)


def replaced(kernel: ir.Kernel, loop: ir.Loop, new: ir.Loop) -> ir.Kernel:
    return rewrite(kernel, ir.Loop, lambda node: new if node == loop else node)


def without_barrier(kernel: ir.Kernel, number: int) -> ir.Kernel:
    counted = iter(range(100))

    def body(nodes: tuple[ir.Node, ...]) -> tuple[ir.Node, ...]:
        kept: list[ir.Node] = []
        for node in nodes:
            if isinstance(node, ir.Barrier) and next(counted) == number:
                continue
            kept.append(replace(node, body=body(node.body)) if isinstance(node, ir.Loop | ir.If) else node)
        return tuple(kept)

    return replace(kernel, stages=tuple(replace(stage, body=body(stage.body)) for stage in kernel.stages))


def written_for(case: Case) -> Iterator[str]:
    source, kernel = case.make()
    scop = build_scop(source)
    kernels = [("as it is", kernel), *list(changed(kernel))[case.first :: case.every]]
    for what, each in kernels:
        found = certify(scop, None, each, case.math)
        said = [*found.counterexamples, *found.guards]
        told = dict.fromkeys(PLACE.sub(r"\1", text.partition(", at ")[0]) for text in said)  # isl chooses the witness
        yield f"{what}: {'; '.join(told) or 'proved'}"


def lines_of(title: str) -> Iterator[str]:
    return written_for(CASES[title])


WRITTEN = WrittenDown("refusals", CASES, lines_of)


@pytest.mark.parametrize("title", CASES)
def test_refusals_are_those_that_are_written_down(title: str) -> None:
    WRITTEN.check(title)


@pytest.mark.parametrize("title", [title for title, case in KERNELS.items() if not case.gpu])
def test_kernels_that_are_written_down_are_proved(title: str) -> None:
    source, kernel = compiled(title)
    assert certify(build_scop(source), None, kernel, KERNELS[title].math)


def test_every_section_has_its_case() -> None:
    WRITTEN.check_titles()


def test_kernels_are_proved_as_they_are() -> None:
    for title, lines in WRITTEN.sections.items():
        proved = lines[0] == "as it is: proved" or lines[0].endswith("their values are checked at launch")
        assert proved is (title != "strict product"), title  # whose products and sums are one operation


if __name__ == "__main__":
    WRITTEN.write()
