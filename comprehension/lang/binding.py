"""Specifications of inputs against the header of a def: whether they fit, and what each size is.

In: an interface and one `Spec` per parameter (or none: every size symbolic).
Out: each size as a form: a number, or the name that stands for it.
Invariant: specs that pass have the right number, types and ranks, and one value for each size (reference section 2, "at
run time"); two sizes given the same name in the specifications become the first of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from comprehension.errors import ComprehensionError
from comprehension.lang.interface import Interface
from comprehension.lang.limits import MAX_INT
from comprehension.lang.linear import Linear, number, variable
from comprehension.lang.tree import TensorType
from comprehension.lang.types import Spec


def bind_sizes(interface: Interface, specs: Sequence[Spec] | None) -> dict[str, Linear]:
    """What every size of the def is.

    Raises ComprehensionError for specs that do not fit.
    """
    if specs is None:
        return {name: variable(name) for name in interface.sizes}
    check_specs(interface, specs)
    forms: dict[str, Linear] = {}
    first: dict[str, Linear] = {}  # the first size that the specifications call by a name
    for parameter, spec in zip(interface.parameters, specs, strict=True):
        assert parameter.type is not None, "inputs have their types"
        for dim, value in zip(parameter.type.dims, spec.shape, strict=True):
            if isinstance(dim, str) and dim not in forms:
                form = number(value) if isinstance(value, int) else first.setdefault(value, variable(dim))
                forms[dim] = form
    return forms


def check_count(interface: Interface, given: int) -> None:
    """Raises ComprehensionError for a wrong number of arguments."""
    expected = len(interface.parameters)
    if given != expected:
        names = ", ".join(param.name for param in interface.parameters)
        error = ComprehensionError(
            f"{interface.name}: expected {expected} argument{'s' * (expected != 1)} ({names}), found {given}"
        )
        spans = [param.type.span if param.type is not None else param.span for param in interface.parameters]
        raise error.at(spans[min(given, expected - 1)] if spans else None, interface.text)


def check_specs(interface: Interface, specs: Sequence[Spec]) -> None:
    """Raises ComprehensionError where a spec contradicts its parameter's type or another spec."""
    check_count(interface, len(specs))
    sizes: dict[str, tuple[int | str, str]] = {}
    for param, spec in zip(interface.parameters, specs, strict=True):
        assert param.type is not None, "inputs have their types"
        try:
            _check_spec(f"{interface.name}: {param.name}", param.name, param.type, spec, sizes)
        except ComprehensionError as error:
            raise error.at(param.type.span, interface.text) from None


def _check_spec(label: str, name: str, kind: TensorType, spec: Spec, sizes: dict[str, tuple[int | str, str]]) -> None:
    if spec.dtype is not kind.scalar:
        raise ComprehensionError(f"{label}: expected {kind.scalar}, found {spec.dtype} (arrays are never converted)")
    if len(kind.dims) != len(spec.shape):
        raise ComprehensionError(
            f"{label}: expected {len(kind.dims)} dimensions, found {len(spec.shape)}: shape {spec.shape}"
        )
    for axis, (dim, found) in enumerate(zip(kind.dims, spec.shape, strict=True)):
        _check_dim(label, f"dimension {axis} of {name}", axis, dim, found, sizes)


def _check_dim(
    label: str, here: str, axis: int, dim: str | int, found: int | str, sizes: dict[str, tuple[int | str, str]]
) -> None:
    if isinstance(found, int) and not 0 <= found <= MAX_INT:
        raise ComprehensionError(f"{label}: dimension {axis} has {found} elements; the limit is {MAX_INT}")
    if isinstance(dim, int):
        if found != dim:
            raise ComprehensionError(f"{label}: expected {dim} elements along dimension {axis}, found {found}")
        return
    known, where = sizes.setdefault(dim, (found, here))
    if known != found:
        raise ComprehensionError(f"{label}: {dim} is {found} here ({here}) and {known} there ({where})")
