"""Launches: from a caller's arrays to a kernel's machine code and back.

In: a manifest, its loaded object, arrays and scalars.  Out: the outputs, allocated here or the caller's own.
Invariant: nothing is written before every check has passed; what a kernel is promised (dense rows, no overlap,
sizes, preconditions, aligned scratch) holds when it runs; an error code becomes a ComprehensionError.

All that follows from the shapes alone is computed once per tuple of shapes and kept (`jit.binding`).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from comprehension.errors import ComprehensionError
from comprehension.jit import pool
from comprehension.jit.arrays import NUMPY, Array, Family, one_family, scalar_of, view_of
from comprehension.jit.binding import ALIGNMENT, Binding, Bindings, rounded
from comprehension.jit.failure import CompilationError, note_fallback
from comprehension.jit.load import LoadedObject
from comprehension.jit.manifest import BufferSlot, Manifest
from comprehension.jit.memory import allocate, allocate_zeroed
from comprehension.lang.types import ScalarType

ERROR_WORDS = 8
_WRITABLE = 0x0501  # and NPY_ARRAY_WRITEABLE
_DENSE = 0x0101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAYALIGNMENTED: what generated loads rely on
_Stage = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 5)
_address = ctypes.addressof
_byte_at: Any = ctypes.c_char.from_buffer


class Launcher:
    """Calls one kernel.  `parameters` names the inputs in the caller's order, scalars among them."""

    def __init__(self, manifest: Manifest, loaded: LoadedObject, parameters: Sequence[str]) -> None:
        self.manifest = manifest
        self.loaded = loaded
        slots = {slot.name: slot for slot in manifest.slots}
        self._inputs = tuple(slots[name] for name in parameters)
        self._outputs = tuple(slot for slot in manifest.slots if slot.kind == "output")
        self._workspaces = tuple(slot for slot in manifest.slots if slot.kind == "workspace")
        self._dtypes = tuple(ScalarType(slot.dtype).numpy for slot in self._inputs)
        self._only_arrays = all(slot.kind == "input" for slot in self._inputs)
        self._order = tuple(self._position(slot, parameters) for slot in manifest.slots)
        self._addresses_type = ctypes.c_int64 * (len(manifest.slots) + 1)
        self._stages = tuple(_Stage(loaded.addresses[stage.symbol]) for stage in manifest.stages)
        self._bindings = Bindings(manifest, loaded.addresses, self._inputs)
        self._local = threading.local()

    def __call__(self, inputs: Sequence[Any], out: Any = None) -> Any:
        """Runs the kernel.

        Raises ComprehensionError for arguments that it was not made for, a precondition that does not hold,
        an output that overlaps, and what the kernel's own checks find.
        """
        if self._are_plain(inputs):
            return self._launch(inputs, NUMPY, out)
        views, family = self._views(inputs)
        return self.launch(views, family, out)

    def launch(self, views: Sequence[Array], family: Family, out: Any = None) -> Any:
        """Runs the kernel on views of the right number and types (scalars: arrays of one element)."""
        return self._launch([view if _is_dense(view) else _dense_copy(view) for view in views], family, out)

    def _launch(self, arrays: Sequence[Array], family: Family, out: Any) -> Any:
        shapes = tuple([array.shape for array in arrays])
        binding = self._bindings.find(shapes, arrays)
        sources = [_address_of(array) for array in arrays]
        if out is None:
            outputs = self._fresh_outputs(binding)
            self._run(binding, sources, [_address_of(output) for output in outputs])
            results = outputs if family is NUMPY else [family.wrap(output) for output in outputs]
            return results[0] if len(results) == 1 else tuple(results)
        quick = self._quick_target(binding, out, arrays, sources, family)
        if quick:
            self._run(binding, sources, [quick])
            return out
        targets = self._targets(binding, out, arrays, family)
        outputs = [t if _is_dense(t) else _dense_copy(t) for t in targets]
        self._run(binding, sources, [_address_of(output) for output in outputs])
        for target, output in zip(targets, outputs, strict=True):
            if target is not output:
                np.copyto(target, output)
        return out

    # --- inputs -----------------------------------------------------------------------------------------------

    def _position(self, slot: BufferSlot, parameters: Sequence[str]) -> tuple[str, int]:
        """Where a slot's address comes from: ("input" | "output" | "workspace", number)."""
        if slot.kind == "output":
            return ("output", self._outputs.index(slot))
        if slot.kind == "workspace":
            return ("workspace", self._workspaces.index(slot))
        return ("input", tuple(parameters).index(slot.name))

    def _are_plain(self, inputs: Sequence[Any]) -> bool:
        """Whether all are dense NumPy arrays of the right types (the usual case, checked quickly)."""
        if len(inputs) != len(self._dtypes) or not self._only_arrays:
            return False
        for value, dtype in zip(inputs, self._dtypes):  # noqa: B905 - lengths were compared
            if type(value) is not np.ndarray or value.dtype is not dtype or value.flags.num & _DENSE != _DENSE:
                return False
        return True

    def _views(self, inputs: Sequence[Any]) -> tuple[list[Array], Family]:
        name = self.manifest.name
        if len(inputs) != len(self._inputs):
            names = ", ".join(slot.name for slot in self._inputs)
            raise ComprehensionError(f"{name}: expected {len(self._inputs)} arguments ({names}), found {len(inputs)}")
        arrays: list[Array] = []
        families: list[Family] = []
        for slot, dtype, value in zip(self._inputs, self._dtypes, inputs, strict=True):
            label = f"{name}: {slot.name}"
            if slot.kind == "scalar":
                arrays.append(scalar_of(value, ScalarType(slot.dtype), label))
                continue
            view, family = view_of(value, label)
            if view.dtype != dtype:
                raise ComprehensionError(f"{label}: expected {dtype}, found {view.dtype} (arrays are never converted)")
            families.append(family)
            arrays.append(view)
        return arrays, one_family(families)

    # --- outputs --------------------------------------------------------------------------------------------------

    def _fresh_outputs(self, binding: Binding) -> list[Array]:
        for slot in self._outputs:
            if slot.accumulates:
                raise ComprehensionError(
                    f"{self.manifest.name}: {slot.name} accumulates into the caller's array: pass it as out=, or"
                    " write the reduction with ! to start from its identity"
                )
        try:
            return [
                allocate_zeroed(plan.shape, plan.dtype) if plan.zeroed else allocate(plan.shape, plan.dtype)
                for plan in binding.outputs
            ]
        except (MemoryError, ValueError) as reason:
            shapes = ", ".join(str(plan.shape) for plan in binding.outputs)
            raise ComprehensionError(f"{self.manifest.name}: no memory for outputs of shape {shapes}") from reason

    def _quick_target(
        self, binding: Binding, out: Any, arrays: Sequence[Array], sources: Sequence[int], family: Family
    ) -> int:
        """The address of the one output where it is plainly right: dense, and apart from every input; or 0."""
        if type(out) is not np.ndarray or len(binding.outputs) != 1 or family is not NUMPY:
            return 0
        plan = binding.outputs[0]
        if out.shape != plan.shape or out.dtype is not plan.dtype or out.flags.num & _WRITABLE != _WRITABLE:
            return 0
        start = _address_of(out)
        end = start + out.nbytes
        for array, source in zip(arrays, sources):  # noqa: B905 - made from each other
            if source < end and start < source + array.nbytes:
                return 0
        return start

    def _targets(self, binding: Binding, out: Any, arrays: Sequence[Array], family: Family) -> list[Array]:
        """The caller's output arrays, checked: number, type, shape, writable, no overlap."""
        values = out if isinstance(out, tuple) else (out,)
        name = self.manifest.name
        if len(values) != len(self._outputs):
            raise ComprehensionError(f"{name}: out= has {len(values)} arrays, the results are {len(self._outputs)}")
        targets: list[Array] = []
        for slot, value, plan in zip(self._outputs, values, binding.outputs, strict=True):
            label = f"{name}: out={slot.name}"
            target, kind = (value, NUMPY) if type(value) is np.ndarray else view_of(value, label)
            if kind.name != family.name and arrays:
                raise ComprehensionError(f"{label} is an array of {kind.name}, the inputs are of {family.name}")
            if target.dtype != plan.dtype or target.shape != plan.shape:
                raise ComprehensionError(
                    f"{label}: expected {plan.dtype} of shape {plan.shape},"
                    f" found {target.dtype} of shape {target.shape}"
                )
            if not target.flags.writeable:
                raise ComprehensionError(f"{label} is read-only")
            targets.append(target)
        self._check_overlap(targets, arrays)
        return targets

    def _check_overlap(self, targets: Sequence[Array], arrays: Sequence[Array]) -> None:
        for number, target in enumerate(targets):
            names = [slot.name for slot in self._inputs] + [slot.name for slot in self._outputs[:number]]
            for name, other in zip(names, [*arrays, *targets[:number]], strict=True):
                if _overlap(target, other):
                    raise ComprehensionError(
                        f"{self.manifest.name}: out={self._outputs[number].name} overlaps {name}; pass a copy of one"
                    )
            if 0 in target.strides and target.size > 1 and _overlaps_itself(target):
                raise ComprehensionError(f"{self.manifest.name}: out={self._outputs[number].name} overlaps itself")

    # --- running --------------------------------------------------------------------------------------------------

    def _run(self, binding: Binding, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Runs the stages on inputs and outputs at these addresses."""
        workspace = 0
        if binding.workspace_bytes:
            block = allocate((binding.workspace_bytes + ALIGNMENT,), np.uint8)
            workspace = rounded(_address_of(block))
        record = (ctypes.c_int64 * ERROR_WORDS)()
        addresses: list[int] = []
        for kind, number in self._order:
            if kind == "input":
                addresses.append(sources[number])
            elif kind == "output":
                addresses.append(targets[number])
            else:
                addresses.append(workspace + binding.workspace[number])
        buffers = self._addresses_type(*addresses, _address(record))
        scratch = self._scratch(binding.scratch_bytes) if binding.scratch_bytes else 0
        extent = binding.serial_extent
        if extent is not None:
            stage = self._stages[0]
            code = stage(_address(buffers), binding.dims_address, scratch, 0, extent) if extent > 0 else 0
        elif len(binding.table) == 0:  # empty sizes
            code = 0
        else:
            code = self._run_stages(binding, _address(buffers), scratch)
        if code:
            raise ComprehensionError(self._message(code & 0xFFFFFFFF, list(record)))

    def _run_stages(self, binding: Binding, buffers: int, scratch: int) -> int:
        try:
            workers = pool.current()
        except CompilationError as reason:
            note_fallback("no worker pool", f"{reason}; stages run one after the other on one thread")
            return self._run_without_pool(binding, buffers, scratch)
        return int(
            workers.run_stages(
                workers.address, binding.table_address, len(binding.table), buffers, binding.dims_address, scratch
            )
        )

    def _run_without_pool(self, binding: Binding, buffers: int, scratch: int) -> int:
        for stage, row in zip(self._stages, binding.table, strict=True):
            code: int = stage(buffers, binding.dims_address, scratch, 0, int(row[1])) if row[1] > 0 else 0
            if code:
                return code
        return 0

    def _scratch(self, size: int) -> int:
        """This thread's scratch memory, grown to `size` and kept."""
        if getattr(self._local, "size", 0) < size:
            self._local.block = allocate((size + ALIGNMENT,), np.uint8)
            self._local.start = rounded(_address_of(self._local.block))
            self._local.size = size
        start: int = self._local.start
        return start

    def _message(self, code: int, record: Sequence[int]) -> str:
        """What a check found: its message, the subscript and the size that it had to stay below."""
        errors = self.manifest.errors
        if not 0 < code <= len(errors):
            return f"{self.manifest.name}: the kernel returned code {code}, which its manifest does not know"
        return f"{self.manifest.name}: {errors[code - 1]}: {record[2]}, where 0 to {record[3] - 1} are allowed"


def _address_of(array: Array) -> int:
    """The address of an array's first element (a fourth of the price of `array.ctypes.data`)."""
    try:
        return _address(_byte_at(array))
    except (TypeError, ValueError, BufferError):  # read-only or empty
        return int(array.ctypes.data)


def _is_dense(array: Array) -> bool:
    return array.flags.num & _DENSE == _DENSE and array.dtype.isnative


def _dense_copy(array: Array) -> Array:
    """A C-contiguous native copy from the caching allocator (strided inputs are rare, kernels' rows are dense)."""
    copy = allocate(array.shape, array.dtype.newbyteorder("="))
    np.copyto(copy, array)
    return copy


def _overlap(first: Array, second: Array) -> bool:
    """Whether two arrays share an element; interleaved views do not."""
    if not np.may_share_memory(first, second):
        return False
    try:
        # Exact within this much work (NumPy's stubs know two of its values only).
        return np.shares_memory(first, second, max_work=100_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def _overlaps_itself(array: Array) -> bool:
    return any(stride == 0 and extent > 1 for stride, extent in zip(array.strides, array.shape, strict=True))
