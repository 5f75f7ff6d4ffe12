"""Interfaces: what whoever calls a def has to know of it, and how that is kept on disk.

In: made by `check.check` as a part of its `CheckedDef`, or read from data that an earlier program wrote.
Out: read wherever arguments are taken and kernels asked for; statements are nobody's business there.
Invariant: `interface_from_data(interface_to_data(i)) == i`, with all spans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from comprehension.errors import Diagnostic
from comprehension.lang.loops import Role, Scalar
from comprehension.lang.tree import Param, Span, TensorType
from comprehension.lang.types import ScalarType


@dataclass(frozen=True, slots=True)
class Declared:
    """A tensor of a def.  `dims` are those of its annotation, None where it has none (then `rank` says)."""

    name: str
    dtype: ScalarType
    rank: int
    role: Role  # INPUT, OUTPUT, ACCUMULATED (the first write is a reduction without `!`) or TEMPORARY
    dims: tuple[str | int, ...] | None = None
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """`parameters` as the text has them (scalars among them); `text` is the source, for carets."""

    name: str
    parameters: tuple[Param, ...]
    sizes: tuple[str, ...]  # in order of first appearance in the parameters
    scalars: tuple[Scalar, ...]
    tensors: tuple[Declared, ...]  # inputs, outputs, temporaries
    warnings: tuple[Diagnostic, ...] = ()
    text: str | None = None

    def tensor(self, name: str) -> Declared:
        return next(t for t in self.tensors if t.name == name)


def interface_to_data(interface: Interface) -> dict[str, Any]:
    """The interface as JSON has it; without the text, which whoever reads it has."""
    return {
        "name": interface.name,
        "parameters": [[p.name, _type_to_data(p.type), _span_to_data(p.span)] for p in interface.parameters],
        "sizes": list(interface.sizes),
        "scalars": [[scalar.name, scalar.dtype.value] for scalar in interface.scalars],
        "tensors": [
            [
                t.name,
                t.dtype.value,
                t.rank,
                t.role.value,
                None if t.dims is None else list(t.dims),
                _span_to_data(t.span),
            ]
            for t in interface.tensors
        ],
        "warnings": [list(astuple(warning)) for warning in interface.warnings],
    }


def interface_from_data(data: Mapping[str, Any], text: str | None = None) -> Interface:
    """What `interface_to_data` wrote, with its text.

    Raises KeyError, TypeError or ValueError for anything else.

    >>> from comprehension.lang.frontend import load
    >>> text = "def f(float(N) A, int32 k) -> (B) { B(i) = k * A(i) }"
    >>> made = load(text)["f"]
    >>> found = interface_from_data(interface_to_data(made), text)
    >>> found.parameters == made.parameters, found.tensors == made.tensors, found.sizes
    (True, True, ('N',))
    """
    return Interface(
        name=data["name"],
        parameters=tuple(
            Param(name, None if kind is None else _type_from_data(kind), span=_span_from_data(span))
            for name, kind, span in data["parameters"]
        ),
        sizes=tuple(data["sizes"]),
        scalars=tuple(Scalar(name, ScalarType(dtype)) for name, dtype in data["scalars"]),
        tensors=tuple(
            Declared(
                name, ScalarType(dtype), rank, Role(role), None if dims is None else tuple(dims), _span_from_data(span)
            )
            for name, dtype, rank, role, dims, span in data["tensors"]
        ),
        warnings=tuple(Diagnostic(*parts) for parts in data["warnings"]),
        text=text,
    )


def _type_to_data(kind: TensorType | None) -> list[Any] | None:
    return None if kind is None else [kind.scalar.value, list(kind.dims), kind.leading, _span_to_data(kind.span)]


def _type_from_data(data: list[Any]) -> TensorType:
    scalar, dims, leading, span = data
    return TensorType(ScalarType(scalar), tuple(dims), leading=leading, span=_span_from_data(span))


def _span_to_data(span: Span | None) -> list[int] | None:
    return None if span is None else [span.start, span.end, span.line, span.column]


def _span_from_data(data: list[int] | None) -> Span | None:
    return None if data is None else Span(*data)
