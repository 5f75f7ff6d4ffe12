"""Cuts the blocks of a graph into clusters: what is compiled together.

In: a SymbolicGraph whose operations all have comprehensions.  Out: for each block the `Step`s that the plan
runs in this order: clusters, aliases, selects, fetches.
Invariant (checked by `verify_partition`): every step comes after the steps whose values it reads; no operation
behind a `Fetch` stands in a step before it, so nothing that Python waits for needs what it sends afterwards.
What is fused (the rest is left to the scheduler, which keeps a fusion only where no parallel loop is lost):
producers and consumers over the same extents, reductions with what runs over their operands or results, one
contraction with what follows it; movement is taken into each of its readers.  At most `MAX_NODES` operations, so that
no kernel takes longer to analyse than several smaller ones: a recurrent cell with its gradient needs some 20.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coexec.clusters.grouping import Grouping, sources_of
from coexec.clusters.lower import Cluster, nodes_by_id
from coexec.clusters.profile import Profile, profile
from coexec.clusters.steps import Alias, Step
from coexec.errors import MalformedGraph
from coexec.graph.symbolic import Block, Fetch, OpNode, Output, SymbolicGraph

MAX_NODES = 32


@dataclass(frozen=True, slots=True)
class Refusal:
    """Two operations, by id, that do not run together although the second reads what the first makes."""

    producer: int
    reader: int
    reason: str


@dataclass(frozen=True, slots=True)
class Partition:
    """The steps of each block, the profiles that they were chosen by, and what was not fused, for explanations."""

    graph: SymbolicGraph
    blocks: tuple[tuple[Step, ...], ...]
    profiles: dict[int, Profile]
    refusals: tuple[Refusal, ...] = ()

    @property
    def clusters(self) -> Iterator[Cluster]:
        return (step for steps in self.blocks for step in steps if isinstance(step, Cluster))


def partition(graph: SymbolicGraph, max_nodes: int = MAX_NODES) -> Partition:
    """Clusters of at most `max_nodes` operations (1: each operation by itself).

    Raises CompilationFailed for an operation without a comprehension.
    """
    nodes = nodes_by_id(graph)
    profiles = {node.id: profile(node, nodes) for node in graph.nodes()}
    needed = _needed_across_blocks(graph)
    groupings = [Grouping(block, profiles, needed, max_nodes) for block in graph.blocks]
    blocks = tuple(grouping.steps() for grouping in groupings)
    refusals = (Refusal(*pair, reason) for grouping in groupings for pair, reason in grouping.refused.items())
    return Partition(graph, blocks, profiles, tuple(refusals))


def split(cluster: Cluster) -> tuple[Cluster, Cluster]:
    """The first and the second half of the cluster's operations, for a compiler that cannot take them together."""
    half = len(cluster.nodes) // 2
    second = cluster.nodes[half:]
    read = {source for node in second for source in node.inputs if isinstance(source, Output)}
    return _cluster(cluster.nodes[:half], read | {*cluster.outputs}), _cluster(second, {*cluster.outputs})


def refusals_between(halves: tuple[Cluster, Cluster], reason: str) -> Iterator[Refusal]:
    """The refusals that a split makes."""
    first = {node.id for node in halves[0].nodes}
    for node in halves[1].nodes:
        for source in node.inputs:
            if isinstance(source, Output) and source.node in first:
                yield Refusal(source.node, node.id, reason)


def _cluster(nodes: tuple[OpNode, ...], wanted: set[Output]) -> Cluster:
    """A cluster whose outputs are those of its nodes' that are wanted."""
    every = (Output(node.id, i) for node in nodes for i in range(len(node.outputs)))
    return Cluster(nodes, tuple(output for output in every if output in wanted))


def _needed_across_blocks(graph: SymbolicGraph) -> frozenset[Output]:
    """Outputs that must be in memory: kept, fetched, selected, or read in another block or a later iteration."""
    needed: set[Output] = set()
    for block in graph.blocks:
        made: set[int] = set()
        for item in block.items:
            if isinstance(item, OpNode):
                needed.update(s for s in item.inputs if isinstance(s, Output) and s.node not in made)
                made.add(item.id)
                needed.update(Output(item.id, i) for i, kept in enumerate(item.kept) if kept)
            else:
                needed.add(item.source)
    return frozenset(needed)


def verify_partition(parts: Partition) -> None:
    """Checks the invariant above.

    Raises MalformedGraph naming the block and the step.
    """
    for block, steps in zip(parts.graph.blocks, parts.blocks, strict=True):
        place = {item.id: at for at, item in enumerate(block.items) if isinstance(item, OpNode)}
        fetches = {at: item for at, item in enumerate(block.items) if isinstance(item, Fetch)}
        there: set[Output] = set()
        reached = -1
        for step in steps:
            missing = [o for o in _reads(step) if o.node in place and o not in there and not _is_old(o, step, place)]
            if missing:
                raise MalformedGraph(f"block {block.id}: {_name(step)} reads {missing[0]}, which is not there yet")
            there |= _makes(step)
            if isinstance(step, Fetch):
                fence = next((at for at, item in fetches.items() if item == step), len(block.items))
                fetches.pop(fence, None)
                if reached > fence:
                    raise MalformedGraph(f"block {block.id}: an operation behind item {fence}, a fetch, runs before it")
            else:
                reached = max([reached, *(place[node.id] for node in _nodes(step))])
        _check_complete(block, steps, there)


def _check_complete(block: Block, steps: Sequence[Step], there: set[Output]) -> None:
    others = Counter(item for item in block.items if not isinstance(item, OpNode))
    if Counter(step for step in steps if not isinstance(step, Cluster | Alias)) != others:
        raise MalformedGraph(f"block {block.id}: selects and fetches are not those of the block")
    for item in block.items:
        kept = [Output(item.id, i) for i, k in enumerate(item.kept) if k] if isinstance(item, OpNode) else []
        if lost := [output for output in kept if output not in there]:
            raise MalformedGraph(f"block {block.id}: {lost[0]} is kept, and no step puts it into memory")


def _nodes(step: Step) -> tuple[OpNode, ...]:
    match step:
        case Cluster(nodes=nodes):
            return nodes
        case Alias(node):
            return (node,)
        case _:
            return ()


def _reads(step: Step) -> list[Output]:
    """Outputs that a step reads from memory."""
    if not isinstance(step, Cluster):
        items = [step.node] if isinstance(step, Alias) else [step]
        return [source for item in items for source in sources_of(item) if isinstance(source, Output)]
    own = {node.id for node in step.nodes}
    return [s for node in step.nodes for s in node.inputs if isinstance(s, Output) and s.node not in own]


def _makes(step: Step) -> set[Output]:
    match step:
        case Cluster(outputs=outputs):
            return {*outputs}
        case Alias(node):
            return {Output(node.id)}
        case _:
            return set()


def _is_old(output: Output, step: Step, place: dict[int, int]) -> bool:
    """Whether a step reads the value of an earlier round of a loop: it stands before the operation."""
    nodes = _nodes(step)
    return bool(nodes) and all(place[node.id] < place[output.node] for node in nodes)


def _name(step: Step) -> str:
    nodes = _nodes(step)
    return f"the cluster of {', '.join(n.op.name for n in nodes)}" if nodes else type(step).__name__.lower()
