"""Portrait: what the pictures of a kernel show, as data that needs no isl.

In: made by `poly.portrait` in the compiler process.
Out: JSON beside the object file, drawn by `comprehension.pictures`.
Invariant: `Portrait.from_json(p.to_json()) == p`; positions in a plane are (row, column) from its `origin`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

NOTHING = -1  # in a grid: no instance at this place

NodeKind = Literal["stage", "loop", "parallel loop", "tile", "buffers", "accumulators", "rows", "statements"]
Grid = tuple[tuple[int, ...], ...]  # rows of one number a place


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a schedule tree: what it is, its subject, and what else is to be said of it."""

    kind: NodeKind
    label: str
    note: str = ""
    children: tuple[Node, ...] = ()

    @property
    def text(self) -> str:
        """The node as one line of text."""
        match self.kind:
            case "loop":
                return f"for {self.label}:"
            case "parallel loop":
                return f"for all {self.label}:"
            case "statements":
                return f"{self.label}:"
            case _:
                return f"{self.label}: {self.note}"

    def lines(self, depth: int = 0) -> Iterator[str]:
        """The node and all below it, one line each, indented by depth."""
        yield "  " * depth + self.text
        for child in self.children:
            yield from child.lines(depth + 1)


@dataclass(frozen=True, slots=True)
class Axis:
    """One index of a plane: where the drawn part starts, and the index's whole range."""

    name: str
    origin: int
    lower: int
    upper: int


Kind = Literal["raw", "war", "waw", "reduction"]
Pair = tuple[int, int, int, int]  # row and column of the earlier instance, then of the later one


@dataclass(frozen=True, slots=True)
class Order:
    """Pairs of which the second must come after the first; in a "reduction" nothing else asks for it."""

    kind: Kind
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Plane:
    """Instances of one statement in the plane of two of its indices (of one: a single row).

    `unit` numbers the units of parallel work, `time` what runs at once, in the order in which it runs.
    `fixed` are the other indices, at the values that the plane goes through.
    """

    statement: str
    axes: tuple[Axis, ...]  # rows, then columns; columns only; none for a statement without indices
    fixed: tuple[tuple[str, int], ...]
    unit: Grid
    time: Grid
    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """What one instance reads of another statement's results: its place, and where they were computed."""

    source: str
    sink: str
    tensor: str
    at: tuple[int, int]
    needs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Portrait:
    """`statements` holds each statement's text by its name; `sizes` the values drawn for symbolic sizes.

    `notes` say what is not drawn, and why.
    """

    tree: tuple[Node, ...]
    statements: tuple[tuple[str, str], ...]
    sizes: tuple[tuple[str, int], ...] = ()
    planes: tuple[Plane, ...] = ()
    flows: tuple[Flow, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        raw = {
            "tree": [_node_data(node) for node in self.tree],
            "statements": self.statements,
            "sizes": self.sizes,
            "planes": [_plane_data(plane) for plane in self.planes],
            "flows": [asdict(flow) for flow in self.flows],
            "notes": self.notes,
        }
        return json.dumps(raw, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Portrait:
        """
        >>> portrait = Portrait((Node("loop", "i"),), (("S0", "B(i) = A(i)"),), (("N", 4),))
        >>> Portrait.from_json(portrait.to_json()) == portrait
        True
        """
        raw = json.loads(text)
        return cls(
            tree=tuple(map(_node, raw["tree"])),
            statements=tuple((str(a), str(b)) for a, b in raw["statements"]),
            sizes=tuple((str(a), int(b)) for a, b in raw["sizes"]),
            planes=tuple(map(_plane, raw["planes"])),
            flows=tuple(map(_flow, raw["flows"])),
            notes=tuple(raw["notes"]),
        )


# --- to JSON and back: tiles as runs, arrows as one list of numbers ------------------------------------------------


def _node_data(node: Node) -> list[Any]:
    return [node.kind, node.label, node.note, [_node_data(child) for child in node.children]]


def _node(raw: list[Any]) -> Node:
    kind, label, note, children = raw
    return Node(kind, label, note, tuple(map(_node, children)))


def _plane_data(plane: Plane) -> dict[str, Any]:
    return {
        "statement": plane.statement,
        "axes": [asdict(axis) for axis in plane.axes],
        "fixed": plane.fixed,
        "unit": [_runs(row) for row in plane.unit],
        "time": [_runs(row) for row in plane.time],
        "orders": {order.kind: list(itertools.chain(*order.pairs)) for order in plane.orders},
    }


def _plane(raw: dict[str, Any]) -> Plane:
    return Plane(
        statement=raw["statement"],
        axes=tuple(Axis(**axis) for axis in raw["axes"]),
        fixed=tuple((str(a), int(b)) for a, b in raw["fixed"]),
        unit=tuple(_row(row) for row in raw["unit"]),
        time=tuple(_row(row) for row in raw["time"]),
        orders=tuple(Order(kind, _pairs(flat)) for kind, flat in sorted(raw["orders"].items())),
    )


def _pairs(flat: list[int]) -> tuple[Pair, ...]:
    return tuple(zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True))


def _flow(raw: dict[str, Any]) -> Flow:
    return Flow(raw["source"], raw["sink"], raw["tensor"], _pair(raw["at"]), tuple(map(_pair, raw["needs"])))


def _pair(raw: Iterable[int]) -> tuple[int, int]:
    first, second = raw
    return int(first), int(second)


def _runs(row: Iterable[int]) -> list[int]:
    """A row as value, count, value, count, ...: a tile is one run.

    >>> _row(_runs((3, 3, -1)))
    (3, 3, -1)
    """
    return [number for value, run in itertools.groupby(row) for number in (value, len(list(run)))]


def _row(runs: list[int]) -> tuple[int, ...]:
    return tuple(value for value, count in zip(runs[::2], runs[1::2], strict=True) for _ in range(count))
