"""What co-execution made of a step, as drawings: the traces, the symbolic graph, the two runners in time.

In: a TraceGraph, a SymbolicGraph, a Report.  Out: SVG text (`drawing`).
Invariant: the user's lines stand beside their operations, as `file:line` and text; pointer texts name line and shapes;
boxes of one colour are one kernel.
"""

from __future__ import annotations

from collections.abc import Mapping

from coexec.graph.symbolic import Block, Case, Feed, Fetch, Item, OpNode, Output, Phi, Select, SymbolicGraph, successors
from coexec.reports.report import Report
from coexec.source import MOST_CHARACTERS, short, text_of
from coexec.traces.trace_graph import FromNodes, TraceGraph, TraceNode
from comprehension.drawing.graph import Arrow, Box, draw_graph
from comprehension.drawing.timeline import Interval, draw_timeline


def draw_traces(graph: TraceGraph) -> str:
    """Every operation met, in order of first appearance; arrows are the order in which traces went (forks, joins)."""
    nodes = [graph.start, *graph.nodes, graph.end]
    position = {id(node): at for at, node in enumerate(nodes)}
    boxes = [Box(_trace_label(node), _trace_title(node), remark=_new_line(node)) for node in nodes]
    arrows = [Arrow(position[id(node)], position[id(child)]) for node in nodes for child in node.children]
    return draw_graph(boxes, arrows)


def _line(where: str, most: int = MOST_CHARACTERS) -> str:
    """The user's line: where it is and what it says."""
    text = text_of(where, most)
    return f"{short(where)} · {text}" if text else short(where) if ":" in where else ""


def _new_line(node: TraceNode) -> str:
    """The line, where some trace came to it from another."""
    return "" if all(parent.where == node.where for parent in node.parents) else _line(node.where)


def _trace_label(node: TraceNode) -> str:
    if node.op is None:
        return node.where
    return node.op.name + (" ▸ read" if any(node.fetched) else "")


def _trace_title(node: TraceNode) -> str:
    shapes = ", ".join(f"{spec.dtype}{list(spec.shape)}" for spec in node.output_specs)
    joins = sum(1 for wiring in node.inputs if isinstance(wiring, FromNodes) and len(wiring.alternatives) > 1)
    return f"{shapes}\n{node.where}" + (f"\n{joins} inputs chosen by the path" if joins else "")


def draw_symbolic(graph: SymbolicGraph, kernel_of: Mapping[int, int]) -> str:
    """Operations by data flow, coloured by `kernel_of` (node id to kernel number); fetches and choices as boxes.

    Feeds stand in the boxes of the operations that read them: parameters are read far below, and their arrows would
    cross everything.
    """
    drawing = _Symbolic(kernel_of)
    for block in graph.blocks:
        drawing.add_block(block)
    return draw_graph(drawing.boxes, drawing.arrows)


class _Symbolic:
    """Boxes and arrows of a symbolic graph, in the order of its blocks."""

    def __init__(self, kernel_of: Mapping[int, int]) -> None:
        self.kernel_of = kernel_of
        self.boxes: list[Box] = []
        self.arrows: list[Arrow] = []
        self.position: dict[object, int] = {}

    def add(self, key: object, box: Box) -> int:
        self.position[key] = len(self.boxes)
        self.boxes.append(box)
        return self.position[key]

    def add_block(self, block: Block) -> None:
        for item in block.items:
            self.add_item(item)
        if isinstance(block.terminator, Case):
            targets = ", ".join(map(str, successors(block.terminator)))
            self.add(
                ("case", block.id), Box(f"case {block.terminator.slot}", f"block {block.id} goes on with {targets}")
            )

    def add_item(self, item: Item) -> None:
        match item:
            case OpNode():
                shapes = ", ".join(_spec_text(spec.dtype, spec.shape) for spec in item.outputs)
                kernel = self.kernel_of.get(item.id)
                told = "no kernel of its own" if kernel is None else f"kernel {kernel}"
                feeds = [source for source in item.inputs if isinstance(source, Feed)]
                label = item.op.name + (f" ◂ feed {', '.join(str(feed.slot) for feed in feeds)}" if feeds else "")
                title = "\n".join([shapes, item.where, told, *map(_feed_text, feeds)])
                at = self.add(item.id, Box(label, title, kernel, caption=_line(item.where, 32)))
                for source in item.inputs:
                    if not isinstance(source, Feed):
                        self.connect(source, at)
            case Select():
                self.connect(item.source, self.phi(item.phi))
            case Fetch():
                self.connect(item.source, self.add(("fetch", len(self.boxes)), Box("fetch", "Python reads this value")))

    def phi(self, slot: int) -> int:
        known = self.position.get(("phi", slot))
        return self.add(("phi", slot), Box(f"φ {slot}", "chosen by the path")) if known is None else known

    def connect(self, source: object, at: int) -> None:
        match source:
            case Output(node=node):
                origin = self.position.get(node)
            case Phi(slot=slot):
                origin = self.phi(slot)
            case Feed():  # chosen by the path, or read by Python as it came
                known = self.position.get(source)
                origin = self.add(source, Box(f"feed {source.slot}", _feed_text(source))) if known is None else known
            case _:
                return  # a constant
        if origin is not None:
            self.arrows.append(Arrow(origin, at))


def _feed_text(feed: Feed) -> str:
    return f"feed {feed.slot}: {_spec_text(feed.spec.dtype, feed.spec.shape)}"


def _spec_text(dtype: object, shape: tuple[object, ...]) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def draw_runners(report: Report, steps: int = 6, last: int | None = None) -> str:
    """`steps` steps of both runners on one time axis, up to step `last` (the last of all if None)."""
    if last is None:
        last = max((event.step for event in report.events), default=0)
    shown = [event for event in report.events if last - steps < event.step <= last]
    rows = [
        (
            lane,
            [
                Interval(e.begin_s, e.end_s, e.name, f"step {e.step}: {e.name}{f': {e.detail}' if e.detail else ''}")
                for e in sorted(shown, key=lambda e: (e.begin_s, -e.end_s))
                if e.runner == lane
            ],
        )
        for lane in ("python", "graph")
    ]
    return draw_timeline(rows, idle=frozenset({"stall"}))
