"""Bindings: what the shapes of a call's inputs decide, evaluated once and kept.

In: a manifest, the shapes of the inputs, the values of scalar parameters.  Out: a `Binding`.
Invariant: a binding exists only for shapes that agree with the kernel and with each other and meet its
preconditions; it stands for every later call with these shapes, unless scalars take part in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from comprehension.config import config
from comprehension.errors import ComprehensionError, listed
from comprehension.jit.arrays import Array
from comprehension.jit.expression import Number, evaluate, names_in
from comprehension.jit.manifest import BufferSlot, Manifest, StageEntry
from comprehension.kernel.size_text import escaped
from comprehension.lang.limits import check_shape
from comprehension.lang.types import ScalarType

ALIGNMENT = 64
MAX_BINDINGS = 1024
_ROW_WORDS = 6
DOUBT = 8  # by how much the model may underestimate a stage: those that may be worth dividing are measured as they run

Shape = tuple[int, ...]
Environment = Mapping[str, Number]


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """An output to make or to expect; a `zeroed` one is not written everywhere."""

    shape: Shape
    dtype: np.dtype[Any]
    zeroed: bool

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """What the shapes decide: outputs, workspace, dims, and each stage's range.

    `table` has six words a stage, as `pool_loops.run_stages` reads (and, of the time it takes, writes) them: address,
    extent, grain, scratch bytes, estimated nanoseconds or 0 where it is never divided, and the least that is worth
    dividing; stages without units are left out.  `serial_extent` is set where one serial call, of the stage at
    `serial_address`, is all there is to do.
    """

    outputs: tuple[OutputPlan, ...]
    workspace: tuple[int, ...]  # byte offsets in one block
    workspace_bytes: int
    scratch_bytes: int
    sizes: tuple[int, ...]
    dims: Array  # the sizes: all there is of dense arguments
    table: Array
    dims_address: int
    table_address: int
    serial_extent: int | None
    serial_address: int
    threads: int  # the settings that `table` was made under
    parallel_ns: float

    def is_current(self) -> bool:
        """Whether the settings are still those that it was made under."""
        return self.threads == config.threads and self.parallel_ns == config.parallel_ns


class Bindings:
    """The bindings of one kernel; `inputs` are its slots in the order of the caller's arguments."""

    def __init__(self, manifest: Manifest, addresses: Mapping[str, int], inputs: Sequence[BufferSlot]) -> None:
        self._manifest = manifest
        self._addresses = addresses
        self._inputs = tuple(inputs)
        self._sizes = {escaped(name): name for name in manifest.sizes}
        self.scalars_matter = self._names_a_scalar()
        self._known: dict[tuple[Shape, ...], Binding] = {}

    def find(self, shapes: tuple[Shape, ...], arrays: Sequence[Array]) -> Binding:
        """The binding of these shapes (and of the scalars among `arrays`, if any expression names one).

        Raises ComprehensionError for shapes that the kernel was not made for and for a precondition that fails.
        """
        known = self._known.get(shapes)
        return known if known is not None and known.is_current() else self._bind(shapes, arrays)

    def _bind(self, shapes: tuple[Shape, ...], arrays: Sequence[Array]) -> Binding:
        environment = self._bind_sizes(shapes)
        self._check_shapes(shapes, environment)
        environment |= {s.name: a.item() for s, a in zip(self._inputs, arrays, strict=True) if s.kind == "scalar"}
        for condition, message in self._manifest.preconditions:
            if not evaluate(condition, environment):
                raise ComprehensionError(f"{self._manifest.name}: {message}{listed(environment)}", about=message)
        binding = self._evaluate(environment)
        if not self.scalars_matter:
            if len(self._known) >= MAX_BINDINGS:
                self._known.clear()
            self._known[shapes] = binding
        return binding

    def _bind_sizes(self, shapes: tuple[Shape, ...]) -> dict[str, Number]:
        """The symbolic sizes, each from the first dimension that it names."""
        sizes: dict[str, Number] = {}
        for slot, shape in zip(self._inputs, shapes, strict=True):
            if slot.kind == "scalar":
                continue
            label = f"{self._manifest.name}: {slot.name}"
            if len(shape) != len(slot.shape):
                raise ComprehensionError(
                    f"{label}: expected {len(slot.shape)} dimensions, found {len(shape)}: shape {shape}",
                    about=slot.name,
                )
            for axis, (wanted, found) in enumerate(zip(slot.shape, shape, strict=True)):
                size = self._sizes.get(wanted) if isinstance(wanted, str) else None
                if size is not None and sizes.setdefault(size, found) != found:
                    raise ComprehensionError(
                        f"{label}: {size} is {found} here (dimension {axis}) and {sizes[size]} in an earlier input",
                        about=slot.name,
                    )
        return sizes

    def _check_shapes(self, shapes: tuple[Shape, ...], sizes: Environment) -> None:
        for slot, shape in zip(self._inputs, shapes, strict=True):
            if slot.kind == "scalar":
                continue
            expected = tuple(evaluate(extent, sizes) for extent in slot.shape)
            if expected != shape:
                advice = "" if self._manifest.sizes else "; compile one for these sizes, or a symbolic one"
                raise ComprehensionError(
                    f"{self._manifest.name}: {slot.name}: this kernel was compiled for shape {expected},"
                    f" found {shape}{advice}",
                    about=slot.name,
                )

    def _names_a_scalar(self) -> bool:
        """Whether any expression of the manifest names a scalar: then a binding serves one call only."""
        manifest = self._manifest
        scalars = {slot.name for slot in self._inputs if slot.kind == "scalar"}
        if not scalars:
            return False
        values: list[int | float | str] = [extent for slot in manifest.slots for extent in slot.shape]
        values += [value for stage in manifest.stages for value in (stage.extent, stage.work)]
        values += [manifest.scratch_bytes, *(condition for condition, _ in manifest.preconditions)]
        return any(scalars & names_in(value) for value in values)

    def _evaluate(self, environment: Environment) -> Binding:
        manifest = self._manifest
        outputs = tuple(self._output(slot, environment) for slot in manifest.slots if slot.kind == "output")
        offsets: list[int] = []
        size = 0
        for slot in manifest.slots:
            if slot.kind == "workspace":
                offsets.append(size)
                shape = _shape(slot, environment)
                check_shape(f"{manifest.name}: temporary {slot.name}", shape, ScalarType(slot.dtype), slot.name)
                elements = prod(max(0, extent) for extent in shape)
                size += rounded(elements * ScalarType(slot.dtype).numpy.itemsize)
        scratch = int(evaluate(manifest.scratch_bytes, environment))
        rows = [self._row(stage, environment, scratch) for stage in manifest.stages]
        rows = [row for row in rows if row[1] > 0]
        table = np.array(rows, np.int64).reshape(len(rows), _ROW_WORDS)
        sizes = tuple(int(environment[name]) for name in manifest.sizes)
        dims = np.array([*sizes, 0], np.int64)
        alone = int(table[0, 1]) if len(rows) == 1 and not table[0, 4] else None
        return Binding(
            outputs, tuple(offsets), size, scratch, sizes, dims, table, dims.ctypes.data, table.ctypes.data, alone,
            rows[0][0] if rows else 0,
            config.threads, config.parallel_ns,
        )  # fmt: skip

    def _output(self, slot: BufferSlot, environment: Environment) -> OutputPlan:
        shape = _shape(slot, environment)
        if any(extent < 0 for extent in shape):
            raise ComprehensionError(f"{self._manifest.name}: {slot.name} would have shape {shape}", about=slot.name)
        check_shape(f"{self._manifest.name}: {slot.name}", shape, ScalarType(slot.dtype), slot.name)
        return OutputPlan(shape, ScalarType(slot.dtype).numpy, slot.reads_initial)

    def _row(self, stage: StageEntry, environment: Environment, scratch: int) -> list[int]:
        extent = int(evaluate(stage.extent, environment))
        work = float(evaluate(stage.work, environment)) * extent
        may_divide = config.threads > 1 and extent > 1 and work >= config.parallel_ns / DOUBT
        least = int(config.parallel_ns)
        estimate = max(1, int(work)) if may_divide else 0
        return [self._addresses[stage.symbol], extent, stage.grain, scratch, estimate, least]


def rounded(size: int) -> int:
    """The next multiple of a cache line.

    >>> rounded(1), rounded(64)
    (64, 64)
    """
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def _shape(slot: BufferSlot, environment: Environment) -> Shape:
    return tuple(int(evaluate(extent, environment)) for extent in slot.shape)
