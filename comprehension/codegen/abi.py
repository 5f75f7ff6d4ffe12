"""In which order a stage finds its arguments: the part of a kernel's interface that both sides must agree on.

In: a Kernel.  Out: the names behind `buffers[i]` and `dims[i]`.
Invariant: depends on the kernel alone; `jit.manifest` describes the same order to the program.
"""

from __future__ import annotations

from comprehension.kernel import ir

_ARGUMENTS = (ir.Space.INPUT, ir.Space.OUTPUT, ir.Space.WORKSPACE)


def slot_names(kernel: ir.Kernel) -> tuple[str, ...]:
    """What `buffers` points to, in order: tensors and workspaces as in `kernel.buffers`, then scalars.

    One more pointer follows: the error record (8 int64).
    """
    tensors = [b.name for b in kernel.buffers if b.space in _ARGUMENTS]
    return (*tensors, *(name for name, _ in kernel.scalars))


def dim_names(kernel: ir.Kernel) -> tuple[str, ...]:
    """What `dims` holds, in order: sizes, then the strides that only the call knows, in elements."""
    strides = [
        stride.name
        for buffer in kernel.buffers
        if buffer.space in _ARGUMENTS
        for axis, stride in enumerate(buffer.strides or ())
        if isinstance(stride, ir.Var) and stride == ir.stride_variable(buffer.name, axis)
    ]
    return (*kernel.sizes, *strides)
