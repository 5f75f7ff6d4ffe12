"""Range inference: a checked def and the specifications of its inputs to a LoopProgram.

In: a `CheckedDef`, one `Spec` per parameter.  Out: a `LoopProgram` with all ranges, shapes and preconditions.
Invariant: statement by statement in the order of the text; no isl, plain integer arithmetic only.  Whatever cannot be
shown to stay in bounds is a `Precondition` over sizes and scalars, or refused.

Roles.  An output is `ACCUMULATED` if its incoming contents matter: its first write is a reduction without `!`, or
some of its elements may be written by no statement (they are 0 in a fresh array, untouched in `out=`).  A temporary
that may be read where nothing was written (`defined.UNSURE`) gets a statement that fills it with zeros first.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence, Set
from functools import partial
from typing import Literal

from comprehension.errors import ComprehensionError, Diagnostic, shorten
from comprehension.lang.accesses import branches_of, constraints_of, reads_of, with_extents
from comprehension.lang.binding import bind_sizes
from comprehension.lang.bounds import Ranges, at, greatest
from comprehension.lang.checked import CheckedDef, CheckedStatement
from comprehension.lang.conditions import with_conditions_put_in
from comprehension.lang.coverage import Box, box_of, covers
from comprehension.lang.defined import Defined, Reader
from comprehension.lang.expressions import Attempts, Fault
from comprehension.lang.forms import Environment, choice, from_expr, resolve
from comprehension.lang.injective import conditions_to_be_injective
from comprehension.lang.interface import Declared
from comprehension.lang.limits import MAX_INT, check_shape
from comprehension.lang.linear import Linear, largest, number, smallest, to_expr, variable
from comprehension.lang.loops import Index, LoopProgram, LoopStatement, Role, TensorInfo
from comprehension.lang.printer import to_text
from comprehension.lang.prove import ranges_under
from comprehension.lang.requirements import Requirements, at_least_zero
from comprehension.lang.solve import Given, Solution, solve
from comprehension.lang.tree import (
    Access,
    Binary,
    Cast,
    Expr,
    Let,
    Name,
    Number,
    Range,
    SizeOf,
    Span,
    Statement,
    is_integral,
    names_in,
    walk,
)
from comprehension.lang.types import ScalarType, Spec
from comprehension.lang.words import wide_forms

INT32, BOOL = ScalarType.INT32, ScalarType.BOOL
Sizes = Literal["static", "symbolic"]


def infer(checked: CheckedDef, specs: Sequence[Spec] | None, sizes: Sizes = "static") -> LoopProgram:
    """The loops of a def for inputs of these shapes and types.

    With `sizes="static"` every dimension is an int.  With `"symbolic"` dimensions given as names stay names, those
    given as ints become constants; without `specs` every size of the def stays.
    Raises ComprehensionError where inputs do not fit, an index has no range, or an access would leave its tensor.

    >>> from comprehension.lang.check import check
    >>> from comprehension.lang.parser import parse
    >>> f = check(parse("def f(float(H) I, float(KH) W) -> (O) { O(h) +=! I(h + kh) * W(kh) }"))["f"]
    >>> for index in infer(f, None, "symbolic").statements[0].indices:
    ...     print(index.name, to_text(index.lower), to_text(index.upper), index.because)
    h 0 H - KH + 1 I(h + kh)
    kh 0 KH W(kh)
    """
    bound = bind_sizes(checked, specs)
    assert sizes == "symbolic" or all(form.value is not None for form in bound.values()), "static: all sizes are given"
    inference = _Inference(checked, bound)
    try:
        return inference.run()
    except Fault as fault:
        raise ComprehensionError([Diagnostic.at(str(f), f.span, checked.text) for f in fault.all()]) from None


class _Inference:
    """What is known while statements are taken one by one: sizes, shapes and writes so far, requirements."""

    def __init__(self, checked: CheckedDef, sizes: dict[str, Linear]) -> None:
        self.checked = checked
        self.sizes = sizes
        names: dict[str, Linear | None] = {**sizes}
        names |= {s.name: variable(s.name, size=False) for s in checked.scalars}
        scalars = {s.name: s.dtype for s in checked.scalars if s.dtype.is_integer}
        self.where = Environment(names, {}, scalars=scalars)
        for tensor in checked.tensors:
            if tensor.role is Role.INPUT:
                dims = tensor.dims or ()
                self.where.shapes[tensor.name] = tuple(number(d) if isinstance(d, int) else sizes[d] for d in dims)
        self.requirements = Requirements()
        self.statements: list[LoopStatement] = []
        self.boxes: dict[str, list[Box | None]] = {}
        self.computed = {t.name for t in checked.tensors if t.role in (Role.OUTPUT, Role.TEMPORARY)}
        self.unsure: set[str] = set()  # tensors that may be read where nothing has been written

    def run(self) -> LoopProgram:
        checked = self.checked
        attempts = Attempts()
        broken: set[str] = set()  # tensors of which nothing is known: what uses them is not looked at
        for position, statement in enumerate(checked.statements):
            known = broken.isdisjoint(tensors_of(statement.node))
            if not known or not attempts.attempt(partial(self.located, position, statement)):
                broken.add(statement.node.target)
        attempts.finish()
        self.check_same_sizes(len(checked.statements))
        self.check_shapes()
        not_whole = {name for name, boxes in self.boxes.items() if not covers(boxes, self.where.shapes[name])}
        return LoopProgram(
            name=checked.name,
            sizes=tuple(name for name in checked.sizes if self.sizes[name] == variable(name)),
            scalars=checked.scalars,
            tensors=tuple(self.tensor_info(t, not_whole) for t in checked.tensors),
            statements=tuple(self.numbered(not_whole & self.unsure)),
            preconditions=self.requirements.preconditions,
        )

    # --- one statement ---------------------------------------------------------------------------------------------

    def located(self, position: int, statement: CheckedStatement) -> bool:
        """The statement at a position; a fault without a place stands at the statement."""
        self.check_same_sizes(position)
        try:
            self.statement(statement)
        except Fault as fault:
            raise Fault(str(fault), fault.span or statement.node.span) from None
        return True

    def statement(self, checked: CheckedStatement) -> None:
        node, order = with_conditions_put_in(checked.node), (*checked.left, *checked.reduction)
        checked = dataclasses.replace(checked, node=node)
        where = self.local_environment(node, order)
        given = self.given_ranges(node, order, where)
        solution = solve(order, given, checked.left, constraints_of(node, where), node.span)
        for name in order:
            self.check_range(name, solution, where, given[name].span if name in given else node.span)
        for form, root in wide_forms(node, where):
            message = f"{shorten(to_text(root))} has numbers beyond 64 bits on the way"
            self.requirements.require_within(form, ScalarType.INT64, solution.ranges, where, message, root.span)
        self.widen(node, solution.ranges, where)
        for access, guards in reads_of(node):
            self.requirements.require_exact(guards, solution.ranges, where, access)
        for constraint in solution.open:
            if constraint.own and constraint.extent is not None:
                constraint = with_extents(constraint, where.shapes[node.target])
            ranges = solution.ranges
            if constraint.stored and node.initialise:
                ranges = {name: ranges[name] for name in checked.left}
            self.requirements.require_access(constraint, ranges, where)
        self.check_injective(checked, solution.ranges, where)
        self.check_defined(checked, solution.ranges, where)
        self.boxes.setdefault(node.target, []).append(box_of(node.subscripts, solution.ranges, where))
        self.statements.append(self.loop_statement(checked, solution, where))

    def local_environment(self, node: Statement, order: Sequence[str]) -> Environment:
        """The names of one statement: its indices, and the lets that are integer forms."""
        names = {**self.where.names, **{name: variable(name, size=False) for name in order}}
        where = Environment(names, self.where.shapes, scalars=self.where.scalars)
        for clause in node.where:
            if isinstance(clause, Let):
                names[clause.name] = from_expr(clause.value, where) if is_integral(clause.value) else None
                if is_integral(clause.value):
                    where.values[clause.name] = clause.value
                if clause.value.dtype is BOOL:
                    where.conditions[clause.name] = clause.value
        return where

    def given_ranges(self, node: Statement, order: Sequence[str], where: Environment) -> dict[str, Given]:
        """The ranges of `where` clauses; bounds may use indices further out only."""
        given: dict[str, Given] = {}
        for clause in node.where:
            if not isinstance(clause, Range):
                continue
            lower, upper = from_expr(clause.lower, where), from_expr(clause.upper, where)
            assert lower is not None and upper is not None, "bounds read no tensor"
            outside = order[: order.index(clause.index)]
            inner = [name for name in order if name in lower.names | upper.names and name not in outside]
            if inner:
                message = f"the bounds of '{clause.index}' use '{inner[0]}', which is not further out"
                raise Fault(f"{message}; the loops run in the order {', '.join(order)}", clause.span)
            because = f"where {clause.index} in {to_text(clause.lower)}:{to_text(clause.upper)}"
            given[clause.index] = Given(lower, upper, because, clause.span)
        return given

    def check_range(self, name: str, solution: Solution, where: Environment, span: Span | None) -> None:
        """No extent is negative (where bounds have outer indices, negative means empty), none leaves int32."""
        lower, upper = solution.ranges[name]
        if (lower.names | upper.names).isdisjoint(solution.ranges):
            because = solution.because[name]
            message = f"empty range: '{name}' runs from {lower} to {upper}, which is negative (from {because})"
            self.requirements.require(upper - lower, message, span)
        if any(bound.value is not None and abs(bound.value) > MAX_INT for bound in (lower, upper)):
            raise Fault(f"the range of '{name}' is beyond int32: from {lower} to {upper}", span)
        for bound in (lower, upper - 1):
            if bound.names.isdisjoint(solution.ranges) or not bound.names.isdisjoint(where.scalars):
                message = f"the range of '{name}' is beyond int32: from {lower} to {upper}"
                self.requirements.require_within(bound, INT32, solution.ranges, where, message, span)

    def widen(self, node: Statement, ranges: Ranges, where: Environment) -> None:
        """The target reaches as far as any statement so far has written it."""
        before: Sequence[Linear | None] = self.where.shapes.get(node.target) or self.annotated(node)
        pairs = zip(node.subscripts, before, strict=True)
        self.where.shapes[node.target] = tuple(self.extent(s, ranges, where, reached) for s, reached in pairs)

    def annotated(self, node: Statement) -> Sequence[Linear | None]:
        """The annotated sizes of a target that is written through the contents of a tensor first."""
        dims = self.checked.tensor(node.target).dims
        if dims is None or not any(isinstance(part, Access) for s in node.subscripts for part in walk(s)):
            return (None,) * len(node.subscripts)
        return [number(dim) if isinstance(dim, int) else self.sizes[dim] for dim in dims]

    def extent(self, subscript: Expr, ranges: Ranges, where: Environment, before: Linear | None) -> Linear:
        """One past the largest subscript written so far; a statement that runs for no index adds nothing."""
        reached = before
        names = names_in(subscript)
        for choices, branch in branches_of(subscript, {}):
            form = from_expr(branch, where)
            if form is None and reached is None:
                message = "the size of the target cannot be told from a subscript that reads a tensor"
                raise Fault(message, subscript.span)
            if form is not None:
                for narrowed, held in ranges_under(choices, ranges, where):
                    limits = [room + form for room in held]  # form <= limit
                    limits = [limit for limit in limits if limit.names.isdisjoint(ranges)]
                    reached = self.extent_of(form, narrowed, reached, names, limits)
        assert reached is not None, "there is a branch"
        return reached

    def extent_of(
        self, form: Linear, ranges: Ranges, before: Linear | None, names: Set[str], limits: Sequence[Linear]
    ) -> Linear:
        """One past the largest value of `form`, which is within `limits`, or what has been reached before.

        `names` stand in the subscript.
        """
        top = smallest((greatest(form, ranges, runs=False), *limits)) + 1
        runs = {name: greatest(ranges[name][1] - ranges[name][0], ranges) for name in ranges if name in names}
        if any(run.value is not None and run.value <= 0 for run in runs.values()):
            return number(0) if before is None else before
        unsure = {name: run for name, run in runs.items() if not self.requirements.is_known(run - 1)}
        reached = number(0) if before is None else before
        if all(self.adds_nothing(top, reached, run) for run in unsure.values()):
            unsure = {}
        elif len(unsure) == 1:
            ((name, _),) = unsure.items()
            at_none = {**ranges, name: (ranges[name][0], ranges[name][0])}
            if self.requirements.is_known(reached - greatest(form, at_none, runs=False) - 1):
                unsure = {}
        return self.larger(reached, guarded(list(unsure.values()), top))

    def adds_nothing(self, top: Linear, reached: Linear, run: Linear) -> bool:
        """Whether `top` says no more than what is reached where an index runs over nothing."""
        if self.requirements.is_known(reached + run - top):
            return True
        size = next((atom.key for atom, c in run.terms if atom.op == "name" and c == 1), None)
        alone = None if size is None or len(run.terms) > 1 else at(top, size, number(-run.constant))
        return alone is not None and self.requirements.is_known(reached - alone)

    def larger(self, a: Linear, b: Linear) -> Linear:
        """The larger of two forms, by all that is known of sizes."""
        if self.requirements.is_known(b - a):
            return b
        return a if self.requirements.is_known(a - b) else largest((a, b))

    def check_injective(self, checked: CheckedStatement, ranges: Ranges, where: Environment) -> None:
        """An assignment through expressions writes each element once (section 10, statements, rule 4)."""
        node = checked.node
        if node.reduction is not None and not node.initialise:
            return
        facts = self.requirements.facts
        conditions = conditions_to_be_injective(node.subscripts, checked.left, ranges, where, facts)
        message = f"several points may write one element of '{shorten(node.target)}' through these subscripts"
        if conditions is None:
            advice = (
                "if they should combine, start the elements in a statement before and use += or its like, without '!'"
            )
            raise Fault(f"{message}; {advice}", node.span)
        extents = [greatest(ranges[name][1] - ranges[name][0], ranges) for name in checked.left]
        for condition in conditions:
            self.requirements.require(condition, f"{message}, unless {condition + 1} is positive", node.span, extents)

    def check_defined(self, checked: CheckedStatement, ranges: Ranges, where: Environment) -> None:
        """What the statement reads has been written, or is the caller's."""
        node = checked.node
        reader = Reader(node, ranges, len(checked.left), where, self.requirements.facts)
        for access, guards in reads_of(node):
            if access.tensor not in self.computed:
                continue
            boxes = self.boxes.get(access.tensor, [])
            grows = access.tensor == node.target
            if not grows and covers(boxes, self.where.shapes[access.tensor]):
                continue
            rooms = self.requirements.rooms(guards, ranges, where)
            may_wrap = any(room != [] for room in rooms.values())  # then guards prove nothing
            match reader.is_defined(access, () if may_wrap else guards, boxes):
                case Defined.DEFINED:
                    pass
                case Defined.UNDEFINED if not may_wrap:
                    message = f"{shorten(to_text(access))} reads elements of '{shorten(access.tensor)}' that no earlier"
                    raise Fault(f"{message} statement has written; write them first", access.span)
                case _:
                    self.unsure.add(access.tensor)

    def loop_statement(self, checked: CheckedStatement, solution: Solution, where: Environment) -> LoopStatement:
        node, sizes = checked.node, self.sizes.keys()
        indices = tuple(
            Index(name, to_expr(lower), to_expr(upper), solution.because[name])
            for name, (lower, upper) in solution.ranges.items()
        )
        lets = tuple(Let(c.name, resolve(c.value, sizes, where), span=c.span) for c in node.where if isinstance(c, Let))
        return LoopStatement(
            name="",
            target=node.target,
            subscripts=tuple(resolve(s, sizes, where) for s in node.subscripts),
            value=resolve(node.value, sizes, where),
            indices=indices,
            left=len(checked.left),
            reduction=node.reduction,
            initialise=node.initialise,
            lets=lets,
            span=node.span,
        )

    # --- the whole def -----------------------------------------------------------------------------------------------

    def check_same_sizes(self, position: int) -> None:
        """What the calls expanded before this statement ask of sizes."""
        for same in self.checked.same_sizes:
            if same.before == position:
                left, right = from_expr(same.left, self.where), from_expr(same.right, self.where)
                assert left is not None and right is not None, "sizes are forms"
                self.requirements.require_equal(left, right, same.message, same.span)

    def check_shapes(self) -> None:
        """Annotated dimensions are what was inferred, and every tensor can exist."""
        for tensor in self.checked.tensors:
            shape = self.where.shapes[tensor.name]
            last = next((s.span for s in reversed(self.statements) if s.target == tensor.name), tensor.span)
            if tensor.role is not Role.INPUT and tensor.dims is not None:
                for axis, (dim, extent) in enumerate(zip(tensor.dims, shape, strict=True)):
                    wanted = number(dim) if isinstance(dim, int) else self.sizes[dim]
                    message = f"dimension {axis} of '{tensor.name}' is annotated {dim}"
                    self.requirements.require_equal(extent, wanted, message, last)
            known = [1 if extent.value is None else extent.value for extent in shape]
            try:
                check_shape(f"'{tensor.name}'", known, tensor.dtype)
            except ComprehensionError as error:
                raise Fault(str(error), last) from None

    def tensor_info(self, tensor: Declared, partial: Set[str]) -> TensorInfo:
        role = Role.ACCUMULATED if tensor.role is Role.OUTPUT and tensor.name in partial else tensor.role
        shape = tuple(to_expr(extent) for extent in self.where.shapes[tensor.name])
        return TensorInfo(tensor.name, tensor.dtype, shape, role)

    def numbered(self, unsure: Set[str]) -> Iterator[LoopStatement]:
        """The statements with their names; a temporary that may be read where it is not written starts as zeros."""
        unfilled = {t.name: t for t in self.checked.tensors if t.role is Role.TEMPORARY and t.name in unsure}
        taken = self.where.names.keys() | self.where.shapes.keys()
        number_of = itertools.count()
        for statement in self.statements:
            if statement.target in unfilled:
                tensor = unfilled.pop(statement.target)
                shape = [to_expr(extent) for extent in self.where.shapes[tensor.name]]
                fill = zero_fill(tensor.name, tensor.dtype, shape, statement, taken)
                yield dataclasses.replace(fill, name=f"S{next(number_of)}")
            yield dataclasses.replace(statement, name=f"S{next(number_of)}")


def tensors_of(node: Statement) -> set[str]:
    """The tensors that a statement reads, writes, or asks for their size."""
    expressions = [*node.subscripts, node.value]
    for clause in node.where:
        expressions += (clause.lower, clause.upper) if isinstance(clause, Range) else (clause.value,)
    parts = (part for root in expressions for part in walk(root))
    return {part.tensor for part in parts if isinstance(part, Access | SizeOf)} | {node.target}


def guarded(runs: Sequence[Linear], extent: Linear) -> Linear:
    """`extent` where all of `runs` are positive, else 0."""
    if not runs:
        return extent
    condition = at_least_zero(runs[0] - 1)
    for run in runs[1:]:
        condition = Binary("&&", condition, at_least_zero(run - 1), dtype=BOOL)
    return choice(condition, largest((extent, number(0))), number(0))


def zero_fill(
    name: str, dtype: ScalarType, shape: Sequence[Expr], before: LoopStatement, taken: Set[str]
) -> LoopStatement:
    """`T(T_0, T_1) = 0` over the whole of a temporary, with index names that are not `taken`."""
    names = [f"{name}_{axis}" for axis in range(len(shape))]
    while not taken.isdisjoint(names):
        names = [f"{each}_" for each in names]
    indices = tuple(
        Index(each, Number(0, dtype=INT32), extent, f"zeros of '{name}'")
        for each, extent in zip(names, shape, strict=True)
    )
    zero = Cast(dtype, Number(0, dtype=INT32), dtype=dtype)
    subscripts = tuple(Name(each, dtype=INT32) for each in names)
    return LoopStatement("", name, subscripts, zero, indices, len(indices), span=before.span)
