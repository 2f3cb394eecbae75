"""Ordering temperature of a potential itself, without a spin model: direct sampling of several supercells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.moments import get_moments
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.curie.analysis import Run, analyse
from deepspin_plugins.curie.driver import estimated
from deepspin_plugins.curie.finite_size import NU
from deepspin_plugins.curie.order import Complex, MagneticOrder, find_order, order_of_state
from deepspin_plugins.curie.potential_sampler import PotentialSampler
from deepspin_plugins.curie.result import CurieResult
from deepspin_plugins.curie.study import Study

_FEWEST = 50  # measurements after an interruption


def direct_ordering_temperature(
    structures: Sequence[Atoms],
    temperatures: ArrayLike,
    *,
    calc: Any = None,
    model: HeisenbergModel | None = None,
    lattice: bool = False,
    longitudinal: bool = False,
    sweeps: int = 1000,
    equilibration: int = 200,
    seed: int = 0,
    checkpoint: str | Path | None = None,
) -> CurieResult:
    """Ordering temperature by Hamiltonian Monte Carlo in the energy of a calculator.

    Parameters
    ----------
    structures
        Supercells of at least two sizes, each in its ordered state; of equal shape if possible.
    temperatures
        K, (T,), around the transition that :func:`ordering_temperature` predicts.
    calc
        Calculator with magnetic forces; default that of the first structure.
    model
        Spin model of the crystal, for the order parameter (:func:`find_order`, with all arms of the star of q) and
        for mean field. Default: the moments of each structure are its order.
    lattice, longitudinal
        What moves besides the directions of the moments, see :func:`sample_potential`.
    sweeps, equilibration
        Measured sweeps, and those before them, of every size.
    seed
        Of the random numbers.
    checkpoint
        Folder for restarts.

    Returns
    -------
    CurieResult
        Ctrl-C ends it early with what there is (``complete=False``) if every size has at least 50 measurements.
    """
    if len(structures) < 2:
        raise InputError(f"{len(structures)} structures; at least two sizes are needed (three for an error of size).")
    grid = np.unique(as_finite(temperatures, "temperatures"))
    engine = structures[0].calc if calc is None else calc
    magnetic = [int(np.count_nonzero(get_moments(atoms).any(axis=1))) for atoms in structures]
    if len(set(magnetic)) < len(magnetic):
        raise InputError(f"the structures have {magnetic} magnetic atoms; allowed: different sizes.")
    orders = [_order(atoms, model) for atoms in structures]

    def make(number: int, kelvin: Array, own_seed: int) -> PotentialSampler:
        atoms = structures[number].copy()
        atoms.calc = engine
        return PotentialSampler(
            atoms, kelvin, lattice=lattice, longitudinal=longitudinal, weights=orders[number][1], seed=own_seed
        )

    study = Study(make, seed=seed, checkpoint=checkpoint, quiet=True)
    complete = True
    try:
        runs = study.measure("direct", range(len(structures)), grid, sweeps, warm=equilibration)
    except KeyboardInterrupt:
        runs = study.runs("direct")
        if len(runs) < len(structures) or min(len(run.series) for run in runs) < _FEWEST:
            raise
        complete = False
    moved = "moments" + (" and positions" if lattice else "") + (" and lengths of moments" if longitudinal else "")
    order = orders[0][0]
    return analyse(
        order,
        [Run(magnetic[int(run.size)] ** (1 / 3), run.series) for run in runs],
        nu=NU,
        estimates=None if model is None else estimated(model, order),
        method=f"direct sampling of the potential, {moved}",
        complete=complete,
    )


def _order(atoms: Atoms, model: HeisenbergModel | None) -> tuple[MagneticOrder, Complex]:
    """Order parameter, and its weights on the atoms of a supercell."""
    if model is None:
        order = order_of_state(HeisenbergModel.from_bonds(atoms, []), get_moments(atoms))
        return order, order.weights
    order, sites = find_order(model), model.match(atoms)
    return order, order.weights_at(sites.site, sites.offset)
