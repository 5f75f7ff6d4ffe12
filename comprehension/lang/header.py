"""The header of a def: its sizes, scalars, inputs and outputs.

In: the parameters and returns of a def.  Out: a `Header`, with all its names in the def's name space.
Invariant: faults are reported, not raised, so that the body can be checked too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from comprehension.lang.expressions import Fault, propose, quoted
from comprehension.lang.interface import Declared
from comprehension.lang.limits import MAX_INT, MAX_RANK
from comprehension.lang.loops import Role, Scalar
from comprehension.lang.names import Names, check_name
from comprehension.lang.tree import Def, Param, TensorType
from comprehension.lang.types import ScalarType

Report = Callable[[Fault], None]


@dataclass(slots=True)
class Header:
    """`outputs` maps each return to its annotation (None: the first statement that writes it decides)."""

    names: Names = field(default_factory=Names)
    sizes: dict[str, None] = field(default_factory=dict)  # in order
    scalars: dict[str, Scalar] = field(default_factory=dict)
    inputs: dict[str, Declared] = field(default_factory=dict)
    outputs: dict[str, Param] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)  # inputs with faults, which hide what follows from them


def check_header(definition: Def, report: Report) -> Header:
    """The header of `definition`; what is wrong with it goes to `report`."""
    header = Header()
    checks: list[Callable[[], None]] = [lambda: check_name(definition.name, definition.span, "a def")]
    checks += [lambda p=p: _input(p, header) for p in definition.inputs]  # type: ignore[misc]
    checks += [lambda p=p: _output(p, header) for p in definition.outputs]  # type: ignore[misc]
    for check in checks:
        try:
            check()
        except Fault as fault:
            report(fault)
    if not definition.outputs:
        report(Fault(f"def {quoted(definition.name)} returns nothing; name an output after '->'", definition.span))
    return header


def _input(param: Param, header: Header) -> None:
    try:
        _declare_input(param, header)
    except Fault:
        if param.name not in header.inputs and param.name not in header.scalars:
            header.inputs[param.name] = Declared(param.name, ScalarType.FLOAT32, 0, Role.INPUT, (), param.span)
            header.unknown.add(param.name)
        raise


def _declare_input(param: Param, header: Header) -> None:
    if param.type is None:
        header.names.declare(param.name, "an input", param.span)
        raise Fault(f"input {quoted(param.name)} must have its type, as in float(N) {param.name[:20]}", param.span)
    _check_dims(param.type)
    for dim in param.type.dims:
        if isinstance(dim, str):
            header.names.declare(dim, "a size", param.type.span, again=True)
            header.sizes[dim] = None
    dtype, dims = param.type.scalar, param.type.dims
    header.names.declare(param.name, "an input" if dims else "a scalar", param.span)
    if dims:
        header.inputs[param.name] = Declared(param.name, dtype, len(dims), Role.INPUT, dims, param.span)
    else:
        header.scalars[param.name] = Scalar(param.name, dtype)


def _output(param: Param, header: Header) -> None:
    header.names.declare(param.name, "an output", param.span)
    header.outputs[param.name] = param
    if param.type is None:
        return
    _check_dims(param.type)
    for dim in param.type.dims:
        if isinstance(dim, str) and dim not in header.sizes:
            message = f"undefined size {quoted(dim)}: no input has it{propose(dim, header.sizes)}"
            raise Fault(message, param.type.span)


def _check_dims(annotation: TensorType) -> None:
    if len(annotation.dims) > MAX_RANK:
        raise Fault(f"{len(annotation.dims)} dimensions; the limit is {MAX_RANK}", annotation.span)
    for dim in annotation.dims:
        if isinstance(dim, int) and not 0 <= dim <= MAX_INT:
            raise Fault(f"a dimension must be from 0 to {MAX_INT}, not {dim!r:.60}", annotation.span)
