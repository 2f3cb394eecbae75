"""Average exchange tensors over the magnetic space group."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.result import ExchangeResult

_COLLINEAR = 1e-3


@dataclass(frozen=True, eq=False)
class _Operations:
    """Rotations (k, 3, 3) and translations (k, 3) in fractions of the cell, and Cartesian rotations (k, 3, 3)."""

    rotations: NDArray[np.int64]
    translations: Array
    cartesian: Array


def symmetrised(result: ExchangeResult, *, tolerance: float = 1e-4) -> ExchangeResult:
    """Average J_ij and K_i over the magnetic space group of the reference state.

    Parameters
    ----------
    result
        What to average.
    tolerance
        Å (positions) and µB (moments) within which two structures are the same.

    Returns
    -------
    ExchangeResult
        The same bonds; the error of each is at least the change of its tensor.

    Raises
    ------
    InputError
        The structure has no three cell vectors, or ``spglib`` finds no group.

    Notes
    -----
    An operation {R|t}, with or without time reversal, maps J_ij onto R J_ij Rᵀ: both signs that an axial moment takes
    occur twice. A collinear state without spin-orbit coupling is given to ``spglib`` with moments as numbers, since
    there the direction of the moments means nothing to the lattice.
    """
    found = _operations(result, tolerance)
    inverse = np.linalg.inv(result.cell)
    fractions = result.positions @ inverse
    site, shift = _images_of_sites(result, found, fractions, tolerance)
    bonds = result.bonds
    keys = np.column_stack([bonds.i, bonds.j, bonds.image])
    place = {key.tobytes(): number for number, key in enumerate(np.ascontiguousarray(keys))}
    tensor = np.zeros_like(bonds.tensor)
    anisotropy = np.zeros_like(result.anisotropy)
    onsite = np.zeros_like(result.onsite)
    for rotation, cartesian, to, by in zip(found.rotations, found.cartesian, site, shift, strict=True):
        image = bonds.image @ rotation.T + by[bonds.j] - by[bonds.i]
        moved = np.ascontiguousarray(np.column_stack([to[bonds.i], to[bonds.j], image]))
        try:
            target = np.array([place[key.tobytes()] for key in moved], dtype=np.int64)
        except KeyError:
            raise InputError(
                "the cutoff lies within a shell whose distances differ slightly, so symmetry maps a bond onto one "
                "that is left out; change the cutoff a little."
            ) from None
        tensor[target] += cartesian @ bonds.tensor @ cartesian.T
        anisotropy[to] += cartesian @ result.anisotropy @ cartesian.T
        onsite[to] += cartesian @ result.onsite @ cartesian.T
    count = len(found.rotations)
    tensor /= count
    change = np.abs(tensor - bonds.tensor).max(axis=(1, 2), initial=0.0)
    return replace(
        result,
        bonds=Bonds(bonds.i, bonds.j, bonds.image, tensor),
        errors=np.maximum(result.errors, change),
        anisotropy=anisotropy / count,
        onsite=onsite / count if result.spin_orbit else result.onsite,
    )


def _operations(result: ExchangeResult, tolerance: float) -> _Operations:
    import spglib

    if np.linalg.matrix_rank(result.cell) < 3:
        raise InputError("symmetrise needs a structure with three cell vectors; this one has fewer.")
    moments = np.where(result.magnetic[:, None], result.moments, 0.0)
    axis = np.linalg.svd(moments)[2][0]
    along = moments @ axis
    collinear = bool(np.abs(moments - along[:, None] * axis).max() < _COLLINEAR * np.abs(along).max())
    cell: Any = (
        result.cell,
        result.positions @ np.linalg.inv(result.cell),
        result.numbers,
        along if collinear and not result.spin_orbit else moments,
    )
    reason = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # spglib 2.7 warns at every call about its own errors
        try:
            group = spglib.get_magnetic_symmetry(cell, symprec=tolerance, mag_symprec=tolerance)
        except Exception as problem:  # newer versions raise, older ones return None
            group, reason = None, f" ({problem})"
    if group is None:
        raise InputError(
            f"spglib finds no magnetic space group within {tolerance} Å and µB{reason}; leave symmetrise out."
        )
    rotations = np.asarray(group["rotations"], dtype=np.int64)
    mixed = np.abs(rotations) * (result.pbc[:, None] != result.pbc)  # spglib takes every direction for periodic
    keep = ~mixed.any(axis=(1, 2))
    rotations = rotations[keep]
    columns = result.cell.T
    return _Operations(rotations, group["translations"][keep], columns @ rotations @ np.linalg.inv(columns))


def _images_of_sites(
    result: ExchangeResult, found: _Operations, fractions: Array, tolerance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Site that every operation maps every site on, (k, n), and the cell it lands in, (k, n, 3)."""
    sites, cells = [], []
    for rotation, translation in zip(found.rotations, found.translations, strict=True):
        moved = fractions @ rotation.T + translation
        difference = moved[:, None] - fractions[None]
        residual = np.linalg.norm((difference - np.rint(difference)) @ result.cell, axis=2)
        residual[result.numbers[:, None] != result.numbers[None]] = np.inf
        target = np.argmin(residual, axis=1)
        if residual[np.arange(len(target)), target].max() > 10 * tolerance:
            raise InputError(
                "an operation found by spglib does not map the atoms onto each other; change the tolerance."
            )
        sites.append(target)
        cells.append(np.rint(difference[np.arange(len(target)), target]).astype(np.int64))
    return np.array(sites), np.array(cells)
