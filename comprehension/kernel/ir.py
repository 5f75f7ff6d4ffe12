"""KernelIR: a typed loop nest, independent of the target until loops are mapped.

In: made by `kernel.build` from a schedule tree.  Out: printed by `codegen.cpu` and `codegen.cuda`;
read back by `poly.certificate`, which extracts instances, order and addresses again and proves them.
Invariant (checked by `kernel.verify`): every name is defined before use, types agree without implicit
conversion, at most one parallel loop a stage (it *is* the stage's range), tiles have constant extents.

A kernel is a sequence of `Stage`s, run one after the other; a stage is one generated function whose
outermost loop may be divided among workers.  A `Tile` is the unit of explicit vectorisation: its
statements run one after another, each for all rows and lanes at once.  Promotion and packing need no
nodes of their own: a local `Buffer` and loops of `Store`s with `role=COPY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from comprehension.lang.tree import ReduceOp
from comprehension.lang.types import ScalarType

# --- integer expressions: bounds, subscripts, conditions (int64, floor division) --------------------


@dataclass(frozen=True, slots=True)
class Int:
    value: int


@dataclass(frozen=True, slots=True)
class Var:
    """A loop variable, a tile axis, a size or an integer scalar parameter."""

    name: str


@dataclass(frozen=True, slots=True)
class IntOp:
    """`/` floors and `%` matches it; the divisor is a positive constant unless `checked` elsewhere."""

    op: Literal["+", "-", "*", "/", "%", "min", "max"]
    left: IntExpr
    right: IntExpr


@dataclass(frozen=True, slots=True)
class IntSelect:
    condition: Condition
    then: IntExpr
    otherwise: IntExpr


@dataclass(frozen=True, slots=True)
class FromValue:
    """An indirect subscript: the value of an integer expression."""

    value: Value


IntExpr = Int | Var | IntOp | IntSelect | FromValue


@dataclass(frozen=True, slots=True)
class Compare:
    op: Literal["<", "<=", "==", "!="]
    left: IntExpr
    right: IntExpr


@dataclass(frozen=True, slots=True)
class BoolOp:
    op: Literal["and", "or"]
    left: Condition
    right: Condition


Condition = Compare | BoolOp

# --- values ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Const:
    value: int | float | bool
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class Load:
    """Reads one element.  `access` is the number of the statement's access in its Scop (None in copies).

    `ahead`: in a tile, also asks the caches for the lines this many elements further on (0: does not), of all lanes or
    of those in `ahead_lanes` (from, to).
    """

    buffer: str
    subscripts: tuple[IntExpr, ...]
    dtype: ScalarType
    access: int | None = None
    ahead: int | IntExpr = 0
    ahead_lanes: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Local:
    """A value named by `Define`."""

    name: str
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class ScalarArg:
    """A scalar parameter of the comprehension."""

    name: str
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class IndexValue:
    """An index, a size or arithmetic on them, used as a value (int32)."""

    index: IntExpr
    dtype: ScalarType = ScalarType.INT32


@dataclass(frozen=True, slots=True)
class UnaryOp:
    op: Literal["-", "!"]
    operand: Value
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class BinaryOp:
    """Both operands have the same type (comparisons give bool); integer arithmetic wraps in that type.

    `min` and `max` propagate NaN; `/` on integers floors and gives 0 for a zero divisor.
    """

    op: Literal["+", "-", "*", "/", "%", "min", "max", "<", "<=", ">", ">=", "==", "!=", "&&", "||"]
    left: Value
    right: Value
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class Fma:
    """a * b + c rounded once; made only under `math="fast"`."""

    a: Value
    b: Value
    c: Value
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class SelectValue:
    """Only the chosen side is evaluated (in tiles: masked)."""

    condition: Value
    then: Value
    otherwise: Value
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class Convert:
    operand: Value
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of reference section 1, by its language name."""

    function: str
    arguments: tuple[Value, ...]
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class Fold:
    """Combines `value` over all active points of a tile axis into one (order: a fixed binary tree)."""

    op: ReduceOp
    value: Value
    axis: str
    dtype: ScalarType


Value = (
    Const | Load | Local | ScalarArg | IndexValue | UnaryOp | BinaryOp | Fma | SelectValue | Convert | Builtin | Fold
)

# --- statements --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Instance:
    """Which statement instance a store executes: the Scop statement's name and its index values."""

    statement: str
    point: tuple[IntExpr, ...]


class StoreRole(Enum):
    """Why a store stands here; the certificate treats each kind by its own rule."""

    EXECUTE = "execute"  # runs `instance`
    COPY = "copy"  # moves one element unchanged between a tensor and its local copy (value is a Load)
    FILL = "fill"  # sets a local buffer: padding, or the identity of a private accumulator (value is a Const)
    COMBINE = "combine"  # folds a private accumulator into the tensor (or buffer) that it stands for


@dataclass(frozen=True, slots=True)
class Define:
    """Names a value; visible in the rest of the enclosing body.  Rounds to its type."""

    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Store:
    """Writes one element.  Reductions are spelt out: the value loads the target and combines.

    `streaming`: the tile's lines go to memory past the caches, where they are whole.
    """

    buffer: str
    subscripts: tuple[IntExpr, ...]
    value: Value
    role: StoreRole = StoreRole.EXECUTE
    instance: Instance | None = None
    streaming: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """Asks the caches for `elements` of a buffer from its element number `first` on; it has no other effect.

    `rows`: as much again, from every `apart` elements further on, in all so often.
    """

    buffer: str
    first: IntExpr
    elements: int
    rows: int = 1
    apart: int = 0


@dataclass(frozen=True, slots=True)
class Loop:
    """`for variable in range(lower, upper, step)`; `unroll` is a request to `kernel.unroll`, without effect on meaning.

    `mapping`, on CUDA: what divides the iterations, blocks of the grid ("block.x", "block.y", "block.z") or threads
    of a block ("thread.x", ...): the one at position p, counted from `lower` in steps, takes iterations p, p + count,
    p + 2 count, ...  They may run in any order, and each has SCRATCH and REGISTER buffers of its own.

    `asks`, on the CPU: what each iteration begins by asking for.
    """

    variable: str
    lower: IntExpr
    upper: IntExpr
    body: tuple[Node, ...]
    step: int = 1
    unroll: int = 1
    mapping: str | None = None
    asks: tuple[Ask, ...] = ()


@dataclass(frozen=True, slots=True)
class If:
    condition: Condition
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """A tile axis: `variable` takes `start`, ..., `start + extent - 1`; points at or past `limit` are masked.

    Masked points neither read nor write tensors.
    """

    variable: str
    start: IntExpr
    extent: int
    limit: IntExpr | None = None


@dataclass(frozen=True, slots=True)
class Tile:
    """Runs `body` on all points of `rows` × `lanes`, statement by statement.  `rows` may be absent.

    Each statement is evaluated for every active point before the next one starts.
    """

    rows: Axis | None
    lanes: Axis
    body: tuple[Define | Store, ...]


@dataclass(frozen=True, slots=True)
class Barrier:
    """CUDA only: all threads of the block meet.  Stands where all of them come: in no loop that threads divide."""


Node = Define | Store | Loop | If | Tile | Barrier

# --- the kernel -----------------------------------------------------------------------------------------


class Space(Enum):
    INPUT = "input"
    OUTPUT = "output"
    WORKSPACE = "workspace"  # whole temporaries, provided by the caller, shared by all workers
    SCRATCH = "scratch"  # private to the worker running a chunk: packed panels, private rows (64-byte aligned)
    REGISTER = "register"  # private, constant shape, indexed only by tile axes: lives in vector registers
    SHARED = "shared"  # CUDA: private to the block


@dataclass(frozen=True, slots=True)
class Buffer:
    """`shape` in elements, row major unless `strides` (elements; None: dense) says otherwise.

    A stride that is only known at launch is `stride_variable(name, axis)`.
    """

    name: str
    dtype: ScalarType
    shape: tuple[IntExpr, ...]
    space: Space
    strides: tuple[IntExpr, ...] | None = None
    promoted_from: str | None = None  # the tensor that a SCRATCH/REGISTER/SHARED buffer stands for


@dataclass(frozen=True, slots=True)
class Beyond:
    """The body of a stage for sizes at which its data does not fit the last cache: marks on accesses differ."""

    condition: Condition  # on sizes alone
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One generated function.

    With `parallel` the worker runs `body` for `variable` = lower + i * step, i in [lo, hi) of
    [0, ceil((upper - lower) / step)), `grain` of them at least per chunk.  Without it, once.
    On CUDA, `threads` of a block and `blocks` of the grid, x first, at most; empty: as many as there is work for.
    `beyond` is another body that launches of large sizes run; `when` says of one of several versions of a stage when it
    runs, `is_alternative` that it is not the first of them (made from proved kernels, just before they are printed).
    `given`: what sizes are where `when` holds, for those that it compares with a number.
    """

    name: str
    body: tuple[Node, ...]
    parallel: Loop | None = None  # body of this Loop is empty; Stage.body is what it runs
    grain: int = 1
    threads: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    beyond: Beyond | None = None
    when: Condition | None = None
    is_alternative: bool = False
    given: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Kernel:
    name: str
    sizes: tuple[str, ...]
    scalars: tuple[tuple[str, ScalarType], ...]
    buffers: tuple[Buffer, ...]
    stages: tuple[Stage, ...]

    def buffer(self, name: str) -> Buffer:
        return next(b for b in self.buffers if b.name == name)


def stride_variable(buffer: str, axis: int) -> Var:
    """The stride of a buffer along an axis, where only the call knows it."""
    return Var(f"{buffer}.stride{axis}")
