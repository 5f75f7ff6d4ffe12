"""Threads and processes around kernels: results do not depend on how many there are, nor on who calls."""

from __future__ import annotations

import multiprocessing
import os
import threading

import numpy as np
import pytest

import comprehension as tc
from comprehension.config import Config, config
from comprehension.jit import pool

TEXTS = {
    "product": "def f(float(M, K) A, float(K, N) B) -> (C) { C(m, n) +=! A(m, k) * B(k, n) }",
    "sum": "def f(float(M, K) A, float(K, N) B) -> (s) { s +=! A(i, j) * 1.5 }",
    "columns": "def f(float(M, K) A, float(K, N) B) -> (s) { s(k) +=! A(i, k) * B(k, j) }",
    "softmax": """def f(float(M, K) A, float(K, N) B) -> (Y) {
        m(i) max=! A(i, k)
        e(i, k) = exp(A(i, k) - m(i))
        s(i) +=! e(i, k)
        Y(i, k) = e(i, k) / s(i)
    }""",
}


def operands() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((70, 90), np.float32), rng.standard_normal((90, 40), np.float32)


@pytest.mark.parametrize("name", TEXTS)
def test_results_are_equal_to_the_bit_for_any_number_of_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "parallel_ns", 100.0)
    a, b = operands()
    kernel = tc.define(TEXTS[name]).f.compile(a, b)
    found = []
    for threads in (1, 2, 3, 8):
        monkeypatch.setattr(config, "threads", threads)
        found += [kernel(a, b) for _ in range(3)]
    assert all((each == found[0]).all() for each in found)
    pool.close()


def test_the_number_of_threads_honours_numba() -> None:
    assert Config.from_environment({"NUMBA_NUM_THREADS": "3"}).threads == 3
    assert Config.from_environment({"NUMBA_NUM_THREADS": "3", "COMPREHENSION_THREADS": "2"}).threads == 2


def test_threads_call_while_the_number_of_threads_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested use: each of these threads divides its work among the same workers, which come and go."""
    monkeypatch.setattr(config, "parallel_ns", 100.0)
    monkeypatch.setattr(config, "threads", 2)
    a, b = operands()
    kernel = tc.define(TEXTS["product"]).f.compile(a, b)
    expected = kernel(a, b)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(40):
            if not (kernel(a, b) == expected).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(30):
        config.threads = 1 + turn % 3
    for thread in threads:
        thread.join(120)
    assert not wrong and not any(thread.is_alive() for thread in threads)
    pool.close()


def _in_child(connection: object) -> None:
    a, b = operands()
    kernel = tc.define(TEXTS["product"]).f.compile(a, b)
    connection.send(kernel(a, b).tobytes())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_after_compiling_computes_and_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "parallel_ns", 100.0)
    monkeypatch.setattr(config, "threads", 2)
    a, b = operands()
    expected = tc.define(TEXTS["product"]).f(a, b)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_in_child, args=(theirs,))
    process.start()
    assert ours.poll(120), "the child does not answer"
    assert ours.recv() == expected.tobytes()
    process.join(60)
    assert process.exitcode == 0
    pool.close()
