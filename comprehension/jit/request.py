"""Requests: everything a compilation depends on, and the cache key made from it.

In: built by the program.  Out: a JSON-able header, sent to the compiler process and hashed for the cache.
Invariant: `request_from_header(r.header()) == r`, and two requests with one key give the same artifact: what
is hashed is what is sent, plus the versions of the libraries and the bytes of the compiler's own files.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from comprehension.lang.types import Spec
from comprehension.layout import Layouts, layout_from_data, layout_to_data
from comprehension.machine import Machine
from comprehension.options import MappingOptions

FORMAT = 2  # of the artifacts: raise it when their files change meaning

Math = Literal["fast", "strict"]
Target = Literal["cpu", "cuda"]
Sizes = Literal["static", "symbolic"]

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = ("numba", "llvmlite", "islpy", "numpy")
_CUDA_LIBRARIES = (
    "numba-cuda",
    "nvidia-nvvm",
    "nvidia-nvjitlink",
)  # where they are absent, kernels have no machine code
_EMITTER = ("jit/emit.py", "jit/native.py", "jit/quick_layout.py", "jit/request.py", "codegen/**/*.py")
_COMPILER = (
    *_EMITTER, "lang/**/*", "poly/**/*.py", "kernel/**/*.py", "pipeline.py", "stages.py", "machine.py", "options.py",
    "layout.py", "scheduling/steps.py", "jit/manifest.py", "jit/describe.py", "jit/ptx.py", "jit/report.py",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """Compile the functions `entries` ((name, how many words it takes) pairs) of a module text of our own."""

    name: str
    text: str
    entries: tuple[tuple[str, int], ...]
    machine: Machine

    def header(self) -> dict[str, Any]:
        return {
            "kind": "source",
            "name": self.name,
            "text": self.text,
            "entries": [list(entry) for entry in self.entries],
            "machine": self.machine.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ComprehensionRequest:
    """Compile the def `name` of the canonical text `text` for inputs of the given `specs`.

    `likely`: about how large symbolic sizes will be; the kernel is right for all.
    `layouts`: of the inputs and outputs that are not dense.  `steps`: of a user's schedule, as text; None where the
    compiler schedules.
    """

    name: str
    text: str
    specs: tuple[Spec, ...]
    sizes: Sizes
    target: Target
    options: MappingOptions
    math: Math
    checked: bool
    machine: Machine
    layouts: Layouts = ()
    steps: str | None = None
    likely: tuple[tuple[str, int], ...] = ()

    def header(self) -> dict[str, Any]:
        return {
            "kind": "comprehension",
            "name": self.name,
            "text": self.text,
            "specs": [[list(spec.shape), spec.dtype.value] for spec in self.specs],
            "sizes": self.sizes,
            "target": self.target,
            "options": self.options.to_json(),
            "math": self.math,
            "checked": self.checked,
            "machine": self.machine.to_json(),
            "layouts": [[name, layout_to_data(layout)] for name, layout in self.layouts],
            "steps": self.steps,
            "likely": [list(pair) for pair in self.likely],
        }


@dataclass(frozen=True, slots=True)
class ScheduleRequest:
    """Follow the steps of a request and tell the loops before and after each; nothing is compiled."""

    comprehension: ComprehensionRequest

    @property
    def name(self) -> str:
        return self.comprehension.name

    def header(self) -> dict[str, Any]:
        return {**self.comprehension.header(), "kind": "schedule"}


Request = SourceRequest | ComprehensionRequest | ScheduleRequest


def request_from_header(header: dict[str, Any]) -> Request:
    """The request that a header was made from; KeyError, TypeError or ValueError for anything else."""
    machine = Machine.from_json(header["machine"])
    if header["kind"] == "source":
        entries = tuple((str(name), int(count)) for name, count in header["entries"])
        return SourceRequest(header["name"], header["text"], entries, machine)
    if header["kind"] not in ("comprehension", "schedule"):
        raise ValueError(f"unknown kind of request: {header['kind']!r}")
    request = ComprehensionRequest(
        name=header["name"],
        text=header["text"],
        specs=tuple(Spec(tuple(shape), dtype) for shape, dtype in header["specs"]),
        sizes=header["sizes"],
        target=header["target"],
        options=MappingOptions.from_json(header["options"]),
        math=header["math"],
        checked=header["checked"],
        machine=machine,
        layouts=tuple((str(name), layout_from_data(layout)) for name, layout in header["layouts"]),
        steps=header["steps"],
        likely=tuple((str(name), int(size)) for name, size in header["likely"]),
    )
    return ScheduleRequest(request) if header["kind"] == "schedule" else request


def key_of(request: Request) -> str:
    """The cache key: 64 hexadecimal digits."""
    kind = "source" if isinstance(request, SourceRequest) else "comprehension"
    content = json.dumps([FORMAT, fingerprint(kind), request.header()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def key_of_source(kind: Literal["text", "tree"], text: str) -> str:
    """The cache key of what is known of a source alone: a text as it was written, or a tree by its canonical text."""
    content = json.dumps([FORMAT, fingerprint("comprehension"), kind, text])
    return hashlib.sha256(content.encode()).hexdigest()


@functools.cache
def fingerprint(kind: str) -> str:
    """A hash of what turns a request of this kind into code: Python, libraries, the compiler's own files."""
    digest = hashlib.sha256(sys.version.encode())
    for library in (*_LIBRARIES, *(() if kind == "source" else _CUDA_LIBRARIES)):
        digest.update(f"{library}={_version(library)}\n".encode())
    for pattern in _EMITTER if kind == "source" else _COMPILER:
        for path in sorted(_PACKAGE.glob(pattern)):
            if path.is_file() and path.suffix in (".py", ".lark"):
                digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _version(library: str) -> str:
    """Installed version without importing the library (numba's import takes 0.3 s)."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
