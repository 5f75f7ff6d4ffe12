"""Launches with hand-written kernels: checks before anything is written, sizes, strides, overlap, families."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from comprehension.config import config
from comprehension.errors import ComprehensionError
from comprehension.jit.emit import STAGE_SIGNATURE, emit_by_numba
from comprehension.jit.launch import Launcher
from comprehension.jit.load import load_object
from comprehension.jit.manifest import BufferSlot, Manifest, StageEntry
from comprehension.jit.runner import Runner
from comprehension.kernel.outside import Outside
from comprehension.machine import host

STAGES = """
from numba import carray
import numpy as np

def add(buffers, dims, scratch, lo, hi):
    m = dims[0]
    n = dims[1]
    a = carray(buffers[0], (m, n), np.float32)
    b = carray(buffers[1], (n,), np.float32)
    c = carray(buffers[2], (m, n), np.float32)
    w = carray(buffers[3], (m, n), np.float32)
    s = carray(buffers[4], (1,), np.float32)
    p = carray(scratch, (n,), np.float32)
    for i in range(lo, hi):
        for j in range(n):
            p[j] = b[j] * s[0]
        for j in range(n):
            w[i, j] = a[i, j] + p[j]
    return 0

def double(buffers, dims, scratch, lo, hi):
    m = dims[0]
    n = dims[1]
    c = carray(buffers[2], (m, n), np.float32)
    w = carray(buffers[3], (m, n), np.float32)
    for i in range(lo, hi):
        for j in range(n):
            c[i, j] = w[i, j] * np.float32(2)
    return 0

def check(buffers, dims, scratch, lo, hi):
    n = dims[1]
    b = carray(buffers[1], (n,), np.float32)
    record = carray(buffers[5], (8,), np.int64)
    for j in range(n):
        if b[j] < 0:
            record[2] = j
            record[3] = 0
            return 1
    return 0
"""
MANIFEST = Manifest(
    name="scaled",
    target="cpu",
    sizes=("M", "N"),
    slots=(
        BufferSlot("A", "input", "float32", ("M", "N")),
        BufferSlot("B", "input", "float32", ("N",)),
        BufferSlot("C", "output", "float32", ("M", "N")),
        BufferSlot("W", "workspace", "float32", ("M", "N")),
        BufferSlot("s", "scalar", "float32", ()),
    ),
    stages=(
        StageEntry("check", 1, 1, 0.0),
        StageEntry("add", "M", 1, "(N * 2)"),
        StageEntry("double", "M", 1, "N"),
    ),
    scratch_bytes="(N * 4)",
    preconditions=(("(N < 1000)", "N must be less than 1000"),),
    errors=(Outside("B", 0, "index"),),
)


@pytest.fixture(scope="module")
def launcher() -> Launcher:
    entries = dict.fromkeys(("add", "double", "check"), STAGE_SIGNATURE)
    loaded = load_object("launch_test", emit_by_numba("launch_test", STAGES, entries, host()), entries)
    return Launcher(Runner(MANIFEST, loaded, ("A", "s", "B")), ("A", "s", "B"))


def arrays(m: int = 5, n: int = 7) -> tuple[np.ndarray, float, np.ndarray]:
    a = np.arange(m * n, dtype=np.float32).reshape(m, n)
    return a, 0.5, np.arange(n, dtype=np.float32)


def expected(a: np.ndarray, s: float, b: np.ndarray) -> np.ndarray:
    return (a + b * np.float32(s)) * 2


@pytest.mark.parametrize("m,n", [(5, 7), (1, 1), (0, 4), (4, 0), (200, 300)])
@pytest.mark.parametrize("threads", [1, 3])
def test_result(launcher, m: int, n: int, threads: int, monkeypatch) -> None:
    monkeypatch.setattr(config, "threads", threads)
    monkeypatch.setattr(config, "parallel_ns", 100.0)
    inputs = arrays(m, n)
    assert (launcher(inputs) == expected(*inputs)).all()
    out = np.full((m, n), -1, np.float32)
    assert launcher(inputs, out) is out
    assert (out == expected(*inputs)).all()


def test_inputs_of_any_strides_and_read_only(launcher) -> None:
    a, s, b = arrays(6, 4)
    for variant in (
        np.asfortranarray(a),
        a[::-1, ::-1],
        np.broadcast_to(a[:1], (6, 4)),
        np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
        np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(np.float32).reshape(6, 4),  # not aligned
    ):
        before = variant.copy()
        assert (launcher((variant, s, b)) == expected(before, s, b)).all()
        assert (variant == before).all()
    frozen = a.copy()
    frozen.flags.writeable = False
    assert (launcher((frozen, s, b)) == expected(a, s, b)).all()


def test_strided_out_is_written_and_nothing_beside_it(launcher) -> None:
    inputs = arrays(6, 4)
    for make in (
        lambda: np.full((6, 8), -1, np.float32)[:, ::2],
        lambda: np.full((4, 6), -1, np.float32).T,
        lambda: np.full((6, 4), -1, np.float32)[::-1],
    ):
        out = make()
        assert launcher(inputs, out) is out
        assert (out == expected(*inputs)).all()
    wide = np.full((6, 8), -1, np.float32)
    launcher(inputs, wide[:, ::2])
    assert (wide[:, 1::2] == -1).all()


def test_interleaved_views_do_not_overlap(launcher) -> None:
    a, s, b = arrays(6, 4)
    both = np.zeros((6, 8), np.float32)
    both[:, ::2] = a
    launcher((both[:, ::2], s, b), both[:, 1::2])
    assert (both[:, ::2] == a).all() and (both[:, 1::2] == expected(a, s, b)).all()


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda a, s, b: (a, s), r"expected 3 arguments \(A, s, B\), found 2"),
        (lambda a, s, b: (a, s, b, b), r"expected 3 arguments \(A, s, B\), found 4"),
        (lambda a, s, b: (a.astype(np.float64), s, b), r"A: expected float32, found float64 \(arrays are never conv"),
        (lambda a, s, b: (a.astype(">f4"), s, b), r"A: expected float32, found >f4"),
        (lambda a, s, b: (a[0], s, b), r"A: expected 2 dimensions, found 1: shape \(7,\)"),
        (lambda a, s, b: (a, s, b[:4]), r"B: N is 4 here \(dimension 0\) and 7 in an earlier input"),
        (lambda a, s, b: (a.tolist(), s, b), r"A: expected an array, found a list; use numpy.asarray"),
        (lambda a, s, b: (a, "1", b), r"s: expected a number for float32, found the str '1'"),
        (lambda a, s, b: (a, 1j, b), r"s: expected a number for float32, found the complex 1j"),
        (lambda a, s, b: (a, True, b), r"s: expected a number for float32, found the bool True"),
        (lambda a, s, b: (a, 1e39, b), r"s: 1e\+39 does not fit float32"),
        (lambda a, s, b: (a, np.float64(1), b), r"s: expected float32, found float64"),
        (lambda a, s, b: (a, b, b), r"s: expected a scalar of float32, found an array of shape \(7,\)"),
        (lambda a, s, b: arrays(1, 1000), r"N must be less than 1000 \(M = 1, N = 1000"),
        (
            lambda a, s, b: (a, s, b - 3),
            r"scaled: index: subscript 0 of B is out of range: 0, and 'B' has no elements there",
        ),
    ],
)
def test_refused_calls_say_why_and_write_nothing(launcher, change, message: str) -> None:
    a, s, b = arrays()
    out = np.full((5, 7), -1, np.float32)
    with pytest.raises(ComprehensionError, match=message):
        launcher(change(a, s, b), out)
    assert (out == -1).all()


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda a, b: np.zeros((5, 8), np.float32), r"out=C: expected float32 of shape \(5, 7\), found .* \(5, 8\)"),
        (lambda a, b: np.zeros((5, 7), np.int32), r"out=C: expected float32 of shape \(5, 7\), found int32"),
        (lambda a, b: (np.zeros((5, 7), np.float32),) * 2, r"out= has 2 arrays, the results are 1"),
        (lambda a, b: np.broadcast_to(np.float32(0), (5, 7)), r"out=C is read-only"),
        (lambda a, b: a, r"out=C overlaps A"),
        (lambda a, b: np.lib.stride_tricks.as_strided(b, (5, 7), (0, 4)), r"out=C overlaps B"),
        (lambda a, b: [0], r"out=C: expected an array, found a list"),
        (
            lambda a, b: np.lib.stride_tricks.as_strided(np.zeros(7, np.float32), (5, 7), (0, 4)),
            r"out=C overlaps itself",
        ),
    ],
)
def test_refused_outputs(launcher, make, message: str) -> None:
    a, s, b = arrays()
    kept = a.copy()
    with pytest.raises(ComprehensionError, match=message):
        launcher((a, s, b), make(a, b))
    assert (a == kept).all()


def test_scalars_of_every_kind(launcher) -> None:
    a, _, b = arrays()
    for scalar in (2, 2.0, np.float32(2), np.array(2, np.float32)):
        assert (launcher((a, scalar, b)) == expected(a, 2, b)).all()
    assert np.isnan(launcher((a, float("nan"), b + 1))).all()
    assert np.isinf(launcher((a, float("inf"), b + 1))).all()


def test_many_threads_call_one_kernel(launcher) -> None:
    failures: list[object] = []

    def work(number: int) -> None:
        for turn in range(200):
            inputs = arrays(number + 1, turn % 13 + 1)
            if not (launcher(inputs) == expected(*inputs)).all():
                failures.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


class Lent:
    """An array of some other library: DLPack and a namespace of its own."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **keywords):
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __array_namespace__(self):
        return Namespace


class Namespace:
    @staticmethod
    def from_dlpack(array: np.ndarray) -> Lent:
        return Lent(np.from_dlpack(array))


class OnDevice(Lent):
    def __dlpack_device__(self):
        return (2, 0)


def test_what_comes_in_decides_what_comes_out(launcher) -> None:
    a, s, b = arrays()
    found = launcher((Lent(a), s, Lent(b)))
    assert type(found) is Lent and (found.array == expected(a, s, b)).all()
    out = Lent(np.zeros((5, 7), np.float32))
    assert launcher((Lent(a), s, Lent(b)), out) is out
    assert (out.array == expected(a, s, b)).all()


def test_mixtures_and_devices_are_refused(launcher) -> None:
    a, s, b = arrays()
    with pytest.raises(ComprehensionError, match="arrays of .* and of .* in one call"):
        launcher((Lent(a), s, b))
    with pytest.raises(ComprehensionError, match="is an array of numpy, the inputs are of"):
        launcher((Lent(a), s, Lent(b)), np.zeros((5, 7), np.float32))
    with pytest.raises(ComprehensionError, match="A: this .*OnDevice is on a device"):
        launcher((OnDevice(a), s, Lent(b)))


def test_manifest_round_trip() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST
