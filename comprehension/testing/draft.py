"""What is known of a text while it is being drawn: its tensors, the values in it, the statement at hand.

In: decisions of the builders (`values`, `examples`).  Out: the parts of a def.
Invariant: `bound` limits the absolute values of a tensor or an expression, and what is `exact` has the same bits
however it is computed; so the builders can keep floats within what their type holds exactly, and compare or cast
nothing that rounding could move.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from comprehension.lang.types import ScalarType as T, promote

Regime = Literal["integers", "floats", "specials"]
EXACT = {T.FLOAT16: 2.0**9, T.FLOAT32: 2.0**21, T.FLOAT64: 2.0**49}  # integers stay exact well beyond this
INTEGERS = tuple(t for t in T if t.is_integer)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that can be read; `below`: an input of places, all of them in 0:below."""

    name: str
    shape: tuple[int, ...]
    dtype: T
    bound: float
    exact: bool = True
    below: int | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """An expression: its text (of any precedence within it), its type, and what is known of its values."""

    text: str
    dtype: T
    bound: float
    exact: bool = True

    def cast(self, to: T) -> Value:
        """The value in another type; unchanged where it has that type."""
        if to is self.dtype:
            return self
        may_wrap = is_unsigned(to) and not (self.dtype is T.BOOL or is_unsigned(self.dtype))
        bound = largest(to) if may_wrap else min(self.bound, largest(to))
        return Value(f"{to}({self.text})", to, bound, self.exact)


def largest(dtype: T) -> float:
    """A bound on the absolute values of a type."""
    return float("inf") if dtype.is_float else 1.0 if dtype is T.BOOL else 2.0**dtype.bits


def is_unsigned(dtype: T) -> bool:
    return dtype.is_integer and not dtype.is_signed


def combined(op: str, a: Value, b: Value, bound: float, exact: bool) -> Value:
    """`a op b`, in the type in which the two meet."""
    dtype = promote(a.dtype, b.dtype)
    bound = largest(dtype) if op == "-" and is_unsigned(dtype) else min(bound, largest(dtype))
    return Value(f"({a.text} {op} {b.text})", dtype, bound, exact)


@dataclass(slots=True)
class Statement:
    """The statement at hand: the extents of its indices, its lets, the clauses that range its indices."""

    indices: dict[str, int]
    lets: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    def clauses(self) -> str:
        parts = [*self.ranges, *self.lets]
        return f" where {', '.join(parts)}" if parts else ""


@dataclass(slots=True)
class Draft:
    """A def while it is drawn."""

    name: str
    regime: Regime
    named: bool  # whether its sizes have names
    inputs: list[Tensor] = field(default_factory=list)
    computed: list[Tensor] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    approximate: bool = False  # whether a builtin that is not correctly rounded is called
    hidden: str = ""  # what the statement at hand must not read, lest it feed on what it writes

    @property
    def readable(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in (*self.inputs, *self.computed) if tensor.name != self.hidden)

    def rewrite(self, target: str) -> None:
        """A statement changes a tensor, and may read it if that is of integers, which wrap: floats lose all bounds."""
        (tensor,) = (known for known in self.computed if known.name == target)
        self.hidden = target if tensor.dtype.is_float else ""
        self.widen(target, largest(tensor.dtype) if tensor.dtype.is_integer else tensor.bound, True)

    def holds(self, dtype: T, bound: float) -> bool:
        """Whether values up to `bound` need no care in a type: integers wrap, floats stay exact where they must."""
        return not dtype.is_float or self.regime != "integers" or bound <= EXACT[dtype]

    def rounded(self, dtype: T, *operands: Value) -> bool:
        """Whether a result of arithmetic in a type is exact: always of integers, of floats in one regime only."""
        return all(o.exact for o in operands) and (not dtype.is_float or self.regime == "integers")

    def compute(self, tensor: Tensor) -> None:
        """From here on the tensor is as this says."""
        self.computed = [known for known in self.computed if known.name != tensor.name] + [tensor]

    def widen(self, name: str, bound: float, exact: bool) -> None:
        """A later statement may have put values up to `bound` into a tensor."""
        tensor = next(known for known in self.computed if known.name == name)
        self.compute(replace(tensor, bound=max(tensor.bound, bound), exact=tensor.exact and exact))

    def dim(self, extent: int) -> str:
        """A size as the text calls it: by the name of a dimension of an input that has it, if there is one."""
        known = any(extent in tensor.shape for tensor in self.inputs)
        return f"N{extent}" if self.named and known else str(extent)

    def text(self, outputs: Iterable[str]) -> str:
        """The whole def."""
        parameters = ", ".join(f"{tensor.dtype}{self._dims(tensor)} {tensor.name}" for tensor in self.inputs)
        body = "".join(f"    {line}\n" for line in self.lines)
        return f"def {self.name}({parameters}) -> ({', '.join(outputs)}) {{\n{body}}}\n"

    def _dims(self, tensor: Tensor) -> str:
        if not tensor.shape:
            return ""
        return f"({', '.join(f'N{extent}' if self.named else str(extent) for extent in tensor.shape)})"


def access(name: str, subscripts: Iterable[str]) -> str:
    """`name(subscripts)`, or the name alone."""
    inner = ", ".join(subscripts)
    return f"{name}({inner})" if inner else name
