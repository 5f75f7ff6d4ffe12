"""Testing co-execution, of this package's programs and of yours: the same program eagerly and co-executed.

    def make():
        w = mt.ones((3,))
        def step(i):
            ...
        return step

    assert_equivalent(make, steps=20)

`observation`: what a step lets see.  `comparison`: whether two observations are equal, and where they first are not.
`rounding`: how far rounding moves a program.  `equivalence`: `assert_equivalent`.  `trouble`: planned divergences and
delays.  `diagnosis`: which part of co-execution is guilty; a failing program as a script.  Programs are drawn by
`coexec.testing.imperative` (whole numbers, any flow of control) and `coexec.testing.training` (networks that learn).
"""

from coexec.testing.comparison import Compare, NotEquivalent, assert_same
from coexec.testing.diagnosis import assert_program_equivalent, guilty_stage
from coexec.testing.equivalence import assert_equivalent
from coexec.testing.imperative import ImperativeProgram, imperative_programs
from coexec.testing.observation import MakeStep, Observation, observe, program_state
from coexec.testing.training import training_programs
from coexec.testing.trouble import (
    LeaveEverywhere,
    RandomDelays,
    delayed_graph,
    delayed_python,
    forced_divergence,
    operation_by_operation,
)

__all__ = [
    "Compare",
    "ImperativeProgram",
    "LeaveEverywhere",
    "MakeStep",
    "NotEquivalent",
    "Observation",
    "RandomDelays",
    "assert_equivalent",
    "assert_program_equivalent",
    "assert_same",
    "delayed_graph",
    "delayed_python",
    "forced_divergence",
    "guilty_stage",
    "imperative_programs",
    "observe",
    "operation_by_operation",
    "program_state",
    "training_programs",
]
