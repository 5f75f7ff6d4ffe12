"""Comprehensions beside NumPy, PyTorch, torch.compile and JAX: the kernel table.

| module | |
|---|---|
| `cases` | the table: texts, arrays, exact results, and the work that the limit counts |
| `bounded` | float64 values with bounds on any faithful float32 computation of them |
| `formulations/` | how each library is asked for each case |
| `serve` | one side, in a process of its own |
| `measure` | rounds over all sides, interleaved; ratios with intervals |
| `limit`, `streams` | what the machine could do, per case |
| `summary` | the goals and the tables, from the JSON |

`python -m benchmarks.kernels --help` for subsets: `--cases gconv --sides ours torch --seconds 2`.
"""
