"""Datasets: anything with a length and items by index."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from minitensor.creation import asarray
from minitensor.tensor import Tensor
from minitensor.value import Value


@runtime_checkable
class Dataset(Protocol):
    """`len(dataset)` samples; `dataset[i]` is one, a Tensor, an array, a number, or a tuple of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class TensorDataset:
    """Rows of several arrays of equal length; `batch(indices)` takes many rows at once.

    Raises ValueError for no arrays or unequal lengths.

    >>> import numpy as np
    >>> data = TensorDataset(np.zeros((10, 3), "float32"), np.arange(10))
    >>> [part.shape for part in data.batch(np.array([4, 2]))]
    [(2, 3), (2,)]
    """

    def __init__(self, *arrays: Any) -> None:
        self.arrays = tuple(np.array(a) for a in arrays)
        lengths = {len(a) for a in self.arrays}
        if len(lengths) != 1:
            raise ValueError(f"arrays of one length are needed, found {[a.shape for a in self.arrays]}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(asarray(a[index]) for a in self.arrays)

    def batch(self, indices: np.ndarray[Any, Any]) -> tuple[Tensor, ...]:
        """One tensor (len(indices), ...) for each array."""
        return tuple(Tensor(Value(a[indices])) for a in self.arrays)
