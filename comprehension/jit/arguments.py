"""What a caller passes, held against a def's parameters: arrays to views and specs, before any kernel exists.

In: the parameters of a def and the caller's values.  Out: views, their family, specs and scalars.
Invariant: a call that passes here has the right number of arguments, each with its type and rank, and one
value for each size (reference section 2, "at run time").  Sizes bound by inference are its own to check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from comprehension.errors import ComprehensionError
from comprehension.jit.arrays import (
    Array,
    Family,
    is_addressable,
    is_array,
    layout_of_array,
    one_family,
    scalar_of,
    view_of,
)
from comprehension.jit.targets import check_writable
from comprehension.lang import tree
from comprehension.lang.binding import check_count, check_specs
from comprehension.lang.interface import Interface
from comprehension.lang.loops import Role
from comprehension.lang.types import ScalarType, Spec
from comprehension.layout import Layout, Layouts


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call's inputs in the order of the parameters: `views[i]` is an array (scalars: one element)."""

    views: tuple[Array, ...]
    specs: tuple[Spec, ...]
    family: Family


def is_scalar(param: tree.Param) -> bool:
    """Whether a parameter is passed by value: it has a type without dimensions."""
    return param.type is not None and not param.type.dims


def take_arguments(interface: Interface, inputs: Sequence[Any]) -> Arguments:
    """The views of a call's inputs.

    Raises ComprehensionError: number of arguments, dtype, rank, a size that is 4 here and 5 there.
    """
    check_count(interface, len(inputs))
    views: list[Array] = []
    families: list[Family] = []
    for param, value in zip(interface.parameters, inputs, strict=True):
        label = f"{interface.name}: {param.name}"
        assert param.type is not None, "inputs have their types"
        try:
            if is_scalar(param):
                views.append(scalar_of(value, param.type.scalar, label))
            else:
                view, family = view_of(value, label)
                views.append(view)
                families.append(family)
        except ComprehensionError as error:
            raise error.at(param.type.span, interface.text) from error.__cause__
    specs = tuple(spec_of(interface, p, v) for p, v in zip(interface.parameters, views, strict=True))
    check_specs(interface, specs)
    return Arguments(tuple(views), specs, one_family(families))


def spec_of(interface: Interface, param: tree.Param, value: Any) -> Spec:
    """The spec of an array, a Spec, or (for a scalar parameter) a number."""
    if isinstance(value, Spec):
        return value
    assert param.type is not None, "inputs have their types"
    try:
        return _spec_of(f"{interface.name}: {param.name}", param.type, value)
    except ComprehensionError as error:
        raise error.at(param.type.span, interface.text) from error.__cause__


def _spec_of(label: str, kind: tree.TensorType, value: Any) -> Spec:
    if not kind.dims:
        is_taken = isinstance(value, np.ndarray) and value.shape == (1,)  # by `take_arguments`
        scalar = value if is_taken else scalar_of(value, kind.scalar, label)
        return Spec((), ScalarType.of(scalar.dtype))
    view = view_of(value, label)[0]
    try:
        return Spec(view.shape, ScalarType.of(view.dtype))
    except KeyError:
        raise ComprehensionError(f"{label}: expected {kind.scalar}, found {view.dtype}") from None


def specs_of(interface: Interface, inputs: Sequence[Any]) -> tuple[Spec, ...]:
    """The specs of arrays, Specs or scalars in the order of the parameters, checked."""
    check_count(interface, len(inputs))
    specs = tuple(spec_of(interface, p, v) for p, v in zip(interface.parameters, inputs, strict=True))
    check_specs(interface, specs)
    return specs


def rank_of(value: Any, label: str) -> int:
    """How many dimensions an array, a Spec or a number has; `label` is for messages."""
    if isinstance(value, Spec):
        return len(value.shape)
    return 0 if isinstance(value, (bool, int, float, np.generic)) else view_of(value, label)[0].ndim


def layouts_of(interface: Interface, inputs: Sequence[Any], out: Any = None) -> Layouts:
    """The layouts of inputs and outputs that are arrays and not dense; by name.

    What cannot be addressed in place counts as dense: the launch copies it.  An output that nobody may write is refused
    here, because no kernel is for its layout.
    """
    outputs = [tensor.name for tensor in interface.tensors if tensor.role in (Role.OUTPUT, Role.ACCUMULATED)]
    values = [(param.name, value) for param, value in zip(interface.parameters, inputs, strict=True)]
    values += zip(outputs, out if isinstance(out, tuple) else (out,), strict=False)
    found: list[tuple[str, Layout]] = []
    for name, value in values:
        if is_array(value):
            view = view_of(value, f"{interface.name}: {name}")[0]
            if name in outputs:
                check_writable(interface.name, name, view)
            layout = layout_of_array(view) if is_addressable(view) else None
            if layout is not None and len(layout) == interface.tensor(name).rank:
                found.append((name, layout))
    return tuple(sorted(found))
