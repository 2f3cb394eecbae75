"""Every name, unit and constant of the package, once.

The definitions (signs included) are documented in ``docs/conventions.md``; all other modules import names and
constants from here instead of spelling them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MU_B: Final = 5.7883818060e-5
"""Bohr magneton in eV/T: a magnetic force of ``F`` eV/µB is a field of ``F / MU_B`` tesla."""

GAMMA: Final = 1.76085963e11
"""Gyromagnetic ratio in rad s⁻¹ T⁻¹ (g = 2.0023)."""

K_B: Final = 8.617333262e-5
"""Boltzmann constant in eV/K."""

HBAR: Final = 6.582119569e-16
"""Reduced Planck constant in eV s."""


@dataclass(frozen=True)
class Quantity:
    """One quantity: its ASE property key, shape for n atoms, unit and definition."""

    name: str
    shape: str
    unit: str
    definition: str


ENERGY: Final = "energy"
FREE_ENERGY: Final = "free_energy"
ENERGIES: Final = "energies"
FORCES: Final = "forces"
STRESS: Final = "stress"
MAGMOMS: Final = "magmoms"
MAGNETIC_FORCES: Final = "magnetic_forces"
MAGNETIC_TORQUES: Final = "magnetic_torques"

QUANTITIES: Final[dict[str, Quantity]] = {
    q.name: q
    for q in (
        Quantity(ENERGY, "()", "eV", "E(R, cell, m)"),
        Quantity(FREE_ENERGY, "()", "eV", "equal to energy"),
        Quantity(ENERGIES, "(n,)", "eV", "per-atom energies; their sum is the energy"),
        Quantity(FORCES, "(n, 3)", "eV/Å", "-dE/dR at fixed Cartesian m"),
        Quantity(STRESS, "(6,)", "eV/Å³", "(1/V) dE/dε, tension positive, Voigt xx yy zz yz xz xy; m fixed"),
        Quantity(MAGMOMS, "(n,) or (n, 3)", "µB", "the moments the result belongs to, in the shape they were given"),
        Quantity(MAGNETIC_FORCES, "(n, 3)", "eV/µB", "-dE/dm at fixed R and cell"),
        Quantity(MAGNETIC_TORQUES, "(n, 3)", "eV/rad", "m x magnetic force"),
    )
}

ALL_PROPERTIES: Final[tuple[str, ...]] = tuple(QUANTITIES)
"""ASE property keys that DeepSpin and Heisenberg calculators provide."""

LABEL_PREFIX: Final = "REF_"
"""Prefix of first-principles labels in extended XYZ (``REF_energy``, ``REF_forces``, ...)."""
