"""The loss: normalised, robust, invariant under rotations, blind to missing labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from deepspin_ase.model.potential import Outputs
from deepspin_ase.training.preparation import Norms

TERMS = ("energy", "forces", "stress", "magnetic_perp", "magnetic_par")
"""Names of the parts of the loss, in the order in which :func:`training_loss` returns them."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; ``huber`` is the normalised error where squares turn into straight lines."""

    energy: float = 1.0
    forces: float = 1.0
    stress: float = 0.1
    magnetic_perp: float = 1.0
    magnetic_par: float = 1.0
    huber: float | None = 1.0


class Targets(NamedTuple):
    """Labels of g graphs and n atoms in the dtype of the network; see ``preparation.attach_targets``.

    ``residual`` (g,), ``forces`` (n, 3), ``stress`` (g, 6), ``magnetic_forces`` (n, 3), ``direction`` (n, 3);
    ``energy_weight`` (g,), ``forces_weight`` (n,), ``stress_weight`` (g,), ``magnetic_weight`` (n,);
    ``atoms`` (g,) the number of atoms of each graph; ``dataset`` (n,) the data set of each atom.
    """

    residual: Tensor
    forces: Tensor
    stress: Tensor
    magnetic_forces: Tensor
    direction: Tensor
    energy_weight: Tensor
    forces_weight: Tensor
    stress_weight: Tensor
    magnetic_weight: Tensor
    atoms: Tensor
    dataset: Tensor


def split_parallel(vectors: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Transverse vectors (n, 3) and parallel components (n,) with respect to unit vectors.

    Parameters
    ----------
    vectors
        Shape (n, 3).
    direction
        Unit vectors (n, 3); zero where there is no direction: all of the vector then counts as transverse.
    """
    parallel = (vectors * direction).sum(1)
    return vectors - parallel.unsqueeze(1) * direction, parallel


def huber_of_square(square: Tensor, delta: float | None) -> Tensor:
    """x² for |x| ≤ δ, 2δ|x| - δ² beyond, given x² ≥ 0. None means squares everywhere."""
    if delta is None:
        return square
    limit = delta * delta
    return torch.where(square <= limit, square, 2.0 * delta * square.clamp(min=limit).sqrt() - limit)


def training_loss(
    out: Outputs,
    batch: Tensor,
    targets: Targets,
    weights: LossWeights,
    norms: Norms,
    log_scale: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weighted sum of mean robust squares of normalised errors.

    The robust function acts on the length of an error vector, so that the loss does not depend on the
    orientation of the axes. With perfect labels and zero predictions every term is about 1.

    Parameters
    ----------
    out
        Predictions.
    batch
        Graph of each atom, shape (n,).
    targets
        Labels.
    weights, norms
        Options.
    log_scale
        Logarithm of the factor between magnetic-force labels and -∂E/∂m for each data set, shape (data
        sets,).

    Returns
    -------
    loss, terms
        A scalar, and the unweighted terms in the order of :data:`TERMS`, shape (5,).
    """
    delta = weights.huber
    energy = torch.zeros_like(targets.residual).index_add(0, batch, out.energies)
    graphs, atoms = len(energy), targets.atoms.sum()

    d_energy = (energy - targets.residual) / targets.atoms / norms.energy
    e = (targets.energy_weight * huber_of_square(d_energy.square(), delta)).sum() / graphs
    d_forces = (out.forces - targets.forces) / norms.forces
    f = (targets.forces_weight * huber_of_square(d_forces.square().sum(1) / 3, delta)).sum() / atoms
    d_stress = (out.stress - targets.stress) / norms.stress
    full = d_stress.square() * d_stress.new_tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    s = (targets.stress_weight * huber_of_square(full.sum(1) / 9, delta)).sum() / graphs
    predicted = out.magnetic_forces
    if log_scale is not None:
        predicted = predicted * log_scale.exp()[targets.dataset].unsqueeze(1)
    perp, par = split_parallel((predicted - targets.magnetic_forces) / norms.magnetic, targets.direction)
    m_perp = (targets.magnetic_weight * huber_of_square(perp.square().sum(1) / 3, delta)).sum() / atoms
    m_par = (targets.magnetic_weight * huber_of_square(par.square() / 3, delta)).sum() / atoms

    loss = (
        weights.energy * e
        + weights.forces * f
        + weights.stress * s
        + weights.magnetic_perp * m_perp
        + weights.magnetic_par * m_par
    )
    return loss, torch.stack([e, f, s, m_perp, m_par]).detach()
