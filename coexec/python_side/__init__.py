"""Python's side of a co-executed step: each operation is held against the walk, and Python runs ahead.

`python_runner` follows a `walk` by `validate`; `segment` and `macros` take runs of operations at once, which a
`draft` has learned; `replay` computes again what a step needs when it leaves the graph, `mismatch` says why it did.
"""
