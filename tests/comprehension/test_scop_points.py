"""The polyhedral form of a program, point by point, against its loops as they run: domains, order, dependences."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from enumerated import Names, instances, pairs_of, points_of
from texts import TEXTS

from comprehension.jit.expression import evaluate
from comprehension.kernel.size_text import text_of_tree
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram, Role
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec
from comprehension.poly import isl
from comprehension.poly.dependence import Dependence, find_dependences
from comprehension.poly.scop import build_scop

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "relu": [(4,)],
    "sum": [(2, 3)],
    "total": [(2, 3)],
    "matmul": [(2, 3), (3, 2)],
    "batched": [(2, 1, 2), (2, 2, 2)],
    "mlp": [(2, 2), (2, 2), (2,)],
    "softmax": [(2, 3)],
    "strided": [(1, 5, 3), (1, 2, 2)],
    "padded": [(3,)],
    "pooled": [(4, 4)],
    "scan": [(3, 2)],
    "filters": [(2, 3, 1), (2, 2, 3)],
    "triangle": [(4,)],
    "gather": [(3, 2), (2,)],
    "lookup": [(2, 2), (2, 2)],
    "modulo": [(5,)],
    "reversed": [(5,)],
    "stencil": [(8,)],
    "moments": [(2, 3)],
    "wavenet": [(1, 2, 4), (2, 2), (2, 2)],
    "accumulated": [(2, 3), (3,)],
    "two_sums": [(2, 3), (2, 2)],
    "in_place": [(4,)],
    "let": [(3,)],
    "halved": [(3,)],
    "clamped": [(4,)],
    "products": [(7,)],
    "product": [(2, 3)],
    "mask": [(3,)],
    "prefix": [(5,)],
    "shifted": [(5,)],
    "diagonal": [(3, 3)],
}
OWN: dict[str, tuple[str, str, list[tuple[int, ...]]]] = {
    "a window in each row": ("float(N) X", "O(i) +=! X(j) where i in 0:4, j in 2*i:2*i+3", [(9,)]),
    "a range without points": ("float(N) X", "O(i) max=! X(j) where i in 0:3, j in i:2", [(5,)]),
    "choices in a choice": (
        "float(N) A, float(N) B, int32(N) c",
        "O(i) = i > 1 ? (c(i) > 0 || i < 3 ? A(i) : B(i)) : (c(i) > 0 && i > 0 ? B(0) : A(0)) where i in 0:5",
        [(5,), (5,), (5,)],
    ),
    "a let that decides": ("float(N) A", "O(i) = h ? A(i) : A(0) where i in 0:4, h = i % 2 == 0 && i > 1", [(4,)]),
    "a subscript by a let": ("float(N) A", "O(i) = A(u) where i in 0:4, t = 2 * i, u = t + 1", [(9,)]),
    "a subscript that is chosen": ("float(N) A", "O(i) = A(i < 2 ? i : 3 - i) where i in 0:4", [(4,)]),
    "a subscript that is read": ("float(M,N) A, int32(N) I", "O(i) = A(I(i), i) where i in 0:3", [(2, 3), (3,)]),
    "remainders of what falls": ("float(N) A", "O(i) = A((3 - i) % 3 + i / -2 + 2) where i in 0:5", [(8,)]),
    "updates in place": ("float(N) A", "O(i) = A(i)  O(i) += O(i + 1) where i in 0:3", [(4,)]),
}
ALL = [*SHAPES, *OWN]


def case(name: str) -> tuple[LoopProgram, Names]:
    """A program at sizes so small that all its pairs of instances can be looked at."""
    if name in OWN:
        given, body, shapes = OWN[name]
        definition = load(f"def f({given}) -> (O) {{ {body} }}")["f"]
    else:
        definition, shapes = load(str(TEXTS[name][0]))["f"], SHAPES[name]
    inputs = [tensor for tensor in definition.tensors if tensor.role is Role.INPUT]
    specs = [Spec(shape, tensor.dtype) for shape, tensor in zip(shapes, inputs, strict=True)]
    return infer(definition, specs), {}


@pytest.mark.parametrize("name", ALL)
def test_domains_and_accesses_are_those_of_the_loops(name: str) -> None:
    program, sizes = case(name)
    scop = build_scop(program)
    run = list(instances(program, sizes))
    for statement in scop.statements:
        own = [instance for instance in run if instance.statement == statement.name]
        assert points_of(statement.domain, sizes) == {instance.point for instance in own}
        for access in statement.accesses:
            touches = [(i.point, t) for i in own for t in i.touches if t.number == access.number]
            assert {t.tensor for _, t in touches} <= {access.tensor}
            assert {t.is_write for _, t in touches} <= {access.is_write}
            product = (name, access.number) == ("products", 1)  # of indices, which isl does not know
            assert access.exact is (not product and all(t.exact for _, t in touches))
            expected = {(point, element) for point, touch in touches for element in touch.elements}
            found = pairs_of(access.relation, sizes)
            assert found == expected if access.exact else found >= expected


@pytest.mark.parametrize("name", ALL)
def test_times_are_the_order_of_the_loops(name: str) -> None:
    program, sizes = case(name)
    scop = build_scop(program)
    times = {(s, point): time for s in scop.times for point, time in pairs_of(scop.times[s], sizes)}
    run = [(instance.statement, instance.point) for instance in instances(program, sizes)]
    assert sorted(times, key=times.__getitem__) == run
    assert len(set(times.values())) == len(run)


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("gather", "lookup", "products")])
def test_dependences_are_all_pairs_that_meet(name: str) -> None:
    """Two accesses to one element, of which one writes, in the order of the loops; those of a reduction apart."""
    program, sizes = case(name)
    scop = build_scop(program)
    run = list(instances(program, sizes))
    last = {s.name: len(s.accesses) - 1 for s in scop.statements}
    updates = {source.name for source in program.statements if source.reduction is not None}
    expected: Counter[object] = Counter()
    for position, later in enumerate(run):
        for earlier in run[:position]:
            for a in earlier.touches:
                for b in later.touches:
                    if a.tensor != b.tensor or not (a.is_write or b.is_write) or not a.elements & b.elements:
                        continue
                    kind = "waw" if a.is_write and b.is_write else "raw" if a.is_write else "war"
                    one = earlier.statement == later.statement and later.statement in updates
                    inner = one and {a.number, b.number} <= {0, last[later.statement]}
                    pair = (earlier.statement, earlier.point), (later.statement, later.point)
                    expected[(*pair, a.tensor, kind, inner)] += 1
    found = Counter(
        ((e.source, source), (e.sink, sink), e.tensor, e.kind, e.is_reduction)
        for e in find_dependences(scop).edges
        for source, sink in pairs_of(e.relation, sizes)
    )
    assert found == expected


@pytest.mark.parametrize("name", ["moments", "two_sums", "in_place", "shifted"])
def test_dependences_are_found_by_kind_tensor_and_statements(name: str) -> None:
    program, _ = case(name)
    found = find_dependences(build_scop(program))
    edges = found.edges

    def union(chosen: list[Dependence]) -> isl.UnionMap:
        return isl.union_map(found.parameters, (edge.relation for edge in chosen))

    for kind in ("raw", "war", "waw"):
        own = [edge for edge in edges if edge.kind == kind]
        assert own and getattr(found, kind).is_equal(union(own))
        assert found.relation(kind, reductions=False).is_equal(union([edge for edge in own if not edge.is_reduction]))
    assert found.reduction.is_equal(union([edge for edge in edges if edge.is_reduction]))
    assert found.strict.is_equal(union(list(edges)))
    for name_, tensor in {(edge.source, edge.tensor) for edge in edges}:
        assert found.through(tensor) == tuple(edge for edge in edges if edge.tensor == tensor)
        for other in {edge.sink for edge in edges}:
            own = [edge for edge in edges if (edge.source, edge.sink) == (name_, other)]
            assert found.between(name_, other) == tuple(own)
    assert found.between("S0", "nowhere") == found.through("nothing") == ()
    assert [" (reduction): " in line for line in str(found).splitlines()] == [edge.is_reduction for edge in edges]


def test_a_scop_is_found_by_names_and_shown() -> None:
    program, _ = case("two_sums")
    scop = build_scop(program)
    every = [access for statement in scop.statements for access in statement.accesses]
    for tensor in ("A", "B", "C", "nothing"):
        assert scop.accesses_to(tensor) == tuple(access for access in every if access.tensor == tensor)
    assert scop.find("S1") is scop.statement("S1") is scop.statements[2]
    assert scop.find("S7") is scop.find(None) is scop.find("") is None
    assert [s.name for s in scop.statements] == ["S0_init", "S0", "S1"]
    shown = [line.partition("{")[0].rstrip() for line in str(scop).splitlines()]
    init, update = ["    writes"], ["    writes", "    reads", "    reads"]
    assert shown == ["S0_init (init):", *init, "S0 (update):", *update, "S1 (update):", *update]
    lookup = str(build_scop(case("gather")[0]))
    assert [line.split("->")[0].split()[0] for line in lookup.splitlines() if "over-approximated" in line] == ["reads"]


@pytest.mark.parametrize(
    ("body", "allowed", "refused"),
    [
        ("O(i) = A(i,0) where i in 0:M", {"M": 0, "N": 1}, {"M": -1, "N": 1}),
        ("O(i) = A(i,0) where i in 0:M", {"M": 0, "N": 1}, {"M": 1, "N": -1}),
        ("O(i) = A(i,3) where i in 0:M", {"M": 1, "N": 4}, {"M": 1, "N": 3}),  # what a launch checks
        ("O(i) = 1.0 where i in 0:M*N", {"M": 2, "N": 3, "M*N": 6}, {"M": 2, "N": 3, "M*N": -6}),
        ("O(i) = A(i, 1 % N) where i in 0:M", {"M": 1, "N": 1}, {"M": 1, "N": 0}),  # by what is known of remainders
        ("O(i) = A(i, M / N) where i in 0:1", {"M": 1, "N": 2}, {"M": 1, "N": 0}),
        ("O(i) = i < M * N ? A(0, i) : 1.0 where i in 0:N", {"M": 2, "N": 3, "M*N": 6}, {"M": 2, "N": 3, "M*N": -6}),
    ],
)
def test_the_context_is_what_holds_of_sizes(body: str, allowed: dict[str, int], refused: dict[str, int]) -> None:
    program = infer(load(f"def f(float(M,N) A) -> (O) {{ {body} }}")["f"], None, "symbolic")
    context = build_scop(program).context
    assert set(isl.parameter_names(context)) == set(allowed)
    assert not isl.at_sizes(context, allowed).is_empty() and isl.at_sizes(context, refused).is_empty()


@pytest.mark.parametrize(
    "value", ["A(M / N, 1 % N)", "A(M % N, N / M)", "A(M * N / 4, 0) + A(0, M / N)", "A(N % 3, M % N)"]
)
def test_all_sizes_that_a_launch_allows_are_in_the_context(value: str) -> None:
    program = infer(load(f"def f(float(M,N) A) -> (O) {{ O(i) = {value} where i in 0:M }}")["f"], None, "symbolic")
    context, found = build_scop(program).context, 0
    for m, n in itertools.product(range(7), repeat=2):
        if all(evaluate(text_of_tree(p.condition), {"M": m, "N": n}) for p in program.preconditions):
            found += 1
            assert not isl.at_sizes(context, {"M": m, "N": n}).is_empty(), (m, n)
    assert found
