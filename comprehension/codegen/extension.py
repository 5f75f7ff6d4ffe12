"""Numba's extension points with types: the one place where its untyped decorators are met.

In: functions that type and lower an operation.  Out: names that generated code can call.
Invariant: these wrap numba's documented extension interface and add nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import extending, types
from numba.core.typing import templates
from numba.extending import models

Typing = Callable[..., Any]


class Template(templates.AbstractTemplate):  # type: ignore[misc]
    """Says which argument types an operator takes; `generic` returns a signature or None."""


class Primitive(models.PrimitiveModel):  # type: ignore[misc]
    """A data model that is one LLVM type."""


class NumbaType(types.Type):  # type: ignore[misc]
    """A numba type; equal names are equal types."""


TYPED: dict[Any, tuple[Typing, bool]] = {}
"""For each intrinsic what types it, and whether that sees literal integers as literals."""


def intrinsic(typed: Typing) -> Any:
    """A function that is typed by `typed(context, *argument_types)` and lowered by what that returns."""
    made = extending.intrinsic(typed)
    TYPED[made] = typed, False
    return made


def literal_intrinsic(typed: Typing) -> Any:
    """An intrinsic that sees literal integers as literals."""
    made = extending.intrinsic(prefer_literal=True)(typed)
    TYPED[made] = typed, True
    return made


def operator_typing(operator: Any) -> Callable[[type[Template]], type[Template]]:
    """Registers a template for a Python operator."""
    register: Callable[[type[Template]], type[Template]] = templates.infer_global(operator)
    return register


def lowering(operator: Any, *arguments: Any) -> Callable[[Typing], Typing]:
    """Registers the code generator of an operator for argument types."""
    register: Callable[[Typing], Typing] = extending.lower_builtin(operator, *arguments)
    return register


def data_model(type_class: type) -> Callable[[type[Primitive]], type[Primitive]]:
    """Registers the data model of a numba type."""
    register: Callable[[type[Primitive]], type[Primitive]] = extending.register_model(type_class)
    return register
