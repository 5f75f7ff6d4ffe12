"""Machine: what is concluded from LLVM's description of a processor."""

from __future__ import annotations

import pytest

from comprehension.machine import _fma_units, _vectors

AVX2 = {"avx": True, "avx2": True, "avx512f": False}
AVX512 = {**AVX2, "avx512f": True, "avx512vl": True}
TILES = {**AVX512, "amx-tile": True}


@pytest.mark.parametrize(
    ("cpu", "features", "units"),
    [
        ("znver4", AVX512, 1),  # two halves of 256 bits are joined
        ("rocketlake", AVX512, 1),
        ("rocketlake", TILES, 2),  # a server under a desktop's model number, as virtual machines show it
        ("sapphirerapids", TILES, 2),
        ("skylake-avx512", AVX512, 2),
        ("znver3", AVX2, 2),
        ("rocketlake", AVX2, 2),  # its wide vectors are switched off
        ("unknown", AVX2, 2),
    ],
)
def test_multiply_add_units(cpu: str, features: dict[str, bool], units: int) -> None:
    bits, _ = _vectors(features)
    assert _fma_units(cpu, features, bits) == units


@pytest.mark.parametrize(
    ("features", "vectors"),
    [(AVX512, (512, 32)), ({**AVX512, "avx512vl": False}, (256, 16)), (AVX2, (256, 16)), ({"neon": True}, (128, 32))],
)
def test_vectors(features: dict[str, bool], vectors: tuple[int, int]) -> None:
    assert _vectors(features) == vectors
