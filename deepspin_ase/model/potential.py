"""From per-atom energies to all first derivatives, in one backward pass."""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from deepspin_ase.model.config import ModelConfig
from deepspin_ase.model.neighbours import NeighbourTable, graph_of_atoms, neighbour_table
from deepspin_ase.model.network import SpinNetwork


class Inputs(NamedTuple):
    """Plain tensors of a batch on the device of the network: what :func:`energy_and_derivatives` needs.

    ``pos`` (n, 3), ``moments`` (n, 3), ``shift`` (n, k, 3), ``volume`` (g,), ``kind`` (n,), ``neighbours`` (n, k),
    ``mask`` (n, k), ``batch`` (n,). Positions and translations are float64, so that r_ij keeps its digits in large
    cells; ``moments`` and ``volume`` have the dtype of the network.
    """

    pos: Tensor
    moments: Tensor
    shift: Tensor
    volume: Tensor
    kind: Tensor
    neighbours: Tensor
    mask: Tensor
    batch: Tensor


class Outputs(NamedTuple):
    """``energies`` (n,) above the references, eV; ``forces`` (n, 3); ``stress`` (g, 6); ``magnetic_forces`` (n, 3)."""

    energies: Tensor
    forces: Tensor
    stress: Tensor
    magnetic_forces: Tensor


def pair_vectors(pos: Tensor, inputs: Inputs, cutoff: float) -> Tensor:
    """r_ij = R_j + S·cell - R_i, shape (n, k, 3); empty slots hold (r_c, 0, 0), where every function is zero."""
    n, k = inputs.neighbours.shape
    neighbour = pos.index_select(0, inputs.neighbours.reshape(-1)).view(n, k, 3)
    empty = pos.new_tensor([cutoff, 0.0, 0.0])
    return torch.where(inputs.mask.unsqueeze(2), neighbour + inputs.shift - pos.unsqueeze(1), empty)


def energy_and_derivatives(network: nn.Module, inputs: Inputs, *, cutoff: float, create_graph: bool) -> Outputs:
    """Energies, forces, stress and magnetic forces from one backward pass.

    With g_ij = ∂E/∂r_ij: F_i = Σ_j (g_ij - g_ji), σ = (1/V) Σ_ij r_ij ⊗ g_ij (symmetric part), F^m_i = -∂E/∂m_i.
    """
    moments = inputs.moments.detach().requires_grad_(True)
    vectors = pair_vectors(inputs.pos, inputs, cutoff).to(moments.dtype).detach().requires_grad_(True)
    energies = network(inputs.kind, vectors, inputs.neighbours, moments)
    g, dm = torch.autograd.grad(energies.sum(), (vectors, moments), create_graph=create_graph)
    g = torch.where(inputs.mask.unsqueeze(2), g, torch.zeros_like(g))
    forces = g.sum(1).index_add(0, inputs.neighbours.reshape(-1), -g.reshape(-1, 3))
    virial = torch.bmm(vectors.detach().transpose(1, 2), g)  # (n, 3, 3)
    x, y, z = 0, 1, 2
    voigt = torch.stack(
        [
            virial[:, x, x],
            virial[:, y, y],
            virial[:, z, z],
            0.5 * (virial[:, y, z] + virial[:, z, y]),
            0.5 * (virial[:, x, z] + virial[:, z, x]),
            0.5 * (virial[:, x, y] + virial[:, y, x]),
        ],
        dim=1,
    )
    stress = voigt.new_zeros(inputs.volume.shape[0], 6).index_add(0, inputs.batch, voigt)
    return Outputs(energies, forces, stress / inputs.volume.unsqueeze(1), -dm)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights anew from one generator: linear layers U(±1/√fan_in), embeddings N(0, 1), biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=generator)


class Potential(nn.Module):
    """A network and what turns a graph into physical quantities.

    Parameters
    ----------
    config
        Architecture.
    seed
        Seed of the initial weights; the global generator is left as it was.
    """

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            self.network = SpinNetwork(config)
        initialise(self.network, torch.Generator().manual_seed(seed))

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of weights and results."""
        return self.network.on_site.mix.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of weights and results."""
        return self.network.on_site.mix.weight.device

    def cast(self, dtype: torch.dtype) -> Potential:
        """Change the type of the weights in place; reference energies and the energy scale stay float64."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        return self

    def as_float64(self) -> Potential:
        """This potential, or a float64 copy of it."""
        return self if self.dtype == torch.float64 else deepcopy(self).cast(torch.float64)

    def inputs(self, graph: Data, table: NeighbourTable | None = None) -> Inputs:
        """Tensors of a graph on the device of the network."""
        table = neighbour_table(graph) if table is None else table
        device, dtype = self.device, self.dtype
        volume = torch.linalg.det(graph.cell).abs()
        volume = torch.where(volume > 0, volume, torch.full_like(volume, torch.inf))
        return Inputs(
            pos=graph.pos.to(device),
            moments=graph.moments.to(device, dtype),
            shift=table.shift.to(device),
            volume=volume.to(device, dtype),
            kind=self.network.kind_of[graph.z.to(device)],
            neighbours=table.neighbours.to(device),
            mask=table.mask.to(device),
            batch=graph_of_atoms(graph).to(device),
        )

    def forward(
        self, graph: Data, table: NeighbourTable | None = None, *, create_graph: bool = False
    ) -> dict[str, Tensor]:
        """All properties of a graph or batch.

        Returns
        -------
        dict
            ``energy`` (g,), ``energies`` (n,), ``forces`` (n, 3), ``stress`` (g, 6), ``magnetic_forces`` (n, 3).
            Energies are float64: references of thousands of eV do not eat the digits of a float32 network.
        """
        inputs = self.inputs(graph, table)
        out = energy_and_derivatives(self.network, inputs, cutoff=self.config.cutoff, create_graph=create_graph)
        return self.collect(inputs, out)

    def collect(self, inputs: Inputs, out: Outputs) -> dict[str, Tensor]:
        """Add reference energies and sum over the atoms of each graph."""
        energies = out.energies.double() + self.network.reference[inputs.kind]
        energy = energies.new_zeros(inputs.volume.shape[0]).index_add(0, inputs.batch, energies)
        return {
            "energy": energy,
            "energies": energies,
            "forces": out.forces,
            "stress": out.stress,
            "magnetic_forces": out.magnetic_forces,
        }
