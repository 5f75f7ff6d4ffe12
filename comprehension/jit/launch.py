"""Launches: from a caller's arrays to a kernel's machine code and back.

In: a kernel's runner, arrays and scalars.  Out: the outputs, allocated here or the caller's own.
Invariant: nothing is written before every check has passed; what a kernel is promised (strides of its layouts, no
overlap, sizes, preconditions) holds when it runs; arrays are used where they are, whatever their strides.

Dense arrays take a short way.  Others are run by a variant of the kernel that was compiled for their layouts, made
at first need.  Only what no kernel can address (an element across a word boundary, a foreign byte order) is copied,
and counted in `statistics.copied_arguments`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    layout_of_array,
    one_family,
    scalar_of,
    view_of,
)
from comprehension.jit.binding import Binding
from comprehension.jit.failure import CompilationError, note_fallback
from comprehension.jit.memory import allocate, allocate_zeroed
from comprehension.jit.overlap import overlap, overlaps_itself
from comprehension.jit.runner import Runner, tensors_of
from comprehension.lang.types import ScalarType
from comprehension.layout import MOST_LAYOUTS, Layouts, any_strides

_WRITABLE = DENSE | 0x0400  # and NPY_ARRAY_WRITEABLE
Variant = Callable[[Layouts], Runner]


class Launcher:
    """Calls one kernel.  `parameters` names the inputs in the caller's order, scalars among them.

    `variant` compiles the kernel for other layouts; without it, arrays of other layouts are copied.
    """

    def __init__(self, runner: Runner, parameters: Sequence[str], variant: Variant | None = None) -> None:
        manifest = runner.manifest
        self.manifest = manifest
        self.runner = runner
        slots = {slot.name: slot for slot in manifest.slots}
        self._inputs = tuple(slots[name] for name in parameters)
        self._outputs = tuple(slot for slot in manifest.slots if slot.kind == "output")
        self._dtypes = tuple(ScalarType(slot.dtype).numpy for slot in self._inputs)
        self._may_be_plain = all(slot.kind == "input" for slot in self._inputs) and not runner.layouts
        self._bindings = runner.bindings
        self._variant = variant
        self._runners: dict[Layouts, Runner] = {runner.layouts: runner}

    def __call__(self, inputs: Sequence[Any], out: Any = None) -> Any:
        """Runs the kernel.

        Raises ComprehensionError for arguments that it was not made for, a precondition that does not hold,
        an output that overlaps, and what the kernel's own checks find.
        """
        if self._are_plain(inputs):
            return self._launch_dense(inputs, NUMPY, out)
        views, family = self._views(inputs)
        return self.launch(views, family, out)

    def launch(self, views: Sequence[Array], family: Family, out: Any = None) -> Any:
        """Runs the kernel on views of the right number and types (scalars: arrays of one element)."""
        arrays = [view if is_addressable(view) else _copied(view) for view in views]
        if not self.runner.layouts and all(array.flags.c_contiguous for array in arrays):
            return self._launch_dense(arrays, family, out)
        return self._launch_strided(arrays, family, out)

    def _launch_dense(self, arrays: Sequence[Array], family: Family, out: Any) -> Any:
        """Inputs are dense, as is the kernel."""
        binding = self._bindings.find(tuple([array.shape for array in arrays]), arrays)
        sources = [address_of(array) for array in arrays]
        if out is None:
            outputs = self._fresh_outputs(binding)
            self.runner.run(binding, sources, [address_of(output) for output in outputs], binding.dims_address)
            return _results(outputs, family)
        quick = self._quick_target(binding, out, arrays, sources, family)
        if quick:
            self.runner.run(binding, sources, [quick], binding.dims_address)
            return out
        return self._launch_strided(arrays, family, out)

    def _launch_strided(self, arrays: Sequence[Array], family: Family, out: Any) -> Any:
        """Inputs and outputs of any layout."""
        shapes = tuple([array.shape for array in arrays])
        binding = self._bindings.find(shapes, arrays)
        targets = self._fresh_outputs(binding) if out is None else self._targets(binding, out, arrays, family)
        outputs = [target if is_addressable(target) else _copied(target) for target in targets]
        runner = self._runner_for(arrays, outputs)
        if runner is None:  # no kernel for these strides came about
            arrays, outputs = [_dense(array) for array in arrays], [_dense(output) for output in outputs]
            runner = self._runner_for(arrays, outputs) or self.runner
        runner.run_strided(runner.bindings.find(shapes, arrays), arrays, outputs)
        for target, output in zip(targets, outputs, strict=True):
            if target is not output:
                np.copyto(target, output)
        return _results(outputs, family) if out is None else out

    # --- variants -------------------------------------------------------------------------------------------------

    def _runner_for(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> Runner | None:
        """The runner for arrays of these layouts, compiled at first need; None where that is not possible."""
        layouts = sorted(
            (slot.name, layout)
            for slot, array in zip(chain(self._inputs, self._outputs), chain(inputs, outputs), strict=True)
            if (layout := layout_of_array(array)) is not None
        )
        found = self._runners.get(tuple(layouts))
        return found if found is not None else self._find_variant(tuple(layouts))

    def _find_variant(self, layouts: Layouts) -> Runner | None:
        if self._variant is None:
            return None
        if len(self._runners) >= MOST_LAYOUTS:
            statistics.fallbacks["strides left open"] += 1
            layouts = tuple(
                sorted((slot.name, any_strides(len(slot.shape))) for slot in tensors_of(self.manifest) if slot.shape)
            )
            if layouts in self._runners:
                return self._runners[layouts]
        try:
            runner = self._variant(layouts)
        except CompilationError as reason:
            if not layouts:
                raise
            note_fallback("no kernel for these strides", f"{reason}; strided arguments are copied")
            return None
        return self._runners.setdefault(layouts, runner)

    # --- inputs -----------------------------------------------------------------------------------------------

    def _are_plain(self, inputs: Sequence[Any]) -> bool:
        """Whether all are dense NumPy arrays of the right types (the usual case, checked quickly)."""
        if len(inputs) != len(self._dtypes) or not self._may_be_plain:
            return False
        for value, dtype in zip(inputs, self._dtypes):  # noqa: B905 - lengths were compared
            if type(value) is not np.ndarray or value.dtype is not dtype or value.flags.num & DENSE != DENSE:
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
        start = address_of(out)
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
        self._checkoverlap(targets, arrays)
        return targets

    def _checkoverlap(self, targets: Sequence[Array], arrays: Sequence[Array]) -> None:
        for number, target in enumerate(targets):
            names = [slot.name for slot in self._inputs] + [slot.name for slot in self._outputs[:number]]
            for name, other in zip(names, [*arrays, *targets[:number]], strict=True):
                if overlap(target, other):
                    raise ComprehensionError(
                        f"{self.manifest.name}: out={self._outputs[number].name} overlaps {name}; pass a copy of one"
                    )
            if overlaps_itself(target):
                raise ComprehensionError(f"{self.manifest.name}: out={self._outputs[number].name} overlaps itself")


def _results(outputs: Sequence[Array], family: Family) -> Any:
    results = outputs if family is NUMPY else [family.wrap(output) for output in outputs]
    return results[0] if len(results) == 1 else tuple(results)


def _dense(array: Array) -> Array:
    return array if array.flags.c_contiguous else _copied(array)


def _copied(array: Array) -> Array:
    """A dense native copy from the caching allocator, counted: no argument is copied silently."""
    statistics.copied_arguments += 1
    copy = allocate(array.shape, array.dtype.newbyteorder("="))
    np.copyto(copy, array)
    return copy
