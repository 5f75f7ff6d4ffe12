"""Legality: a schedule is legal if every dependence goes from earlier to later.

In: a schedule and the dependences.  Out: nothing, or IllegalSchedule with a pair of instances that would
change places.  Called by every transformation that a user can ask for; what the mapper does by itself is
legal by construction and proved again on the kernel.
"""

from __future__ import annotations

from comprehension.errors import IllegalSchedule
from comprehension.poly import isl
from comprehension.poly.dependence import Dependences


def check_legal(schedule: isl.Schedule, dependences: Dependences, what: str, *, strict: bool = False) -> None:
    """Raises IllegalSchedule if `schedule` breaks a dependence; `strict` keeps the order inside reductions too."""
    broken = violations(schedule, dependences.strict if strict else dependences.relaxed)
    if not broken.is_empty():
        pair = isl.sample_pair(broken)
        raise IllegalSchedule(f"{what} is illegal: it would run the second of this pair not after the first: {pair}")


def violations(schedule: isl.Schedule, dependences: isl.UnionMap) -> isl.UnionMap:
    """The dependences whose source does not run strictly before its sink."""
    time = schedule.get_map()
    return dependences.intersect(time.lex_ge_union_map(time))


def is_coincident(member: isl.UnionPwAff, dependences: isl.UnionMap) -> bool:
    """Whether all dependences among the instances of `member` stay within one iteration of it."""
    time = isl.UnionMap.from_union_pw_aff(member)
    domain = time.domain()
    inside = dependences.intersect_domain(domain).intersect_range(domain)
    return bool(inside.is_subset(time.apply_range(time.reverse())))
