"""Elastic stiffness as a 6 x 6 matrix: moduli, sound of its Christoffel equation, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from deepspin_ase.quantities import HBAR, K_B
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Index pairs xx yy zz yz xz xy."""

PRESSURE = 1.66053906660
"""GPa in one amu/Å³ (km/s)²."""

_DIRECTIONS = 2000


@dataclass(frozen=True, eq=False)
class Stiffness(StoredResult):
    """Elastic stiffness of a crystal.

    Attributes
    ----------
    stiffness
        C, (6, 6), GPa, Voigt order xx yy zz yz xz xy, Cartesian axes of the structure.
    error
        (6, 6), GPa; how it is found says the subclass.
    density
        Mass density, amu/Å³.
    atom_density
        Atoms per Å³.
    """

    stiffness: Array
    error: Array
    density: float
    atom_density: float

    @property
    def bulk_modulus(self) -> float:
        """Bulk modulus, GPa (mean of Voigt and Reuss)."""
        compliance = np.linalg.inv(self.stiffness)
        return float(self.stiffness[:3, :3].sum() / 9 + 1 / compliance[:3, :3].sum()) / 2

    @property
    def shear_modulus(self) -> float:
        """Shear modulus, GPa (mean of Voigt and Reuss)."""
        c, s = self.stiffness, np.linalg.inv(self.stiffness)
        voigt = (np.trace(c[:3, :3]) * 1.5 - c[:3, :3].sum() / 2 + 3 * np.trace(c[3:, 3:])) / 15
        reuss = 15 / (6 * np.trace(s[:3, :3]) - 2 * s[:3, :3].sum() + 3 * np.trace(s[3:, 3:]))
        return float(voigt + reuss) / 2

    def velocities(self, directions: ArrayLike) -> Array:
        """Sound velocities (d, 3), km/s, ascending, along unit vectors (d, 3); unstable ones are negative."""
        unit = np.asarray(directions, dtype=float)
        tensor = full_tensor(self.stiffness)
        squared = np.linalg.eigvalsh(np.einsum("ijkl,dj,dl->dik", tensor, unit, unit)) / (PRESSURE * self.density)
        return np.asarray(np.sign(squared) * np.sqrt(np.abs(squared)))

    @property
    def debye_temperature(self) -> float:
        """Debye temperature, K, of the sound velocities; nan if the crystal is not stable.

        θ = (ħ v/k_B)(6π² n)^(1/3) with n atoms per volume and 3/v³ = the mean over directions of Σ_modes 1/v³, so that
        C_V = (12π⁴/5)(T/θ)³ k_B per atom at low temperature (O. L. Anderson, J. Phys. Chem. Solids 24, 909 (1963)).
        """
        speed = self.velocities(sphere(_DIRECTIONS))
        if speed.min() <= 0.0:
            return float("nan")
        mean = np.mean(speed**-3.0) ** (-1.0 / 3.0)
        return float(HBAR * 1e13 * mean * (6.0 * np.pi**2 * self.atom_density) ** (1.0 / 3.0) / K_B)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the matrix with its numbers in GPa."""
        ax = new_axes(5.0, 4.2) if ax is None else ax
        top = float(np.abs(self.stiffness).max())
        image = ax.imshow(self.stiffness, cmap="RdBu_r", vmin=-top, vmax=top)
        ax.figure.colorbar(image, ax=ax, label="stiffness (GPa)")
        names = ["xx", "yy", "zz", "yz", "xz", "xy"]
        ax.set_xticks(range(6), names)
        ax.set_yticks(range(6), names)
        for (row, column), value in np.ndenumerate(self.stiffness):
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8)
        ax.set(xlabel="strain", ylabel="stress")
        return ax


def full_tensor(stiffness: Array) -> Array:
    """C_ijkl, (3, 3, 3, 3), of a Voigt matrix."""
    index = np.zeros((3, 3), dtype=int)
    for number, (i, j) in enumerate(VOIGT):
        index[i, j] = index[j, i] = number
    return np.asarray(stiffness)[index[:, :, None, None], index[None, None]]


def sphere(count: int) -> Array:
    """Unit vectors (count, 3), nearly uniform on the sphere (Fibonacci's spiral)."""
    number = np.arange(count) + 0.5
    z = 1.0 - 2.0 * number / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * number
    radius = np.sqrt(1.0 - z**2)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])
