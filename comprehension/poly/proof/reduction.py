"""Declared reductions whose updates were reordered or split over private accumulators.

In: the `Tree`s of a family.  Out: findings.
Invariant proved here: for each element the updates, its initialisation and the combinations of private
accumulators form one tree in which every partial result is used once, so that the root has every update
once.  (Each node has one user at most, users come later, and there is one node without a user.)  Private
accumulators start from the identity; what the reduction starts from enters once.
"""

from __future__ import annotations

from collections.abc import Iterator

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.proof.accumulators import is_identity, op_of
from comprehension.poly.proof.dataflow import read_name
from comprehension.poly.proof.extract import Extraction
from comprehension.poly.proof.trees import Tree
from comprehension.poly.proof.verdict import Finding, Property, Violation, clashes, must_be_empty, sample
from comprehension.poly.proof.writers import Sources


def check_tree(
    extraction: Extraction, tree: Tree, others: list[Tree], runs: isl.UnionMap, expected: Sources
) -> Iterator[Finding]:
    """The tree is one: nothing used twice, nothing left over, elements kept apart, one start.

    `others` are the trees of the other reductions, `runs` maps points to the instances that they run.
    """
    name = tree.statement.name
    for pairs in clashes(tree.uses_by_read.reverse()):
        yield Violation(Property.BUFFERS, f"a partial result of {name} is used twice", sample(pairs))
    for pairs in clashes(tree.element.intersect_domain(tree.roots)):
        yield Violation(Property.BUFFERS, f"two partial results of {name} are never combined", sample(pairs))
    what = f"partial results of different elements of {name} are combined"
    for write in _of_several(tree.element):
        yield Violation(Property.BUFFERS, what, sample(write))
    across = tree.uses.apply_range(tree.element).subtract(tree.element)
    yield from must_be_empty(Property.BUFFERS, across, what)
    yield from _check_starts(extraction, tree, others, runs, expected)


def _of_several(element: isl.UnionMap) -> list[isl.Map]:
    """Writes that are partial results of more than one element."""
    if element.is_single_valued():
        return []
    return [one for one in isl.maps_of(element) if not one.is_single_valued()] or isl.maps_of(element)


def _check_starts(
    extraction: Extraction, tree: Tree, others: list[Tree], runs: isl.UnionMap, expected: Sources
) -> Iterator[Finding]:
    """Where a chain begins: at the identity, or at what the reduction starts from, and there once."""
    name, op = tree.statement.name, op_of(tree.statement)
    prior = tree.taken.subtract_range(tree.nodes)
    for action in extraction.stores(ir.StoreRole.FILL):
        filled = prior.intersect_range(isl.UnionSet.from_set(action.domain))
        assert action.store is not None
        if not filled.is_empty() and not is_identity(action.store, op):
            what = f"{action.place}: an accumulator of {name} does not start from the identity"
            yield Violation(Property.BUFFERS, what, sample(filled))
        prior = prior.subtract_range(isl.UnionSet.from_set(action.domain))
    if tree.initialised:
        what = f"a chain of {name} starts from something else than its initialisation"
        yield from must_be_empty(Property.BUFFERS, prior, what)
        what = f"{name} combines into memory that nobody initialised"
        yield from must_be_empty(Property.BUFFERS, tree.initial, what)
    else:
        yield from _check_prior(tree, prior, others, runs, expected)


def _check_prior(
    tree: Tree, prior: isl.UnionMap, others: list[Tree], runs: isl.UnionMap, expected: Sources
) -> Iterator[Finding]:
    """A reduction without initialisation starts from what its element held before, once."""
    name = tree.statement.name
    before, untouched = _before(tree, expected)
    element = tree.into.apply_range(tree.element)  # chain read -> element
    what = f"a chain of {name} starts from something else than what its element held before"
    starts = prior.domain().union(tree.initial.domain())
    for other in others:
        finished = prior.intersect_range(other.nodes).apply_range(other.event)
        yield from must_be_empty(Property.BUFFERS, finished.subtract_range(other.roots), what)
        mixed = finished.apply_range(other.element).apply_domain(element)
        same = isl.UnionSet.identity(_restricted(before, other).domain())
        yield from must_be_empty(Property.BUFFERS, mixed.subtract(same), what)
        prior = prior.subtract_range(other.nodes)
    yield from must_be_empty(Property.BUFFERS, prior.subtract_range(runs.domain()), what)
    found = prior.apply_range(runs).apply_domain(element)
    yield from must_be_empty(Property.BUFFERS, found.subtract(before), what)
    yield from must_be_empty(Property.BUFFERS, tree.initial.apply_domain(element).subtract(untouched), what)
    entered = tree.read_event.intersect_domain(starts).reverse().apply_range(element)
    for pairs in clashes(entered):
        yield Violation(Property.BUFFERS, f"the prior value enters {name} twice", sample(pairs))
    left_out = isl.UnionMap.from_domain(tree.element.range().subtract(starts.apply(element)))
    yield from must_be_empty(Property.BUFFERS, left_out, f"the prior value never enters {name}")


def _before(tree: Tree, expected: Sources) -> tuple[isl.UnionMap, isl.UnionMap]:
    """Element -> the instance that wrote it last before the reduction; element -> itself where nobody did."""
    statement, own = tree.statement, tree.statement.accesses[-1]
    meant_by = own.relation.set_tuple_name(isl.dim_type.in_, read_name(statement.name, own.number))
    element = isl.UnionMap.from_map(meant_by)
    itself = isl.UnionSet.from_set(statement.domain)
    writers = expected.writers.intersect_domain(element.domain()).subtract_range(itself)
    initial = expected.initial.intersect_domain(element.domain())
    return writers.apply_domain(element), initial.apply_domain(element)


def _restricted(before: isl.UnionMap, other: Tree) -> isl.UnionMap:
    """What the program takes over from another reduction."""
    members = [m for m in isl.maps_of(before) if m.get_tuple_name(isl.dim_type.out) in other.members]
    return isl.union_map(before.get_space(), members)
