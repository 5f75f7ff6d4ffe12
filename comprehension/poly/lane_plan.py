"""LanePlan and NoLanes: what is decided about a nest whose loops become lanes of vectors, or stay loops.

In: made by `model`.  Out: what `mapper` writes as a tree.
Invariant: a plan names loops of its nest only; every plan is a legal order of the nest's instances.
"""

from __future__ import annotations

from dataclasses import dataclass

from comprehension.poly.nest import Member
from comprehension.poly.tile_plan import Jam, TilePlan


@dataclass(frozen=True, slots=True)
class Groups:
    """A reduction over rows takes `rows` of them at a time, through `tiles` tiles of lanes, and then the next ones."""

    row: Member
    rows: int
    tiles: int


@dataclass(frozen=True, slots=True)
class LanePlan:
    """`member` of the nest becomes lanes, `extent` of them a tile; `split`: it is the loop of a reduction."""

    member: Member
    extent: int
    cost: float
    reason: str
    split: bool = False
    groups: Groups | None = None
    jam: Jam | None = None


@dataclass(frozen=True, slots=True)
class NoLanes:
    """The nest's loops stay loops, `rows` iterations of the innermost at once; what is inside decides for itself."""

    cost: float
    rows: int = 1
    reason: str = ""


Plan = LanePlan | NoLanes | TilePlan
