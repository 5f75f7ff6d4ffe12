"""Kernels written by hand, so that plans are tested without the compiler: one operation a kernel, equal shapes."""

from __future__ import annotations

import functools

import pytest

from coexec.clusters.lower import Cluster, lower, nodes_by_id
from coexec.clusters.partition import partition, verify_partition
from coexec.graph.symbolic import SymbolicGraph
from coexec.graph_side import channel
from coexec.graph_side.buffers import plan_buffers
from coexec.graph_side.graph_runner import NativeGraph
from coexec.graph_side.plan_builder import make_plan, shapes_of
from coexec.graph_side.sequence import CompiledCluster, sequence, verify_sequence
from comprehension.jit.emit import STAGE_SIGNATURE, emit_by_numba
from comprehension.jit.load import RUNTIME_SYMBOLS, LoadedObject, load_object
from comprehension.jit.manifest import BufferSlot, Manifest, StageEntry
from comprehension.machine import host

TEXT = """
from numba import carray
import numpy as np
from comprehension.jit.native import nanoseconds

def add_tt(buffers, dims, scratch, lo, hi):
    a, b, y = carray(buffers[0], hi, np.float32), carray(buffers[1], hi, np.float32), carray(buffers[2], hi, np.float32)
    for i in range(lo, hi):
        y[i] = a[i] + b[i]
    return 0

def multiply_tt(buffers, dims, scratch, lo, hi):
    a, b, y = carray(buffers[0], hi, np.float32), carray(buffers[1], hi, np.float32), carray(buffers[2], hi, np.float32)
    for i in range(lo, hi):
        y[i] = a[i] * b[i]
    return 0

def add_t(buffers, dims, scratch, lo, hi):
    a, y = carray(buffers[0], hi, np.float32), carray(buffers[1], hi, np.float32)
    for i in range(lo, hi):
        y[i] = a[i] + a[i]
    return 0

def multiply_t(buffers, dims, scratch, lo, hi):
    a, y = carray(buffers[0], hi, np.float32), carray(buffers[1], hi, np.float32)
    for i in range(lo, hi):
        y[i] = a[i] * a[i]
    return 0

def multiply_ts(buffers, dims, scratch, lo, hi):
    a, b, y = carray(buffers[0], hi, np.float32), carray(buffers[1], 1, np.float32), carray(buffers[2], hi, np.float32)
    for i in range(lo, hi):
        y[i] = a[i] * b[0]
    return 0

def negative_t(buffers, dims, scratch, lo, hi):
    a, y = carray(buffers[0], hi, np.float32), carray(buffers[1], hi, np.float32)
    for i in range(lo, hi):
        y[i] = -a[i]
    return 0

def reciprocal_t(buffers, dims, scratch, lo, hi):  # fails on zero, as no true reciprocal does
    a, y = carray(buffers[0], hi, np.float32), carray(buffers[1], hi, np.float32)
    for i in range(lo, hi):
        if a[i] == 0:
            return 1
        y[i] = 1 / a[i]
    return 0

def square_t(buffers, dims, scratch, lo, hi):  # takes 20 ms, as no true square does
    a, y = carray(buffers[0], hi, np.float32), carray(buffers[1], hi, np.float32)
    begin = nanoseconds()
    while nanoseconds() - begin < 20_000_000:
        pass
    for i in range(lo, hi):
        y[i] = a[i] * a[i]
    return 0
"""
NAMES = ("add_tt", "add_t", "multiply_tt", "multiply_t", "multiply_ts", "negative_t", "reciprocal_t", "square_t")


def on_cores(patch: pytest.MonkeyPatch, count: int) -> None:
    """Runs graphs as they are run where a process may use so many cores: beside Python, or with one in its thread."""
    patch.setattr(channel, "usable_cores", lambda: count)
    patch.setattr(channel, "_local", channel._Local())


@functools.cache
def by_hand() -> LoadedObject:
    data = emit_by_numba("handmade", TEXT, dict.fromkeys(NAMES, STAGE_SIGNATURE), host())
    return load_object("handmade", data, NAMES, RUNTIME_SYMBOLS)


def kernel_of(cluster: Cluster, graph: SymbolicGraph) -> CompiledCluster:
    """The kernel of a cluster of one operation."""
    loaded = by_hand()
    lowered = lower(cluster, nodes_by_id(graph))
    (node,) = cluster.nodes
    kinds = "".join("t" if parameter.spec.shape else "s" for parameter in lowered.parameters)
    slots = [
        BufferSlot(p.name, "input" if parameter.spec.shape else "scalar", "float32", parameter.spec.shape)
        for p, parameter in zip(lowered.definition.inputs, lowered.parameters, strict=True)
    ]
    spec = node.outputs[0]
    sizes = tuple(f"N{k}" for k in range(len(lowered.sizes)))
    shape = tuple(f"N{lowered.sizes.index(dim)}" if isinstance(dim, str) else dim for dim in spec.shape)
    slots.append(BufferSlot(lowered.definition.outputs[0].name, "output", "float32", shape))
    extent: int | str = 1
    for dim in shape:
        extent = f"({extent})*({dim})" if isinstance(dim, str) or isinstance(extent, str) else extent * dim
    symbol = f"{node.op.name}_{kinds}"
    stages = (StageEntry(symbol, extent, 1, 1.0),)
    manifest = Manifest("handmade", "cpu", sizes, tuple(slots), stages, 0, (), ("it is zero",))
    return CompiledCluster(cluster, lowered, manifest, (loaded.addresses[symbol],), loaded)


def compile_by_hand(graph: SymbolicGraph) -> NativeGraph:
    """A native graph whose every operation has a kernel of its own."""
    parts = partition(graph, max_nodes=1)
    verify_partition(parts)
    program = sequence(parts, {cluster: kernel_of(cluster, graph) for cluster in parts.clusters})
    verify_sequence(program)
    plan = make_plan(graph, program, plan_buffers(graph, program), shapes_of(graph, program))
    return NativeGraph(plan, plan.to_text)
