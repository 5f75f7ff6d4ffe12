"""Cutting a reduction: the loop over its outermost index in blocks, around loops that stood around it.

    for tiles:                                for b (blocks of k):
        s = 0                                     for tiles:
        for k: s += ...                  ->           if b == 0: s = 0
        f(s)                                          for k in block b: s += ...
                                                      if b is the last: f(s)

Legal: each element's terms keep their order; what stands before the reduction belongs to the first block, what
stands behind it to the last.  It needs an outermost index whose range does not depend on sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

from comprehension.poly import isl
from comprehension.poly.scop import Scop


def block_schedule(names: Sequence[str], update: str, dim: int, size: int, scop: Scop) -> isl.MultiUnionPwAff:
    """The block of each instance of the statements `names`, which stand in order: `size` values of `update`'s `dim`."""
    domain = scop.statement(update).domain
    first, end = (int(value.to_python()) for value in (domain.dim_min_val(dim), domain.dim_max_val(dim)))
    place, last = names.index(update), (end - first) // size
    parts = []
    for position, name in enumerate(names):
        local = isl.LocalSpace.from_space(scop.statement(name).domain.get_space())
        context = local.get_ctx()
        if name == update:
            index = isl.Aff.var_on_domain(local, isl.dim_type.set, dim).add_constant_val(isl.Val(-first, context))
            block = index.scale_down_val(isl.Val(size, context)).floor()
        else:
            block = isl.Aff.zero_on_domain(local).add_constant_val(isl.Val(0 if position < place else last, context))
        parts.append(isl.PwAff.from_aff(block))
    parameters = scop.context.get_space()
    blocks = isl.UnionPwAffList.alloc(parameters.get_ctx(), 1).add(isl.union_pw_aff(parameters, parts))
    space = parameters.set_from_params().add_dims(isl.dim_type.set, 1)
    return isl.MultiUnionPwAff.from_union_pw_aff_list(space, blocks)
