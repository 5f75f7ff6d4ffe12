"""Datasets, loaders and safetensors files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minitensor as mt
from minitensor.data import DataLoader, TensorDataset
from minitensor.errors import FileFormatError


@given(st.integers(0, 20), st.integers(1, 7), st.booleans(), st.booleans())
def test_every_sample_once(count: int, batch_size: int, shuffle: bool, drop_last: bool) -> None:
    loader = DataLoader(TensorDataset(np.arange(count)), batch_size, shuffle, drop_last=drop_last)
    batches = [batch.tolist() for (batch,) in loader]
    assert len(batches) == len(loader)
    seen = [n for batch in batches for n in batch]
    assert len(seen) == (count // batch_size * batch_size if drop_last else count)
    assert len(set(seen)) == len(seen)
    if not shuffle:
        assert seen == list(range(len(seen)))


def test_shuffling_is_seeded_and_changes_by_pass() -> None:
    def orders() -> list[list[int]]:
        """Of a pass that is left early and of two whole ones."""
        loader = DataLoader(TensorDataset(np.arange(50)), 50, shuffle=True, generator=mt.random.Generator(4))
        early = next(iter(loader))[0].tolist()
        return [early, *(batch.tolist() for _ in range(2) for (batch,) in loader)]

    first, second, third = orders()
    assert [first, second, third] == orders()
    assert first != second and second != third and first != third


class Pairs:
    """A dataset that is no TensorDataset."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[mt.Tensor, int]:
        return mt.full((2,), float(index)), index


def test_samples_are_stacked() -> None:
    (x, y), (last, _) = list(DataLoader(Pairs(), 2))
    assert x.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert y.tolist() == [0, 1]
    assert last.shape == (1, 2)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        DataLoader(Pairs(), 0)
    with pytest.raises(ValueError, match="one length"):
        TensorDataset(np.zeros(2), np.zeros(3))


def test_saving_and_loading(tmp_path: Path) -> None:
    tensors = {
        "float": mt.random.normal((3, 4)),
        "int": mt.asarray(np.array([1, -2])),
        "flag": mt.asarray(np.array(True)),
        "empty": mt.zeros((0, 2)),
        "turned": mt.permute_dims(mt.random.normal((3, 4)), (1, 0)),
    }
    mt.io.save(tensors, tmp_path / "t.safetensors")
    loaded = mt.io.load(tmp_path / "t.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].tolist() == tensor.tolist()


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.safetensors"
    path.write_bytes(b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(FileFormatError, match="no.safetensors"):
        mt.io.load(path)
    with pytest.raises(FileNotFoundError):
        mt.io.load(tmp_path / "absent")
    with pytest.raises(TypeError, match="'a'"):
        mt.io.save({"a": np.zeros(1)}, path)
