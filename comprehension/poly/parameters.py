"""Sizes that are no affine functions of sizes: products, quotients by a size or a scalar parameter.

In: integer expressions over sizes and scalars, of a program (trees) or of a kernel (KernelIR).
Out: for each one that isl cannot compute, the name of the isl parameter that stands for its value.
Invariant: two expressions have one name only if they are equal for all sizes; names are no identifiers, so that they
never meet a size's own.

    0:(N + s - 1) / s    the bound is the parameter "((N + s) - 1) / s"
    0:M * N + 1          the bound is the parameter "M*N", plus 1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from comprehension.kernel import ir
from comprehension.kernel.printer import index_text
from comprehension.kernel.simplify import simplify
from comprehension.lang import tree
from comprehension.lang.loops import LoopProgram


def parameters_of(program: LoopProgram) -> dict[str, ir.IntExpr]:
    """The parameters of a program's bounds and shapes, by name."""
    known = {*program.sizes, *(s.name for s in program.scalars if s.dtype.is_integer)}
    bounds = [bound for s in program.statements for index in s.indices for bound in (index.lower, index.upper)]
    shapes = [size for tensor in program.tensors for size in tensor.shape]
    found: dict[str, ir.IntExpr] = {}
    for expr in (*bounds, *shapes):
        for part in _not_affine(expr, known):
            integer = integer_of(part)
            if integer is not None:
                found[name_of(integer)] = simplify(integer)
    return dict(sorted(found.items()))


def name_of(expr: ir.IntExpr) -> str:
    """What an expression over sizes is called as one isl parameter.

    >>> m, n = ir.Var("M"), ir.Var("N")
    >>> name_of(ir.IntOp("*", n, m)), name_of(ir.IntOp("/", n, ir.IntOp("-", m, ir.Int(1))))
    ('M*N', '(N / (M - 1))')
    """
    factors = _factors(expr)
    return index_text(simplify(expr)) if factors is None else "*".join(sorted(factors))


def _factors(expr: ir.IntExpr) -> tuple[str, ...] | None:
    """The names of a product of variables, or None if it is anything else."""
    match expr:
        case ir.Var(name=name):
            return (name,)
        case ir.IntOp(op="*", left=left, right=right):
            first, second = _factors(left), _factors(right)
            return None if first is None or second is None else (*first, *second)
        case _:
            return None


def integer_of(expr: tree.Expr) -> ir.IntExpr | None:
    """A tree over sizes and scalars in KernelIR; None for a choice, a narrow cast and whatever reads memory."""
    match expr:
        case tree.Number(value=int() as value):
            return ir.Int(value)
        case tree.Name(id=name):
            return ir.Var(name)
        case tree.Unary(op="-", operand=operand):
            return _operation("-", ir.Int(0), integer_of(operand))
        case tree.Binary(op="+" | "-" | "*" | "/" | "%" as op, left=left, right=right):
            return _operation(op, integer_of(left), integer_of(right))
        case tree.Call(function="min" | "max" as op, arguments=(left, right)):
            return _operation(op, integer_of(left), integer_of(right))
        case tree.Cast(to=to, operand=operand) if to.is_integer and to.bits >= 32 and tree.is_integral(operand):
            return integer_of(operand)
        case _:
            return None


def _operation(op: str, left: ir.IntExpr | None, right: ir.IntExpr | None) -> ir.IntExpr | None:
    return None if left is None or right is None else ir.IntOp(op, left, right)  # type: ignore[arg-type]


def is_affine(expr: tree.Expr) -> bool:
    """Whether isl can compute an expression if it can compute its names: what `affine.function_of` takes apart."""
    match expr:
        case tree.Number() | tree.Name():
            return True
        case tree.Unary(operand=operand) | tree.Cast(operand=operand):
            return is_affine(operand)
        case tree.Binary(op="*", left=left, right=right):
            return (constant(left) is not None or constant(right) is not None) and is_affine(left) and is_affine(right)
        case tree.Binary(op="/" | "%", left=left, right=right):
            return (constant(right) or 0) > 0 and is_affine(left)
        case _:
            return all(is_affine(part) for part in tree.children(expr))


def constant(expr: tree.Expr) -> int | None:
    """The number that an expression is, whatever its names."""
    integer = integer_of(expr)
    form = None if integer is None else simplify(integer)
    return form.value if isinstance(form, ir.Int) else None


def _not_affine(expr: tree.Expr, known: Set[str]) -> Iterator[tree.Expr]:
    """The products and quotients over `known` names alone that isl cannot take apart, the largest of each kind."""
    if is_affine(expr):
        return
    match expr:
        case tree.Binary(op="*", left=left, right=right) if constant(left) is None and constant(right) is None:
            indivisible = True
        case tree.Binary(op="/" | "%", right=right):
            indivisible = (constant(right) or 0) <= 0
        case _:
            indivisible = False
    names = {part.id for part in tree.walk(expr) if isinstance(part, tree.Name)}
    if indivisible and names <= known and integer_of(expr) is not None:
        yield expr
        return
    for child in tree.children(expr):
        yield from _not_affine(child, known)


def never_negative(expr: ir.IntExpr, sizes: Iterable[str]) -> bool:
    """Whether an expression over sizes is plainly at least 0.

    >>> never_negative(ir.IntOp("/", ir.Var("N"), ir.Var("M")), ("M", "N"))
    True
    """
    match expr:
        case ir.Int(value=value):
            return value >= 0
        case ir.Var(name=name):
            return name in sizes
        case ir.IntOp(op="max", left=left, right=right):
            return never_negative(left, sizes) or never_negative(right, sizes)
        case ir.IntOp(op="-"):
            return False
        case ir.IntOp(left=left, right=right):
            return never_negative(left, sizes) and never_negative(right, sizes)
        case _:
            return False
