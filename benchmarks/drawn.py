"""Experiments on drawn programs: many of them, each run by itself, then one summary.

In: how one program is run and what is said of all.  Out: a table on the terminal; `benchmarks/results/<name>.json` if
there were as many programs as the experiment has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from benchmarks.timing import save
from coexec.config import config

Found = TypeVar("Found")


def experiment(
    name: str, programs: int, run: Callable[[int], Found], summarise: Callable[[Sequence[Found]], dict[str, float]]
) -> None:
    """Runs the programs 0, 1, … (fewer, if the command line says how many) with `config.runner` set to "reference"."""
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else programs
    config.runner = "reference"
    found = []
    for number in range(asked):
        found.append(run(number))
        if (number + 1) % (programs // 8) == 0:
            print(f"{number + 1} programs", flush=True)
    result = summarise(found)
    for what, value in result.items():
        print(f"{what:32s} {value:.4g}")
    if asked == programs:
        print(save(name, result))
