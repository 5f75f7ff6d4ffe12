"""Found by drawn texts: one product of sizes in two spellings was two unknowns of the proof, which then failed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from alike import assert_all_equal

import comprehension as tc

TEXTS = {
    "a factor of one, from loops that were joined": "T(i,j,k) = float(2) where i in 0:N, j in 0:1, k in 0:N",
    "the factors bracketed otherwise": "T(i) = float(1) where i in 0:M*(N*M)\n U(i) = T(i) where i in 0:(M*M)*N",
    "multiplied out": "T(i) = float(1) where i in 0:(M+1)*N\n U(i) = T(i) where i in 0:M*N + N",
    "with a number": "T(i) = float(1) where i in 0:(2*M)*N\n U(i) = T(i + M*N) where i in 0:N*M",
    "divided": "T(i) = float(1) where i in 0:N*M/2\n U(i) = T(i) where i in 0:(M*N)/2",
    "divided by a size": "T(i) = float(1) where i in 0:(N+N*M)/N\n U(i) = T(i) where i in 0:(M*N+N)/N",
}


@pytest.mark.parametrize("body", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("fusion", ["min", "max", "preserve"])
def test_products_are_one_unknown_however_they_are_written(body: str, fusion: str) -> None:
    outputs = "T, U" if "U(" in body else "T"
    f = tc.define(f"def f(float(M,N) A) -> ({outputs}) {{ {body} }}", sizes="symbolic").f
    arrays = [np.zeros(shape, np.float32) for shape in ((2, 3), (3, 1), (0, 5))]
    kernel = f.compile(arrays[0], options=tc.MappingOptions(fusion=fusion))
    assert kernel.certificate and not kernel.report.fallbacks
    for a in arrays:
        assert_all_equal(kernel(a), f.reference(a))


PARTS = {
    "two tensors of other sizes": "O(i, j) = A(i, j) + B(i, j)",
    "one size three times": "O(i, j, k) = C(i, j, k) where i in 0:N, j in 0:N, k in 0:N",
    "a few rows": "O(i, j) = A(i, j) where i in 0:2, j in 0:N",
    "all rows but one": "O(i, j, k) = C(i, j, k) where i in 0:M-1, j in 0:M, k in 0:N",
    "half of the rows": "O(i, j) = A(i, j) where i in 0:M/2, j in 0:N",
    "rows from a number on": "O(i, j) = A(i, j) where i in 1:M, j in 0:N",
    "as many rows as a scalar says": "O(i, j) = A(i, j) where i in 0:s, j in 0:N",
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("body", PARTS.values(), ids=PARTS)
def test_loops_over_parts_of_tensors_are_proved(body: str, sizes: Any) -> None:
    """Joined loops over the first rows of a tensor: that 2 * N is no more than M * N could not be proved."""
    text = f"def f(float(M,N) A, float(P,N) B, float(Q,M,N) C, uint8 s) -> (O) {{ {body} }}"
    f = tc.define(text, sizes=sizes).f
    a, b, c = (np.ones(shape, np.float32) for shape in ((3, 3), (6, 3), (3, 3, 3)))
    kernel = f.compile(a, b, c, 2)
    assert kernel.certificate and not kernel.report.fallbacks
    np.testing.assert_array_equal(kernel(a, b, c, 2), f.reference(a, b, c, 2))


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("subscript", ["i * N + j", "i + j * M", "(i * N + j) * 2", "i * N + j, 0"])
def test_a_tensor_laid_out_in_one_row_is_as_long_as_it_is(subscript: str, sizes: Any) -> None:
    """Its length was 0 unless both sizes are positive, and M * N otherwise: no proof knew that these are one."""
    f = tc.define(f"def f(float(M,N) A) -> (O) {{ O({subscript}) = A(i, j) }}", sizes=sizes).f
    for shape in ((2, 3), (1, 1), (0, 4), (4, 0)):
        a = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        np.testing.assert_array_equal(f(a), f.reference(a))


GUARDS = {
    "a product": "i < N * M && i < M ? A(0, i) : 1.0",
    "a quotient": "i < N / s ? A(i, 0) : 1.0",
    "a remainder": "i < N % s ? A(i, 0) : 1.0",
    "a sum with a product": "i + 1 < N * M + 1 && i < M ? A(0, i) : 1.0",
    "a quotient of a product": "i < N * M / 2 && i < M ? A(0, i) : 1.0",
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("value", GUARDS.values(), ids=GUARDS)
def test_products_of_sizes_are_guards(value: str, sizes: Any) -> None:
    """Kernels for all sizes could not be proved: a product in a condition was no unknown of the proof."""
    f = tc.define(f"def f(float(N,M) A, int32 s) -> (O) {{ O(i) = {value} where i in 0:N }}", sizes=sizes).f
    for shape in ((3, 4), (5, 2), (1, 1)):
        a = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        kernel = f.compile(a, 2)
        assert kernel.certificate and not kernel.report.fallbacks
        np.testing.assert_array_equal(kernel(a, 2), f.reference(a, 2))


FACTS = {
    "a read where products are at least so much": (
        "O(i, j) = A(i % N, j % M) where i in 0:N*M, j in 0:N\n"
        "P(i, j) = i < N*M && j - 2*i >= 0 ? O(i, j - 2*i) : 1.0 where i in 0:N, j in 0:N"
    ),
    "an index that is a value": "O(i, j) = i != j ? A(min(j, N - 1), 0) : 2.0 where i in 0:N*M, j in 0:M",
    "one of two conditions": "O(i, j) = i <= 3 || i <= j ? A(min(j, N - 1), 0) : 2.0 where i in 0:N*M, j in 0:M",
    "a quotient by a scalar": "O(i) = B(i)\nP(i) = i < N ? O(i) : 1.0 where i in 0:N / s",
    "a remainder": "O(i) = B(i)\nP(i) = i < N % s ? O(i) : 1.0 where i in 0:min(N, s)",
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("body", FACTS.values(), ids=FACTS)
def test_texts_whose_proof_needs_facts(body: str, sizes: Any) -> None:
    outputs = "O, P" if "P(" in body else "O"
    f = tc.define(f"def f(float(N,M) A, float(N) B, int32 s) -> ({outputs}) {{ {body} }}", sizes=sizes).f
    for n, m, s in ((3, 4, 2), (1, 1, 1), (2, 3, 5)):
        a, b = np.arange(n * m, dtype=np.float32).reshape(n, m), np.arange(n, dtype=np.float32)
        kernel = f.compile(a, b, s)
        assert kernel.certificate
        assert_all_equal(kernel(a, b, s), f.reference(a, b, s))
