"""From a def and what it is to be compiled for to the request for a kernel.

In: specs of the inputs, settings of the caller.  Out: a `ComprehensionRequest`.
Invariant: settings that cannot be are refused here, before anything is looked up; a size that is left open takes part
in the request only by about how large it was seen to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comprehension.errors import ComprehensionError
from comprehension.jit.request import ComprehensionRequest, Math, Sizes, Target
from comprehension.lang.interface import Interface
from comprehension.lang.types import Spec
from comprehension.layout import Layouts
from comprehension.machine import host
from comprehension.options import MappingOptions, options_of
from comprehension.poly.typical import likely_size


@dataclass(frozen=True, slots=True)
class Settings:
    """What the caller of `compile` chooses beside the inputs.

    Raises ComprehensionError for a value that cannot be.
    """

    target: Target = "cpu"
    options: MappingOptions | str | None = None
    math: Math = "fast"
    checked: bool = True

    def __post_init__(self) -> None:
        if self.target not in ("cpu", "cuda"):
            raise ComprehensionError(f'compile: target must be "cpu" or "cuda", not {self.target!r}')
        if self.math not in ("fast", "strict"):
            raise ComprehensionError(f'compile: math must be "fast" or "strict", not {self.math!r}')
        if not isinstance(self.checked, bool):
            raise ComprehensionError(f"compile: checked must be True or False, not {self.checked!r}")


PLAIN = Settings()  # of a call


def request_for(
    name: str,
    text: str,
    specs: tuple[Spec, ...],
    settings: Settings,
    layouts: Layouts = (),
    seen: tuple[Spec, ...] = (),
) -> ComprehensionRequest:
    """The request for a kernel of the def `name` of this canonical text.

    `seen`: the specs of the inputs themselves, with sizes to plan for where `specs` leave them open.
    """
    return ComprehensionRequest(
        name=name,
        text=text,
        specs=specs,
        sizes=sizes_of(specs),
        target=settings.target,
        options=options_of(settings.options),
        math=settings.math,
        checked=settings.checked,
        machine=host(),
        layouts=layouts,
        likely=_likely(specs, seen) if settings.target == "cpu" else (),
    )


def symbolic(interface: Interface, specs: Sequence[Spec]) -> tuple[Spec, ...]:
    """The specs with each named size of the def left open."""
    return tuple(
        Spec(param.type.dims if param.type is not None else spec.shape, spec.dtype)
        for param, spec in zip(interface.parameters, specs, strict=True)
    )


def _likely(specs: Sequence[Spec], seen: Sequence[Spec]) -> tuple[tuple[str, int], ...]:
    """About how large the sizes are that specs leave open, by the shapes at hand."""
    found: dict[str, int] = {}
    for spec, like in zip(specs, seen, strict=bool(seen)):
        for name, size in zip(spec.shape, like.shape, strict=True):
            if isinstance(name, str) and isinstance(size, int):
                found.setdefault(name, likely_size(size))
    return tuple(sorted(found.items()))


def sizes_of(specs: Sequence[Spec]) -> Sizes:
    """Whether a dimension is left open."""
    return "symbolic" if any(isinstance(dim, str) for spec in specs for dim in spec.shape) else "static"


def identity_of(request: ComprehensionRequest) -> tuple[Any, ...]:
    """What tells the kernels of one comprehension apart."""
    settings = (request.target, request.options, request.math, request.checked, request.steps)
    return (request.specs, request.layouts, *settings)
