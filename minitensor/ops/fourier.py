"""The discrete Fourier transform: one opaque record, closed under differentiation.

In: complex tensors, axes.  Out: the transform along these axes.
Invariant: the transform is linear and its adjoint is the transform the other way round, scaled alike.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from minitensor.dispatch import apply
from minitensor.dtypes import PROMOTED, complex64
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, register


def _eager(x: Any, *, axes: tuple[int, ...], inverse: bool, scale: float) -> Any:
    """Σ x·exp(∓2πi·jk/n), times `scale`."""
    dtype = PROMOTED[x.dtype, complex64]
    function = np.fft.ifftn if inverse else np.fft.fftn
    result = function(x, axes=axes, norm="forward" if inverse else "backward")
    return (result * scale).astype(dtype) if scale != 1.0 else result.astype(dtype, copy=False)


def _vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (apply(transform, gradients[0], **{**attributes, "inverse": not attributes["inverse"]}),)


transform = register(
    OpDef(
        "fourier_transform",
        lambda x, *, axes, inverse, scale: TensorSpec(x.shape, PROMOTED[x.dtype, complex64]),
        _eager,
        _vjp,
        None,
        "a fast transform: butterflies by the factors of the extent, on complex numbers that the language lacks",
    )
)


def scale_of(norm: str, sizes: tuple[int, ...], inverse: bool) -> float:
    """The factor that `norm` asks for: "backward" scales the inverse, "forward" the other, "ortho" both."""
    count = prod(sizes)
    if norm == "ortho":
        return float(count**-0.5)
    return 1.0 / count if (norm == "backward") == inverse and count else 1.0
