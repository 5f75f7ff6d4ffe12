"""Where each operation of a graph went: into which kernels, and why not into others.

In: a `Partition` and the numbers of its clusters' kernels.  Out: a `Placement` for each operation, in graph order.
Invariant: an operation that is computed has a kernel; a refusal names two operations that no kernel has both of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from coexec.clusters.lower import Cluster
from coexec.clusters.partition import Partition, Refusal
from coexec.clusters.steps import Alias
from coexec.graph.symbolic import OpNode, Output
from coexec.source import name_and_line

_ACROSS = "control flow of the program stands between them: one is in a part that some steps leave out or repeat"


@dataclass(frozen=True, slots=True)
class Placement:
    """One operation: `kernels` by number, several for movement, which each of its readers takes in, none for a view.

    `refused`: for each producer in another kernel the reason why the two are not one.
    """

    node: OpNode
    kernels: tuple[int, ...]
    is_view: bool
    refused: tuple[tuple[OpNode, str], ...]

    @property
    def told(self) -> str:
        """Where it went, in a few words."""
        if self.kernels:
            shared = "in the readers' kernels " if len(self.kernels) > 1 else "kernel "
            return shared + ", ".join(map(str, self.kernels))
        return "a view: nothing is computed" if self.is_view else "nobody wants its value: not computed"

    def reasons(self) -> list[str]:
        """The refusals as sentences."""
        return [f"not with {name_and_line(node.op.name, node.where)}: {why}" for node, why in self.refused]


def place(parts: Partition, numbers: Mapping[Cluster, int]) -> tuple[Placement, ...]:
    """The placements of all operations; `numbers`: of each cluster's kernel."""
    steps = [step for block in parts.blocks for step in block]
    kernels: dict[int, list[int]] = {}
    for step in steps:
        if isinstance(step, Cluster):
            for node in step.nodes:
                kernels.setdefault(node.id, []).append(numbers[step])
    views = {step.node.id for step in steps if isinstance(step, Alias)}
    refused: dict[int, list[Refusal]] = {}
    for refusal in parts.refusals:
        refused.setdefault(refusal.reader, []).append(refusal)
    nodes = {node.id: node for node in parts.graph.nodes()}
    across = dict(_across_blocks(parts))
    return tuple(
        Placement(
            node,
            tuple(dict.fromkeys(kernels.get(node.id, ()))),
            node.id in views,
            tuple(_reasons(node, nodes, refused.get(node.id, ()), across.get(node.id, ()), kernels)),
        )
        for node in nodes.values()
    )


def _reasons(
    node: OpNode,
    nodes: Mapping[int, OpNode],
    refusals: Sequence[Refusal],
    across: Sequence[int],
    kernels: Mapping[int, list[int]],
) -> Iterator[tuple[OpNode, str]]:
    """Refusals between operations that are computed, and in the end not together."""
    own = set(kernels.get(node.id, ()))
    for refusal in refusals:
        if own and kernels.get(refusal.producer) and not own & set(kernels[refusal.producer]):
            yield nodes[refusal.producer], refusal.reason
    for producer in across:
        if own and kernels.get(producer):
            yield nodes[producer], _ACROSS


def _across_blocks(parts: Partition) -> Iterator[tuple[int, tuple[int, ...]]]:
    """For each operation the producers that stand in other blocks."""
    for block in parts.graph.blocks:
        own = {item.id for item in block.items if isinstance(item, OpNode)}
        for item in block.items:
            if isinstance(item, OpNode):
                sources = [s.node for s in item.inputs if isinstance(s, Output) and s.node not in own]
                yield item.id, tuple(dict.fromkeys(sources))


def placements_text(placements: Sequence[Placement]) -> str:
    """Line by line of the user's program: its operations, the kernel of each, the fusions refused."""
    lines: list[str] = []
    last = None
    for placement in placements:
        node = placement.node
        if node.where != last:
            lines.append(name_and_line("", node.where, with_text=True))
            last = node.where
        lines.append(f"  {f'%{node.id} {node.op.name}':<28} {placement.told}")
        lines += [f"  {'':<28}   {reason}" for reason in placement.reasons()]
    return "\n".join(lines) + "\n"
