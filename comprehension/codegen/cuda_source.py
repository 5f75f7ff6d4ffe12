"""One kernel function being printed for CUDA: its lines, its names and what it imports.

In: a Kernel.  Out: text, one indented line per statement.
Invariant: every name went through `names.Scope`; a buffer, scalar or size becomes a parameter when, and only when,
the body uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from comprehension.codegen.abi import dim_names
from comprehension.codegen.names import Scope
from comprehension.kernel import ir
from comprehension.kernel.outside import Outside
from comprehension.lang.types import ScalarType

_RESERVED = frozenset({"point", "points", "rest", "cuda", "libm", "minimum", "maximum", "errors"})
_RESERVED |= {"half", "from_half", "to_half", "half_storage", "report"}
_RESERVED |= {t.value for t in ScalarType} | {f"trunc_{t}" for t in ScalarType}


@dataclass(slots=True)
class Source:
    """Lines and names of one kernel function called `function`."""

    kernel: ir.Kernel
    function: str
    failures: list[Outside]  # of the checks of all functions
    checked: bool
    lines: list[str] = field(default_factory=list)
    indent: int = 1
    imports: set[str] = field(default_factory=set)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    offsets: dict[str, str] = field(default_factory=dict)  # of a thread's part in a buffer that all threads share
    definitions: dict[str, ir.Value] = field(default_factory=dict)  # of locals
    reports: bool = False  # whether the function reports errors
    scope: Scope = field(init=False)
    buffers: dict[str, ir.Buffer] = field(init=False)

    def __post_init__(self) -> None:
        self.scope = Scope(_RESERVED | {self.function})
        self.buffers = {buffer.name: buffer for buffer in self.kernel.buffers}

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head)
        self.indent += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.line("pass")
        self.indent -= 1

    def use(self, name: str) -> str:
        self.imports.add(name)
        return name

    def name(self, kind: str, key: str) -> str:
        """The identifier of something; asking for a buffer, scalar or size makes it a parameter."""
        if (kind, key) not in self.names:
            self.names[kind, key] = self.scope.name(key, kind)
        return self.names[kind, key]

    def buffer(self, name: str) -> str:
        return self.name("buffer", name)

    def is_variable(self, buffer: str) -> bool:
        """Whether a buffer is one value in a register: a Python variable."""
        found = self.buffers[buffer]
        return found.space is ir.Space.REGISTER and not found.shape

    def variable(self, name: str) -> str:
        dtypes = dict(self.kernel.scalars)
        if name in dtypes:
            text = self.name("scalar", name)
            return text if dtypes[name] is ScalarType.INT64 else f"{self.use('int64')}({text})"
        return self.name("size" if name in dim_names(self.kernel) else "loop", name)

    def failure(self, outside: Outside) -> int:
        """The code of what a check finds: 1 + its number."""
        self.reports = True
        if outside not in self.failures:
            self.failures.append(outside)
        return self.failures.index(outside) + 1
