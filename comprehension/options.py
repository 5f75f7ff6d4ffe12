"""MappingOptions: what a user may say about how a comprehension is mapped to the machine.

In: keyword arguments or a preset's name.  Out: a frozen record read by `poly` and part of the cache key.
Invariant: a value that cannot be right is refused here; whatever is accepted gives a right result, because
options only choose among legal schedules.  None leaves a choice to the analytic model.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from comprehension.errors import ComprehensionError

Fusion = Literal["max", "min", "preserve"]

MAX_TILE = 1 << 20
MAX_UNROLL = 4096
MAX_THREADS = 1024
MAX_GRID = (1 << 31) - 1
VECTOR_LANES = (1, 2, 4, 8, 16, 32, 64)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _sizes(name: str, value: object, lowest: int, highest: int, longest: int) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or not all(_is_int(v) and lowest <= v <= highest for v in value):
        raise _refused(name, f"must be a tuple of ints from {lowest} to {highest}", value)
    if len(value) > longest:
        raise _refused(name, f"must have {longest} sizes at most", value)
    return tuple(value)


def _refused(name: str, rule: str, value: object) -> ComprehensionError:
    return ComprehensionError(f"MappingOptions: {name} {rule}, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingOptions:
    """How to map: sizes beyond the loops are truncated, 0 means untiled; the GPU's fields do not concern the CPU.

    - `tile`: tile sizes of the outermost band, outer loop first.
    - `unroll`: how often the bodies of the innermost loops may be repeated: loops whose extents have a product up to
      that are unrolled whole, the next one in steps; at most as far as the time for compiling allows.
    - `fusion`: "max", "min", or "preserve" (merge only where no parallel loop is lost).
    - `parallel`: whether the outermost parallel loop may be divided among workers.
    - `vectorize`: False, True, or a number of lanes.
    - `threads`, `blocks`: CUDA's block and grid, x first; `shared`, `private`: promotion to either memory.

    Raises ComprehensionError for a value that cannot be right.

    >>> MappingOptions(tile=(64, 64, 0)).tile
    (64, 64, 0)
    >>> MappingOptions(fusion="some")
    Traceback (most recent call last):
    ...
    comprehension.errors.ComprehensionError: MappingOptions: fusion must be "max", "min" or "preserve", not 'some'
    """

    tile: tuple[int, ...] | None = None
    unroll: int | None = None
    fusion: Fusion = "preserve"
    parallel: bool = True
    vectorize: bool | int | None = None
    threads: tuple[int, ...] | None = None
    blocks: tuple[int, ...] | None = None
    shared: bool = True
    private: bool = True

    def __post_init__(self) -> None:
        fusion: object = self.fusion
        if not isinstance(fusion, str) or fusion not in ("max", "min", "preserve"):
            raise _refused("fusion", 'must be "max", "min" or "preserve"', self.fusion)
        for name in ("parallel", "shared", "private"):
            if not isinstance(getattr(self, name), bool):
                raise _refused(name, "must be True or False", getattr(self, name))
        object.__setattr__(self, "tile", _sizes("tile", self.tile, 0, MAX_TILE, longest=16))
        object.__setattr__(self, "threads", _sizes("threads", self.threads, 1, MAX_THREADS, longest=3))
        object.__setattr__(self, "blocks", _sizes("blocks", self.blocks, 1, MAX_GRID, longest=3))
        if self.unroll is not None and not (_is_int(self.unroll) and 1 <= self.unroll <= MAX_UNROLL):
            raise _refused("unroll", f"must be an int from 1 to {MAX_UNROLL}", self.unroll)
        lanes = self.vectorize
        if not (lanes is None or isinstance(lanes, bool) or (_is_int(lanes) and lanes in VECTOR_LANES)):
            raise _refused("vectorize", f"must be True, False or one of {VECTOR_LANES}", self.vectorize)
        self._check_block()

    def _check_block(self) -> None:
        product = 1
        for size in self.threads or ():
            product *= size
        if product > MAX_THREADS:
            raise _refused("threads", f"must not have more than {MAX_THREADS} threads in all", self.threads)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> MappingOptions:
        raw: dict[str, Any] = json.loads(text)
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}
        return cls(**fields)


PRESETS: dict[str, MappingOptions] = {
    "default": MappingOptions(),
    "naive": MappingOptions(tile=(32, 32, 32), threads=(32, 8), blocks=(256, 256), unroll=1, vectorize=False),
    "pointwise": MappingOptions(threads=(32, 4, 4), blocks=(100, 100, 100), unroll=128),
    "mlp": MappingOptions(tile=(1,), threads=(128,), blocks=(128,), fusion="max"),
    "conv": MappingOptions(tile=(4, 8, 8, 8), threads=(4, 16, 4), blocks=(256, 256, 256)),
    "group_conv": MappingOptions(tile=(1, 1), threads=(4, 16, 4), blocks=(256, 256)),
}


def options_of(options: MappingOptions | str | None) -> MappingOptions:
    """The record for what a user passed: a record, a preset's name, or None for the default.

    >>> options_of("naive").tile
    (32, 32, 32)
    """
    if options is None:
        return PRESETS["default"]
    if isinstance(options, MappingOptions):
        return options
    given: object = options
    if isinstance(given, str) and given in PRESETS:
        return PRESETS[given]
    known = ", ".join(repr(name) for name in PRESETS)
    raise ComprehensionError(f"options: expected a MappingOptions or one of {known}, found {options!r}")
