"""DataLoader: a dataset as batches, in order or in a seeded random order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minitensor import random
from minitensor.creation import asarray
from minitensor.data.dataset import Dataset, TensorDataset
from minitensor.errors import ArgumentError
from minitensor.tensor import Tensor
from minitensor.value import Value


class DataLoader:
    """Iterating gives batches; each pass over a shuffled loader draws one new order.

    Args:
        dataset: see `Dataset`; a `TensorDataset` is batched by one indexing per array.
        batch_size: samples a batch, at least 1; the last may be shorter unless `drop_last`.
        shuffle: draw the order from `generator` (default: `mt.random`'s own).
        collate_fn: makes a batch of a list of samples; by default tensors of stacked samples, within tuples, lists and
            dicts where samples are such.

    >>> import numpy as np
    >>> [b.shape for (b,) in DataLoader(TensorDataset(np.zeros((5, 2))), batch_size=2)]
    [(2, 2), (2, 2), (1, 2)]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        generator: random.Generator | None = None,
    ) -> None:
        if batch_size < 1:
            raise ArgumentError(f"batch_size must be at least 1, is {batch_size}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.collate_fn = collate_fn
        self.generator = generator or random.default_generator

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        count = len(self.dataset)
        order = self.generator.permutation(count).numpy() if self.shuffle else np.arange(count)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield self._batch(order[start : start + self.batch_size])

    def _batch(self, indices: np.ndarray[Any, Any]) -> Any:
        if isinstance(self.dataset, TensorDataset) and self.collate_fn is None:
            return self.dataset.batch(indices)
        samples = [self.dataset[int(i)] for i in indices]
        return collate(samples) if self.collate_fn is None else self.collate_fn(samples)


def collate(samples: list[Any]) -> Any:
    """Samples as one batch: tensors, arrays and numbers are stacked, within tuples, lists and dicts.

    Raises ValueError for samples of several shapes: pad them in a `collate_fn` of your own.

    >>> batch = collate([{"x": (1.0, 2), "name": "a"}, {"x": (3.0, 4), "name": "b"}])
    >>> batch["x"][1].tolist(), batch["name"]
    ([2, 4], ['a', 'b'])
    """
    first = samples[0]
    match first:
        case str() | bytes():
            return samples
        case dict():
            return {key: collate([sample[key] for sample in samples]) for key in first}
        case tuple() | list():
            return type(first)(collate(list(column)) for column in zip(*samples, strict=True))
    arrays = [np.asarray(s.detach() if isinstance(s, Tensor) else asarray(s)) for s in samples]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ArgumentError(f"samples of shapes {sorted(shapes)} make no batch: pad them in a collate_fn")
    return Tensor(Value(np.stack(arrays)))
