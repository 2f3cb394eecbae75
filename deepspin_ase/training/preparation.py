"""What the trainer knows about its data before the first step: references, norms, weights, graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from deepspin_ase.data import Frame
from deepspin_ase.errors import InputError
from deepspin_ase.training.config import LossSection

SMALL_MOMENT = 1e-3
"""µB; below it a moment has no direction, and its magnetic force counts as transverse."""

_RARE = 10.0  # most that a label may gain for being rare


@dataclass(frozen=True)
class Norms:
    """Root mean squares of the training labels, by which errors are divided.

    ``energy`` is the spread of the energy per atom about the references (eV/atom), ``forces`` in eV/Å,
    ``stress`` in eV/Å³, ``magnetic`` in eV/µB over magnetic atoms. A kind of label that does not occur has
    norm 1.
    """

    energy: float = 1.0
    forces: float = 1.0
    stress: float = 1.0
    magnetic: float = 1.0


def composition(frames: Sequence[Frame], species: Sequence[int]) -> NDArray[np.float64]:
    """Number of atoms of each species, shape (frames, species)."""
    return np.array([[np.count_nonzero(f.atoms.numbers == z) for z in species] for f in frames], dtype=float)


def fit_references(
    frames: Sequence[Frame],
    species: Sequence[int],
    weights: NDArray[np.float64],
    baseline: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Energies per species by weighted least squares on the energies per atom, eV, shape (species,).

    With a ``baseline`` (eV, one per frame) it is the energies above it that are fitted.

    Raises
    ------
    InputError
        If no frame has an energy.
    """
    use = [i for i, frame in enumerate(frames) if frame.labels.energy is not None]
    if not use:
        raise InputError("no training frame has an energy; at least some must, or the energy is not determined")
    counts = composition([frames[i] for i in use], species)
    atoms = counts.sum(1)
    root = np.sqrt(weights[use])
    energies = np.array([frames[i].labels.energy for i in use], dtype=float)
    if baseline is not None:
        energies -= baseline[use]
    solution = np.linalg.lstsq(counts / atoms[:, None] * root[:, None], energies / atoms * root, rcond=None)[0]
    return np.asarray(solution, dtype=float)


def frame_weights(frames: Sequence[Frame], dataset_weights: Sequence[float], loss: LossSection) -> NDArray[np.float64]:
    """Weight of each frame: that of its data set, less for extreme frames.

    A frame whose largest force is F > ``max_force`` gets the factor (max_force/F)², one whose energy per atom
    lies by w > ``energy_window`` above the lowest of the same composition gets (energy_window/w)².

    Parameters
    ----------
    frames
        Frames.
    dataset_weights
        Weight of the data set of each frame.
    loss
        Options.
    """
    weights = np.array(dataset_weights, dtype=float)
    if loss.max_force is not None:
        for i, frame in enumerate(frames):
            if frame.labels.forces is not None:
                largest = float(np.linalg.norm(frame.labels.forces, axis=1).max())
                weights[i] *= min(1.0, loss.max_force / max(largest, 1e-12)) ** 2
    if loss.energy_window is not None:
        lowest: dict[str, float] = {}
        formulas = [frame.atoms.symbols.formula.reduce()[0].format("hill") for frame in frames]
        for formula, frame in zip(formulas, frames, strict=True):
            if frame.energy_per_atom is not None:
                lowest[formula] = min(lowest.get(formula, np.inf), frame.energy_per_atom)
        for i, (formula, frame) in enumerate(zip(formulas, frames, strict=True)):
            if frame.energy_per_atom is not None:
                above = frame.energy_per_atom - lowest[formula]
                weights[i] *= min(1.0, loss.energy_window / max(above, 1e-12)) ** 2
    return weights


def attach_targets(
    graphs: Sequence[Data],
    frame_weight: NDArray[np.float64],
    references: torch.Tensor,
    magnetic: torch.Tensor,
) -> Norms:
    """Add to each graph what the loss needs, and measure the norms.

    Added: ``residual`` (1,) energy above the references; ``direction`` (n, 3) unit moments, zero for tiny
    ones; ``energy_weight`` (1,), ``forces_weight`` (n,), ``stress_weight`` (1,), ``magnetic_weight`` (n,),
    which are zero for missing labels and average to one over all graphs (or atoms). Missing labels become
    zero.

    Parameters
    ----------
    graphs
        From :func:`~deepspin_ase.data.frames_to_graphs`; changed in place.
    frame_weight
        Weight of each graph.
    references
        Energy of each atomic number, eV, shape (119,).
    magnetic
        Whether each atomic number is magnetic, shape (119,).
    """
    for graph, weight in zip(graphs, frame_weight, strict=True):
        moment = graph.moments.norm(dim=1, keepdim=True)
        graph.direction = torch.where(
            moment > SMALL_MOMENT, graph.moments / moment.clamp(min=SMALL_MOMENT), torch.zeros(())
        )
        graph.residual = graph.energy - references[graph.z].sum()
        per_atom = torch.full((graph.num_nodes,), float(weight), dtype=torch.float64)
        graph.energy_weight = _weight(graph.residual, per_atom[:1])
        graph.forces_weight = _weight(graph.forces.sum(1), per_atom)
        graph.stress_weight = _weight(graph.stress.sum(1), per_atom[:1])
        graph.magnetic_weight = _weight(graph.magnetic_forces.sum(1), per_atom) * magnetic[graph.z]
        for name in ("residual", "forces", "stress", "magnetic_forces"):
            graph[name] = torch.nan_to_num(graph[name], nan=0.0)
    norms = Norms(
        energy=_rms(graphs, "residual", "energy_weight", per_atom_energy=True),
        forces=_rms(graphs, "forces", "forces_weight"),
        stress=_rms(graphs, "stress", "stress_weight"),
        magnetic=_rms(graphs, "magnetic_forces", "magnetic_weight"),
    )
    for name in ("energy_weight", "forces_weight", "stress_weight", "magnetic_weight"):
        every = torch.cat([graph[name] for graph in graphs])
        mean = float(every.mean())
        largest = float(every.max())
        factor = 1.0 / max(mean, largest / _RARE) if largest > 0 else 1.0
        for graph in graphs:
            graph[name] = graph[name] * factor
    return norms


def _weight(labels: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.isfinite(labels), weight, torch.zeros_like(weight))


def _rms(graphs: Sequence[Data], label: str, weight: str, *, per_atom_energy: bool = False) -> float:
    total = norm = 0.0
    for graph in graphs:
        values = graph[label] / graph.num_nodes if per_atom_energy else graph[label]
        w = graph[weight]
        total += float((w * values.reshape(len(w), -1).square().mean(1)).sum())
        norm += float(w.sum())
    rms = (total / norm) ** 0.5 if norm > 0 else 0.0
    return rms if rms > 1e-12 else 1.0
