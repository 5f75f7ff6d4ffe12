"""A symbolic graph becomes a plan: clusters are compiled in the background, costly ones first.

In: a SymbolicGraph.  Out: a `Future` of a `NativeGraph`.
Invariant: clusters whose comprehensions, sizes and settings are equal share one kernel, within a graph and
between graphs; a cluster that cannot be compiled as a whole is compiled in halves, and said so.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace

from coexec import logs
from coexec.clusters.lower import Cluster, Lowered, Specs, lower, nodes_by_id
from coexec.clusters.partition import Partition, partition, refusals_between, split, verify_partition
from coexec.clusters.placement import place
from coexec.clusters.steps import Step
from coexec.errors import CoexecError, CompilationFailed
from coexec.graph.symbolic import SymbolicGraph, verify_symbolic
from coexec.graph_side import channel
from coexec.graph_side.buffers import plan_buffers
from coexec.graph_side.graph_runner import NativeGraph
from coexec.graph_side.plan import Plan
from coexec.graph_side.plan_builder import make_plan, shapes_of
from coexec.graph_side.runner_protocol import CompiledGraph
from coexec.graph_side.sequence import CompiledCluster, sequence, verify_sequence
from comprehension.api import Kernel, define
from comprehension.errors import ComprehensionError
from comprehension.jit.failure import ProgramEnded
from comprehension.jit.request import Math
from comprehension.lang import tree
from comprehension.lang.printer import to_text
from comprehension.lang.types import Spec

Key = tuple[str, tuple[Spec, ...], Math]  # text, inputs, numerics

_kernels: weakref.WeakValueDictionary[Key, Kernel] = weakref.WeakValueDictionary()


def compile_native(graph: SymbolicGraph, *, numerics: str) -> Future[CompiledGraph]:
    """The compiler of the native runner (see `runner_protocol.GraphCompiler`)."""
    future: Future[CompiledGraph] = Future()

    def work() -> None:
        try:
            future.set_result(build_native(graph, numerics))
        except CoexecError as error:
            future.set_exception(error)
        except Exception as error:  # a mistake of ours is told as what it is, and the step goes on eagerly
            future.set_exception(CompilationFailed(f"internal error: {type(error).__name__}: {error}"))

    threading.Thread(target=work, name="coexec-compile", daemon=True).start()
    return future


def build_native(graph: SymbolicGraph, numerics: str) -> NativeGraph:
    """Compiles a graph and waits for it.

    Raises CompilationFailed.
    """
    verify_symbolic(graph)
    parts = partition(graph)
    math: Math = "fast" if numerics == "fast" else "strict"
    channel.prepare()
    parts, compiled = compile_clusters(parts, math)
    verify_partition(parts)
    program = sequence(parts, compiled)
    verify_sequence(program)
    shapes = shapes_of(graph, program)
    plan = make_plan(graph, program, plan_buffers(graph, program), shapes)
    numbers = {id(kernel): number for number, kernel in enumerate(program.kernels)}
    placements = place(parts, {cluster: numbers[id(kernel)] for cluster, kernel in compiled.items()})
    return NativeGraph(plan, lambda: explain(plan), placements)


def compile_clusters(parts: Partition, math: Math) -> tuple[Partition, dict[Cluster, CompiledCluster]]:
    """The kernels of all clusters; the partition has clusters that had to be split replaced by their pieces.

    Raises CompilationFailed, naming the operation, where one cannot be compiled by itself.
    """
    nodes = nodes_by_id(parts.graph)
    compiled: dict[Cluster, CompiledCluster] = {}
    pieces: dict[Cluster, tuple[Cluster, ...]] = {}
    refusals = list(parts.refusals)
    for cluster, lowered, kernel in _compiled(parts.clusters, parts, nodes, math):
        if isinstance(kernel, Kernel):
            compiled[cluster] = _compiled_cluster(cluster, lowered, kernel)
            names = ", ".join(f"{node.op.name} ({node.where})" for node in cluster.nodes)
            logs.kernels.info("%s: %s", lowered.definition.name, names)
            continue
        if len(cluster.nodes) == 1 or isinstance(kernel, ProgramEnded):
            raise CompilationFailed(f"{cluster.nodes[0].where}: {cluster.nodes[0].op.name}: {kernel}") from kernel
        names = ", ".join(node.op.name for node in cluster.nodes)
        logs.kernels.warning(
            "a cluster of %d operations (%s) is compiled in halves: %s", len(cluster.nodes), names, kernel
        )
        pieces[cluster] = halves = split(cluster)
        refusals += refusals_between(halves, f"compiled in halves, because together: {kernel}")
    if not pieces:
        return parts, compiled
    blocks = tuple(tuple(p for step in steps for p in _replaced(step, pieces)) for steps in parts.blocks)
    parts, rest = compile_clusters(replace(parts, blocks=blocks, refusals=tuple(refusals)), math)
    return parts, {**rest, **compiled}


def _replaced(step: Step, pieces: dict[Cluster, tuple[Cluster, ...]]) -> tuple[Step, ...]:
    return pieces.get(step, (step,)) if isinstance(step, Cluster) else (step,)


def _compiled(
    clusters: Iterable[Cluster], parts: Partition, nodes: Specs, math: Math
) -> Iterator[tuple[Cluster, Lowered, Kernel | ComprehensionError]]:
    """Each cluster with its kernel or the reason why there is none; all are under way before the first is awaited."""

    def cost(cluster: Cluster) -> int:
        return sum(parts.profiles[node.id].work for node in cluster.nodes)

    asked: list[tuple[Cluster, Lowered, Future[Kernel]]] = []
    futures: dict[Key, Future[Kernel]] = {}
    for cluster in sorted(clusters, key=cost, reverse=True):
        lowered = lower(cluster, nodes)
        key = _key(lowered, math)
        if key not in futures:
            futures[key] = _request(lowered, math, key)
        asked.append((cluster, lowered, futures[key]))
    for cluster, lowered, future in asked:
        try:
            yield cluster, lowered, future.result()
        except ComprehensionError as error:
            yield cluster, lowered, error


def _key(lowered: Lowered, math: Math) -> Key:
    """What a kernel depends on."""
    specs = tuple(parameter.spec for parameter in lowered.parameters)
    return (to_text(tree.Program((lowered.definition,))), specs, math)


def _request(lowered: Lowered, math: Math, key: Key) -> Future[Kernel]:
    """The future kernel of a lowered cluster; one that this program has already is used again."""
    future: Future[Kernel] = Future()
    known = _kernels.get(key)
    if known is not None:
        future.set_result(known)
        return future
    try:
        module = define(tree.Program((lowered.definition,)), sizes="symbolic" if lowered.sizes else "static")
        specs = [parameter.spec for parameter in lowered.parameters]
        future = module[lowered.definition.name].compile_async(*specs, math=math)
    except ComprehensionError as error:
        future.set_exception(error)
        return future

    def remember(done: Future[Kernel]) -> None:
        if not done.cancelled() and done.exception() is None:
            _kernels[key] = done.result()

    future.add_done_callback(remember)
    return future


def _compiled_cluster(cluster: Cluster, lowered: Lowered, kernel: Kernel) -> CompiledCluster:
    stages = tuple(kernel.addresses[stage.symbol] for stage in kernel.manifest.stages)
    return CompiledCluster(cluster, lowered, kernel.manifest, stages, kernel)


def explain(plan: Plan) -> str:
    """The instructions, then each cluster: its comprehension and all that the compiler made of it."""
    parts = [plan.to_text()]
    for number, cluster in enumerate(plan.program.kernels):
        parts.append(f"=== kernel {number} ===\n{to_text(tree.Program((cluster.lowered.definition,)))}")
        parts.append(str(cluster.kernel.explain()))
    return "\n".join(parts)
