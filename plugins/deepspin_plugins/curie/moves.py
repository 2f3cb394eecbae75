"""What one sweep of the Monte Carlo engine consists of, and a good choice for a model."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from deepspin_ase.errors import InputError
from deepspin_ase.vectors import Array
from deepspin_plugins.curie.lattice import Lattice

_STRONG_ANISOTROPY = 0.3
_FEW_FRUSTRATED = 0.6
_SHORT_RANGE = 40  # neighbours; with more, a cluster costs several passes of heat bath


@dataclass(frozen=True)
class Moves:
    """Passes over all spins in one sweep.

    Attributes
    ----------
    heat_bath
        Passes that draw each spin from its distribution in the field of the others.
    metropolis
        Passes with trials in a cone about each spin.
    overrelaxation
        Passes that turn each spin about its field by 180°; they need one of the others beside them.
    clusters
        Wolff clusters; for isotropic exchange without anisotropy, field and biquadratic term.
    """

    heat_bath: int = 0
    metropolis: int = 0
    overrelaxation: int = 0
    clusters: int = 0

    def __post_init__(self) -> None:
        counts = astuple(self)
        if any(not isinstance(count, (int, np.integer)) or count < 0 for count in counts):
            raise InputError(f"{self}: the numbers of passes and clusters are whole and not negative.")
        if not (self.heat_bath or self.metropolis or self.clusters):
            raise InputError(f"{self} does not reach every state: add heat_bath, metropolis or clusters.")


SAMPLERS = {
    "heat-bath": Moves(heat_bath=1),
    "metropolis": Moves(metropolis=1),
    "wolff": Moves(clusters=10),
    "auto": None,
}


def choose_moves(sampler: str | Moves, lattice: Lattice, signs: Array) -> Moves:
    """Moves by name, checked against the model.

    Parameters
    ----------
    sampler
        A name in SAMPLERS, or moves.
    lattice
        Supercell.
    signs
        Signs ±1 (or 0) of the expected order at each site, (N,): with short-ranged exchange that mostly favours it,
        "auto" adds clusters.

    Raises
    ------
    InputError
        Unknown name, or clusters where they are not valid.
    """
    if isinstance(sampler, str):
        if sampler not in SAMPLERS:
            raise InputError(f"sampler = {sampler!r}; allowed: {', '.join(SAMPLERS)}, or Moves(...).")
        moves = SAMPLERS[sampler] or _suited(lattice, signs)
    else:
        moves = sampler
    if moves.clusters and not _clusters_valid(lattice):
        raise InputError(
            "Wolff clusters need isotropic exchange without anisotropy, field and biquadratic term; "
            'use sampler="auto" or "heat-bath".'
        )
    return moves


def _clusters_valid(lattice: Lattice) -> bool:
    return lattice.isotropic and not (lattice.anisotropic or lattice.quartic or lattice.zeeman.any())


def _suited(lattice: Lattice, signs: Array) -> Moves:
    """Heat bath unless anisotropy rivals exchange; clusters unless exchange is frustrated or reaches far."""
    strength = np.add.reduceat(
        np.append(np.abs(lattice.tensor).max(axis=(1, 2), initial=0.0), 0.0), lattice.bounds[:-1]
    ) * (np.diff(lattice.bounds) > 0)
    levels = np.linalg.eigvalsh(lattice.anisotropy)
    if np.any(levels[:, 2] - levels[:, 0] > _STRONG_ANISOTROPY * strength):
        return Moves(metropolis=2, overrelaxation=1)
    clusters = 0
    if _clusters_valid(lattice) and np.diff(lattice.bounds).max() <= _SHORT_RANGE:
        site = np.repeat(np.arange(len(lattice.kind)), np.diff(lattice.bounds)[lattice.kind])
        exchange = np.tile(lattice.exchange, len(lattice.kind) // len(lattice.anisotropy))  # of all cells
        satisfied = exchange @ (signs[site] * signs[lattice.neighbours])
        clusters = int(satisfied > _FEW_FRUSTRATED * np.abs(exchange).sum() > 0.0)
    return Moves(heat_bath=1, overrelaxation=2 - clusters, clusters=clusters)
