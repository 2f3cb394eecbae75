"""Small potentials with random weights, and structures to try them on."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from deepspin_ase.calculator import DeepSpin
from deepspin_ase.model.config import ModelConfig
from deepspin_ase.model.potential import Potential
from deepspin_ase.moments import set_moments


def random_potential(
    *,
    spin_orbit: bool = False,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    channels: int = 8,
    layers: int = 2,
    quadrupoles: int = 4,
) -> Potential:
    """A network for Ni and O (Ni magnetic), cutoff 4 Å, with random weights and reference energies."""
    config = ModelConfig(
        species=(8, 28),
        magnetic=(28,),
        cutoff=4.0,
        channels=channels,
        layers=layers,
        quadrupoles=quadrupoles,
        spin_orbit=spin_orbit,
        mean_neighbours=20.0,
    )
    potential = Potential(config, seed=seed)
    potential.network.reference[:] = torch.tensor([-4.0, -6.0])
    return potential.cast(dtype)


def random_calculator(**options: object) -> DeepSpin:
    """Calculator of :func:`random_potential`."""
    return DeepSpin.from_potential(random_potential(**options))  # type: ignore[arg-type]


def disordered_nio(rng: np.random.Generator, *, repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
    """Cubic NiO cell (8 atoms) with displaced atoms and random moments, also on O."""
    atoms = bulk("NiO", "rocksalt", a=4.17, cubic=True) * repeat
    atoms.positions += rng.normal(0, 0.08, (len(atoms), 3))
    set_moments(atoms, rng.normal(0, 1.0, (len(atoms), 3)))
    return atoms
