"""Integer expressions as sums of products: one normal form, however a text brackets them.

In: a KernelIR expression.  Out: the products of atoms in it with their multiples; the empty product is the constant.
Invariant: equal for all values of the names as long as no product has more than `MAX_TERMS` terms; expressions that
are equal as polynomials in their atoms (names, quotients, remainders, minima, maxima) have equal products.

    N * (M + 1) - M * N + 2 * 1      {(N,): 1, (): 2}
"""

from __future__ import annotations

from collections import Counter

from comprehension.kernel import ir
from comprehension.kernel.printer import index_text
from comprehension.kernel.simplify import simplify

MAX_TERMS = 64  # of a product that is multiplied out
Monomial = tuple[ir.IntExpr, ...]  # the factors, in the order of their texts


def products_of(expr: ir.IntExpr) -> dict[Monomial, int]:
    """The products that `expr` is the sum of, without those that cancel.

    >>> m, n = ir.Var("M"), ir.Var("N")
    >>> products_of(ir.IntOp("*", ir.IntOp("*", n, ir.Int(1)), m)) == {(m, n): 1}
    True
    """
    return {product: c for product, c in _products(expr).items() if c}


def _products(expr: ir.IntExpr) -> Counter[Monomial]:
    match expr:
        case ir.Int(value=value):
            return Counter({(): value})
        case ir.IntOp(op="+" | "-" as op, left=left, right=right):
            total = _products(left)
            for product, c in _products(right).items():
                total[product] += c if op == "+" else -c
            return total
        case ir.IntOp(op="*", left=left, right=right):
            first, second = products_of(left), products_of(right)
            if len(first) * len(second) > MAX_TERMS:
                return Counter({(simplify(expr),): 1})
            total = Counter()
            for a, c in first.items():
                for b, d in second.items():
                    total[tuple(sorted((*a, *b), key=index_text))] += c * d
            return total
        case ir.IntOp(op="/" | "%" | "min" | "max" as op, left=left, right=right):
            atom = simplify(ir.IntOp(op, written(products_of(left)), written(products_of(right))))
            is_atom = isinstance(atom, ir.IntOp) and atom.op in ("/", "%", "min", "max")
            return Counter({(atom,): 1}) if is_atom else _products(atom)
        case _:
            return Counter({(expr,): 1})


def written(products: dict[Monomial, int]) -> ir.IntExpr:
    """The sum written out."""
    total: ir.IntExpr = ir.Int(0)
    for product, c in sorted(products.items(), key=lambda term: [index_text(factor) for factor in term[0]]):
        part: ir.IntExpr = ir.Int(c)
        for factor in product:
            part = ir.IntOp("*", part, factor)
        total = ir.IntOp("+", total, part)
    return simplify(total)
