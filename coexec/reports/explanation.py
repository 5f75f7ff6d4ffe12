"""What co-execution made of a step, all of it: text for terminals, a page with drawings for browsers and notebooks.

In: a session's report, traces, graph and what was compiled from it.  Out: an `Explanation`.
Invariant: a picture of one moment; later steps change nothing in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from coexec.clusters.placement import Placement
from coexec.graph_side.runner_protocol import CompiledGraph
from coexec.reports.dump import describe
from coexec.reports.pictures import draw_symbolic, draw_traces
from coexec.reports.report import Report
from coexec.reports.report_page import report_parts
from coexec.source import short, text_of
from coexec.traces.trace_graph import TraceGraph
from comprehension.drawing.html import document, folded, fragment, scroll, table
from comprehension.drawing.svg import safe


@dataclass(frozen=True, slots=True)
class Section:
    """One artefact's text; `name` is "operations", "traces", "symbolic" or "compiled"."""

    name: str
    text: str


class Explanation(str):
    """The report and all artefacts as one text; notebooks show a page with drawings.

    operations: for each operation its line, the kernel it went to, and why it was not fused with its producers; empty
        before a graph is compiled.
    sections: the artefacts one by one.  traces, symbolic: drawings as SVG text (`symbolic` is "" without a graph).
    """

    __slots__ = ("operations", "report", "sections", "symbolic", "traces")
    operations: tuple[Placement, ...]
    report: Report
    sections: tuple[Section, ...]
    traces: str
    symbolic: str

    def section(self, name: str) -> str:
        """The text of one section.

        Raises KeyError, naming what there is.
        """
        for section in self.sections:
            if section.name == name:
                return section.text
        raise KeyError(f"no section {name!r}; there are {', '.join(section.name for section in self.sections)}")

    def page(self) -> str:
        """The same as one HTML document: nothing is loaded from anywhere, no scripts."""
        return document(f"co-execution of {self.report.name}", self._repr_html_())

    def _repr_html_(self) -> str:
        parts = [f"<h3>{safe(f'co-execution of {self.report.name}')}</h3>", *report_parts(self.report)]
        if self.operations:
            parts.append(folded("Operations: line, kernel, fusions refused", _operations(self.operations)))
        parts.append(folded("The traces, merged: what Python did, in its order", scroll(self.traces)))
        if self.symbolic:
            parts.append(folded("The graph, by data flow; boxes of one colour are one kernel", scroll(self.symbolic)))
        parts += [folded(_TITLES[section.name], f"<pre>{safe(section.text)}</pre>") for section in self.sections]
        return fragment(parts)


_TITLES = {
    "operations": "Operations, as text",
    "traces": "The traces, as text",
    "symbolic": "The symbolic graph, as text",
    "compiled": "Instructions, and every stage of every kernel",
}


def explanation_of(report: Report, traces: TraceGraph, compiled: CompiledGraph | None) -> Explanation:
    """The explanation of a step as it stands."""
    artefacts = {name[2:]: text for name, text in describe(traces, compiled).items()}
    names = [name for name in _TITLES if name in artefacts]
    parts = [str(report), *(f"\n# {name}\n{artefacts[name]}" for name in names)]
    explanation = Explanation("\n".join(parts))
    explanation.report = report
    explanation.operations = compiled.placements if compiled is not None else ()
    explanation.sections = tuple(Section(name, artefacts[name]) for name in names)
    explanation.traces = draw_traces(traces)
    explanation.symbolic = "" if compiled is None else draw_symbolic(compiled.graph, kernel_of(explanation.operations))
    return explanation


def kernel_of(operations: tuple[Placement, ...]) -> dict[int, int]:
    """By operation the kernel that computes it: of movement, which each reader takes in, the first one's."""
    return {placement.node.id: placement.kernels[0] for placement in operations if placement.kernels}


def _operations(placements: tuple[Placement, ...]) -> str:
    rows = []
    for placement in placements:
        node = placement.node
        line = f"{short(node.where)}  {text_of(node.where)}"
        rows.append((line, node.op.name, placement.told, "; ".join(placement.reasons())))
    return scroll(table(rows, ("line", "operation", "where it went", "why not with its producers")))
