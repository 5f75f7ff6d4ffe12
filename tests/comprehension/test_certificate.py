"""The certificate accepts legal kernels and refuses mutations of them, each with a counterexample."""

from __future__ import annotations

import json

import hand_written as hw
import pytest

from comprehension.poly.certificate import Certificate, certify
from comprehension.poly.scop import build_scop

LEGAL = [
    (hw.matmul_plain, (7, 6, 5)),
    (hw.matmul_plain, ("M", "N", "K")),
    (hw.matmul_tiled, (7, 17, 5)),
    (hw.matmul_tiled, ("M", "N", "K")),
    (hw.matmul_packed, (50, 40, 70)),
    (hw.matmul_packed, ("M", "N", "K")),
    (hw.softmax_rows, (5, 19)),
    (hw.softmax_rows, ("M", "N")),
    (hw.scan_lanes, (5, 19)),
    (hw.stencil_stages, (12,)),
    (hw.stencil_stages, ("N",)),
]


def certificate(source, kernel, math="fast") -> Certificate:
    return certify(build_scop(source), None, kernel, math)


@pytest.mark.parametrize(("make", "sizes"), LEGAL)
def test_legal_kernels_are_proved(make, sizes):
    found = certificate(*make(*sizes))
    assert found, found.text
    assert set(found.properties) == {"dependences", "instances", "bounds", "parallel", "buffers"}
    json.loads(found.to_json())
