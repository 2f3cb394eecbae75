"""Direct sampling: moments, lengths of moments and positions in the energy of a potential, without a spin model."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from ase import Atoms
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_plugins.curie.direct_samples import DirectSamples
from deepspin_plugins.curie.potential_sampler import PotentialSampler

logger = logging.getLogger(__name__)


def sample_potential(
    atoms: Atoms,
    temperatures: ArrayLike,
    *,
    lattice: bool = False,
    longitudinal: bool = False,
    weights: ArrayLike | None = None,
    equilibration: int = 200,
    sweeps: int = 1000,
    leapfrog_steps: int = 3,
    tempering: int = 1,
    seed: int = 0,
    checkpoint: str | Path | None = None,
) -> DirectSamples:
    """Sample the canonical distribution exp(-E/k_B T) of a structure at several temperatures.

    Parameters
    ----------
    atoms
        Supercell with moments and a calculator with magnetic forces (DeepSpin, Heisenberg, ...). Every temperature
        starts from it; it is left as it is. Atoms without a moment stay without.
    temperatures
        K, (T,), in increasing order.
    lattice
        Positions move, too, at fixed cell: classical nuclei, NVT.
    longitudinal
        Lengths of the moments change, too. The measure is d³m = |m|² d|m| dΩ: each moment is a vector whose three
        components are equivalent.
    weights
        Weights of p order parameters on the atoms, (p, n) or (n,), real or complex; default 1. See :class:`Series`.
    equilibration
        Sweeps before measuring; steps and masses adapt in them.
    sweeps
        Measured sweeps. One is a trajectory of about ``leapfrog_steps`` evaluations at every temperature.
    leapfrog_steps
        Mean length of a trajectory in steps.
    tempering
        Sweeps between attempts to exchange neighbouring temperatures; 0 switches it off.
    seed
        Of the random numbers.
    checkpoint
        File that is written every 20 sweeps and at the end. If it exists, the run goes on from it, up to the numbers
        of sweeps asked for here.

    Returns
    -------
    DirectSamples
        Ctrl-C ends the run early and returns what there is, with ``complete=False``.

    Raises
    ------
    InputError
        No calculator, forces or magnetic forces that it does not give, no moments, wrong temperatures or weights, a
        checkpoint of another run.

    Notes
    -----
    Geodesic Hamiltonian Monte Carlo (``hmc.py``): no error of a time step, and every move turns all moments.
    """
    if equilibration < 0 or sweeps < 1:
        raise InputError(f"equilibration = {equilibration}, sweeps = {sweeps}; allowed: at least 0, and at least 1.")
    sampler = PotentialSampler(
        atoms,
        temperatures,
        lattice=lattice,
        longitudinal=longitudinal,
        weights=weights,
        leapfrog_steps=leapfrog_steps,
        tempering=tempering,
        seed=seed,
    )
    if checkpoint is not None and Path(checkpoint).exists():
        sampler.restore(checkpoint)
    try:
        sampler.thermalize(max(equilibration - sampler.sweeps, 0), checkpoint)
        if len(sampler) < sweeps:
            sampler.run(sweeps - len(sampler), checkpoint)
    except KeyboardInterrupt:
        if checkpoint is not None:
            sampler.save(checkpoint)
        if not len(sampler):
            raise
        logger.warning("interrupted: %d of %d sweeps were measured", len(sampler), sweeps)
    return replace(sampler.series, complete=len(sampler) >= sweeps)
