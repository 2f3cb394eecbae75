"""Constant pressure by stochastic cell rescaling, isotropic: settings (:class:`CellRescaling`) and a running barostat.

The volume follows, with ε = ln(V/Å³),

    dε = -(β/τ) (P₀ - P) dt + √(2 k_B T β/(V τ)) dW,        P = 2 E_kin/(3 V) - (σ_xx + σ_yy + σ_zz)/3

after which cell and positions are multiplied by λ = exp(Δε/3) and momenta by 1/λ. It samples the isobaric ensemble at
the temperature T that the baths keep (for V the equation
has a term k_B T/V more, for ε it cancels). Moments neither turn nor strain, as in the definition of the stress.

=========  ====================================  ============================================
symbol     meaning                               variable
=========  ====================================  ============================================
V          volume                                ``atoms.get_volume()``, Å³
P₀         wanted pressure                       ``pressure``, eV/Å³ (``ase.units.GPa``)
P          pressure                              ``pressure_of(atoms)``, eV/Å³
β          compressibility                       ``compressibility``, Å³/eV
τ          relaxation time                       ``time``, ASE units
σ          stress, tension positive              ``atoms.get_stress()``, eV/Å³
=========  ====================================  ============================================

Source: M. Bernetti and G. Bussi, J. Chem. Phys. 153, 114107 (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from deepspin_ase.errors import InputError
from deepspin_ase.quantities import K_B, STRESS
from deepspin_plugins.spin_dynamics.baths import check_temperature


@dataclass(frozen=True)
class CellRescaling:
    """Settings of the barostat.

    Parameters
    ----------
    temperature
        K; the one of the baths.
    time
        Relaxation time τ of the volume, ASE units: ``1000 * ase.units.fs``.
    pressure
        eV/Å³: ``1.0 * ase.units.GPa``.
    compressibility
        β = 1/bulk modulus, Å³/eV: ``1 / (170 * ase.units.GPa)``. Only the speed depends on it.
    interval
        Steps between changes of the cell; each costs one more evaluation.

    Raises
    ------
    InputError
        Numbers that are not finite or have the wrong sign.
    """

    temperature: float
    time: float
    compressibility: float
    pressure: float = 0.0
    interval: int = 10

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not np.isfinite(self.pressure):
            raise InputError(
                f"pressure = {self.pressure}; allowed: a finite number in eV/Å³, e.g. 1.0 * ase.units.GPa."
            )
        for name in ("time", "compressibility"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise InputError(f"{name} = {getattr(self, name)}; allowed: a positive number.")
        if self.interval < 1:
            raise InputError(f"interval = {self.interval} steps; allowed: 1, 2, ...")

    def start(self, atoms: Atoms, rng: np.random.Generator) -> Barostat:
        """Barostat for a structure.

        Raises
        ------
        InputError
            The structure has no volume, is constrained, or its calculator gives no stress.
        """
        if atoms.cell.rank < 3 or not atoms.pbc.all():
            raise InputError("constant pressure needs a structure that is periodic in three directions.")
        if atoms.constraints:
            raise InputError("constant pressure and constraints do not go together: positions are rescaled.")
        if STRESS not in getattr(atoms.calc, "implemented_properties", ()):
            raise InputError(f"{type(atoms.calc).__name__} gives no stress, which constant pressure needs.")
        return Barostat(self, rng)


class Barostat:
    """A running barostat; ``barostat(atoms, timestep)`` changes cell, positions and momenta once.

    Parameters
    ----------
    settings
        See :class:`CellRescaling`.
    rng
        Generator of the noise.
    """

    def __init__(self, settings: CellRescaling, rng: np.random.Generator) -> None:
        self.settings = settings
        self.rng = rng

    def __call__(self, atoms: Atoms, timestep: float) -> None:
        """Let the volume follow for ``interval`` steps of ``timestep`` (ASE units)."""
        s = self.settings
        volume, heat = atoms.get_volume(), K_B * s.temperature
        rate = s.compressibility / s.time * s.interval * timestep
        change = -rate * (s.pressure - pressure_of(atoms))
        change += np.sqrt(2.0 * heat * rate / volume) * self.rng.standard_normal()
        scale = np.exp(change / 3.0)
        atoms.set_cell(scale * atoms.cell.array, scale_atoms=True)
        atoms.set_momenta(atoms.get_momenta() / scale)


def pressure_of(atoms: Atoms) -> float:
    """Pressure with its kinetic part, 2 E_kin/(3 V) - tr σ/3, eV/Å³; divide by ``ase.units.GPa``."""
    stress = atoms.get_stress()
    return float(2.0 * atoms.get_kinetic_energy() / (3.0 * atoms.get_volume()) - stress[:3].mean())
