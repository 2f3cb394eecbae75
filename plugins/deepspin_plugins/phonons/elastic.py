"""Elastic stiffness from the stress of strained cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa

from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.quantities import STRESS
from deepspin_ase.vectors import Array
from deepspin_plugins.phonons.bridge import to_phonopy
from deepspin_plugins.phonons.elasticity import VOIGT, Stiffness
from deepspin_plugins.phonons.forces import State
from deepspin_plugins.phonons.relaxation import relaxed


@dataclass(frozen=True, eq=False)
class ElasticConstants(Stiffness):
    """Stiffness from stresses.

    ``error`` is the larger of what the step of the strain changes and of the antisymmetric part; ``stress`` (6,), GPa,
    is what the unstrained cell has left: the stiffness means little unless it is small against it.
    """

    stress: Array


def elastic_constants(
    atoms: Atoms,
    calc: Any = None,
    *,
    strain: float = 0.005,
    state: State = "frozen",
    internal: bool = True,
) -> ElasticConstants:
    """Elastic stiffness C = dσ/dε, from four strained cells per component.

    Parameters
    ----------
    atoms
        Crystal with a relaxed cell; left as it is.
    calc
        Calculator with stress; default ``atoms.calc``.
    strain
        Largest strain; the stress at ± this and ± half of it gives a slope of fourth order.
    state
        What the moments do: see :func:`phonons`. Frozen moments neither turn nor stretch with the cell.
    internal
        Relax positions in the strained cell; False gives the clamped-ion stiffness.

    Raises
    ------
    InputError
        No crystal, no stress from the calculator, a strain out of range, positions that do not relax.
    """
    calculator = atoms.calc if calc is None else calc
    to_phonopy(atoms)
    if calculator is None or STRESS not in calculator.implemented_properties:
        raise InputError(f"elastic constants need a calculator that gives stress; this is {type(calculator).__name__}.")
    if not 0.0 < strain <= 0.05:
        raise InputError(f"strain = {strain}; allowed: a positive number up to 0.05.")
    relax: Any = "positions" if internal else "none"
    home = relaxed(atoms, calculator, state, relax)
    rest = np.array(home.get_stress()) / GPa
    factors = (1.0, -1.0, 0.5, -0.5)
    sigma = np.zeros((4, 6, 6))  # factor, stress, strain
    for component, step in track([(c, s) for c in range(6) for s in range(4)], "Strains"):
        trial = home.copy()
        trial.set_cell(home.cell.array @ _deformation(component, factors[step] * strain), scale_atoms=True)
        sigma[step, :, component] = np.array(relaxed(trial, calculator, state, relax).get_stress()) / GPa
    wide, narrow = (sigma[0] - sigma[1]) / (2 * strain), (sigma[2] - sigma[3]) / strain
    slope = (4.0 * narrow - wide) / 3.0
    error = np.maximum(np.abs(narrow - wide) / 3.0, np.abs(slope - slope.T) / 2.0)
    volume = home.get_volume()
    return ElasticConstants(
        (slope + slope.T) / 2.0, error, float(home.get_masses().sum() / volume), len(home) / volume, rest
    )


def _deformation(component: int, strain: float) -> Array:
    """I + ε with one Voigt component of the strain (twice the tensor component for shear)."""
    i, j = VOIGT[component]
    matrix = np.eye(3)
    matrix[i, j] += strain / 2.0
    matrix[j, i] += strain / 2.0
    return matrix
