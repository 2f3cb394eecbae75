"""Batches of few shapes: frames of similar size are drawn together and padded to the same number of atoms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Batch, Data

from deepspin_ase.errors import InputError
from deepspin_ase.model.neighbours import neighbour_table
from deepspin_ase.model.potential import Inputs, Potential
from deepspin_ase.training.loss import Targets

_SPREAD = 1.15  # frames up to 15 % smaller share a shape


def size_classes(sizes: Sequence[int]) -> dict[int, int]:
    """Number of atoms that each size of frame is padded to."""
    result: dict[int, int] = {}
    ceiling = 0
    for size in sorted(set(sizes), reverse=True):
        if not ceiling or size * _SPREAD < ceiling:
            ceiling = size
        result[size] = ceiling
    return result


class ShapeBatchSampler(Sampler[list[int]]):
    """Random batches, each of frames that are padded to one size.

    The order is a function of seed and epoch only. Frames that do not fill a batch sit out the epoch; which
    ones is drawn anew each time.

    Parameters
    ----------
    sizes
        Atoms of each frame.
    batch_size
        Frames per batch; fewer where a class has fewer.
    seed
        Seed.
    rank, world
        Number of this process and of all; each takes its share of the batches.
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, seed: int, *, rank: int = 0, world: int = 1) -> None:
        classes = size_classes(sizes)
        groups: dict[int, list[int]] = {}
        for index, size in enumerate(sizes):
            groups.setdefault(classes[size], []).append(index)
        self._groups = [np.array(groups[key]) for key in sorted(groups)]
        self._batch_size, self._seed, self._rank, self._world = batch_size, seed, rank, world
        self._epoch = 0
        total = sum(max(len(group) // batch_size, 1) for group in self._groups)
        self._length = total // world
        if self._length == 0:
            raise InputError(
                f"{total} batches cannot be shared by {world} processes; use fewer or a smaller batch_size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; Lightning calls this at the start of every epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self._seed, self._epoch])
        batches: list[list[int]] = []
        for group in self._groups:
            order = rng.permutation(group)
            size = min(self._batch_size, len(order))
            batches += [order[k : k + size].tolist() for k in range(0, len(order) - size + 1, size)]
        shuffled = [batches[k] for k in rng.permutation(len(batches))]
        yield from shuffled[self._rank :: self._world][: self._length]


def batches_of_one_set(graphs: Sequence[Data]) -> list[list[int]]:
    """Indices in batches of up to 512 atoms, none of which mixes data sets."""
    largest = max(int(graph.num_nodes) for graph in graphs)
    size = max(512 // largest, 1)
    batches = []
    for number in sorted({int(graph.dataset) for graph in graphs}):
        own = [index for index, graph in enumerate(graphs) if int(graph.dataset) == number]
        batches += [own[k : k + size] for k in range(0, len(own), size)]
    return batches


class StepInputs(NamedTuple):
    """All tensors of a training step."""

    inputs: Inputs
    targets: Targets


def step_inputs(potential: Potential, batch: Batch, *, slots: int, padded: int) -> StepInputs:
    """Tensors of a batch, padded with atoms that have no neighbours, no energy and no weight.

    Parameters
    ----------
    potential
        Gives device, dtype and species.
    batch
        Graphs with targets (``preparation.attach_targets``).
    slots
        Neighbour slots per atom.
    padded
        Number of atoms after padding.
    """
    inputs = potential.inputs(batch, neighbour_table(batch, slots=slots))
    device, dtype = potential.device, potential.dtype

    def cast(values: Tensor) -> Tensor:
        return values.to(device, dtype)

    targets = Targets(
        residual=cast(batch.residual),
        forces=cast(batch.forces),
        stress=cast(batch.stress),
        magnetic_forces=cast(batch.magnetic_forces),
        direction=cast(batch.direction),
        energy_weight=cast(batch.energy_weight),
        forces_weight=cast(batch.forces_weight),
        stress_weight=cast(batch.stress_weight),
        magnetic_weight=cast(batch.magnetic_weight),
        atoms=cast(torch.diff(batch.ptr)),
        dataset=batch.dataset[batch.batch].to(device),
    )
    extra = padded - len(inputs.pos)
    return StepInputs(inputs, targets) if extra <= 0 else _pad(StepInputs(inputs, targets), extra)


def _pad(step: StepInputs, extra: int) -> StepInputs:
    inputs, targets = step
    n = len(inputs.pos)
    per_atom = {"pos", "moments", "shift", "kind", "mask"}
    padded = {name: _rows(getattr(inputs, name), extra) for name in per_atom}
    own = torch.arange(n, n + extra, device=inputs.neighbours.device)
    padded["neighbours"] = torch.cat([inputs.neighbours, own.unsqueeze(1).expand(-1, inputs.neighbours.shape[1])])
    padded["batch"] = torch.cat([inputs.batch, inputs.batch[-1:].expand(extra)])
    per_atom = {"forces", "magnetic_forces", "direction", "forces_weight", "magnetic_weight", "dataset"}
    labels = {name: _rows(getattr(targets, name), extra) for name in per_atom}
    return StepInputs(inputs._replace(**padded), targets._replace(**labels))


def _rows(values: Tensor, extra: int) -> Tensor:
    return torch.cat([values, values.new_zeros(extra, *values.shape[1:])])


def slots_of(graphs: Sequence[Data]) -> int:
    """Largest number of neighbours of any atom, at least 1."""
    counts = [int(torch.bincount(graph.edge_index[1]).max()) for graph in graphs if graph.edge_index.shape[1]]
    return max(counts, default=1)
