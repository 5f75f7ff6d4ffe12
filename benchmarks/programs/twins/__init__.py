"""The ten programs in PyTorch (the bench extra): the same weights, batches and steps, written as PyTorch users do."""
