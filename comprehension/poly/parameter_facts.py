"""What is known of sizes that are no affine functions of sizes, as affine conditions on their isl parameters.

In: the parameters that stand for products and quotients (`poly.parameters`).
Out: the set of values that they can have together with the sizes.
Invariant: whatever the sizes are, their values are in it.  It does not say all: how large a product of numbers from 3
on is at least, but not which one it is.  Each fact is a choice of several conditions, which multiplies the pieces of
every set that it is intersected with: the certificate asks where it fails without, and preconditions for sizes alone.

    M*N    M = 0 and M*N = 0, or N = 1 and M*N = M, or M, N >= 2 and M*N >= 2M + 2N - 4, ...
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.affine import AffineSpace
from comprehension.poly.monomials import products_of, written
from comprehension.poly.parameters import from_parameters

FACTS = {  # of x = a op b
    "*": """{ [x, a, b] : x = 0 and (a = 0 or b = 0)
        or x = b and a = 1 or x = a and b = 1 or x = -b and a = -1 or x = -a and b = -1
        or x >= 2a + 2b - 4 and a >= 2 and b >= 2 or x >= -2a - 2b - 4 and a <= -2 and b <= -2
        or x <= 2b - 2a + 4 and a >= 2 and b <= -2 or x <= 2a - 2b + 4 and a <= -2 and b >= 2 }""",
    "/": """{ [x, a, b] : x = 0 and (b = 0 or 0 <= a < b or b < a <= 0) or x = a and b = 1 or x = -a and b = -1
        or 1 <= x and (2x <= a - b + 2 and 2 <= b <= a or 2x <= b - a + 2 and a <= b <= -2)
        or x <= -1 and (a <= x and b >= 2 or x >= -a and b <= -2) }""",
    "%": """{ [x, a, b] : x = 0 and b = 0 or x = a and (0 <= a < b or b < a <= 0)
        or 0 <= x < b and (a < 0 or x <= a - b) or b < x <= 0 and (a > 0 or x >= a - b) }""",
}


def with_facts(context: isl.Set, parameters: Mapping[str, ir.IntExpr]) -> isl.Set:
    """`context`, of parameters alone, as far as each one in `parameters` is what it stands for."""
    where = AffineSpace.of(isl.named_set_space(context.get_ctx(), isl.parameter_names(context), "", ()))
    for name, expr in parameters.items():
        (product,) = products_of(expr)
        match product:
            case (ir.IntOp(left=left, right=right) as operation,) if operation.op in FACTS:
                op = operation.op
            case (left, *others) if others:
                op, right = "*", written({tuple(others): 1})
            case _:
                continue
        operands = [from_parameters(part, where.space, where.values) for part in (left, right)]
        values = [isl.Map.from_pw_aff(value) for value in (where.values[name], *operands) if value is not None]
        if len(values) == 3:
            points = reduce(isl.Map.flat_range_product, values)
            facts = isl.Set(FACTS[op], context.get_ctx())
            context = context.intersect(points.intersect_range(facts).domain().params())
    return context
