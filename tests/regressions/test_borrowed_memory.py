"""Found by `tests/coexec/features.py: ndarray_methods_in_place`.

A tensor over borrowed memory, used twice in a step, was fed once: what NumPy wrote in between was not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent


@pytest.mark.parametrize("runner", ["reference", "native"])
def test_memory_written_between_two_uses(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", runner)

    def make() -> Callable[[int], Any]:
        array = np.ones(3, np.float32)
        borrowed = mt.asarray(array, copy=False)

        def step(i: int) -> Any:
            before = borrowed + 1.0
            array[:] = float(i)
            return before, borrowed * 2.0, borrowed * borrowed

        return step

    assert_equivalent(make, steps=8, fallbacks=0)
