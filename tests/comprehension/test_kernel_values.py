"""Right sides as values: integers of indices and sizes alone are computed as one, everything else by its operators."""

from __future__ import annotations

import numpy as np
import pytest
from texts import kernel_of

from comprehension.kernel import ir
from comprehension.kernel.interpret import interpret
from comprehension.kernel.rewrite import nodes_of
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec

A = np.array([3, -7, 2**31 - 1, -(2**31), 11], np.int32)


@pytest.mark.parametrize(
    ("text", "operators"),
    [
        ("2 * i - N + 1", 0),
        ("i + s", 1),
        ("s - i", 1),
        ("i + A(i)", 1),
        ("A(i) - (i + N)", 1),
        ("(i + 1) * (i + s)", 2),
    ],
)
def test_only_indices_and_sizes_are_one_integer(text: str, operators: int) -> None:
    """Scalars and elements are none; where their sums wrap, they wrap in int32."""
    definition = load(f"def f(int32(N) A, int32 s) -> (B) {{ B(i) = {text} where i in 0:N }}")["f"]
    _, kernel = kernel_of(infer(definition, [Spec(A.shape, ScalarType.INT32), Spec((), ScalarType.INT32)]))
    stores = [store for store in nodes_of(kernel.stages, ir.Store) if store.buffer == "B"]
    assert {len(list(nodes_of(store.value, ir.BinaryOp))) for store in stores} == {operators}
    i, s = np.arange(len(A)), 2**31 - 3
    expected = eval(text.replace("A(i)", "A"), {"i": i, "s": s, "N": len(A), "A": A.astype(np.int64)})
    found = interpret(kernel, {"A": A}, scalar_values={"s": np.int32(s)})["B"]
    np.testing.assert_array_equal(found, expected.astype(np.int32))
