"""isl's AST of a schedule, and its expressions as KernelIR integers.

In: a ScheduleTree.  Out: the root of isl's AST; `IntExpr` and `Condition` for AST expressions.
Invariant: the loop over schedule dimension i, if there is one, has the i-th of the names given; isl makes none for a
dimension that those before it determine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from comprehension.kernel.ir import BoolOp, Compare, Condition, Int, IntExpr, IntOp, IntSelect, Var
from comprehension.poly import isl
from comprehension.poly.schedule_tree import ScheduleTree

MAX_DEPTH = 64


def iterator_names(taken: Collection[str]) -> tuple[str, ...]:
    """What the loops over the schedule dimensions are called, by depth: no name that is `taken`.

    >>> iterator_names(["N"])[:2], iterator_names(["c1"])[:2]
    (('c0', 'c1'), ('c_0', 'c_1'))
    """
    prefix = free_prefix("c", taken)
    return tuple(f"{prefix}{depth}" for depth in range(MAX_DEPTH))


def free_prefix(wish: str, taken: Collection[str]) -> str:
    """`wish`, lengthened until no taken name is the prefix and a number."""
    while any(name.startswith(wish) and name[len(wish) :].isdigit() for name in taken):
        wish += "_"
    return wish


def generate_ast(tree: ScheduleTree, context: isl.Set, iterators: Sequence[str]) -> isl.AstNode:
    """isl's AST of the schedule for sizes in `context`; loops are named by depth."""
    isl_context = context.get_ctx()
    build = isl.AstBuild.from_context(context)
    names = isl.IdList.alloc(isl_context, MAX_DEPTH)
    for name in iterators:
        names = names.add(isl.Id(name, context=isl_context))
    return build.set_iterators(names).node_from_schedule(tree.schedule)


_ARITHMETIC = {
    isl.ast_expr_op_type.add: "+",
    isl.ast_expr_op_type.sub: "-",
    isl.ast_expr_op_type.mul: "*",
    isl.ast_expr_op_type.div: "/",
    isl.ast_expr_op_type.fdiv_q: "/",
    isl.ast_expr_op_type.pdiv_q: "/",
    isl.ast_expr_op_type.pdiv_r: "%",
    isl.ast_expr_op_type.zdiv_r: "%",
    isl.ast_expr_op_type.min: "min",
    isl.ast_expr_op_type.max: "max",
}
_COMPARISON = {
    isl.ast_expr_op_type.eq: "==",
    isl.ast_expr_op_type.le: "<=",
    isl.ast_expr_op_type.lt: "<",
}
_SWAPPED = {isl.ast_expr_op_type.ge: "<=", isl.ast_expr_op_type.gt: "<"}
_AND = (isl.ast_expr_op_type.and_, isl.ast_expr_op_type.and_then)
_OR = (isl.ast_expr_op_type.or_, isl.ast_expr_op_type.or_else)


def int_expr(expr: isl.AstExpr, names: Mapping[str, IntExpr] | None = None) -> IntExpr:
    """The KernelIR integer of an AST expression; `names` replaces iterators."""
    match expr.get_type():
        case isl.ast_expr_type.int:
            return Int(int(expr.get_val().to_python()))
        case isl.ast_expr_type.id:
            name = expr.get_id().get_name()
            return (names or {}).get(name, Var(name))
    kind = expr.get_op_type()
    arguments = [expr.get_op_arg(i) for i in range(expr.get_op_n_arg())]
    if kind == isl.ast_expr_op_type.minus:
        return IntOp("-", Int(0), int_expr(arguments[0], names))
    if kind in (isl.ast_expr_op_type.cond, isl.ast_expr_op_type.select):
        chosen, then, otherwise = arguments
        return IntSelect(condition_of(chosen, names), int_expr(then, names), int_expr(otherwise, names))
    op = _ARITHMETIC[kind]
    result = int_expr(arguments[0], names)
    for argument in arguments[1:]:
        result = IntOp(op, result, int_expr(argument, names))  # type: ignore[arg-type]  # op is one of IntOp's
    return result


def aff_expr(aff: isl.Aff, dims: Sequence[IntExpr], names: Mapping[str, IntExpr]) -> IntExpr:
    """An affine function of the prefix schedule, at a place where its dimensions are `dims`."""
    denominator = int(aff.get_denominator_val().to_python())
    scale = isl.Val(denominator, aff.get_ctx())
    whole = aff.scale_val(scale)
    total: IntExpr = Int(int(whole.get_constant_val().to_python()))
    for position, dim in enumerate(dims[: aff.dim(isl.dim_type.in_)]):
        total = _plus(total, whole.get_coefficient_val(isl.dim_type.in_, position), dim)
    for position, name in enumerate(isl.parameter_names(aff)):
        parameter = names.get(name, Var(name))
        total = _plus(total, whole.get_coefficient_val(isl.dim_type.param, position), parameter)
    for position in range(aff.dim(isl.dim_type.div)):
        coefficient = whole.get_coefficient_val(isl.dim_type.div, position)
        if not coefficient.is_zero():  # the local is the floor of its function
            total = _plus(total, coefficient, aff_expr(aff.get_div(position), dims, names))
    return total if denominator == 1 else IntOp("/", total, Int(denominator))


def _plus(total: IntExpr, coefficient: isl.Val, atom: IntExpr) -> IntExpr:
    factor = int(coefficient.to_python())
    return total if factor == 0 else IntOp("+", total, IntOp("*", Int(factor), atom))


def condition_of(expr: isl.AstExpr, names: Mapping[str, IntExpr] | None = None) -> Condition:
    """The KernelIR condition of an AST expression."""
    if expr.get_type() == isl.ast_expr_type.int:  # isl writes "always" as 1
        return Compare("!=", int_expr(expr, names), Int(0))
    kind = expr.get_op_type()
    arguments = [expr.get_op_arg(i) for i in range(expr.get_op_n_arg())]
    if kind in _COMPARISON:
        return Compare(_COMPARISON[kind], int_expr(arguments[0], names), int_expr(arguments[1], names))  # type: ignore[arg-type]
    if kind in _SWAPPED:
        return Compare(_SWAPPED[kind], int_expr(arguments[1], names), int_expr(arguments[0], names))  # type: ignore[arg-type]
    if kind in _AND or kind in _OR:
        result = condition_of(arguments[0], names)
        for argument in arguments[1:]:
            result = BoolOp("and" if kind in _AND else "or", result, condition_of(argument, names))
        return result
    raise ValueError(f"isl made a condition that we do not know: {expr.to_C_str()}")
