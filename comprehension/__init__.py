"""comprehension: tensor comprehensions compiled polyhedrally, and proved, to CPU and GPU kernels.

    import comprehension as tc
    module = tc.define("def matmul(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }")
    C = module.matmul(A, B)

Names are loaded at first use, so that libraries which only share its allocator or its trees stay quick to import;
`config` and `statistics` at once, because their module has the same name and would otherwise stand in their place.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from comprehension.config import config as config, statistics as statistics

if TYPE_CHECKING:
    from comprehension.api import Module as Module, define as define
    from comprehension.comprehension import Comprehension as Comprehension, IndexRange as IndexRange
    from comprehension.errors import (
        ComprehensionError as ComprehensionError,
        ComprehensionWarning as ComprehensionWarning,
        IllegalSchedule as IllegalSchedule,
    )
    from comprehension.jit.failure import CompilationError as CompilationError
    from comprehension.jit.kernel import Kernel as Kernel
    from comprehension.lang.types import ScalarType as ScalarType, Spec as Spec
    from comprehension.options import MappingOptions as MappingOptions
    from comprehension.scheduling.schedule import Schedule as Schedule

_HOMES = {
    "define": "comprehension.api",
    "Module": "comprehension.api",
    "Comprehension": "comprehension.comprehension",
    "Kernel": "comprehension.jit.kernel",
    "IndexRange": "comprehension.comprehension",
    "Spec": "comprehension.lang.types",
    "ScalarType": "comprehension.lang.types",
    "MappingOptions": "comprehension.options",
    "Schedule": "comprehension.scheduling.schedule",
    "ComprehensionError": "comprehension.errors",
    "ComprehensionWarning": "comprehension.errors",
    "IllegalSchedule": "comprehension.errors",
    "CompilationError": "comprehension.jit.failure",
}

__all__ = [
    "define",
    "Module",
    "Comprehension",
    "Kernel",
    "IndexRange",
    "Spec",
    "ScalarType",
    "MappingOptions",
    "Schedule",
    "ComprehensionError",
    "ComprehensionWarning",
    "IllegalSchedule",
    "CompilationError",
    "config",
    "statistics",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'comprehension' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
