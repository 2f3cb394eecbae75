"""Phonons of a paramagnet: forces averaged over disordered moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, random_directions, set_moments
from deepspin_plugins.phonons.averages import AveragedPhonons, average_force_constants
from deepspin_plugins.phonons.bridge import match_atoms, to_ase
from deepspin_plugins.phonons.cells import SupercellLike, build_phonopy
from deepspin_plugins.phonons.forces import ForceRun

if TYPE_CHECKING:
    from phonopy import Phonopy

Array = NDArray[np.float64]

_FEWEST = 2
_MOST_BLOCKS = 40


def disordered_phonons(
    atoms: Atoms,
    *,
    supercell: SupercellLike = "auto",
    states: int | Sequence[ArrayLike | Atoms] = 40,
    distance: float = 0.01,
    rng: int | np.random.Generator = 0,
    executor: Executor | None = None,
    folder: str | Path | None = None,
    symprec: float = 1e-5,
) -> AveragedPhonons:
    """Phonons of a crystal whose moments fluctuate much faster than its atoms: spin-space averaging.

    Every state of the moments gets its own random displacements u of all atoms, and the forces
    f = [F(u) - F(-u)]/2 are those that displacements cause. One matrix of force constants with the full symmetry of the
    crystal without moments is fitted to all of them. Its error is the scatter between states.

    Parameters
    ----------
    atoms
        Crystal with a calculator and moments, whose lengths all states share; its positions should be those that the
        disordered crystal has (of high symmetry, or relaxed on average).
    supercell
        As in :func:`phonons`.
    states
        Number of random states, directions uniform on the sphere; or the states themselves, for instance from Monte
        Carlo or dynamics at a temperature: supercells with moments (atoms in any order), or (n, 3) arrays in µB in the
        order of phonopy's supercell.
    distance
        Å, root mean square displacement of an atom.
    rng
        Seed or generator.
    executor, folder
        Run the structures elsewhere; keep finished forces here, so that a second run with the same seed or states
        continues where the first stopped.
    symprec
        Å, tolerance of the symmetry search.

    Returns
    -------
    AveragedPhonons
        Frequencies with errors; ``static_force`` is the root mean square of the forces that disorder exerts on the
        undisplaced atoms.

    Raises
    ------
    InputError
        No calculator, no moments, wrong states, or too few of them.

    Notes
    -----
    F. Körmann et al., Phys. Rev. B 85, 125104 (2012); Y. Ikeda et al., Phys. Rev. B 90, 134106 (2014). The average is
    over force constants, so that the frequencies are those of the mean crystal; the width that disorder gives a phonon
    is not included.
    """
    generator = np.random.default_rng(rng)
    evaluate = ForceRun(atoms.calc, executor=executor, folder=None if folder is None else Path(folder))
    if not distance > 0:
        raise InputError(f"distance = {distance} Å; allowed: a positive number, about 0.01.")
    bare = atoms.copy()
    bare.set_array("initial_magmoms", None)
    phonon = build_phonopy(bare, supercell, axis=None, symprec=symprec)
    sites = to_ase(phonon.supercell)
    moments = list(_states(atoms, sites, phonon, states, generator))
    if len(moments) < _FEWEST:
        raise InputError(f"{len(moments)} states; allowed: at least {_FEWEST}, better 20 or more.")
    width = distance / np.sqrt(3.0)
    u = generator.normal(0.0, width, (len(moments), len(sites), 3))
    u -= u.mean(axis=1, keepdims=True)
    displaced = [_displaced(sites, s * v, m) for v, m in zip(u, moments, strict=True) for s in (1.0, -1.0)]
    forces = evaluate(displaced, displaced[0], "disordered states").reshape(len(moments), 2, len(sites), 3)
    static = forces.mean(axis=1)
    return average_force_constants(
        phonon,
        u,
        0.5 * (forces[:, 0] - forces[:, 1]),
        blocks=min(len(moments), _MOST_BLOCKS),
        static_force=float(np.sqrt((static**2).mean())),
    )


def _states(
    atoms: Atoms,
    sites: Atoms,
    phonon: Phonopy,
    states: int | Sequence[ArrayLike | Atoms],
    generator: np.random.Generator,
) -> Iterator[Array]:
    """Moments of the supercell, (n, 3), one state after the other."""
    if isinstance(states, int | np.integer):
        length = np.linalg.norm(get_moments(atoms), axis=1)
        if not length.any():
            raise InputError("the structure carries no moments to disorder; use set_moments(atoms, ...) first.")
        copies = length[np.searchsorted(phonon.supercell.u2s_map, phonon.supercell.s2u_map)]
        for _ in range(states):
            yield random_directions(sites, copies, generator)
        return
    for number, state in enumerate(states):
        if isinstance(state, Atoms):
            yield get_moments(state)[match_atoms(sites, state)]
            continue
        array = np.asarray(state, dtype=float)
        if array.shape != (len(sites), 3) or not np.isfinite(array).all():
            raise InputError(
                f"state {number} has shape {array.shape}; allowed: finite numbers of shape ({len(sites)}, 3)."
            )
        yield array


def _displaced(sites: Atoms, shift: Array, moments: Array) -> Atoms:
    atoms = sites.copy()
    atoms.positions += shift
    set_moments(atoms, moments)
    return atoms
