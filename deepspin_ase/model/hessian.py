"""Second derivatives of the energy by double backward passes, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

from deepspin_ase.model.neighbours import graph_of_atoms
from deepspin_ase.model.potential import Potential, pair_vectors

Kind = Literal["positions", "moments", "mixed"]


def hessian(
    potential: Potential, graph: Data, kind: Kind, *, rows: Sequence[int] | None = None, memory: float = 1.0e9
) -> Tensor:
    """Second derivatives of the energy of one graph.

    Parameters
    ----------
    potential
        Should be float64.
    graph
        One structure.
    kind
        ``"positions"`` ∂²E/∂R∂R (eV/Å²), ``"moments"`` ∂²E/∂m∂m (eV/µB²) or ``"mixed"`` ∂²E/∂R∂m (eV/Å/µB).
    rows
        Atoms of the first index; default all.
    memory
        Bound on the working memory in bytes (besides the result); rows are computed in blocks that fit.

    Returns
    -------
    Tensor
        Shape (rows, 3, n, 3); for ``"mixed"`` the first index pair is the position.

    Notes
    -----
    A row is the gradient of one force component. Rows of a block are computed in one vectorised (``vmap``) backward
    pass.
    """
    inputs = potential.inputs(graph)
    n = inputs.pos.shape[0]
    if int(graph_of_atoms(graph).max()) > 0:
        raise ValueError("hessian needs a single graph, not a batch")
    pos = inputs.pos.detach().requires_grad_(True)
    moments = inputs.moments.detach().requires_grad_(True)
    vectors = pair_vectors(pos, inputs, potential.config.cutoff).to(moments.dtype)
    energy = potential.network(inputs.kind, vectors, inputs.neighbours, moments).sum()
    first = moments if kind == "moments" else pos
    second = pos if kind == "positions" else moments
    (gradient,) = torch.autograd.grad(energy, first, create_graph=True)
    block = max(1, int(memory / _row_bytes(potential, inputs.mask.numel(), n)))
    flat = gradient.reshape(-1)
    chosen = torch.arange(n) if rows is None else torch.as_tensor(rows, dtype=torch.long)
    components = (3 * chosen[:, None] + torch.arange(3)).reshape(-1)
    parts = []
    for wanted in components.split(block):
        select = torch.zeros(len(wanted), 3 * n, dtype=flat.dtype, device=flat.device)
        select[torch.arange(len(wanted)), wanted] = 1.0
        (part,) = torch.autograd.grad(
            flat, second, select, retain_graph=True, is_grads_batched=True, materialize_grads=True
        )
        parts.append(part.detach())
    return torch.cat(parts).reshape(len(chosen), 3, n, 3)


def _row_bytes(potential: Potential, slots: int, atoms: int) -> float:
    """Working memory of one row: a few copies of the widest arrays over neighbour slots and atoms."""
    c, size = potential.config.channels, torch.finfo(potential.dtype).bits / 8
    return size * c * potential.config.layers * (30.0 * slots + 400.0 * atoms)
