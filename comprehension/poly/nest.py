"""Nests: the loops that are to be, before they are an isl schedule.

In: statements and their dependences.  Out: trees of loop dimensions shared by statements, which
`poly.mapper` writes as an isl schedule tree.
Invariant: the statements below a nest agree on its members' ranges; members that are coincident carry no
dependence (not even that of a reduction), so they stand outermost in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from comprehension.poly import isl
from comprehension.poly.functions import dimension
from comprehension.poly.scop import Scop


@dataclass(frozen=True, slots=True)
class Member:
    """One loop: for each statement below it the position of the index that it runs over."""

    dims: tuple[tuple[str, int], ...]
    coincident: bool
    _by_statement: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_statement", dict(self.dims))

    def dim(self, statement: str) -> int:
        return self._by_statement[statement]


@dataclass(frozen=True, slots=True)
class Nest:
    """`for members: children in order`; a child is a nest or a statement's name.

    `plain`: the members stay loops; lanes and tiles are those of the nests inside.
    """

    members: tuple[Member, ...]
    children: tuple[Nest | str, ...]
    plain: bool = False
    names: frozenset[str] = field(init=False, repr=False, compare=False)  # of the statements below

    def __post_init__(self) -> None:
        below = (child.names if isinstance(child, Nest) else (child,) for child in self.children)
        object.__setattr__(self, "names", frozenset().union(*below))

    def statements(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child.statements()


def innermost(nest: Nest, statement: str, dim: int) -> Nest:
    """The nest with a statement's loops below it in another order: that of index `dim` stands last in its band."""
    children: list[Nest | str] = []
    for child in nest.children:
        if isinstance(child, Nest) and statement in child.names:
            own = [m for m in child.members if (statement, dim) in m.dims]
            members = (*(m for m in child.members if m not in own), *own)
            child = replace(innermost(child, statement, dim), members=members)
        children.append(child)
    return replace(nest, children=tuple(children))


def instances(part: Nest | str | tuple[str, ...], scop: Scop) -> isl.UnionSet:
    """All instances of the statements of a part, whatever the bounds (the filter of a sequence)."""
    names = (part,) if isinstance(part, str) else part if isinstance(part, tuple) else tuple(part.statements())
    sets = [isl.Set.universe(scop.statement(name).domain.get_space()) for name in names]
    return isl.union_set(scop.context.get_space(), sets)


def partial_schedule(members: Sequence[Member], scop: Scop) -> isl.MultiUnionPwAff:
    """`S[..] -> its index` for each member, over all statements of the member."""
    context = scop.context.get_ctx()
    parameters = scop.context.get_space()
    parts = isl.UnionPwAffList.alloc(context, len(members))
    for member in members:
        indices = (dimension(scop.statement(name).domain.get_space(), position) for name, position in member.dims)
        parts = parts.add(isl.union_pw_aff(parameters, indices))
    space = parameters.set_from_params().add_dims(isl.dim_type.set, len(members))
    return isl.MultiUnionPwAff.from_union_pw_aff_list(space, parts)
