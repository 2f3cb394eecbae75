"""Spin waves straight from a potential: the spin Hessian at q, without a spin model in between.

At fixed |m| the quadratic form of the transverse deviations t of unit vectors is, with H = ∂²E/∂m∂m,

    M_ij = |m_i||m_j| H_ij + δ_ij F^m_i·m_i,

the second term being the curvature of the sphere. All pairs of the supercell are kept, so nothing is truncated to
bilinear exchange within a cutoff; between the wavevectors of the supercell M(q) is interpolated as phonopy does it,
each pair at its nearest image(s).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds
from deepspin_ase.heisenberg.shells import add_bonds
from deepspin_ase.moments import get_moments
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.hessian import Method, MomentHessian, calculator_of, moment_hessian
from deepspin_plugins.exchange.supercell import Supercell, SupercellLike
from deepspin_plugins.magnons.lswt import SpinWaves
from deepspin_plugins.magnons.supercells import symmetric_supercell

_STATIONARY = 1e-3
"""Largest torque of an acceptable state in units of the largest on-site stiffness."""


def spin_waves_from_potential(
    atoms: Atoms,
    calc: Any = None,
    *,
    cutoff: float = 6.0,
    supercell: SupercellLike = "auto",
    method: Method = "auto",
    step: float = 0.02,
    minimum_moment: float = 0.05,
    tolerance: float = 1e-4,
) -> SpinWaves:
    """Spin waves of the state that the atoms carry, from the spin Hessian of their calculator.

    Parameters
    ----------
    atoms
        Magnetic cell with relaxed moments; left as it is. Positions may be displaced or disordered.
    calc
        Calculator with magnetic forces; default ``atoms.calc``.
    cutoff
        Å: the automatic supercell holds all pairs up to here.
    supercell
        Repeats (one or three), an integer (3, 3) matrix, or ``"auto"``.
    method, step
        How second derivatives are made, see ``deepspin_plugins.exchange.moment_hessian``.
    minimum_moment
        µB; atoms with shorter moments carry no spin wave.
    tolerance
        See :class:`SpinWaves`.

    Raises
    ------
    InputError
        No moments, a state with torques.
    """
    big = symmetric_supercell(atoms, supercell, cutoff)
    own = magnetic_sites(atoms, minimum_moment)
    hessian = moment_hessian(big.atoms, calculator_of(atoms, calc), sites=own, method=method, step=step)
    return spin_waves_from_hessian(atoms, big, hessian, tolerance=tolerance)


def spin_waves_from_hessian(
    atoms: Atoms, big: Supercell, hessian: MomentHessian, *, tolerance: float = 1e-4
) -> SpinWaves:
    """Spin waves from rows of the spin Hessian of a supercell, for the magnetic atoms ``hessian.sites`` of the cell."""
    own = hessian.sites
    moments = get_moments(big.atoms)
    length = np.linalg.norm(moments, axis=1)
    form = hessian.rows.transpose(0, 2, 1, 3) * (length[own][:, None] * length)[:, :, None, None]  # (s, N, 3, 3)
    along = np.einsum("ia,ia->i", hessian.magnetic_forces, moments)[own]
    row = np.arange(len(own))
    onsite = form[row, own] + along[:, None, None] * np.eye(3)
    onsite = (onsite + onsite.transpose(0, 2, 1)) / 2
    _check_torques(np.cross(moments, hessian.magnetic_forces)[own], float(np.abs(onsite).max()))
    row, atom, offset, _, weight = big.images(own)
    pair = np.isin(big.site[atom], own) & (atom != own[row])
    i, j = row[pair], np.searchsorted(own, big.site[atom[pair]])
    tensor = -form[row, atom][pair] * weight[pair][:, None, None] / 2
    image = offset[pair]
    bonds: Bonds = add_bonds([(i, j, image, tensor), (j, i, -image, tensor.transpose(0, 2, 1))])
    return SpinWaves(
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        positions=atoms.positions[own],
        numbers=atoms.numbers[own],
        magnitudes=length[own],
        directions=moments[own] / length[own][:, None],
        bonds=bonds,
        onsite=onsite,
        tolerance=tolerance,
    )


def magnetic_sites(atoms: Atoms, minimum_moment: float) -> NDArray[np.int64]:
    """Atoms with a moment of at least ``minimum_moment`` (µB)."""
    own = np.flatnonzero(np.linalg.norm(get_moments(atoms), axis=1) >= max(minimum_moment, 1e-12))
    if not len(own):
        raise InputError(
            f"no atom has a moment of at least {minimum_moment} µB; set the state with set_moments(atoms, m)."
        )
    return own


def _check_torques(torque: Array, scale: float) -> None:
    size = np.linalg.norm(torque, axis=1)
    worst = int(np.argmax(size))
    if size[worst] > _STATIONARY * scale:
        raise InputError(
            f"the state is not stationary: the torque on magnetic site {worst} is {1e3 * size[worst]:.4g} meV/rad "
            f"(allowed: {1e3 * _STATIONARY * scale:.2g}). Relax the moments: "
            "FIRE(SpinLatticeFilter(atoms, lattice=False)).run(fmax=1e-4)."
        )
