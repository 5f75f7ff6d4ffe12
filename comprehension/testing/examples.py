"""Runnable examples: a text that passes all checks, and inputs that fit.

In: Hypothesis' draws.  Out: `Example`s.
Invariant: an example reads nothing out of bounds and nothing unwritten, for its sizes; in the regime `integers` every
order of evaluation gives the same bits; `floats` are compared within an error bound; `specials` have NaN, infinities
and signed zeros among the inputs (reference equivalence-testing).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from comprehension.lang.types import ScalarType
from comprehension.testing.views import broadcasts

Regime = Literal["integers", "floats", "specials"]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A text with one def `f` that passes all checks, and its inputs in the order of the parameters."""

    text: str
    inputs: tuple[Any, ...]
    regime: Regime

    def __repr__(self) -> str:
        shapes = ", ".join(f"{np.asarray(i).dtype}{list(np.shape(i))}" for i in self.inputs)
        return f"Example({self.regime}, inputs {shapes})\n{self.text}"


@dataclass(slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: ScalarType


@st.composite
def examples(draw: st.DrawFn, regimes: Sequence[Regime] = ("integers", "floats", "specials")) -> Example:
    """Runnable programs: elementwise chains, reductions, windows, triangles, scans, partial writes, temporaries."""
    builder = _ExampleBuilder(draw, draw(st.sampled_from(tuple(regimes))))
    for number in range(draw(st.integers(1, 4))):
        builder.statement(number)
    return builder.finish()


_DTYPES = (ScalarType.FLOAT32,) * 4 + (ScalarType.FLOAT64, ScalarType.INT32)
_EXACT = 2.0**22  # integers in float32 stay exact well beyond this
_SMOOTH = (
    "tanh({})",
    "exp(-fabs({}))",
    "sqrt(fabs({}))",
    "erf({})",
    "sin({})",
    "log(1.0 + {0} * {0})",
    "1.0 / (1.0 + exp(-{}))",
)


class _ExampleBuilder:
    """The text of a def, statement by statement, with the tensors that exist so far.

    `size[t]` bounds the absolute values in a tensor, so that the `integers` regime stays exact.
    """

    def __init__(self, draw: st.DrawFn, regime: Regime) -> None:
        self.draw = draw
        self.dtype = draw(st.sampled_from(_DTYPES))
        self.regime: Regime = "integers" if self.dtype.is_integer else regime
        self.named = draw(st.booleans())
        self.inputs: list[_Tensor] = []
        self.computed: list[_Tensor] = []
        self.size: dict[str, float] = {}
        self.lines: list[str] = []

    # --- statements ------------------------------------------------------------

    def statement(self, number: int) -> None:
        kinds = ["map", "map", "reduce", "reduce", "triangle", "scan"]
        if self.computed and not self.named:
            kinds += ["part", "update"]
        getattr(self, f"add_{self.draw(st.sampled_from(kinds))}")(f"T{number}")

    def left(self, least: int = 0) -> dict[str, int]:
        """Left indices and how many values each takes."""
        extents = self.draw(st.lists(st.sampled_from((1, 2, 3, 3, 5)), min_size=least, max_size=3))
        return dict(zip("ijk", extents, strict=False))

    def add_map(self, target: str) -> None:
        indices = self.left()
        text, size = self.value(indices)
        self.write(target, indices, "=", text, size, self.anchor(indices))

    def add_reduce(self, target: str) -> None:
        left = self.left()
        over = dict(zip("rs", self.draw(st.lists(st.sampled_from((1, 2, 4, 5)), min_size=1, max_size=2)), strict=False))
        indices = {**left, **over}
        text, size = self.value(indices)
        count = float(np.prod(list(over.values())))
        kinds = ["min=!", "max=!"] + (["+=!"] if size * count < _EXACT else [])
        op = self.draw(st.sampled_from(kinds))
        self.write(target, left, op, text, size * count if op == "+=!" else size, self.anchor(indices))

    def add_triangle(self, target: str) -> None:
        left = self.left(1)
        text, size = self.value({**left, "r": left["i"]})
        self.write(target, left, "max=!", text, size, [*self.anchor(left), "r in 0:i + 1"])

    def add_scan(self, target: str) -> None:
        left = self.left(1)
        rest = {name: extent for name, extent in left.items() if name != "i"}
        first, size = self.value(rest)
        subscripts = ", ".join(["0", *rest])
        self.lines.append(f"{target}({subscripts}) = {self.typed(first)}{_where(self.anchor(rest))}")
        text, more = self.value(left)
        previous = f"{target}({', '.join(['i - 1', *rest])})"
        clauses = [f"i in 1:{self.dim(left['i'])}", *self.anchor(rest)]
        self.lines.append(f"{target}({', '.join(left)}) = max({previous}, {self.typed(text)}){_where(clauses)}")
        self.add(target, tuple(left.values()), max(size, more))

    def add_part(self, target: str) -> None:
        """Overwrites a part of a tensor that has been computed."""
        tensor = self.draw(st.sampled_from(self.computed))
        indices, clauses = {}, []
        for name, extent in zip("ijk", tensor.shape, strict=False):
            lower = self.draw(st.integers(0, extent - 1))
            upper = self.draw(st.integers(lower, extent))
            indices[name] = upper
            clauses.append(f"{name} in {lower}:{upper}")
        text, size = self.value(indices)
        self.lines.append(f"{_access(tensor.name, indices)} = {self.typed(text)}{_where(clauses)}")
        self.size[tensor.name] = max(self.size[tensor.name], size)

    def add_update(self, target: str) -> None:
        """Combines into a tensor that has been computed."""
        tensor = self.draw(st.sampled_from(self.computed))
        indices = dict(zip("ijk", tensor.shape, strict=False))
        text, size = self.value(indices)
        total = self.size[tensor.name] + size
        op = "+=" if total < _EXACT else "max="
        self.lines.append(f"{_access(tensor.name, indices)} {op} {self.typed(text)}{_where(self.anchor(indices))}")
        self.size[tensor.name] = total

    def write(self, target: str, left: dict[str, int], op: str, text: str, size: float, clauses: list[str]) -> None:
        self.lines.append(f"{_access(target, left)} {op} {self.typed(text)}{_where(clauses)}")
        self.add(target, tuple(left.values()), size)

    def add(self, name: str, shape: tuple[int, ...], size: float) -> None:
        self.computed.append(_Tensor(name, shape, self.dtype))
        self.size[name] = size

    def anchor(self, indices: dict[str, int]) -> list[str]:
        return [f"{name} in 0:{self.dim(extent)}" for name, extent in indices.items()]

    def dim(self, extent: int) -> str:
        """A size as the text calls it: a name for each value that a dimension of an input has."""
        known = any(extent in tensor.shape for tensor in self.inputs)
        return f"N{extent}" if self.named and known else str(extent)

    # --- expressions ------------------------------------------------------------

    def typed(self, text: str) -> str:
        """The value in the example's one type: indices and literals are int32 or float32."""
        return f"{self.dtype}({text})"

    def value(self, indices: dict[str, int], depth: int = 0) -> tuple[str, float]:
        """An expression and a bound on its absolute value."""
        kinds = (
            ["read", "read", "number"]
            if depth >= 3
            else ["read", "read", "number", "index", "sum", "product", "choice", "extreme"]
        )
        if self.regime != "integers" and depth < 3:
            kinds += ["smooth", "smooth"]
        kind = self.draw(st.sampled_from(kinds))
        if kind == "read":
            return self.read(indices)
        if kind == "number":
            number = self.draw(st.integers(0, 3))
            return (str(number) if self.dtype.is_integer else f"{number}.0"), float(number)
        if kind == "index" and indices:
            name = self.draw(st.sampled_from(sorted(indices)))
            return name, float(indices[name])
        if kind == "smooth":
            inner, _ = self.value(indices, depth + 1)
            return "(" + self.draw(st.sampled_from(_SMOOTH)).format(f"({self.typed(inner)})") + ")", 1e3
        return self.pair(kind, indices, depth)

    def pair(self, kind: str, indices: dict[str, int], depth: int) -> tuple[str, float]:
        (a, m), (b, n) = self.value(indices, depth + 1), self.value(indices, depth + 1)
        if kind == "product" and m * n < _EXACT:
            return f"({a} * {b})", m * n
        if kind == "choice" and indices:
            name = self.draw(st.sampled_from(sorted(indices)))
            bound = self.draw(st.integers(0, indices[name]))
            op = self.draw(st.sampled_from(("<", ">=", "==")))
            return f"({name} {op} {bound} ? {a} : {b})", max(m, n)
        if kind == "extreme":
            return f"{self.draw(st.sampled_from(('min', 'max')))}({a}, {b})", max(m, n)
        return (f"({a} {self.draw(st.sampled_from('+-'))} {b})", m + n) if m + n < _EXACT else (a, m)

    def read(self, indices: dict[str, int]) -> tuple[str, float]:
        """An access: to a tensor that is large enough, or to a new input of the size that it takes."""
        parts = [self.subscript(indices) for _ in range(self.draw(st.integers(0, 3)))]
        needed = tuple(extent for _, extent in parts)
        fitting = [
            tensor
            for tensor in (*self.inputs, *self.computed)
            if len(tensor.shape) == len(needed) and all(a >= b for a, b in zip(tensor.shape, needed, strict=True))
        ]
        reuse: bool = bool(fitting) and self.draw(st.booleans())
        if reuse:
            tensor = self.draw(st.sampled_from(fitting))
        else:
            tensor = _Tensor(f"In{len(self.inputs)}", needed, self.dtype)
            self.inputs.append(tensor)
            self.size[tensor.name] = 2.0
        return _access(tensor.name, [text for text, _ in parts]), self.size[tensor.name]

    def subscript(self, indices: dict[str, int]) -> tuple[str, int]:
        """A subscript that is never negative, and one past its largest value."""
        if not indices:
            constant = self.draw(st.integers(0, 2))
            return str(constant), constant + 1
        name = self.draw(st.sampled_from(sorted(indices)))
        extent = indices[name]
        other = self.draw(st.sampled_from(sorted(indices)))
        forms = {
            "plain": (name, extent),
            "shifted": (f"{name} + 1", extent + 1),
            "scaled": (f"2 * {name} + 1", 2 * extent),
            "reversed": (f"{extent - 1} - {name}", extent),
            "window": (f"{name} + {other}", extent + indices[other] - 1),
            "halved": (f"{name} / 2", (extent + 1) // 2),
            "wrapped": (f"{name} % 2", min(2, extent)),
        }
        return forms[self.draw(st.sampled_from(("plain", "plain", "plain", *forms)))]

    # --- the example ------------------------------------------------------------

    def finish(self) -> Example:
        also = [tensor.name for tensor in self.computed[:-1] if self.draw(st.integers(0, 2)) == 0]
        outputs = dict.fromkeys([*also, self.computed[-1].name])
        parameters = ", ".join(f"{self.dtype}{self.dims(tensor)} {tensor.name}" for tensor in self.inputs)
        body = "".join(f"    {line}\n" for line in self.lines)
        text = f"def f({parameters}) -> ({', '.join(outputs)}) {{\n{body}}}\n"
        return Example(text, tuple(self.array(tensor) for tensor in self.inputs), self.regime)

    def dims(self, tensor: _Tensor) -> str:
        if not tensor.shape:
            return ""
        return f"({', '.join(f'N{extent}' if self.named else str(extent) for extent in tensor.shape)})"

    def array(self, tensor: _Tensor) -> Any:
        """An input's value: a number for a scalar parameter, an array of any strides otherwise."""
        random = np.random.default_rng(self.draw(st.integers(0, 2**16)))
        values = random.integers(-2, 3, tensor.shape).astype(tensor.dtype.numpy)
        if self.regime != "integers":
            values = random.normal(size=tensor.shape).astype(tensor.dtype.numpy)
        if not tensor.shape:
            return values[()].item()
        if self.regime == "specials":
            special = random.choice(np.array([np.nan, np.inf, -np.inf, -0.0, 0.0]), tensor.shape)
            values = np.where(random.random(tensor.shape) < 0.2, special, values).astype(tensor.dtype.numpy)
        return values if self.draw(st.booleans()) else self.draw(broadcasts(values))


def _access(name: str, subscripts: Iterable[str]) -> str:
    inner = ", ".join(subscripts)
    return f"{name}({inner})" if inner else name


def _where(clauses: list[str]) -> str:
    return f" where {', '.join(clauses)}" if clauses else ""
