"""Datasets and loaders: batches of tensors in a seeded order."""

from minitensor.data.dataset import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from minitensor.data.loader import DataLoader

__all__ = ["ConcatDataset", "DataLoader", "Dataset", "Subset", "TensorDataset", "random_split"]
