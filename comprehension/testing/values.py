"""Drawn expressions of any type, and drawn subscripts.

In: Hypothesis' draws, the draft of a def.  Out: `Value`s whose types are known; subscripts with one past their largest.
Invariant: a subscript is never negative, and what it reads is in bounds for the draft's sizes; where a value must be
exact it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from comprehension.lang.types import ScalarType as T, promote
from comprehension.testing.draft import (
    INTEGERS,
    Draft,
    Statement,
    Tensor,
    Value,
    access,
    combined,
    is_unsigned,
    largest,
)

TYPES = (T.FLOAT32, T.FLOAT32, T.FLOAT32, T.INT32, T.FLOAT64, T.FLOAT16, T.BOOL, *INTEGERS)
MAX_DEPTH = 3
_SMOOTH = (
    "tanh({})",
    "exp(-fabs({}))",
    "erf({})",
    "sin({})",
    "log(1.0 + {0} * {0})",
    "1.0 / (1.0 + exp(-{}))",
    "rsqrt(1.0 + {0} * {0})",
)
_ROUNDED = ("sqrt(fabs({}))", "floor({})", "trunc({})", "copysign(1.5, {})", "1.0 / (1.0 + {0} * {0})", "fmax({}, 0.5)")


class Values:
    """Draws the expressions of one statement; inputs that they need are added to the draft."""

    def __init__(self, draw: st.DrawFn, draft: Draft, statement: Statement) -> None:
        self.draw = draw
        self.draft = draft
        self.statement = statement

    def of(self, dtype: T, depth: int = 0, exact: bool = False) -> Value:
        """An expression of a type; with `exact` one that has the same bits however it is computed."""
        kinds: list[Callable[[T, int, bool], Value]] = [self._read, self._read, self._number]
        if depth < MAX_DEPTH:
            kinds += [self._choice, self._converted, self._let]
            if dtype is T.BOOL:
                kinds += [self._comparison, self._comparison, self._logic]
            else:
                kinds += [self._index, self._sum, self._product, self._extreme, self._negated]
            if dtype.is_integer:
                kinds += [self._quotient, self._word]
            if dtype.is_float and not exact and self.draft.regime != "integers":
                kinds += [self._builtin, self._builtin]
        return self.draw(st.sampled_from(kinds))(dtype, depth, exact)

    # --- leaves -----------------------------------------------------------------------------------------------------

    def _read(self, dtype: T, depth: int, exact: bool) -> Value:
        """An access: to a tensor that is large enough, or to a new input of the size that it takes."""
        parts = [self.subscript() for _ in range(self.draw(st.integers(0, 3)))]
        return self.read([text for text, _ in parts], tuple(extent for _, extent in parts), dtype, exact)

    def read(self, subscripts: Sequence[str], needed: tuple[int, ...], dtype: T, exact: bool = False) -> Value:
        fitting = [
            tensor
            for tensor in self.draft.readable
            if tensor.dtype is dtype and tensor.below is None and (tensor.exact or not exact)
            if len(tensor.shape) == len(needed) and all(a >= b for a, b in zip(tensor.shape, needed, strict=True))
        ]
        reuse = bool(fitting) and self.draw(st.booleans())
        tensor = self.draw(st.sampled_from(fitting)) if reuse else self.input(needed, dtype)
        return Value(access(tensor.name, subscripts), dtype, tensor.bound, tensor.exact)

    def input(self, shape: tuple[int, ...], dtype: T, below: int | None = None) -> Tensor:
        wild = dtype.is_integer and below is None and self.draw(st.integers(0, 3)) == 3
        bound = largest(dtype) if wild else 2.0 if self.draft.regime == "integers" or not dtype.is_float else 8.0
        name = f"{'In' if self.draft.name == 'f' else 'X'}{len(self.draft.inputs)}"
        tensor = Tensor(name, shape, dtype, 1.0 if dtype is T.BOOL else bound, below=below)
        self.draft.inputs.append(tensor)
        return tensor

    def _number(self, dtype: T, depth: int, exact: bool) -> Value:
        if dtype is T.BOOL:
            return Value(f"bool({self.draw(st.integers(0, 1))})", T.BOOL, 1)
        if dtype.is_integer:
            number = self.draw(st.sampled_from((1, 0, 2, 3, 7, 2147483647)))
            return Value(str(number), T.INT32, number).cast(dtype)
        number = self.draw(st.integers(0, 3))
        fraction = ".5" if self.draft.regime != "integers" and self.draw(st.booleans()) else ".0"
        return Value(f"{number}{fraction}", T.FLOAT32, number + 1).cast(dtype)

    def _index(self, dtype: T, depth: int, exact: bool) -> Value:
        """An index, a size, or `T.k`, as a value."""
        found = [Value(name, T.INT32, extent) for name, extent in sorted(self.statement.indices.items())]
        found += [
            Value(text, T.INT32, extent)
            for tensor in self.draft.readable
            for axis, extent in enumerate(tensor.shape)
            for text in (f"{tensor.name}.{axis}", self.draft.dim(extent))
        ]
        return self.draw(st.sampled_from(found)).cast(dtype) if found else self._number(dtype, depth, exact)

    def _word(self, dtype: T, depth: int, exact: bool) -> Value:
        """A random word of an index."""
        counter = self._index(T.INT32, depth, True).text
        return Value(f"philox({counter}, 0, 1, 2, 3, 4)", T.UINT32, 2.0**32).cast(dtype)

    # --- operations -------------------------------------------------------------------------------------------------

    def _operands(self, dtype: T, depth: int, exact: bool) -> tuple[Value, Value]:
        """Two values that meet in a type: one of it, the other of any type that gives way to it."""
        others = [t for t in T if t is not T.BOOL and promote(t, dtype) is dtype]
        first = self.of(dtype, depth + 1, exact)
        second = self.of(self.draw(st.sampled_from((dtype, dtype, *others))), depth + 1, exact)
        return first, self._fitting(second, dtype)

    def _fitting(self, value: Value, dtype: T) -> Value:
        """The value, or a part of it that a float type holds exactly where that matters."""
        if value.dtype.is_float or self.draft.holds(dtype, value.bound):
            return value
        return Value(f"({value.text} % 5)", promote(value.dtype, T.INT32), 5)

    def _sum(self, dtype: T, depth: int, exact: bool) -> Value:
        a, b = self._operands(dtype, depth, exact)
        return self._arithmetic(self.draw(st.sampled_from("+-")), a, b, a.bound + b.bound, exact)

    def _product(self, dtype: T, depth: int, exact: bool) -> Value:
        a, b = self._operands(dtype, depth, exact)
        return self._arithmetic("*", a, b, a.bound * b.bound, exact)

    def _arithmetic(self, op: str, a: Value, b: Value, bound: float, exact: bool) -> Value:
        dtype = promote(a.dtype, b.dtype)
        is_exact = self.draft.rounded(dtype, a, b)
        if (exact and not is_exact) or not self.draft.holds(dtype, bound):
            return a
        return combined(op, a, b, bound, is_exact)

    def _quotient(self, dtype: T, depth: int, exact: bool) -> Value:
        a, b = self._operands(dtype, depth, exact)
        op = self.draw(st.sampled_from("/%"))
        return combined(op, a, b, a.bound if op == "/" else b.bound, True)

    def _extreme(self, dtype: T, depth: int, exact: bool) -> Value:
        a, b = self._operands(dtype, depth, exact)
        function = self.draw(st.sampled_from(("min", "max")))
        return Value(f"{function}({a.text}, {b.text})", dtype, max(a.bound, b.bound), a.exact and b.exact)

    def _negated(self, dtype: T, depth: int, exact: bool) -> Value:
        inner = self.of(dtype, depth + 1, exact)
        return Value(f"(-{inner.text})", dtype, largest(dtype) if is_unsigned(dtype) else inner.bound, inner.exact)

    def _builtin(self, dtype: T, depth: int, exact: bool) -> Value:
        forms = self.draw(st.sampled_from((_ROUNDED, _SMOOTH)))
        self.draft.approximate |= forms is _SMOOTH
        inner = self.of(dtype, depth + 1)
        made = self.draw(st.sampled_from(forms)).format(f"({inner.text})")
        return Value(f"({made})", promote(dtype, T.FLOAT32), max(inner.bound, 8.0), False).cast(dtype)

    def _choice(self, dtype: T, depth: int, exact: bool) -> Value:
        """`?:`; where an index decides, a branch may read what is in bounds there alone."""
        if bool(self.statement.indices) and self.draw(st.booleans()):
            condition, then = self._guarded(dtype, depth, exact)
        else:
            condition, then = self.of(T.BOOL, depth + 1, exact=True), self.of(dtype, depth + 1, exact)
        other = self.of(dtype, depth + 1, exact)
        return Value(
            f"({condition.text} ? {then.text} : {other.text})",
            dtype,
            max(then.bound, other.bound),
            then.exact and other.exact,
        )

    def _guarded(self, dtype: T, depth: int, exact: bool) -> tuple[Value, Value]:
        """A condition on an index, and a read that is in bounds where it holds."""
        name, extent = self._one_index()
        at = self.draw(st.integers(0, extent))
        if self.draw(st.booleans()):
            guard, subscript, needed = f"{name} >= {at}", f"{name} - {at}", max(1, extent - at)
        else:
            guard, subscript, needed = f"{name} < {at}", name, max(1, at)
        if self.draw(st.booleans()):
            guard = f"{guard} && {self.of(T.BOOL, depth + 1, exact=True).text}"
        return Value(guard, T.BOOL, 1), self.read([subscript], (needed,), dtype, exact)

    def _converted(self, dtype: T, depth: int, exact: bool) -> Value:
        source = self.draw(st.sampled_from([t for t in TYPES if t is not dtype]))
        inner = self.of(source, depth + 1, exact or (source.is_float and not dtype.is_float))
        if not self.draft.holds(dtype, inner.bound):  # floats, where all must be exact
            if inner.dtype.is_float:
                inner = Value(f"min(max({inner.text}, -4.0), 4.0)", promote(inner.dtype, T.FLOAT32), 4, inner.exact)
            else:
                inner = self._fitting(inner, dtype)
        return inner.cast(dtype)

    def _let(self, dtype: T, depth: int, exact: bool) -> Value:
        """A value with a name, put before those that were named before it in the text."""
        inner = self.of(dtype, depth + 1, exact)
        name = f"v{len(self.statement.lets)}"
        self.statement.lets.append(f"{name} = {inner.text}")
        return Value(name, dtype, inner.bound, inner.exact)

    def _comparison(self, dtype: T, depth: int, exact: bool) -> Value:
        kind = self.draw(st.sampled_from([t for t in TYPES if t is not T.BOOL]))
        a, b = self._operands(kind, depth, exact=True)
        op = self.draw(st.sampled_from(("<", "<=", ">", ">=", "==", "!=")))
        return Value(f"({a.text} {op} {b.text})", T.BOOL, 1)

    def _logic(self, dtype: T, depth: int, exact: bool) -> Value:
        first = self.of(T.BOOL, depth + 1, exact=True)
        if self.draw(st.booleans()):
            return Value(f"(!{first.text})", T.BOOL, 1)
        second = self.of(T.BOOL, depth + 1, exact=True)
        return Value(f"({first.text} {self.draw(st.sampled_from(('&&', '||')))} {second.text})", T.BOOL, 1)

    # --- subscripts -------------------------------------------------------------------------------------------------

    def _one_index(self) -> tuple[str, int]:
        return self.draw(st.sampled_from(sorted(self.statement.indices.items())))

    def subscript(self) -> tuple[str, int]:
        """A subscript that is never negative, and one past its largest value."""
        if not self.statement.indices:
            constant = self.draw(st.integers(0, 2))
            return str(constant), constant + 1
        (name, extent), (other, second) = self._one_index(), self._one_index()
        forms = {
            "plain": (name, extent),
            "shifted": (f"{name} + 1", extent + 1),
            "scaled": (f"2 * {name} + 1", 2 * extent),
            "reversed": (f"{extent - 1} - {name}", extent),
            "window": (f"{name} + {other}", extent + second - 1),
            "halved": (f"{name} / 2", (extent + 1) // 2),
            "wrapped": (f"{name} % 2", min(2, extent)),
            "product": (f"{name} * {other}", (extent - 1) * (second - 1) + 1),
            "from below": (f"max({name} - 2, 0)", max(1, extent - 2)),
            "from above": (f"min({name} + 1, {extent - 1})", extent),
            "divided backwards": (f"({name} - {extent - 1}) / (0 - 2)", (extent + 1) // 2),
            "wrapped backwards": (f"0 - {name} % (0 - 3)", 3),
        }
        drawn = {
            "indirect": lambda: self.place(name, extent),
            "beside": lambda: self._beside(name, extent, other, second),
            "hashed": lambda: self._hashed(name, extent),
            "chosen": lambda: self._chosen((name, extent), (f"{extent - 1} - {name}", extent)),
        }
        kind = self.draw(st.sampled_from(("plain", "plain", "plain", "plain", *forms, "indirect", *drawn)))
        return forms[kind] if kind in forms else drawn[kind]()

    def _beside(self, name: str, extent: int, other: str, second: int) -> tuple[str, int]:
        """A place that an input names, and an index added to it."""
        place, below = self.place(name, extent)
        return f"{place} + {other}", below + second - 1

    def _chosen(self, first: tuple[str, int], second: tuple[str, int]) -> tuple[str, int]:
        """One of two subscripts, by a condition that may have a name and may be far beyond its type as a number."""
        condition = self._condition()
        for _ in range(self.draw(st.integers(0, 1))):
            condition = f"{condition} {self.draw(st.sampled_from(('&&', '||')))} {self._condition()}"
        if self.draw(st.booleans()):
            name = f"v{len(self.statement.lets)}"
            self.statement.lets.append(f"{name} = {condition}")
            condition = name
        return f"({condition} ? {first[0]} : {second[0]})", max(first[1], second[1])

    def _condition(self) -> str:
        """A comparison of numbers of up to 32 bits, or its opposite."""
        if self.draw(st.booleans()):
            (name, extent), op = self._one_index(), self.draw(st.sampled_from(("<", "<=", ">", ">=", "==", "!=")))
            large = self.draw(st.sampled_from((0, 1, 2147483647)))
            made = f"({name} + {large} {op} {self.draw(st.integers(0, extent))})"
        else:
            narrow = [t for t in TYPES if t is not T.BOOL and t.bits <= 32]
            a, b = self._operands(self.draw(st.sampled_from(narrow)), MAX_DEPTH, exact=True)
            made = f"({a.text} {self.draw(st.sampled_from(('<', '>=')))} {b.text})"
        return f"!{made}" if self.draw(st.booleans()) else made

    def place(self, name: str, extent: int, below: int | None = None) -> tuple[str, int]:
        """A place that an input names, of some number of them or of `below`."""
        known = [
            t
            for t in self.draft.inputs
            if t.below is not None and below in (None, t.below) and len(t.shape) == 1 and t.shape[0] >= extent
        ]
        if bool(known) and self.draw(st.booleans()):
            tensor = self.draw(st.sampled_from(known))
        else:
            count = self.draw(st.integers(1, 5)) if below is None else below
            tensor = self.input((extent,), self.draw(st.sampled_from((T.INT32, *INTEGERS))), count)
        assert tensor.below is not None
        return f"{tensor.name}({name})", tensor.below

    def _hashed(self, name: str, extent: int) -> tuple[str, int]:
        """What any integers are, modulo something."""
        divisor = self.draw(st.integers(1, 4))
        inner = self.read([name], (extent,), self.draw(st.sampled_from((T.INT32, *INTEGERS))))
        return f"{inner.text} % {divisor}", divisor
