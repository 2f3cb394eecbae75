"""Errors for structures that a model cannot evaluate, before any of them reaches torch."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments

_SHORTEST = 1e-3


def check_structure(atoms: Atoms, species: Collection[int]) -> None:
    """Refuse what has no right answer.

    Parameters
    ----------
    atoms
        Structure.
    species
        Atomic numbers the model knows.

    Raises
    ------
    InputError
        No atoms, NaN or infinity in positions, cell or moments, or a species the model was not trained on.
    """
    if len(atoms) == 0:
        raise InputError("the structure has no atoms; DeepSpin needs at least one")
    arrays = {"positions": atoms.positions, "cell": atoms.cell.array, "moments": get_moments(atoms)}
    for name, array in arrays.items():
        finite = np.isfinite(array).all(axis=1)
        if not finite.all():
            first = int(np.flatnonzero(~finite)[0])
            raise InputError(f"{name}[{first}] is {array[first].tolist()}; all {name} must be finite numbers")
    if unknown := sorted({int(z) for z in atoms.numbers} - set(species)):
        raise InputError(
            f"the model does not know {_symbols(unknown)}; it was trained on {_symbols(sorted(species))}. "
            "Use another model or train one (deepspin train)."
        )


def check_distances(squared: NDArray[np.float64], centre: NDArray[np.int64], neighbour: NDArray[np.int64]) -> None:
    """Refuse atoms on top of each other: the potential has no value there.

    Parameters
    ----------
    squared
        Squared distances in Å², shape (e,).
    centre, neighbour
        Indices, shape (e,).

    Raises
    ------
    InputError
        Two atoms are closer than 0.001 Å.
    """
    if squared.size and squared.min() < _SHORTEST**2:
        closest = int(squared.argmin())
        i, j = centre[closest], neighbour[closest]
        raise InputError(f"atoms {i} and {j} are at the same position (closer than {_SHORTEST} Å)")


def missing_moments(atoms: Atoms, magnetic: Collection[int]) -> list[str]:
    """Symbols of magnetic species in a structure that carries no moments at all."""
    if atoms.has("initial_magmoms"):
        return []
    return [chemical_symbols[z] for z in sorted({int(z) for z in atoms.numbers} & set(magnetic))]


def _symbols(numbers: Collection[int]) -> str:
    return ", ".join(chemical_symbols[z] if 0 <= z < len(chemical_symbols) else str(z) for z in numbers)
