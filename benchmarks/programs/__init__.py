"""Ten training programs of Terra's table, small: each imperative in its own way, each beside a twin in PyTorch.

`python -m benchmarks.programs` measures them; `tests/coexec/test_ten_programs.py` holds co-execution against eager.
"""

from __future__ import annotations

from importlib import import_module

from benchmarks.programs.program import Program

NAMES = (
    "dropblock",
    "music_transformer",
    "sdpoint",
    "bert_cls",
    "faster_rcnn",
    "bert_qa",
    "gpt2",
    "dcgan",
    "resnet",
    "yolov3",
)


def program(name: str) -> Program:
    """One of the ten by the name of its module."""
    found: Program = import_module(f"{__name__}.{name}").PROGRAM
    return found
