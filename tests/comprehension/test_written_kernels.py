"""Kernels as they are written: `kernels.txt`, the loops of small texts for a small processor and for a GPU.

Other tests say that kernels are right, and would say so of one that copies twice, waits at a barrier too many or keeps
nothing in registers.  What was meant to change is written down by

    python tests/comprehension/test_written_kernels.py

and is then read in the diff.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from approved import WrittenDown
from test_poly_kernels import AVX512
from texts import TEXTS

from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.printer import to_text
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram, Role
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec
from comprehension.options import PRESETS, MappingOptions
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop
from comprehension.poly.transform.map_gpu import map_to_gpu, plain_loops

SMALL = replace(AVX512, vector_bits=128, vector_registers=16, l1_bytes=1 << 10, l2_bytes=4 << 10, l3_bytes=64 << 10)
PLAIN = MappingOptions()


@dataclass(frozen=True, slots=True)
class Case:
    """A text of `TEXTS`, at its sizes, at others, or at any; for the small processor, or with options for a GPU."""

    name: str
    shapes: tuple[tuple[int, ...], ...] | None = ()
    math: Literal["fast", "strict"] = "fast"
    options: MappingOptions = PLAIN
    gpu: bool = False


def gpu(name: str, shapes: tuple[tuple[int, ...], ...] | None = (), **options: object) -> Case:
    return Case(name, shapes, options=MappingOptions(**options), gpu=True)  # type: ignore[arg-type]


CASES = {
    "product": Case("matmul", ((26, 40), (40, 18))),
    "product of rows": Case("matmul_t", ((26, 40), (18, 40))),
    "product of any sizes": Case("matmul", None),
    "product in tiles": Case("matmul", ((26, 40), (40, 18)), options=MappingOptions(tile=(8, 8))),
    "products": Case("batched", ((4, 10, 12), (4, 12, 9))),
    "layer": Case("mlp", ((12, 20), (16, 20), (16,))),
    "softmax": Case("softmax", ((40, 9),)),
    "softmax in strict order": Case("softmax", ((3, 10),), "strict"),
    "softmax of any sizes": Case("softmax", None),
    "convolution": Case("conv", ((2, 4, 9, 10), (8, 4, 3, 3))),
    "attention": Case("attention", ((12, 8),) * 3),
    "transpose": Case("transpose", ((7, 10),)),
    "column sums": Case("column_sum", ((5, 19),)),
    "total": Case("total", ((3, 19),)),
    "lookup": Case("lookup", ((7, 10), (4, 3))),
    "scatter": Case("scatter"),
    "scan": Case("scan", ((4, 10),)),
    "triangle": Case("triangle"),
    "sums of two": Case("two_sums", None),
    "let": Case("let", ((10,),)),
    "scan of any sizes": Case("scan", None),
    "attention of any sizes": Case("attention", None),
    "layer norm": Case("layer_norm", ((6, 10),)),
    "moments": Case("moments", ((6, 10),)),
    "wavenet": Case("wavenet"),
    "pooled": Case("pooled"),
    "prefix": Case("prefix"),
    "integers": Case("integers"),
    "product of columns in doubles": Case("product", ((9, 5),)),
    "strided": Case("strided"),
    "in place": Case("in_place", None),
    "diagonal": Case("diagonal"),
    "statements apart": Case("softmax", ((4, 10),), options=MappingOptions(fusion="min")),
    "statements together": Case("wavenet", options=MappingOptions(fusion="max")),
    "no vectors": Case("softmax", ((4, 10),), options=MappingOptions(vectorize=False)),
    "sixteen lanes": Case("relu", ((100,),), options=MappingOptions(vectorize=16, unroll=2)),
    "no workers": Case("outer", options=MappingOptions(parallel=False)),
    "tiles of two loops": Case("outer", ((20,), (50,)), options=MappingOptions(tile=(7, 10))),
    "tiles of one row": Case("outer", ((20,), (50,)), options=MappingOptions(tile=(1, 10))),
    "tiles as long as loops": Case("outer", ((20,), (50,)), options=MappingOptions(tile=(20, 50))),
    "lanes asked for": Case("softmax", ((40, 9),), options=MappingOptions(vectorize=True)),
    "four lanes": Case("softmax", ((40, 9),), options=MappingOptions(vectorize=4)),
    "one lane": Case("relu", options=MappingOptions(vectorize=1)),
    "tiles of the second loop": Case("outer", ((20,), (50,)), options=MappingOptions(tile=(0, 10))),
    "product on a GPU": gpu("matmul", tile=(4, 8, 4), threads=(8, 2)),
    "product of any sizes on a GPU": gpu("matmul", None, threads=(8, 4), blocks=(2,)),
    "product by the first preset": Case("matmul", options=PRESETS["naive"], gpu=True),
    "products on three dimensions": gpu("batched", threads=(4, 2, 2), blocks=(2, 2, 2)),
    "softmax on a GPU": gpu("softmax", threads=(4,)),
    "softmax on two dimensions": gpu("softmax", threads=(4, 2), tile=(2,)),
    "softmax with nothing of its own": gpu("softmax", threads=(4,), private=False),
    "softmax with nothing shared": gpu("softmax", threads=(4,), shared=False),
    "layer on a GPU": gpu("mlp", tile=(2, 1), threads=(4, 2)),
    "scan on a GPU": gpu("scan", threads=(8,)),
    "scan of any sizes on a GPU": gpu("scan", None, threads=(8,)),
    "prefix of any sizes on a GPU": gpu("prefix", None, threads=(8,)),
    "stencil of any sizes on a GPU": gpu("stencil", None, threads=(8,), fusion="max"),
    "pooled on a GPU": gpu("pooled", threads=(4, 4), tile=(2, 2)),
    "layer norm on a GPU": gpu("layer_norm", threads=(4,), tile=(2,)),
    "convolution on a GPU": gpu("conv", tile=(1, 2), threads=(4, 2, 2), blocks=(2, 2)),
    "attention of any sizes on a GPU": gpu("attention", None, threads=(4,), fusion="max"),
    "total on a GPU": gpu("total"),
    "column sums on a GPU": gpu("column_sum", threads=(16,), tile=(1,)),
    "stencil on a GPU": gpu("stencil", threads=(8,), tile=(16,)),
    "stencil fused": gpu("stencil", threads=(8,), fusion="max"),
    "in place on a GPU": gpu("in_place", threads=(4,)),
    "prefix on a GPU": gpu("prefix", threads=(4,)),
    "sums of two on a GPU": gpu("two_sums", threads=(2,)),
    "moments on a GPU": gpu("moments", threads=(4,)),
    "attention on a GPU": gpu("attention", threads=(4, 4)),
    "scatter on a GPU": gpu("scatter", threads=(4,)),
    "lookup on a GPU": gpu("lookup", threads=(4, 2)),
    "triangle on a GPU": gpu("triangle", threads=(4,)),
    "filters on a GPU": gpu("filters", threads=(4, 2), blocks=(3, 3)),
    "unrolled on a GPU": gpu("wavenet", threads=(4,), unroll=2),
}


def program_of(case: Case) -> LoopProgram:
    text, shapes = TEXTS[case.name]
    definition = load(text)["f"]
    if case.shapes is None:
        return infer(definition, None, "symbolic")
    inputs = [tensor for tensor in definition.tensors if tensor.role is Role.INPUT]
    given: Sequence[tuple[int, ...]] = case.shapes or shapes  # type: ignore[assignment]  # shapes of several ranks
    specs = [Spec(shape, tensor.dtype) for shape, tensor in zip(given, inputs, strict=True)]
    return infer(definition, specs)


def kernel_of(case: Case) -> tuple[ir.Kernel, tuple[str, ...]]:
    """The kernel, and what is said of how it was made."""
    scop = build_scop(program_of(case))
    options = plain_loops(case.options) if case.gpu else case.options
    tree = schedule(scop, find_dependences(scop), machine=SMALL, options=options, math=case.math)
    kernel = build_kernel(scop, tree, case.math)
    if not case.gpu:
        return kernel, tree.steps
    mapped = map_to_gpu(scop, kernel, case.options, case.math)
    return mapped.kernel, (*tree.steps, *mapped.steps, *mapped.refused)


def written_for(case: Case) -> Iterator[str]:
    kernel, steps = kernel_of(case)
    yield from steps
    yield from to_text(kernel).splitlines()


def lines_of(name: str) -> Iterator[str]:
    return written_for(CASES[name])


WRITTEN = WrittenDown("kernels", CASES, lines_of)


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_those_that_are_written_down(name: str) -> None:
    WRITTEN.check(name)


def test_every_section_has_its_case() -> None:
    WRITTEN.check_titles()


if __name__ == "__main__":
    WRITTEN.write()
