"""Evaluate one structure and keep everything that the calculator says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.moments import get_moments
from deepspin_ase.plugin import check_calculator
from deepspin_ase.quantities import MU_B
from deepspin_ase.stored_result import StoredResult, new_axes

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SinglePoint(StoredResult):
    """Result of one evaluation; all arrays are read-only.

    Attributes
    ----------
    symbols
        Chemical symbols, length n.
    energy
        Energy in eV.
    forces
        (n, 3) in eV/Å.
    stress
        (6,) in eV/Å³, tension positive, Voigt order xx yy zz yz xz xy; NaN where the structure is not
        periodic in three directions or the calculator has no stress.
    moments
        (n, 3) in µB.
    magnetic_forces
        −∂E/∂m, (n, 3) in eV/µB.
    """

    symbols: tuple[str, ...]
    energy: float
    forces: Array
    stress: Array
    moments: Array
    magnetic_forces: Array

    @property
    def magnetic_torques(self) -> Array:
        """Torques m × F^m, (n, 3) in eV per radian."""
        return np.cross(self.moments, self.magnetic_forces)

    @property
    def fields_tesla(self) -> Array:
        """Effective fields F^m / µB, (n, 3) in tesla."""
        return self.magnetic_forces / MU_B

    @property
    def max_force(self) -> float:
        """Length of the largest force in eV/Å."""
        return _longest(self.forces)

    @property
    def max_torque(self) -> float:
        """Length of the largest torque in eV per radian."""
        return _longest(self.magnetic_torques)

    @property
    def parallel_magnetic_forces(self) -> Array:
        """Component of F^m along the moment, (n,) in eV/µB; zero where the moment is."""
        length = np.linalg.norm(self.moments, axis=1)
        projection = np.einsum("ij,ij->i", self.moments, self.magnetic_forces)
        return np.divide(projection, length, out=np.zeros_like(length), where=length > 0)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the length of moment, force and torque of every atom.

        Parameters
        ----------
        ax
            Axes to draw in; new ones by default.
        """
        ax = ax or new_axes(7, 4)
        atom = np.arange(len(self.symbols))
        ax.plot(atom, 1e3 * np.linalg.norm(self.forces, axis=1), "s", label="|force| (meV/Å)")
        ax.plot(atom, 1e3 * np.linalg.norm(self.magnetic_torques, axis=1), "o", label="|torque| (meV/rad)")
        ax.plot(atom, 1e3 * np.abs(self.parallel_magnetic_forces), "^", label="|F∥| (meV/µB)")
        ax.set_xlabel("atom")
        ax.set_ylabel("meV/Å, meV/rad, meV/µB")
        ax.legend()
        return ax


def single_point(atoms: Atoms) -> SinglePoint:
    """Evaluate a structure once.

    Parameters
    ----------
    atoms
        Structure with moments and a calculator that gives energy, forces and magnetic forces.

    Returns
    -------
    SinglePoint
        The result; nothing is left on ``atoms`` but the calculator's own cache.

    Raises
    ------
    deepspin_ase.plugin.PluginError
        If the calculator lacks one of these properties.
    """
    from deepspin_plugins.point.plugin import plugin

    check_calculator(plugin, atoms.calc)
    stress = np.full(6, np.nan)
    if "stress" in atoms.calc.implemented_properties and atoms.pbc.all():
        stress = atoms.get_stress()
    return SinglePoint(
        symbols=tuple(atoms.get_chemical_symbols()),
        energy=float(atoms.get_potential_energy()),
        forces=atoms.get_forces(apply_constraint=False),
        stress=stress,
        moments=get_moments(atoms),
        magnetic_forces=atoms.calc.get_property("magnetic_forces", atoms),
    )


def _longest(vectors: Array) -> float:
    return float(np.linalg.norm(vectors, axis=1).max(initial=0.0))
