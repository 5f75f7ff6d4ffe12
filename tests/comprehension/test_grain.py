"""How much work a chunk is: iterations of the outermost loop that each plan leaves, and how many are worth a worker."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_decisions import WIDE
from test_estimates import Case, models

from comprehension.poly.lane_plan import Groups, LanePlan, NoLanes
from comprehension.poly.model import CHUNK_COST, Model
from comprehension.poly.nest import Member, Nest
from comprehension.poly.tile_plan import Jam, TilePlan

TEXT = "def f(float(B,M,K) A, float(B,K,N) C) -> (D) { D(b,m,n) +=! A(b,m,k) * C(b,k,n) }"
BATCH, ROWS, LANES = 12, 100, 90


@pytest.fixture(scope="module")
def made() -> tuple[Model, Nest]:
    (nest,), lanes = models(Case(TEXT, ((BATCH, ROWS, 50), (BATCH, 50, LANES)), WIDE))
    return Model(lanes), nest


def tile(nest: Nest, outer: tuple[Member, ...] = (), lane_block: int | None = None, jam: Jam | None = None) -> TilePlan:
    _, rows, lanes = nest.members
    inner = tuple(m for m in nest.members[:1] if m not in outer)
    return TilePlan("S0", rows, lanes, 6, 16, 4, lane_block, outer, inner, None, None, 1.0, "", jam=jam)


def test_units_of_register_tiles(made: tuple[Model, Nest]) -> None:
    """With next to nothing to do all units are one chunk."""
    model, nest = made
    batch, rows, _ = nest.members
    assert model.grain(nest, tile(nest, (batch,))) == BATCH
    assert model.grain(nest, tile(nest, (batch,), jam=Jam(batch, 5, "S0", 3))) == BATCH // 5
    assert model.grain(nest, tile(nest, (batch,), jam=Jam(rows, 5, "S0", 3))) == BATCH
    assert model.grain(nest, tile(nest, (batch,), lane_block=2)) == BATCH
    assert model.grain(nest, tile(nest, lane_block=2)) == 3  # of 32 lanes each
    assert model.grain(nest, tile(nest, lane_block=1)) == 6
    assert model.grain(nest, tile(nest)) == 5  # of 24 rows each


def test_units_of_lanes_and_loops(made: tuple[Model, Nest]) -> None:
    model, nest = made
    batch, rows, lanes = nest.members
    plan = LanePlan(lanes, 16, 1.0, "")
    assert model.grain(nest, plan) == BATCH
    assert model.grain(nest, replace(plan, member=batch)) == ROWS
    assert model.grain(replace(nest, members=(lanes,)), plan) == 6
    assert model.grain(replace(nest, members=(lanes,)), replace(plan, groups=Groups(rows, 8, 4))) == 2
    assert model.grain(replace(nest, members=(lanes,)), replace(plan, split=True)) == 1
    assert model.grain(nest, NoLanes(1.0)) == BATCH
    assert model.grain(nest, NoLanes(1.0, rows=4)) == BATCH  # of the innermost loop, which others stand around
    assert model.grain(replace(nest, members=(rows,)), NoLanes(1.0, rows=4)) == 25
    assert model.grain(replace(nest, members=()), NoLanes(1.0)) == 1


@pytest.mark.parametrize(
    ("cost", "grain"),
    [
        (0.0, 12),
        (12.0, 12),
        (CHUNK_COST, 12),  # all of it is one chunk
        (CHUNK_COST * 2, 6),
        (CHUNK_COST * 5, 2),
        (CHUNK_COST * 11, 1),
        (CHUNK_COST * 1000, 1),
    ],
)
def test_a_chunk_has_so_many_units(made: tuple[Model, Nest], cost: float, grain: int) -> None:
    model, nest = made
    assert model.grain(nest, NoLanes(cost)) == grain


def test_units_that_tiles_of_options_are_multiples_of(made: tuple[Model, Nest]) -> None:
    model, nest = made
    batch, rows, lanes = nest.members
    assert [model.unit(tile(nest), member) for member in (batch, rows, lanes)] == [1, 6, 16]
    plan = LanePlan(lanes, 32, 1.0, "")
    assert [model.unit(plan, member) for member in (batch, rows, lanes)] == [1, 1, 32]
    assert [model.unit(NoLanes(1.0), member) for member in (batch, rows, lanes)] == [1, 1, 1]


def test_costs_of_nests_are_those_of_all_their_runs(made: tuple[Model, Nest]) -> None:
    model, nest = made
    plan = model.plan(nest)
    assert isinstance(plan, TilePlan)
    assert model.cost(nest) == plan.cost  # it runs once
    around = Nest(nest.members[:1], (Nest(nest.members[1:], nest.children),))
    (inside,) = around.children
    assert isinstance(inside, Nest)
    below = model.plan(inside)
    assert isinstance(below, TilePlan) and model.cost(inside) == below.cost * BATCH
    # a write, two reads and its own target; a product and a sum
    assert model.cost("S0") == BATCH * ROWS * LANES * 50 * (4 + 2)
    assert model.cost("S0_init") == BATCH * ROWS * LANES
