"""Edge lists as dense tables: one row of neighbour slots per atom.

Sums over neighbours are then batched matrix products instead of scatters: no atomic additions, the same code on CPU and
GPU, and a fixed order of summation, so that results are reproducible.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data


class NeighbourTable(NamedTuple):
    """Neighbours of n atoms in k slots.

    ``neighbours`` (n, k) holds the neighbour j, ``shift`` (n, k, 3) its lattice translation in Å, ``mask`` (n, k) is
    False for empty slots, whose neighbour is the atom itself.
    """

    neighbours: Tensor
    shift: Tensor
    mask: Tensor


def neighbour_table(graph: Data, *, slots: int | None = None) -> NeighbourTable:
    """Dense neighbour table of a graph or a batch of graphs.

    Parameters
    ----------
    graph
        With ``edge_index`` (2, e), sorted by its second row (the centre), ``edge_shift`` (e, 3), ``cell`` (g, 3, 3)
        and, for batches, ``batch`` (n,).
    slots
        Slots per atom; by default the largest number of neighbours (at least 1).
    """
    source, centre = graph.edge_index
    atoms = graph.num_nodes
    counts = torch.bincount(centre, minlength=atoms)
    if slots is None:
        slots = max(int(counts.max()), 1) if atoms else 1
    start = torch.cumsum(counts, 0) - counts
    column = torch.arange(len(centre), device=centre.device) - start[centre]
    flat = centre * slots + column
    cells = graph.cell[graph_of_atoms(graph)[centre]] if len(centre) else graph.cell.new_zeros(0, 3, 3)
    translation = torch.einsum("ea,eab->eb", graph.edge_shift, cells)
    index = torch.arange(atoms, device=centre.device).repeat_interleave(slots)
    index[flat] = source
    shift = translation.new_zeros(atoms * slots, 3)
    shift[flat] = translation
    mask = torch.zeros(atoms * slots, dtype=torch.bool, device=centre.device)
    mask[flat] = True
    return NeighbourTable(index.view(atoms, slots), shift.view(atoms, slots, 3), mask.view(atoms, slots))


def graph_of_atoms(graph: Data) -> Tensor:
    """Index of the graph each atom belongs to, shape (n,); zeros for a single graph."""
    batch = getattr(graph, "batch", None)
    return torch.zeros_like(graph.z) if batch is None else batch
