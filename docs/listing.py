"""Writes docs/functions.md (minitensor: functions, classes, records of operations), docs/reference.md (the names of
comprehension, coexec and the testing tools, with the methods and attributes of their classes) and docs/modules.md
(every file of the three packages).

In: the modules' `__all__` and docstrings, `REGISTRY`.  Out: Markdown pages.  Run by `make refresh-docs`; a test holds
the pages against what this gives, so that they cannot go out of date.
Invariant: nothing is said here that does not stand in the code.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import coexec
import coexec.reports.explanation
import coexec.testing
import comprehension as tc
import comprehension.explain
import comprehension.jit.report
import comprehension.kernel.certificate
import comprehension.testing
import minitensor as mt
from comprehension.bench import measure
from minitensor.ops.opdef import REGISTRY, OpDef

PAGE = Path(__file__).parent / "functions.md"
REFERENCE = Path(__file__).parent / "reference.md"
MODULES = Path(__file__).parent / "modules.md"
HEAD = """# All functions of minitensor

Made from the docstrings by `docs/listing.py` (`make refresh-docs`). How they are used: [minitensor](minitensor.md).
`help(mt.topk)` shows a docstring whole, with shapes, errors and an example.
"""
ROOMS: tuple[tuple[str, str, ModuleType], ...] = (
    ("Tensors and functions on them", "mt", mt),
    ("Activations, losses, layers as functions", "F", mt.functional),
    ("Modules", "mt.nn", mt.nn),
    ("Initial values", "mt.nn.init", mt.nn.init),
    ("Optimisers", "mt.optim", mt.optim),
    ("Learning-rate schedules", "mt.optim.lr_scheduler", mt.optim.lr_scheduler),
    ("Random draws", "mt.random", mt.random),
    ("Data", "mt.data", mt.data),
    ("Linear algebra", "mt.linalg", mt.linalg),
    ("Fourier transforms", "mt.fft", mt.fft),
    ("Saving", "mt.io", mt.io),
)

REFERENCE_HEAD = """# Names of comprehension and coexec

What the two packages offer, with the methods and attributes of their classes, and the testing tools of all three. Made
from the docstrings by `docs/listing.py` (`make refresh-docs`); `help(tc.Comprehension.compile)` shows a docstring
whole. The functions of minitensor are [a list of their own](functions.md); settings have [a page](settings.md).
"""
_REFERENCE: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("comprehension: define and call", "tc", (tc.define, tc.Module, tc.Comprehension, tc.IndexRange, tc.Spec)),
    ("comprehension: what is made of a text", "tc", (tc.Kernel, tc.MappingOptions, tc.Schedule)),
    (
        "comprehension: what a kernel says of itself",
        "",
        (
            comprehension.kernel.certificate.Certificate,
            comprehension.jit.report.Report,
            comprehension.explain.Explanation,
        ),
    ),
    ("comprehension: timing", "comprehension.bench.measure", (measure.measure, measure.Measured)),
    ("comprehension: counts", "", (type(tc.statistics),)),
    (
        "comprehension: errors",
        "tc",
        (tc.ComprehensionError, tc.IllegalSchedule, tc.CompilationError, tc.ComprehensionWarning),
    ),
    ("coexec", "coexec", (coexec.coexecute, coexec.explain, coexec.wait, coexec.watch, coexec.Step)),
    ("coexec: what a step says of itself", "", (coexec.Report, coexec.reports.explanation.Explanation)),
    ("coexec: errors", "coexec", (coexec.CoexecError, coexec.NotAStep, coexec.ConfigError, coexec.CompilationFailed)),
    ("Testing: functions of tensors", "mt.testing", tuple(getattr(mt.testing, name) for name in mt.testing.__all__)),
    ("Testing: steps", "coexec.testing", tuple(getattr(coexec.testing, name) for name in coexec.testing.__all__)),
    (
        "Testing: comprehensions",
        "comprehension.testing",
        tuple(getattr(comprehension.testing, name) for name in comprehension.testing.__all__),
    ),
)  # fmt: skip

_INTERNAL = {
    "at",
    "launcher",
    "from_json",
    "to_json",
    "add_reason",
    "add_event",
    "add_step",
    "session",
}  # of these classes


def reference() -> str:
    """The page of the two packages' names."""
    parts = [REFERENCE_HEAD]
    for title, prefix, values in _REFERENCE:
        rows = [row for value in values for row in _rows(prefix, value)]
        parts.append("\n".join([f"## {title}", "", "| | |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def _rows(prefix: str, value: Any) -> list[str]:
    """A row for a function; for a class one for itself and one for each thing that it offers."""
    prefix += "." if prefix else ""
    if inspect.isfunction(value):
        return [f"| `{prefix}{value.__name__}{_parameters(value)}` | {summary(value)} |"]
    if not inspect.isclass(value):  # a type alias
        return []
    rows = [f"| **`{prefix}{value.__name__}`** | {summary(value)} |"]
    if is_dataclass(value):
        told = [f"`{f.name}`" + ("" if f.default is MISSING else f" = {f.default!r}") for f in fields(value)]
        shown = [text for text in told if not text.startswith("`_")]
        rows.append(f"| fields | {', '.join(shown)} |")
    for name, member in vars(value).items():
        if name in _INTERNAL or (name.startswith("_") and not (name == "__call__" and member.__doc__)):
            continue
        member = getattr(member, "__func__", member)
        if isinstance(member, property) and member.__doc__:
            rows.append(f"| `.{name}` | {summary(member)} |")
        elif inspect.isfunction(member) and member.__doc__:
            shown_name = "" if name == "__call__" else f".{name}"
            rows.append(f"| `{shown_name}{_parameters(member)}` | {summary(member)} |")
    return rows


def _parameters(function: Any) -> str:
    """The signature without annotations and `self`."""
    signature = inspect.signature(function)
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty, default=_shown(parameter.default))
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)).replace("|", "\\|")


MODULES_HEAD = """# Map of the source

Every file of the three packages with the first sentence of what it says at its top, where it goes on with what goes in,
what comes out and what holds. Made by `docs/listing.py` (`make refresh-docs`).
[Architecture](architecture.md) follows one operation through them in order.
"""


def modules() -> str:
    """The page of all files, folder by folder."""
    root = Path(__file__).parents[1]
    parts = [MODULES_HEAD]
    for package in ("comprehension", "minitensor", "coexec"):
        files = sorted((root / package).rglob("*.py"), key=lambda path: (path.parent, path.name))
        for folder in dict.fromkeys(path.parent for path in files):
            rows = [f"| `{path.name}` | {_top(path)} |" for path in files if path.parent == folder and _top(path)]
            parts.append("\n".join([f"## {folder.relative_to(root)}/", "", "| | |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def _top(path: Path) -> str:
    """The first sentence of a file's docstring."""
    told = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return first_sentence(told)


class _Dots:
    """A default that has no short name."""

    def __repr__(self) -> str:
        return "..."


def _shown(default: Any) -> Any:
    return _Dots() if " at 0x" in repr(default) else default


def page() -> str:
    """The page of minitensor's functions."""
    parts = [HEAD]
    for title, prefix, module in ROOMS:
        rows = [f"| `{prefix}.{name}` | {summary(value)} |" for name, value in public(module)]
        parts.append("\n".join([f"## {title}", "", "| | |", "|---|---|", *rows, ""]))
    parts.append(_records())
    return "\n".join(parts)


def public(module: ModuleType) -> list[tuple[str, Any]]:
    """Functions and classes by name: those in `__all__`, or all that the module itself defines."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__
    ]
    found = [(name, getattr(module, name)) for name in names if not name.startswith("_")]
    chosen = [(name, value) for name, value in found if callable(value) and not _is_alias(value)]
    return sorted(chosen, key=lambda pair: (pair[0].lower(), pair[0]))


def _is_alias(value: Any) -> bool:
    """Whether it is a type alias or a type of somebody else's (a dtype)."""
    return not hasattr(value, "__module__") or not str(value.__module__).startswith("minitensor")


def summary(value: Any) -> str:
    """The first sentence of the docstring, for a cell of a table; a function without one is its method's."""
    own = value.__doc__ or getattr(mt.random.Generator, value.__name__).__doc__
    if not own:
        raise ValueError(f"{value!r} has no docstring")
    return first_sentence(inspect.cleandoc(own))


def first_sentence(text: str) -> str:
    """For a cell of a table."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0].replace("|", "\\|")


def _records() -> str:
    """The operations that all of this is made of."""
    rows = []
    for name in sorted(REGISTRY):
        op = REGISTRY[name]
        rows.append(f"| `{name}` | {_gradient(op)} | {'yes' if op.comprehension else 'no: ' + op.opaque_because} |")
    opaque = sum(op.comprehension is None for op in REGISTRY.values())
    return "\n".join(
        [
            "## Operations",
            "",
            f"The {len(REGISTRY)} records that all of this is made of ({len(REGISTRY) - opaque} of them compile): "
            "one call of one of these is what co-execution records.",
            "",
            "| record | gradient | compiles |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _gradient(op: OpDef) -> str:
    if op.vjp is not None:
        return "yes"
    return "by its composition" if op.composition is not None else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    REFERENCE.write_text(reference(), encoding="utf-8")
    MODULES.write_text(modules(), encoding="utf-8")
