"""The function being printed: its lines, its names and what stands behind them.

In: a Kernel and one of its stages.  Out: text, one indented line per statement.
Invariant: every name goes through `Scope`; a buffer or size is bound at the head of the function when, and
only when, the body uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from comprehension.codegen.abi import dim_names, slot_names
from comprehension.codegen.names import Scope
from comprehension.kernel import ir
from comprehension.kernel.outside import Outside
from comprehension.lang.types import ScalarType

NUMPY = {member: f"np.{member.numpy.name}" for member in ScalarType} | {ScalarType.BOOL: "np.bool_"}


class CodegenError(Exception):
    """A kernel that the printer cannot express; `verify_kernel` finds what is malformed before."""


@dataclass(frozen=True, slots=True)
class Expr:
    """Text of a value, and along which tile axes it varies (neither: a scalar)."""

    text: str
    by_rows: bool = False
    by_lanes: bool = False

    @property
    def is_scalar(self) -> bool:
        return not (self.by_rows or self.by_lanes)


def varying(text: str, *parts: Expr) -> Expr:
    """A text that varies as its parts do."""
    return Expr(text, any(p.by_rows for p in parts), any(p.by_lanes for p in parts))


@dataclass(slots=True)
class Function:
    """Lines and names of one generated function."""

    kernel: ir.Kernel
    scope: Scope
    lines: list[str] = field(default_factory=list)
    indent: int = 1
    imports: set[str] = field(default_factory=set)
    builtins: set[str] = field(default_factory=set)
    used_buffers: dict[str, None] = field(default_factory=dict)
    used_dims: dict[str, None] = field(default_factory=dict)
    used_scalars: dict[str, None] = field(default_factory=dict)
    locals: dict[str, Expr] = field(default_factory=dict)
    definitions: dict[str, ir.Value] = field(default_factory=dict)
    failures: list[Outside] = field(default_factory=list)
    checked: bool = True
    loops: list[ir.Loop] = field(default_factory=list)  # around the line at hand, outermost first
    vector_bits: int = 512
    vector_registers: int = 32
    overwritable: frozenset[str] = frozenset()
    assigned: set[str] = field(default_factory=set)
    presets: list[str] = field(default_factory=list)
    strides: dict[str, str] = field(default_factory=dict)  # the text of a stride to its name

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """An indented block; empty ones get `pass`."""
        self.line(head)
        self.indent += 1
        before = len(self.lines)
        outer = dict(self.locals), dict(self.definitions)
        yield
        if len(self.lines) == before:
            self.line("pass")
        self.locals, self.definitions = outer
        self.indent -= 1

    def failure(self, outside: Outside) -> int:
        """The number of what a check finds, the same for all functions of the kernel."""
        if outside not in self.failures:
            self.failures.append(outside)
        return self.failures.index(outside)

    def use(self, name: str) -> str:
        """Imports an intrinsic of `simd`."""
        self.imports.add(name)
        return name

    def builtin(self, name: str) -> str:
        self.builtins.add(name)
        return f"vecmath.{name}"

    def buffer(self, name: str) -> str:
        self.used_buffers.setdefault(name)
        return self.scope.name(name, "buffer")

    def variable(self, name: str) -> str:
        """A loop variable, a size, a stride or an integer scalar parameter, as int64."""
        if name in self.strides.values():
            return name
        dtypes = dict(self.kernel.scalars)
        if name in dtypes:
            self.used_scalars.setdefault(name)
            text = self.scope.name(name, "scalar")
            return text if dtypes[name] is ScalarType.INT64 else f"np.int64({text})"
        if name in dim_names(self.kernel):
            self.used_dims.setdefault(name)
            return self.scope.name(name, "dim")
        return self.scope.name(name, "loop")

    def stride(self, buffer: str, text: str) -> str:
        """The name of a stride, computed once at the head of the function."""
        if text not in self.strides:
            self.strides[text] = self.scope.fresh(f"{buffer}_stride")
            self.presets.append(f"{self.strides[text]} = {text}")
        return self.strides[text]

    def scalar(self, name: str) -> str:
        self.used_scalars.setdefault(name)
        return self.scope.name(name, "scalar")

    def number_of(self, buffer: str) -> int:
        """Which alias scope a buffer has; for arguments it is the slot too."""
        slots = slot_names(self.kernel)
        if buffer in slots:
            return slots.index(buffer)
        local = [b.name for b in self.kernel.buffers if b.space is ir.Space.SCRATCH]
        return len(slots) + 1 + local.index(buffer)
