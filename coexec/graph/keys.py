"""When two attributes or two scalars are the same.

In: attributes and Python scalars as operations receive them.  Out: hashable keys; answers.
Invariant: what has equal keys computes the same: 1, 1.0 and True differ, and so do 0.0 and -0.0; NaN equals NaN.
"""

from __future__ import annotations

from typing import Any

from coexec.graph.symbolic import ScalarValue


def same_scalar(left: ScalarValue, right: ScalarValue) -> bool:
    """Whether two Python scalars are indistinguishable for an operation.

    >>> same_scalar(0.0, -0.0), same_scalar(1, True), same_scalar(float("nan"), float("nan"))
    (False, False, True)
    """
    return type(left) is type(right) and repr(left) == repr(right)


_PLAIN = frozenset((int, str, bool, type(None)))


def value_key(value: Any) -> Any:
    """A hashable key of one attribute value, with the types of the numbers inside."""
    kind = type(value)
    if kind in _PLAIN:
        return (kind, value)
    if kind is tuple:
        for part in value:
            if type(part) is not int:
                return tuple([value_key(part) for part in value])
        return (int, value)  # an axis, a shape: most attributes
    if isinstance(value, float | complex):
        return (kind, repr(value))
    if kind is slice:
        return (slice, value_key(value.start), value_key(value.stop), value_key(value.step))
    return value


def attribute_key(attributes: dict[str, Any]) -> tuple[Any, ...]:
    """A hashable key of all attributes, in the order of their names.

    >>> attribute_key({"axis": 1}) == attribute_key({"axis": True})
    False
    """
    if not attributes:
        return ()
    return tuple([(name, value_key(attributes[name])) for name in sorted(attributes)])


def same_attributes(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Whether two operations' attributes have the same key (False also where only their keys can tell).

    >>> same_attributes({"axis": (1,)}, {"axis": (1,)}), same_attributes({"axis": (1,)}, {"axis": (True,)})
    (True, False)
    """
    if not left and not right:
        return True
    return left == right and all(_same_kind(value, right[name]) for name, value in left.items())


def _same_kind(left: Any, right: Any) -> bool:
    """Of two equal values: whether they are also of the same types, down to the last number."""
    kind = type(left)
    if kind is not type(right):
        return False
    if kind is tuple:
        return all(map(_same_kind, left, right))
    if kind is int or kind is str or kind is bool or left is None:
        return True
    return bool(value_key(left) == value_key(right))
