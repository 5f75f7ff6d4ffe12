"""Pictures of a kernel: its schedule tree, and the instances of its statements in the plane.

In: a `Portrait`.  Out: SVG text (`comprehension.drawing`).
Invariant: nothing is computed of the kernel here: what is drawn is what the compiler wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from comprehension.drawing import lattice
from comprehension.drawing.lattice import Link, Panel, draw_lattice
from comprehension.drawing.theme import hue
from comprehension.drawing.tree import Branch, draw_tree
from comprehension.kernel.portrait import Axis, Node, NodeKind, Plane, Portrait

_COLOURS: Mapping[NodeKind, str] = {
    "stage": hue(0),
    "parallel loop": hue(2),
    "loop": hue(7),
    "tile": hue(1),
    "buffers": hue(4),
    "accumulators": hue(6),
    "rows": hue(6),
}
_WORDS: Mapping[NodeKind, str] = {
    "loop": "for",
    "parallel loop": "for all",
    "buffers": "keep",
    "accumulators": "split",
    "rows": "rows",
}


def draw_schedule(portrait: Portrait, *, paper: bool = False) -> str:
    """The schedule tree: loops, tiles and buffers as boxes, statements with what they compute as leaves."""
    statements = dict(portrait.statements)
    branches = tuple(_branch(node, statements) for node in portrait.tree)
    return draw_tree(branches, label="schedule tree", paper=paper)


def _branch(node: Node, statements: Mapping[str, str]) -> Branch:
    below = node.children
    label = _plain(node.label)
    if node.kind == "tile":
        members, below = _members(node)
        label = f"{node.note}: {', '.join(members)}"
    children = tuple(_branch(child, statements) for child in below)
    colour = _COLOURS.get(node.kind, "")
    match node.kind:
        case "statements":
            return Branch(node.label, remark=statements.get(node.label, ""), children=children)
        case "stage":
            return Branch(node.label, remark=node.note, colour=colour, children=children)
        case "loop" | "parallel loop":
            return Branch(_WORDS[node.kind], label, colour=colour, children=children)
        case "tile":
            return Branch("tile", label, colour=colour, children=children)
        case "accumulators" | "buffers" | "rows":
            return Branch(_WORDS[node.kind], node.note, colour=colour, children=children)


def _members(tile: Node) -> tuple[list[str], tuple[Node, ...]]:
    """What a tile's own loops count, and what stands below them: those loops are one operation on a register tile."""
    members: list[str] = []
    below = tile.children
    while len(below) == 1 and below[0].kind in ("loop", "parallel loop"):
        members.append(_plain(below[0].label))
        below = below[0].children
    return members, below


def _plain(label: str) -> str:
    """isl's text with fewer brackets.

    >>> _plain("floor((i)/16)"), _plain("(j) mod 16")
    ('⌊i/16⌋', 'j mod 16')
    """
    return re.sub(r"\((\w+)\) mod", r"\1 mod", re.sub(r"floor\(\((\w+)\)/(\d+)\)", r"⌊\1/\2⌋", label))


def draw_domains(portrait: Portrait, *, paper: bool = False) -> str:
    """Each statement's instances: a point each; one colour a unit of parallel work, one outline what runs at once.

    Arrows are dependences between instances of one statement; curves lead from what an instance reads to it.
    """
    statements = dict(portrait.statements)
    panels = [_panel(plane, statements) for plane in portrait.planes]
    position = {plane.statement: at for at, plane in enumerate(portrait.planes)}
    links = [
        Link(position[flow.source], flow.needs, position[flow.sink], flow.at, 5 + number)
        for number, flow in enumerate(portrait.flows)
    ]
    return draw_lattice(panels, links, paper=paper)


def _panel(plane: Plane, statements: Mapping[str, str]) -> Panel:
    arrows = tuple(
        lattice.Arrow((a, b), (c, d), order.kind == "reduction") for order in plane.orders for a, b, c, d in order.pairs
    )
    high, wide = len(plane.unit), max(map(len, plane.unit), default=0)
    axes = [_axis(axis, count) for axis, count in zip(plane.axes, (high, wide)[2 - len(plane.axes) :], strict=True)]
    return Panel(
        title=f"{plane.statement}: {statements.get(plane.statement, '')}",
        caption=_caption(plane),
        groups=plane.unit,
        times=plane.time,
        rows=axes[0] if len(axes) == 2 else None,
        columns=axes[-1] if axes else None,
        arrows=arrows,
    )


def _axis(axis: Axis, count: int) -> lattice.Axis:
    return lattice.Axis(axis.name, axis.origin, goes_on=axis.origin + count < axis.upper)


def _caption(plane: Plane) -> str:
    ranges = [f"{axis.name} in {axis.lower}:{axis.upper}" for axis in plane.axes]
    return ", ".join(ranges + [f"{name} = {value}" for name, value in plane.fixed])


def legend(portrait: Portrait) -> Sequence[str]:
    """What a reader must know of the domains' picture: sentences."""
    told = ["A point is an instance of a statement; points of one colour are one unit of parallel work"]
    told.append("an outline encloses what runs at once (a tile, the lanes of a vector)")
    told.append("grey arrows lead along the order in which a unit runs")
    if any(plane.orders for plane in portrait.planes):
        told.append("short arrows are dependences (faint ones: of a reduction, whose order may be changed)")
    if portrait.flows:
        told.append("curves lead to one instance from those whose results it reads")
    sizes = ", ".join(f"{name} = {value}" for name, value in portrait.sizes)
    return [*told, *([f"sizes are symbolic, drawn for {sizes}"] if sizes else []), *portrait.notes]
