"""mt.testing."""
