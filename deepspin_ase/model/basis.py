"""Radial and angular functions of an interatomic vector r = |r| r̂.

All functions are smooth where they are used: the radial ones vanish at the cutoff with three continuous derivatives
(C³), the angular ones are Cartesian harmonics of r̂.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_SQRT2 = math.sqrt(2.0)
_SQRT6 = math.sqrt(6.0)

ANGULAR_SLICES = (slice(0, 1), slice(1, 4), slice(4, 9))
"""Columns of :func:`angular_basis` that belong to l = 0, 1, 2."""


def envelope(distance: Tensor, cutoff: float) -> Tensor:
    """Cutoff function (1 - (r/r_c)²)⁴, zero with three derivatives at r_c and exactly zero beyond.

    Parameters
    ----------
    distance
        Interatomic distances r in Å, any shape.
    cutoff
        Cutoff radius r_c in Å.
    """
    inside = (1.0 - (distance / cutoff) ** 2).clamp(min=0.0)
    squared = inside * inside
    return squared * squared


def angular_basis(unit: Tensor) -> Tensor:
    """Cartesian harmonics of rank 0, 1, 2 of unit vectors.

    Parameters
    ----------
    unit
        Unit vectors r̂, shape (..., 3).

    Returns
    -------
    Tensor
        Shape (..., 9): 1; r̂ (x, y, z); the five components of the traceless t = r̂⊗r̂ - 1/3, see
        :func:`symmetric_traceless`.
    """
    x, y, z = unit.unbind(-1)
    return torch.stack(
        [torch.ones_like(x), x, y, z, *symmetric_traceless(x * x, y * y, z * z, y * z, x * z, x * y)], dim=-1
    )


def symmetric_traceless(
    xx: Tensor, yy: Tensor, zz: Tensor, yz: Tensor, xz: Tensor, xy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Traceless part of a symmetric matrix in an orthonormal basis of five matrices.

    (2 zz - xx - yy)/√6, (xx - yy)/√2, √2 yz, √2 xz, √2 xy: the scalar product of two such 5-vectors is the full
    contraction of the two traceless matrices.
    """
    return (2.0 * zz - xx - yy) / _SQRT6, (xx - yy) / _SQRT2, _SQRT2 * yz, _SQRT2 * xz, _SQRT2 * xy


def apply_rank2(tensor: Tensor, vector: Tensor) -> Tensor:
    """Product t·v of symmetric traceless matrices with vectors.

    Parameters
    ----------
    tensor
        Shape (n, 5, c), components as in :func:`symmetric_traceless`.
    vector
        Shape (n, 3, c).

    Returns
    -------
    Tensor
        Shape (n, 3, c).
    """
    uniaxial, biaxial, yz, xz, xy = tensor.unbind(1)
    yz, xz, xy = yz / _SQRT2, xz / _SQRT2, xy / _SQRT2
    zz = uniaxial * (2.0 / _SQRT6)
    xx, yy = biaxial / _SQRT2 - 0.5 * zz, -biaxial / _SQRT2 - 0.5 * zz
    vx, vy, vz = vector.unbind(1)
    return torch.stack([xx * vx + xy * vy + xz * vz, xy * vx + yy * vy + yz * vz, xz * vx + yz * vy + zz * vz], dim=1)


class RadialBasis(nn.Module):
    """Bessel functions sin(nπr/r_c) r_c/r, n = 1..size, and the :func:`envelope`.

    Source: Gasteiger et al., arXiv:2003.03123 .
    """

    frequencies: Tensor

    def __init__(self, cutoff: float, size: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer(
            "frequencies",
            torch.arange(1, size + 1, dtype=torch.float64) * (math.pi / cutoff),
            persistent=False,
        )

    def forward(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Radial functions of distances in Å.

        Parameters
        ----------
        distance
            Shape (...), strictly positive.

        Returns
        -------
        waves, cut
            sin(nπr/r_c) r_c/r of shape (..., size), not yet cut off; the envelope, shape (...).
        """
        waves = torch.sin(distance.unsqueeze(-1) * self.frequencies.to(distance.dtype))
        return waves * (self.cutoff / distance).unsqueeze(-1), envelope(distance, self.cutoff)
