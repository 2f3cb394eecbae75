"""One message-passing layer on features graded by lattice rank, spin rank and time reversal.

Every feature keeps its lattice index (axis 1 of a (n, 3, c) vector) and its spin index (a moment's Cartesian index)
apart. Spin indices are contracted only with spin indices, so that the result cannot depend on a common rotation of all
moments; every scalar holds an even number of spins, so that it cannot change when all moments are reversed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepspin_ase.model.basis import ANGULAR_SLICES, apply_rank2, symmetric_traceless
from deepspin_ase.model.quadrupole import SpinQuadrupoles


class Neighbourhood(nn.Module):
    """Sums over neighbours: A_i[y, c] = Σ_j R_c(r_ij) Y_y(r̂_ij) h_jc, as one batched matrix product.

    The feature h of a neighbour is a scalar, a spin vector or a lattice vector; all of its components share the radial
    function of their channel.
    """

    def __init__(self, radial: int, widths: tuple[int, ...], mean_neighbours: float) -> None:
        super().__init__()
        self.widths = widths
        self.radial_net = nn.Linear(radial, sum(widths))
        self.norm = mean_neighbours**-0.5

    def forward(
        self, features: tuple[Tensor, ...], neighbours: Tensor, waves: Tensor, cut: Tensor, angular: Tensor
    ) -> list[Tensor]:
        """Sum features of neighbours.

        Parameters
        ----------
        features
            Scalars (n, c) or vectors (n, 3, c), one per entry of ``widths``.
        neighbours
            Index of neighbour k of atom i, shape (n, k).
        waves, cut, angular
            Radial functions (n, k, radial), envelope (n, k) and Cartesian harmonics (n, k, 9) of r_ij.

        Returns
        -------
        list of Tensor
            For a scalar (n, 9, c), for a vector (n, 9, 3, c).
        """
        atoms, slots = neighbours.shape
        flat = torch.cat([f.flatten(1) for f in features], dim=1)
        gathered = flat.index_select(0, neighbours.reshape(-1)).view(atoms, slots, -1)
        weights = self.radial_net(waves) * (cut * self.norm).unsqueeze(-1)
        parts = []
        for weight, feature in zip(weights.split(self.widths, dim=2), features, strict=True):
            parts += [weight] * (1 if feature.dim() == 2 else 3)
        summed = torch.bmm(angular.transpose(1, 2), gathered * torch.cat(parts, dim=2))
        out, start = [], 0
        for feature in features:
            width = feature[0].numel()
            out.append(summed[:, :, start : start + width].reshape(atoms, 9, *feature.shape[1:]))
            start += width
        return out


class Interaction(nn.Module):
    """Scalars, spin vectors and lattice vectors of every atom, updated from its neighbourhood.

    Parameters
    ----------
    channels
        Width of all features.
    radial
        Number of radial functions.
    mean_neighbours
        Typical number of neighbours (normalisation).
    vectors_in, vectors_out
        Whether lattice vectors come in (no at the first layer) and spin and lattice vectors go out (no at the last).
    quadrupoles
        Spin tensors of rank two per atom; may be 0.
    spin_orbit
        Whether to add the scalars that tie spin indices to lattice indices.
    """

    def __init__(
        self,
        channels: int,
        radial: int,
        mean_neighbours: float,
        *,
        vectors_in: bool,
        vectors_out: bool,
        quadrupoles: int,
        spin_orbit: bool,
    ) -> None:
        super().__init__()
        c = channels
        self.vectors_in, self.vectors_out, self.spin_orbit = vectors_in, vectors_out, spin_orbit
        self.spin_orbit_on = spin_orbit
        self.scalar_in = nn.Linear(c, c)
        self.spin_gate = nn.Linear(c, c)
        self.spin_in = nn.Linear(c, c, bias=False)
        widths: tuple[int, ...] = (c, c)
        if vectors_in:
            self.vector_in = nn.Linear(c, c // 2, bias=False)
            self.vector_mix = nn.ModuleList([nn.Linear(c // 2, c, bias=False) for _ in range(3)])
            widths = (c, c, c // 2)
        self.neighbourhood = Neighbourhood(radial, widths, mean_neighbours)
        self.lattice_mix = nn.ModuleList([nn.Linear(c, 2 * c, bias=False) for _ in range(3)])
        self.spin_mix = nn.ModuleList([nn.Linear(c, 2 * c, bias=False) for _ in range(3)])
        self.quadrupoles = SpinQuadrupoles(c, quadrupoles, radial, self.neighbourhood.norm) if quadrupoles else None
        invariants = (12 + SpinQuadrupoles.count * (quadrupoles > 0) + 3 * spin_orbit) * c
        self.linear = nn.Linear(invariants, c, bias=False)
        self.update = nn.Sequential(nn.Linear(invariants + c, 2 * c), nn.SiLU(), nn.Linear(2 * c, c))
        if vectors_out:
            self.gates = nn.Sequential(nn.Linear(invariants + c, 2 * c), nn.SiLU(), nn.Linear(2 * c, 6 * c))
        if spin_orbit:
            self.pseudo_mix = nn.Linear(3 * c, 2 * c, bias=False)

    def forward(
        self,
        x: Tensor,
        s: Tensor,
        v: Tensor | None,
        neighbours: Tensor,
        waves: Tensor,
        cut: Tensor,
        angular: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Update scalars x (n, c), spin vectors s (n, 3, c) and lattice vectors v (n, 3, c)."""
        features: tuple[Tensor, ...] = (
            self.scalar_in(x),
            self.spin_in(s) * (1.0 + self.spin_gate(x)).unsqueeze(1),
        )
        if v is not None and self.vectors_in:
            features = (*features, self.vector_in(v))
        summed = self.neighbourhood(features, neighbours, waves, cut, angular)
        lattice = [mix(summed[0][:, part]) for mix, part in zip(self.lattice_mix, ANGULAR_SLICES, strict=True)]
        spin = [mix(summed[1][:, part]) for mix, part in zip(self.spin_mix, ANGULAR_SLICES, strict=True)]
        if v is not None and self.vectors_in:
            lattice = self._add_vectors(lattice, summed[2], v)

        (a0, _), (a1, a1b), (a2, a2b) = (t.chunk(2, dim=-1) for t in lattice)
        (b0, b0b), (b1, b1b), (b2, b2b) = (t.chunk(2, dim=-1) for t in spin)
        b0, b0b = b0.squeeze(1), b0b.squeeze(1)
        w1 = (a1.unsqueeze(2) * b1).sum(1)  # spin vector Σ_a v_a M_aα
        w2 = (a2.unsqueeze(2) * b2).sum(1)  # spin vector Σ_m t_m M_mα
        t1 = apply_rank2(a2, a1)  # lattice vector t·v
        invariants = [
            a0.squeeze(1),
            (a1 * a1b).sum(1),
            (a2 * a2b).sum(1),
            (t1 * a1b).sum(1),
            (s * b0b).sum(1),
            (b0 * b0b).sum(1),
            (b1 * b1b).sum((1, 2)),
            (b2 * b2b).sum((1, 2)),
            (w1 * s).sum(1),
            (w2 * s).sum(1),
            (w1 * b0b).sum(1),
            (w2 * b0b).sum(1),
        ]
        if self.quadrupoles is not None:
            invariants += self.quadrupoles(x, s, b0, neighbours, waves, cut)
        if self.spin_orbit:
            terms = self._spin_orbit(s, b0, b1, b2, a1, a2)
            invariants += terms if self.spin_orbit_on else [torch.zeros_like(term) for term in terms]
        scalars = torch.cat(invariants, dim=1)
        both = torch.cat([scalars, x], dim=1)
        x = x + self.linear(scalars) + self.update(both)
        if not self.vectors_out:
            return x, s, None
        g = self.gates(both).unsqueeze(1).chunk(6, dim=-1)
        s = s + g[0] * s + g[1] * b0 + g[2] * w1 + g[3] * w2
        return x, s, g[4] * a1 + g[5] * t1

    def _add_vectors(self, lattice: list[Tensor], summed: Tensor, v: Tensor) -> list[Tensor]:
        """Couple the sums Σ R Y_y v_j to lattice rank 0, 1 and 2."""
        scalar, vector, tensor = self.vector_mix
        trace = summed[:, 1, 0] + summed[:, 2, 1] + summed[:, 3, 2]
        symmetric = rank2_of(summed[:, 1:4])
        return [
            lattice[0] + _pad(scalar(trace).unsqueeze(1)),
            lattice[1] + _pad(vector(summed[:, 0])) + _pad(v),
            lattice[2] + _pad(tensor(symmetric)),
        ]

    def _spin_orbit(self, s: Tensor, b0: Tensor, b1: Tensor, b2: Tensor, a1: Tensor, a2: Tensor) -> list[Tensor]:
        """Scalars with spin indices contracted with lattice indices, each with two spins (T-even).

        s·t·s (single-ion anisotropy), s_a (Σ_j R r̂_a r̂_b s_jb) (two-ion anisotropy) and products of two T-odd
        pseudoscalars Σ_j R r̂·s_j, v·s, v·b (Dzyaloshinskii–Moriya where the environment lacks inversion).
        """
        pseudo = torch.cat([b1[:, 0, 0] + b1[:, 1, 1] + b1[:, 2, 2], (a1 * s).sum(1), (a1 * b0).sum(1)], dim=1)
        left, right = self.pseudo_mix(pseudo).chunk(2, dim=1)
        single = (apply_rank2(a2, s) * s).sum(1)
        columns = [apply_rank2(b2[:, :, axis], _axis(s, axis)) for axis in range(3)]
        two_ion = (torch.stack(columns).sum(0) * s).sum(1)
        return [single, two_ion, left * right]


def rank2_of(outer: Tensor) -> Tensor:
    """Symmetric traceless part of (n, 3, 3, c) tensors, shape (n, 5, c)."""
    upper = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    return torch.stack(symmetric_traceless(*(0.5 * (outer[:, a, b] + outer[:, b, a]) for a, b in upper)), dim=1)


def _pad(tensor: Tensor) -> Tensor:
    """Put channels into both halves of a doubled last axis."""
    return torch.cat([tensor, tensor], dim=-1)


def _axis(s: Tensor, axis: int) -> Tensor:
    """Unit lattice vector along ``axis`` for each channel of s, shape (n, 3, c)."""
    unit = torch.zeros_like(s)
    unit[:, axis] = 1.0
    return unit
