"""The loops of a user's schedule: a tree of loops and statements, each loop with the names that statements give it.

In: a Scop.  Out: immutable trees; `find` says which loop a name means.
Invariant: below a loop each statement has a value of it (an affine function of the statement's indices and the
sizes); a statement of the Scop stands in exactly one place, and every instance runs at the loops' values of its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from comprehension.errors import ComprehensionError
from comprehension.poly import isl
from comprehension.poly.functions import dimension
from comprehension.poly.scop import Scop, ScopStatement

Path = tuple[int, ...]
"""The way to a node: positions of children, from the outermost list on."""

MOST_LISTED = 12


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """A loop whose iterations are the lanes (or rows) of a tile: `extent` of them, counted from `lower`.

    `dims`: the index of each statement that the loop counted before it was cut into tiles; None if it was none.
    """

    extent: int
    lower: isl.PwAff
    dims: Mapping[str, int | None]
    rows: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Below a loop, a tensor is reached in a local buffer; `packed`: laid out for the tile that reads it."""

    tensor: str
    packed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """`for label: body`; `labels` and `values` are by statement, the first label is the one shown."""

    labels: Mapping[str, str]
    values: Mapping[str, isl.PwAff]
    body: tuple[Node, ...]
    parallel: bool = False
    unroll: int = 1
    lanes: Lanes | None = None
    holds: tuple[Hold, ...] = ()

    @property
    def label(self) -> str:
        return next(iter(self.labels.values()))

    def restricted(self, body: Sequence[Node]) -> Loop:
        """The same loop around other nodes, for the statements in them alone."""
        names = statements_of(body)
        labels = {name: self.labels[name] for name in names}
        lanes = self.lanes
        if lanes is not None:
            lanes = replace(lanes, dims={name: lanes.dims[name] for name in names})
        return replace(
            self, labels=labels, values={name: self.values[name] for name in names}, body=tuple(body), lanes=lanes
        )


Node = Loop | str


def statements_of(nodes: Sequence[Node]) -> list[str]:
    """The statements in some nodes, in order."""
    found: list[str] = []
    for node in nodes:
        found.extend([node] if isinstance(node, str) else statements_of(node.body))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class LoopTree:
    """All loops; each node of the outermost list is a stage of the kernel."""

    scop: Scop
    nodes: tuple[Node, ...]
    _written_by: Mapping[str, tuple[str, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        writers: dict[str, dict[str, None]] = {}
        for statement in self.scop.statements:
            writers.setdefault(statement.write.tensor, {})[statement.source.name] = None
        object.__setattr__(self, "_written_by", {tensor: tuple(names) for tensor, names in writers.items()})

    def loops(self) -> Iterator[tuple[Path, Loop]]:
        """Every loop with its path, outer before inner, in order."""
        yield from _loops(self.nodes, ())

    def at(self, path: Path) -> Node:
        nodes, node = self.nodes, None
        for position in path:
            node = nodes[position]
            nodes = () if isinstance(node, str) else node.body
        assert node is not None
        return node

    def loop_at(self, path: Path) -> Loop:
        node = self.at(path)
        assert isinstance(node, Loop)
        return node

    def siblings(self, path: Path) -> tuple[Node, ...]:
        """The list in which the node stands."""
        return self.nodes if len(path) == 1 else self.loop_at(path[:-1]).body

    def around(self, path: Path) -> list[Loop]:
        """The loops around a node, outermost first."""
        return [self.loop_at(path[:depth]) for depth in range(1, len(path))]

    def with_nodes(self, path: Path, *nodes: Node) -> LoopTree:
        """The tree with the node at `path` replaced by others."""
        return replace(self, nodes=_replaced(self.nodes, path, nodes))

    def find(self, name: str) -> Path:
        """The one loop that is called `name`.

        Raises ComprehensionError if there is none, or several, with the names that there are.
        """
        whose, label = self._qualified(name)
        found = [path for path, loop in self.loops() if any(loop.labels.get(s) == label for s in whose or loop.labels)]
        if len(found) == 1:
            return found[0]
        if found:
            choices = ", ".join(self.full_name(path) for path in found[:MOST_LISTED])
            raise ComprehensionError(f"schedule: {len(found)} loops are called {name!r}: say which, as in {choices}")
        known = list(dict.fromkeys(self.full_name(path) for path, _ in self.loops()))
        listed = ", ".join(known[:MOST_LISTED]) + (", ..." if len(known) > MOST_LISTED else "")
        raise ComprehensionError(f"schedule: there is no loop {name!r}; there are {listed or 'none'}")

    def named(self, name: str) -> frozenset[str]:
        """The statements that a qualified name speaks of; all below the loop for a plain one."""
        whose, _ = self._qualified(name)
        return frozenset(whose or self.loop_at(self.find(name)).labels)

    def full_name(self, path: Path) -> str:
        """A name that means this loop and no other."""
        loop = self.loop_at(path)
        if sum(loop.label in other.labels.values() for _, other in self.loops()) == 1:
            return loop.label
        return f"{list(loop.labels)[-1]}.{loop.label}"

    def _qualified(self, name: str) -> tuple[tuple[str, ...], str]:
        """`S1.i` or `C.i` as statements and a label; no statements for a plain name."""
        first, dot, rest = name.partition(".")
        if dot and not any(name in loop.labels.values() for _, loop in self.loops()):
            if self.scop.find(first) is not None:
                return (first,), rest
            sources = self._written_by.get(first, ())
            if len(sources) > 1:
                listed = ", ".join(sources[:MOST_LISTED])
                raise ComprehensionError(
                    f"schedule: {first} is written by {listed}: name the statement, as in {sources[0]}.{rest}"
                )
            if sources:
                return tuple(s.name for s in self.scop.statements if s.source.name == sources[0]), rest
        return (), name


def _loops(nodes: Sequence[Node], path: Path) -> Iterator[tuple[Path, Loop]]:
    for position, node in enumerate(nodes):
        if isinstance(node, Loop):
            yield (*path, position), node
            yield from _loops(node.body, (*path, position))


def _replaced(nodes: Sequence[Node], path: Path, new: Sequence[Node]) -> tuple[Node, ...]:
    position, *rest = path
    if not rest:
        return (*nodes[:position], *new, *nodes[position + 1 :])
    node = nodes[position]
    assert isinstance(node, Loop)
    changed = replace(node, body=_replaced(node.body, tuple(rest), new))
    return (*nodes[:position], changed, *nodes[position + 1 :])


def initial_tree(scop: Scop) -> LoopTree:
    """The loops that the text says: for each statement its left indices, below them its initialisation and its
    reduction indices, in order."""
    nodes: list[Node] = []
    for source in scop.program.statements:
        *first, main = [s for s in scop.statements if s.source is source]
        body: tuple[Node, ...] = (main.name,)
        for position in reversed(range(source.left, len(source.indices))):
            body = (_index_loop(position, [main], body),)
        body = (*(s.name for s in first), *body)
        for position in reversed(range(source.left)):
            body = (_index_loop(position, [*first, main], body),)
        nodes.extend(body)
    return LoopTree(scop, tuple(nodes))


def _index_loop(position: int, statements: Sequence[ScopStatement], body: tuple[Node, ...]) -> Loop:
    labels = {s.name: s.dims[position] for s in statements}
    return Loop(labels, {s.name: index_value(s, position) for s in statements}, body)


def index_value(statement: ScopStatement, position: int) -> isl.PwAff:
    """An index as a function on the statement's instances."""
    return dimension(statement.domain.get_space(), position)


def index_of(value: isl.PwAff, statement: ScopStatement) -> int | None:
    """The index that a function is, if it is one."""
    for position in range(len(statement.dims)):
        if value.is_equal(index_value(statement, position)):
            return position
    return None
