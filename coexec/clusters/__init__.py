"""From a symbolic graph to comprehensions: which operations are compiled together, and as what.

`partition` cuts each block (`grouping`, by what `profile` knows of an operation), `lower` writes a cluster as one
comprehension (`forward`, `retarget`, with the verbs of `rewrite`), `placement` tells where each operation went.
"""
