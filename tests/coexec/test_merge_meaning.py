"""What a TraceGraph means after a merge, on traces written by hand and drawn: each trace is a path, and what its
inputs are wired to is what they were."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st
from written import Tensor, Written, place_at

from coexec.graph.keys import same_scalar
from coexec.traces.merge import Merger, merge
from coexec.traces.record import External, Produced, Scalar, Trace
from coexec.traces.trace_graph import (
    FromFeed,
    FromNodes,
    FromScalar,
    Lessons,
    TraceGraph,
    TraceNode,
    verify_trace_graph,
)


def assert_is_path(graph: TraceGraph, trace: Trace, path: list[TraceNode], newest: bool) -> None:
    """The trace is a path of the graph, whose wirings, scalars and sizes are those of its records.

    Of a trace that is not the newest, a producer added since may count as executed last: then it falls back once.
    """
    for node, child in pairwise([graph.start, *path, graph.end]):
        assert child in node.children or any(body[0] is child for body in node.loops)
    feeds: dict[Any, int] = {}
    extents: dict[str, int] = {}
    place: dict[TraceNode, int] = {}
    for index, (node, record) in enumerate(zip(path, trace.records, strict=True)):
        assert node.op is record.op and node.place == (record.op.name, record.location)
        for wiring, x in zip(node.inputs, record.inputs, strict=True):
            match wiring, x:
                case FromNodes(alternatives), Produced():
                    made = path[x.index].outputs[x.output]
                    assert made in alternatives
                    last = max((o for o in alternatives if o.node in place), key=lambda o: place[o.node])
                    assert not newest or (last is made and place[made.node] == x.index)
                case FromFeed(feed), External(number):
                    assert feeds.setdefault(feed, number) == number
                case FromScalar(value, varies), Scalar(seen):
                    assert varies or same_scalar(value, seen)
                case _:
                    raise AssertionError(f"{x} comes from {wiring}")
        pairs = [*zip(node.input_specs, record.input_specs, strict=True)]
        pairs += zip(node.output_specs, record.output_specs, strict=True)
        for known, spec in pairs:
            assert (known is None) == (spec is None)
            for dim, extent in zip(known.shape, spec.shape, strict=True) if known and spec else ():
                assert dim == extent if isinstance(dim, int) else extents.setdefault(dim, extent) == extent
        place[node] = index


def assert_readers_cover_producers(graph: TraceGraph) -> None:
    """A size that a reader has as a number is its producers' number; a symbol takes its value where it is read."""
    for node in graph.nodes:
        for wiring, spec in zip(node.inputs, node.input_specs, strict=True):
            for output in wiring.alternatives if isinstance(wiring, FromNodes) else ():
                source = output.node.output_specs[output.index]
                assert spec is not None
                for made, read in zip(source.shape, spec.shape, strict=True):
                    assert made == read or isinstance(read, str)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Up to eight operations at four places, on tensors of one length."""
    written = Written()
    tensors: list[Any] = [Tensor(number, (draw(st.sampled_from([4, 4, 5, 1])),)) for number in range(1)]
    tensors += [Tensor(number, tensors[0].shape) for number in (1, 2)]
    scalars: list[Produced] = []
    for _ in range(draw(st.integers(1, 8))):
        name, place = draw(st.sampled_from([("negative", 0), ("add", 1), ("multiply", 2), ("sum", 3)]))
        x = draw(st.sampled_from(tensors))
        if name == "sum":
            scalars.append(written.op(name, x, at=place, axis=(0,), keepdims=False))
        elif name == "negative":
            tensors.append(written.op(name, x, at=place))
        else:
            tensors.append(written.op(name, x, draw(st.sampled_from([*tensors, 1.0, 2.0, *scalars])), at=place))
    return written.trace


@given(drawn=st.lists(traces(), min_size=1, max_size=6), folded=st.booleans())
def test_every_trace_is_a_path(drawn: list[Trace], folded: bool) -> None:
    places = {(record.op.name, record.location) for trace in drawn for record in trace.records}
    graph = TraceGraph(Lessons(folded=frozenset(places) if folded else frozenset()))
    paths: list[list[TraceNode]] = []
    for trace in drawn:
        paths.append(merge(graph, trace))
        verify_trace_graph(graph)
        if graph.rigid or graph.unlifted:
            return  # sizes that no comprehension covers: the session has a new graph made that knows
        assert_readers_cover_producers(graph)
        for known, path in zip(drawn, paths, strict=False):
            if not any(node.removed for node in path):
                assert_is_path(graph, known, path, newest=path is paths[-1])


def test_a_reader_of_one_length_takes_no_producer_of_any_length() -> None:
    """Found by `test_every_trace_is_a_path`: what was met with two lengths became an operand of what had met one."""
    five, four, also_four = Tensor(0, (5,)), Tensor(0), Tensor(1)
    first, second, third = Written(), Written(), Written()
    first.op("negative", five, at=0)
    x = second.op("add", four, four, at=1)
    second.op("add", four, four, at=1)
    second.op("negative", x, at=0)
    third.op("negative", third.op("negative", also_four, at=0), at=0)
    graph = TraceGraph()
    for written in (first, second, third):
        merge(graph, written.trace)
        assert_readers_cover_producers(graph)


def rounds(count: int, longer: bool) -> Trace:
    """Rounds of two operations, or of four, two of which go on with the result of the others."""
    written = Written()
    b: Any = Tensor(0)
    c: Any = Tensor(1)
    for _ in range(count):
        b = written.op("negative", written.op("relu", b, at=0), at=1)
        if longer:
            b, c = written.op("add", b, b, at=2), written.op("negative", c, at=3)
    written.op("negative", b, at=4)
    return written.trace


def test_two_bodies_of_one_loop() -> None:
    """Found by a drawn program: a longer round's operand seemed to hide the shorter's, which comes by its own loop."""
    drawn = [rounds(1, True), *[rounds(n, False) for n in (2, 3, 1)], rounds(2, True), rounds(3, True)]
    graph = TraceGraph(Lessons(folded=frozenset({(r.op.name, r.location) for trace in drawn for r in trace.records})))
    paths = []
    for trace in drawn:
        paths.append(merge(graph, trace))
        verify_trace_graph(graph)
        assert_is_path(graph, trace, paths[-1], newest=True)
    assert {len(body) for node in graph.nodes for body in node.loops} == {2, 4}
    assert [merge(graph, trace) for trace in drawn] == paths


def test_a_reader_goes_with_the_only_way_to_its_producer() -> None:
    """Found by drawn traces: nodes that a symbol has overtaken leave, and with them what made another's operand."""

    def long() -> Trace:
        written = Written()
        first = written.op("multiply", Tensor(0), 1.0, at=2)
        second = written.op("add", Tensor(1), Tensor(1), at=1)
        written.op("negative", first, at=0)
        written.op("negative", Tensor(0), at=0)
        written.op("add", Tensor(0), Tensor(0), at=1)
        written.op("negative", Tensor(0), at=0)
        written.op("negative", second, at=0)
        return written.trace

    def other() -> Trace:
        written = Written()
        for left in (0, 1, 0):  # the second addition is the one above, which now stays
            written.op("add", Tensor(left), Tensor(1), at=1)
        return written.trace

    def varied() -> Trace:
        written = Written()
        x = Tensor(0, (5,))
        written.op("multiply", x, 1.0, at=2)
        written.op("negative", x, at=0)
        written.op("negative", x, at=0)
        return written.trace

    graph = TraceGraph()
    for trace in (long(), other(), varied()):
        path = merge(graph, trace)
        verify_trace_graph(graph)
        assert_is_path(graph, trace, path, newest=True)
    assert "n0" in {dim for node in graph.nodes for spec in node.output_specs for dim in spec.shape}


def chain(last: int, number: int = 0) -> Trace:
    """Two operations, and one that reads the first (0) or the second (1)."""
    written = Written()
    made = [written.op("negative", Tensor(number), at=0)]
    made.append(written.op("relu", made[0], at=1))
    written.op("negative", made[last], at=2)
    return written.trace


def detour(taken: bool) -> Trace:
    """An operation, another on its result where that is `taken`, and one that reads the latest."""
    written = Written()
    latest = written.op("negative", Tensor(0), at=0)
    if taken:
        latest = written.op("relu", latest, at=1)
    written.op("negative", latest, at=2)
    return written.trace


@pytest.mark.parametrize("taken", [False, True])
def test_a_reader_of_two_producers_has_the_last_one_executed(taken: bool) -> None:
    graph = TraceGraph()
    first, second = merge(graph, detour(taken)), merge(graph, detour(not taken))
    assert first[-1] is second[-1]  # one node reads either
    assert merge(graph, detour(taken)) == first and merge(graph, detour(not taken)) == second
    assert len(graph.nodes) == 3


@pytest.mark.parametrize("last", [0, 1])
def test_a_reader_takes_no_producer_that_hides_an_earlier_one(last: int) -> None:
    """Both are executed on every path: the last of them would always be chosen, and the first trace be forgotten."""
    graph = TraceGraph()
    first, second = merge(graph, chain(last)), merge(graph, chain(1 - last))
    assert first[:2] == second[:2] and first[2] is not second[2]
    before = graph.version
    assert merge(graph, chain(last)) == first and merge(graph, chain(1 - last)) == second
    assert (graph.version, len(graph.nodes)) == (before, 4)


def test_a_tensor_is_one_feed_wherever_it_is_used() -> None:
    written = Written()
    x = Tensor(7)
    written.op("multiply", written.op("add", x, x, at=0), x, at=1)
    graph = TraceGraph()
    path = merge(graph, written.trace)
    assert graph.feeds == 1
    assert len({wiring.feed for node in path for wiring in node.inputs if isinstance(wiring, FromFeed)}) == 1


def used(tensor: int, scalar: float, length: int = 4) -> Trace:
    written = Written()
    written.op("negative", Tensor(9, (length,)), at=2)
    written.op("negative", Tensor(0), at=0)
    written.op("add", Tensor(tensor), scalar, at=1)
    return written.trace


def test_another_tensor_in_the_place_of_a_known_one_is_another_node() -> None:
    graph = TraceGraph()
    path = merge(graph, used(0, 1.0))
    for tensor in (1, -1):
        assert merge(graph, used(tensor, 1.0))[2] is not path[2]
    assert merge(graph, used(0, 1.0)) == path


@pytest.mark.parametrize("lengths", [(4, 4), (4, 5)], ids=["as it stands", "with a symbol"])
def test_the_match_that_changes_least_is_taken(lengths: tuple[int, int]) -> None:
    graph = TraceGraph()
    one = merge(graph, used(0, 1.0, lengths[0]))[2]
    two = merge(graph, used(1, 2.0, lengths[1]))[2]
    assert one is not two  # the feed of `one` is another tensor on that path
    assert merge(graph, used(0, 2.0, lengths[0]))[2] is two
    assert merge(graph, used(0, 1.0, lengths[1]))[2] is one
    scalars = [wiring.varies for node in (one, two) for wiring in node.inputs if isinstance(wiring, FromScalar)]
    assert scalars == [False, False]
    last = merge(graph, used(0, 3.0))[2]
    assert [wiring.varies for wiring in last.inputs if isinstance(wiring, FromScalar)] == [True]


def summed(length: int, more: bool = False) -> Trace:
    written = Written()
    x = Tensor(0, (length,))
    y = written.op("negative", x, at=0)
    if more:
        y = written.op("relu", y, at=1)
    written.op("sum", y, at=2, axis=(0,), keepdims=False)
    return written.trace


def test_a_length_that_varies_is_one_symbol_from_the_feed_to_every_reader() -> None:
    graph = TraceGraph()
    path = merge(graph, summed(4))
    assert merge(graph, summed(5)) == path
    negative, total = path
    (symbol,) = negative.output_specs[0].shape
    assert isinstance(symbol, str)
    assert [spec.shape for spec in (*negative.input_specs, *total.input_specs) if spec] == [(symbol,), (symbol,)]
    assert total.output_specs[0].shape == ()
    version = graph.version
    assert merge(graph, summed(6)) == path and graph.version == version  # any other length is known
    longer = merge(graph, summed(7, more=True))  # a new operation takes over the symbol
    assert [spec.shape for spec in longer[1].output_specs] == [(symbol,)]
    assert not graph.rigid


def test_what_a_symbol_has_overtaken_is_pruned() -> None:
    graph = TraceGraph()
    short = merge(graph, summed(4, more=True))
    path = merge(graph, summed(5))  # the first operation has a symbol now, and `relu` of it has not
    assert short[1].removed and short[1] not in graph.nodes
    assert not any(node.removed for node in path)
    assert_readers_cover_producers(graph)


def test_a_length_that_varies_in_the_operand_alone_is_noticed() -> None:
    def total(length: int) -> Trace:
        written = Written()
        written.op("sum", Tensor(0, (length,)), at=0, axis=(0,), keepdims=False)
        return written.trace

    graph = TraceGraph()
    (node,) = merge(graph, total(4))
    assert merge(graph, total(5)) == [node]
    assert [isinstance(dim, str) for spec in node.input_specs if spec for dim in spec.shape] == [True]


def test_an_operation_without_a_form_for_all_sizes_stays_as_it_is() -> None:
    def reshaped(rows: int) -> Trace:
        written = Written()
        written.op("reshape", Tensor(0, (rows * 3,)), at=0, shape=(rows, 3))
        return written.trace

    graph = TraceGraph()
    (node,) = merge(graph, reshaped(2))
    (other,) = merge(graph, reshaped(4))
    assert other is not node
    assert graph.rigid == {(("reshape", place_at(0)), None)}  # which the session leaves to Python then
    assert [spec.shape for spec in node.input_specs if spec] == [(6,)]


def test_what_is_pruned_is_nowhere_in_the_graph_and_is_traced_anew() -> None:
    graph = TraceGraph()
    longer = summed(4, more=True)
    longer.reads.append((3, Produced(1, 0)))
    known = merge(graph, longer)
    relu = known[1]
    assert known[2].reads == [relu.outputs[0]]
    version, made = graph.version, graph.made
    path = merge(graph, summed(5))
    assert relu.removed and relu not in path and graph.version > version
    left = [graph.start, graph.end, *graph.nodes]
    assert set(path) <= set(graph.nodes)
    for node in left:
        assert {*node.children, *node.parents, *(output.node for output in node.reads)} <= {*left}
        for wiring in node.inputs:
            assert not isinstance(wiring, FromNodes) or {output.node for output in wiring.alternatives} <= {*left}
    for table in (graph.by_key, graph.by_kin):
        assert sorted(n.number for nodes in table.values() for n in nodes) == sorted(n.number for n in graph.nodes)
    assert merge(graph, Trace(prefix=[known[0], relu])) == [], "where that step went on from is gone"
    again = merge(graph, summed(4, more=True))
    assert again[1] is not relu and again[1].number > made and not again[1].removed
    verify_trace_graph(graph)


def test_sizes_may_have_to_stay_numbers() -> None:
    graph = TraceGraph(Lessons(numbers=True))
    paths = [merge(graph, summed(length)) for length in (4, 5, 4)]
    assert paths[0] == paths[2] and not {*paths[0]} & {*paths[1]}
    assert [spec.shape for path in paths for spec in path[0].output_specs] == [(4,), (5,), (4,)]
    assert graph.symbols.origins == {}


def test_one_and_none_are_no_sizes_like_others() -> None:
    graph = TraceGraph()
    paths = [merge(graph, summed(length)) for length in (4, 1, 0, 5, 6)]
    assert paths[0] == paths[3] == paths[4]
    assert not {*paths[0]} & {*paths[1], *paths[2]} and not {*paths[1]} & {*paths[2]}


def test_traces_reads_and_kept_outputs_are_noted() -> None:
    graph = TraceGraph()
    trace = chain(0)
    trace.reads += [(0, Produced(0, 0)), (3, Produced(1, 0))]
    trace.kept += [Produced(2, 0)]
    path = merge(graph, trace)
    assert graph.traces == 1
    assert graph.start.reads == [path[0].outputs[0]] and path[2].reads == [path[1].outputs[0]]
    assert [node.fetched for node in path] == [[True], [True], [False]]
    assert [node.kept for node in path] == [[False], [False], [True]]
    version = graph.version
    assert merge(graph, trace) == path and (graph.version, graph.traces) == (version, 2)
    merge(graph, chain(0, number=1))
    assert graph.version == version


def spread(length: int, more: bool = True) -> Trace:
    """What a shape among the attributes has to follow."""
    written = Written()
    x = written.op("negative", Tensor(0, (length,)), at=0)
    if more:
        written.op("broadcast_to", x, at=1, shape=(3, length))
    return written.trace


@pytest.mark.parametrize("known", [True, False], ids=["known before", "new"])
def test_a_shape_among_the_attributes_has_the_symbols_of_its_operands(known: bool) -> None:
    graph = TraceGraph()
    for length in (4, 5):
        merge(graph, spread(length, more=known))
    path = merge(graph, spread(7))
    (symbol,) = path[0].output_specs[0].shape
    assert isinstance(symbol, str)
    assert path[1].attributes == {"shape": (3, symbol)} and path[1].output_specs[0].shape == (3, symbol)
    version = graph.version
    assert merge(graph, spread(8)) == path and graph.version == version and not graph.rigid


def test_another_reader_of_a_tensor_has_its_symbols() -> None:
    graph = TraceGraph()
    for length in (4, 5):
        merge(graph, spread(length, more=False))
    written = spread(7, more=False)
    Written(written).op("abs", Tensor(0, (7,)), at=2)
    negative, absolute = merge(graph, written)
    assert absolute.input_specs == negative.input_specs and absolute.output_specs == negative.output_specs


def test_sizes_that_were_always_equal_are_one_symbol_and_others_are_not() -> None:
    def product(first: int, second: int) -> Trace:
        written = Written()
        written.op("negative", Tensor(0, (first, second)), at=0)
        return written.trace

    for others, expected in (((5, 5), 1), ((5, 6), 2), ((4, 6), 1)):
        graph = TraceGraph()
        merge(graph, product(4, 4))
        (node,) = merge(graph, product(*others))
        symbols = [dim for dim in node.output_specs[0].shape if isinstance(dim, str)]
        assert len(set(symbols)) == expected and len(symbols) == sum(other != 4 for other in others)


def test_a_child_that_is_not_taken_leaves_no_feeds_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """`add(T0, T0)` is as two children stand: only the feeds of the older one, which is taken, are the path's."""

    def size() -> int:
        graph = TraceGraph()
        for second, doubled in ((0, False), (1, True), (0, True)):
            written = Written()
            written.op("add", Tensor(0), Tensor(second), at=1)
            if doubled:
                written.op("multiply", Tensor(1), 2.0, at=2)
            merge(graph, written.trace)
        return len(graph.nodes)

    quick = size()
    monkeypatch.setattr(Merger, "_known_child", lambda self, record: None)
    assert quick == size() == 3
