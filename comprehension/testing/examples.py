"""Runnable examples: a text that passes all checks, and inputs that fit.

In: Hypothesis' draws.  Out: `Example`s over the whole language: all types, temporaries, scans, triangles, partial,
scattered and indirect writes, guarded and indirect reads, lets, `exists`, calls of other defs.
Invariant: an example reads nothing out of bounds and nothing unwritten, for its sizes; in the regime `integers` every
order of evaluation gives the same bits; `floats` are compared within an error bound; `specials` have NaN, infinities
and signed zeros among the inputs (reference equivalence-testing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log2, prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from comprehension.lang.types import ScalarType as T
from comprehension.testing.draft import INTEGERS, Draft, Regime, Statement, Tensor, Value, access, largest
from comprehension.testing.values import TYPES, Values
from comprehension.testing.views import broadcasts


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A text whose last def `f` passes all checks, and f's inputs in the order of the parameters.

    `exact`: with `math="strict"` (in the regime `integers` always) whoever runs it gets the same bits; otherwise
    builtins are called whose last bits are their implementation's.
    """

    text: str
    inputs: tuple[Any, ...]
    regime: Regime
    exact: bool = True

    def __repr__(self) -> str:
        shapes = ", ".join(f"{np.asarray(i).dtype}{list(np.shape(i))}" for i in self.inputs)
        return f"Example({self.regime}, inputs {shapes})\n{self.text}"


@st.composite
def examples(draw: st.DrawFn, regimes: Sequence[Regime] = ("integers", "floats", "specials")) -> Example:
    """Runnable programs: elementwise chains, reductions, windows, scans, partial and indirect writes, calls, ...

    >>> import hypothesis
    >>> @hypothesis.settings(max_examples=3, database=None)
    ... @hypothesis.given(examples(regimes=["integers"]))
    ... def check(example):
    ...     assert example.text.startswith("def ") and "def f(" in example.text
    >>> check()
    """
    builder = _Builder(draw, Draft("f", draw(st.sampled_from(tuple(regimes))), draw(st.booleans())))
    for number in range(draw(st.integers(1, 4))):
        builder.statement(f"T{number}")
    return builder.example()


class _Builder:
    """The statements of a def, one after the other; `defs` are the texts of those that it calls."""

    def __init__(self, draw: st.DrawFn, draft: Draft) -> None:
        self.draw = draw
        self.draft = draft
        self.defs: list[str] = []

    def statement(self, target: str) -> None:
        kinds = [self.map, self.map, self.reduce, self.reduce, self.triangle, self.scan, self.scatter, self.histogram]
        if any(tensor.shape and tensor.below is None for tensor in self.draft.readable):
            kinds.append(self.call)
        if self.draft.computed and not self.draft.named:
            kinds += [self.part, self.update]
        self.draw(st.sampled_from(kinds))(target)
        self.draft.hidden = ""

    # --- parts of statements ----------------------------------------------------------------------------------------

    def dtype(self) -> T:
        return self.draw(st.sampled_from(TYPES))

    def extents(self, names: str, least: int = 0) -> dict[str, int]:
        """Indices and how many values each takes."""
        drawn = self.draw(st.lists(st.sampled_from((1, 2, 3, 3, 5)), min_size=least, max_size=len(names)))
        return dict(zip(names, drawn, strict=False))

    def begin(self, indices: dict[str, int], ranged: bool = True) -> tuple[Statement, Values]:
        """A statement over these indices, each from 0 on if they are `ranged` here."""
        statement = Statement(indices)
        if ranged:
            statement.ranges = self.ranges(indices)
        return statement, Values(self.draw, self.draft, statement)

    def ranges(self, indices: dict[str, int]) -> list[str]:
        """A range for each index, or an access that gives it one."""
        return [f"{name} in 0:{self.draft.dim(extent)}" for name, extent in indices.items()]

    def line(self, target: str, subscripts: Sequence[str], op: str, value: Value, statement: Statement) -> None:
        self.draft.lines.append(f"{access(target, subscripts)} {op} {value.text}{statement.clauses()}")

    def reduction(self, value: Value, count: int, starts: bool) -> tuple[str, Value]:
        """A reduction of `count` values of a type that is no bool, and what it makes of them; `starts`: with `!`."""
        dtype, total = value.dtype, value.bound * count
        ops = ["max", "min"]
        if self.draft.holds(dtype, total):
            ops += ["+", "+"]
        if dtype.is_integer or (value.bound <= 2 and self.draft.holds(dtype, 2.0**count)):
            ops.append("*")
        op = self.draw(st.sampled_from(ops))
        bound = {"+": total, "*": _power(max(1.0, value.bound), count)}.get(op, value.bound)
        exact = value.exact if op in ("min", "max") else self.draft.rounded(dtype, value)
        made = Value(value.text, dtype, largest(dtype) if dtype.is_integer else bound, exact)
        return (f"{op}=!" if starts else f"{op}="), made

    def number_type(self) -> T:
        """A type that can be reduced."""
        return self.draw(st.sampled_from([t for t in TYPES if t is not T.BOOL]))

    def zeros(self, target: str, shape: tuple[int, ...], dtype: T) -> None:
        """The first statement of a tensor that later ones write in part."""
        indices = dict(zip("ijk", shape, strict=False))
        clauses = ", ".join(f"{name} in 0:{extent}" for name, extent in indices.items())
        where = f" where {clauses}" if clauses else ""
        self.draft.lines.append(f"{access(target, indices)} = {dtype}(0){where}")
        self.draft.compute(Tensor(target, shape, dtype, 0))

    # --- statements -------------------------------------------------------------------------------------------------

    def map(self, target: str) -> None:
        """An element of the result for each point; without a range where an access gives it."""
        indices = self.extents("ijk")
        inferred = bool(indices) and self.draw(st.integers(0, 3)) == 3
        statement, values = self.begin(indices, ranged=not inferred)
        dtype = self.dtype()
        if inferred:
            value = values.read(list(indices), tuple(indices.values()), dtype)
            exactly = values.input(tuple(indices.values()), self.dtype())
            statement.ranges = [f"exists {access(exactly.name, indices)}"]
        else:
            value = values.of(dtype)
        self.line(target, list(indices), "=", value, statement)
        self.draft.compute(Tensor(target, tuple(indices.values()), dtype, value.bound, value.exact))

    def reduce(self, target: str) -> None:
        left, over = self.extents("ijk"), self.extents("rs", least=1)
        statement, values = self.begin({**left, **over})
        op, value = self.reduction(values.of(self.number_type()), prod(over.values()), starts=True)
        self.line(target, list(left), op, value, statement)
        self.draft.compute(Tensor(target, tuple(left.values()), value.dtype, value.bound, value.exact))

    def triangle(self, target: str) -> None:
        """A reduction whose range depends on a left index."""
        left = self.extents("ijk", least=1)
        extent = left["i"]
        forms = ("0:i + 1", f"i:{extent}", f"max(0, i - 1):min(i + 2, {extent})", f"i / 2:{extent}", "i * 0:i")
        statement, values = self.begin({**left, "r": extent}, ranged=False)
        statement.ranges = [*self.ranges(left), f"r in {self.draw(st.sampled_from(forms))}"]
        op, value = self.reduction(values.of(self.number_type()), extent, starts=True)
        if value.dtype.is_float and op in ("max=!", "min=!"):
            value = Value(value.text, value.dtype, inf, value.exact)  # of no values it is infinite
        self.line(target, list(left), op, value, statement)
        bound = value.bound if self.draft.holds(value.dtype, value.bound) else inf
        self.draft.compute(Tensor(target, tuple(left.values()), value.dtype, bound, value.exact))

    def scan(self, target: str) -> None:
        """Each row from the row before it."""
        left, dtype = self.extents("ijk", least=1), self.number_type()
        rest = {name: extent for name, extent in left.items() if name != "i"}
        statement, values = self.begin(rest)
        first = values.of(dtype)
        self.line(target, ["0", *rest], "=", first, statement)
        statement, values = self.begin(left, ranged=False)
        statement.ranges = [f"i in 1:{self.draft.dim(left['i'])}", *self.ranges(rest)]
        value = values.of(dtype)
        previous = f"{target}({', '.join(['i - 1', *rest])})"
        bound, exact = max(first.bound, value.bound), first.exact and value.exact
        total = first.bound + left["i"] * value.bound
        if self.draft.holds(dtype, total) and self.draw(st.booleans()):
            text, bound, exact = f"{previous} + {value.text}", total, exact and self.draft.rounded(dtype)
        else:
            text = f"{self.draw(st.sampled_from(('max', 'min')))}({previous}, {value.text})"
        self.line(target, list(left), "=", Value(text, dtype, bound), statement)
        bound = largest(dtype) if dtype.is_integer else bound
        self.draft.compute(Tensor(target, tuple(left.values()), dtype, bound, exact))

    def part(self, target: str) -> None:
        """Overwrites a part of a tensor that has been computed."""
        tensor = self.draw(st.sampled_from(self.draft.computed))
        indices, clauses = {}, []
        for name, extent in zip("ijk", tensor.shape, strict=False):
            lower = self.draw(st.integers(0, extent - 1))
            upper = self.draw(st.integers(lower, extent))
            indices[name] = upper
            clauses.append(f"{name} in {lower}:{upper}")
        self.draft.rewrite(tensor.name)
        statement, values = self.begin({n: max(1, e) for n, e in indices.items()}, ranged=False)
        statement.ranges = clauses
        value = values.of(tensor.dtype)
        self.line(tensor.name, list(indices), "=", value, statement)
        self.draft.widen(tensor.name, value.bound, value.exact)

    def update(self, target: str) -> None:
        """Combines into a tensor that has been computed, perhaps over another index."""
        tensor = self.draw(st.sampled_from(self.draft.computed))
        if tensor.dtype is T.BOOL:
            return self.part(target)
        over = self.extents("r")
        indices = dict(zip("ijk", tensor.shape, strict=False))
        self.draft.rewrite(tensor.name)
        statement, values = self.begin({**indices, **over})
        drawn = values.of(tensor.dtype)
        known = Value(drawn.text, drawn.dtype, max(drawn.bound, tensor.bound), drawn.exact and tensor.exact)
        op, value = self.reduction(known, prod(over.values()) + 1, starts=False)
        self.line(tensor.name, list(indices), op, value, statement)
        self.draft.widen(tensor.name, value.bound, value.exact)
        return None

    def scatter(self, target: str) -> None:
        """Writes through expressions: each element once, or combined."""
        indices = self.extents("ij", least=1)
        extent = indices["i"]
        if "j" in indices:
            second = indices["j"]
            places = {f"i * {second} + j": (extent * second,), "j, i": (second, extent)}
            combining = {"i + j": (extent + second - 1,), "min(i, j)": (min(extent, second),)}
        else:
            places = {
                f"{extent - 1} - i": (extent,),
                "2 * i + 1": (2 * extent,),
                "i / 2, i % 2": ((extent + 1) // 2, 2),
                "i, i % 2": (extent, 2),
                "i / 2 * 2 + 1 - i % 2": (extent + extent % 2,),
            }
            combining = {"i / 2": ((extent + 1) // 2,), "i % 3": (min(3, extent),)}
        combines = self.draw(st.booleans())
        subscripts, shape = self.draw(st.sampled_from(sorted({**places, **(combining if combines else {})}.items())))
        dtype = self.number_type() if combines else self.dtype()
        self.zeros(target, shape, dtype)
        self.draft.rewrite(target)
        statement, values = self.begin(indices, ranged=False)
        statement.ranges = [f"{name} in 0:{extent}" for name, extent in indices.items()]
        op, value = "=", values.of(dtype)
        if combines:
            op, value = self.reduction(value, prod(indices.values()) + 1, starts=False)
        self.line(target, [subscripts], op, value, statement)
        self.draft.widen(target, value.bound, value.exact)

    def histogram(self, target: str) -> None:
        """Combines at places that an input names, perhaps over another index and beside a row of plain ones."""
        at, row, over = self.extents("p", least=1), self.extents("i"), self.extents("r")
        dtype, bins = self.number_type(), self.draw(st.integers(1, 5))
        self.zeros(target, (bins, *row.values()), dtype)
        self.draft.rewrite(target)
        statement, values = self.begin({**at, **row, **over})
        place, _ = values.place("p", at["p"], bins)
        op, value = self.reduction(values.of(dtype), prod(at.values()) * prod(over.values()) + 1, starts=False)
        self.line(target, [place, *row], op, value, statement)
        self.draft.widen(target, value.bound, value.exact)

    def call(self, target: str) -> None:
        """A def with a statement or two, and its call on whole tensors."""
        name = f"g{len(self.defs)}"
        given = self.draw(st.sampled_from([t for t in self.draft.readable if t.shape and t.below is None]))
        inner = _Builder(self.draw, Draft(name, self.draft.regime, self.draft.named))
        inner.draft.inputs.append(Tensor("X", given.shape, given.dtype, given.bound, given.exact))
        makers = [inner.map, inner.reduce, inner.scan, inner.scatter, inner.histogram]
        for number in range(self.draw(st.integers(1, 2))):
            self.draw(st.sampled_from(makers))(f"Y{number}")
            inner.draft.hidden = ""
        result = inner.draft.computed[-1]
        arguments = [given.name]
        for tensor in inner.draft.inputs[1:]:
            arguments.append(f"In{len(self.draft.inputs)}")
            self.draft.inputs.append(
                Tensor(arguments[-1], tensor.shape, tensor.dtype, tensor.bound, tensor.exact, tensor.below)
            )
        self.defs.append(inner.draft.text([result.name]))
        self.draft.lines.append(f"{target} = {name}({', '.join(arguments)})")
        self.draft.approximate |= inner.draft.approximate
        self.draft.compute(Tensor(target, result.shape, result.dtype, result.bound, result.exact))

    # --- the example ------------------------------------------------------------------------------------------------

    def example(self) -> Example:
        *others, last = self.draft.computed
        also = [tensor.name for tensor in others if self.draw(st.integers(0, 2)) == 0]
        text = "".join(self.defs) + self.draft.text([*also, last.name])
        arrays = tuple(self.array(tensor) for tensor in self.draft.inputs)
        regime = self.draft.regime
        return Example(text, arrays, regime, regime == "integers" or not self.draft.approximate)

    def array(self, tensor: Tensor) -> Any:
        """An input's value: a number for a scalar parameter, an array of any strides otherwise."""
        random = np.random.default_rng(self.draw(st.integers(0, 2**16)))
        values = self.contents(random, tensor)
        if not tensor.shape:
            return values[()].item()
        return values if self.draw(st.booleans()) else self.draw(broadcasts(values))

    def contents(self, random: np.random.Generator, tensor: Tensor) -> Any:
        shape, dtype = tensor.shape, tensor.dtype
        if tensor.below is not None:
            return random.integers(0, tensor.below, shape).astype(dtype.numpy)
        if dtype is T.BOOL:
            return random.integers(0, 2, shape).astype(bool)
        if dtype in INTEGERS and tensor.bound == largest(dtype):
            limits = np.iinfo(dtype.numpy)
            return random.integers(limits.min, limits.max, shape, dtype.numpy, endpoint=True)
        if dtype.is_integer or self.draft.regime == "integers":
            return random.integers(0 if not (dtype.is_float or dtype.is_signed) else -2, 3, shape).astype(dtype.numpy)
        values = random.normal(size=shape).astype(dtype.numpy)
        if self.draft.regime == "specials" and shape:
            special = random.choice(np.array([np.nan, np.inf, -np.inf, -0.0, 0.0]), shape)
            values = np.where(random.random(shape) < 0.2, special, values).astype(dtype.numpy)
        return values


def _power(bound: float, count: int) -> float:
    """`bound ** count`, or infinity beyond every float."""
    return bound**count if count * log2(bound) < 1000 else inf
