"""OpDef: everything the project knows about one operation, in one record.

In: written by the modules beside this one, mostly through `families`.
Out: read by `dispatch` (eager, vjp), by co-execution (infer, effect, comprehension), by the docs' table
and by the tests' strategies.  `REGISTRY` holds every record by name.
Invariant: the rules of one record agree; a test draws inputs for every record and checks it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from comprehension.lang.tree import Def
    from minitensor.ops.slicing import Placed
    from minitensor.tensor import Tensor

Scalar = bool | int | float | complex
Attributes = dict[str, Any]  # keyword arguments of one operation: hashable values only


class Effect(Enum):
    PURE = "pure"
    HOST = "host"  # acts outside the tensors


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of an operand.  A dimension is an int, or a str naming a symbol of co-execution."""

    shape: tuple[int | str, ...]
    dtype: np.dtype[Any]


Operand = TensorSpec | Scalar  # Python scalars are weak operands and stay as they are
InferRule = Callable[..., "TensorSpec | tuple[TensorSpec, ...]"]  # (*operands, **attributes)
EagerRule = Callable[
    ..., "np.ndarray[Any, Any] | tuple[np.ndarray[Any, Any], ...]"
]  # (*arrays_or_scalars, **attributes)
# (gradients of the outputs, inputs, outputs, attributes) -> one gradient or None per input, in Tensor operations.
# The result may have the broadcast shape of the output: the tape sums it down to the input's shape.  A gradient that is
# zero but for a slice may be given as that.
VjpRule = Callable[
    ["tuple[Tensor | None, ...]", "tuple[Any, ...]", "tuple[Tensor, ...]", Attributes],
    "tuple[Tensor | Placed | None, ...]",
]
# (*operands, **attributes) -> a def with inputs x0, x1, ... (weak scalars are rank-0 parameters of the result's
# type) and outputs r0, ... (y0 is a Bessel function); temporaries are t0, ...; sizes: ints, or the names that
# stand in the operands.
TcRule = Callable[..., "Def"]
# (operands, attributes) -> None, or raises where the eager rule would, looking at nothing but the contents of
# integer and bool operands: those come as arrays, the others may be anything with a shape and a dtype.
CheckRule = Callable[..., None]
# (*tensors, **attributes) -> tensors: what error bounds are derived from, and higher derivatives.
CompositionRule = Callable[..., "Tensor | tuple[Tensor, ...]"]


@dataclass(frozen=True, slots=True, eq=False)
class OpDef:
    name: str
    infer: InferRule
    eager: EagerRule
    vjp: VjpRule | None
    comprehension: TcRule | None  # None: opaque, a fusion barrier
    opaque_because: str = ""  # the reason, where comprehension is None
    effect: Effect = Effect.PURE
    may_raise: bool = False  # can fail on values, not only on shapes and dtypes
    outputs: int = 1
    exact: bool = False  # what it makes, floats too, is the same to the bit in a kernel
    check: CheckRule | None = None  # whether it would, for much less than doing it (where may_raise)
    composition: CompositionRule | None = None  # of a larger record: the same in smaller operations
    passes_numbers: bool = False  # a float among the inputs is to the vjp an operand and nothing else, if anything

    def infer_all(self, *operands: Operand, **attributes: Any) -> tuple[TensorSpec, ...]:
        """What `infer` says, as a tuple also where there is one output only."""
        inferred = self.infer(*operands, **attributes)
        return inferred if isinstance(inferred, tuple) else (inferred,)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


REGISTRY: dict[str, OpDef] = {}


def register(op: OpDef) -> OpDef:
    """Adds a record; a second one of the same name is a mistake.

    Raises ValueError for a name already taken and for an opaque record without its reason.
    """
    if op.name in REGISTRY:
        raise ValueError(f"operation {op.name!r} is already registered")
    if op.comprehension is None and not op.opaque_because:
        raise ValueError(f"operation {op.name!r} has no comprehension and no reason beside it")
    REGISTRY[op.name] = op
    return op
