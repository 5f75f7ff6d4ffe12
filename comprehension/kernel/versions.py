"""Versions: stages of which a launch runs one, by its sizes.

In: a proved Kernel.  Out: one whose stages say when they run, ready to be printed.
Invariant: for all sizes exactly one version of each stage runs, and every version has been proved.
"""

from __future__ import annotations

from dataclasses import replace

from comprehension.kernel import ir
from comprehension.kernel.choice import negated


def separate(kernel: ir.Kernel) -> ir.Kernel:
    """A stage with a body for large sizes becomes two stages."""
    return replace(kernel, stages=tuple(part for stage in kernel.stages for part in _parts(stage)))


def _parts(stage: ir.Stage) -> tuple[ir.Stage, ...]:
    if stage.beyond is None:
        return (stage,)
    plain = replace(stage, beyond=None, when=negated(stage.beyond.condition))
    name, version = f"{stage.name}_large", stage.version + 1
    large = replace(stage, name=name, body=stage.beyond.body, beyond=None, when=stage.beyond.condition, version=version)
    return plain, large
