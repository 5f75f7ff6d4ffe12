"""User schedules: the order of a comprehension's loops, changed step by step, each step proved or refused.

`steps` has the steps as data and their text; `schedule` the object that a user holds.  What a step does to the loops,
and the proof that it may, happens in the compiler process (`comprehension.poly.looptree`).
"""
