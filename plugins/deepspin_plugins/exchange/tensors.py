"""Exchange tensors and single-ion anisotropy from the second derivatives of a potential.

At fixed lengths the second derivative of E = -½ Σ e_i·J_ij·e_j - Σ e_i·K_i·e_i is, with P_i = 1 - e_i e_iᵀ and
h_i = Σ_j J_ij·e_j,

    |m_i||m_j| P_i H_ij P_j = -P_i J_ij P_j                                     (i ≠ j)
    |m_i|² P_i [H_ii + (F^m_i·m̂_i)/|m_i|] P_i = P_i [e_i·h_i + 2 e_i·K_i·e_i - 2 K_i] P_i

so one state shows the part of J_ij across the moments. Without spin-orbit coupling that is everything, J_ij = J 1.
With it the state is turned as a whole into two more, so that every moment points in three independent directions, and
J_ij and the traceless K_i follow by least squares.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds
from deepspin_ase.moments import get_moments
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.hessian import Method, calculator_of
from deepspin_plugins.exchange.result import ExchangeResult
from deepspin_plugins.exchange.states import differentiate, feels_a_turn, orientations, pair_tensors, single_ion
from deepspin_plugins.exchange.supercell import Supercell, SupercellLike, make_supercell

_EDGE = 1e-3  # Å: bonds longer than the cutoff by less than this belong to it


def exchange_tensors(
    atoms: Atoms,
    calc: Any = None,
    *,
    cutoff: float,
    supercell: SupercellLike = "auto",
    symmetrise: bool = False,
    method: Method = "auto",
    step: float = 0.02,
    spin_orbit: bool | None = None,
    minimum_moment: float = 0.05,
) -> ExchangeResult:
    """Exchange tensors J_ij of a potential at the state that the atoms carry.

    Parameters
    ----------
    atoms
        Magnetic cell with the moments of the reference state (the ground state, or any other); left as it is.
    calc
        Calculator with magnetic forces; default ``atoms.calc``. It must carry no external field.
    cutoff
        Longest bond, Å; at most half the shortest period of the supercell.
    supercell
        Repeats (one or three), an integer (3, 3) matrix, or ``"auto"``, the smallest that holds the cutoff.
    symmetrise
        Average over the magnetic space group (``spglib``).
    method, step
        As in :func:`moment_hessian`.
    spin_orbit
        Whether the energy changes when all moments turn together; then three orientations are differentiated. Default:
        tried out on a state with random tilts.
    minimum_moment
        Atoms with shorter moments (µB) are no sites of the spin model.

    Returns
    -------
    ExchangeResult
        Tensors, anisotropy, on-site curvature, and what limits the accuracy; ``.to_model()`` for what comes next.

    Raises
    ------
    InputError
        No magnetic atoms, a cutoff that the supercell cannot hold, an external field, a calculator whose results are
        not finite.
    deepspin_ase.plugin.PluginError
        The calculator gives no magnetic forces.

    Notes
    -----
    Interactions with periodic images of the supercell come together in one element of the Hessian. Elements are given
    to the nearest image and divided between equidistant ones, as phonopy does with force constants; what is folded
    back from outside is estimated by ``result.beyond`` and vanishes in larger supercells.
    """
    calculator = calculator_of(atoms, calc)
    magnetic = magnetic_atoms(atoms, minimum_moment)
    refuse_field(calculator)
    big = make_supercell(atoms, supercell, cutoff)
    moments, own = get_moments(atoms), np.flatnonzero(magnetic)  # atoms of the first cell come first
    turns = spin_orbit if spin_orbit is not None else feels_a_turn(big.atoms, calculator)
    states = [
        differentiate(big, magnetic, own, calculator, rotation=rotation, method=method, step=step)
        for rotation in (orientations(moments[own]) if turns else np.eye(3)[None])
    ]
    tensors, errors = pair_tensors(states, big.site)
    anisotropy, onsite = np.zeros((2, len(atoms), 3, 3))
    onsite[own] = states[0].onsite
    if turns:
        anisotropy[own] = single_ion(states, tensors, big.site)
    bonds, bond_errors, beyond = _bonds(big, own, tensors, errors, cutoff)
    result = ExchangeResult(
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        positions=atoms.positions,
        numbers=atoms.numbers,
        moments=moments,
        magnetic=magnetic,
        bonds=bonds,
        errors=bond_errors,
        anisotropy=anisotropy,
        onsite=onsite,
        cutoff=float(cutoff),
        supercell=big.matrix,
        beyond=beyond,
        spin_orbit=bool(turns),
        method=states[0].method,
    )
    if symmetrise:
        from deepspin_plugins.exchange.symmetry import symmetrised

        return symmetrised(result)
    return result


def magnetic_atoms(atoms: Atoms, minimum_moment: float) -> NDArray[np.bool_]:
    """Which atoms are sites of the spin model, (n,); an error if there is none."""
    magnetic = np.linalg.norm(get_moments(atoms), axis=1) >= max(minimum_moment, 1e-12)
    if not magnetic.any():
        raise InputError(
            f"no atom has a moment of at least {minimum_moment} µB; set the reference state with "
            "deepspin_ase.set_moments(atoms, m), or lower minimum_moment."
        )
    return np.asarray(magnetic)


def refuse_field(calculator: Any) -> None:
    """An external field would be taken for anisotropy."""
    field = getattr(calculator, "field", None)
    if field is not None and np.any(np.asarray(field)):
        raise InputError(
            f"the calculator applies a field of {np.asarray(field).tolist()} T, which would be taken for anisotropy; "
            "switch it off (set_field((0, 0, 0))) and put it into the model: result.to_model(field=...)."
        )


def _bonds(
    big: Supercell, own: NDArray[np.int64], tensors: Array, errors: Array, cutoff: float
) -> tuple[Bonds, Array, float]:
    """Bonds with their errors, and the largest |J| that is left out."""
    row, atom, offset, vector, weight = big.images(own)
    magnetic = np.isin(big.site[atom], own) & (atom != own[row])
    row, atom, offset, vector, weight = (x[magnetic] for x in (row, atom, offset, vector, weight))
    tensor = tensors[row, atom] * weight[:, None, None]
    error = errors[row, atom] * weight
    near = np.linalg.norm(vector, axis=1) <= cutoff + _EDGE
    beyond = np.abs(np.trace(tensor[~near], axis1=1, axis2=2) / 3).max(initial=0.0)
    keys = np.column_stack([own[row], big.site[atom], offset])[near]
    order = np.lexsort(keys.T[::-1])
    keys, tensor, error = keys[order], tensor[near][order], error[near][order]
    back = np.lexsort(np.column_stack([keys[:, 1], keys[:, 0], -keys[:, 2:]]).T[::-1])
    reverse = tensor[back].transpose(0, 2, 1)
    error = np.maximum.reduce([error, error[back], np.abs(tensor - reverse).max(axis=(1, 2), initial=0.0) / 2])
    bonds = Bonds(keys[:, 0], keys[:, 1], keys[:, 2:], (tensor + reverse) / 2)
    return bonds, error, float(beyond)
