"""The graph's side of a step: a plan of compiled kernels, and the thread that runs it beside Python.

`graph_compiler` makes `instructions` in a `sequence`, with `buffers`, and `plan_builder` writes them as arrays, a
`plan`, which `plan_loop` runs natively. `channel` and `frame` are where the two sides meet, `graph_runner` what Python
holds of it; `remains` is what it left behind where Python left the graph. `reference_runner` does the same in plain
Python, by the same `runner_protocol`.
"""
