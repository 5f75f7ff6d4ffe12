"""ScheduleTree: isl's schedule, what its marks mean, and how it came about.

In: made by `poly.mapper`, or by `poly.looptree` from a user's steps.
Out: `kernel.build` walks the AST that isl makes of it; printed as `kernel.schedule`.
Invariant: every mark in the isl tree has its `Decision` under the same name; the isl schedule alone says in
which order instances run, decisions say how a loop or a tensor is realised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from comprehension.kernel.ir import Space
from comprehension.kernel.portrait import Node, NodeKind
from comprehension.lang.tree import ReduceOp
from comprehension.poly import isl


@dataclass(frozen=True, slots=True)
class StageMark:
    """What stands below is one stage; with `parallel` its outermost loop is divided among workers.

    That is the first of the `coincident` outermost schedule dimensions for which isl makes a loop at all.
    """

    parallel: bool
    grain: int = 1
    coincident: int = 0

    def __str__(self) -> str:
        return f"parallel, {self.grain} iterations a chunk at least" if self.parallel else "serial"


@dataclass(frozen=True, slots=True)
class TileMark:
    """The band below is a tile: its last member runs over lanes, the one before it (if any) over rows.

    `labels`: what a user calls these loops.
    """

    lanes: int
    rows: int | None = None
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.lanes} lanes" if self.rows is None else f"{self.rows} rows, {self.lanes} lanes"


@dataclass(frozen=True, slots=True, eq=False)
class Promotion:
    """A local buffer that stands for a box of a tensor while the prefix schedule stands still.

    Element `t` of the tensor is at `t - offsets` of the box (a register buffer: at its place in the tile).  An
    offset is an affine function of the prefix schedule's dimensions; an extent of None is the whole axis.
    `axes`: those axes of the tensor that the buffer has, in its order.  `panel` says that axis `panel[0]` of the
    box is laid out in panels of `panel[1]`: outermost the panel (if there are several), innermost the place in it.
    `access`: the one access of each statement that is redirected (None: all that it has to the tensor).
    `is_home`: nothing of the box is elsewhere while it stands: copies between the tensor and other buffers go here.
    """

    tensor: str
    buffer: str
    space: Space
    offsets: tuple[isl.Aff, ...]
    extents: tuple[int | None, ...]
    statements: frozenset[str]  # whose accesses are redirected
    axes: tuple[int, ...]
    settled: tuple[isl.Aff | None, ...] = ()  # prefix dimensions that those before them determine: no loop is made
    panel: tuple[int, int] | None = None
    access: int | None = None
    is_home: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class PromoteMark:
    """Below, the tensors are accessed in local buffers."""

    promotions: tuple[Promotion, ...]

    def __str__(self) -> str:
        shown = (f"{p.tensor} in {p.space.value} {p.buffer}{list(p.extents)}" for p in self.promotions)
        return ", ".join(shown)


@dataclass(frozen=True, slots=True)
class AccumulateMark:
    """Below, a statement's reduction goes to `lanes` private accumulators, combined after the loops."""

    statement: str
    op: ReduceOp
    buffer: str
    lanes: int

    def __str__(self) -> str:
        return f"{self.lanes} accumulators {self.buffer}, combined by {self.op}"


@dataclass(frozen=True, slots=True)
class LoopMark:
    """The band below is the loop that a user calls `label`; its body is to stand there `unroll` times."""

    label: str
    unroll: int = 1

    def __str__(self) -> str:
        return self.label if self.unroll == 1 else f"{self.label} ({self.unroll} times unrolled)"


@dataclass(frozen=True, slots=True)
class RowsMark:
    """So many iterations of the band below run at once, as rows of the tiles in it, where each can be done for rows."""

    rows: int

    def __str__(self) -> str:
        return f"{self.rows} iterations at once"


@dataclass(frozen=True, slots=True)
class JamMark:
    """So many iterations of the band below stand side by side in the loops inside of it."""

    copies: int

    def __str__(self) -> str:
        return f"{self.copies} iterations side by side"


Decision = StageMark | TileMark | PromoteMark | AccumulateMark | LoopMark | RowsMark | JamMark


@dataclass(frozen=True, slots=True)
class CopyStatement:
    """A statement that the schedule added: one element moved between a tensor and its local buffer.

    `fill` instead sets elements of the buffer that have no counterpart to zero.
    """

    name: str
    buffer: str
    tensor: str
    into_buffer: bool
    fill: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ScheduleTree:
    """An isl schedule with the meaning of its marks; `steps` tells in words what was done and why.

    `history`: the loops as written, and after each transformation, as text.  `assumed`: what sizes must not exceed for
    the schedule to be a good one (it is right for all).
    """

    schedule: isl.Schedule
    decisions: Mapping[str, Decision]
    copies: Mapping[str, CopyStatement] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    assumed: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        """How the loops came about, the loops as a tree, and below it the steps that led to them."""
        told = [line for loops in self.history for line in (loops, "")]
        return "\n".join([*told, *(line for node in self.nodes() for line in node.lines()), "", *self.steps])

    def nodes(self) -> tuple[Node, ...]:
        """The tree without isl, for printing and drawing."""
        return _nodes(self.schedule.get_root().child(0), self.decisions)


def coincident_dimensions(node: isl.ScheduleNode) -> int:
    """How many of the outermost schedule dimensions from `node` on carry no dependence."""
    count = 0
    while node.get_type() in (isl.schedule_node_type.band, isl.schedule_node_type.mark):
        if node.get_type() == isl.schedule_node_type.band:
            for position in range(node.band_n_member()):
                if not node.band_member_get_coincident(position):
                    return count
                count += 1
        node = node.child(0)
    return count


def _nodes(node: isl.ScheduleNode, decisions: Mapping[str, Decision]) -> tuple[Node, ...]:
    """What stands at and below an isl node; those that say nothing to a reader are passed over."""
    below = tuple(n for position in range(node.n_children()) for n in _nodes(node.child(position), decisions))
    match node.get_type():
        case isl.schedule_node_type.band:
            schedule = node.band_get_partial_schedule()
            for position in reversed(range(node.band_n_member())):
                kind: NodeKind = "parallel loop" if node.band_member_get_coincident(position) else "loop"
                below = (Node(kind, _member(schedule.get_union_pw_aff(position)), children=below),)
        case isl.schedule_node_type.mark:
            name = node.mark_get_id().get_name()
            decision = decisions[name]
            if isinstance(decision, LoopMark):
                below = tuple(replace(band, label=f"{decision} = {band.label}") for band in below)
            else:
                below = (Node(_KINDS[type(decision)], name, str(decision), below),)
        case isl.schedule_node_type.filter:
            below = (Node("statements", ", ".join(_spaces(node.filter_get_filter())), children=below),)
    return below


_KINDS: dict[type, NodeKind] = {
    StageMark: "stage",
    TileMark: "tile",
    PromoteMark: "buffers",
    AccumulateMark: "accumulators",
    RowsMark: "rows",
    JamMark: "rows",
}


def _member(member: isl.UnionPwAff) -> str:
    """What the loop counts; once if all statements count the same, else statement by statement, sorted."""
    parts = member.get_pw_aff_list()
    counted: dict[str, list[str]] = {}
    for position in range(parts.n_pw_aff()):
        text = parts.get_at(position).to_str()
        statement, _, value = text[text.index("{") + 1 : text.rindex("}")].partition(" -> ")
        counted.setdefault(value.strip().removeprefix("[(").removesuffix(")]"), []).append(
            statement.split("[")[0].strip()
        )
    if len(counted) == 1:
        return next(iter(counted))
    return "; ".join(f"{value} in {', '.join(sorted(names))}" for value, names in sorted(counted.items()))


def _spaces(instances: isl.UnionSet) -> list[str]:
    sets = instances.get_set_list()
    return sorted(sets.get_at(i).get_tuple_name() for i in range(sets.n_set()))
