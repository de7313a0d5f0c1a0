"""The inverse of the normal distribution function, in operations that every runtime has."""

from __future__ import annotations

import torch
from torch import Tensor

# Numerator and denominator of each branch, the highest power first.
_MIDDLE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0),
)  # fmt: skip
_TAIL = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
     3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0),
)  # fmt: skip
_EDGE = 0.425
SMALLEST = 2.0**-25
"""Smaller uniforms are taken as this; so the algorithm's third branch, for tails beyond 1e-11, is never reached."""


def quantile(u: Tensor) -> Tensor:
    """``Φ⁻¹(u)``: the z that a standard normal number stays below with probability u.

    Relative error 1e-15 in float64, within rounding in float32; ``Φ⁻¹(1 - u) = -Φ⁻¹(u)`` exactly, where 1 - u is exact.

    Shapes: any; u in [0, 1), held at ``SMALLEST`` and ``1 - SMALLEST``.

    Source: Wichura 1988, "Algorithm AS 241: The percentage points of the normal distribution".

    Example:
        >>> quantile(torch.tensor([0.5, 0.975]))
        tensor([0.0000, 1.9600])
    """
    q = u - 0.5
    least = torch.minimum(u, 1 - u).clamp_min(SMALLEST)
    middle = q * _ratio(_MIDDLE, (0.180625 - q * q).clamp_min(0.0))
    tail = torch.sign(q) * _ratio(_TAIL, torch.sqrt(-torch.log(least)) - 1.6)
    return torch.where(q.abs() <= _EDGE, middle, tail)


def _ratio(branch: tuple[tuple[float, ...], tuple[float, ...]], x: Tensor) -> Tensor:
    parts = []
    for coefficients in branch:
        total = torch.full_like(x, coefficients[0])
        for coefficient in coefficients[1:]:
            total = total * x + coefficient
        parts.append(total)
    return parts[0] / parts[1]
