"""Accesses that mind the caches: what is written past them, and what is asked for ahead.

In: a kernel and the machine.  Out: the same kernel with some stores `streaming` and some loads `ahead`, and
the reasons in words.
Invariant: values, order and addresses are untouched; only whole vectors that the loops walk through once are
marked; a stage whose footprint is not known when it is compiled keeps plain accesses.

A plain store reads its line from memory first and pushes another one out of the caches later.  Where what a
stage touches is gone from the last cache before anybody can read it again, both are for nothing: a stream of
stores that go around the caches copies 1.6 times as fast.  The lines that are read on the way then come late:
processors fetch ahead by themselves, but not far enough beside such stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

from comprehension.kernel import ir
from comprehension.kernel.rewrite import rewrite
from comprehension.kernel.simplify import Linear, Ranges, bounds_of, linear, varies_with
from comprehension.kernel.walk import accesses_in
from comprehension.machine import Machine

AHEAD_BYTES = 2048  # some 100 ns of copying: what memory takes to answer
KEPT_SHARE = 2  # the last cache serves other cores, too: half of it counts

_SHARED = (ir.Space.INPUT, ir.Space.OUTPUT, ir.Space.WORKSPACE)


@dataclass(frozen=True, slots=True)
class Placed:
    """The kernel, and what was decided for each stage."""

    kernel: ir.Kernel
    notes: tuple[str, ...]


def place_accesses(kernel: ir.Kernel, machine: Machine) -> Placed:
    """Marks the streaming stores and the loads ahead of each stage."""
    stages, notes = [], []
    for stage in kernel.stages:
        marked, note = _Marker(kernel, machine).stage(stage)
        stages.append(marked)
        notes.append(f"{stage.name}: {note}")
    return Placed(replace(kernel, stages=tuple(stages)), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Around:
    """The loops and then the tile axes around a place, with how often each runs (None: unknown)."""

    loops: tuple[tuple[str, int | None], ...] = ()
    axes: tuple[tuple[str, int | None], ...] = ()
    ranges: Ranges = field(default_factory=dict)

    def loop(self, loop: ir.Loop) -> _Around:
        low, _ = bounds_of(linear(loop.lower), self.ranges)
        _, high = bounds_of(linear(loop.upper), self.ranges)
        count = None if low is None or high is None else max(0, -(-(high - low) // loop.step))
        ranges = {**self.ranges, loop.variable: (low, None if high is None else high - 1)}
        return _Around((*self.loops, (loop.variable, count)), (), ranges)

    def tile(self, tile: ir.Tile) -> _Around:
        axes = [axis for axis in (tile.rows, tile.lanes) if axis is not None]
        return replace(self, axes=tuple((axis.variable, axis.extent) for axis in axes))

    def all(self) -> tuple[tuple[str, int | None], ...]:
        return (*self.loops, *self.axes)


@dataclass(slots=True)
class _Marker:
    """Marks one stage: first its footprint, then its accesses."""

    kernel: ir.Kernel
    machine: Machine
    _bytes: dict[str, int | None] = field(default_factory=dict)  # by buffer, what the stage touches of it
    _read: set[str] = field(default_factory=set)
    _streamed: set[str] = field(default_factory=set)
    _ahead: dict[str, int] = field(default_factory=dict)  # by buffer, the distance in bytes

    def stage(self, stage: ir.Stage) -> tuple[ir.Stage, str]:
        around = _Around() if stage.parallel is None else _Around().loop(stage.parallel)
        self._measure(stage.body, around)
        sizes = [size for size in self._bytes.values() if size is not None]
        if len(sizes) < len(self._bytes):
            return stage, "plain accesses: sizes are not known yet"
        footprint, kept = sum(sizes), self.machine.l3_bytes // KEPT_SHARE
        if footprint <= kept:
            return stage, f"plain accesses: {_size(footprint)} fit half of the last cache ({_size(kept)})"
        body = tuple(self._marked(node, around) for node in stage.body)
        return replace(stage, body=body), self._note(footprint, kept)

    def _note(self, footprint: int, kept: int) -> str:
        parts = [f"{_size(footprint)} do not fit half of the last cache ({_size(kept)})"]
        if self._streamed:
            parts.append(f"{', '.join(sorted(self._streamed))} written past the caches")
        parts += [f"{name} asked for {_size(far)} ahead" for name, far in sorted(self._ahead.items())]
        return "; ".join(parts)

    # --- the footprint -------------------------------------------------------------------------------

    def _measure(self, body: Sequence[ir.Node], around: _Around) -> None:
        for node in body:
            match node:
                case ir.Loop():
                    self._measure_values((node.lower, node.upper), around)
                    self._measure(node.body, around.loop(node))
                case ir.If():
                    self._measure_values(node.condition, around)
                    self._measure(node.body, around)
                case ir.Tile():
                    self._measure(node.body, around.tile(node))
                case ir.Define() | ir.Store():
                    self._measure_values(node, around)
                case ir.Barrier():
                    pass

    def _measure_values(self, node: object, around: _Around) -> None:
        for access in accesses_in(node):
            buffer = self.kernel.buffer(access.buffer)
            if buffer.space not in _SHARED:
                continue
            if isinstance(access, ir.Load):
                self._read.add(access.buffer)
            touched = self._touched(buffer, access, around)
            before = self._bytes.get(access.buffer, 0)
            self._bytes[access.buffer] = None if touched is None or before is None else max(touched, before)

    def _touched(self, buffer: ir.Buffer, access: ir.Load | ir.Store, around: _Around) -> int | None:
        """Bytes at most: the whole buffer, or one element for each iteration that moves the access."""
        if not all(isinstance(extent, ir.Int) for extent in buffer.shape):
            return None
        whole = prod(extent.value for extent in buffer.shape if isinstance(extent, ir.Int))
        moving = [count for name, count in around.all() if varies_with(access.subscripts, name)]
        known = [count for count in moving if count is not None]
        visits = prod(known) if len(known) == len(moving) else whole
        return min(whole, visits) * buffer.dtype.bits // 8

    # --- marks ---------------------------------------------------------------------------------------

    def _marked(self, node: ir.Node, around: _Around) -> ir.Node:
        match node:
            case ir.Loop():
                inside = around.loop(node)
                return replace(node, body=tuple(self._marked(part, inside) for part in node.body))
            case ir.If():
                return replace(node, body=tuple(self._marked(part, around) for part in node.body))
            case ir.Tile():
                return self._marked_tile(node, around.tile(node))
            case _:
                return node

    def _marked_tile(self, tile: ir.Tile, around: _Around) -> ir.Tile:
        def load(found: ir.Load) -> ir.Load:
            if found.buffer in self._ahead or not self._is_walked(found, around):
                return found
            distance = self._distance(found, around)
            self._ahead[found.buffer] = distance * self.kernel.buffer(found.buffer).dtype.bits // 8
            return replace(found, ahead=distance)

        def store(found: ir.Store) -> ir.Store:
            small = (self._bytes.get(found.buffer) or 0) <= self.machine.l2_bytes  # it does not crowd anything out
            if small or found.buffer in self._read or not self._is_walked(found, around):
                return found
            self._streamed.add(found.buffer)
            return replace(found, streaming=True)

        return rewrite(rewrite(tile, ir.Load, load), ir.Store, store)

    def _is_walked(self, access: ir.Load | ir.Store, around: _Around) -> bool:
        """Whether the loops come to each element once, whole vectors at a time."""
        buffer = self.kernel.buffer(access.buffer)
        if buffer.space not in _SHARED or buffer.strides is not None:
            return False
        offset = self._offset(buffer, access)
        lane, _ = around.axes[-1]
        moves = [(offset.coefficient(ir.Var(name)), count) for name, count in around.all() if count != 1]
        if offset.coefficient(ir.Var(lane)) != 1 or len(offset.terms) > len(around.all()):
            return False
        reach = 0  # elements that the shorter moves cover
        for step, count in sorted(moves, key=lambda move: abs(move[0])):
            if count is None or abs(step) <= reach:
                return False
            reach += abs(step) * (count - 1)
        return True

    def _offset(self, buffer: ir.Buffer, access: ir.Load | ir.Store) -> Linear:
        """The element's number as a linear form, for a buffer of known shape."""
        total, step = Linear(0, ()), 1
        for subscript, extent in zip(reversed(access.subscripts), reversed(buffer.shape), strict=True):
            assert isinstance(extent, ir.Int)
            total = total.plus(linear(subscript), step)
            step *= extent.value
        return total

    def _distance(self, load: ir.Load, around: _Around) -> int:
        """How far ahead to ask, in elements: as far as the innermost loop comes in whole iterations."""
        buffer = self.kernel.buffer(load.buffer)
        offset, wanted = self._offset(buffer, load), AHEAD_BYTES * 8 // buffer.dtype.bits
        steps = [abs(offset.coefficient(ir.Var(name))) for name, count in around.loops if count != 1]
        return -(-wanted // steps[-1]) * steps[-1] if steps else wanted


def _size(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
