"""TracePath: how far a trace has come on its way through the TraceGraph.

In: the node of each record in turn, appended by whoever knows it.  Out: what the next record refers to: producers, the
node whose gradient is being taken, externals of feeds, extents of symbols.
Invariant: node number i is that of the trace's operation i.
"""

from __future__ import annotations

from coexec.traces.record import OpRecord, Produced, Trace
from coexec.traces.trace_graph import Kin, TraceGraph, TraceNode, TraceOutput


class TracePath:
    """A path of `graph` from its start.

    `nodes`: so far.  `feeds`: the external that each feed stands for on this path.  `symbols`: the extent that each
    symbol has on it.  `place`, once it has caught up: where each node was last; `kin`: of all nodes; `turns`: how many
    operations of each node's gradient there were.
    """

    __slots__ = ("_placed", "feeds", "graph", "kin", "nodes", "place", "symbols", "turns")

    def __init__(self, graph: TraceGraph, trace: Trace) -> None:
        self.graph = graph
        self.nodes = list(trace.prefix)
        self.feeds = dict(trace.feeds)
        self.symbols = dict(trace.symbols)
        self.place: dict[TraceNode, int] = {}
        self.kin: set[Kin] = set()
        self.turns: dict[TraceNode, int] = {}
        self._placed = 0  # the first so many nodes

    @property
    def pointer(self) -> TraceNode:
        """Where the path has come to."""
        return self.nodes[-1] if self.nodes else self.graph.start

    def catch_up(self) -> None:
        """`place`, `kin` and `turns` know all nodes."""
        for index in range(self._placed, len(self.nodes)):
            node = self.nodes[index]
            self.place[node] = index
            self.kin.add(node.kin)
            if node.forward is not None:
                self.turns[node.forward] = self.turns.get(node.forward, 0) + 1
        self._placed = len(self.nodes)

    def output(self, produced: Produced) -> TraceOutput:
        return self.nodes[produced.index].outputs[produced.output]

    def forward(self, record: OpRecord) -> TraceNode | None:
        """The node whose gradient is being taken."""
        return None if record.forward is None else self.nodes[record.forward]

    def turn(self, forward: TraceNode | None) -> int:
        """How many operations of that node's gradient there were."""
        return 0 if forward is None else self.turns.get(forward, 0)
