"""Graphs in, arrays out: one potential or a committee, eager or compiled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Batch, Data

from deepspin_ase.model.allocator import keep_freed_memory
from deepspin_ase.model.compiled import Function, compiled_function, eager_function, freeze
from deepspin_ase.model.neighbours import NeighbourTable, neighbour_table
from deepspin_ase.model.potential import Potential

Results = dict[str, NDArray[np.float64]]
"""``energy`` (), ``energies`` (n,), ``forces`` (n, 3), ``stress`` (6,), ``magnetic_forces`` (n, 3)."""


class Evaluator:
    """Evaluates graphs with every member of a committee.

    Parameters
    ----------
    potentials
        One or more potentials of the same cutoff.
    compiled
        Use compiled code, see :func:`~deepspin_ase.model.compiled.compiled_function`.
    """

    def __init__(self, potentials: Sequence[Potential], *, compiled: bool = False) -> None:
        self.potentials, self.compiled = tuple(potentials), compiled
        if any(potential.device.type == "cpu" for potential in self.potentials):
            keep_freed_memory()
        for potential in self.potentials:
            freeze(potential)
        make = compiled_function if compiled else eager_function
        self._functions: tuple[Function, ...] = tuple(make(p) for p in self.potentials)
        self._edges: torch.Tensor | None = None
        self._table: NeighbourTable | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied without the functions, which are made again: calculators can go to other processes."""
        return partial(Evaluator, compiled=self.compiled), (self.potentials,)

    def __call__(self, graph: Data) -> list[Results]:
        """Results of each member for one graph."""
        return [split[0] for split in self.many([graph])]

    def many(self, graphs: Sequence[Data]) -> list[list[Results]]:
        """Results of each member for a batch of graphs: ``[member][graph]``."""
        batch = graphs[0] if len(graphs) == 1 else Batch.from_data_list(list(graphs))
        if self._table is None or self._edges is not batch.edge_index:
            self._edges, self._table = batch.edge_index, neighbour_table(batch)
        members = []
        for potential, function in zip(self.potentials, self._functions, strict=True):
            inputs = potential.inputs(batch, self._table)
            out = potential.collect(inputs, function(inputs))
            members.append(_split({key: value.double().cpu().numpy() for key, value in out.items()}, graphs))
        return members


def _split(arrays: Results, graphs: Sequence[Data]) -> list[Results]:
    """Arrays of a batch, cut into those of its graphs."""
    ends = np.cumsum([graph.num_nodes for graph in graphs])
    results = []
    for index, (end, graph) in enumerate(zip(ends, graphs, strict=True)):
        atoms = slice(end - graph.num_nodes, end)
        results.append(
            {key: (a[index] if key in ("energy", "stress") else a[atoms]).copy() for key, a in arrays.items()}
        )
    return results
