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
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.loops import LoopProgram
from comprehension.options import MappingOptions
from comprehension.poly.certificate import Math, certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop
from comprehension.poly.transform.map_gpu import WARP, map_to_gpu

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
    scop = build_scop(program)
    tree = schedule(scop, find_dependences(scop), machine=WARP, options=options, math=math)
    kernel = map_to_gpu(scop, build_kernel(scop, tree, math), math)
    verify_kernel(kernel)
    return CudaKernel(kernel, certify(scop, None, kernel, math), generate_cuda(kernel))
