"""Strides: how the address of an access moves with each index of its statement.

In: statements of a Scop.  Out: per access and index the step in elements, or IRREGULAR.
Invariant: for an access without IRREGULAR the address is a constant plus the sum of stride * index; symbolic
sizes count as what `typical` takes them to be, so strides over them are estimates, as are those that only the call
knows (0, 1 and -1 are always exact).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from comprehension.kernel import ir
from comprehension.kernel.simplify import Linear, linear, varies_with
from comprehension.kernel.values import ValueBuilder
from comprehension.lang import tree
from comprehension.lang.loops import LoopProgram
from comprehension.layout import typical_strides
from comprehension.poly.scop import Scop, ScopRole, ScopStatement, reads_in_order
from comprehension.poly.typical import typical_sizes, typical_value

IRREGULAR = None


@dataclass(frozen=True, slots=True)
class AccessPattern:
    """`strides[d]`: elements that the address moves when index `d` grows by one; IRREGULAR if that varies.

    `subscripts[a]` has the coefficient of each index in subscript `a` in the same way; neighbours along axis `a` lie
    `steps[a]` elements apart.
    """

    statement: str
    number: int
    tensor: str
    is_write: bool
    strides: tuple[int | None, ...]
    subscripts: tuple[tuple[int | None, ...], ...]
    constants: tuple[int | None, ...]  # what each subscript adds to them; None where that is no constant
    steps: tuple[int, ...]

    @property
    def moving(self) -> int:
        """How many indices move the address."""
        return sum(stride != 0 for stride in self.strides)

    def depends_on(self, dim: int) -> bool:
        return any(row[dim] != 0 for row in self.subscripts)


@dataclass(slots=True)
class AccessPatterns:
    """The patterns of all accesses of a Scop, found once a statement."""

    scop: Scop
    _found: dict[str, tuple[AccessPattern, ...]] = field(default_factory=dict)
    _steps: dict[str, tuple[int, ...]] = field(default_factory=dict)  # by tensor
    _sizes: dict[str, int] | None = None

    def of(self, statement: str) -> tuple[AccessPattern, ...]:
        """In the order of the statement's accesses: the write first."""
        if statement not in self._found:
            self._found[statement] = tuple(self._patterns(self.scop.statement(statement)))
        return self._found[statement]

    def _patterns(self, statement: ScopStatement) -> Iterator[AccessPattern]:
        source = statement.source
        yield self._pattern(statement, 0, source.target, source.subscripts, is_write=True)
        if statement.role is ScopRole.INIT:
            return
        number = 1
        for read, _ in reads_in_order(source):
            yield self._pattern(statement, number, read.tensor, read.subscripts)
            number += 1
        if statement.role is ScopRole.UPDATE:
            yield self._pattern(statement, number, source.target, source.subscripts)

    def _pattern(
        self,
        statement: ScopStatement,
        number: int,
        tensor: str,
        subscripts: tuple[tree.Expr, ...],
        *,
        is_write: bool = False,
    ) -> AccessPattern:
        forms = [affine_form(self.scop.program, statement, s) for s in subscripts]
        rows = tuple(coefficients(statement, form) for form in forms)
        constants = tuple(_constant(statement, form) for form in forms)
        if tensor not in self._steps:
            if self._sizes is None:
                self._sizes = typical_sizes(self.scop.program)
            self._steps[tensor] = strides_of(self.scop.program, tensor, self._sizes)
        steps = self._steps[tensor]
        strides = tuple(_stride([row[d] for row in rows], steps) for d in range(len(statement.dims)))
        return AccessPattern(statement.name, number, tensor, is_write, strides, rows, constants, steps)


def affine_form(program: LoopProgram, statement: ScopStatement, subscript: tree.Expr) -> Linear:
    builder = ValueBuilder(program, statement.source, {})
    for let in statement.source.lets:
        builder.define_let(let, let.name)
    return linear(builder.integer(subscript))


def coefficients(statement: ScopStatement, form: Linear) -> tuple[int | None, ...]:
    """The coefficient of each index of the statement in a subscript."""
    result: list[int | None] = []
    for dim in statement.dims:
        own = ir.Var(dim)
        hidden = any(atom != own and varies_with(atom, dim) for atom, _ in form.terms)
        result.append(IRREGULAR if hidden else form.coefficient(own))
    return tuple(result)


def _constant(statement: ScopStatement, form: Linear) -> int | None:
    indices = {ir.Var(dim) for dim in statement.dims}
    return form.constant if all(atom in indices for atom, _ in form.terms) else None


def strides_of(program: LoopProgram, tensor: str, sizes: dict[str, int] | None = None) -> tuple[int, ...]:
    """Elements between neighbours along each axis of a tensor, at these or at typical sizes."""
    info = program.tensor(tensor)
    sizes = typical_sizes(program) if sizes is None else sizes
    extents = [typical_value(size, sizes) for size in info.shape]
    if info.layout is not None:
        return typical_strides(info.layout, extents)
    return tuple(prod(extents[axis + 1 :]) for axis in range(len(extents)))


def innermost_axis(strides: tuple[int, ...]) -> int:
    """The axis along which elements lie closest: the last of dense rows (-1 where there is none)."""
    moving = [axis for axis, stride in enumerate(strides) if stride != 0]
    return min(moving, key=lambda axis: (abs(strides[axis]), -axis), default=len(strides) - 1)


def _stride(coefficients_: list[int | None], steps: tuple[int, ...]) -> int | None:
    total = 0
    for coefficient, step in zip(coefficients_, steps, strict=True):
        if coefficient is None:
            return IRREGULAR
        total += coefficient * step
    return total


def single_axis_of(pattern: AccessPattern, dim: int) -> int | None:
    """The one axis whose subscript is exactly this index; None if there is none or others move with it."""
    axes = [axis for axis, row in enumerate(pattern.subscripts) if row[dim] != 0]
    if len(axes) != 1:
        return None
    row = pattern.subscripts[axes[0]]
    alone = row[dim] == 1 and all(c == 0 for d, c in enumerate(row) if d != dim)
    return axes[0] if alone and pattern.constants[axes[0]] == 0 else None
