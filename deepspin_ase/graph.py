"""From ``ase.Atoms`` to ``torch_geometric.data.Data``: one of the two doors between ASE and torch."""

from __future__ import annotations

from copy import copy

import numpy as np
import torch
from ase import Atoms
from ase.geometry import complete_cell
from numpy.typing import NDArray
from torch_geometric.data import Data
from vesin import NeighborList

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.structure_checks import check_distances

Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Centre i and neighbour j, shape (e,), sorted by i, and lattice images S, shape (e, 3): r_ij = R_j + S·cell - R_i."""


def find_neighbours(atoms: Atoms, cutoff: float) -> Edges:
    """All ordered pairs closer than a cutoff in Å, every periodic image counted.

    Cells may be smaller than the cutoff, skewed or left-handed, and periodic in any subset of directions.

    Raises
    ------
    InputError
        A periodic direction has no lattice vector, or the lattice vectors are linearly dependent.
    """
    pbc = np.asarray(atoms.pbc, dtype=bool)
    cell = np.asarray(atoms.cell.array, dtype=np.float64)
    if pbc.any() and np.linalg.matrix_rank(cell[pbc], tol=1e-6) < pbc.sum():
        raise InputError(
            f"pbc is {pbc.tolist()} but the lattice vectors of the periodic directions are zero or linearly dependent: "
            f"{cell.tolist()}. Set a cell with atoms.set_cell(...) or pbc=False."
        )
    search = NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    centre, neighbour, image = search.compute(
        points=np.ascontiguousarray(atoms.positions, dtype=np.float64),
        box=np.ascontiguousarray(complete_cell(np.where(pbc[:, None], cell, 0.0))),
        periodic=pbc,
        quantities="ijS",
    )
    return centre.astype(np.int64), neighbour.astype(np.int64), image.astype(np.float64)


def build_graph(atoms: Atoms, cutoff: float) -> Data:
    """Graph of a structure with all pairs up to ``cutoff`` (Å).

    Returns
    -------
    Data
        float64: ``pos`` (n, 3) Å, ``cell`` (1, 3, 3) Å, ``z`` (n,), ``moments`` (n, 3) µB, ``edge_index`` (2, e) with
        the neighbour j in row 0 and the centre i in row 1 (sorted), ``edge_shift`` (e, 3) lattice images.
    """
    return _graph(atoms, find_neighbours(atoms, cutoff), cutoff)


class GraphCache:
    """Graphs of one structure that moves: a Verlet list with a skin.

    Pairs are searched up to ``cutoff + skin`` and searched again only after an atom has moved by half of the skin or
    the cell, the boundary conditions or the species have changed. At unchanged positions (spin dynamics) the graph is
    kept and only its moments are replaced.

    Parameters
    ----------
    cutoff, skin
        Å.
    """

    def __init__(self, cutoff: float, skin: float) -> None:
        self.cutoff, self.skin = cutoff, skin
        self.searches = 0
        self._frame: tuple[NDArray[np.generic], ...] | None = None
        self._origin: NDArray[np.float64] = np.zeros((0, 3))
        self._wide: Edges | None = None
        self._graph: Data | None = None

    def __call__(self, atoms: Atoms) -> Data:
        """Graph of the structure as it is now, see :func:`build_graph`."""
        positions = np.asarray(atoms.positions, dtype=np.float64)
        same = self._same_frame(atoms)
        if same and self._graph is not None and np.array_equal(self._graph.pos.numpy(), positions):
            # a new object, so that a graph handed out before keeps its moments
            graph = copy(self._graph)
            graph.moments = torch.from_numpy(get_moments(atoms))
            self._graph = graph
            return graph
        if not same or self._wide is None or self._moved(positions) >= 0.5 * self.skin:
            self._wide = find_neighbours(atoms, self.cutoff + self.skin)
            self._frame = (atoms.numbers.copy(), atoms.pbc.copy(), atoms.cell.array.copy())
            self._origin = positions.copy()
            self.searches += 1
        self._graph = _graph(atoms, self._wide, self.cutoff)
        return self._graph

    def _same_frame(self, atoms: Atoms) -> bool:
        now = (atoms.numbers, atoms.pbc, atoms.cell.array)
        return self._frame is not None and all(map(np.array_equal, self._frame, now))

    def _moved(self, positions: NDArray[np.float64]) -> float:
        return float(np.sqrt(np.square(positions - self._origin).sum(1).max(initial=0.0)))


def _graph(atoms: Atoms, edges: Edges, cutoff: float) -> Data:
    """Graph of those edges that are shorter than the cutoff."""
    centre, neighbour, image = edges
    vectors = atoms.positions[neighbour] + image @ atoms.cell.array - atoms.positions[centre]
    squared = np.einsum("ea,ea->e", vectors, vectors)
    check_distances(squared, centre, neighbour)
    near = squared < cutoff**2
    centre, neighbour, image = centre[near], neighbour[near], image[near]
    return Data(
        pos=torch.from_numpy(np.array(atoms.positions, dtype=np.float64)),
        cell=torch.from_numpy(np.array(atoms.cell.array, dtype=np.float64)).unsqueeze(0),
        z=torch.from_numpy(atoms.numbers.astype(np.int64)),
        moments=torch.from_numpy(get_moments(atoms)),
        edge_index=torch.from_numpy(np.stack([neighbour, centre])),
        edge_shift=torch.from_numpy(image),
        num_nodes=len(atoms),
    )
