"""Loop trees: the loops of a user's schedule, by name, and the steps that change them.

`tree` is the representation, `initial` the loops that the text says; `split`, `order`, `move`, `realise` change trees;
`legality` proves a tree against the dependences; `lower` writes it as a schedule tree, with `held` for local
buffers; `pseudo` prints it; `apply` follows a list of steps, each proved or refused.
"""
