"""Grouping the items of one block: which operations run together, and in which order the steps stand.

In: a block, the profiles of its operations, what is needed beyond it.  Out: its steps.
Invariant: groups grow by merging a reader with its producers, and only where the merged group could still run
as one: no dependence leaves it and comes back, no fetch stands between, no value of another time is read.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

from coexec.clusters.lower import Cluster
from coexec.clusters.order import MergingOrder
from coexec.clusters.profile import Extents, Kind, Profile
from coexec.clusters.steps import Alias, Step
from coexec.errors import MalformedGraph
from coexec.graph.symbolic import Block, Fetch, Item, OpNode, Output, Phi, Select, Source


def sources_of(item: Item) -> tuple[Source, ...]:
    """What an item reads."""
    match item:
        case OpNode(inputs=inputs):
            return inputs
        case Select(source=source) | Fetch(source=source):
            return (source,)
        case _:
            assert_never(item)


class Grouping:
    """One block: items by position, groups of positions that grow by merging.

    `needed`: outputs that must be in memory when the block is left.
    """

    def __init__(self, block: Block, profiles: dict[int, Profile], needed: frozenset[Output], max_nodes: int) -> None:
        self.items, self.profiles, self.needed, self.max_nodes = block.items, profiles, needed, max_nodes
        self.position = {item.id: at for at, item in enumerate(block.items) if isinstance(item, OpNode)}
        self.before, self.apart = _dependences(block.items, self.position)
        self.fenced = _fences(block.items, self.before)
        self.parted = {at for pair in self.apart for at in pair}
        self.viewed = frozenset(self._viewed())
        self._kinds: dict[int, Kind] = {}
        self._producers: dict[int, frozenset[int]] = {}
        self.refused: dict[tuple[int, int], str] = {}  # by ids of a producer and its reader: why they stayed apart
        self.earlier = [self._materialised_before(at) for at in range(len(self.items))]
        self.order = MergingOrder(self._waiting())
        self.group, self.members = self.order.group, self.order.members

    def steps(self) -> tuple[Step, ...]:
        if self.max_nodes > 1:
            for at, item in enumerate(self.items):
                if isinstance(item, OpNode):
                    self._merge_with_producers(at, item)
        return tuple(self._ordered())

    # --- merging ---------------------------------------------------------------------------------------

    def _merge_with_producers(self, at: int, item: OpNode) -> None:
        if self._kind(at) is Kind.ALIAS or self._is_absorbed(at):
            return
        producers = sorted(self._compute_producers(at), key=lambda p: -self.profiles[self._node(p).id].work)
        for producer in producers:
            first, second = self.group[producer], self.group[at]
            if first == second:
                continue
            refusal = self._why_apart(first, second)
            if refusal is None:
                self.order.merge(first, second)
            else:
                self.refused[self._node(producer).id, item.id] = refusal

    def _compute_producers(self, at: int) -> frozenset[int]:
        """The operations whose values this one reads, through movement that will be taken in."""
        if (known := self._producers.get(at)) is not None:
            return known
        found: set[int] = set()
        pending = self._local_producers(at)
        while pending:
            producer = pending.pop()
            if self._is_absorbed(producer):
                pending += self._local_producers(producer)
            else:
                found.add(producer)
        return self._producers.setdefault(at, frozenset(found))

    def _local_producers(self, at: int) -> list[int]:
        """Where, earlier in this block, the values are made that the operation reads."""
        makers = [self.position.get(s.node, at) for s in self._node(at).inputs if isinstance(s, Output)]
        return [maker for maker in makers if maker < at]

    def _why_apart(self, first: int, second: int) -> str | None:
        """Why the group `second`, which reads values of the group `first`, cannot run with it; None if it can."""
        a, b = self.members[first], self.members[second]
        if len(a) + len(b) > self.max_nodes:
            return f"{len(a) + len(b)} operations would be more than the {self.max_nodes} that are analysed together"
        if any((min(p, q), max(p, q)) in self.apart for p in a if p in self.parted for q in b):
            return "one reads what the other had in an earlier round, or a choice is made between them"
        if alone := [p for p in (*a, *b) if self._kind(p) in (Kind.ALONE, Kind.ALIAS)]:
            return f"{self._node(alone[0]).op.name} scans, or reads at places that are no affine function of its loops"
        if [self._kind(p) for p in (*a, *b)].count(Kind.CONTRACTION) > 1:
            return "a kernel has one contraction at most"
        for reader in b:
            if not self._compute_producers(reader).isdisjoint(a) and (refusal := self._why_no_gain(a, reader)):
                return refusal
        if self._crosses_fence((*a, *b)):
            return "Python reads a value between them"
        if self.order.leads_around(first, second):
            return "a third kernel would need values of theirs, and they its: each would wait for the other"
        return None

    def _why_no_gain(self, producers: Sequence[int], reader: int) -> str | None:
        """A reader gains where it runs over (part of) its producers' loops; None if so."""
        node = self._node(reader)
        if self._kind(reader) is Kind.CONTRACTION:
            return f"{node.op.name} is a contraction: its operands are read again and again, so they stay in memory"
        extents, domain = self.profiles[node.id].extents, self._domain(producers)
        if extents <= domain:
            return None
        return f"{node.op.name} runs over {_extents_text(extents)}, which is not part of {_extents_text(domain)}"

    def _domain(self, positions: Iterable[int]) -> Extents:
        """The largest loop nest of a group."""
        return max((self.profiles[self._node(p).id].extents for p in positions), key=Extents.total)

    def _crosses_fence(self, members: Sequence[int]) -> bool:
        """Whether a fetch depends on a member and another member stands behind that fetch."""
        last, bits = max(members), sum(1 << member for member in members)
        return any(at < last and needs & bits for at, needs in self.fenced)

    def _waiting(self) -> list[set[int]]:
        """For each item those that wait for it; movement goes into each of its readers, so none waits for that."""
        waiting: list[set[int]] = [set() for _ in self.items]
        for at, earlier in enumerate(self.earlier):
            for position in earlier:
                if not self._is_absorbed(position):
                    waiting[position].add(at)
        return waiting

    # --- what is where ---------------------------------------------------------------------------------

    def _node(self, at: int) -> OpNode:
        item = self.items[at]
        assert isinstance(item, OpNode)
        return item

    def _kind(self, at: int) -> Kind:
        """The operation's kind; movement that is needed in memory is a view, or computed like anything else."""
        if (known := self._kinds.get(at)) is None:
            known = self._kinds[at] = self._find_kind(self._node(at))
        return known

    def _find_kind(self, node: OpNode) -> Kind:
        known = self.profiles[node.id]
        if known.kind is not Kind.MOVEMENT:
            return known.kind
        made = {Output(node.id, i) for i in range(len(node.outputs))}
        needed = bool(made & self.needed or made & self.viewed)
        if known.is_view and (needed or self.max_nodes == 1):
            return Kind.ALIAS
        return Kind.POINTWISE if needed else Kind.MOVEMENT

    def _viewed(self) -> Iterator[Source]:
        """What views are made of: it must be in memory, so movement of it runs with what computes the moved."""
        for item in self.items:
            if isinstance(item, OpNode) and self.profiles[item.id].kind is Kind.ALIAS:
                yield from item.inputs

    def _is_absorbed(self, at: int) -> bool:
        """Movement goes into its readers and is not computed by itself, but for who needs it in memory."""
        if self.max_nodes == 1 or at in self.parted or not isinstance(self.items[at], OpNode):
            return False
        return self._kind(at) is Kind.MOVEMENT

    # --- order -----------------------------------------------------------------------------------------

    def _ordered(self) -> Iterator[Step]:
        """Steps in an order that respects dependences, nearest to Python's own."""
        clusters = self._clusters()
        unit_of = {p: unit for unit, (members, _) in enumerate(clusters) for p in members}
        waiting: list[set[int]] = [set() for _ in clusters]
        for unit, (members, _) in enumerate(clusters):
            for member in members:
                waiting[unit] |= {unit_of[p] for p in self.earlier[member] if p in unit_of} - {unit}
        following: list[list[int]] = [[] for _ in clusters]
        for unit, needs in enumerate(waiting):
            for other in needs:
                following[other].append(unit)
        ready = [(max(members), unit) for unit, (members, _) in enumerate(clusters) if not waiting[unit]]
        heapq.heapify(ready)
        done = 0
        while ready:
            _, unit = heapq.heappop(ready)
            done += 1
            yield clusters[unit][1]
            for other in following[unit]:
                waiting[other].discard(unit)
                if not waiting[other]:
                    heapq.heappush(ready, (max(clusters[other][0]), other))
        if done < len(clusters):
            raise MalformedGraph(f"{len(clusters) - done} clusters wait for each other")

    def _materialised_before(self, at: int) -> set[int]:
        """Positions that must have run before this one, seen through movement taken into it."""
        found: set[int] = set()
        pending = list(self.before[at])
        while pending:
            earlier = pending.pop()
            found.add(earlier)
            if self._is_absorbed(earlier):
                pending += self.before[earlier]
        return found

    def _clusters(self) -> list[tuple[tuple[int, ...], Step]]:
        """Each step with the positions that it stands for (movement taken in stands at its reader's)."""
        wanted = self._wanted()
        steps: list[tuple[tuple[int, ...], Step]] = []
        for at, item in enumerate(self.items):
            if not isinstance(item, OpNode):
                steps.append(((at,), item))
            elif self._is_absorbed(at) or self._kind(at) is Kind.ALIAS:
                if self._outputs((at,), wanted):
                    steps.append(((at,), self._alone(at, wanted)))
            elif self.group[at] == at:
                members = self.members[at]
                if outputs := self._outputs(members, wanted):
                    steps.append((members, Cluster(self._with_movement(members), outputs)))
        return steps

    def _alone(self, at: int, wanted: frozenset[Output]) -> Step:
        node = self._node(at)
        if self.profiles[node.id].is_view:
            return Alias(node)
        return Cluster(self._with_movement((at,)), self._outputs((at,), wanted))

    def _outputs(self, members: Sequence[int], wanted: frozenset[Output]) -> tuple[Output, ...]:
        """What of the members' values is read elsewhere."""
        nodes = [self._node(p) for p in members]
        every = [Output(node.id, i) for node in nodes for i in range(len(node.outputs))]
        return tuple(output for output in every if output in wanted)

    def _wanted(self) -> frozenset[Output]:
        """Outputs needed in memory: beyond the block, by aliases, and by clusters other than their own.

        An absorbed movement's operand is wanted by each cluster that takes the movement in.
        """
        wanted = {o for o in self.needed if o.node in self.position}
        changed = True
        while changed:
            before = len(wanted)
            for at, item in enumerate(self.items):
                if isinstance(item, OpNode):
                    wanted |= self._read_from_memory(at, item, wanted)
            changed = len(wanted) > before
        return frozenset(wanted)

    def _read_from_memory(self, at: int, item: OpNode, wanted: set[Output]) -> set[Output]:
        own = any(Output(item.id, i) in wanted for i in range(len(item.outputs)))
        if self._is_absorbed(at) or self._kind(at) is Kind.ALIAS:
            members: set[int] = set()
            if not own:
                return set()
        else:
            members = set(self.members[self.group[at]])
        # Movement in memory is an alias if it can be one (`_alone`), and aliases take nothing in.
        is_alias = self._kind(at) is Kind.ALIAS or (self._is_absorbed(at) and self.profiles[item.id].is_view)
        needed: set[Output] = set()
        pending = [s for s in item.inputs if isinstance(s, Output) and s.node in self.position]
        while pending:
            source = pending.pop()
            producer = self.position[source.node]
            if producer < at and self._is_absorbed(producer) and not is_alias:
                inputs = self._node(producer).inputs
                pending += [s for s in inputs if isinstance(s, Output) and s.node in self.position]
            elif producer not in members or producer > at:
                needed.add(source)
        return needed

    def _with_movement(self, members: Sequence[int]) -> tuple[OpNode, ...]:
        """The members and the movement that they read, in program order."""
        taken = set(members)
        pending = list(members)
        while pending:
            at = pending.pop()
            for producer in self._local_producers(at):
                if producer not in taken and self._is_absorbed(producer):
                    taken.add(producer)
                    pending.append(producer)
        return tuple(self._node(at) for at in sorted(taken))


def _extents_text(extents: Extents) -> str:
    """Loop extents, as in `(n, 64)`."""
    return f"({', '.join(map(str, extents.elements()))})"


def _dependences(items: Sequence[Item], position: dict[int, int]) -> tuple[list[set[int]], set[tuple[int, int]]]:
    """For each item the earlier items that must run before it; and pairs that must not share a cluster.

    Beside values: an item that reads a node's previous value (of the last iteration), or a phi, must run before
    the node runs again or the phi is set again.
    """
    before: list[set[int]] = [set() for _ in items]
    apart: set[tuple[int, int]] = set()
    for at, item in enumerate(items):
        for source in sources_of(item):
            if isinstance(source, Output) and source.node in position:
                maker = position[source.node]
                before[max(at, maker)].add(min(at, maker))
                if maker > at:
                    apart.add((at, maker))
        if isinstance(item, Select):
            readers = [k for k, other in enumerate(items) if _touches_phi(other, item.phi) and k != at]
            for reader in readers:
                before[max(at, reader)].add(min(at, reader))
            apart |= {(p, q) for p in readers for q in readers if p < at < q}
            apart |= {(min(at, p), max(at, p)) for p in readers}
    return before, apart


def _touches_phi(item: Item, phi: int) -> bool:
    own = isinstance(item, Select) and item.phi == phi
    return own or any(isinstance(source, Phi) and source.slot == phi for source in sources_of(item))


def _fences(items: Sequence[Item], before: list[set[int]]) -> list[tuple[int, int]]:
    """Each fetch's position with all positions that it depends on, as the bits of a number."""
    closure: list[int] = []
    for earlier in before:
        bits = 0
        for position in earlier:
            bits |= closure[position] | 1 << position
        closure.append(bits)
    return [(at, closure[at]) for at, item in enumerate(items) if isinstance(item, Fetch)]
