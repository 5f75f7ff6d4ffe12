"""Launches: from a caller's arrays to a kernel's machine code and back.

In: a kernel's runner, arrays and scalars.  Out: the outputs, allocated here or the caller's own.
Invariant: nothing is written before every check has passed; what a kernel is promised (strides of its layouts, no
overlap, sizes, preconditions) holds when it runs; arrays are used where they are, whatever their strides.

Arrays like those of an earlier launch go the quick way (`quick`), which machine code checks and launches; what it
turns away comes here.  Dense arrays take a short way here.  Others are run by a variant of the kernel that was compiled
for their layouts, made at first need.  Only what no kernel can address (an element across a word boundary, a foreign
byte order) is copied, and counted in `statistics.copied_arguments`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from comprehension.config import statistics
from comprehension.errors import ComprehensionError
from comprehension.jit.arrays import (
    DENSE,
    NUMPY,
    Array,
    Family,
    address_of,
    is_addressable,
    one_family,
    scalar_of,
    view_of,
)
from comprehension.jit.binding import Binding
from comprehension.jit.memory import SMALLEST, allocate, allocate_zeroed
from comprehension.jit.native_function import native_function
from comprehension.jit.quick import Quick, Ticket, error_of, ticket_for
from comprehension.jit.runner import Runner
from comprehension.jit.targets import Wanted, take_targets
from comprehension.jit.variants import Compile, Variants
from comprehension.lang.types import ScalarType

_WRITABLE = DENSE | 0x0400  # and NPY_ARRAY_WRITEABLE
_MOST_OFFERS = 256  # combinations of arguments whose tickets are kept


class Launcher:
    """Calls one kernel.  `parameters` names the inputs in the caller's order, scalars among them.

    `compile` makes the kernel for other layouts; without it, arrays of other layouts are copied.
    """

    def __init__(self, runner: Runner, parameters: Sequence[str], compile: Compile | None = None) -> None:
        manifest = runner.manifest
        self.manifest = manifest
        self.runner = runner
        slots = {slot.name: slot for slot in manifest.slots}
        self._inputs = tuple(slots[name] for name in parameters)
        self._outputs = tuple(slot for slot in manifest.slots if slot.kind == "output")
        self._dtypes = tuple(ScalarType(slot.dtype).numpy for slot in self._inputs)
        self._only_arrays = all(slot.kind == "input" for slot in self._inputs)
        self._is_dense = not runner.layouts
        self._bindings = runner.bindings
        self._variants = Variants(runner, (*self._inputs, *self._outputs), compile)
        self._offers: dict[tuple[Any, ...], Ticket | None] = {}
        self.ticket: Ticket | None = None  # of the latest launch that came here
        self.quick = Quick()

    def __call__(self, inputs: Sequence[Any], out: Any = None) -> Any:
        """Runs the kernel.

        Raises ComprehensionError for arguments that it was not made for, a precondition that does not hold,
        an output that overlaps, and what the kernel's own checks find.
        """
        call = self.quick.call
        found = call(*inputs, out)
        if found is None:
            return self.launch_slowly(inputs, out)
        if type(found) is bytes:
            raise error_of(call, found)
        return found

    def launch_slowly(self, inputs: Sequence[Any], out: Any = None) -> Any:
        """The same, with every check made here: what quick calls are held against."""
        plain = self._plain(inputs)
        if plain == DENSE and self._is_dense:
            return self._launch_dense(inputs, NUMPY, out)
        if plain:
            return self._launch_strided(inputs, NUMPY, out)
        views, family = self._views(inputs)
        return self.launch(views, family, out)

    def launch(self, views: Sequence[Array], family: Family, out: Any = None) -> Any:
        """Runs the kernel on views of the right number and types (scalars: arrays of one element)."""
        if self._is_dense and all(view.flags.num & DENSE == DENSE and view.dtype.isnative for view in views):
            return self._launch_dense(views, family, out)
        return self._launch_strided(views, family, out)

    def _launch_dense(self, arrays: Sequence[Array], family: Family, out: Any) -> Any:
        """Inputs are dense, as is the kernel."""
        binding = self._bindings.find(tuple([array.shape for array in arrays]), arrays)
        sources = [address_of(array) for array in arrays]
        if out is None:
            outputs = self._fresh_outputs(binding)
            self.runner.run(binding, sources, [address_of(output) for output in outputs], binding.dims_address)
            self._offer(self.runner, binding, arrays, outputs)
            return _results(outputs, family)
        targets = self._quick_targets(binding, out, arrays, sources, family)
        if targets:
            self.runner.run(binding, sources, targets, binding.dims_address)
            self._offer(self.runner, binding, arrays, out if type(out) is tuple else (out,))
            return out
        return self._launch_strided(arrays, family, out)

    def _launch_strided(self, views: Sequence[Array], family: Family, out: Any) -> Any:
        """Inputs and outputs of any strides."""
        shapes = tuple([view.shape for view in views])
        binding = self._bindings.find(shapes, views)
        targets = self._fresh_outputs(binding) if out is None else self._targets(binding, out, views, family)
        arrays = [array if is_addressable(array) else _copied(array) for array in chain(views, targets)]
        runner = self._variants.find(arrays)
        if runner is None:  # no kernel for these strides came about
            arrays = [array if array.flags.c_contiguous else _copied(array) for array in arrays]
            runner = self._variants.find(arrays) or self.runner
        inputs, outputs = arrays[: len(views)], arrays[len(views) :]
        binding = runner.bindings.find(shapes, inputs)
        runner.run_strided(binding, inputs, outputs)
        for target, output in zip(targets, outputs, strict=True):
            if target is not output:
                np.copyto(target, output)
        if all(array is given for array, given in zip(arrays, (*views, *targets), strict=True)):
            self._offer(runner, binding, inputs, outputs)
        return _results(outputs, family) if out is None else out

    def _offer(self, runner: Runner, binding: Binding, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Lets later calls with arguments like these take the quick way."""
        if native_function() is None:
            return
        key = (runner, *[(array.shape, array.strides) for array in chain(inputs, outputs)])
        ticket = self._offers.get(key)
        if ticket is None or not ticket.is_current():
            ticket = self._ticket(runner, binding, inputs, outputs)
            if len(self._offers) >= _MOST_OFFERS:
                self._offers.clear()
            self._offers[key] = ticket
        self.ticket = ticket
        self.quick.add(ticket)

    def _ticket(
        self, runner: Runner, binding: Binding, inputs: Sequence[Array], outputs: Sequence[Array]
    ) -> Ticket | None:
        if runner.bindings.scalars_matter:  # a binding serves one call
            return None
        are_plain = all(output.flags.c_contiguous for output in outputs)
        make = self._maker(binding) if are_plain and not any(slot.accumulates for slot in self._outputs) else None
        taken = list(zip(self._inputs, inputs, strict=True))
        return ticket_for(runner, binding, taken, list(zip(self._outputs, outputs, strict=True)), make)

    def _maker(self, binding: Binding) -> Callable[[], Any]:
        """What makes the results of a call without `out=`."""
        if len(binding.outputs) == 1:
            plan = binding.outputs[0]
            if not plan.zeroed and plan.bytes < SMALLEST:
                return partial(np.empty, plan.shape, plan.dtype)
        return lambda: _results(self._fresh_outputs(binding), NUMPY)

    # --- inputs -----------------------------------------------------------------------------------------------

    def _plain(self, inputs: Sequence[Any]) -> int:
        """DENSE where all are dense NumPy arrays of the right types (the usual case), another value where all are
        such arrays of any strides, 0 otherwise."""
        if len(inputs) != len(self._dtypes) or not self._only_arrays:
            return 0
        found = DENSE
        for value, dtype in zip(inputs, self._dtypes):  # noqa: B905 - lengths were compared
            if type(value) is not np.ndarray or value.dtype is not dtype:
                return 0
            found &= value.flags.num
        return found

    def _views(self, inputs: Sequence[Any]) -> tuple[list[Array], Family]:
        name = self.manifest.name
        if len(inputs) != len(self._inputs):
            names = ", ".join(slot.name for slot in self._inputs)
            concerned = self._inputs[min(len(inputs), len(self._inputs) - 1)].name if self._inputs else None
            raise ComprehensionError(
                f"{name}: expected {len(self._inputs)} arguments ({names}), found {len(inputs)}", about=concerned
            )
        arrays: list[Array] = []
        families: list[Family] = []
        for slot, dtype, value in zip(self._inputs, self._dtypes, inputs, strict=True):
            label = f"{name}: {slot.name}"
            try:
                if slot.kind == "scalar":
                    arrays.append(scalar_of(value, ScalarType(slot.dtype), label))
                    continue
                view, family = view_of(value, label)
            except ComprehensionError as error:
                error.about = slot.name
                raise
            if view.dtype != dtype:
                raise ComprehensionError(
                    f"{label}: expected {dtype}, found {view.dtype} (arrays are never converted)", about=slot.name
                )
            families.append(family)
            arrays.append(view)
        return arrays, one_family(families)

    # --- outputs --------------------------------------------------------------------------------------------------

    def _fresh_outputs(self, binding: Binding) -> list[Array]:
        for slot in self._outputs:
            if slot.accumulates:
                raise ComprehensionError(
                    f"{self.manifest.name}: {slot.name} accumulates into the caller's array: pass it as out=, or"
                    " write the reduction with ! to start from its identity",
                    about=slot.name,
                )
        try:
            return [
                allocate_zeroed(plan.shape, plan.dtype) if plan.zeroed else allocate(plan.shape, plan.dtype)
                for plan in binding.outputs
            ]
        except (MemoryError, ValueError) as reason:
            shapes = ", ".join(str(plan.shape) for plan in binding.outputs)
            message = f"{self.manifest.name}: no memory for outputs of shape {shapes}"
            raise ComprehensionError(message, about=self._outputs[0].name) from reason

    def _quick_targets(
        self, binding: Binding, out: Any, arrays: Sequence[Array], sources: Sequence[int], family: Family
    ) -> list[int]:
        """The addresses of the outputs where they are plainly right: dense, apart from each other and from every
        input; else nothing.
        """
        values = out if type(out) is tuple else (out,)
        if len(values) != len(binding.outputs) or family is not NUMPY:
            return []
        targets: list[int] = []
        for value, plan in zip(values, binding.outputs):  # noqa: B905 - lengths were compared
            if type(value) is not np.ndarray or value.shape != plan.shape or value.dtype is not plan.dtype:
                return []
            if value.flags.num & _WRITABLE != _WRITABLE:
                return []
            start = address_of(value)
            end = start + value.nbytes
            for array, source in zip(arrays, sources):  # noqa: B905 - made from each other
                if source < end and start < source + array.nbytes:
                    return []
            for other, target in zip(values, targets):  # noqa: B905 - those before this one
                if target < end and start < target + other.nbytes:
                    return []
            targets.append(start)
        return targets

    def _targets(self, binding: Binding, out: Any, arrays: Sequence[Array], family: Family) -> list[Array]:
        """The caller's output arrays, checked."""
        plans = zip(self._outputs, binding.outputs, strict=True)
        wanted = [Wanted(slot.name, plan.shape, plan.dtype) for slot, plan in plans]
        inputs = [(slot.name, array) for slot, array in zip(self._inputs, arrays, strict=True)]
        return take_targets(self.manifest.name, wanted, out, inputs, family)


def _results(outputs: Sequence[Array], family: Family) -> Any:
    results = outputs if family is NUMPY else [family.wrap(output) for output in outputs]
    return results[0] if len(results) == 1 else tuple(results)


def _copied(array: Array) -> Array:
    """A dense native copy from the caching allocator, counted: no argument is copied silently."""
    statistics.copied_arguments += 1
    copy = allocate(array.shape, array.dtype.newbyteorder("="))
    np.copyto(copy, array)
    return copy
