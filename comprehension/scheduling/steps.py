"""The steps of a schedule as data: one frozen record for each transformation.

In: the arguments of a method of `Schedule`, or a text.  Out: records; `str(step)` is the call that makes the step.
Invariant: `parse_steps(to_text(steps)) == steps`; a text is never run: it is calls of known names with literal
arguments, or it is refused.

A loop is named as the text names its index (`m`), by the statement or the tensor that it stands around where the
name alone could be several (`S1.m`, `C.m`), and after a split by its part (`m.outer`, `m.inner`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from comprehension.errors import ComprehensionError

MAX_STEPS = 1000
MAX_TEXT = 100_000
MAX_SIZE = 1 << 20
MAX_REPEATED = 64
LANES = (1, 64)
ROWS = (1, 32)


def refused(step: str, rule: str, value: object) -> ComprehensionError:
    return ComprehensionError(f"schedule: {step} {rule}, not {value!r}")


def _check_name(step: str, value: object) -> None:
    if not isinstance(value, str) or not value or len(value) > 500:
        raise refused(step, "takes the name of a loop, as in 'm' or 'S1.m.outer'", value)


def _check_names(step: str, values: object, fewest: int) -> None:
    if not isinstance(values, tuple) or len(values) < fewest:
        raise refused(step, f"takes the names of {fewest} loops or more", values)
    for value in values:
        _check_name(step, value)
    if len(set(values)) < len(values):
        raise refused(step, "names each loop once", values)


def _check_int(step: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise refused(step, f"takes an int from {low} to {high}", value)


def _check_sizes(step: str, sizes: object, most: int | None = None) -> None:
    if not isinstance(sizes, tuple) or not sizes or not all(isinstance(p, tuple) and len(p) == 2 for p in sizes):
        raise refused(step, "takes the size of each loop, as in m=32, n=64", sizes)
    if most is not None and len(sizes) > most:
        raise refused(step, f"takes {most} loops at most", dict(sizes))
    for loop, size in sizes:
        _check_name(step, loop)
        _check_int(step, size, 1, MAX_SIZE)
    if len(dict(sizes)) < len(sizes):
        raise refused(step, "names each loop once", sizes)


@dataclass(frozen=True, slots=True)
class Split:
    """for i:  ->  for i.outer: for i.inner in 0:size:"""

    loop: str
    size: int

    def __post_init__(self) -> None:
        _check_name("split", self.loop)
        _check_int("split", self.size, 1, MAX_SIZE)


@dataclass(frozen=True, slots=True)
class Tile:
    """for i: for j:  ->  for i.outer: for j.outer: for i.inner: for j.inner:"""

    sizes: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        _check_sizes("tile", self.sizes)


@dataclass(frozen=True, slots=True)
class Reorder:
    """for i: for j:  ->  for j: for i: (the loops named, outermost first)"""

    loops: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_names("reorder", self.loops, 2)


@dataclass(frozen=True, slots=True)
class Fuse:
    """for i: S(i)  for i: T(i)  ->  for i: S(i) T(i)"""

    loops: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_names("fuse", self.loops, 2)


@dataclass(frozen=True, slots=True)
class Distribute:
    """for i: S(i) T(i)  ->  for i: S(i)  for i: T(i)"""

    loop: str

    def __post_init__(self) -> None:
        _check_name("distribute", self.loop)


@dataclass(frozen=True, slots=True)
class Shift:
    """for i in 0:n: S(i)  ->  for i in by:n+by: S(i - by)"""

    loop: str
    by: int

    def __post_init__(self) -> None:
        _check_name("shift", self.loop)
        _check_int("shift", self.by, -MAX_SIZE, MAX_SIZE)


@dataclass(frozen=True, slots=True)
class Reverse:
    """for i in 0:n: S(i)  ->  for i in 1-n:1: S(-i)"""

    loop: str

    def __post_init__(self) -> None:
        _check_name("reverse", self.loop)


@dataclass(frozen=True, slots=True)
class Skew:
    """for t: for i in 0:n: S(t, i)  ->  for t: for i in by*t:n+by*t: S(t, i - by*t)"""

    loop: str
    along: str
    by: int = 1

    def __post_init__(self) -> None:
        _check_names("skew", (self.loop, self.along), 2)
        _check_int("skew", self.by, -MAX_REPEATED, MAX_REPEATED)


@dataclass(frozen=True, slots=True)
class Unroll:
    """for i in 0:4: S(i)  ->  S(0) S(1) S(2) S(3)"""

    loop: str
    times: int

    def __post_init__(self) -> None:
        _check_name("unroll", self.loop)
        _check_int("unroll", self.times, 2, MAX_REPEATED)


@dataclass(frozen=True, slots=True)
class Vectorize:
    """for j: S(j) T(j)  ->  for j.outer: S(j.inner of all lanes) T(j.inner of all lanes)"""

    sizes: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        _check_sizes("vectorize", self.sizes, most=2)
        *rows, (_, lanes) = self.sizes
        _check_int("vectorize: lanes", lanes, *LANES)
        for _, size in rows:
            _check_int("vectorize: rows", size, *ROWS)


@dataclass(frozen=True, slots=True)
class Parallelize:
    """for i:  ->  for all i at once: (an outermost loop)"""

    loop: str

    def __post_init__(self) -> None:
        _check_name("parallelize", self.loop)


@dataclass(frozen=True, slots=True)
class Promote:
    """for i: .. a[i, j] ..  ->  for i: local[j] = a[i, j]  .. local[j] ..  a[i, j] = local[j]"""

    tensor: str
    at: str

    def __post_init__(self) -> None:
        _check_name("promote", self.tensor)
        _check_name("promote", self.at)


@dataclass(frozen=True, slots=True)
class Pack:
    """`promote` of an operand of a tile, laid out so that the tile's loop reads it in order."""

    tensor: str
    at: str

    def __post_init__(self) -> None:
        _check_name("pack", self.tensor)
        _check_name("pack", self.at)


Step = (
    Split
    | Tile
    | Reorder
    | Fuse
    | Distribute
    | Shift
    | Reverse
    | Skew
    | Unroll
    | Vectorize
    | Parallelize
    | Promote
    | Pack
)

_KINDS: Mapping[str, Any] = {kind.__name__.lower(): kind for kind in get_args(Step)}


def step_text(step: Step) -> str:
    """The call that makes the step.

    >>> step_text(Tile((("m", 32), ("n", 64))))
    "tile({'m': 32, 'n': 64})"
    >>> step_text(Reorder(("n", "m")))
    "reorder('n', 'm')"
    """
    values = [getattr(step, field.name) for field in fields(step)]
    match step:
        case Tile(sizes) | Vectorize(sizes):
            values = [dict(sizes)]
        case Reorder(loops) | Fuse(loops):
            values = list(loops)
    return f"{type(step).__name__.lower()}({', '.join(map(repr, values))})"


def to_text(steps: Iterable[Step]) -> str:
    """One step a line."""
    return "".join(f"{step_text(step)}\n" for step in steps)


def parse_steps(text: str) -> tuple[Step, ...]:
    """The steps of a text, one call after another.

    >>> parse_steps("split('m', 32)  # rows\\nparallelize('m.outer')")
    (Split(loop='m', size=32), Parallelize(loop='m.outer'))

    Raises ComprehensionError for anything that is not a call of a step with literal arguments.
    """
    if len(text) > MAX_TEXT:
        raise ComprehensionError(f"schedule: the steps are a text of {MAX_TEXT} characters at most")
    try:
        calls = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ComprehensionError(f"schedule: no text of steps: {error}") from None
    if len(calls) > MAX_STEPS:
        raise ComprehensionError(f"schedule: {len(calls)} steps; the limit is {MAX_STEPS}")
    return tuple(_parsed(node) for node in calls)


def _parsed(node: ast.stmt) -> Step:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords)) if name in _KINDS:
            try:
                values = [ast.literal_eval(argument) for argument in arguments]
                named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in keywords if keyword.arg}
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                raise _no_step(node) from None
            if len(named) == len(keywords):
                return make_step(name, values, named)
    raise _no_step(node)


def make_step(name: str, values: list[Any], named: Mapping[str, Any]) -> Step:
    """The step that the method `name` of a `Schedule` makes of its arguments.

    Raises ComprehensionError for arguments that it does not take.
    """
    match name:
        case "tile" | "vectorize":
            kind = Tile if name == "tile" else Vectorize
            return kind(_sizes(name, values, named))
        case "reorder" | "fuse" if not named:
            return Reorder(tuple(values)) if name == "reorder" else Fuse(tuple(values))
        case _:
            kind = _KINDS[name]
            try:
                step: Step = kind(*values, **named)
            except TypeError:
                wanted = ", ".join(field.name for field in fields(kind))
                raise refused(name, f"takes {wanted}", (*values, *named.items())) from None
            return step


def _sizes(name: str, values: list[Any], named: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The sizes of `tile(m=8, n=16)`, `tile({"m.inner": 8})` and `vectorize("n", 16)`."""
    match values:
        case []:
            sizes = dict(named)
        case [str(loop), int(size)] if not named:
            sizes = {loop: size}
        case [Mapping() as given]:
            sizes = {**given, **named}
        case _:
            raise refused(name, "takes the size of each loop, as in m=32, n=64", tuple(values))
    return tuple(sizes.items())


def _no_step(node: ast.stmt) -> ComprehensionError:
    known = ", ".join(_KINDS)
    return ComprehensionError(
        f"schedule: line {node.lineno} is no step; a step is a call with literal arguments, as in split('m', 32), of"
        f" one of {known}"
    )
