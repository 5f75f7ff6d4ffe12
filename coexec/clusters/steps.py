"""The steps that a block is cut into: what a plan runs, in this order.

In: made by `grouping`.  Out: read by `partition`, `sequence` and the explanations.
Invariant: an operation is computed by at most one step, but for movement, which stands in each of its readers.
"""

from __future__ import annotations

from dataclasses import dataclass

from coexec.clusters.lower import Cluster
from coexec.graph.symbolic import Fetch, OpNode, Select


@dataclass(frozen=True, slots=True)
class Alias:
    """The node's output is its input's buffer under another shape."""

    node: OpNode


Step = Cluster | Alias | Select | Fetch
