"""How long loops are: the range of an index, and a number to reckon with where sizes are symbolic.

In: statements of a Scop.  Out: ranges as isl sets and typical extents as ints.
Invariant: exact for static programs; a symbolic size counts as what `typical` takes it to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from comprehension.jit.expression import evaluate
from comprehension.kernel.size_text import text_of
from comprehension.lang import tree
from comprehension.poly import isl
from comprehension.poly.parameters import parameters_of
from comprehension.poly.scop import Scop
from comprehension.poly.typical import settled_sizes, typical_sizes

UNBOUNDED = 1024  # where isl finds no number


@dataclass(slots=True)
class Extents:
    """Ranges and extents of the indices of a Scop's statements, computed once each."""

    scop: Scop
    typical: dict[str, int] = field(default_factory=dict)
    settled: frozenset[str] = frozenset()  # sizes that a version of the kernel is for as they were seen
    assumed: dict[str, int] = field(default_factory=dict)  # sizes that the plan holds for up to a number alone
    _ranges: dict[tuple[str, int], isl.Set] = field(default_factory=dict)
    _extents: dict[tuple[str, int], int] = field(default_factory=dict)
    _boxes: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.typical = typical_sizes(self.scop.program)
        self.settled = frozenset(settled_sizes(self.scop.program))
        for name, value in parameters_of(self.scop.program).items():
            self.typical[name] = int(evaluate(text_of(value), self.typical))

    def range_of(self, statement: str, dim: int) -> isl.Set:
        """{ [x] : x is a value of the index }, over the sizes."""
        key = (statement, dim)
        if key not in self._ranges:
            domain = self.scop.statement(statement).domain
            rank = domain.dim(isl.dim_type.set)
            line = domain.project_out(isl.dim_type.set, dim + 1, rank - dim - 1).project_out(isl.dim_type.set, 0, dim)
            self._ranges[key] = (
                isl.wherever_it_runs(line).reset_tuple_id().set_dim_name(isl.dim_type.set, 0, "x").coalesce()
            )
        return self._ranges[key]

    def extent(self, statement: str, dim: int) -> int:
        """How many values the index takes (from least to largest), sizes being typical."""
        key = (statement, dim)
        if key not in self._extents:
            self._extents[key] = self.length(self.range_of(statement, dim))
        return self._extents[key]

    def length(self, line: isl.Set) -> int:
        """From the least to the largest of some integers, sizes being typical."""
        line = isl.at_sizes(line, self.typical)
        if line.is_empty():
            return 0
        first, last = line.dim_min_val(0), line.dim_max_val(0)
        bounded = first.is_int() and last.is_int()
        return int(last.to_python()) - int(first.to_python()) + 1 if bounded else UNBOUNDED

    def lower_bound(self, statement: str, dim: int) -> isl.PwAff:
        """The least value of the index, over the sizes alone."""
        line = self.range_of(statement, dim)
        if line.is_empty():
            local = isl.LocalSpace.from_space(line.get_space().params())
            return isl.PwAff.from_aff(isl.Aff.zero_on_domain(local))
        lowest = line.dim_min(0)
        return lowest.gist(lowest.domain())  # where the range is empty any value will do

    def is_static(self, statement: str, dim: int) -> bool:
        """Whether the extent is the same for all sizes."""
        line = self.range_of(statement, dim)
        parameters = line.dim(isl.dim_type.param)
        return not line.involves_dims(isl.dim_type.param, 0, parameters)

    def known(self, statement: str, dim: int) -> int:
        """The extent, where loops will run that often in the version of the kernel for the sizes seen; 0 elsewhere."""
        line = self.range_of(statement, dim)
        named = enumerate(isl.parameter_names(line))
        sizes = {name for position, name in named if line.involves_dims(isl.dim_type.param, position, 1)}
        return self.extent(statement, dim) if sizes <= self.settled else 0

    def assume_at_most(self, statement: str, dim: int, most: int) -> bool:
        """Whether the extent is no more than that: for all sizes, or by assuming it of a size that was seen."""
        if self.extent(statement, dim) > most:
            return False
        if self.is_static(statement, dim):
            return True
        index = self.scop.statement(statement).source.indices[dim]
        sizes, bound = dict(self.scop.program.likely), index.upper
        if index.lower != tree.Number(0) or not isinstance(bound, tree.Name) or bound.id not in sizes:
            return False
        self.assumed[bound.id] = most
        return True

    def is_box(self, statement: str) -> bool:
        """Whether no range depends on another index."""
        if statement not in self._boxes:
            self._boxes[statement] = self._is_box(statement)
        return self._boxes[statement]

    def _is_box(self, statement: str) -> bool:
        domain = self.scop.statement(statement).domain
        box = isl.Set.universe(domain.get_space())
        for dim in range(domain.dim(isl.dim_type.set)):
            line = self.range_of(statement, dim)
            before = domain.dim(isl.dim_type.set) - dim - 1
            wide = line.insert_dims(isl.dim_type.set, 0, dim).add_dims(isl.dim_type.set, before)
            box = box.intersect(wide.set_tuple_name(statement))
        return bool(box.is_subset(domain))

    def instances(self, statement: str) -> int:
        """About how many instances the statement has."""
        total = 1
        for dim in range(len(self.scop.statement(statement).dims)):
            total *= self.extent(statement, dim)
        return total
