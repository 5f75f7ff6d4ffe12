"""A def timed beside the machine's limit and beside NumPy: what `python -m comprehension bench` shows."""
