"""Sizes that are no affine functions of sizes: products, quotients by a size or a scalar parameter.

In: integer expressions over sizes and scalars, of a program (trees) or of a kernel (KernelIR).
Out: for each one that isl cannot compute, the name of the isl parameter that stands for its value.
Invariant: two expressions have one name only if they are equal for all sizes; names are no identifiers, so that they
never meet a size's own.

    0:(N + s - 1) / s    the bound is the parameter "((N + s) - 1) / s"
    0:M * N + 1          the bound is the parameter "M*N", plus 1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

from comprehension.kernel import ir
from comprehension.kernel.printer import index_text
from comprehension.kernel.simplify import simplify
from comprehension.lang import tree
from comprehension.lang.loops import LoopProgram
from comprehension.poly import isl
from comprehension.poly.functions import COMPARISONS, arithmetic, constant as constant_function
from comprehension.poly.monomials import Monomial, products_of, written


def parameters_of(program: LoopProgram) -> dict[str, ir.IntExpr]:
    """The parameters of a program's bounds, shapes and comparisons, by name."""
    bounds = [bound for s in program.statements for index in s.indices for bound in (index.lower, index.upper)]
    shapes = [size for tensor in program.tensors for size in tensor.shape]
    compared = [part for s in program.statements for expr in s.expressions for part in _comparisons_in(expr)]
    return parameters_in((*bounds, *shapes, *compared), program)


def parameters_in(exprs: Iterable[tree.Expr], program: LoopProgram) -> dict[str, ir.IntExpr]:
    """The same of some expressions."""
    known = {*program.sizes, *(s.name for s in program.scalars if s.dtype.is_integer)}
    found: dict[str, ir.IntExpr] = {}
    for expr in exprs:
        for part in _not_affine(expr, known):
            integer = integer_of(part)
            if integer is not None:
                products = (product for product in products_of(integer) if not _is_plain(product))
                found |= {name_of(product): written({product: 1}) for product in products}
    return dict(sorted(found.items()))


def _comparisons_in(expr: tree.Expr) -> Iterator[tree.Expr]:
    for part in tree.walk(expr):
        if isinstance(part, tree.Binary) and part.op in COMPARISONS and tree.is_integral(part.left):
            yield part


def _is_plain(product: Monomial) -> bool:
    """Whether isl can compute a product: a number, a name, or a quotient of those by a number."""
    match product:
        case () | (ir.Var(),):
            return True
        case (ir.IntOp(op=op, left=left, right=right),):
            if op in ("/", "%") and not (isinstance(right, ir.Int) and right.value > 0):
                return False
            return all(_is_plain(part) for side in (left, right) for part in products_of(side))
        case _:
            return False


def name_of(product: Monomial) -> str:
    """What a product of sizes, or a quotient of them, is called as one isl parameter.

    >>> m, n = ir.Var("M"), ir.Var("N")
    >>> [name_of(product) for product in products_of(ir.IntOp("*", ir.IntOp("-", n, ir.Int(1)), m))]
    ['M*N', 'M']
    >>> [name_of(product) for product in products_of(ir.IntOp("/", n, ir.IntOp("-", m, ir.Int(1))))]
    ['(N / (M - 1))']
    """
    return "*".join(index_text(factor) for factor in product)


def from_parameters(expr: ir.IntExpr, space: isl.Space, values: Mapping[str, isl.PwAff]) -> isl.PwAff | None:
    """An expression from the products and quotients in it that are parameters; None where one is not known.

    `values` are what isl can compute, by name, and the parameters.
    """
    total = constant_function(space, 0)
    for product, times in products_of(expr).items():
        value = values.get(name_of(product))
        if value is None:
            value = _from_its_arguments(product, space, values)
        if value is None:
            return None
        total = total.add(value.scale_val(isl.Val(times, value.get_ctx())))
    return total


def _from_its_arguments(product: Monomial, space: isl.Space, values: Mapping[str, isl.PwAff]) -> isl.PwAff | None:
    match product:
        case ():
            return constant_function(space, 1)
        case (ir.IntOp(op=op, left=left, right=right),):
            return arithmetic(op, from_parameters(left, space, values), from_parameters(right, space, values))
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
    return is_affine_operation(expr) and all(is_affine(part) for part in tree.children(expr))


def is_affine_operation(expr: tree.Expr) -> bool:
    """Whether isl can compute an expression if it can compute its parts."""
    match expr:
        case tree.Binary(op="*", left=left, right=right):
            return constant(left) is not None or constant(right) is not None
        case tree.Binary(op="/" | "%", right=right):
            return (constant(right) or 0) != 0
        case _:
            return True


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
            indivisible = (constant(right) or 0) == 0
        case _:
            indivisible = False
    if indivisible and tree.names_in(expr) <= known and integer_of(expr) is not None:
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
