"""Datasets and loaders: batches of tensors in a seeded order."""

from minitensor.data.dataset import Dataset, TensorDataset
from minitensor.data.loader import DataLoader

__all__ = ["DataLoader", "Dataset", "TensorDataset"]
