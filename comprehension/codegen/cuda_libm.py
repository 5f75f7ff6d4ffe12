"""The builtins on a GPU: NVIDIA's libdevice, under its own names (`expf`, `exp`, `norm3df`, ...).

In: float32 or float64 operands.  Out: a call of libdevice, which the compiler links and inlines.
Invariant: there is an intrinsic for each builtin of the language in either precision, declared from the table of the
language (numba's own list of libdevice functions lacks some); those of integers are the CPU's code.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.cuda.extending import intrinsic

from comprehension.codegen import words
from comprehension.codegen.lanes import Lanes
from comprehension.lang.builtins import BUILTINS


def _libdevice(name: str, arity: int, operand: Any) -> Any:
    def typed(*arguments: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            lowered = context.get_value_type(operand)
            function = ir.FunctionType(lowered, [lowered] * arity)
            return builder.call(cgutils.get_or_insert_function(builder.module, function, f"__nv_{name}"), values)

        return (operand(*[operand] * arity), emit) if arguments == (operand,) * arity else None

    # numba types an intrinsic by the names of its parameters.
    by_arity = {
        1: lambda typing, a: typed(a),
        2: lambda typing, a, b: typed(a, b),
        3: lambda typing, a, b, c: typed(a, b, c),
        4: lambda typing, a, b, c, d: typed(a, b, c, d),
    }
    return intrinsic(by_arity[arity])


_FUNCTIONS = {n: builtin.arity for n, builtin in BUILTINS.items() if n != "fdivide" and builtin.works_in is None}
globals().update({f"{name}f": _libdevice(f"{name}f", arity, types.float32) for name, arity in _FUNCTIONS.items()})
globals().update({name: _libdevice(name, arity, types.float64) for name, arity in _FUNCTIONS.items()})


@intrinsic  # type: ignore[untyped-decorator]
def philox(typing: Any, c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Random words, in integer arithmetic."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        return words.philox(*(Lanes(builder, value, types.uint32) for value in values)).value

    uint32 = (types.uint32,) * 6
    return (types.uint32(*uint32), emit) if (c0, c1, c2, c3, k0, k1) == uint32 else None


# Operators under names of their own: a product or quotient that the compiler must not contract with what follows.
for _name, _type in {"fmul_rn": types.float32, "dmul_rn": types.float64}.items():
    globals()[_name] = _libdevice(_name, 2, _type)
for _name, _type in {"fdiv_rn": types.float32, "ddiv_rn": types.float64}.items():
    globals()[_name] = _libdevice(_name, 2, _type)
