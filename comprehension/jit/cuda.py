"""The middle of the pipeline for a GPU: from loops to mapped kernel, certificate and source.

In: a LoopProgram.  Out: `CudaKernel`, whose source `jit.ptx` compiles and `jit.cuda_simulator` runs.
Invariant: the certificate is that of the kernel that was printed; a mapping that cannot be proved is not made.
"""

from __future__ import annotations

from dataclasses import dataclass

from comprehension.codegen.cuda import GeneratedCuda, generate_cuda
from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.certificate import Certificate
from comprehension.kernel.unroll import unroll
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.loops import LoopProgram
from comprehension.machine import host
from comprehension.options import MappingOptions
from comprehension.poly.certificate import Math, certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop
from comprehension.poly.straighten import straighten
from comprehension.poly.transform.map_gpu import map_to_gpu, plain_loops

_NO_OPTIONS = MappingOptions()


@dataclass(frozen=True, slots=True)
class CudaKernel:
    """A kernel mapped to threads, its proof, and its source for numba.cuda."""

    kernel: ir.Kernel
    certificate: Certificate
    generated: GeneratedCuda


def lower_to_cuda(program: LoopProgram, options: MappingOptions = _NO_OPTIONS, math: Math = "fast") -> CudaKernel:
    """Schedules, maps, proves and prints.

    Raises IllegalSchedule where no mapping can be proved, CodegenError for what CUDA source cannot say.
    """
    scop = build_scop(straighten(program))
    tree = schedule(scop, find_dependences(scop), machine=host(), options=plain_loops(options), math=math)
    mapped = map_to_gpu(scop, build_kernel(scop, tree, math), options, math)
    kernel, certificate = unroll(mapped.kernel, options.unroll or 1), mapped.certificate
    verify_kernel(kernel)
    if kernel != mapped.kernel:
        certificate = certify(scop, None, kernel, math)
    return CudaKernel(kernel, certificate, generate_cuda(kernel, shared=options.shared))
