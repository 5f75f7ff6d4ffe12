"""The symbolic graph: what both sides of a co-executed step agree on.

`symbolic` has its blocks, operations and communication points; `dims` the sizes that became symbols; `keys` and `match`
say when an operation is the one that a graph has.
"""
