"""What a plan consists of before it is numbers: instructions over named places.

In: written by `sequence`.  Out: read by `buffers` (who is alive when) and `plan` (which makes words of them).
Invariant: a place is written before it is read on every path that Python can validate; jumps go to blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from coexec.graph.symbolic import Constant, Dim, Feed, Output
from comprehension.lang.types import ScalarType

# --- places: what holds an address while a step runs ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PhiSlot:
    """What a phi holds on the path taken."""

    slot: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A weak scalar converted to the type that a kernel takes it in."""

    source: Feed | Constant
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class Workspace:
    """Memory that one kernel uses between its stages."""

    kernel: int
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """What `source`, of the shape `whole`, holds where its outer dimensions are at `index`."""

    source: Output | Feed | PhiSlot
    index: tuple[int, ...]
    whole: tuple[Dim, ...]
    dtype: ScalarType


Place = Output | Feed | PhiSlot | Scalar | Workspace | Row


@dataclass(frozen=True, slots=True)
class Sizes:
    """The moment when all these symbols are bound, and what depends on them is in place."""

    symbols: frozenset[str]


# --- instructions -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Await:
    """Wait until Python has sent this."""

    what: Feed | Sizes


@dataclass(frozen=True, slots=True)
class Launch:
    """Run the stages of a kernel; `buffers` in the order of its manifest's slots."""

    kernel: int
    buffers: tuple[Place, ...]
    reads: tuple[Place, ...]
    writes: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Clear:
    """Fill with zeros what a kernel then writes in part."""

    target: Output


@dataclass(frozen=True, slots=True)
class Move:
    """`target` is where `source` is, from here on; a row so many bytes behind that."""

    target: Output | PhiSlot | Row
    source: Output | Feed | PhiSlot


@dataclass(frozen=True, slots=True)
class Copy:
    """The contents of `source` go to `target`'s own memory."""

    target: Output | PhiSlot
    source: Output | PhiSlot


@dataclass(frozen=True, slots=True)
class Post:
    """Tell Python that `source` is there."""

    source: Output


@dataclass(frozen=True, slots=True)
class Jump:
    block: int


@dataclass(frozen=True, slots=True)
class Choose:
    """Wait for a choice word; go on with one of `blocks`."""

    case: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    pass


Instruction = Await | Launch | Clear | Move | Copy | Post | Jump | Choose | Stop


def reads_of(instruction: Instruction) -> tuple[Place, ...]:
    """The places whose contents an instruction reads."""
    match instruction:
        case Launch(reads=reads):
            return reads
        case Copy(source=source) | Post(source=source):
            return (source,)
        case Await() | Clear() | Move() | Jump() | Choose() | Stop():
            return ()
        case _:
            assert_never(instruction)


def writes_of(instruction: Instruction) -> tuple[Place, ...]:
    """The places whose contents an instruction writes."""
    match instruction:
        case Launch(writes=writes):
            return writes
        case Copy(target=target) | Clear(target=target):
            return (target,)
        case Await() | Move() | Post() | Jump() | Choose() | Stop():
            return ()
        case _:
            assert_never(instruction)


def to_text(instruction: Instruction) -> str:
    """One line for people."""
    match instruction:
        case Await(what=what):
            names = f"feed{what.slot}" if isinstance(what, Feed) else f"sizes {', '.join(sorted(what.symbols))}"
            return f"await {names}"
        case Launch(kernel, _, reads, writes):
            return f"run kernel {kernel}: {_places(reads)} -> {_places(writes)}"
        case Clear(target):
            return f"clear {_place(target)}"
        case Move(target, source):
            return f"{_place(target)} is {_place(source)}"
        case Copy(target, source):
            return f"{_place(target)} := {_place(source)}"
        case Post(source):
            return f"post {_place(source)}"
        case Jump(block):
            return f"goto block {block}"
        case Choose(case, blocks):
            return f"case {case} -> {', '.join(map(str, blocks))}"
        case Stop():
            return "end"
        case _:
            assert_never(instruction)


def _places(places: tuple[Place, ...]) -> str:
    return ", ".join(map(_place, places))


def _place(place: Place) -> str:
    match place:
        case Output(node, index):
            return f"%{node}" if index == 0 else f"%{node}.{index}"
        case Feed(slot=slot):
            return f"feed{slot}"
        case PhiSlot(slot):
            return f"phi{slot}"
        case Scalar(source=source, dtype=dtype):
            return f"{dtype}({repr(source.value) if isinstance(source, Constant) else f'feed{source.slot}'})"
        case Workspace(kernel, name):
            return f"workspace {kernel}.{name}"
        case Row(source=source, index=index):
            return f"{_place(source)}{[*index]}"
        case _:
            assert_never(place)
