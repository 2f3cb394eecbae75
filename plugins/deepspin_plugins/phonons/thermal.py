"""Thermal properties of harmonic phonons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import kJ, mol
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.quantities import K_B
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.phonons.bands import sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from phonopy import Phonopy

_EV = kJ / mol  # phonopy's kJ/mol in eV
_KB = 1e-3 * kJ / mol / K_B  # phonopy's J/(K mol) in k_B


@dataclass(frozen=True, eq=False)
class ThermalProperties(StoredResult):
    """Harmonic free energy, entropy and heat capacity at constant volume.

    Attributes
    ----------
    temperature
        (T,), K.
    free_energy
        (T,), eV per atom, without the static energy, with the zero-point energy.
    entropy, heat_capacity
        (T,), k_B per atom; the heat capacity tends to 3.
    errors
        (3, T): differences of the three to the mesh with half as many points per direction.
    mesh
        Points per direction.
    imaginary
        Fraction of the modes that are imaginary and therefore left out; the numbers mean little unless it is 0.
    """

    temperature: Array
    free_energy: Array
    entropy: Array
    heat_capacity: Array
    errors: Array
    mesh: NDArray[np.int64]
    imaginary: float

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw all three against temperature; the free energy belongs to the axis on the right."""
        ax = new_axes() if ax is None else ax
        for y, error, name, colour in (
            (self.entropy, self.errors[1], "entropy", "C0"),
            (self.heat_capacity, self.errors[2], "heat capacity", "C3"),
        ):
            ax.plot(self.temperature, y, color=colour, label=name)
            ax.fill_between(self.temperature, y - error, y + error, color=colour, alpha=0.3, linewidth=0)
        ax.axhline(3.0, color="0.6", linestyle="--", linewidth=1)
        ax.set(xlabel="temperature (K)", ylabel=r"entropy, heat capacity ($k_B$ per atom)")
        right = ax.twinx()
        right.plot(self.temperature, 1e3 * self.free_energy, color="k", linewidth=1)
        right.set_ylabel("free energy (meV per atom)")
        ax.plot([], [], color="k", linewidth=1, label="free energy (right)")
        ax.legend(fontsize=8, loc="upper center")
        return ax


def thermal_properties(phonon: Phonopy, temperatures: ArrayLike, mesh: NDArray[np.int64]) -> ThermalProperties:
    """Thermal properties by a sum over a mesh; the three modes of no restoring force at Γ are left out."""
    kelvin = as_finite(temperatures, "temperatures").reshape(-1)
    if not len(kelvin) or kelvin.min() < 0.0:
        raise InputError(f"temperatures = {kelvin.tolist()}; allowed: numbers of kelvin that are not negative.")
    results = []
    for size in (np.maximum(mesh // 2, 1), mesh):
        run = sample(phonon, size)
        found: Any = phonon.run_thermal_properties(
            temperatures=kelvin, cutoff_frequency=1e-3, exclude_gamma_acoustic=True
        )
        scale = np.array([_EV, _KB, _KB])[:, None] / len(phonon.primitive)
        results.append(scale * np.array([found.free_energy, found.entropy, found.heat_capacity]))
    weights = np.asarray(run.weights, dtype=float)
    wrong = float(weights @ (run.frequencies < -1e-3).mean(axis=1) / weights.sum())
    coarse, fine = results
    return ThermalProperties(kelvin, fine[0], fine[1], fine[2], np.abs(fine - coarse), mesh, wrong)
