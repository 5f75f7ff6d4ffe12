"""Planted bugs from the generated code to the call: a bounded part of this folder's properties must find each.

Everything is compiled in this process, so that the bugs are in it, and into a cache folder that is thrown away: no
wrong kernel ever reaches the user's cache.  Each room has a finder, made of the checks that belong to it:

- generated code: machine code beside the reference;
- requests and launches: calls through the public face;
- the cache's folder: its own tests.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import native_kernels
import numpy as np
import pytest
import test_jit_cache
from planted import Find, Patch, Plant, Room, assert_found, change, every_bug_of, every_finder_of
from texts import kernel_of

import comprehension as tc
from comprehension import pipeline, stages
from comprehension.codegen import arithmetic, checks, elementary, fold, lowering, words
from comprehension.config import config
from comprehension.jit import cache, client, describe, launch, targets, variants
from comprehension.kernel import build, ir, versions
from comprehension.kernel.certificate import Certificate
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import Spec

# --- generated code --------------------------------------------------------------------------------------------


def rewrite(patch: Patch, function: Any, wrong: Any) -> None:
    """The function itself gets another body: numba keeps functions that it has typed, whatever they are called."""
    patch.setattr(function, "__code__", wrong.__code__)


def extremes_drop_nan(patch: Patch) -> None:
    rewrite(patch, arithmetic.extreme, lambda x, y, name, op: x.compare(op, y).choose(x, y))


def quotients_truncate(patch: Patch) -> None:
    rewrite(
        patch,
        arithmetic.emit_floor_div,
        lambda a, b: a.of(a.builder.sdiv(a.value, b.equals(0).choose(b.const(1), b).value)),
    )


def remainders_take_the_sign_of_the_dividend(patch: Patch) -> None:
    rewrite(
        patch,
        arithmetic.emit_floor_mod,
        lambda a, b: a.of(a.builder.srem(a.value, b.equals(0).choose(b.const(1), b).value)),
    )


def small_integers_saturate(patch: Patch) -> None:
    def saturated(converted: Any, x: Any, to: Any) -> Any:
        narrows = str(to) == "uint8" and str(x.dtype) == "int32"
        return (x > 255).choose(converted.const(255), converted) if narrows else converted

    change(patch, arithmetic, "emit_convert", saturated)


def exp_stops_at_the_normal_numbers(patch: Patch) -> None:
    right = elementary.clamp
    patch.setattr(elementary, "clamp", lambda x, low, high: right(x, max(low, -87.0), high))


def folds_take_every_other_lane_twice(patch: Patch) -> None:
    right = fold.shuffle
    patch.setattr(fold, "shuffle", lambda builder, a, b, lanes: right(builder, a, b, [n - n % 2 for n in lanes]))


def checks_let_the_extent_itself_pass(patch: Patch) -> None:
    def wider(found: list[checks.Check], *_: Any) -> list[checks.Check]:
        return [replace(check, extent=ir.IntOp("+", check.extent, ir.Int(1))) for check in found]

    change(patch, checks, "checks_of", wider)


def names_keep_their_first_value(patch: Patch) -> None:
    right = lowering._Lowering.assign

    def assign(self: Any, name: str, found: Any) -> None:
        if name not in self.places:
            right(self, name, found)

    patch.setattr(lowering._Lowering, "assign", assign)


def loops_end_a_round_early(patch: Patch) -> None:
    right = lowering._Lowering.loop

    def early(self: Any, name: str, bounds: Any, body: Any) -> None:
        start, stop, *step = bounds
        nearer = self.builder.sub(lowering._as(stop.type, stop), lowering.ir.Constant(lowering.I64, 1))
        right(self, name, [start, replace(stop, value=nearer), *step], body)

    patch.setattr(lowering._Lowering, "loop", early)


def a_round_of_random_words_is_left_out(patch: Patch) -> None:
    patch.setattr(words, "ROUNDS", 9)


CODE: list[Plant] = [
    names_keep_their_first_value,
    loops_end_a_round_early,
    a_round_of_random_words_is_left_out,
    extremes_drop_nan,
    quotients_truncate,
    remainders_take_the_sign_of_the_dividend,
    small_integers_saturate,
    exp_stops_at_the_normal_numbers,
    folds_take_every_other_lane_twice,
    checks_let_the_extent_itself_pass,
]
ARITHMETIC = """
def f(float(N) X, int32(N) A, int32(N) B) -> (M, E, Q, R, W) {
  M(i) = max(X(i), 0.0)
  E(i) = exp(X(i))
  Q(i) = A(i) / B(i)
  R(i) = A(i) % B(i)
  W(i) = uint8(A(i))
}
"""


WORDS = "def f(uint32(N) A, uint32(2) K) -> (w) { w(i) = philox(A(i), 1, 2, i, K(0), K(1)) }"


def compile_here(text: str, *specs: Spec) -> tuple[LoopProgram, native_kernels.Native]:
    program = infer(load(text)["f"], list(specs))
    return program, native_kernels.Native(kernel_of(program)[1])


def find_in_code() -> None:
    """Machine code beside the reference: elements special and ordinary; exp within its 2 ulp; folds; checks."""
    x = np.resize(np.array([np.nan, -np.inf, np.inf, -0.0, -150.0, -100.0, -90.0, -1.5, 0.25, 88.0, 100.0]), 37)
    a, b = np.resize(np.array([7, -7, 300, -300, 2**31 - 1]), 37), np.resize(np.array([2, -3, 5]), 37)
    arrays = {"X": x.astype(np.float32), "A": a.astype(np.int32), "B": b.astype(np.int32)}
    program, native = compile_here(ARITHMETIC, *(Spec(array.shape, str(array.dtype)) for array in arrays.values()))
    found, expected = native.bind(arrays), run(program, arrays)
    assert native.run() == 0
    for name in ("M", "Q", "R", "W"):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    np.testing.assert_array_max_ulp(found["E"], expected["E"], 2)

    table = np.arange(111, dtype=np.float32).reshape(3, 37)
    _, native = compile_here("def f(float(M, N) A) -> (s) { s(i) +=! A(i, j) }", Spec((3, 37), "float32"))
    found = native.bind({"A": table})
    assert native.run() == 0
    np.testing.assert_array_equal(found["s"], table.sum(1))

    program, native = compile_here(WORDS, Spec((19,), "uint32"), Spec((2,), "uint32"))
    drawn = {"A": np.arange(19, dtype=np.uint32) * 0x9E3779B1, "K": np.array([7, 2**31 + 5], np.uint32)}
    found = native.bind(drawn)
    assert native.run() == 0
    np.testing.assert_array_equal(found["w"], run(program, drawn)["w"])

    gather = "def f(float(N) T, int32(M) I) -> (O) { O(i) = T(I(i)) }"
    _, native = compile_here(gather, Spec((37,), "float32"), Spec((3,), "int32"))
    for last, refused in ((36, False), (37, True), (-1, True)):
        found = native.bind({"T": table[0], "I": np.array([0, 5, last], np.int32)})
        assert bool(native.run()) == refused
        assert refused or found["O"].tolist() == [0, 5, 36]


# --- requests and launches -------------------------------------------------------------------------------------


def a_plan_for_the_sizes_seen_runs_at_all(patch: Patch) -> None:
    """The numbers that were put into it are those of other launches, too."""
    patch.setattr(versions, "_exactly", lambda sizes: ir.Compare("<=", ir.Int(0), ir.Int(1)))


def _keys_without(**entry: Any) -> Plant:
    def plant(patch: Patch) -> None:
        right = client.key_of
        patch.setattr(client, "key_of", lambda request: right(replace(request, **entry)))

    plant.__name__ = f"cache_keys_ignore_{next(iter(entry))}"
    return plant


def preconditions_are_not_checked(patch: Patch) -> None:
    change(patch, describe, "manifest_of", lambda manifest, *_: replace(manifest, preconditions=()))
    patch.setattr(stages, "manifest_of", describe.manifest_of)


def strides_of_inputs_are_ignored(patch: Patch) -> None:
    patch.setattr(variants, "layout_of_array", lambda array: None)


def elements_that_nobody_writes_are_left_as_they_are(patch: Patch) -> None:
    patch.setattr(launch, "allocate_zeroed", lambda shape, dtype: np.full(shape, 7, dtype))


def the_last_unit_of_a_stage_is_not_run(patch: Patch) -> None:
    change(patch, describe, "_entry", lambda entry, *_: replace(entry, extent=max(entry.extent - 1, 1)))


def overlap_of_outputs_is_not_checked(patch: Patch) -> None:
    patch.setattr(targets, "overlap", lambda first, second: False)


def sums_start_from_one_and_every_certificate_counts_as_proved(patch: Patch) -> None:
    patch.setattr(build, "identity", lambda op, dtype: ir.Const(1.0, dtype))
    patch.setattr(Certificate, "__bool__", lambda self: True)


def kernels_are_handed_out_whatever_the_certificate_says(patch: Patch) -> None:
    """Right kernels, even, but nobody has proved it."""
    patch.setattr(stages, "certify", lambda *_: Certificate({"bounds": False}))
    consulted = pipeline._run_until_proved

    def run(compilation: Any) -> tuple[str, ...]:
        with suppress(pipeline.NotProved):
            return consulted(compilation)
        return ()

    patch.setattr(pipeline, "_run_until_proved", run)


CALLS: list[Plant] = [
    a_plan_for_the_sizes_seen_runs_at_all,
    _keys_without(specs=()),
    _keys_without(math="fast"),
    _keys_without(options=tc.MappingOptions()),
    _keys_without(layouts=()),
    preconditions_are_not_checked,
    strides_of_inputs_are_ignored,
    elements_that_nobody_writes_are_left_as_they_are,
    the_last_unit_of_a_stage_is_not_run,
    overlap_of_outputs_is_not_checked,
    sums_start_from_one_and_every_certificate_counts_as_proved,
    kernels_are_handed_out_whatever_the_certificate_says,
]
MULTIPLY_ADD = "def f(float(N) A, float(N) B, float(N) C) -> (D) { D(i) = A(i) * B(i) + C(i) }"
WINDOWS = "def f(float(C,H) I, float(F,C,P) K) -> (O) { O(f,h) +=! I(c,h+p) * K(f,c,p) }"
NEIGHBOURS = "def f(float(N) A, float(M) B) -> (C) { C(i) = A(i) + B(i + 1) where i in 0:N }"


def find_in_calls() -> None:
    """Calls whose results are known exactly, and calls that must be refused."""
    total = tc.define("def total(float(N, K) A) -> (S) { S(n) +=! A(n, k) }").total
    a = np.arange(35, dtype=np.float32).reshape(5, 7)
    np.testing.assert_array_equal(total(a), a.sum(1))
    np.testing.assert_array_equal(total(a[:, ::-1] * (a > 3)[:, ::-1]), (a * (a > 3)).sum(1))
    np.testing.assert_array_equal(total(np.asfortranarray(a)), a.sum(1))
    np.testing.assert_array_equal(total(a[:, :4]), a[:, :4].sum(1))
    np.testing.assert_array_equal(total(a[:, :4].copy()), a[:, :4].sum(1))
    assert total.compile(a).certificate
    part = tc.define("def part(float(N) A) -> (B) { B(i) = A(i) where i in 2:N }").part
    np.testing.assert_array_equal(part(a[0]), [0, 0, *a[0, 2:]])

    f = tc.define(MULTIPLY_ADD).f
    x, y = np.full(20, 1 + 2.0**-12, np.float32), np.full(20, -1 - 2.0**-11, np.float32)
    assert (f.compile(x, x, y)(x, x, y) == 2.0**-24).all()  # fused: rounded once
    assert (f.compile(x, x, y, math="strict")(x, x, y) == 0).all()
    assert "tile" not in f.compile(x, x, y, options=tc.MappingOptions(vectorize=False)).source
    with pytest.raises(tc.ComprehensionError, match="overlaps"):
        f(x, x, y, out=y)

    windows, image = tc.define(WINDOWS, sizes="symbolic").f, np.arange(2 * 12, dtype=np.float32).reshape(2, 12)
    for p in 3, 2, 4:  # planned for windows of 3
        taps = np.arange(5 * 2 * p, dtype=np.float32).reshape(5, 2, p)
        seen = np.lib.stride_tricks.sliding_window_view(image, p, 1)
        np.testing.assert_array_equal(windows(image, taps), np.einsum("chp,fcp->fh", seen, taps))

    neighbours, line = tc.define(NEIGHBOURS, sizes="symbolic").f, np.arange(21, dtype=np.float32)
    np.testing.assert_array_equal(neighbours(x, line), x + line[1:])
    with pytest.raises(tc.ComprehensionError, match="M"):
        neighbours(x, x)


# --- the cache's folder ----------------------------------------------------------------------------------------


def contents_are_not_compared_with_their_hashes(patch: Patch) -> None:
    same = SimpleNamespace(hexdigest=lambda: "0" * 64)
    patch.setattr(cache, "hashlib", SimpleNamespace(sha256=lambda data=b"": same))


def folders_that_others_can_write_are_trusted(patch: Patch) -> None:
    patch.setattr(cache, "check_private", lambda folder: None)


FOLDER: list[Plant] = [contents_are_not_compared_with_their_hashes, folders_that_others_can_write_are_trusted]


def find_in_folder() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        stored = cache.Cache(folder)
        test_jit_cache.test_what_was_stored_comes_back(folder)
        file = stored._entry(test_jit_cache.KEY) / "kernel.o"
        file.write_bytes(file.read_bytes()[:-1])
        assert stored.load(test_jit_cache.KEY) is None
        test_jit_cache.test_folder_that_others_can_write_is_refused(folder, 0o777)


# --- every finder finds every bug of its room, and nothing else --------------------------------------------------


@pytest.fixture(autouse=True)
def _in_process(fresh_client: None, monkeypatch: Patch) -> None:
    config.in_process = True
    monkeypatch.setattr(native_kernels, "_LOADED", {})


ROOMS: list[Room] = [(find_in_code, CODE), (find_in_calls, CALLS), (find_in_folder, FOLDER)]


@every_bug_of(ROOMS)
def test_planted_bug_is_found(find: Find, plant: Plant, monkeypatch: Patch) -> None:
    plant(monkeypatch)
    assert_found(find)


@every_finder_of(ROOMS)
def test_nothing_is_found_without_a_bug(find: Find) -> None:
    """After all the others: no bug stays planted."""
    find()
