"""A comprehension as what one would write with NumPy: slices, windows, broadcasting, einsum.

In: a LoopProgram of static sizes.  Out: a function from arrays to arrays, or `NotDirect` with the reason.
Invariant: it computes what the text means, up to the order in which a reduction is evaluated.  What NumPy has no
direct way for (scans, triangles, reads under a guard, indirect subscripts) is refused rather than written in a way
that nobody would use: a comparison with it would say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from comprehension.lang import tree
from comprehension.lang.builtins import BUILTINS
from comprehension.lang.loops import LoopProgram, LoopStatement, Role
from comprehension.lang.scalars import convert_array, identity

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
Compute = Callable[[dict[str, Any]], Any]

LARGEST_DOMAIN = 1 << 27  # elements of a temporary that broadcasting may make
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "<": np.less, "<=": np.less_equal, ">": np.greater,
    ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal, "&&": np.logical_and, "||": np.logical_or,
    "%": np.mod, "min": np.minimum, "max": np.maximum,
}  # fmt: skip
_REDUCE = {"+": np.add, "*": np.multiply, "min": np.minimum, "max": np.maximum}


class NotDirect(Exception):
    """NumPy has no direct way to say this; the message says what."""


def numpy_function(program: LoopProgram) -> Callable[[Arrays], dict[str, Array]]:
    """The function of the inputs (arrays and scalars by name) that gives the outputs by name.

    Raises NotDirect.

    >>> from comprehension.lang.check import check
    >>> from comprehension.lang.parser import parse
    >>> from comprehension.lang.ranges import infer
    >>> from comprehension.lang.types import Spec
    >>> f = check(parse("def f(float(N,K) A, float(K) x) -> (y) { y(i) +=! A(i, k) * x(k) }"))["f"]
    >>> product = numpy_function(infer(f, (Spec((2, 3), "float32"), Spec((3,), "float32"))))
    >>> product({"A": np.ones((2, 3), np.float32), "x": np.ones(3, np.float32)})["y"]
    array([3., 3.], dtype=float32)
    """
    if program.sizes or program.preconditions:
        raise NotDirect("sizes are not all known")
    shapes = {t.name: tuple(_constant(extent) for extent in t.shape) for t in program.tensors}
    steps = [_Statement(program, statement, shapes).step() for statement in program.statements]
    written = [t for t in program.tensors if t.role is not Role.INPUT]
    if any(t.role is Role.ACCUMULATED for t in written):
        raise NotDirect("an output accumulates into the caller's buffer")

    def run(arrays: Arrays) -> dict[str, Array]:
        values: dict[str, Any] = dict(arrays)
        with np.errstate(all="ignore"):
            for step in steps:
                step(values)
        return {t.name: np.asarray(values[t.name]) for t in written if t.role is Role.OUTPUT}

    return run


def _constant(expr: tree.Expr) -> int:
    if isinstance(expr, tree.Number) and isinstance(expr.value, int):
        return expr.value
    raise NotDirect("a size or a bound depends on an index or a scalar")


@dataclass(frozen=True, slots=True)
class _View:
    """A part of a tensor: how to cut it out, and the index that each of its axes runs over."""

    tensor: str
    slices: tuple[int | slice, ...]
    windows: tuple[tuple[int, int], ...]  # (axis, length): sliding windows, each a further axis at the end
    indices: tuple[str, ...]

    def of(self, values: Mapping[str, Any]) -> Array:
        part = values[self.tensor][self.slices]
        for axis, length in self.windows:
            part = sliding_window_view(part, length, axis)
        return part  # type: ignore[no-any-return]


class _Statement:
    """One statement as a step on the dictionary of arrays."""

    def __init__(self, program: LoopProgram, statement: LoopStatement, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.program, self.statement, self.shapes = program, statement, shapes
        self.bounds = {i.name: (_constant(i.lower), _constant(i.upper)) for i in statement.indices}
        self.order = [i.name for i in statement.indices]
        self.lets = {let.name: let.value for let in statement.lets}
        self.scalars = {scalar.name for scalar in program.scalars}

    def step(self) -> Callable[[dict[str, Any]], None]:
        """The statement: computes its value over the left indices, and puts it in place."""
        s = self.statement
        target = self.view(s.target, s.subscripts)
        left = self.order[: s.left]
        if target.windows or sorted(target.indices) != sorted(left):
            raise NotDirect(f"{s.name} writes through expressions")
        value = self.reduced(left) if s.reduction is not None else self.broadcast(s.value, len(left))
        combine = _REDUCE[s.reduction] if s.reduction is not None and not s.initialise else None
        dtype, shape = self.program.tensor(s.target).dtype.numpy, self.shapes[s.target]
        extents = tuple(self.extent(name) for name in left)
        to_target = [left.index(name) for name in target.indices]
        whole = shape == tuple(extents[axis] for axis in to_target) and not any(
            isinstance(part, int) for part in target.slices
        )

        def run(values: dict[str, Any]) -> None:
            found = np.broadcast_to(np.asarray(value(values), dtype), extents).transpose(to_target)
            if whole and combine is None:
                values[s.target] = found if _is_fresh(found, values) else found.copy()
                return
            if s.target not in values:
                values[s.target] = np.zeros(shape, dtype)
            result = values[s.target]
            result[target.slices] = found if combine is None else combine(result[target.slices], found)

        return run

    def extent(self, name: str) -> int:
        lower, upper = self.bounds[name]
        return max(0, upper - lower)

    # --- reductions ---------------------------------------------------------------------------------------------

    def reduced(self, left: list[str]) -> Compute:
        """The statement's value, reduced over the indices that are not on the left."""
        s = self.statement
        assert s.reduction is not None
        dtype = self.program.tensor(s.target).dtype
        factors = self.factors(s.value) if s.reduction == "+" and dtype.is_float else None
        if factors is not None and len(self.order) > s.left:
            views = [self.view(f.tensor, f.subscripts, reading=True) for f in factors]
            if {name for view in views for name in view.indices} == set(self.order):
                return self.einsum(views, left)
        if math.prod(self.extent(name) for name in self.order) > LARGEST_DOMAIN:
            raise NotDirect(f"{s.name} would need a temporary of all its points")
        value, ufunc = self.broadcast(s.value, len(self.order)), _REDUCE[s.reduction]
        axes = tuple(range(s.left, len(self.order)))
        whole = tuple(self.extent(name) for name in self.order)
        start = identity(s.reduction, dtype)

        def reduce(values: dict[str, Any]) -> Any:
            points = np.broadcast_to(value(values), whole)
            return ufunc.reduce(points, axis=axes, dtype=dtype.numpy, initial=start) if axes else points

        return reduce

    def factors(self, value: tree.Expr) -> list[tree.Access] | None:
        """The accesses whose product `value` is, or None if it is anything else."""
        match value:
            case tree.Access():
                return [value]
            case tree.Binary("*", left, right):
                a, b = self.factors(left), self.factors(right)
                return None if a is None or b is None else a + b
            case _:
                return None

    def einsum(self, views: list[_View], left: list[str]) -> Compute:
        numbers = {name: position for position, name in enumerate(self.order)}
        result = [numbers[name] for name in left]

        def contract(values: dict[str, Any]) -> Any:
            operands = [part for v in views for part in (v.of(values), [numbers[name] for name in v.indices])]
            return np.einsum(*operands, result, optimize=True)

        return contract

    # --- values -------------------------------------------------------------------------------------------------

    def broadcast(self, expr: tree.Expr, rank: int) -> Compute:
        """`expr` as a function of the arrays; its result broadcasts over the first `rank` indices."""
        match expr:
            case tree.Number(value=value):
                constant = value if expr.dtype is None else expr.dtype.numpy.type(value)
                return lambda values: constant
            case tree.Name(id=name):
                return self.name(name, rank)
            case tree.Access():
                return self.access(expr, rank)
            case tree.Unary(op, operand):
                inner, function = self.broadcast(operand, rank), np.logical_not if op == "!" else np.negative
                return lambda values: function(inner(values))
            case tree.Binary(op, left, right):
                return self.pair(self.operator(op, expr), left, right, rank)
            case tree.Select(condition, then, otherwise):
                parts = [self.broadcast(part, rank) for part in (condition, then, otherwise)]
                return lambda values: np.where(*(part(values) for part in parts))
            case tree.Cast(to, operand):
                inner = self.broadcast(operand, rank)
                return lambda values: convert_array(np.asarray(inner(values)), to.numpy)
            case tree.Call("min" | "max" as op, (left, right)):
                return self.pair(_BINARY[op], left, right, rank)
            case tree.Call(function, arguments):
                ufunc, parts = _ufunc(function), [self.broadcast(a, rank) for a in arguments]
                return lambda values: ufunc(*(part(values) for part in parts))
            case tree.SizeOf():
                raise AssertionError("sizes are resolved in a loop program")
            case _:
                assert_never(expr)

    def pair(self, function: Callable[[Any, Any], Any], left: tree.Expr, right: tree.Expr, rank: int) -> Compute:
        a, b = self.broadcast(left, rank), self.broadcast(right, rank)
        return lambda values: function(a(values), b(values))

    @staticmethod
    def operator(op: str, expr: tree.Expr) -> Callable[[Any, Any], Any]:
        if op == "/":
            return np.divide if expr.dtype is not None and expr.dtype.is_float else np.floor_divide
        return _BINARY[op]

    def name(self, name: str, rank: int) -> Compute:
        if name in self.lets:
            return self.broadcast(self.lets[name], rank)
        if name in self.scalars:
            return lambda values: values[name]
        counted = np.arange(*self.bounds[name], dtype=np.int32)
        shaped = counted.reshape([-1 if other == name else 1 for other in self.order[:rank]])
        return lambda values: shaped

    def access(self, node: tree.Access, rank: int) -> Compute:
        view = self.view(node.tensor, node.subscripts, reading=True)
        order = self.order[:rank]
        axes = [view.indices.index(name) for name in order if name in view.indices]
        missing = tuple(position for position, name in enumerate(order) if name not in view.indices)
        return lambda values: np.expand_dims(view.of(values).transpose(axes), missing)

    def view(self, tensor: str, subscripts: tuple[tree.Expr, ...], *, reading: bool = False) -> _View:
        """The part of a tensor that the statement touches through these subscripts."""
        s = self.statement
        if reading and tensor == s.target and (subscripts != s.subscripts or s.reduction is not None):
            raise NotDirect(f"{s.name} reads other elements of its own result")
        slices: list[int | slice] = []
        windows: list[tuple[int, int]] = []
        indices: list[str] = []
        inner: list[str] = []
        for subscript, size in zip(subscripts, self.shapes[tensor], strict=True):
            names, constant = self.sum_of_indices(subscript)
            lower = constant + sum(self.bounds[name][0] for name in names)
            upper = constant + sum(self.bounds[name][1] - 1 for name in names)
            if any(self.extent(name) == 0 for name in names):
                raise NotDirect("a range is empty")
            if not (lower >= 0 and upper < size):
                raise NotDirect(f"{s.name} reads '{tensor}' out of bounds, under a guard")
            slices.append(slice(lower, upper + 1) if names else lower)
            if len(names) == 2:
                windows.append((len(indices), self.extent(names[1])))
                inner.append(names[1])
            indices.extend(names[:1])
        if len(set(indices + inner)) < len(indices + inner):
            raise NotDirect(f"{s.name} uses an index of '{tensor}' twice")
        return _View(tensor, tuple(slices), tuple(windows), tuple(indices + inner))

    def sum_of_indices(self, subscript: tree.Expr) -> tuple[list[str], int]:
        """`i + k + 3` as (["i", "k"], 3): two indices at most."""
        names: list[str] = []
        constant, parts = 0, [(subscript, 1)]
        while parts:
            part, sign = parts.pop(0)
            match part:
                case tree.Number(value=int(value)):
                    constant += sign * value
                case tree.Name(id=name) if name in self.bounds and sign == 1:
                    names.append(name)
                case tree.Binary("+" | "-" as op, left, right):
                    parts[:0] = [(left, sign), (right, sign if op == "+" else -sign)]
                case _:
                    raise NotDirect(f"{self.statement.name} has a subscript that is no sum of indices")
        if len(names) > 2 or len(set(names)) < len(names):
            raise NotDirect(f"{self.statement.name} has a subscript of several indices")
        return names, constant


def _is_fresh(found: Array, values: Mapping[str, Any]) -> bool:
    """Whether an array can be kept as a result: nobody else's memory, and all of it its own."""
    return found.flags.writeable and not any(
        np.may_share_memory(found, other) for other in values.values() if isinstance(other, np.ndarray)
    )


def _ufunc(function: str) -> Callable[..., Any]:
    compute = BUILTINS[function].compute
    if isinstance(compute, np.ufunc):
        return compute
    try:
        from scipy import special  # an extra: without it such a def has no NumPy side
    except ImportError:
        special = None
    twin = getattr(special, _IN_SCIPY.get(function, ""), None)
    if twin is None:
        raise NotDirect(f"NumPy has no {function}")
    return twin  # type: ignore[no-any-return]


_IN_SCIPY = {
    "erf": "erf", "erfc": "erfc", "erfcx": "erfcx", "erfinv": "erfinv", "erfcinv": "erfcinv", "lgamma": "gammaln",
    "tgamma": "gamma", "j0": "j0", "j1": "j1", "y0": "y0", "y1": "y1", "normcdf": "ndtr", "normcdfinv": "ndtri",
}  # fmt: skip
