"""Measurements, each a module with `main()`; `python -m benchmarks` runs them all."""
