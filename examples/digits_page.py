"""The digits demo's report as one self-contained page: drawings, comprehensions, schedules, certificates, sources.

In: the two runs and the table's rows.  Out: an HTML file without scripts or links.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from coexec.graph_side.graph_runner import NativeGraph
from coexec.reports.explanation import kernel_of
from coexec.reports.pictures import draw_runners, draw_symbolic, draw_traces
from coexec.session import Session
from comprehension.drawing.curves import draw_curves
from comprehension.drawing.theme import PALETTE

if TYPE_CHECKING:
    from examples.digits import Run

Rows = Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class KernelSection:
    """What the page shows of one kernel."""

    colour: str
    operations: list[str]
    sections: list[tuple[str, str]]


def write_page(path: Path, eager: Run, coexecuted: Run, session: Session, rows: Rows) -> None:
    """Writes the page to `path`, making its folder."""
    compiled = session.compiled
    assert session.program is not None and isinstance(compiled, NativeGraph), "the step was never co-executed"
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("digits.html.j2").render(
        steps=len(eager.losses),
        rows=rows,
        curves=draw_curves([("eager", eager.losses), ("co-executed", coexecuted.losses)]),
        report=session.report._repr_html_(),
        timeline=draw_runners(session.report, last=len(coexecuted.seconds)),
        traces=draw_traces(session.traces),
        trace_nodes=len(session.traces.nodes),
        symbolic=draw_symbolic(session.program.graph, kernel_of(compiled.placements)),
        operations=session.report.operations,
        kernels=_kernels(compiled),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _kernels(compiled: NativeGraph) -> list[KernelSection]:
    return [
        KernelSection(
            colour=PALETTE[at % len(PALETTE)],
            operations=[node.op.name for node in one.cluster.nodes],
            sections=[(section.title, section.text) for section in one.kernel.explain().sections],
        )
        for at, one in enumerate(compiled.clusters)
    ]
