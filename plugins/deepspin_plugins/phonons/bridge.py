"""The bridge between ASE and phonopy: structures, moments, atom order, phonopy.yaml.

phonopy keeps moments as numbers or as vectors, and looks for symmetry with them: numbers may be reversed by an
operation as spins without spin-orbit coupling may (a global turn of all spins costs nothing), vectors turn with the
lattice as axial vectors, which leaves fewer operations. So a collinear (n, 3) state can go to phonopy in either form;
:func:`moment_axis` gives the line that the numbers belong to, and :func:`to_ase` puts them back on it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.vectors import Array, unit_vector

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

_COLLINEAR = 1e-4
"""Largest part of a moment (µB) across the common line of a collinear state."""


def moment_axis(atoms: Atoms) -> Array | None:
    """The line of a collinear (n, 3) state, a unit vector along its first large moment; None if there is none.

    None is also the answer for a structure without moments, with (n,) moments or with zero moments only: they need no
    line.
    """
    stored = atoms.arrays.get("initial_magmoms")
    if stored is None or stored.ndim == 1 or not stored.any():
        return None
    moments = get_moments(atoms)
    length = np.linalg.norm(moments, axis=1)
    axis = unit_vector(moments[np.argmax(length)])
    axis = axis if moments[np.argmax(length > 0.1 * length.max())] @ axis > 0 else -axis
    across = moments - np.outer(moments @ axis, axis)
    return axis if np.abs(across).max() < _COLLINEAR else None


def to_phonopy(atoms: Atoms, *, axis: ArrayLike | None = None) -> PhonopyAtoms:
    """Structure as phonopy has it, atoms in the same order, with masses and moments.

    Parameters
    ----------
    atoms
        Periodic structure. Moments (n,) stay numbers, (n, 3) stay vectors.
    axis
        Line of a collinear (n, 3) state (:func:`moment_axis`): its moments become numbers, m·axis.

    Raises
    ------
    InputError
        No atoms, open directions, an atom that is no element, values that are not finite, moments off the axis.
    """
    from phonopy.structure.atoms import PhonopyAtoms

    if len(atoms) == 0 or not atoms.pbc.all() or atoms.cell.rank < 3:
        raise InputError(
            f"phonons need a crystal; this structure has {len(atoms)} atoms, pbc = {atoms.pbc.tolist()} and a cell of "
            f"rank {atoms.cell.rank}. Give it a cell and atoms.pbc = True; for a molecule use ase.vibrations."
        )
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all() and atoms.numbers.all()):
        raise InputError("positions and cell must be finite numbers, and every atom an element (not X).")
    moments: Array | None = None
    if atoms.has("initial_magmoms"):
        moments = np.array(atoms.get_initial_magnetic_moments(), dtype=float)
        if not np.isfinite(moments).all():
            raise InputError("moments contain NaN or infinity; all must be finite numbers.")
        if axis is not None:
            line = unit_vector(np.asarray(axis, dtype=float), "axis")
            vectors = get_moments(atoms)
            moments = vectors @ line
            if np.abs(vectors - np.outer(moments, line)).max() > _COLLINEAR:
                raise InputError(f"the moments do not lie along {line.tolist()}; leave axis out: they stay vectors.")
    return PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T,
        masses=atoms.get_masses(),
        magnetic_moments=moments,
    )


def to_ase(cell: PhonopyAtoms, *, axis: ArrayLike | None = None) -> Atoms:
    """Structure as ASE has it, atoms in the same order, with masses and moments.

    Parameters
    ----------
    cell
        Unit cell, supercell or primitive cell of phonopy.
    axis
        Line that numbers belong to: they become vectors. Without it they stay (n,), which is along z.
    """
    atoms = Atoms(
        symbols=cell.symbols,
        scaled_positions=cell.scaled_positions,
        cell=cell.cell,
        masses=cell.masses,
        pbc=True,
    )
    moments = cell.magnetic_moments
    if moments is not None:
        if axis is not None and moments.ndim == 1:
            moments = np.outer(moments, unit_vector(np.asarray(axis, dtype=float), "axis"))
        set_moments(atoms, moments)
    return atoms


def match_atoms(reference: Atoms, atoms: Atoms, *, tolerance: float = 1.0) -> NDArray[np.int64]:
    """Where each atom of ``reference`` is in a structure with another atom order: ``atoms[match_atoms(...)]``.

    phonopy orders the atoms of a supercell differently from ASE's ``repeat``; this brings, for instance, snapshots of
    molecular dynamics into phonopy's order.

    Parameters
    ----------
    reference
        Structure in the wanted order.
    atoms
        The same cell and species, in any order, displaced by less than ``tolerance``.
    tolerance
        Å.

    Returns
    -------
    ndarray
        (n,), indices into ``atoms``.

    Raises
    ------
    InputError
        Different cells or species, or an atom without a partner.
    """
    if len(reference) != len(atoms) or not np.allclose(reference.cell, atoms.cell, atol=1e-4):
        raise InputError(
            f"the structures have {len(reference)} and {len(atoms)} atoms; they must share number and cell vectors."
        )
    n = len(atoms)
    apart = atoms.positions[None] - reference.positions[:, None]
    _, distance = find_mic(apart.reshape(-1, 3), reference.cell, pbc=True)
    distance = np.where(reference.numbers[:, None] == atoms.numbers[None], distance.reshape(n, n), np.inf)
    found = distance.argmin(axis=1)
    if len(np.unique(found)) != n or distance[np.arange(n), found].max() > tolerance:
        raise InputError(
            f"the atoms cannot be matched one to one within {tolerance} Å; are cell, origin and species the same?"
        )
    return found.astype(np.int64)


def write_yaml(phonon: Phonopy, path: str | Path, notes: dict[str, Any]) -> None:
    """Write phonopy.yaml with force constants and forces; ``notes`` go under a key that phonopy passes over."""
    import yaml

    text = str(phonon.to_phonopy_yaml(settings={"force_constants": True}))
    extra = yaml.safe_dump({"deepspin": notes}, sort_keys=False, allow_unicode=True)
    Path(path).write_text(f"{text.rstrip()}\n\n{extra}", encoding="utf-8")


def read_yaml(path: str | Path) -> tuple[Phonopy, dict[str, Any]]:
    """Read phonopy.yaml, ours or one of phonopy's own, with the notes of :func:`write_yaml` (or none).

    Raises
    ------
    InputError
        No such file, no phonopy.yaml, or one without force constants or forces to make them from.
    """
    import phonopy
    import yaml

    if not Path(path).is_file():
        raise InputError(f"There is no file {path}.")
    try:
        text = Path(path).read_text(encoding="utf-8")
        head, _, notes = text.rpartition("\ndeepspin:\n")
        extra = yaml.safe_load(f"deepspin:\n{notes}")["deepspin"] if head else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a supercell of less symmetry is the choice of who made it
            polar = "born_effective_charge" in text  # else phonopy would take a file BORN of the current folder
            phonon = phonopy.load(path, symmetrize_fc=False, is_nac=polar, log_level=0)
    except Exception as problem:  # phonopy's reader raises whatever its parsing stumbled over
        raise InputError(f"phonopy cannot read {path}: {type(problem).__name__}: {problem}") from problem
    if phonon.force_constants is None:
        raise InputError(f"{path} holds neither force constants nor displacements with forces.")
    return phonon, cast("dict[str, Any]", extra)
