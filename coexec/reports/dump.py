"""Artefacts: what co-execution made, as text files in the folder `COEXEC_DUMP`.

In: a session whose graph has just been compiled.  Out: `<folder>/<step>/<number of the graph>-<artefact>.txt`.
Invariant: nothing is written without the switch; names of steps never leave the folder.
"""

from __future__ import annotations

import re
from pathlib import Path

from coexec.clusters.placement import placements_text
from coexec.graph import symbolic
from coexec.graph_side.runner_protocol import CompiledGraph
from coexec.traces import trace_graph
from coexec.traces.trace_graph import TraceGraph


def describe(traces: TraceGraph, compiled: CompiledGraph | None) -> dict[str, str]:
    """The artefacts by name, in the order in which they are made."""
    artefacts = {"0-traces": trace_graph.to_text(traces)} if traces.traces else {}  # nothing leads to an end yet
    if compiled is not None:
        artefacts["1-symbolic"] = symbolic.to_text(compiled.graph)
        artefacts["2-operations"] = placements_text(compiled.placements)
        artefacts["3-compiled"] = compiled.explain()
    return artefacts


def dump(folder: Path, step: str, number: int, traces: TraceGraph, compiled: CompiledGraph) -> None:
    """Writes the artefacts of one graph.

    Raises OSError where the folder cannot be written.
    """
    target = folder / re.sub(r"[^\w.-]+", "_", step)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in describe(traces, compiled).items():
        (target / f"{number:03d}-{name}.txt").write_text(text, encoding="utf-8")
