"""The door to isl: contexts with a budget, named spaces, and a few sentences that isl lacks.

In: names and bounds.  Out: isl objects; the other modules of `poly` take isl's types from here.
Invariant: dimensions and spaces are made and addressed by name, never by printed text, so a user's name
cannot collide with isl's syntax; every bounded call starts with a fresh operation counter (isl counts from
the creation of the context, and once the budget is spent even a copy fails).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from islpy import (
    Aff as Aff,
    AstBuild as AstBuild,
    AstExpr as AstExpr,
    AstNode as AstNode,
    BasicSet as BasicSet,
    Constraint as Constraint,
    Context as Context,
    Error as Error,
    Id as Id,
    IdList as IdList,
    LocalSpace as LocalSpace,
    Map as Map,
    MultiAff as MultiAff,
    MultiPwAff as MultiPwAff,
    MultiUnionPwAff as MultiUnionPwAff,
    MultiVal as MultiVal,
    Point as Point,
    PwAff as PwAff,
    PwMultiAff as PwMultiAff,
    Schedule as Schedule,
    ScheduleConstraints as ScheduleConstraints,
    ScheduleNode as ScheduleNode,
    Set as Set,
    Space as Space,
    UnionAccessInfo as UnionAccessInfo,
    UnionFlow as UnionFlow,
    UnionMap as UnionMap,
    UnionPwAff as UnionPwAff,
    UnionPwAffList as UnionPwAffList,
    UnionPwMultiAff as UnionPwMultiAff,
    UnionSet as UnionSet,
    UnionSetList as UnionSetList,
    Val as Val,
    ast_expr_op_type as ast_expr_op_type,
    ast_expr_type as ast_expr_type,
    ast_loop_type as ast_loop_type,
    ast_node_type as ast_node_type,
    dim_type as dim_type,
    schedule_node_type as schedule_node_type,
)

Result = TypeVar("Result")


class OutOfBudget(Exception):
    """An isl call used more operations than it was allowed; the caller takes a simpler way and reports it."""


def new_context() -> Context:
    """A context set up for our schedules: no skewing coefficients, tile loops counted in tiles."""
    context = Context()
    context.set_schedule_max_coefficient(1)
    context.set_schedule_treat_coalescing(0)
    context.set_tile_scale_tile_loops(0)
    context.set_tile_shift_point_loops(1)
    context.set_ast_build_atomic_upper_bound(1)
    context.set_ast_build_group_coscheduled(1)  # or a mark above a loop of one iteration is repeated for each child
    return context


def bounded(context: Context, operations: int, call: Callable[[], Result]) -> Result:
    """`call()`, or OutOfBudget after `operations` isl operations."""
    context.reset_operations()
    context.set_max_operations(operations)
    try:
        return call()
    except Error as error:
        if "operations" in str(error):
            raise OutOfBudget(f"more than {operations} isl operations") from error
        raise
    finally:
        context.reset_operations()
        context.set_max_operations(0)


def named_set_space(context: Context, parameters: Sequence[str], tuple_name: str, dims: Sequence[str]) -> Space:
    """`[parameters] -> { tuple_name[dims] }` with every dimension named."""
    space = Space.set_alloc(context, len(parameters), len(dims))
    for position, name in enumerate(parameters):
        space = space.set_dim_name(dim_type.param, position, name)
    for position, name in enumerate(dims):
        space = space.set_dim_name(dim_type.set, position, name)
    return space.set_tuple_name(dim_type.set, tuple_name)


def parameter_names(part: BasicSet | Set | Map | Space | Aff) -> tuple[str, ...]:
    """The sizes that a set, a map, a function or a space is about, in its order."""
    return tuple(part.get_dim_name(dim_type.param, position) for position in range(part.dim(dim_type.param)))


def at_sizes(points: Set, sizes: Mapping[str, int]) -> Set:
    """A set at given values of its parameters."""
    for position, name in enumerate(parameter_names(points)):
        points = points.fix_val(dim_type.param, position, Val(sizes[name], points.get_ctx()))
    return points


def constant_value(aff: PwAff) -> int | None:
    """The integer that `aff` is everywhere, or None."""
    if not aff.is_cst():
        return None
    pieces = aff.get_pieces()
    if len(pieces) != 1:
        return None
    value = pieces[0][1].get_constant_val()
    return int(value.to_python()) if value.is_int() else None


def wherever_it_runs(line: Set) -> Set:
    """The values of a loop without what is said of sizes alone ("the other loops are not empty").

    What bounds integers that isl has made up stays: without it the values have no bounds either.
    """
    if any(part.dim(dim_type.div) for part in line.get_basic_sets()):
        return line
    return line.drop_constraints_not_involving_dims(dim_type.set, 0, 1)


def union_map(parameters: Space, maps: Iterable[Map]) -> UnionMap:
    """The union; `parameters` gives the space of an empty one."""
    return _joined([UnionMap.empty(parameters.params()), *map(UnionMap.from_map, maps)], UnionMap.union)


def maps_of(union: UnionMap) -> list[Map]:
    """The maps of a union, sorted by the names of their spaces (isl's own order is that of a hash table)."""
    maps = union.get_map_list()
    found = [maps.get_at(position) for position in range(maps.n_map())]
    return sorted(found, key=lambda m: (_space_name(m, dim_type.in_), _space_name(m, dim_type.out)))


def _space_name(part: Map, side: dim_type) -> str:
    return str(part.get_tuple_name(side) or "") if part.has_tuple_name(side) else ""


def union_set(parameters: Space, sets: Iterable[Set]) -> UnionSet:
    return _joined([UnionSet.empty(parameters.params()), *map(UnionSet.from_set, sets)], UnionSet.union)


def union_pw_aff(parameters: Space, functions: Iterable[PwAff]) -> UnionPwAff:
    """The function that is each of these on its own space."""
    parts = [UnionPwAff.empty(parameters), *map(UnionPwAff.from_pw_aff, functions)]
    return _joined(parts, UnionPwAff.union_add)


def _joined(parts: list[Result], join: Callable[[Result, Result], Result]) -> Result:
    """All parts as one, joined in pairs: isl copies both operands, so one after another would be quadratic."""
    while len(parts) > 1:
        pairs = [join(*parts[at : at + 2]) for at in range(0, len(parts) - 1, 2)]
        parts = pairs + parts[len(pairs) * 2 :]
    return parts[0]
