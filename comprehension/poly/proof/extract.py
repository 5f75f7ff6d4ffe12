"""What a kernel does: every store with its points, times and addresses, as isl relations.

In: a `Kernel` and the parameter space of its Scop.  Out: an `Extraction`.
Invariant: nothing is taken over from the plan that made the kernel; a point is the vector of all loop
variables and tile axes around a store, masked points excluded; times compare lexicographically, and
rows and lanes of one tile statement share one time.  A value named by `Define` is read when it is
defined, whatever store uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.proof.integers import IntegerSpace
from comprehension.poly.proof.places import Entry, Place, places_of_stage
from comprehension.poly.wrapping import within_types


class NotExtractable(Exception):
    """The kernel has a bound or condition that is not affine: nothing can be proved of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """One load or store: `relation` maps points of its action to elements, `time` says when.

    `free` are the subscripts that are not affine: `relation` then has every element along these axes.
    `folded`: a `Fold` combines what is read along the action's folded axes.
    """

    buffer: str
    relation: isl.Map
    time: isl.Map
    number: int | None = None
    free: tuple[int, ...] = ()
    folded: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """A `Store` (or a `Define`, which only reads) with all its executions.

    `instance` maps points to statement instances.  `folded` are the dimensions that a `Fold` runs over:
    the points that differ only there are one write.  `place` tells a person where it stands.
    """

    name: str
    number: int  # its place in the program
    stage: int
    domain: isl.Set
    time: isl.Map
    reads: tuple[Access, ...]
    place: str
    scope: IntegerSpace  # what the names in the store's expressions are
    write: Access | None = None
    store: ir.Store | None = None
    statement: str | None = None
    instance: isl.Map | None = None
    folded: tuple[int, ...] = ()
    tile_axes: int = 0
    parallel: tuple[int, ...] = ()  # dimensions that run in parallel: the stage's units, blocks and threads
    loops: tuple[ir.Loop | ir.Axis, ...] = ()  # one for each dimension
    home: str = ""  # where the innermost loop stands that threads or blocks divide

    @property
    def role(self) -> ir.StoreRole | None:
        return None if self.store is None else self.store.role

    @property
    def accesses(self) -> tuple[Access, ...]:
        """What it writes, and what it reads."""
        return self.reads if self.write is None else (self.write, *self.reads)


@dataclass(frozen=True, slots=True, eq=False)
class Wait:
    """A `Barrier` with all its executions."""

    stage: int
    domain: isl.Set
    time: isl.Map
    place: str
    scope: IntegerSpace
    loops: tuple[ir.Loop | ir.Axis, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    kernel: ir.Kernel
    context: isl.Set  # what is known of the sizes
    actions: tuple[Action, ...]
    waits: tuple[Wait, ...]
    times: isl.Space
    _executing: Mapping[str, tuple[Action, ...]] = field(init=False, repr=False)
    _touching: Mapping[str, tuple[Action, ...]] = field(init=False, repr=False)
    _buffers: Mapping[str, ir.Buffer] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        executing: dict[str, list[Action]] = {}
        touching: dict[str, list[Action]] = {}
        for action in self.actions:
            if action.role is ir.StoreRole.EXECUTE:
                executing.setdefault(action.statement or "", []).append(action)
            for buffer in dict.fromkeys(access.buffer for access in action.accesses):
                touching.setdefault(buffer, []).append(action)
        object.__setattr__(self, "_executing", {name: tuple(found) for name, found in executing.items()})
        object.__setattr__(self, "_touching", {name: tuple(found) for name, found in touching.items()})
        object.__setattr__(self, "_buffers", {buffer.name: buffer for buffer in self.kernel.buffers})

    def stores(self, *roles: ir.StoreRole) -> Iterator[Action]:
        """The actions that write, in program order; all roles unless some are given."""
        return (a for a in self.actions if a.store is not None and (not roles or a.store.role in roles))

    def executing(self, statement: str) -> tuple[Action, ...]:
        """The stores that run instances of a statement, in program order."""
        return self._executing.get(statement, ())

    def touching(self, buffer: str) -> tuple[Action, ...]:
        """The actions that read or write a buffer, in program order."""
        return self._touching.get(buffer, ())

    def buffer(self, name: str) -> ir.Buffer:
        return self._buffers[name]

    @property
    def outputs(self) -> set[str]:
        return {buffer.name for buffer in self.kernel.buffers if buffer.space is ir.Space.OUTPUT}


def extract(kernel: ir.Kernel, context: isl.Set) -> Extraction:
    """The relations of `kernel`, in the isl context and over the parameters of `context`; what never runs is left out.

    Raises NotExtractable where a loop bound, a condition or a mask is not affine.
    """
    parameters = isl.parameter_names(context)
    places: list[Place] = []
    for number, stage in enumerate(kernel.stages):
        places.extend(places_of_stage(number, stage))
    length = max((len(p.time) for p in places), default=1)
    maker = _Maker(kernel, parameters, context, within_types(context, kernel.sizes, kernel.scalars), length)
    acting = [place for place in places if not isinstance(place.node, ir.Barrier)]
    actions = (maker.action(i, p) for i, p in enumerate(acting))
    waits = tuple(maker.wait(i, p) for i, p in enumerate(places) if isinstance(p.node, ir.Barrier))
    return Extraction(kernel, context, tuple(a for a in actions if not a.domain.is_empty()), waits, maker.times)


# --- relations -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Maker:
    kernel: ir.Kernel
    parameters: tuple[str, ...]
    known: isl.Set
    typed: isl.Set  # the same, for questions of whether values may wrap around
    time_length: int

    @property
    def context(self) -> isl.Context:
        return self.known.get_ctx()

    def action(self, number: int, place: Place) -> Action:
        node = place.node
        assert isinstance(node, ir.Define | ir.Store)
        name = f"A{number}"
        scope = self._scope(name, place)
        domain = self._domain(scope, place)
        scope = scope.at(domain.intersect_params(self.typed))
        time = self.time(scope, place.time, domain)
        variables = place.variables
        reader = _Reader(self, scope, place, domain, time)
        reader.read_value(node.value, domain, time)
        action = Action(
            name,
            number,
            place.stage,
            domain,
            time,
            (),
            str(place),
            scope,
            parallel=place.parallel,
            tile_axes=place.tile_axes,
            loops=tuple(place.loops),
            home="_".join(map(str, place.home)),
        )
        if isinstance(node, ir.Store):
            for subscript in node.subscripts:
                reader.read_integer(subscript, domain, time)
            reader.check_folds()
            write = self.access(node.buffer, node.subscripts, scope, domain, time)
            folded = tuple(sorted(variables.index(axis) for axis in reader.folded_axes))
            action = replace(action, write=write, store=node, folded=folded)
            if node.instance is not None:
                instance, free = self._relation(node.instance.statement, node.instance.point, scope, domain)
                if free:
                    raise NotExtractable(f"{action.place}: the instance of {node.instance.statement} is not affine")
                action = replace(action, statement=node.instance.statement, instance=instance)
        return replace(action, reads=tuple(reader.accesses))

    def wait(self, number: int, place: Place) -> Wait:
        scope = self._scope(f"W{number}", place)
        domain = self._domain(scope, place)
        time = self.time(scope, place.time, domain)
        return Wait(place.stage, domain, time, str(place), scope, tuple(place.loops))

    def _scope(self, name: str, place: Place) -> IntegerSpace:
        variables = place.variables
        if len({*variables, *self.parameters}) < len(variables) + len(self.parameters):
            raise NotExtractable(f"{place}: a loop hides another loop's variable, or a size")
        space = isl.named_set_space(self.context, self.parameters, name, variables)
        names = {variable: position for position, variable in enumerate(variables)}
        return IntegerSpace.of(space, names, {n: d.value for n, d in place.defined.items()})

    def _domain(self, scope: IntegerSpace, place: Place) -> isl.Set:
        domain = isl.Set.universe(scope.space)
        visible = list(self.parameters)
        for around in place.around:  # a bound sees the loops around it, not those inside
            if isinstance(around, ir.Loop | ir.Axis):
                visible.append(around.variable)
            domain = domain.intersect(self._reached(around, scope.only(visible), place))
        return domain.intersect_params(self.known).coalesce()

    def _reached(self, around: ir.Loop | ir.Condition | ir.Axis, scope: IntegerSpace, place: Place) -> isl.Set:
        match around:
            case ir.Loop(variable=variable, lower=lower, upper=upper, step=step):
                value = scope.variables[variable]
                reached = _bounded(value, "ge_set", lower, "max", scope, place)
                reached = reached.intersect(_bounded(value, "lt_set", upper, "min", scope, place))
                if step < 1:
                    raise NotExtractable(f"{place}: the step of {variable} is {step}")
                if step != 1:
                    offset = value.sub(_affine(lower, scope, place)).mod_val(isl.Val(step, self.context))
                    reached = reached.intersect(offset.zero_set())
                return reached
            case ir.Axis(variable=variable, start=start, extent=extent, limit=limit):
                value, first = scope.variables[variable], _affine(start, scope, place)
                reached = value.ge_set(first).intersect(value.lt_set(first.add(scope.constant(extent))))
                if limit is not None:
                    reached = reached.intersect(_bounded(value, "lt_set", limit, "min", scope, place))
                return reached
            case condition:
                holds = scope.condition(condition)
                if holds is None:
                    raise NotExtractable(f"{place}: a condition is not affine: {condition}")
                return holds

    def time(self, scope: IntegerSpace, entries: Sequence[Entry], domain: isl.Set) -> isl.Map:
        zero = isl.Aff.zero_on_domain(isl.LocalSpace.from_space(scope.space))
        total = isl.MultiAff.zero(isl.Space.map_from_domain_and_range(scope.space, self.times))
        for position, entry in enumerate(entries):
            if isinstance(entry, int):
                aff = zero.add_constant_val(isl.Val(entry, self.context))
            else:
                aff = scope.variables[entry].as_aff()
            total = total.set_aff(position, aff)
        return isl.Map.from_multi_aff(total).intersect_domain(domain)

    @property
    def times(self) -> isl.Space:
        return isl.named_set_space(self.context, self.parameters, "T", [f"t{i}" for i in range(self.time_length)])

    def access(
        self,
        buffer: str,
        subscripts: tuple[ir.IntExpr, ...],
        scope: IntegerSpace,
        domain: isl.Set,
        time: isl.Map,
        number: int | None = None,
        *,
        folded: bool = False,
    ) -> Access:
        relation, free = self._relation(buffer, subscripts, scope, domain)
        return Access(buffer, relation, time, number, free, folded)

    def _relation(
        self, target: str, subscripts: tuple[ir.IntExpr, ...], scope: IntegerSpace, domain: isl.Set
    ) -> tuple[isl.Map, tuple[int, ...]]:
        dims = [f"d{axis}" for axis in range(len(subscripts))]
        elements = isl.named_set_space(self.context, self.parameters, target, dims)
        whole = isl.Space.map_from_domain_and_range(scope.space, elements)
        relation, free = isl.Map.universe(whole), []
        for axis, subscript in enumerate(subscripts):
            value = scope.function(subscript)
            if value is None:
                free.append(axis)
                continue
            at_axis = isl.Map.from_pw_aff(value).insert_dims(isl.dim_type.out, 0, axis)
            at_axis = at_axis.add_dims(isl.dim_type.out, len(subscripts) - axis - 1)
            relation = relation.intersect(at_axis.set_tuple_name(isl.dim_type.out, target))
        return relation.intersect_domain(domain), tuple(free)


@dataclass(slots=True, eq=False)
class _Reader:
    """Collects the loads of one value, with the branches that they stand in."""

    maker: _Maker
    scope: IntegerSpace
    place: Place
    domain: isl.Set
    time: isl.Map
    accesses: list[Access] = field(default_factory=list)
    folded_axes: set[str] = field(default_factory=set)
    plain_variables: set[str] = field(default_factory=set)  # that something outside of a Fold depends on
    seen: dict[tuple[str, int, bool], isl.Set] = field(default_factory=dict)  # keeps the sets alive: ids stay theirs

    def read_value(self, value: ir.Value, domain: isl.Set, time: isl.Map, *, folded: bool = False) -> None:
        """Loads at or below `value`, reached at the points of `domain`, at `time`."""
        match value:
            case ir.Const() | ir.ScalarArg():
                pass
            case ir.Load(buffer=buffer, subscripts=subscripts, access=number):
                self.accesses.append(
                    self.maker.access(buffer, subscripts, self.scope, domain, time, number, folded=folded)
                )
                for subscript in subscripts:
                    self.read_integer(subscript, domain, time, folded=folded)
            case ir.Local(name=name):
                self._read_local(name, domain, folded=folded)
            case ir.IndexValue(index=index):
                self.read_integer(index, domain, time, folded=folded)
            case ir.UnaryOp(operand=operand) | ir.Convert(operand=operand):
                self.read_value(operand, domain, time, folded=folded)
            case ir.BinaryOp(left=left, right=right):
                self.read_value(left, domain, time, folded=folded)
                self.read_value(right, domain, time, folded=folded)
            case ir.Fma(a=a, b=b, c=c):
                for part in (a, b, c):
                    self.read_value(part, domain, time, folded=folded)
            case ir.SelectValue(condition=condition, then=chosen, otherwise=otherwise):
                self.read_value(condition, domain, time, folded=folded)
                yes = self.scope.where_it_may_be(True, condition, domain)
                no = self.scope.where_it_may_be(False, condition, domain)
                self.read_value(chosen, yes, time, folded=folded)
                self.read_value(otherwise, no, time, folded=folded)
            case ir.Builtin(arguments=arguments):
                for argument in arguments:
                    self.read_value(argument, domain, time, folded=folded)
            case ir.Fold(value=inner, axis=axis):
                self.folded_axes.add(axis)
                self.read_value(inner, domain, time, folded=True)
            case _:
                assert_never(value)

    def _read_local(self, name: str, domain: isl.Set, *, folded: bool) -> None:
        """What a `Define` read; once, however often its value is used (nested lets would else be met exponentially)."""
        key = (name, id(domain), folded)
        if key in self.seen:
            return
        self.seen[key] = domain
        if name not in self.place.defined:
            raise NotExtractable(f"{self.place}: {name} is used before it is defined")
        defined = self.place.defined[name]
        self.read_value(defined.value, domain, self.maker.time(self.scope, defined.time, self.domain), folded=folded)

    def read_integer(self, expr: ir.IntExpr, domain: isl.Set, time: isl.Map, *, folded: bool = False) -> None:
        """Loads below an indirect subscript."""
        match expr:
            case ir.Int():
                pass
            case ir.Var(name=name):
                if not folded:
                    self.plain_variables.add(name)
            case ir.IntOp(left=left, right=right):
                self.read_integer(left, domain, time, folded=folded)
                self.read_integer(right, domain, time, folded=folded)
            case ir.IntSelect(condition=condition, then=then, otherwise=otherwise):
                self._read_condition(condition, domain, time, folded=folded)
                self.read_integer(then, domain, time, folded=folded)
                self.read_integer(otherwise, domain, time, folded=folded)
            case ir.FromValue(value=value):
                self.read_value(value, domain, time, folded=folded)
            case _:
                assert_never(expr)

    def _read_condition(self, condition: ir.Condition, domain: isl.Set, time: isl.Map, *, folded: bool) -> None:
        match condition:
            case ir.Compare(left=left, right=right):
                self.read_integer(left, domain, time, folded=folded)
                self.read_integer(right, domain, time, folded=folded)
            case ir.BoolOp(left=first, right=second):
                self._read_condition(first, domain, time, folded=folded)
                self._read_condition(second, domain, time, folded=folded)

    def check_folds(self) -> None:
        """What a Fold makes one of must not be told apart outside of it."""
        both = sorted(self.folded_axes & self.plain_variables)
        if both:
            raise NotExtractable(f"{self.place}: {both[0]} is folded, and used outside of the fold")


def _affine(expr: ir.IntExpr, scope: IntegerSpace, place: Place) -> isl.PwAff:
    value = scope.function(expr)
    if value is None:
        raise NotExtractable(f"{place}: a loop bound is not affine: {expr}")
    return value


def _bounded(
    value: isl.PwAff, compare: str, bound: ir.IntExpr, splits: str, scope: IntegerSpace, place: Place
) -> isl.Set:
    """value < min(a, b) is value < a and value < b: two constraints, where isl would make two pieces."""
    if isinstance(bound, ir.IntOp) and bound.op == splits:
        first = _bounded(value, compare, bound.left, splits, scope, place)
        return first.intersect(_bounded(value, compare, bound.right, splits, scope, place))
    result: isl.Set = getattr(value, compare)(_affine(bound, scope, place))
    return result
