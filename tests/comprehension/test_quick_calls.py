"""Quick calls against the long way: the same results, the same refusals, whatever the arguments."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import comprehension as tc
from comprehension.config import config
from comprehension.errors import ComprehensionError
from comprehension.jit import native_function, pool, quick_layout as at
from comprehension.jit.launch import Launcher

TEXT = """
def f(float(M, N) A, float(N) B, float s) -> (C, D) {
    t(m, n) = A(m, n) * s + B(n)
    C(m, n) = t(m, n) * t(m, n)
    D(m) +=! t(m, n)
}
def add(float(N) A, float(N) B) -> (C) { C(i) = A(i) + B(i) }
def pick(float(N) A, int32(K) I) -> (B) { B(k) = A(I(k)) }
def sum(float(N) A) -> (s) { s +=! A(i) }
def grow(float(N) A) -> (B) { B(i) += A(i) }
"""


@pytest.fixture(scope="module", autouse=True)
def native() -> native_function.NativeFunction:
    """The machine code of quick calls: a program gets it in the background, a test waits for it."""
    made = native_function.prepare()
    assert made is not None, "this interpreter has no quick calls: nothing here would be tested"
    return made


@pytest.fixture(scope="module")
def module() -> tc.Module:
    with pytest.warns(tc.ComprehensionWarning, match="accumulates"):
        return tc.define(TEXT, sizes="symbolic")


def served(call: Any, *arguments: Any) -> bool:
    """Whether the quick way takes a call."""
    return call(*arguments) is not None


@dataclass(frozen=True)
class Place:
    """Where an array lies in a block of floats: everything that can be wrong about one."""

    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements
    dtype: str = "float32"
    is_writable: bool = True

    def on(self, block: np.ndarray) -> np.ndarray:
        whole = block[self.start :].view(self.dtype)
        strides = tuple(whole.itemsize * stride for stride in self.strides)
        return np.lib.stride_tricks.as_strided(whole, self.shape, strides, writeable=self.is_writable)


GOOD: dict[str, Any] = {
    "a": Place(0, (4, 5), (5, 1)), "b": Place(40, (5,), (1,)), "scalar": 0.5,
    "c": Place(80, (4, 5), (5, 1)), "d": Place(120, (4,), (1,)),
}  # fmt: skip


def changes(name: str) -> list[Any]:
    """Everything that can be different about one argument of the good call: place, strides, type, shape, value ..."""
    if name == "scalar":
        return [2.0, float("inf"), float("nan"), 3, True, 1e39, -1e39, np.float32(2), None]
    good: Place = GOOD[name]
    dense = good.strides
    changed = [replace(good, start=start) for start in (0, 1, 38, 44, 77, 99, 118, 123, 130)]
    changed += [replace(good, strides=each) for each in (tuple(2 * s for s in dense), (0,) * len(dense))]
    changed += [replace(good, dtype=each) for each in ("int32", "float64")]
    changed.append(replace(good, shape=(*good.shape[:-1], good.shape[-1] - 1)))
    return [*changed, replace(good, is_writable=False), None]


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    """The good call with two arguments changed."""
    names = draw(st.lists(st.sampled_from(sorted(GOOD)), min_size=2, max_size=2, unique=True))
    return GOOD | {name: draw(st.sampled_from(changes(name))) for name in names}


def outcome(launch: Any, blocks: list[np.ndarray], inputs: list[Any], outputs: list[Place] | None) -> list[Any]:
    """What a call does: the results or the refusal, and all memory afterwards."""
    arrays = [each.on(blocks[0]) if isinstance(each, Place) else each for each in inputs]
    out = (
        None
        if outputs is None
        else tuple(each and each.on(block) for each, block in zip(outputs, blocks[1:], strict=True))
    )
    try:
        results = launch(arrays, out)
        found: list[Any] = [results is out, *[(r.dtype, r.shape, r.tobytes()) for r in results]]
    except ComprehensionError as reason:
        found = [str(reason)]
    return [*found, *[block.tobytes() for block in blocks]]


def check_call(module: tc.Module, call: dict[str, Any], is_given: bool, is_one_block: bool) -> None:
    """The same outcome both ways, where a quick call of the good arguments is possible."""
    launcher: Launcher = module.f.compile(*[tc.Spec(s, "float32") for s in (("M", "N"), ("N",), ())]).launcher

    def blocks() -> list[np.ndarray]:
        """The inputs' memory, and the outputs' of each; often the same."""
        made = [np.arange(400, dtype=np.float32) % 7 for _ in range(3)]
        return [made[0]] * 3 if is_one_block else made

    def run(launch: Any, call: dict[str, Any]) -> list[Any]:
        outputs = [call["c"], call["d"]] if is_given else None
        return outcome(launch, blocks(), [call["a"], call["b"], call["scalar"]], outputs)

    run(launcher.launch_slowly, GOOD)
    assert launcher.ticket is not None
    wanted = run(launcher.launch_slowly, call)
    assert run(launcher, call) == wanted
    assert run(launcher, call) == wanted  # now with a ticket of its own, if it may have one


@pytest.mark.parametrize("name", sorted(GOOD))
def test_one_change_does_the_same_both_ways(module: tc.Module, name: str) -> None:
    for change in changes(name):
        for is_given, is_one_block in ((False, False), (True, False), (True, True)):
            check_call(module, GOOD | {name: change}, is_given, is_one_block)


@given(call=calls(), is_given=st.booleans(), is_one_block=st.booleans())
def test_two_changes_do_the_same_both_ways(
    module: tc.Module, call: dict[str, Any], is_given: bool, is_one_block: bool
) -> None:
    check_call(module, call, is_given, is_one_block)


def arrays(n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n, dtype=np.float32), np.ones(n, np.float32)


def test_the_usual_calls_are_quick(module: tc.Module) -> None:
    """Through a kernel and through its comprehension, with and without `out=`, strided arguments, several shapes."""
    a, b = arrays()
    out, wide = np.empty(8, np.float32), np.arange(16, dtype=np.float32)
    for inputs, target in (((a, b), out), ((a, b), None), ((wide[::2], b[::-1]), None), ((a[:5], b[:5]), out[:5])):
        wanted = inputs[0] + inputs[1]
        for each in (module.add, module.add.compile(*inputs)):
            assert (each(*inputs, out=target) == wanted).all()
            quick = each._quick if isinstance(each, tc.Comprehension) else each.launcher.quick
            assert served(quick.call, *inputs, target)
            assert (each(*inputs, out=target) == wanted).all()
    total = module.sum
    assert total(a) == 28 and served(total._quick.call, a, None) and total(a) == 28
    grow, kept = module.grow, b.copy()
    grow(a, out=kept)
    assert grow(a, out=kept) is kept and (kept == 1 + 2 * a).all()
    with pytest.raises(ComprehensionError, match="accumulates into the caller's array"):
        grow(a)


def test_what_a_quick_call_finds_is_said(module: tc.Module) -> None:
    a, index = np.arange(5, dtype=np.float32), np.array([1, 4, 0], np.int32)
    assert (module.pick(a, index) == a[index]).all() and served(module.pick._quick.call, a, index, None)
    for out in (None, np.empty(3, np.float32)):
        index[1] = 5
        with pytest.raises(ComprehensionError) as quick:
            module.pick(a, index, out=out)
        with pytest.raises(ComprehensionError) as slow:
            module.pick._call_slowly((a, index), out)
        assert str(quick.value) == str(module.pick._placed(slow.value, (a, index))) and "5" in str(quick.value)


@pytest.mark.parametrize(
    "call",
    [lambda f, a, b: f(), lambda f, a, b: f(a), lambda f, a, b: f(a, b, b), lambda f, a, b: f(a, b, out=(a, b)),
     lambda f, a, b: f(a, None), lambda f, a, b: f(a, 1.0), lambda f, a, b: f(a, b, out=[0.0] * 8),
     lambda f, a, b: f(a, b, out=a), lambda f, a, b: f(a, b.astype(">f4"))],
)  # fmt: skip
def test_other_calls_are_turned_away(module: tc.Module, call: Any) -> None:
    a, b = arrays()
    module.add(a, b)
    with pytest.raises(ComprehensionError):
        call(module.add, a, b)
    assert (a == arrays()[0]).all() and (b == 1).all()


def test_settings_and_pools_that_change_end_tickets(module: tc.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ticket made for one pool never runs on another one."""
    monkeypatch.setattr(config, "parallel_ns", 0.0)
    a, b = arrays(1000)
    for threads in (1, 3, 2):
        monkeypatch.setattr(config, "threads", threads)
        assert not served(module.add._quick.call, a, b, None)
        assert (module.add(a, b) == a + b).all()
        assert served(module.add._quick.call, a, b, None)
        assert (module.add(a, b) == a + b).all()
    pool.close()
    assert not served(module.add._quick.call, a, b, None)
    assert (module.add(a, b) == a + b).all()


def test_references_are_counted(module: tc.Module) -> None:
    """Neither arguments nor results nor the kernels of dropped comprehensions stay."""
    a, b = arrays()
    out = np.empty(8, np.float32)
    module.add(a, b, out=out)
    module.add(a, b)
    before = [sys.getrefcount(each) for each in (a, b, out, None, a.dtype)]
    for _ in range(50):
        module.add(a, b, out=out)
        module.add(a, b)
    after = [sys.getrefcount(each) for each in (a, b, out, None, a.dtype)]
    assert all(abs(later - earlier) < 20 for earlier, later in zip(before, after, strict=True))
    result = weakref.ref(module.add(a, b))
    assert result() is None
    dropped = tc.define("def f(float(N) A) -> (B) { B(i) = A(i) + 1 }", sizes="symbolic")
    dropped.f(a)
    assert served(dropped.f._quick.call, a, None)
    runner = weakref.ref(dropped.f.kernels[0].launcher)
    del dropped
    gc.collect()
    assert runner() is None


def test_many_threads_take_the_quick_way(module: tc.Module) -> None:
    """Temporaries come from one arena, lent to one launch at a time: nobody waits, nobody sees another's values."""
    launcher = module.f.compile(*[tc.Spec(s, "float32") for s in (("M", "N"), ("N",), ())]).launcher
    failures: list[int] = []

    def work(number: int) -> None:
        a, b = np.full((30, 40), number, np.float32), np.zeros(40, np.float32)
        for _ in range(300):
            c, d = launcher((a, b, 1.0))
            if not ((c == number**2).all() and (d == 40 * number).all()):
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks exist on POSIX only")
def test_a_fork_goes_on(module: tc.Module) -> None:
    a, b = arrays()
    module.add(a, b)
    child = os.fork()
    if child == 0:
        os._exit(int(not (module.add(a, b) == a + b).all()))
    assert os.waitpid(child, 0)[1] == 0


def test_objects_of_another_layout_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native_function._is_laid_out()
    for name in ("TYPE", "DATA", "RANK", "DTYPE", "FLAGS", "FLOAT", "ITEMS", "ITEM_COUNT"):
        with monkeypatch.context() as changed:
            changed.setattr(at, name, getattr(at, name) + 8)
            assert not native_function._is_laid_out(), name
