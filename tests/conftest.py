"""Hypothesis profiles and what every test shares.

Profiles (HYPOTHESIS_PROFILE): `dev` while writing, `ci` (`.ci/run`) derandomised so that a red run can be repeated,
`long` for `make fuzz`, `mutate` for `make mutate`, where a failure need only show itself (nothing is shrunk).  No
deadlines: the first example may compile.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=_SLOW, print_blob=True)
settings.register_profile(
    "ci", max_examples=25, deadline=None, suppress_health_check=_SLOW, print_blob=True, derandomize=True, database=None
)
settings.register_profile("long", max_examples=5000, deadline=None, suppress_health_check=_SLOW, print_blob=True)
settings.register_profile(
    "mutate", settings.get_profile("ci"), max_examples=10, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))
