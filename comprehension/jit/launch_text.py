"""What a launch of a kernel does, as text: its stages, its buffers, what it checks, what limits it.

In: an artifact's manifest, certificate and report.  Out: the last section of `explain()`.
Invariant: every check that a launch makes is named here: a bound that is not proved stands under "checked".
"""

from __future__ import annotations

from collections.abc import Iterator

from comprehension.jit.manifest import Manifest, StageEntry
from comprehension.jit.report import Report
from comprehension.kernel.certificate import Certificate
from comprehension.layout import layout_text

ALWAYS = "the number of arguments, their types, shapes and strides; that no output overlaps itself or anything else"


def launch_text(manifest: Manifest, certificate: Certificate, report: Report) -> str:
    """The section's text.

    >>> empty = Report(0, 0, {}, "memory", exact=True)
    >>> manifest = Manifest("f", "cpu", (), (), (StageEntry("f_stage0", 8, 2, 1500.0),), 0, (("(N < 3)", "no"),), ())
    >>> print(launch_text(manifest, Certificate({}), empty))  # doctest: +ELLIPSIS
    Stages, one after the other
        f_stage0    8 units, 2 at a time at least; about 1.5 µs a unit
    <BLANKLINE>
    Checked at each launch
        the number of arguments, ...
        no
    ...
    """
    parts = {
        "Stages, one after the other": [_stage(stage) for stage in manifest.stages],
        "Buffers, in the order in which the kernel gets them": list(_buffers(manifest)),
        "Checked at each launch": [ALWAYS, *(m for _, m in manifest.preconditions), *certificate.guards],
        "Work and limit": str(report).splitlines(),
    }
    return "\n".join(
        "\n".join([title, *(f"    {line}" for line in lines), ""]) for title, lines in parts.items() if lines
    )


def _stage(stage: StageEntry) -> str:
    if stage.extent == 1:
        return f"{stage.symbol}    serial; {_time(stage.work)}"
    return f"{stage.symbol}    {stage.extent} units, {stage.grain} at a time at least; {_time(stage.work)} a unit"


def _time(work: float | str) -> str:
    return f"about {work / 1000:.3g} µs" if isinstance(work, float | int) else f"about {work} ns"


def _buffers(manifest: Manifest) -> Iterator[str]:
    for slot in manifest.slots:
        shape = f"({', '.join(map(str, slot.shape))})" if slot.shape else ""
        notes = [
            *([f"strides ({layout_text(slot.layout)})"] if slot.layout is not None else []),
            *(["adds to what out= holds"] if slot.accumulates else []),
        ]
        yield f"{slot.kind:<10}{slot.dtype} {slot.name}{shape}{'    ' + ', '.join(notes) if notes else ''}"
    if manifest.scratch_bytes:
        yield f"{'scratch':<10}{manifest.scratch_bytes} bytes for each worker"
