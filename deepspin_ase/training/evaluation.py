"""Errors of a model on labelled frames, and the pairs of numbers behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch, Data

from deepspin_ase.data import Frame, frames_to_graphs
from deepspin_ase.errors import InputError
from deepspin_ase.model.elements import SYMBOLS
from deepspin_ase.model.potential import Potential
from deepspin_ase.training.loss import split_parallel
from deepspin_ase.training.metrics import ErrorSums, unit_moments

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Evaluation:
    """Errors on one set of frames.

    ``errors`` holds RMSE and MAE under the keys of ``metrics.metric_key`` and ``n_frames``; ``parity`` the
    labels and the predictions of energy (eV/atom), forces (eV/Å), transverse and parallel magnetic forces
    (eV/µB).
    """

    errors: dict[str, float]
    parity: dict[str, Pair] = field(repr=False)


def evaluate(potential: Potential, frames: Sequence[Frame]) -> Evaluation:
    """Compare a model with labels.

    Parameters
    ----------
    potential
        Model, on any device.
    frames
        Labelled frames; any label may be missing.

    Raises
    ------
    InputError
        No frames, a species that the model does not know, or no labels at all.
    """
    if not frames:
        raise InputError("there are no frames to evaluate")
    check_species(potential, frames)
    if not any(frame.labels.available for frame in frames):
        raise InputError("none of the frames has labels; evaluation compares predictions with labels")
    config = potential.config
    magnetic = [SYMBOLS[z] for z in config.magnetic]
    return evaluate_graphs(potential, frames_to_graphs(frames, config.cutoff, magnetic=magnetic))


def evaluate_graphs(potential: Potential, graphs: Sequence[Data], *, batch_atoms: int = 1024) -> Evaluation:
    """As :func:`evaluate`, from graphs of :func:`~deepspin_ase.data.frames_to_graphs`."""
    sums = ErrorSums()
    pairs: dict[str, list[Pair]] = {}
    for predicted, labels, magnetic, atoms in predictions(potential, graphs, batch_atoms=batch_atoms):
        sums.add(predicted, labels, magnetic=magnetic, atoms=atoms)
        for name, pair in _pairs(predicted, labels, magnetic, atoms):
            pairs.setdefault(name, []).append(pair)
    parity = {
        name: (np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts]))
        for name, parts in pairs.items()
    }
    return Evaluation(sums.as_dict(), {name: pair for name, pair in parity.items() if len(pair[0])})


def predictions(
    potential: Potential, graphs: Sequence[Data], *, batch_atoms: int = 1024
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]]:
    """Predictions, labels, which atoms are magnetic, and atoms per graph, batch by batch, on the CPU."""
    magnetic_species = potential.network.magnetic.cpu()
    kind_of = potential.network.kind_of.cpu()
    for chunk in _chunks(graphs, batch_atoms):
        batch = Batch.from_data_list(chunk)
        with torch.enable_grad():
            out = potential(batch)
        predicted = {name: value.detach().cpu() for name, value in out.items()}
        labels = {name: batch[name] for name in ("energy", "forces", "stress", "magnetic_forces", "moments")}
        yield predicted, labels, magnetic_species[kind_of[batch.z]], torch.diff(batch.ptr)


def check_species(potential: Potential, frames: Sequence[Frame]) -> None:
    """Refuse frames with a species that the model does not know."""
    known = set(potential.config.species)
    for frame in frames:
        if unknown := sorted(set(frame.atoms.numbers.tolist()) - known):
            raise InputError(
                f"{frame.source}, frame {frame.index}: the model does not know "
                f"{', '.join(SYMBOLS[z] for z in unknown)}; it knows {', '.join(SYMBOLS[z] for z in sorted(known))}"
            )


def _chunks(graphs: Sequence[Data], batch_atoms: int) -> Iterator[list[Data]]:
    chunk: list[Data] = []
    atoms = 0
    for graph in graphs:
        if chunk and atoms + graph.num_nodes > batch_atoms:
            yield chunk
            chunk, atoms = [], 0
        chunk.append(graph)
        atoms += graph.num_nodes
    if chunk:
        yield chunk


def _pairs(
    predicted: dict[str, Tensor], labels: dict[str, Tensor], magnetic: Tensor, atoms: Tensor
) -> Iterator[tuple[str, Pair]]:
    direction = unit_moments(labels["moments"][magnetic])
    columns: dict[str, tuple[Any, Any]] = {
        "energy": (labels["energy"] / atoms, predicted["energy"] / atoms),
        "force": (labels["forces"], predicted["forces"]),
    }
    label_perp, label_par = split_parallel(labels["magnetic_forces"][magnetic], direction)
    perp, par = split_parallel(predicted["magnetic_forces"][magnetic].double(), direction)
    columns["magnetic_force_perp"] = (label_perp, perp)
    columns["magnetic_force_par"] = (label_par, par)
    for name, (a, b) in columns.items():
        x, y = a.double().reshape(-1).numpy(), b.double().reshape(-1).numpy()
        keep = np.isfinite(x)
        yield name, (x[keep], y[keep])
