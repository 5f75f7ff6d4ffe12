"""mt.linalg."""
