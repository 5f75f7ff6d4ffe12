"""Scop: the polyhedral form of a LoopProgram.

In: a `LoopProgram`.  Out: iteration domains, access relations and the original order as isl objects;
`poly.dependence` adds what must be kept, `poly.scheduler` orders, `poly.certificate` proves.
Invariant: all sets and maps live in one isl context; statement spaces are named `S0`, `S1`, ... with one
dimension per index in the LoopStatement's order; `S0_init` (left indices only) is the initialisation of an
initialising reduction; tensor spaces carry the tensors' names.  Sizes and integer scalars are isl parameters, and so
is each bound that is no affine function of them (`poly.parameters`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from comprehension.errors import ComprehensionError
from comprehension.lang import tree
from comprehension.lang.loops import LoopProgram, LoopStatement
from comprehension.poly import isl
from comprehension.poly.affine import AffineSpace, function_of, set_of, where_it_may_be
from comprehension.poly.parameter_facts import with_facts
from comprehension.poly.parameters import never_negative, parameters_in, parameters_of
from comprehension.poly.wrapping import within_types


class ScopRole(Enum):
    PLAIN = "plain"
    INIT = "init"  # stores the identity of a reduction
    UPDATE = "update"  # combines into its target


@dataclass(frozen=True, slots=True, eq=False)
class ScopAccess:
    """One read or write of a statement: `relation` maps instances to elements.

    `number` counts the statement's accesses: 0 is the write; reads follow in textual order (lets first,
    then the target's subscripts, then value, an access before those in its own subscripts; a reduction's
    read of its target is the last).  `exact` is False where the subscript is indirect or a product of
    indices: `relation` then covers every element that it could touch.
    """

    statement: str
    number: int
    tensor: str
    relation: isl.Map
    is_write: bool
    exact: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class ScopStatement:
    name: str
    role: ScopRole
    source: LoopStatement
    dims: tuple[str, ...]
    domain: isl.Set
    accesses: tuple[ScopAccess, ...]

    @property
    def write(self) -> ScopAccess:
        return self.accesses[0]

    @property
    def reads(self) -> tuple[ScopAccess, ...]:
        return self.accesses[1:]


@dataclass(frozen=True, slots=True, eq=False)
class Scop:
    """`times` maps each statement's instances to their time in the original order (equal tuple length for all)."""

    program: LoopProgram
    context: isl.Set  # what holds of the sizes: not negative, and the preconditions
    statements: tuple[ScopStatement, ...]
    times: Mapping[str, isl.Map]
    _by_name: Mapping[str, ScopStatement] = field(init=False, repr=False)
    _by_tensor: Mapping[str, tuple[ScopAccess, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found: dict[str, list[ScopAccess]] = {}
        for statement in self.statements:
            for access in statement.accesses:
                found.setdefault(access.tensor, []).append(access)
        object.__setattr__(self, "_by_name", {s.name: s for s in self.statements})
        object.__setattr__(self, "_by_tensor", {tensor: tuple(accesses) for tensor, accesses in found.items()})

    def __str__(self) -> str:
        """Each statement's domain, and what it writes and reads."""
        lines: list[str] = []
        for statement in self.statements:
            lines.append(f"{statement.name} ({statement.role.value}): {statement.domain}")
            for access in statement.accesses:
                kind = "writes" if access.is_write else "reads"
                lines.append(f"    {kind} {access.relation}" + ("" if access.exact else "    (over-approximated)"))
        return "\n".join(lines)

    def statement(self, name: str) -> ScopStatement:
        return self._by_name[name]

    def find(self, name: str | None) -> ScopStatement | None:
        """The statement of this name; None if there is none."""
        return self._by_name.get(name or "")

    def accesses_to(self, tensor: str) -> tuple[ScopAccess, ...]:
        """All accesses to a tensor, in the order of the text."""
        return self._by_tensor.get(tensor, ())

    def is_exact(self, tensor: str) -> bool:
        """Whether each access to a tensor names its element: no copy of another one is followed by the proof."""
        return all(access.exact for access in self.accesses_to(tensor))

    def affine_space(self, statement: ScopStatement) -> AffineSpace:
        """What the expressions of a statement are at its instances."""
        where = statement.domain.intersect_params(typed_context(self.program, self.context))
        return AffineSpace.of(statement.domain.get_space(), statement.source.lets, where)

    @property
    def domain(self) -> isl.UnionSet:
        return isl.union_set(self.context.get_space(), (s.domain for s in self.statements))


def build_scop(program: LoopProgram, context: isl.Context | None = None) -> Scop:
    """The Scop of `program`, in a new isl context unless one is given."""
    builder = _Builder(program, context or isl.new_context())
    statements: list[ScopStatement] = []
    for source in program.statements:
        statements.extend(builder.statements_of(source))
    return Scop(program, builder.sizes_context(), tuple(statements), builder.times(statements))


def typed_context(program: LoopProgram, context: isl.Set) -> isl.Set:
    """`context` for questions of whether values may wrap around."""
    return within_types(context, program.sizes, ((s.name, s.dtype) for s in program.scalars))


def reads_in_order(statement: LoopStatement) -> Iterator[tuple[tree.Access, tuple[Guard, ...]]]:
    """The reads of a statement in the order that numbers them (from 1), with the branches they stand in.

    The read of a reduction's own target, which comes last, has no text and is not among them.
    """
    for expr in statement.expressions:
        yield from _reads(expr, ())


Guard = tuple[tree.Expr, bool]  # a condition and the value that it has here


def _reads(expr: tree.Expr, guards: tuple[Guard, ...]) -> Iterator[tuple[tree.Access, tuple[Guard, ...]]]:
    stack = [(expr, guards)]
    while stack:
        node, around = stack.pop()
        if isinstance(node, tree.Access):
            yield node, around
        if isinstance(node, tree.Select):
            inner = [
                (node.condition, around),
                (node.then, (*around, (node.condition, True))),
                (node.otherwise, (*around, (node.condition, False))),
            ]
        else:
            inner = [(child, around) for child in tree.children(node)]
        stack.extend(reversed(inner))


class _Builder:
    """What every statement of one program shares: parameters, tensors, the isl context."""

    def __init__(self, program: LoopProgram, context: isl.Context) -> None:
        self.program = program
        self.context = context
        integer_scalars = [s.name for s in program.scalars if s.dtype.is_integer]
        self.computed = parameters_of(program)
        self.parameters = (*program.sizes, *integer_scalars, *self.computed)
        self.parameter_space = isl.named_set_space(context, self.parameters, "", ()).params()
        self.typed = typed_context(program, self.sizes_context())

    def sizes_context(self) -> isl.Set:
        where = AffineSpace.of(isl.named_set_space(self.context, self.parameters, "", ()))
        holds = isl.Set.universe(where.space)
        for size in self.program.sizes:
            holds = holds.intersect(where.values[size].nonneg_set())
        for name, value in self.computed.items():
            if never_negative(value, self.program.sizes):
                holds = holds.intersect(where.values[name].nonneg_set())
        holds = holds.params()
        for precondition in self.program.preconditions:
            holds = self._where_it_holds(precondition.condition, holds)
        return holds

    def _where_it_holds(self, condition: tree.Expr, sizes: isl.Set) -> isl.Set:
        """Those `sizes` for which a condition may hold, by what is known of the products and quotients in it."""
        others = {n: v for n, v in parameters_in([condition], self.program).items() if n not in self.parameters}
        space = isl.named_set_space(self.context, (*self.parameters, *others), "", ())
        holds = set_of(condition, AffineSpace.of(space))
        if holds is None:
            return sizes
        if not others:
            return sizes.intersect(holds.params())
        known = with_facts(sizes.intersect(holds.params()), others)
        known = known.project_out(isl.dim_type.param, len(self.parameters), len(others))
        return sizes.intersect(known.simple_hull().to_set())  # one piece, or all that follows would be in more of them

    def statements_of(self, source: LoopStatement) -> list[ScopStatement]:
        parts = []
        if source.initialise:
            parts.append(self._statement(source, ScopRole.INIT))
        parts.append(self._statement(source, ScopRole.PLAIN if source.reduction is None else ScopRole.UPDATE))
        return parts

    def _statement(self, source: LoopStatement, role: ScopRole) -> ScopStatement:
        is_init = role is ScopRole.INIT
        name = f"{source.name}_init" if is_init else source.name
        dims = tuple(index.name for index in source.indices[: source.left if is_init else None])
        space = isl.named_set_space(self.context, self.parameters, name, dims)
        domain = self._domain(source, dims, AffineSpace.of(space))
        where = AffineSpace.of(space, source.lets, domain.intersect_params(self.typed))
        write = self._access(name, 0, source.target, source.subscripts, domain, where, is_write=True)
        accesses = [write]
        if not is_init:
            for read, guards in reads_in_order(source):
                within = _guarded(domain, guards, where)
                number = len(accesses)
                accesses.append(self._access(name, number, read.tensor, read.subscripts, within, where))
            if role is ScopRole.UPDATE:
                target = ScopAccess(name, len(accesses), write.tensor, write.relation, False, write.exact)
                accesses.append(target)
        return ScopStatement(name, role, source, dims, domain, tuple(accesses))

    def _domain(self, source: LoopStatement, dims: tuple[str, ...], where: AffineSpace) -> isl.Set:
        domain = isl.Set.universe(where.space)
        for index in source.indices[: len(dims)]:
            variable = where.values[index.name]
            for bound, keep in ((index.lower, "ge_set"), (index.upper, "lt_set")):
                limit = function_of(bound, where)
                if limit is None:
                    raise ComprehensionError(
                        f"the range of '{index.name}' is too involved to compile: its bounds must be affine in the "
                        "indices further out, up to products of sizes"
                    )
                domain = domain.intersect(getattr(variable, keep)(limit))
        return domain.coalesce()

    def _access(
        self,
        statement: str,
        number: int,
        tensor: str,
        subscripts: tuple[tree.Expr, ...],
        domain: isl.Set,
        where: AffineSpace,
        *,
        is_write: bool = False,
    ) -> ScopAccess:
        elements = self._elements(tensor)
        relation = isl.Map.from_domain_and_range(domain, isl.Set.universe(elements.get_space()))
        exact = True
        for axis, subscript in enumerate(subscripts):
            value = function_of(subscript, where)
            if value is None:
                exact = False
                continue
            at_axis = isl.Map.from_pw_aff(value).add_dims(isl.dim_type.out, 0)
            relation = relation.intersect(_on_axis(at_axis, axis, elements.get_space()))
        if not exact:  # whatever the indirect subscript is, it is checked to be inside the tensor
            relation = relation.intersect_range(elements)
        return ScopAccess(statement, number, tensor, relation.coalesce(), is_write, exact)

    def _elements(self, tensor: str) -> isl.Set:
        """All elements of a tensor; a dimension whose size is not affine is unbounded above."""
        shape = self.program.tensor(tensor).shape
        space = isl.named_set_space(self.context, self.parameters, tensor, [f"d{a}" for a in range(len(shape))])
        where = AffineSpace.of(space)
        inside = isl.Set.universe(space)
        for axis, size in enumerate(shape):
            position = where.values[f"d{axis}"]
            inside = inside.intersect(position.nonneg_set())
            limit = function_of(size, where)
            if limit is not None:
                inside = inside.intersect(position.lt_set(limit))
        return inside

    def times(self, statements: list[ScopStatement]) -> dict[str, isl.Map]:
        """S[l, r] -> [statement, l, 0 or 1, r]: an initialisation runs before its point's reduction loops."""
        left = max((s.source.left for s in statements), default=0)
        right = max((len(s.source.indices) - s.source.left for s in statements), default=0)
        numbers = {source.name: n for n, source in enumerate(self.program.statements)}
        times = {}
        for statement in statements:
            where = AffineSpace.of(statement.domain.get_space())
            own = statement.source.left
            values = [where.values[d] for d in statement.dims]
            zero = where.constant(0)
            phase = where.constant(0 if statement.role is ScopRole.INIT else 1)
            tail = values[own:]
            entries = [where.constant(numbers[statement.source.name]), *values[:own], *[zero] * (left - own)]
            entries += [phase, *tail, *[zero] * (right - len(tail))]
            times[statement.name] = _map_of(entries, statement.domain)
        return times


def _guarded(domain: isl.Set, guards: tuple[Guard, ...], where: AffineSpace) -> isl.Set:
    for condition, value in guards:
        domain = where_it_may_be(value, condition, domain, where)
    return domain


def _on_axis(value: isl.Map, axis: int, elements: isl.Space) -> isl.Map:
    """{ S[i] -> T[..., value(i) at `axis`, ...] }, the other axes free."""
    rank = elements.dim(isl.dim_type.set)
    free = value.insert_dims(isl.dim_type.out, 0, axis)
    free = free.add_dims(isl.dim_type.out, rank - axis - 1)
    return free.set_tuple_name(isl.dim_type.out, elements.get_tuple_name(isl.dim_type.set))


def _map_of(entries: list[isl.PwAff], domain: isl.Set) -> isl.Map:
    total: isl.Map | None = None
    for entry in entries:
        part = isl.Map.from_pw_aff(entry)
        total = part if total is None else total.flat_range_product(part)
    assert total is not None
    return total.intersect_domain(domain)
