"""Cutting a reduction: the loop over its outermost index in blocks, around loops that stood around it.

    for tiles:                                for b (blocks of k):
        s = 0                                     for tiles:
        for k: s += ...                  ->           if b == 0: s = 0
        f(s)                                          for k in block b: s += ...
                                                      if b is the last: f(s)

Legal: each element's terms keep their order; what stands before the reduction belongs to the first block, what
stands behind it to the last.  It needs an outermost index that begins at one number whatever the sizes, and, where
something stands behind the reduction, ends at one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comprehension.poly import isl
from comprehension.poly.scop import Scop


def block_schedule(names: Sequence[str], reduced: Mapping[str, int], size: int, scop: Scop) -> isl.MultiUnionPwAff:
    """The block of each instance of the statements `names`, which stand in order.

    A block is `size` values of the index that `reduced` names for each update of the loop.
    """
    domain = scop.statement(next(iter(reduced))).domain
    dim = next(iter(reduced.values()))
    first = int(domain.dim_min_val(dim).to_python())
    place = min(names.index(update) for update in reduced)
    behind = any(name not in reduced for name in names[place:])
    last = (int(domain.dim_max_val(dim).to_python()) - first) // size if behind else 0
    parts = []
    for position, name in enumerate(names):
        local = isl.LocalSpace.from_space(scop.statement(name).domain.get_space())
        context = local.get_ctx()
        if name in reduced:
            index = isl.Aff.var_on_domain(local, isl.dim_type.set, reduced[name]).add_constant_val(
                isl.Val(-first, context)
            )
            block = index.scale_down_val(isl.Val(size, context)).floor()
        else:
            block = isl.Aff.zero_on_domain(local).add_constant_val(isl.Val(0 if position < place else last, context))
        parts.append(isl.PwAff.from_aff(block))
    parameters = scop.context.get_space()
    blocks = isl.UnionPwAffList.alloc(parameters.get_ctx(), 1).add(isl.union_pw_aff(parameters, parts))
    space = parameters.set_from_params().add_dims(isl.dim_type.set, 1)
    return isl.MultiUnionPwAff.from_union_pw_aff_list(space, blocks)
