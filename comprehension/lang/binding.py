"""Specifications of inputs against the header of a def: what each size is.

In: a checked def and one `Spec` per parameter (or none: every size symbolic).
Out: each size as a form: a number, or the name that stands for it.
Invariant: two sizes given the same name in the specifications become the first of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from comprehension.errors import ComprehensionError, shorten
from comprehension.lang.checked import CheckedDef
from comprehension.lang.limits import MAX_INT
from comprehension.lang.linear import Linear, number, variable
from comprehension.lang.tree import Param
from comprehension.lang.types import Spec


def bind_sizes(checked: CheckedDef, specs: Sequence[Spec] | None, static: bool) -> dict[str, Linear]:
    """What every size of the def is.

    Raises ComprehensionError for a wrong number of arguments, a dtype, a rank, a constant dimension or two
    different values of one size.
    """
    if specs is None:
        return {name: variable(name) for name in checked.sizes}
    if len(specs) != len(checked.parameters):
        raise ComprehensionError(
            f"{checked.name} takes {len(checked.parameters)} arguments, but {len(specs)} are given"
        )
    bound: dict[str, tuple[int | str, str]] = {}  # size -> value and where it was seen
    for parameter, spec in zip(checked.parameters, specs, strict=True):
        _check_spec(checked, parameter, spec, static)
        assert parameter.type is not None, "inputs have their types"
        for axis, (dim, value) in enumerate(zip(parameter.type.dims, spec.shape, strict=True)):
            place = f"dimension {axis} of '{parameter.name}'"
            if isinstance(dim, int):
                if isinstance(value, int) and value != dim:
                    raise ComprehensionError(f"{checked.name}: {place} must be {dim}, not {value}")
                continue
            known, first = bound.setdefault(dim, (value, place))
            if known != value and isinstance(known, int) and isinstance(value, int):
                raise ComprehensionError(f"{checked.name}: {dim} is {known} in {first}, but {value} in {place}")
            if isinstance(known, str) and isinstance(value, int):
                bound[dim] = value, place
    return _forms(bound)


def _check_spec(checked: CheckedDef, parameter: Param, spec: Spec, static: bool) -> None:
    assert parameter.type is not None, "inputs have their types"
    name, wanted = parameter.name, parameter.type
    if spec.dtype is not wanted.scalar:
        raise ComprehensionError(
            f"{checked.name}: '{name}' must be {wanted.scalar}, not {spec.dtype}; arrays are never converted"
        )
    if len(spec.shape) != len(wanted.dims):
        raise ComprehensionError(
            f"{checked.name}: '{name}' must have {len(wanted.dims)} dimensions, not {len(spec.shape)} {spec.shape}"
        )
    for value in spec.shape:
        if isinstance(value, str):
            if static:
                message = f"'{name}' has the symbolic size {shorten(value)!r}, which static compilation cannot use"
                raise ComprehensionError(f"{checked.name}: {message}")
        elif not 0 <= value <= MAX_INT:
            raise ComprehensionError(f"{checked.name}: a size of '{name}' is {value}; sizes are from 0 to 2**31 - 1")


def _forms(bound: dict[str, tuple[int | str, str]]) -> dict[str, Linear]:
    """Numbers, or the first size that the specifications call by the same name."""
    values = {value: number(value) for value, _ in bound.values() if isinstance(value, int)}
    forms: dict[str, Linear] = {}
    first: dict[str, Linear] = {}
    for size, (value, _) in bound.items():
        forms[size] = values[value] if isinstance(value, int) else first.setdefault(value, variable(size))
    return forms
