"""Running: a loaded kernel's stages on buffers at given addresses.

In: a manifest, its loaded object, addresses and strides of arrays that were checked before.  Out: written outputs.
Invariant: what a stage is promised besides its arrays holds (workspace, aligned scratch of the calling thread, an
error record of this call); an error code becomes a ComprehensionError; any number of threads may run one kernel.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import numpy as np

from comprehension.errors import ComprehensionError
from comprehension.jit import pool
from comprehension.jit.arrays import Array, address_of
from comprehension.jit.binding import ALIGNMENT, Binding, Bindings, rounded
from comprehension.jit.failure import CompilationError, note_fallback
from comprehension.jit.load import LoadedObject
from comprehension.jit.manifest import Manifest
from comprehension.jit.memory import allocate
from comprehension.layout import Layouts, open_axes

ERROR_WORDS = 8
_Stage = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 5)
_address = ctypes.addressof


class Runner:
    """Machine code for arguments of certain layouts.  `parameters` names the inputs in the caller's order."""

    def __init__(self, manifest: Manifest, loaded: LoadedObject, parameters: Sequence[str]) -> None:
        self.manifest = manifest
        self.loaded = loaded
        slots = {slot.name: slot for slot in manifest.slots}
        inputs = tuple(slots[name] for name in parameters)
        self.layouts: Layouts = tuple(sorted((s.name, s.layout) for s in manifest.slots if s.layout is not None))
        self.bindings = Bindings(manifest, loaded.addresses, inputs)
        kinds = {kind: [s for s in manifest.slots if s.kind == kind] for kind in ("output", "workspace")}
        places = {slot.name: ("input", number) for number, slot in enumerate(inputs)}
        places |= {s.name: (kind, number) for kind, of in kinds.items() for number, s in enumerate(of)}
        self._order = tuple(places[slot.name] for slot in manifest.slots)
        self.buffer_of = {slot.name: number for number, slot in enumerate(manifest.slots)}
        self._open = tuple(
            (*places[slot.name], axis)
            for slot in manifest.slots
            if slot.layout is not None
            for axis in open_axes(slot.layout)
        )
        self._dims_type = ctypes.c_int64 * (len(manifest.sizes) + len(self._open) + 1)
        self._addresses_type = ctypes.c_int64 * (len(manifest.slots) + 1)
        addresses = [loaded.addresses[stage.symbol] for stage in manifest.stages]
        self._stages = {address: _Stage(address) for address in addresses}
        self._local = threading.local()

    def run_strided(self, binding: Binding, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Runs the stages on arrays of this runner's layouts."""
        dims = self.dims_of(binding, inputs, outputs)
        self.run(binding, [address_of(a) for a in inputs], [address_of(a) for a in outputs], _address(dims))

    def dims_of(
        self, binding: Binding, inputs: Sequence[Array], outputs: Sequence[Array]
    ) -> ctypes.Array[ctypes.c_int64]:
        """What stages read as their `dims` (see `jit.manifest`)."""
        arrays = {"input": inputs, "output": outputs}
        strides = [arrays[of][number].strides[axis] // arrays[of][number].itemsize for of, number, axis in self._open]
        return self._dims_type(*binding.sizes, *strides)

    def run(self, binding: Binding, sources: Sequence[int], targets: Sequence[int], dims: int) -> None:
        """Runs the stages on inputs and outputs at these addresses."""
        workspace = 0
        if binding.workspace_bytes:
            block = allocate((binding.workspace_bytes + ALIGNMENT,), np.uint8)
            workspace = rounded(address_of(block))
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
            code = self._stages[binding.serial_address](_address(buffers), dims, scratch, 0, extent)
        elif len(binding.table) == 0:  # empty sizes
            code = 0
        else:
            code = self._run_stages(binding, _address(buffers), dims, scratch)
        if code:
            raise self.error(code & 0xFFFFFFFF, list(record))

    def _run_stages(self, binding: Binding, buffers: int, dims: int, scratch: int) -> int:
        try:
            workers = pool.current()
        except CompilationError as reason:
            note_fallback("no worker pool", f"{reason}; stages run one after the other on one thread")
            return self._run_without_pool(binding, buffers, dims, scratch)
        return int(
            workers.run_stages(workers.address, binding.table_address, len(binding.table), buffers, dims, scratch)
        )

    def _run_without_pool(self, binding: Binding, buffers: int, dims: int, scratch: int) -> int:
        for address, extent, *_ in binding.table.tolist():
            code: int = self._stages[address](buffers, dims, scratch, 0, extent)
            if code:
                return code
        return 0

    def _scratch(self, size: int) -> int:
        """This thread's scratch memory, grown to `size` and kept."""
        if getattr(self._local, "size", 0) < size:
            self._local.block = allocate((size + ALIGNMENT,), np.uint8)
            self._local.start = rounded(address_of(self._local.block))
            self._local.size = size
        start: int = self._local.start
        return start

    def error(self, code: int, record: Sequence[int]) -> ComprehensionError:
        """What a check found: its message, the subscript and the size that it had to stay below."""
        name, errors = self.manifest.name, self.manifest.errors
        if not 0 < code <= len(errors):
            return ComprehensionError(f"{name}: the kernel returned code {code}, which its manifest does not know")
        outside = errors[code - 1]
        return ComprehensionError(f"{name}: {outside.seen(record[2], record[3])}", about=outside)
