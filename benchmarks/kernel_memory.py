"""Memory of the program while 10 000 kernels come and go: each loaded from one object file, called, dropped.

In: nothing.  Out: on standard output, resident memory after every thousand.  Exit status 1 where it grew.
Run: `make memory`.  Compilation is not measured: its memory is the compiler process's, which is recycled by size.
"""

from __future__ import annotations

import sys

import numpy as np

import comprehension as tc
from comprehension.jit.compiler import resident_bytes
from comprehension.jit.kernel import Kernel

KERNELS, ROUND = 10_000, 1_000
ALLOWED = 8 << 20  # bytes of growth after the first round: a fraction of a page for each kernel


def main() -> None:
    known = tc.define("def f(float(N) A) -> (B) { B(i) = exp(A(i)) }").f.compile(tc.Spec((64,), "float32"))
    a = np.zeros(64, np.float32)
    sizes = []
    for number in range(1, KERNELS + 1):
        Kernel(known.request, known._artifact, ("A",))(a)
        if number % ROUND == 0:
            sizes.append(resident_bytes())
            print(f"{number:>6} kernels: {sizes[-1] / 2**20:.1f} MiB", flush=True)
    sys.exit(sizes[-1] - sizes[0] > ALLOWED)


if __name__ == "__main__":
    main()
