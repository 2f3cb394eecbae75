"""The network: per-atom energies from interatomic vectors and moments."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepspin_ase.model.basis import RadialBasis, angular_basis
from deepspin_ase.model.config import ModelConfig
from deepspin_ase.model.interaction import Interaction


class OnSite(nn.Module):
    """x⁰ = e_Z + f_Z(|m|²) - f_Z(0): a polynomial-like function of the moment without a direction."""

    def __init__(self, species: int, channels: int) -> None:
        super().__init__()
        self.species = nn.Embedding(species, channels)
        self.slope = nn.Embedding(species, channels)
        self.offset = nn.Embedding(species, channels)
        self.mix = nn.Linear(channels, channels, bias=False)

    def forward(self, kind: Tensor, m2: Tensor) -> Tensor:
        """Scalars (n, c) of species indices (n,) and squared moments (n,) in µB²."""
        offset = self.offset(kind)
        bent = nn.functional.silu(self.slope(kind) * m2.unsqueeze(1) + offset) - nn.functional.silu(offset)
        return self.species(kind) + self.mix(bent)


class SpinNetwork(nn.Module):
    """Graded message passing: E_i = E⁰_Z + q_i Σ_layers readout(x_i).

    q_i = 1 - exp(-Σ_j (1 - (r_ij/r_c)²)⁴) is 0 for an isolated atom, whose energy is therefore its reference energy,
    and close to 1 in condensed matter.
    """

    reference: Tensor
    scale: Tensor
    kind_of: Tensor
    magnetic: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        kinds = len(config.species)
        table = torch.full((119,), -1, dtype=torch.long)
        table[list(config.species)] = torch.arange(kinds)
        self.register_buffer("kind_of", table, persistent=False)
        flags = torch.tensor([z in config.magnetic for z in config.species])
        self.register_buffer("magnetic", flags, persistent=False)
        self.register_buffer("reference", torch.zeros(kinds, dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.radial = RadialBasis(config.cutoff, config.radial)
        self.on_site = OnSite(kinds, c)
        self.spin_embedding = nn.Embedding(kinds, c)
        self.layers = nn.ModuleList(
            [
                Interaction(
                    c,
                    config.radial,
                    config.mean_neighbours,
                    vectors_in=layer > 0,
                    vectors_out=layer < config.layers - 1,
                    quadrupoles=config.quadrupoles,
                    spin_orbit=config.spin_orbit,
                )
                for layer in range(config.layers)
            ]
        )
        self.readouts = nn.ModuleList(
            [nn.Sequential(nn.Linear(c, c), nn.SiLU(), nn.Linear(c, 1)) for _ in range(config.layers)]
        )
        self.spin_orbit = config.spin_orbit
        self.linear_readouts = nn.ModuleList([nn.Linear(c, 1, bias=False) for _ in range(config.layers)])

    def switch_spin_orbit(self, on: bool) -> None:
        """Switch the spin-orbit terms of a network that has them on or off.

        Off, the energy is exactly invariant under a rotation of all moments alone.

        Raises
        ------
        ValueError
            The network was made without them and they are to be switched on.
        """
        if on and not self.config.spin_orbit:
            raise ValueError("this model was trained without spin-orbit coupling (spin_orbit=False in its config)")
        self.spin_orbit = on
        for layer in self.layers:
            assert isinstance(layer, Interaction)
            layer.spin_orbit_on = on

    def forward(self, kind: Tensor, vectors: Tensor, neighbours: Tensor, moments: Tensor) -> Tensor:
        """Energies of atoms above their references, in eV.

        Parameters
        ----------
        kind
            Index of each atom's species, shape (n,).
        vectors
            r_ij = R_j - R_i in Å, shape (n, k, 3); empty slots hold a vector no shorter than the cutoff.
        neighbours
            Index j for each slot, shape (n, k).
        moments
            Moments in µB, shape (n, 3).

        Returns
        -------
        Tensor
            Shape (n,).
        """
        m = moments * self.magnetic[kind].to(moments.dtype).unsqueeze(1)
        distance = vectors.square().sum(-1).sqrt()
        waves, cut = self.radial(distance)
        angular = angular_basis(vectors / distance.unsqueeze(-1))
        x = self.on_site(kind, m.square().sum(1))
        s = m.unsqueeze(2) * self.spin_embedding(kind).unsqueeze(1)
        v: Tensor | None = None
        energy = torch.zeros_like(m[:, 0])
        for layer, readout, linear in zip(self.layers, self.readouts, self.linear_readouts, strict=True):
            x, s, v = layer(x, s, v, neighbours, waves, cut, angular)
            energy = energy + (readout(x) + linear(x)).squeeze(1)
        bound = 1.0 - torch.exp(-cut.sum(1))
        return energy * bound * self.scale.to(energy.dtype)
