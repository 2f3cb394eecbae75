"""Small structures whose atoms and moments move together, for the tests of spin-lattice dynamics."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk

from deepspin_ase import Heisenberg, ferromagnet, set_moments, tilt
from deepspin_ase.heisenberg import Exponential, Landau, Morse
from deepspin_plugins.spin_dynamics.barostat import CellRescaling
from deepspin_plugins.spin_dynamics.baths import SpinLangevin
from deepspin_plugins.spin_dynamics.cartesian import CartesianMomentDynamics
from deepspin_plugins.spin_dynamics.lattice_bath import LatticeLangevin
from deepspin_plugins.spin_dynamics.nose_hoover import NoseHooverChain
from deepspin_plugins.spin_dynamics.spin_lattice import SpinLatticeDynamics

fs = units.fs
MORSE = Morse(depth=0.42, r0=2.85, stiffness=1.39, cutoff=5.0)


def iron(
    *, repeat: int = 2, strength: float = 0.01, decay: float = 0.5, dipolar: float = 0.0, heat: float = 300.0
) -> Atoms:
    """bcc Fe with Morse bonds, J(r) = strength at 2.5 Å (eV), tilted moments, velocities of ``heat`` K."""
    rng = np.random.default_rng(7)
    atoms = bulk("Fe", a=2.8665, cubic=True).repeat(repeat)
    set_moments(atoms, tilt(ferromagnet(atoms, 2.2), 30.0, rng, uniform=True))
    pseudo = Exponential(strength=dipolar, r0=2.5, decay=decay, cutoff=3.4) if dipolar else None
    atoms.calc = Heisenberg(
        exchange=Exponential(strength=strength, r0=2.5, decay=decay, cutoff=3.4), pseudo_dipolar=pseudo, lattice=MORSE
    )
    warm(atoms, heat, rng)
    return atoms


def soft_iron(*, repeat: int = 2, heat: float = 300.0) -> Atoms:
    """bcc Fe whose moments change their lengths: Landau energy, exchange between the moments themselves."""
    rng = np.random.default_rng(7)
    atoms = bulk("Fe", a=2.8665, cubic=True).repeat(repeat)
    set_moments(atoms, tilt(ferromagnet(atoms, 2.0), 30.0, rng, uniform=True))
    atoms.calc = Heisenberg(
        exchange=Exponential(strength=0.004, r0=2.5, decay=0.5, cutoff=3.4),
        landau={"Fe": Landau(-0.2, 0.03)},
        lattice=MORSE,
        normalise=False,
    )
    warm(atoms, heat, rng)
    return atoms


def spin_lattice(atoms: Atoms, **options: Any) -> SpinLatticeDynamics:
    """Driver with both baths and a barostat."""
    return SpinLatticeDynamics(
        atoms,
        1.0 * fs,
        spin_bath=SpinLangevin(200.0, damping=0.05),
        lattice_bath=LatticeLangevin(300.0, {"Fe": 0.02 / fs}),
        barostat=CellRescaling(300.0, 500 * fs, 1.0, interval=3),
        rng=5,
        **options,
    )


def cartesian(atoms: Atoms, **options: Any) -> CartesianMomentDynamics:
    """Driver with a chain for the atoms and noise for the moments."""
    return CartesianMomentDynamics(
        atoms,
        1.0 * fs,
        moment_mass=10.0 * fs**2,
        lattice_bath=NoseHooverChain(300.0, 50 * fs),
        moment_bath=LatticeLangevin(300.0, 0.02 / fs),
        rng=5,
        **options,
    )


def warm(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Maxwell's distribution of momenta, with the total at rest."""
    momenta = rng.normal(size=(len(atoms), 3)) * np.sqrt(units.kB * temperature * atoms.get_masses())[:, None]
    atoms.set_momenta(momenta - momenta.mean(axis=0))


def blocked_error(values: np.ndarray, blocks: int = 10) -> float:
    """Standard error of a mean from means of blocks."""
    means = [block.mean() for block in np.array_split(values, blocks)]
    return float(np.std(means, ddof=1) / np.sqrt(blocks))
