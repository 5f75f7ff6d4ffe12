"""Steps of user schedules, drawn for whatever loops there are."""

from __future__ import annotations

from hypothesis import strategies as st

from comprehension.poly.looptree.tree import LoopTree
from comprehension.scheduling import steps as data

SIZES = st.integers(1, 5)


def steps_for(loops: LoopTree) -> st.SearchStrategy[data.Step]:
    """Steps whose names fit: most of them legal for loops without dependences, some that no loops would take."""
    names = [loops.full_name(path) for path, _ in loops.loops()]
    qualified = [f"{statement}.{label}" for _, loop in loops.loops() for statement, label in loop.labels.items()]
    outermost = [loops.full_name((at,)) for at, node in enumerate(loops.nodes) if not isinstance(node, str)]
    tensors = [info.name for info in loops.scop.program.tensors]
    name, pairs = st.sampled_from(names), st.lists(st.sampled_from(names), min_size=2, max_size=3, unique=True)
    sized = st.lists(st.tuples(name, SIZES), min_size=1, max_size=2, unique_by=lambda pair: pair[0])
    kinds = [
        st.builds(data.Split, name, SIZES),
        st.builds(lambda chosen: data.Tile(tuple(chosen)), sized),
        st.builds(data.Distribute, name),
        st.builds(data.Reverse, name),
        st.builds(data.Shift, st.sampled_from(qualified), st.integers(-2, 2)),
        st.builds(data.Unroll, name, st.integers(2, 4)),
        st.builds(lambda chosen: data.Vectorize(tuple(chosen)), sized),
        st.builds(data.Parallelize, st.sampled_from(outermost or names)),
        st.builds(data.Promote, st.sampled_from(tensors), name),
        st.builds(data.Pack, st.sampled_from(tensors), name),
    ]
    if len(names) > 1:
        kinds += [
            st.builds(lambda chosen: data.Reorder(tuple(chosen)), pairs),
            st.builds(lambda chosen: data.Fuse(tuple(chosen[:2])), pairs),
            st.builds(lambda chosen, by: data.Skew(chosen[0], chosen[1], by), pairs, st.integers(-1, 2)),
        ]
    if len(outermost) > 1:
        fused = st.lists(st.sampled_from(outermost), min_size=2, max_size=2, unique=True)
        kinds.append(st.builds(lambda chosen: data.Fuse(tuple(chosen)), fused))
    return st.one_of(kinds)
