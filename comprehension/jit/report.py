"""The report of a kernel: how much it computes and moves, what limits it, what compiling it took.

In: a LoopProgram (counted statement by statement) and the pipeline's timings.  Out: a JSON-able `Report`.
Invariant: counts are exact for rectangular loops of static size; a loop whose bound depends on another index
counts at the middle of its range, a symbolic size as what `poly.typical` takes it to be, and `exact` says which it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from comprehension.jit.expression import evaluate
from comprehension.kernel.size_text import text_of_tree
from comprehension.lang import tree
from comprehension.lang.loops import LoopProgram, LoopStatement, Role
from comprehension.machine import Machine
from comprehension.poly.typical import SCALAR, typical_sizes

_BUILTIN_FLOPS = 1  # as everybody counts: one call, one operation
# What one core moves from memory and computes, for telling the two limits apart (not for predicting times).
_BYTES_PER_CYCLE = 8.0
_FMA_PER_CYCLE = 1.0


Limit = Literal["arithmetic", "memory"]
Resources = dict[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """`flops` and `bytes` of one call, `footprints` in bytes by tensor, `seconds` of each compilation stage.

    `fallbacks` says, for each schedule that was tried and could not be proved, why; the kernel has a simpler one.
    `limit` is "arithmetic" or "memory", whichever would take longer at the machine's peak; on CUDA,
    `resources` holds registers, spills and shared memory by kernel.
    """

    flops: int
    bytes: int
    footprints: dict[str, int]
    limit: Limit
    exact: bool
    seconds: dict[str, float] = field(default_factory=dict)
    resources: dict[str, Resources] = field(default_factory=dict)
    fallbacks: tuple[str, ...] = ()

    @property
    def intensity(self) -> float:
        """Operations per byte that must move at least."""
        return self.flops / max(1, self.bytes)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Report:
        raw = json.loads(text)
        return cls(**{**raw, "fallbacks": tuple(raw["fallbacks"])})

    def __str__(self) -> str:
        lines = [
            f"flops      {self.flops:,}{'' if self.exact else ' (estimated)'}",
            f"bytes      {self.bytes:,} at least",
            f"intensity  {self.intensity:.2f} operations a byte: limited by {self.limit}",
        ]
        lines += [f"  {name:<10} {size:,} bytes" for name, size in self.footprints.items()]
        lines += [f"{name:<12} {1000 * seconds:8.1f} ms" for name, seconds in self.seconds.items()]
        for name, found in self.resources.items():
            lines.append(f"{name}: {', '.join(f'{what} {count}' for what, count in found.items())}")
        lines += [f"not as asked for: {why}" for why in self.fallbacks]
        return "\n".join(lines)


def report_of(program: LoopProgram, machine: Machine, seconds: Mapping[str, float]) -> Report:
    """Counts a program's work.

    >>> from comprehension.machine import host
    >>> report_of(LoopProgram("empty", (), (), (), ()), host(), {}).flops
    0
    """
    known: dict[str, float] = {scalar.name: SCALAR for scalar in program.scalars}
    known.update(typical_sizes(program))
    counts = [_points(statement, dict(known)) for statement in program.statements]
    flops = sum(points * _operations(s) for (points, _), s in zip(counts, program.statements, strict=True))
    footprints = {t.name: _elements(t.shape, known) * t.dtype.bits // 8 for t in program.tensors}
    moved = sum(footprints[t.name] for t in program.tensors if t.role is not Role.TEMPORARY)
    lanes = machine.lanes(32)
    arithmetic = flops / (2 * lanes * _FMA_PER_CYCLE)
    limit: Limit = "arithmetic" if arithmetic > moved / _BYTES_PER_CYCLE else "memory"
    exact = not program.sizes and all(exactly for _, exactly in counts)
    return Report(flops, moved, footprints, limit, exact, dict(seconds))


def _points(statement: LoopStatement, known: dict[str, float]) -> tuple[int, bool]:
    """How many instances a statement has, and whether that is exact."""
    points, exact = 1.0, True
    indices = {index.name for index in statement.indices}
    for index in statement.indices:
        exact &= not any(tree.names_in(bound) & indices for bound in (index.lower, index.upper))
        lower, upper = _value(index.lower, known), _value(index.upper, known)
        points *= max(0.0, upper - lower)
        known[index.name] = (lower + upper) // 2
    return round(points), exact


def _value(expr: tree.Expr, known: Mapping[str, float]) -> float:
    return float(evaluate(text_of_tree(expr), known))


def _elements(shape: tuple[tree.Expr, ...], known: Mapping[str, float]) -> int:
    count = 1
    for extent in shape:
        count *= max(0, round(_value(extent, known)))
    return count


def _operations(statement: LoopStatement) -> int:
    """Arithmetic on values at one instance: subscripts, comparisons and conversions are free."""
    total = int(statement.reduction is not None)
    for value in (statement.value, *(let.value for let in statement.lets)):
        total += _value_operations(value)
    return total


def _value_operations(expr: tree.Expr) -> int:
    match expr:
        case tree.Access() | tree.Number() | tree.Name() | tree.SizeOf():
            return 0
        case tree.Call(arguments=arguments):
            return _BUILTIN_FLOPS + sum(_value_operations(a) for a in arguments)
        case tree.Binary(op, left, right):
            return int(op in ("+", "-", "*", "/", "%")) + _value_operations(left) + _value_operations(right)
        case tree.Unary(operand=operand):
            return 1 + _value_operations(operand)
        case _:
            return sum(_value_operations(child) for child in tree.children(expr))
