"""What the pictures of a kernel show: its schedule tree, and the instances of its statements in the plane.

In: a Scop, its dependences and the schedule that was proved.  Out: a `Portrait`, data without isl.
Invariant: every point, time and arrow drawn is one of the schedule's; what is left out is said in `notes`.
A plane shows a window of a domain, at its corner, in which more than one tile can be seen each way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from comprehension.kernel.portrait import NOTHING, Axis, Flow, Kind, Order, Pair, Plane, Portrait
from comprehension.lang.loop_printer import statement_text
from comprehension.lang.loops import LoopProgram
from comprehension.lang.printer import to_text
from comprehension.lang.scalars import identity
from comprehension.lang.tree import Access
from comprehension.poly import isl
from comprehension.poly.dependence import Dependence, Dependences
from comprehension.poly.grid import UNDEFINED, Array, contains, values
from comprehension.poly.schedule_tree import ScheduleTree, StageMark, TileMark
from comprehension.poly.scop import Scop, ScopRole, ScopStatement

MAX_PLANES = 12  # of one kernel
MAX_COLUMNS, MAX_ROWS = 96, 32  # of a window
NEAR = (6, 12)  # rows and columns between which dependences are drawn
MAX_ARROWS = 400
KINDS: tuple[Kind, ...] = ("raw", "war", "waw", "reduction")  # a pair is drawn as the first that it is
MAX_FLOWS = 24
TYPICAL_SIZES = (64, 37, 24, 8, 4, 2, 1)
_BUDGET = 2_000_000  # isl operations of one portrait


def portrait_of(scop: Scop, dependences: Dependences, tree: ScheduleTree) -> Portrait:
    """The portrait of a scheduled kernel; what isl cannot say within a budget is left out and noted."""
    statements = tuple((s.name, _text(s, scop.program)) for s in scop.statements)
    nodes = tree.nodes()
    try:
        artist = isl.bounded(scop.context.get_ctx(), _BUDGET, lambda: _Artist(scop, dependences, tree))
    except (isl.Error, isl.OutOfBudget) as reason:
        return Portrait(nodes, statements, notes=(f"the domains are too involved to draw: {reason}",))
    sizes = tuple(artist.sizes.items())
    return Portrait(nodes, statements, sizes, tuple(artist.planes), tuple(artist.flows), tuple(artist.notes))


def _text(statement: ScopStatement, program: LoopProgram) -> str:
    """What a statement computes; of an initialising reduction the two parts."""
    source = statement.source
    if statement.role is ScopRole.INIT and source.reduction is not None:
        start = identity(source.reduction, program.tensor(source.target).dtype)
        return f"{to_text(Access(source.target, source.subscripts))} = {start}"
    return statement_text(source).replace("=! ", "= ", 1) if source.initialise else statement_text(source)


@dataclass(slots=True)
class _Level:
    """One loop around a statement, or its position in a sequence."""

    value: isl.PwAff | int
    parallel: bool = False  # among the loops that a stage may divide among workers
    in_tile: bool = False  # lanes or rows: its points run at once


@dataclass(slots=True)
class _Window:
    """The part of a plane that is drawn, with its points' columns for `poly.grid`."""

    statement: ScopStatement
    rows: int | None  # set dimension
    columns: int | None
    fixed: dict[int, int]
    axes: dict[int, Axis]
    shape: tuple[int, int]
    inside: Array = field(default_factory=lambda: np.ones((1, 1), bool))

    def at(self, row: Array | int, column: Array | int) -> list[Array | int]:
        """The set dimensions of the points at these places."""
        found: list[Array | int] = []
        for dimension in range(len(self.statement.dims)):
            if dimension == self.rows:
                found.append(self.axes[dimension].origin + row)
            elif dimension == self.columns:
                found.append(self.axes[dimension].origin + column)
            else:
                found.append(self.fixed[dimension])
        return found

    def places(self) -> tuple[Array, Array]:
        """Row and column of each instance, in the order of the text."""
        rows, columns = np.nonzero(self.inside)
        return rows, columns


class _Artist:
    """Draws the planes one by one; everything is computed for one choice of sizes."""

    def __init__(self, scop: Scop, dependences: Dependences, tree: ScheduleTree) -> None:
        self.scop = scop
        self.sizes = _choose_sizes(scop.context)
        self.notes: list[str] = []
        self.planes: list[Plane] = []
        self.flows: list[Flow] = []
        self.levels = _levels(tree, [s.name for s in scop.statements])
        drawn = [s for s in scop.statements if s.role is not ScopRole.INIT]
        if len(drawn) > MAX_PLANES:
            self.notes.append(f"the first {MAX_PLANES} of {len(drawn)} statements are drawn")
        self.windows: dict[str, _Window] = {}
        for statement in drawn[:MAX_PLANES]:
            window = self.window(statement)
            if window is None:
                self.notes.append(f"{statement.name} has no instances here")
                continue
            self.windows[statement.name] = window
            self.planes.append(self.plane(window, dependences.between(statement.name, statement.name)))
        self.draw_flows(dependences)

    # --- windows ------------------------------------------------------------------------------------------------

    def window(self, statement: ScopStatement) -> _Window | None:
        domain = isl.at_sizes(statement.domain, self.sizes)
        if domain.is_empty():
            return None
        rows, columns, reach = self.plane_dimensions(statement)
        fixed: dict[int, int] = {}
        for dimension in range(len(statement.dims)):
            if dimension not in (rows, columns):
                fixed[dimension] = _value(domain.dim_min_val(dimension))
                domain = domain.fix_val(isl.dim_type.set, dimension, isl.Val(fixed[dimension], domain.get_ctx()))
        axes: dict[int, Axis] = {}
        shape = {rows: 1, columns: 1}
        for drawn, most in ((rows, reach[0]), (columns, reach[1])):
            if drawn is not None:
                lower, upper = _value(domain.dim_min_val(drawn)), _value(domain.dim_max_val(drawn)) + 1
                axes[drawn] = Axis(statement.dims[drawn], lower, lower, upper)
                shape[drawn] = min(upper - lower, most)
        window = _Window(statement, rows, columns, fixed, axes, (shape[rows], shape[columns]))
        window.inside = contains(statement.domain, self.sizes, window.at(*np.indices(window.shape)))
        window.inside = np.broadcast_to(window.inside, window.shape)
        return window

    def plane_dimensions(self, statement: ScopStatement) -> tuple[int | None, int | None, tuple[int, int]]:
        """Which indices to draw, rows and columns: those of the tile if there is one; and how far."""
        count = len(statement.dims)
        tiles = [_dimension(level.value) for level in self.levels[statement.name] if level.in_tile]
        lanes = tiles[-1] if tiles else None
        columns = lanes if lanes is not None else (count - 1 if count else None)
        # Without rows of a tile the outermost index, which units of parallel work are most often told apart by.
        others = [d for d in (*tiles[:-1], *range(count)) if d is not None and d != columns]
        rows = others[0] if others else None
        wide = self.extent(statement, len(tiles) - 1) if tiles else 1
        high = self.extent(statement, len(tiles) - 2) if len(tiles) > 1 else 1
        shown = max(12, high + min(high, 16)), max(24, wide + min(wide, 16))
        return rows, columns, (min(MAX_ROWS, shown[0]), min(MAX_COLUMNS, shown[1]))

    def extent(self, statement: ScopStatement, position: int) -> int:
        """How many points a member of the tile has."""
        level = [level for level in self.levels[statement.name] if level.in_tile][position]
        assert isinstance(level.value, isl.PwAff), "loops have functions"
        return _value(level.value.max_val()) - _value(level.value.min_val()) + 1

    # --- planes -------------------------------------------------------------------------------------------------

    def plane(self, window: _Window, edges: Sequence[Dependence]) -> Plane:
        unit, time = self.order(window)
        orders = tuple(sorted(self.orders(window, edges), key=lambda order: order.kind))
        axes = tuple(window.axes[d] for d in (window.rows, window.columns) if d is not None)
        fixed = tuple((window.statement.dims[d], value) for d, value in window.fixed.items())
        return Plane(window.statement.name, axes, fixed, unit, time, orders)

    def order(self, window: _Window) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
        """Numbers for the unit of parallel work and the time of each place of a window."""
        rows, columns = window.places()
        levels = self.levels[window.statement.name]
        counted: list[Array] = []
        unit: Array | None = None
        for level in levels:
            if level.in_tile:
                continue
            if isinstance(level.value, int):
                found: Array = np.full(rows.shape, level.value)
            else:
                found = np.broadcast_to(values(level.value, self.sizes, window.at(rows, columns)), rows.shape)
                found = np.where(found == UNDEFINED, 0, found)
                if level.parallel and unit is None and not _is_constant(level.value, window.statement.domain):
                    unit = found
            counted.append(found)
        units = _ranks([] if unit is None else [unit])
        return _grid(window, rows, columns, units), _grid(window, rows, columns, _ranks(counted))

    def orders(self, window: _Window, edges: Sequence[Dependence]) -> Iterator[Order]:
        """The direct dependences between points near the corner: those that no chain of others implies."""
        rows, columns = window.places()
        near = np.flatnonzero((rows < NEAR[0]) & (columns < NEAR[1]))
        rows, columns = rows[near], columns[near]
        pairs = window.at(rows[:, None], columns[:, None]) + window.at(rows[None], columns[None])
        by_kind = {kind: np.zeros((len(near), len(near)), bool) for kind in KINDS}
        for edge in edges:
            found = by_kind["reduction" if edge.is_reduction else edge.kind]
            found |= contains(edge.relation.wrap(), self.sizes, pairs)
        before = np.logical_or.reduce(list(by_kind.values()))
        if not before.any():
            return
        left = before & ~_in_two_steps(before)
        for kind, found in by_kind.items():
            chosen = np.argwhere(left & found)
            left &= ~found
            if len(chosen) > MAX_ARROWS:
                self.notes.append(f"{window.statement.name}: {MAX_ARROWS} of {len(chosen)} dependences are drawn")
            if len(chosen):
                yield Order(kind, tuple(_pair(rows, columns, a, b) for a, b in chosen[:MAX_ARROWS]))

    # --- flows --------------------------------------------------------------------------------------------------

    def draw_flows(self, dependences: Dependences) -> None:
        """Where one instance of each statement, near the middle of its window, gets its values from."""
        reads: dict[tuple[str, str], list[Dependence]] = {}
        for edge in dependences.edges:
            known = edge.source in self.windows and edge.sink in self.windows
            if edge.kind == "raw" and edge.source != edge.sink and known:
                reads.setdefault((edge.source, edge.sink), []).append(edge)
        for (source, sink), edges in [*reads.items()][:MAX_FLOWS]:
            flow = self.flow(self.windows[source], self.windows[sink], edges)
            if flow is not None:
                self.flows.append(flow)
        if len(reads) > MAX_FLOWS:
            self.notes.append(f"reads between {MAX_FLOWS} of {len(reads)} pairs of statements are drawn")

    def flow(self, source: _Window, sink: _Window, edges: Sequence[Dependence]) -> Flow | None:
        """The instance that is drawn: the one nearest to the middle that needs something which can be seen."""
        rows, columns = sink.places()
        row, column = min(sink.shape[0], 8) / 2, min(sink.shape[1], 12) / 2
        for chosen in np.argsort(np.hypot(rows - row, columns - column), kind="stable")[:9]:
            at = (int(rows[chosen]), int(columns[chosen]))
            here = source.at(*np.indices(source.shape)) + sink.at(*at)
            needed = np.zeros(source.shape, bool)
            for edge in edges:
                needed |= contains(edge.relation.wrap(), self.sizes, here)
            if needed.any():
                tensors = ", ".join(sorted({edge.tensor for edge in edges}))
                places = tuple((int(a), int(b)) for a, b in np.argwhere(needed))
                return Flow(source.statement.name, sink.statement.name, tensors, at, places)
        return None


def _in_two_steps(before: Array) -> Array:
    """Whether a chain leads from the first to the second: rows as bits of one number each, no product of matrices."""
    bits = [int.from_bytes(np.packbits(row).tobytes(), "big") for row in before]
    width = -(-len(bits) // 8)
    reached = []
    for row in before:
        total = 0
        for step in np.flatnonzero(row).tolist():
            total |= bits[step]
        reached.append(np.unpackbits(np.frombuffer(total.to_bytes(width, "big"), np.uint8), count=len(bits)))
    return np.array(reached, bool)


def _pair(rows: Array, columns: Array, source: int, sink: int) -> Pair:
    return int(rows[source]), int(columns[source]), int(rows[sink]), int(columns[sink])


def _choose_sizes(context: isl.Set) -> dict[str, int]:
    """Values for the parameters, all the same if that is allowed."""
    names = isl.parameter_names(context)
    for size in TYPICAL_SIZES:
        if not isl.at_sizes(context, dict.fromkeys(names, size)).is_empty():
            return dict.fromkeys(names, size)
    point = context.sample_point()
    return {name: _value(point.get_coordinate_val(isl.dim_type.param, p)) for p, name in enumerate(names)}


def _value(value: isl.Val) -> int:
    return int(value.to_python())


def _dimension(value: isl.PwAff | int) -> int | None:
    """The only index that a loop depends on, or None."""
    if isinstance(value, int):
        return None
    met = [d for d in range(value.dim(isl.dim_type.in_)) if value.involves_dims(isl.dim_type.in_, d, 1)]
    return met[0] if len(met) == 1 else None


def _is_constant(value: isl.PwAff, domain: isl.Set) -> bool:
    within = value.intersect_domain(domain)
    lowest, highest = within.min_val(), within.max_val()
    return bool(lowest.is_int() and highest.is_int() and lowest.eq(highest))


def _ranks(times: Sequence[Array]) -> Array:
    """The place of each tuple of times among the distinct ones, in lexicographic order."""
    ranks: Array = np.zeros(1, np.int64)
    for level in times:
        span = int(level.max(initial=0) - level.min(initial=0)) + 1
        _, ranks = np.unique(ranks * span + level, return_inverse=True)
    return ranks


def _grid(window: _Window, rows: Array, columns: Array, numbers: Array) -> tuple[tuple[int, ...], ...]:
    grid = np.full(window.shape, NOTHING, np.int64)
    grid[rows, columns] = numbers
    return tuple(map(tuple, grid.tolist()))


# --- the way from the root of the tree to each statement ----------------------------------------------------------


def _levels(tree: ScheduleTree, statements: Sequence[str]) -> Mapping[str, list[_Level]]:
    found: dict[str, list[_Level]] = {name: [] for name in statements}
    _collect(tree, tree.schedule.get_root().child(0), frozenset(statements), found, coincident=0, in_tile=False)
    return found


def _collect(
    tree: ScheduleTree,
    node: isl.ScheduleNode,
    active: frozenset[str],
    found: dict[str, list[_Level]],
    *,
    coincident: int,
    in_tile: bool,
) -> None:
    """Adds the levels at and below a node; `coincident` of the next loops are a stage's parallel ones."""
    match node.get_type():
        case isl.schedule_node_type.band:
            schedule = node.band_get_partial_schedule()
            for position in range(node.band_n_member()):
                for name, value in _by_statement(schedule.get_union_pw_aff(position)):
                    if name in active:
                        found[name].append(_Level(value, position < coincident, in_tile))
            coincident = max(0, coincident - node.band_n_member())
            in_tile = False
        case isl.schedule_node_type.mark:
            decision = tree.decisions[node.mark_get_id().get_name()]
            if isinstance(decision, StageMark):
                coincident = decision.coincident if decision.parallel else 0
            in_tile = isinstance(decision, TileMark) or in_tile
        case isl.schedule_node_type.filter:
            sets = node.filter_get_filter().get_set_list()
            active &= {sets.get_at(position).get_tuple_name() for position in range(sets.n_set())}
    for position in range(node.n_children()):
        if node.get_type() in (isl.schedule_node_type.sequence, isl.schedule_node_type.set):
            below = node.child(position)
            sets = below.filter_get_filter().get_set_list()
            names = {sets.get_at(s).get_tuple_name() for s in range(sets.n_set())} & active
            for name in names:
                found[name].append(_Level(position))
        _collect(tree, node.child(position), active, found, coincident=coincident, in_tile=in_tile)


def _by_statement(member: isl.UnionPwAff) -> Iterator[tuple[str, isl.PwAff]]:
    parts = member.get_pw_aff_list()
    for position in range(parts.n_pw_aff()):
        part = parts.get_at(position)
        yield part.get_tuple_id(isl.dim_type.in_).get_name(), part
