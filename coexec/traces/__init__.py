"""What steps did, recorded and merged.

`record` observes a step that runs eagerly (`promise` is a value of it, `opaque` what it does not record, `outside` what
Python knows without a graph), `follow` walks along what is known already, `merge` adds what is new to the `trace_graph`
(`trace_path` is how far it has come, `cover` says which node can stand for a record, `node_specs` what a new one has,
`loops` folds rounds, `alternatives` takes what was met in some combinations to be possible in all, `prune` drops what a
size that became a symbol has overtaken).
"""
