"""The supercell and the primitive cell: which to take, in the symmetry of the magnetic crystal."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.vectors import Array
from deepspin_plugins.phonons.bridge import to_phonopy

if TYPE_CHECKING:
    from phonopy import Phonopy

SupercellLike = Literal["auto"] | int | ArrayLike

_AUTO_ATOMS = 120
_SAME_MOMENT = 3  # decimals, µB


def build_phonopy(atoms: Atoms, supercell: SupercellLike, *, axis: Array | None, symprec: float = 1e-5) -> Phonopy:
    """Phonopy object of a magnetic crystal, not yet with force constants.

    Parameters
    ----------
    atoms
        Cell with moments, primitive or not. If it is primitive, wavevectors refer to exactly this cell.
    supercell
        Repeats (one or three), a (3, 3) matrix of integers whose *rows* are the vectors of the supercell in those of
        the cell, or ``"auto"``: about 100 atoms, as near to a sphere as symmetry allows.
    axis
        See :func:`deepspin_plugins.phonons.to_phonopy`.
    symprec
        Å; tolerance of the symmetry search.

    Raises
    ------
    InputError
        What :func:`to_phonopy` refuses, and a supercell that is no matrix of integers with positive determinant.
    """
    from phonopy import Phonopy

    cell = to_phonopy(atoms, axis=axis)
    matrix = supercell_matrix(atoms, supercell, symprec=symprec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # phonopy explains its choice of primitive cell; the docs do, too
        return Phonopy(
            cell,
            matrix.T,  # phonopy's columns
            primitive_matrix="P" if _translations(atoms, symprec) == 1 else "auto",
            symprec=symprec,
        )


def supercell_matrix(atoms: Atoms, supercell: SupercellLike, *, symprec: float = 1e-5) -> NDArray[np.int64]:
    """Rows: vectors of the supercell in those of the cell, (3, 3)."""
    if isinstance(supercell, str):
        if supercell != "auto":
            raise InputError(f"supercell = {supercell!r}; allowed: 'auto', repeats (one or three), or a (3, 3) matrix.")
        return _automatic(atoms, symprec)
    try:
        given = np.asarray(supercell, dtype=float)
    except (TypeError, ValueError) as problem:
        raise InputError(f"supercell = {supercell!r} is not made of numbers: {problem}") from problem
    given = np.full(3, given) if given.ndim == 0 else given
    matrix = np.diag(given) if given.shape == (3,) else given
    if matrix.shape != (3, 3) or not np.array_equal(matrix, np.rint(matrix)) or np.linalg.det(matrix) < 0.5:
        raise InputError(
            f"supercell = {given.tolist()}; allowed: 'auto', one or three positive integers, or a (3, 3) matrix of "
            "integers with a positive determinant."
        )
    return np.rint(matrix).astype(np.int64)


def _automatic(atoms: Atoms, symprec: float) -> NDArray[np.int64]:
    """Repeats of the conventional cell that keep the symmetry of the magnetic lattice."""
    from phonopy.structure.cells import estimate_supercell_matrix

    dataset = _dataset(atoms, symprec)
    if dataset is None:
        raise InputError(f"spglib finds no symmetry within {symprec} Å; give the supercell as numbers.")
    conventional = np.linalg.inv(dataset.transformation_matrix)  # columns, in vectors of the cell
    repeats = estimate_supercell_matrix(dataset, max_num_atoms=_AUTO_ATOMS)
    matrix = np.rint(conventional @ np.diag(repeats)).astype(np.int64).T
    return matrix if np.linalg.det(matrix) > 0 else -matrix


def _translations(atoms: Atoms, symprec: float) -> int:
    """How many translations map the crystal with its moments on itself, per cell."""
    dataset = _dataset(atoms, symprec)
    if dataset is None:
        return 1
    return int(np.all(dataset.rotations == np.eye(3, dtype=int), axis=(1, 2)).sum())


def _dataset(atoms: Atoms, symprec: float) -> Any:
    """spglib's view of the crystal, atoms with different moments being different kinds."""
    import spglib

    kinds = np.column_stack([atoms.numbers, get_moments(atoms).round(_SAME_MOMENT)])
    number = np.unique(kinds, axis=0, return_inverse=True)[1].reshape(-1) + 1
    cell = (atoms.cell.array, atoms.get_scaled_positions(), number.tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside spglib
        return spglib.get_symmetry_dataset(cell, symprec=symprec)
