"""Texts to mapped CUDA kernels and through numba's simulator, for tests."""

from __future__ import annotations

import numpy as np

import comprehension as tc
from comprehension.jit.arguments import take_arguments
from comprehension.jit.cuda import lower_to_cuda
from comprehension.jit.cuda_simulator import BLOCKS, THREADS
from comprehension.jit.expression import evaluate
from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.size_text import text_of
from comprehension.lang.ranges import infer
from comprehension.machine import host
from comprehension.options import MappingOptions
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop
from comprehension.poly.transform.map_gpu import map_to_gpu, plain_loops

DEFAULT = MappingOptions()


def mapped_text(program, options=DEFAULT, math="fast"):
    """The Scop and the mapped kernel of a LoopProgram."""
    scop = build_scop(program)
    return scop, map_to_gpu(scop, plain_kernel(scop, options, math), options, math).kernel


def plain_kernel(scop, options=DEFAULT, math="fast"):
    """The kernel before it is mapped."""
    tree = schedule(scop, find_dependences(scop), machine=host(), options=plain_loops(options), math=math)
    return build_kernel(scop, tree, math)


def lowered(text, inputs, options=DEFAULT, math="fast"):
    """The CUDA kernel of the def `f` for these inputs, its arrays and its scalars."""
    comprehension = tc.define(text).f
    arguments = take_arguments(comprehension.definition, inputs)
    found = lower_to_cuda(infer(comprehension.definition, arguments.specs), options, math)
    assert found.certificate, found.certificate.text
    return found, *comprehension._split(arguments)


def simulated(simulator, text, inputs, out=None, options=DEFAULT, math="fast", limits=(THREADS, BLOCKS)):
    """The outputs, in the order of the returns; no larger blocks and grids than `limits`."""
    found, arrays, scalars = lowered(text, inputs, options, math)
    known = {name: value.item() for name, value in scalars.items()}
    outputs = [b.name for b in found.kernel.buffers if b.space is ir.Space.OUTPUT]
    for buffer in found.kernel.buffers:
        if buffer.space in (ir.Space.OUTPUT, ir.Space.WORKSPACE):
            shape = [evaluate(text_of(extent), known) for extent in buffer.shape]
            arrays[buffer.name] = np.zeros(shape, buffer.dtype.numpy)
    if out is not None:
        arrays[outputs[0]] = out.copy()
    after = simulator.run(found.generated, arrays, {}, scalars, threads=limits[0], blocks=limits[1])
    return [after[name] for name in outputs]


def reference(text, inputs, out=None):
    """What `f.reference` gives, always as a tuple."""
    found = tc.define(text).f.reference(*inputs, out=None if out is None else out.copy())
    return found if isinstance(found, tuple) else (found,)
