"""From labelled frames to torch-geometric graphs for training."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers

from deepspin_ase.data.frames import Frame
from deepspin_ase.errors import InputError
from deepspin_ase.quantities import ENERGY, FORCES, MAGNETIC_FORCES, STRESS

if TYPE_CHECKING:
    from torch_geometric.data import Data

_MAGNETIC = 0.05  # µB: oxygen in NiO gets 0.004 µB in an unconstrained calculation


def magnetic_species(frames: Iterable[Frame], *, threshold: float = _MAGNETIC) -> tuple[str, ...]:
    """Species that have a moment above a threshold in any frame.

    Parameters
    ----------
    frames
        Frames.
    threshold
        µB.

    Returns
    -------
    tuple of str
        Chemical symbols, by atomic number.
    """
    found: set[str] = set()
    for frame in frames:
        large = np.linalg.norm(frame.moments, axis=1) > threshold
        found.update(np.array(frame.atoms.symbols)[large])
    return tuple(sorted((str(s) for s in found), key=lambda symbol: atomic_numbers[symbol]))


def frames_to_graphs(
    frames: Sequence[Frame],
    cutoff: float,
    *,
    dataset: int = 0,
    magnetic: Collection[str] | None = None,
) -> list[Data]:
    """Graphs with labels.

    Parameters
    ----------
    frames
        Labelled frames.
    cutoff
        Å.
    dataset
        Number of the data set, for example to choose its weight or scale in a loss.
    magnetic
        Species that have magnetic-force labels; default :func:`magnetic_species`. On all other atoms, and on
        atoms without any moment, the label counts as missing.

    Returns
    -------
    list of Data
        What :func:`deepspin_ase.graph.build_graph` gives, plus float64 ``energy`` (1,), ``forces`` (n, 3),
        ``stress`` (1, 6), ``magnetic_forces`` (n, 3), with NaN for missing labels, and ``dataset`` (1,),
        int64.

    Raises
    ------
    InputError
        A cutoff that is not positive, or an unknown species.
    """
    import torch

    from deepspin_ase.graph import build_graph

    if not cutoff > 0:
        raise InputError(f"cutoff must be positive (Å), got {cutoff}")
    chosen = magnetic_species(frames) if magnetic is None else tuple(magnetic)
    unknown = [symbol for symbol in chosen if symbol not in atomic_numbers]
    if unknown:
        raise InputError(f"magnetic species {unknown} are no chemical symbols")
    graphs = []
    for frame in frames:
        graph = build_graph(frame.atoms, cutoff)
        for name, values in _labels(frame, chosen).items():
            graph[name] = torch.from_numpy(values)
        graph.dataset = torch.tensor([dataset])
        graphs.append(graph)
    return graphs


def _labels(frame: Frame, magnetic: Collection[str]) -> dict[str, Any]:
    """Labels as arrays of the shapes that batches need, NaN where missing."""
    n, labels = len(frame), frame.labels

    def fill(value: Any, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, np.nan) if value is None else np.array(value, dtype=np.float64).reshape(shape)

    field = fill(labels.magnetic_forces, (n, 3))
    silent = ~np.isin(np.array(frame.atoms.symbols), list(magnetic)) | ~frame.moments.any(axis=1)
    field[silent] = np.nan
    return {
        ENERGY: fill(labels.energy, (1,)),
        FORCES: fill(labels.forces, (n, 3)),
        STRESS: fill(labels.stress, (1, 6)),
        MAGNETIC_FORCES: field,
    }
