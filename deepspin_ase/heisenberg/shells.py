"""Exchange by neighbour shells or by a function of the distance, spread over the bonds of a structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg.bonds import Bonds, Integers, dm_tensor, neighbour_pairs
from deepspin_ase.vectors import Array, unit_vector

VectorFunction = Callable[[Array], ArrayLike]
"""Bond vectors (b, 3) in Å -> values, one per bond."""
ShellValues = Sequence[Any] | Mapping[Any, Any]


def bulk_dmi(d: float) -> VectorFunction:
    """Dzyaloshinskii-Moriya vectors along the bonds, D = d·r̂ (eV), as in chiral cubic crystals."""
    return lambda vectors: d * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def interfacial_dmi(d: float, normal: ArrayLike | str = "z") -> VectorFunction:
    """Dzyaloshinskii-Moriya vectors D = d·(n x r̂) (eV), as at an interface with normal n."""
    n = unit_vector(normal, "normal")
    return lambda vectors: d * np.cross(n, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def shell_bonds(
    atoms: Atoms,
    magnetic: NDArray[np.bool_],
    exchange: ShellValues,
    dmi: ShellValues | None,
    *,
    tolerance: float,
) -> Bonds:
    """Bonds of the shells in ``exchange`` and ``dmi`` (see ``HeisenbergModel.from_shells``)."""
    entries = [(*entry, False) for entry in _entries(exchange, "exchange")]
    entries += [(*entry, True) for entry in _entries(dmi, "dmi")] if dmi is not None else []
    shells = _Shells(atoms, magnetic, tolerance)
    parts = []
    for species, key, value, antisymmetric in entries:
        i, j, image, vectors = shells.select(species, key)
        tensor = _dmi_tensor(value, vectors) if antisymmetric else _exchange_tensor(value, vectors)
        parts.append((i, j, image, tensor))
    return add_bonds(parts)


def function_bonds(
    atoms: Atoms,
    magnetic: NDArray[np.bool_],
    function: Callable[[Array], ArrayLike],
    cutoff: float,
    dmi: VectorFunction | None,
) -> Bonds:
    """Bonds between all magnetic sites closer than a cutoff, J = function(distance)."""
    i, j, image, vectors, distance = _magnetic_pairs(atoms, magnetic, cutoff)
    values = np.asarray(function(distance), dtype=float)
    if values.shape != distance.shape:
        raise InputError(
            f"the exchange function returned shape {values.shape} for {distance.shape} distances; it "
            "must map an "
            "array of distances (Å) to an array of J (eV)."
        )
    tensor = values[:, None, None] * np.eye(3)
    if dmi is not None:
        tensor = tensor + _dmi_tensor(dmi, vectors)
    return Bonds(i, j, image, tensor)


def add_bonds(parts: Sequence[tuple[Integers, Integers, Integers, Array]]) -> Bonds:
    """Join lists of bonds; tensors of the same bond are added."""
    if not parts:
        return Bonds.from_list([])
    i, j, image, tensor = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    keys, inverse = np.unique(np.column_stack([i, j, image]), axis=0, return_inverse=True)
    total = np.zeros((len(keys), 3, 3))
    np.add.at(total, inverse.reshape(-1), tensor)
    return Bonds(keys[:, 0], keys[:, 1], keys[:, 2:], total)


class _Shells:
    """Neighbour shells of the magnetic sites, searched as far out as asked for."""

    def __init__(self, atoms: Atoms, magnetic: NDArray[np.bool_], tolerance: float) -> None:
        self.atoms, self.magnetic, self.tolerance = atoms, magnetic, tolerance
        self.symbols = np.array(atoms.get_chemical_symbols())
        self.cutoff = 0.0
        self._search(4.0)

    def _search(self, cutoff: float) -> None:
        self.cutoff = cutoff
        self.pairs = _magnetic_pairs(self.atoms, self.magnetic, cutoff)

    def select(self, species: tuple[str, str] | None, key: Any) -> tuple[Integers, Integers, Integers, Array]:
        """Pairs (i, j, image, vector) of one shell: by number from 1, or by distance in Å."""
        by_number = isinstance(key, (int, np.integer)) and not isinstance(key, bool)
        if not by_number and not isinstance(key, (float, np.floating)):
            raise InputError(
                f"shell {key!r}; allowed: an integer (1 = nearest neighbours) or a distance in Å as a float."
            )
        if key <= 0:
            raise InputError(f"shell {key}; shell numbers start at 1, distances are positive.")
        while True:
            use = self._of_species(species)
            starts, distances = self._group(use)
            complete = distances < self.cutoff - 2 * self.tolerance
            if by_number and key <= complete.sum():
                number = int(key) - 1
                break
            if not by_number and self.cutoff > key + 2 * self.tolerance:
                match = np.flatnonzero(np.abs(distances - key) <= max(self.tolerance, 1e-9))
                if len(match) == 1:
                    number = int(match[0])
                    break
                raise InputError(self._message(species, key, distances))
            if not self.atoms.pbc.any() and len(self.pairs[0]) == self.magnetic.sum() * (self.magnetic.sum() - 1):
                raise InputError(self._message(species, key, distances))
            if self.cutoff > 200.0:
                raise InputError(self._message(species, key, distances))
            self._search(1.4 * self.cutoff)
        chosen = use[starts[number] : starts[number + 1]]
        i, j, image, vectors, _ = self.pairs
        return i[chosen], j[chosen], image[chosen], vectors[chosen]

    def _of_species(self, species: tuple[str, str] | None) -> Integers:
        """Indices of the pairs between two species (either order), sorted by distance."""
        i, j, _, _, distance = self.pairs
        use = np.arange(len(i))
        if species is not None:
            a, b = species
            first, second = self.symbols[i], self.symbols[j]
            use = use[((first == a) & (second == b)) | ((first == b) & (second == a))]
        return use[np.argsort(distance[use], kind="stable")]

    def _group(self, use: Integers) -> tuple[list[int], Array]:
        """Borders between shells in the sorted list, and their distances."""
        distance = self.pairs[4][use]
        jumps = np.flatnonzero(np.diff(distance) > self.tolerance) + 1
        starts = [0, *jumps.tolist(), len(use)] if len(use) else [0]
        return starts, np.array([distance[a:b].mean() for a, b in pairwise(starts)])

    def _message(self, species: tuple[str, str] | None, key: Any, distances: Array) -> str:
        who = "the magnetic sites" if species is None else f"{species[0]}-{species[1]}"
        listed = ", ".join(f"{n}: {d:.4f} Å" for n, d in enumerate(distances[:12], start=1)) or "none"
        return f"no shell {key!r} of {who}; the shells are {listed}."


def _magnetic_pairs(
    atoms: Atoms, magnetic: NDArray[np.bool_], cutoff: float
) -> tuple[Integers, Integers, Integers, Array, Array]:
    """Ordered pairs among the magnetic sites, in the numbering of the whole structure."""
    sites = np.flatnonzero(magnetic)
    i, j, image, vectors, distance = neighbour_pairs(atoms.positions[sites], atoms.cell.array, atoms.pbc, cutoff)
    return sites[i], sites[j], image, vectors, distance


def _entries(values: ShellValues, name: str) -> list[tuple[tuple[str, str] | None, Any, Any]]:
    """Flatten the ways to list shells into (species pair or None, shell, value)."""
    if isinstance(values, Mapping):
        result: list[tuple[tuple[str, str] | None, Any, Any]] = []
        for key, value in values.items():
            if not isinstance(key, tuple):
                result.append((None, key, value))
                continue
            if len(key) != 2 or not all(isinstance(symbol, str) for symbol in key):
                raise InputError(f'{name} has the key {key!r}; a pair of species is written ("Fe", "Co").')
            result += [(key, shell, entry) for _, shell, entry in _entries(value, f"{name}[{key}]")]
        return result
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
        raise InputError(
            f"{name} = {values!r}; allowed: [J1, J2, ...] for the shells from the nearest on, "
            '{shell number or distance: J}, or either of them by species, {("Fe", "Co"): {1: J}}.'
        )
    return [(None, number, value) for number, value in enumerate(values, start=1)]


def _exchange_tensor(value: Any, vectors: Array) -> Array:
    array = np.asarray(value(vectors) if callable(value) else value, dtype=float)
    if array.ndim == 0 or (callable(value) and array.shape == (len(vectors),)):
        return array.reshape(-1, 1, 1) * np.broadcast_to(np.eye(3), (len(vectors), 3, 3))
    if array.shape == (3, 3) and not np.allclose(array, array.T):
        raise InputError(
            "a tensor for a whole shell must be symmetric, because it serves both directions of a bond; "
            "give the Dzyaloshinskii-Moriya part with dmi=."
        )
    if array.shape not in ((3, 3), (len(vectors), 3, 3)):
        raise InputError(
            f"exchange of a shell has shape {array.shape}; allowed: a number or a symmetric (3, 3) "
            "tensor in eV, or "
            "a function of the bond vectors (b, 3) that returns (b,) or (b, 3, 3)."
        )
    return np.broadcast_to(array, (len(vectors), 3, 3))


def _dmi_tensor(value: Any, vectors: Array) -> Array:
    function = value if callable(value) else bulk_dmi(float(value))
    array = np.asarray(function(vectors), dtype=float)
    if array.shape != vectors.shape:
        raise InputError(
            f"dmi returned shape {array.shape} for bond vectors {vectors.shape}; it must give a vector per bond."
        )
    return dm_tensor(array)
