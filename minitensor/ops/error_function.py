"""The error function on arrays: NumPy has none.

In: arrays of any float dtype.  Out: erf, within 3 ulp.
Source: Cephes `ndtr.c` (S. L. Moshier): a rational function of x² below 1, and 1 − exp(−x²)·P/Q above.
Invariant: computed in float64 whatever comes in, and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# fmt: off
_T = (9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
      5.55923013010394962768e4)
_U = (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
      4.92673942608635921086e4)
_P = (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
      1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
      5.57535335369399327526e2)
_Q = (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
      1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3, 5.57535340817727675546e2)
# fmt: on
_SATURATED = 6.0  # erf(6) rounds to 1 in float64


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    result = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result *= x
        result += coefficient
    return result


def erf_of(x: Any) -> Any:
    """erf(x) elementwise, in the dtype of x.

    >>> float(erf_of(np.asarray(0.5)))
    0.5204998778130465
    """
    if x.dtype.kind == "c":
        raise TypeError("erf is defined here for real numbers only")
    wide = np.asarray(x, dtype=np.float64)
    inner = np.clip(wide, -1.0, 1.0)
    squares = inner * inner
    small = inner * _polynomial(_T, squares) / _polynomial(_U, squares)
    outer = np.clip(np.abs(wide), 1.0, _SATURATED)
    large = np.copysign(1.0 - np.exp(-outer * outer) * _polynomial(_P, outer) / _polynomial(_Q, outer), wide)
    return np.where(np.abs(wide) > 1.0, large, small).astype(x.dtype)
