"""Programs by running their loops: every instance in order, and the elements that it touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from comprehension.lang import tree
from comprehension.lang.loops import LoopProgram, LoopStatement
from comprehension.lang.scalars import EXACT
from comprehension.poly import isl
from comprehension.poly.scop import reads_in_order

Point = tuple[int, ...]
Names = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Touch:
    """What an instance may touch by one of its accesses; several elements where values from memory say which."""

    number: int
    tensor: str
    elements: frozenset[Point]
    is_write: bool
    exact: bool


@dataclass(frozen=True, slots=True)
class Instance:
    statement: str
    point: Point
    touches: tuple[Touch, ...]


def known(expr: tree.Expr, names: Names) -> Any:
    """An expression's integer or truth; None where it depends on what stands in memory."""
    match expr:
        case tree.Number(value=value):
            return value
        case tree.Name(id=name):
            return names[name]
        case tree.Unary(op=op, operand=operand):
            inner = known(operand, names)
            return None if inner is None else -inner if op == "-" else not inner
        case tree.Cast(operand=operand):
            return known(operand, names)
        case tree.Select(condition=condition, then=then, otherwise=otherwise):
            chosen = known(condition, names)
            return None if chosen is None else known(then if chosen else otherwise, names)
        case tree.Binary(op="&&" | "||" as op, left=left, right=right):
            sides = known(left, names), known(right, names)
            settles = op == "||"
            return settles if settles in sides else None if None in sides else not settles
        case tree.Binary(op=op, left=left, right=right) | tree.Call(function=op, arguments=(left, right)):
            one, other = known(left, names), known(right, names)
            return None if one is None or other is None or op not in EXACT else EXACT[op](one, other)
        case _:
            return None


def extents_of(program: LoopProgram, tensor: str, sizes: Names) -> list[int]:
    return [known(size, sizes) for size in program.tensor(tensor).shape]


def instances(program: LoopProgram, sizes: Names) -> Iterator[Instance]:
    """Every instance, in the order in which it runs."""
    for statement in program.statements:
        yield from _of_statement(program, statement, sizes)


def _of_statement(program: LoopProgram, statement: LoopStatement, sizes: Names) -> Iterator[Instance]:
    def loops(position: int, names: Names) -> Iterator[Instance]:
        if position == statement.left and statement.initialise:
            yield _initialisation(program, statement, names)
        if position == len(statement.indices):
            yield _instance(program, statement, names)
            return
        index = statement.indices[position]
        for value in range(known(index.lower, names), known(index.upper, names)):
            yield from loops(position + 1, {**names, index.name: value})

    yield from loops(0, sizes)


def _initialisation(program: LoopProgram, statement: LoopStatement, names: Names) -> Instance:
    point = tuple(names[index.name] for index in statement.indices[: statement.left])
    write = _touch(program, 0, statement.target, statement.subscripts, names, is_write=True)
    return Instance(f"{statement.name}_init", point, (write,))


def _instance(program: LoopProgram, statement: LoopStatement, names: Names) -> Instance:
    for let in statement.lets:
        names = {**names, let.name: known(let.value, names)}
    touches = [_touch(program, 0, statement.target, statement.subscripts, names, is_write=True)]
    number = 0
    for number, (read, guards) in enumerate(reads_in_order(statement), start=1):
        if all(known(condition, names) in (wanted, None) for condition, wanted in guards):
            touches.append(_touch(program, number, read.tensor, read.subscripts, names))
    if statement.reduction is not None:
        touches.append(_touch(program, number + 1, statement.target, statement.subscripts, names))
    return Instance(statement.name, tuple(names[index.name] for index in statement.indices), tuple(touches))


def _touch(
    program: LoopProgram,
    number: int,
    tensor: str,
    subscripts: Sequence[tree.Expr],
    names: Names,
    *,
    is_write: bool = False,
) -> Touch:
    places = [known(subscript, names) for subscript in subscripts]
    extents = extents_of(program, tensor, names)
    axes = [range(extent) if place is None else (place,) for place, extent in zip(places, extents, strict=True)]
    return Touch(number, tensor, frozenset(product(*axes)), is_write, None not in places)


# --- isl's points -----------------------------------------------------------------------------------------------------


def at_sizes(points: isl.Set, sizes: Names) -> isl.Set:
    for position in range(points.dim(isl.dim_type.param)):
        name = points.get_dim_name(isl.dim_type.param, position)
        points = points.fix_val(isl.dim_type.param, position, isl.Val(sizes[name], points.get_ctx()))
    return points


def points_of(points: isl.Set, sizes: Names) -> set[Point]:
    """All points of a bounded set."""
    found: set[Point] = set()
    rank = points.dim(isl.dim_type.set)

    def take(point: isl.Point) -> None:
        found.add(tuple(int(point.get_coordinate_val(isl.dim_type.set, d).to_python()) for d in range(rank)))

    at_sizes(points, sizes).foreach_point(take)
    return found


def pairs_of(relation: isl.Map, sizes: Names) -> set[tuple[Point, Point]]:
    rank = relation.dim(isl.dim_type.in_)
    return {(point[:rank], point[rank:]) for point in points_of(relation.wrap().flatten(), sizes)}
