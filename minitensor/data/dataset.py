"""Datasets: anything with a length and items by index."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Protocol, runtime_checkable

import numpy as np

from minitensor import random
from minitensor.creation import asarray
from minitensor.errors import ArgumentError, TensorIndexError
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
            raise ArgumentError(f"arrays of one length are needed, found {[a.shape for a in self.arrays]}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(asarray(a[index]) for a in self.arrays)

    def batch(self, indices: np.ndarray[Any, Any]) -> tuple[Tensor, ...]:
        """One tensor (len(indices), ...) for each array."""
        return tuple(Tensor(Value(a[indices])) for a in self.arrays)


class Subset:
    """Some samples of a dataset, by their indices.

    Raises IndexError for an index that the dataset does not have.

    >>> part = Subset(TensorDataset(np.arange(10)), [7, 3])
    >>> len(part), part[0][0].item()
    (2, 7)
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, [int(i) for i in indices]
        count = len(dataset)
        wrong = [i for i in self.indices if not -count <= i < count]
        if wrong:
            raise TensorIndexError(f"the dataset has {count} samples, none with index {wrong[0]}")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]


class ConcatDataset:
    """Datasets one behind the other.

    >>> both = ConcatDataset([TensorDataset(np.arange(3)), TensorDataset(np.arange(10, 12))])
    >>> len(both), both[3][0].item(), both[-1][0].item()
    (5, 10, 11)
    """

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ArgumentError("ConcatDataset needs at least one dataset")
        self._ends = list(accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Any:
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise TensorIndexError(f"index {index} is out of range for {len(self)} samples")
        number = bisect_right(self._ends, at)
        return self.datasets[number][at - (self._ends[number - 1] if number else 0)]


def random_split(
    dataset: Dataset, lengths: Sequence[int | float], generator: random.Generator | None = None
) -> list[Subset]:
    """Disjoint parts of a dataset, drawn from `generator` (default: `mt.random`'s own).

    lengths: numbers of samples that add up to the dataset's, or fractions that add up to 1 (the first parts get what is
    left over by rounding down).  Raises ValueError for other sums.

    >>> [len(part) for part in random_split(TensorDataset(np.arange(10)), [0.75, 0.25])]
    [8, 2]
    """
    count = len(dataset)
    sizes = [int(n) for n in lengths]
    if any(isinstance(n, float) for n in lengths):
        if abs(sum(lengths) - 1.0) > 1e-6 or min(lengths) < 0:
            raise ArgumentError(f"fractions must add up to 1, found {list(lengths)}")
        sizes = [int(part * count) for part in lengths]
        for k in range(count - sum(sizes)):
            sizes[k % len(sizes)] += 1
    if sum(sizes) != count or min(sizes) < 0:
        raise ArgumentError(f"lengths {list(lengths)} do not add up to the {count} samples of the dataset")
    order = (generator or random.default_generator).permutation(count).tolist()
    starts = [0, *accumulate(sizes)]
    return [Subset(dataset, order[start : start + size]) for start, size in zip(starts, sizes, strict=False)]
