"""The language's arithmetic on integer functions of isl: what a statement's text and a kernel's IR both mean.

In: piecewise quasi-affine functions in one space; None for one that is not affine.
Out: functions and sets in the same space; None where an operand is None or the result is not affine.
Invariant: `/` floors and `%` matches it, by zero both give 0; what is returned equals the operation at every point.
"""

from __future__ import annotations

from comprehension.poly import isl

ARITHMETIC = ("+", "-", "*", "/", "%")
COMPARISONS = {"<": "lt_set", "<=": "le_set", ">": "gt_set", ">=": "ge_set", "==": "eq_set", "!=": "ne_set"}


def constant(space: isl.Space, value: int) -> isl.PwAff:
    """The function that is `value` everywhere in a set space (numbers beyond 64 bits are given to isl as text)."""
    zero = isl.Aff.zero_on_domain(isl.LocalSpace.from_space(space))
    return isl.PwAff.from_aff(zero.add_constant_val(isl.Val(str(value), space.get_ctx())))


def dimension(space: isl.Space, position: int, kind: isl.dim_type = isl.dim_type.set) -> isl.PwAff:
    """The function that is a dimension of a set space, or one of its parameters."""
    return isl.PwAff.from_aff(isl.Aff.var_on_domain(isl.LocalSpace.from_space(space), kind, position))


def arithmetic(op: str, left: isl.PwAff | None, right: isl.PwAff | None) -> isl.PwAff | None:
    """`left op right` for `+ - * / % min max`, or None: one factor must be constant, and a divisor too."""
    if left is None or right is None:
        return None
    match op:
        case "+":
            return left.add(right)
        case "-":
            return left.sub(right)
        case "min":
            return left.min(right)
        case "max":
            return left.max(right)
        case "*":
            linear = isl.constant_value(left) is not None or isl.constant_value(right) is not None
            return left.mul(right) if linear else None
    divisor = isl.constant_value(right)
    if divisor is None:
        return None
    if divisor == 0:
        return left.sub(left)
    if divisor < 0:  # a / -d is -a / d, and a % -d is -(-a % d)
        opposite = arithmetic(op, left.neg(), right.neg())
        return opposite if opposite is None or op == "/" else opposite.neg()
    value = isl.Val(divisor, left.get_ctx())
    return left.scale_down_val(value).floor() if op == "/" else left.mod_val(value)


def choice(condition: isl.Set | None, then: isl.PwAff | None, otherwise: isl.PwAff | None) -> isl.PwAff | None:
    """`then` where the condition holds, `otherwise` elsewhere."""
    if condition is None or then is None or otherwise is None:
        return None
    return then.intersect_domain(condition).union_add(otherwise.intersect_domain(condition.complement()))


def comparison(op: str, left: isl.PwAff | None, right: isl.PwAff | None) -> isl.Set | None:
    """The points at which `left op right` holds."""
    if left is None or right is None:
        return None
    result: isl.Set = getattr(left, COMPARISONS[op])(right)
    return result
