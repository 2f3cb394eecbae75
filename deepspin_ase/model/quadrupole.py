"""Spin features of rank two: what biquadratic exchange (s_i·s_j)² is made of.

Sums of spin vectors over neighbours know the mean direction of the neighbours only. States that differ in how far the
neighbours point away from each other at the same mean, such as the four sublattices of an fcc antiferromagnet of the
second kind, differ in the sums of the traceless products of their spin vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepspin_ase.model.basis import apply_rank2, symmetric_traceless


class SpinQuadrupoles(nn.Module):
    """Invariants of Q_i = s_i⊗s_i - 1/3 and of the sums P_i = Σ_j R(r_ij) Q_j.

    Parameters
    ----------
    channels
        Width of the spin vectors and of the invariants.
    width
        Number of tensors per atom.
    radial
        Number of radial functions.
    norm
        Factor of the sum over neighbours.
    """

    count = 3
    """Invariants per channel: P:P', P:Q, s·P·b with b a sum of spin vectors of neighbours."""

    def __init__(self, channels: int, width: int, radial: int, norm: float) -> None:
        super().__init__()
        self.width, self.norm = width, norm
        self.pair = nn.Linear(channels, 2 * width, bias=False)
        self.gate = nn.Linear(channels, width)
        self.radial_net = nn.Linear(radial, width)
        self.sum_mix = nn.Linear(width, 2 * channels, bias=False)
        self.own_mix = nn.Linear(width, channels, bias=False)

    def forward(self, x: Tensor, s: Tensor, b: Tensor, neighbours: Tensor, waves: Tensor, cut: Tensor) -> list[Tensor]:
        """Three invariants of shape (n, c).

        Parameters
        ----------
        x, s, b
            Scalars (n, c), spin vectors (n, 3, c) and sums of spin vectors over neighbours (n, 3, c).
        neighbours, waves, cut
            As for :class:`~deepspin_ase.model.interaction.Neighbourhood`.
        """
        atoms, slots = neighbours.shape
        (ux, uy, uz), (wx, wy, wz) = (part.unbind(1) for part in self.pair(s).chunk(2, dim=-1))
        mixed = 0.5 * (uy * wz + uz * wy), 0.5 * (ux * wz + uz * wx), 0.5 * (ux * wy + uy * wx)
        q = torch.stack(symmetric_traceless(ux * wx, uy * wy, uz * wz, *mixed), dim=1)
        sent = q * (1.0 + self.gate(x)).unsqueeze(1)
        gathered = sent.flatten(1).index_select(0, neighbours.reshape(-1)).view(atoms, slots, 5, self.width)
        weights = self.radial_net(waves) * (cut * self.norm).unsqueeze(-1)
        p, p2 = self.sum_mix((gathered * weights.unsqueeze(2)).sum(1)).chunk(2, dim=-1)
        return [(p * p2).sum(1), (p * self.own_mix(q)).sum(1), (apply_rank2(p, s) * b).sum(1)]
