"""The manifest: what the program must know about an object file to call it.

In: made by the compiler process beside each object file.  Out: JSON in the cache entry, read by
`jit.load`, `jit.launch` and by co-execution's plans.
Invariant: `from_json(to_json(m)) == m`; every entry point has the one C signature

    int64 stage(void **buffers, int64 *dims, void *scratch, int64 lo, int64 hi)

`buffers`: one pointer per `BufferSlot`, in order (a scalar parameter: pointer to its one element), then the
error record (8 int64, written before a nonzero return: code, code, subscript seen, size it must stay below).
`dims`: the symbolic sizes in order, then for each slot with a layout
the strides of its open axes, in elements.
`scratch`: `scratch_bytes` of 64-byte aligned memory, private to the calling worker.
`lo, hi`: the chunk of the stage's range to run.  Returns 0, or an index into `errors` plus 1.
A kernel calls nothing outside itself but the functions on `load.ALLOWED_SYMBOLS`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from comprehension.kernel.outside import Outside
from comprehension.layout import Layout, layout_from_data

SlotKind = Literal["input", "output", "workspace", "scalar"]


@dataclass(frozen=True, slots=True)
class BufferSlot:
    """`shape` holds ints, or integer expressions over sizes and scalars (`kernel.size_text`: `"N*2+1"`).

    An output that `reads_initial` must hold the caller's contents (`out=`) if `accumulates`; otherwise only
    part of it is written, and a fresh one starts as zeros.
    """

    name: str
    kind: SlotKind
    dtype: str
    shape: tuple[int | str, ...]
    layout: Layout | None = None  # what is known of the strides; None: dense rows
    reads_initial: bool = False  # an output whose incoming contents matter
    accumulates: bool = False  # and are the caller's: there is no result without `out=`


@dataclass(frozen=True, slots=True)
class StageEntry:
    """`extent`: how many units [0, extent) the stage's range has (int or text over sizes); 1 if serial.

    `work`: estimated nanoseconds for one unit (text over sizes if symbolic): decides on serial running.
    """

    symbol: str
    extent: int | str
    grain: int
    work: float | str


@dataclass(frozen=True, slots=True)
class Manifest:
    name: str
    target: str  # "cpu" or "cuda"
    sizes: tuple[str, ...]
    slots: tuple[BufferSlot, ...]
    stages: tuple[StageEntry, ...]
    scratch_bytes: int | str
    preconditions: tuple[tuple[str, str], ...]  # (Python text over sizes and scalars, message)
    errors: tuple[Outside, ...]  # what the nonzero returns say

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        raw = json.loads(text)
        return cls(
            name=raw["name"],
            target=raw["target"],
            sizes=tuple(raw["sizes"]),
            slots=tuple(_slot(slot) for slot in raw["slots"]),
            stages=tuple(StageEntry(**s) for s in raw["stages"]),
            scratch_bytes=raw["scratch_bytes"],
            preconditions=tuple((a, b) for a, b in raw["preconditions"]),
            errors=tuple(Outside(**e) for e in raw["errors"]),
        )


def _slot(raw: dict[str, Any]) -> BufferSlot:
    layout = None if raw["layout"] is None else layout_from_data(raw["layout"])
    return BufferSlot(**{**raw, "shape": tuple(raw["shape"]), "layout": layout})
