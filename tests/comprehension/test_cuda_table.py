"""The kernel table for CUDA: proved at its full sizes, and built for sm_80 and sm_90 without a GPU.

`make test-cuda-compile` writes benchmarks/results/cuda_compile.json: registers, spills and shared memory of each
kernel, and the versions of the tools that made them.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import comprehension as tc
from benchmarks.kernels.case import Draw
from benchmarks.kernels.cases import CASES
from comprehension.jit.cuda import lower_to_cuda
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "cuda_compile.json"
TABLE = {case.name: case for case in CASES}


class Shapes(Draw):
    """Draws arrays that have a shape and a type, and take no memory."""

    def normal(self, *shape):
        return np.broadcast_to(np.float32(1), shape)

    def integers(self, below, *shape):
        return np.broadcast_to(np.int32(0), shape)


def lowered(name):
    """(def, CUDA kernel) of each def of a case; what a def takes from the one before has the shape of its results."""
    case = TABLE[name]
    arrays = case.draw(Shapes(np.random.default_rng(0)))[0]
    specs = [Spec(array.shape, array.dtype) for array in arrays]
    for comprehension in tc.define(case.text):
        count = len(comprehension.definition.parameters)
        own = specs[:count]
        yield comprehension.name, lower_to_cuda(infer(comprehension.definition, tuple(own)))
        found = comprehension.infer(*own)
        specs += found if isinstance(found, tuple) else (found,)


@pytest.fixture(scope="module")
def rows():
    """What was built; written down once the whole table was."""
    found = {}
    yield found
    if len(found) == len(TABLE):
        from comprehension.jit.ptx import toolchain

        record = {"tools": toolchain(), "kernels": [row for name in TABLE for row in found[name]]}
        RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


@pytest.mark.cuda_compile
@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="needs the extra cuda: make test-cuda-compile"
)
@pytest.mark.parametrize("name", TABLE)
def test_the_table_is_proved_and_built_without_spills(name, rows):
    from comprehension.jit.ptx import compile_cuda

    made = []
    for function, found in lowered(name):
        assert found.certificate, found.certificate.text
        for capability in ((8, 0), (9, 0)):
            for built in compile_cuda(found.generated, capability):
                assert built.resources.registers > 0 and built.resources.spill_stores == 0, built.resources
                row = {"case": name, "def": function, "kernel": built.entry.name, "cubin_bytes": len(built.cubin)}
                row |= {"target": f"sm_{capability[0]}{capability[1]}", "threads": built.entry.threads}
                made.append(row | {"blocks": built.entry.blocks} | asdict(built.resources))
    rows[name] = made
