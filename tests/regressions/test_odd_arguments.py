"""Found by a stranger's calls: arrays that no kernel is for ended in an internal error, or lost their masks."""

from __future__ import annotations

import numpy as np
import pytest

import comprehension as tc

TEXT = "def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }"
A, B = np.ones((12, 20), np.float32), np.ones((20, 16), np.float32)


def test_an_output_of_repeated_elements_is_refused_before_a_kernel_is_made() -> None:
    f = tc.define(TEXT).f
    repeated = np.broadcast_to(np.float32(1), (12, 16))
    with pytest.raises(tc.ComprehensionError, match="^1:44: f: out=C is read-only\n"):
        f(A, B, out=repeated)
    with pytest.raises(tc.ComprehensionError, match="^1:44: f: out=C overlaps itself\n"):
        f(A, B, out=np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (12, 16), (0, 0)))
    assert f.kernels == ()


@pytest.mark.parametrize("call", ["__call__", "reference", "infer"])
def test_a_mask_is_not_ignored(call: str) -> None:
    f = tc.define(TEXT).f
    with pytest.raises(tc.ComprehensionError, match=r"f: A: this numpy.ma.MaskedArray has a mask; pass .data"):
        getattr(f, call)(np.ma.masked_array(A, A > 0), B)
    (expected,) = {f.reference(A, B)[0, 0]}
    assert f.reference(np.ma.masked_array(A, A > 0).data, B)[0, 0] == expected


class Broken:
    """Says nonsense, or fails, where it is asked for its memory."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    @property
    def __array_interface__(self) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("no memory to lend"),
        {"shape": (12, 20), "typestr": "<f4", "data": (0, False), "version": 3},
        {"shape": (-12, 20), "typestr": "<f4", "data": (64, False), "version": 3},
        {"shape": "x", "typestr": "zz"},
    ],
)
def test_an_interface_that_cannot_be_is_refused(answer: object) -> None:
    with pytest.raises(tc.ComprehensionError, match=r"^1:7: f: A: this .*Broken does not lend its memory: "):
        tc.define(TEXT).f(Broken(answer), B)


def test_checked_is_yes_or_no() -> None:
    with pytest.raises(tc.ComprehensionError, match="^compile: checked must be True or False, not 'no'$"):
        tc.define(TEXT).f.compile(A, B, checked="no")  # type: ignore[arg-type]
