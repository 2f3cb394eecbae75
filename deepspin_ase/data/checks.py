"""Is a frame physically possible? Catches units that were mixed up, and files that were."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from ase.geometry import complete_cell

from deepspin_ase.data.frames import Frame, FrameError


@dataclass(frozen=True)
class PlausibleLimits:
    """Beyond these a frame is taken for a mistake, not for physics.

    Parameters
    ----------
    distance
        Å; two atoms (images included) that are closer: fractions or nm in place of Å, atoms listed twice.
    moment
        µB; larger |m|: another unit.
    force
        eV/Å.
    magnetic_force
        eV/µB; one of 100 eV/µB is a field of 1.7 million tesla.
    stress
        eV/Å³ (1 eV/Å³ = 160 GPa); larger: kbar or GPa.
    energy_per_atom
        eV; the all-electron energy of an atom stays below 1e6 eV up to Z = 100.
    """

    distance: float = 0.3
    moment: float = 20.0
    force: float = 1e4
    magnetic_force: float = 100.0
    stress: float = 20.0
    energy_per_atom: float = 1.5e6


def check_plausible(frame: Frame, limits: PlausibleLimits | None = None) -> None:
    """Raise if a frame cannot be physical.

    Parameters
    ----------
    frame
        Frame to check.
    limits
        What counts as impossible.

    Raises
    ------
    FrameError
        Names the quantity, the atom, its value, the limit, and the likely mistake.
    """
    limits = limits or PlausibleLimits()
    labels = frame.labels
    _check_distances(frame, limits.distance)
    _check_rows(frame, frame.moments, "|m|", "µB", limits.moment, "are the moments in µB?")
    if labels.forces is not None:
        _check_rows(frame, labels.forces, "the force", "eV/Å", limits.force, "are the forces in eV/Å?")
    if labels.magnetic_forces is not None:
        hint = "are the magnetic forces in eV/µB (not meV/µB or tesla)?"
        _check_rows(frame, labels.magnetic_forces, "the magnetic force", "eV/µB", limits.magnetic_force, hint)
    if labels.stress is not None and np.abs(labels.stress).max() > limits.stress:
        worst = np.abs(labels.stress).max()
        raise FrameError(
            f"stress component of {worst:g} eV/Å³ (limit {limits.stress:g}); is it in kbar or GPa, or a virial in eV?",
            **frame.where(),
        )
    per_atom = frame.energy_per_atom
    if per_atom is not None and abs(per_atom) > limits.energy_per_atom:
        raise FrameError(
            f"energy of {per_atom:g} eV per atom (limit {limits.energy_per_atom:g}); is it in eV, per structure?",
            **frame.where(),
        )
    _check_moments_given(frame)


def _check_rows(frame: Frame, vectors: np.ndarray, what: str, unit: str, limit: float, hint: str) -> None:
    lengths = np.linalg.norm(np.nan_to_num(vectors), axis=1)
    worst = int(np.argmax(lengths))
    if lengths[worst] > limit:
        raise FrameError(
            f"{what} of atom {worst} is {lengths[worst]:g} {unit} (limit {limit:g}); {hint}", **frame.where()
        )


def _check_moments_given(frame: Frame) -> None:
    """Magnetic forces without a moment anywhere: the moments were not read, or not written."""
    magnetic = frame.labels.magnetic_forces
    if magnetic is not None and np.nanmax(np.abs(magnetic)) > 0 and not frame.moments.any():
        raise FrameError(
            "there are magnetic forces, but every moment is zero; name the column or file that holds the moments",
            **frame.where(),
        )


def _check_distances(frame: Frame, shortest: float) -> None:
    """No two atoms closer than ``shortest``, and no lattice vector shorter (in periodic directions)."""
    atoms = frame.atoms
    lengths = atoms.cell.lengths()
    if ((lengths < shortest) & atoms.pbc).any():
        raise FrameError(
            f"lattice vectors of {lengths.round(4).tolist()} Å in periodic directions {atoms.pbc.tolist()}; "
            "is the cell missing, or not in Å?",
            **frame.where(),
        )
    if abs(np.linalg.det(complete_cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)))) < 1e-6:
        raise FrameError(f"the cell {atoms.cell.array.tolist()} has no volume", **frame.where())
    pair = _closest_pair(frame, shortest)
    if pair is not None:
        i, j, distance = pair
        raise FrameError(
            f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) are {distance:.4f} Å apart "
            f"(limit {shortest:g}); are positions and cell in Å (not fractions or nm), is an atom listed "
            "twice?",
            **frame.where(),
        )


def _closest_pair(frame: Frame, shortest: float) -> tuple[int, int, float] | None:
    """The closest pair of atoms below a distance, periodic images included.

    A search tree over the atoms of the cell and the images just outside; vesin would import torch.
    """
    from scipy.spatial import cKDTree

    atoms = frame.atoms
    pbc = np.asarray(atoms.pbc)
    box = complete_cell(np.where(pbc[:, None], atoms.cell.array, 0.0))
    inverse = np.linalg.inv(box)
    margin = np.where(pbc, shortest * np.linalg.norm(inverse, axis=0), 0.0)  # in fractions of the plane spacing
    fractions = atoms.positions @ inverse
    fractions -= np.where(pbc, np.floor(fractions), 0.0)
    points, owners = [fractions], [np.arange(len(atoms))]
    for image in itertools.product(*((-1, 0, 1) if periodic else (0,) for periodic in pbc)):
        if any(image):
            moved = fractions + image
            outside = ((moved >= -margin) & (moved <= 1 + margin) | ~pbc).all(axis=1)
            points.append(moved[outside])
            owners.append(np.flatnonzero(outside))
    owner = np.concatenate(owners)
    positions = np.concatenate(points) @ box
    pairs = cKDTree(positions).query_pairs(shortest, output_type="ndarray")
    if len(pairs) == 0:
        return None
    distances = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    k = int(np.argmin(distances))
    i, j = sorted(int(owner[p]) for p in pairs[k])
    return i, j, float(distances[k])
