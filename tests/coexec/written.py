"""Traces written by hand, for tests of what is made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coexec.location import Location, code_number
from coexec.traces.opaque import spec_of
from coexec.traces.record import External, InputRef, OpRecord, Produced, Scalar, Trace
from minitensor.ops.opdef import REGISTRY, TensorSpec

_LOCATIONS: dict[int, Location] = {}  # one object for each, as `location` gives them
_CODE = code_number((lambda: None).__code__)


def place_at(number: int) -> Location:
    """The location of the operations written `at` this number."""
    return _LOCATIONS.setdefault(number, (_CODE, number))


@dataclass(frozen=True)
class Tensor:
    """A tensor from outside."""

    number: int
    shape: tuple[int, ...] = (4,)
    dtype: str = "float32"


@dataclass
class Written:
    """A trace in the making: operations at numbered places of the program, behind a prefix if the trace has one."""

    trace: Trace = field(default_factory=Trace)

    def op(self, name: str, *inputs: Produced | Tensor | float, at: int, **attributes: Any) -> Produced:
        """Appends an operation; its first output."""
        before = len(self.trace.prefix)
        references: list[InputRef] = []
        specs: list[TensorSpec | None] = []
        for x in inputs:
            match x:
                case Produced(index, output):
                    references.append(x)
                    made = self.trace.records[index - before] if index >= before else self.trace.prefix[index]
                    spec = made.output_specs[output]
                    specs.append(spec_of(spec.shape, spec.dtype))
                case Tensor(number, shape, dtype):
                    references.append(External(number))
                    specs.append(spec_of(shape, np.dtype(dtype)))
                case _:
                    references.append(Scalar(x))
                    specs.append(None)
        operands = [x if spec is None else spec for x, spec in zip(inputs, specs, strict=True)]
        found = REGISTRY[name].infer(*operands, **attributes)
        outputs = tuple([spec_of(x.shape, x.dtype) for x in (found if isinstance(found, tuple) else (found,))])
        record = OpRecord(REGISTRY[name], attributes, tuple(references), tuple(specs), outputs, place_at(at), None)
        self.trace.records.append(record)
        return Produced(before + len(self.trace.records) - 1, 0)
