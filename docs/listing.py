"""Writes docs/functions.md: every public function and class of minitensor, and every record of an operation.

In: the modules' `__all__` and docstrings, `REGISTRY`.  Out: a Markdown page.  Run by `make refresh-docs`; a test holds
the page against what this gives, so that it cannot go out of date.
Invariant: nothing is said here that does not stand in the code.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import minitensor as mt
from minitensor.ops.opdef import REGISTRY, OpDef

PAGE = Path(__file__).parent / "functions.md"
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


def page() -> str:
    """The whole page."""
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
        raise ValueError(f"{value.__module__}.{value.__qualname__} has no docstring")
    text = inspect.cleandoc(own)
    paragraph = " ".join(text.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0]
    return sentence.replace("|", "\\|")


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
