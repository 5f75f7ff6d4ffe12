"""When two attributes or two scalars are the same.

In: attributes and Python scalars as operations receive them.  Out: hashable keys; answers.
Invariant: what has equal keys computes the same: 1, 1.0 and True differ, and so do 0.0 and -0.0; NaN equals NaN.
"""

from __future__ import annotations

from typing import Any

from coexec.symbolic import ScalarValue


def same_scalar(left: ScalarValue, right: ScalarValue) -> bool:
    """Whether two Python scalars are indistinguishable for an operation.

    >>> same_scalar(0.0, -0.0), same_scalar(1, True), same_scalar(float("nan"), float("nan"))
    (False, False, True)
    """
    return type(left) is type(right) and repr(left) == repr(right)


def value_key(value: Any) -> Any:
    """A hashable key of one attribute value, with the types of the numbers inside."""
    if isinstance(value, tuple):
        return tuple([value_key(part) for part in value])
    if isinstance(value, bool | int | str | type(None)):
        return (type(value).__name__, value)
    if isinstance(value, float | complex):
        return (type(value).__name__, repr(value))
    if isinstance(value, slice):
        return ("slice", value_key(value.start), value_key(value.stop), value_key(value.step))
    return value


def attribute_key(attributes: dict[str, Any]) -> tuple[Any, ...]:
    """A hashable key of all attributes, in the order of their names.

    >>> attribute_key({"axis": 1}) == attribute_key({"axis": True})
    False
    """
    return tuple([(name, value_key(attributes[name])) for name in sorted(attributes)])
