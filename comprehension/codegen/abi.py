"""In which order a stage finds its arguments: the part of a kernel's interface that both sides must agree on.

In: a Kernel.  Out: the names behind `buffers[i]` and `dims[i]`, and integer expressions as Python text.
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
    """What `dims` holds, in order: sizes, then the strides of each strided slot, in elements."""
    strides = [
        stride.name
        for buffer in kernel.buffers
        if buffer.space in _ARGUMENTS
        for stride in buffer.strides or ()
        if isinstance(stride, ir.Var)
    ]
    return (*kernel.sizes, *strides)


def size_text(expression: ir.IntExpr) -> str:
    """An expression over sizes and scalars as Python text: the manifest's form.

    >>> size_text(ir.IntOp("+", ir.IntOp("*", ir.Var("N"), ir.Int(2)), ir.Int(1)))
    '((N * 2) + 1)'
    """
    match expression:
        case ir.Int(value):
            return str(value)
        case ir.Var(name):
            return name
        case ir.IntOp("min" | "max" as op, left, right):
            return f"{op}({size_text(left)}, {size_text(right)})"
        case ir.IntOp(op, left, right):
            return f"({size_text(left)} {'//' if op == '/' else op} {size_text(right)})"
        case ir.IntSelect(condition, then, otherwise):
            return f"({size_text(then)} if {_condition_text(condition)} else {size_text(otherwise)})"
        case ir.FromValue():
            raise ValueError("a size cannot depend on the values of a tensor")


def _condition_text(condition: ir.Condition) -> str:
    match condition:
        case ir.Compare(op, left, right):
            return f"({size_text(left)} {op} {size_text(right)})"
        case ir.BoolOp(op, left, right):
            return f"({_condition_text(left)} {op} {_condition_text(right)})"
