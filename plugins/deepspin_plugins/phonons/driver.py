"""From a structure with a calculator to phonons."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.vectors import Array
from deepspin_plugins.phonons.bridge import moment_axis, to_ase, to_phonopy
from deepspin_plugins.phonons.cells import SupercellLike, build_phonopy
from deepspin_plugins.phonons.force_constants import (
    METHODS,
    Method,
    by_displacements,
    by_hessian,
    by_random_displacements,
    enforce_sum_rule,
)
from deepspin_plugins.phonons.forces import ForceRun, State
from deepspin_plugins.phonons.relaxation import RELAX, Relax, relaxed
from deepspin_plugins.phonons.result import PhononResult

LARGEST_FORCE = 0.02
"""eV/Å; a structure with larger forces is refused."""


def phonons(
    atoms: Atoms,
    calc: Any = None,
    *,
    supercell: SupercellLike = "auto",
    distance: float = 0.01,
    method: Method = "displacements",
    state: State = "frozen",
    relax: Relax = "positions",
    snapshots: int | None = None,
    seed: int = 0,
    symprec: float = 1e-5,
    executor: Executor | None = None,
    folder: str | Path | None = None,
) -> PhononResult:
    """Phonons of a crystal, in the magnetic state that it carries.

    Parameters
    ----------
    atoms
        Cell with moments (``set_moments``), or without for a calculator that knows none; left as it is.
    calc
        Calculator with forces; default ``atoms.calc``.
    supercell
        Repeats (one or three), a (3, 3) matrix of integers whose rows are the vectors of the supercell, or ``"auto"``:
        about 100 atoms. Frequencies between the wavevectors that fit into the supercell are interpolated.
    distance
        Length of a displacement, Å.
    method
        ``"displacements"``: few displacements and symmetry. ``"random"``: all atoms displaced at random, fitted by
        symfc. ``"hessian"``: exact derivatives of calculators that have ``get_hessian`` (DeepSpin).
    state
        ``"frozen"``: the moments stay as they are while atoms move. ``"directions"``: they turn to where no torque
        acts. ``"relaxed"``: their lengths follow, too. In the latter two the moments are relaxed first; another
        magnetic state as the outcome is refused.
    relax
        ``"positions"`` (at fixed cell), ``"cell"`` (as well), or ``"none"``.
    snapshots
        Number of random displacement patterns, each used with both signs; default as many as symfc advises.
    seed
        Of the random displacements.
    symprec
        Å; tolerance of the symmetry search.
    executor
        Runs the displaced supercells, for calculators that can be sent to other processes.
    folder
        Keeps finished forces: a run that was stopped takes up where it was.

    Returns
    -------
    PhononResult
        Bands, density of states, thermal properties, sound; ``.save("phonopy.yaml")``.

    Raises
    ------
    InputError
        No crystal, a residual force above 0.02 eV/Å, moments that cannot follow, wrong options.

    Notes
    -----
    Symmetry: moments (n,) count as spins without spin-orbit coupling, which a symmetry operation may reverse.
    A collinear (n, 3) state is treated in the same way if a common turn of all moments changes neither energy nor
    forces of the calculator (tried with one turn); otherwise, and for non-collinear states, moments are axial vectors.
    Force constants obey the acoustic sum rule; how far they were from it is in ``sum_rule_error``.

    Source: A. Togo, L. Chaput, T. Tadano, I. Tanaka, J. Phys.: Condens. Matter 35, 353001 (2023).
    """
    _check(distance, method, relax, snapshots)
    run = ForceRun(atoms.calc if calc is None else calc, state, executor, None if folder is None else Path(folder))
    to_phonopy(atoms)  # refuses what is no crystal before any work is done
    home = relaxed(atoms, run.calc, state, relax)
    axis = moment_axis(home)
    if axis is not None and not _spins_turn_freely(home, run.calc):
        axis = None
    phonon = build_phonopy(home, supercell, axis=axis, symprec=symprec)
    big = to_ase(phonon.supercell, axis=axis)
    if method == "hessian":
        forces = by_hessian(phonon, big, run.calc, state)
    elif method == "random":
        forces = by_random_displacements(phonon, big, run, distance, snapshots=snapshots, seed=seed)
    else:
        forces = by_displacements(phonon, big, run, distance)
    residual = float(np.linalg.norm(forces, axis=1).max())
    if residual > LARGEST_FORCE:
        raise InputError(
            f"the structure is not at rest: the largest force is {residual:.3g} eV/Å (allowed: {LARGEST_FORCE}). "
            "Use relax='positions', or relax it yourself."
        )
    return PhononResult(phonon, axis, state, method, residual, enforce_sum_rule(phonon))


def _check(distance: float, method: str, relax: str, snapshots: int | None) -> None:
    if not 0.0 < distance < 1.0:
        raise InputError(f"distance = {distance} Å; allowed: a positive number below 1, usually 0.01.")
    if method not in METHODS:
        raise InputError(f"method = {method!r}; allowed: {', '.join(METHODS)}.")
    if relax not in RELAX:
        raise InputError(f"relax = {relax!r}; allowed: {', '.join(RELAX)}.")
    if snapshots is not None and (method != "random" or snapshots < 1):
        raise InputError(f"snapshots = {snapshots} with method = {method!r}; give a positive number with 'random'.")


def _spins_turn_freely(atoms: Atoms, calc: Any) -> bool:
    """Whether a common turn of all moments changes neither energy nor forces of a slightly distorted cell."""
    rng = np.random.default_rng(7)
    trial = atoms.copy()
    trial.positions += rng.normal(0.0, 0.02, (len(atoms), 3))
    before = _energy_and_forces(trial, calc)
    set_moments(trial, Rotation.random(rng=rng).apply(get_moments(trial)))
    after = _energy_and_forces(trial, calc)
    return bool(abs(after[0] - before[0]) < 1e-7 * len(atoms) and np.abs(after[1] - before[1]).max() < 1e-6)


def _energy_and_forces(atoms: Atoms, calc: Any) -> tuple[float, Array]:
    return float(calc.get_potential_energy(atoms)), np.array(calc.get_forces(atoms), dtype=float)
