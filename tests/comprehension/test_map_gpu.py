"""Mapping to blocks and threads: as the options say, proved with its barriers, and right for every shape."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import texts
from constructs import CONSTRUCTS
from cuda_runs import lowered, mapped_text, plain_kernel, reference, simulated
from hypothesis import given, settings, strategies as st

from comprehension.codegen.cuda import generate_cuda
from comprehension.errors import IllegalSchedule
from comprehension.jit.cuda_simulator import CudaSimulator
from comprehension.kernel import ir
from comprehension.kernel.interpret import interpret
from comprehension.kernel.printer import to_text
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.verify import KernelError, verify_kernel
from comprehension.lang.types import ScalarType
from comprehension.options import MAX_THREADS, PRESETS, MappingOptions
from comprehension.poly.certificate import certify
from comprehension.poly.scop import build_scop
from comprehension.poly.transform import map_gpu
from comprehension.testing import Example, examples

VAR, INT = ir.Var, ir.Int


@pytest.fixture(scope="module")
def simulator():
    with CudaSimulator() as running:
        yield running


def mapped(name, options=MappingOptions(), sizes="static"):  # noqa: B008 - frozen
    """The Scop and the mapped kernel of one of `texts`."""
    return mapped_text(texts.program_of(name, sizes)[0], options)


def body_of(kernel):
    """The stages as text, without the declarations."""
    text = to_text(kernel)
    return [line.removeprefix("  ") for line in text[text.index("  stage ") :].splitlines()]


# --- what is divided among what -------------------------------------------------------------------------------------


def test_the_naive_preset_maps_tiles_to_blocks_and_points_to_threads():
    _, kernel = mapped("matmul", replace(PRESETS["naive"], tile=(4, 8, 4), threads=(8, 2)))
    assert body_of(kernel) == [
        "stage stage0:",
        "  for c0t in 0:9 step 4 on block.x:",
        "    for c1t in 0:19 step 8 on block.y:",
        "      for c0 in c0t:min(9, (c0t + 4)) on thread.y:",
        "        for c1 in c1t:min(19, (c1t + 8)) on thread.x:",
        "          C_kept() = float32 0.0  # S0_init(c0, c1)",
        "          for c2 in 0:6:",
        "            C_kept() = fma(A(c0, c2)#1, B(c2, c1)#2, C_kept()#3)  # S0(c0, c1, c2)",
        "          C(c0, c1) = C_kept()  # copy",
    ]


def test_what_threads_do_not_divide_is_left_to_the_first_one():
    _, kernel = mapped("softmax")
    assert [line.split("  #")[0] for line in body_of(kernel)] == [
        "stage stage0:",
        "  for c0 in 0:4 on block.x:",
        "    for only2 in 0:1 on thread.x:",
        "      t_local_kept() = float32 -inf",
        "      for c1 in 0:19:",
        "        t_local_kept() = max(t_local_kept()#2, X(c0, c1)#1)",
        "      t_local() = t_local_kept()",
        "    barrier",
        "    for c1 in 0:19 on thread.x:",
        "      E_local(c1) = exp((X(c0, c1)#1 - t_local()#2))",
        "    barrier",
        "    for only3 in 0:1 on thread.x:",
        "      s_local_kept() = float32 0.0",
        "      for c1 in 0:19:",
        "        s_local_kept() = (s_local_kept()#2 + E_local(c1)#1)",
        "      s_local() = s_local_kept()",
        "    barrier",
        "    for c1 in 0:19 on thread.x:",
        "      Y(c0, c1) = (E_local(c1)#1 / s_local()#2)",
    ]
    spaces = {b.name: b.space for b in kernel.buffers}
    assert all(spaces[f"{name}_local"] is ir.Space.SHARED for name in "tEs")


def rows_read_backwards():
    text = (
        "def f(float(M, N) X) -> (Y) { E(i, j) = X(i, j) * X(i, j)"
        "  Y(i, j) = E(i, N - 1 - j) where i in 0:M, j in 0:N }"
    )
    return mapped_text(texts_program(text, (3, 7)), MappingOptions(threads=(4,), fusion="max"))


def test_a_barrier_keeps_the_next_iteration_from_overwriting():
    """E of the next row must not be written before all threads have read that of this row."""
    _, kernel = rows_read_backwards()
    (outer,) = kernel.stages[0].body
    assert [type(node).__name__ for node in outer.body] == ["Loop", "Barrier", "Loop", "Barrier"]


def texts_program(text, *shapes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(texts.TEXTS, "own", (text, list(shapes)))
        return texts.program_of("own")[0]


def test_threads_and_blocks_of_the_options_are_the_shape():
    found, *_ = lowered(*CONSTRUCTS["a permutation"][:2], MappingOptions(threads=(2, 2), blocks=(2, 2)))
    (entry,) = found.generated.entries
    assert entry.threads == ("2", "2", "1") and entry.blocks == ("2", "2", "1")


def test_shapes_have_no_more_threads_than_work_and_dimensions_that_nobody_divides_are_1():
    found, *_ = lowered(*CONSTRUCTS["a permutation"][:2], PRESETS["pointwise"])
    (entry,) = found.generated.entries
    assert entry.threads == ("3", "4", "1") and entry.blocks == ("1", "1", "1")


def test_symbolic_shapes_are_texts_over_sizes():
    _, kernel = mapped("outer", MappingOptions(threads=(32, 8), blocks=(100, 100)), "symbolic")
    (entry,) = generate_cuda(kernel).entries
    assert entry.threads == ("32", "8", "1")
    assert entry.blocks == (
        "max(1, min(max(((M + 7) // 8), 0), 100))",
        "max(1, min(max(((N + 31) // 32), 0), 100))",
        "1",
    )


@pytest.mark.parametrize(("options", "kept", "shared"), [({}, 2, 3), ({"private": False}, 0, 3)])
def test_private_keeps_accumulators_in_registers(options, kept, shared):
    _, kernel = mapped("softmax", MappingOptions(**options))
    assert sum(b.space is ir.Space.REGISTER for b in kernel.buffers) == kept
    assert sum(b.space is ir.Space.SHARED for b in kernel.buffers) == shared


def test_shared_false_keeps_what_a_block_shares_in_global_memory():
    _, kernel = mapped("softmax")
    assert "cuda.shared.array(19, np.float32)" in generate_cuda(kernel).text
    elsewhere = generate_cuda(kernel, shared=False)
    assert "cuda.shared" not in elsewhere.text
    kinds = {p.name: (p.kind, p.elements) for p in elsewhere.entries[0].parameters}
    assert kinds["E_local"] == ("block scratch", "19")


# --- the proof ------------------------------------------------------------------------------------------------------

COOPERATING = ["softmax", "layer_norm", "attention", "moments", "scan"]


def without(kernel, number, kind):
    """The kernel without its `number`-th node of a kind."""
    count = iter(range(1000))

    def kept(nodes):
        result = []
        for node in nodes:
            if isinstance(node, kind) and next(count) == number:
                continue
            if isinstance(node, ir.Loop | ir.If):
                node = replace(node, body=kept(node.body))
            result.append(node)
        return tuple(result)

    return replace(kernel, stages=tuple(replace(stage, body=kept(stage.body)) for stage in kernel.stages))


@pytest.mark.parametrize("name", COOPERATING)
@pytest.mark.parametrize("threads", [(4,), (3, 2)])
def test_every_barrier_is_needed_for_the_proof(name, threads):
    scop, kernel = mapped(name, MappingOptions(threads=threads))
    assert certify(scop, None, kernel)
    for number in range(sum(1 for _ in nodes_of(kernel.stages, ir.Barrier))):
        found = certify(scop, None, without(kernel, number, ir.Barrier))
        assert not found.properties["barriers"], f"barrier {number} of {name} is not needed:\n{to_text(kernel)}"
        assert all(holds for name, holds in found.properties.items() if name != "barriers")


def test_a_missing_barrier_is_told_by_who_comes_first():
    scop, kernel = rows_read_backwards()
    for number, (first, later) in enumerate([("writes", "reads"), ("reads", "writes")]):
        (example,) = certify(scop, None, without(kernel, number, ir.Barrier)).counterexamples
        assert re.search(rf" {first} E_local, .* {later} it later, in another thread, without a barrier", example)


def remapped(kernel, wanted, mapping):
    """The kernel with the loops for which `wanted` holds divided differently."""
    stages = rewrite(kernel.stages, ir.Loop, lambda n: replace(n, mapping=mapping) if wanted(n) else n)
    return replace(kernel, stages=stages)


@pytest.mark.parametrize("mapping", ["thread.x", "block.x"])
def test_a_loop_that_carries_a_dependence_is_divided_by_nobody(mapping):
    scop, kernel = mapped("scan", MappingOptions(threads=()))
    steps = [loop for loop in nodes_of(kernel.stages, ir.Loop) if loop.lower == INT(1)]
    assert [loop.mapping for loop in steps] == [None]
    found = certify(scop, None, remapped(kernel, lambda n: n.lower == INT(1), mapping))
    assert not found.properties["parallel"] and not found.properties["barriers"]
    assert any("in another unit" in example for example in found.counterexamples)


def test_what_several_threads_would_run_is_refused():
    scop, kernel = mapped("softmax")
    found = certify(scop, None, remapped(kernel, lambda n: n.variable == "only2", None))
    assert not found.properties["barriers"]
    assert any("0 loops of thread.x, which its stage divides" in example for example in found.counterexamples)


def test_a_barrier_inside_of_a_divided_loop_is_refused():
    scop, kernel = mapped("relu", MappingOptions(threads=(4,)))
    inside = rewrite(
        kernel.stages,
        ir.Loop,
        lambda n: replace(n, body=(*n.body, ir.Barrier())) if n.mapping == "thread.x" else n,
    )
    found = certify(scop, None, replace(kernel, stages=inside))
    assert not found.properties["barriers"]
    assert any("not all threads come to a barrier" in example for example in found.counterexamples)
    with pytest.raises(KernelError, match="barrier"):
        verify_kernel(replace(kernel, stages=inside))


def test_what_a_block_shares_is_not_a_threads_own():
    scop, kernel = mapped("softmax")
    private = [replace(b, space=ir.Space.SCRATCH) if b.space is ir.Space.SHARED else b for b in kernel.buffers]
    found = certify(scop, None, replace(kernel, buffers=tuple(private)))
    assert not found.properties["buffers"]


def test_a_thread_keeps_nothing_from_one_divided_loop_to_the_next():
    """B(i) from x(i), both in loops of the same threads: with fewer threads than points x would be overwritten."""
    program = texts_program("def f(float(N) A) -> (B) { x(i) = A(i) * A(i)  B(i) = x(i) + 1.0 }", (9,))
    scop = build_scop(program)
    f32, i = ScalarType.FLOAT32, VAR("i")
    own = ir.Buffer("own", f32, (), ir.Space.SCRATCH, promoted_from="x")
    square = ir.BinaryOp("*", ir.Load("A", (i,), f32, 1), ir.Load("A", (i,), f32, 2), f32)
    more = ir.BinaryOp("+", ir.Load("own", (), f32, 1), ir.Const(1.0, f32), f32)
    first = ir.Store("own", (), square, instance=ir.Instance("S0", (i,)))
    second = ir.Store("B", (i,), more, instance=ir.Instance("S1", (i,)))
    buffers = (
        ir.Buffer("A", f32, (INT(9),), ir.Space.INPUT),
        ir.Buffer("B", f32, (INT(9),), ir.Space.OUTPUT),
        own,
    )

    def kernel(*bodies):
        loops = tuple(ir.Loop("i", INT(0), INT(9), body, mapping="thread.x") for body in bodies)
        return ir.Kernel("f", (), (), buffers, (ir.Stage("stage0", loops),))

    assert certify(scop, None, kernel((first, second)))
    assert not certify(scop, None, kernel((first,), (second,))).properties["buffers"]


def test_what_cannot_be_proved_is_mapped_to_fewer_threads(monkeypatch):
    """The steps of the scan are taken for parallel: neither threads nor, at last, anything else divides them."""
    monkeypatch.setattr(map_gpu.Parallelism, "is_parallel", lambda self, loop: loop.lower == INT(1))
    scop = build_scop(texts.program_of("scan")[0])
    found = map_gpu.map_to_gpu(scop, plain_kernel(scop), MappingOptions())
    assert found.certificate and not any(loop.mapping for loop in nodes_of(found.kernel.stages, ir.Loop))
    assert found.steps == ("stage0: one thread",)
    assert [reason.split(":")[0] for reason in found.refused] == [
        "2 dimensions of threads",
        "2 dimensions of threads, nothing in registers",
        "1 dimensions of threads, nothing in registers",
    ]


def test_a_mapping_that_cannot_be_proved_is_not_made(monkeypatch):
    monkeypatch.setattr(map_gpu.Parallelism, "is_parallel", lambda self, loop: True)
    with pytest.raises(IllegalSchedule, match="no mapping of f can be proved:\n.*in another unit"):
        mapped("prefix")


# --- any options give a right kernel --------------------------------------------------------------------------------

SIZES = st.lists(st.sampled_from((1, 2, 3, 4, 7, 32)), min_size=1, max_size=3).map(tuple)
OPTIONS = st.builds(
    MappingOptions,
    tile=st.none() | st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple),
    fusion=st.sampled_from(("max", "min", "preserve")),
    threads=st.none() | SIZES.map(lambda sizes: sizes if np.prod(sizes) <= MAX_THREADS else sizes[:2]),
    blocks=st.none() | SIZES,
    shared=st.booleans(),
    private=st.booleans(),
    unroll=st.sampled_from((None, 1, 4, 64)),
)
COOPERATIVE = ("softmax", "layer_norm", "scan", "attention", "wavenet", "two_sums", "moments", "triangle", "scatter")


@settings(max_examples=max(25, settings().max_examples // 2))
@given(example=examples(), options=OPTIONS, limits=st.sampled_from((((4, 2, 2), (3, 2, 2)), ((1, 1, 1), (1, 1, 1)))))
def test_drawn_comprehensions_give_what_the_reference_gives(simulator, example: Example, options, limits):
    if any(word in example.text for word in (" += ", " max= ", " min= ")) and "!" not in example.text:
        return  # may need the caller's buffer
    found = simulated(simulator, example.text, example.inputs, options=options, math="strict", limits=limits)
    for array, expected in zip(found, reference(example.text, example.inputs), strict=True):
        np.testing.assert_array_equal(array, expected, err_msg=str(example))


@settings(max_examples=max(15, settings().max_examples // 2))
@given(name=st.sampled_from(COOPERATIVE), options=OPTIONS, math=st.sampled_from(("fast", "strict")))
def test_threads_that_work_together_give_what_the_reference_gives(simulator, name, options, math):
    text, _ = texts.TEXTS[name]
    program, arrays, _ = texts.program_of(name)
    found = simulated(
        simulator, text, list(arrays.values())[: len(program_inputs(program))], options=options, math=math
    )
    for array, expected in zip(found, reference(text, list(arrays.values())), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5)


def program_inputs(program):
    return [tensor for tensor in program.tensors if tensor.role.value == "input"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["matmul", "softmax", "conv", "mlp", "relu"])
def test_presets_are_usable_as_they_are(preset, name, simulator):
    text, _ = texts.TEXTS[name]
    _, arrays, _ = texts.program_of(name)
    found = simulated(simulator, text, list(arrays.values()), options=PRESETS[preset])
    for array, expected in zip(found, reference(text, list(arrays.values())), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-6)


@pytest.mark.parametrize("name", COOPERATING)
def test_threads_may_run_in_any_order(name):
    _, kernel = mapped(name, MappingOptions(threads=(4, 2)))
    _, arrays, _ = texts.program_of(name)
    forwards, backwards = (interpret(kernel, arrays, order=order) for order in (iter, reversed))
    for output, values in forwards.items():
        np.testing.assert_array_equal(backwards[output], values)
