"""Temperatures of moments and of the lattice from one configuration.

The spin temperature rests on an identity of the canonical ensemble on the spheres |m_i| = const,

    k_B T = <Σ_i |m_i × F_i|²> / <Σ_i ΔE_i>,

where ΔE_i is the Laplacian of the energy on the sphere of moment i. If every moment enters the energy linearly
(exchange between different sites, a field) and F is the whole field, ΔE_i = 2 m_i·F_i: the usual formula. It does not
hold for anisotropies, and for a learned potential, whose F∥ also balances the length of the moment, it is meaningless
(at the best length F∥ = 0). So the Laplacian is measured here: exactly for ``Heisenberg`` calculators, else by second
differences of the energy along random great circles, which hold for every calculator.

Source: W. B. Nurdin and K.-D. Schotte, Phys. Rev. E 61, 3579 (2000); H. H. Rugh, Phys. Rev. Lett. 78, 772 (1997).
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.quantities import K_B, MU_B
from deepspin_ase.vectors import as_finite
from deepspin_plugins.spin_dynamics import llg
from deepspin_plugins.spin_dynamics.fields import (
    AtomsField,
    check_magnetic,
    put_moments,
    spin_model_calculator,
    total_field,
)

Array = NDArray[np.float64]

_TILT = 0.02  # rad; second differences: the error of the forces is divided by it, the fourth derivative multiplied


def spin_temperature(
    atoms: Atoms, *, select: ArrayLike | None = None, probes: int = 2, rng: int | np.random.Generator = 0
) -> float:
    """Temperature of the moments in their present configuration.

    One configuration of n moments has a statistical error of about T √(2/n) or more; average over time.

    Parameters
    ----------
    atoms
        Structure with moments and calculator; left as it was.
    select
        Indices or mask of the atoms that count, for instance ``atoms.symbols == "Fe"``; default all.
    probes
        Random great circles, two evaluations each; not used for a ``Heisenberg`` calculator.
    rng
        Seed or generator of the circles.

    Returns
    -------
    float
        K; negative where the energy surface is, on average, curved downwards.

    Raises
    ------
    InputError
        No calculator or no moments.
    """
    check_magnetic(atoms)
    if spin_model_calculator(atoms.calc)[0] is not None:
        torque, laplacian = _heisenberg(atoms)
    else:
        torque, laplacian = _probed(atoms, probes, np.random.default_rng(rng))
    chosen = slice(None) if select is None else np.asarray(select)
    curvature = laplacian[chosen].sum()
    return float((torque[chosen] ** 2).sum() / curvature / K_B) if curvature != 0.0 else float("nan")


def bilinear_spin_temperature(moments: ArrayLike, magnetic_forces: ArrayLike) -> float:
    """Σ|m × F|² / (2 k_B Σ m·F), for energies in which every moment enters linearly and F is the whole field.

    Parameters
    ----------
    moments
        µB, (n, 3).
    magnetic_forces
        Whole field, eV/µB, (n, 3), the part along the moments included. ``Heisenberg`` calculators do not give that
        part, because their exchange acts on unit vectors; ``model.exchange_field`` does.

    Returns
    -------
    float
        K.
    """
    m, force = as_finite(moments, "moments"), as_finite(magnetic_forces, "magnetic_forces")
    if m.shape != force.shape or m.ndim != 2 or m.shape[1] != 3:
        raise InputError(f"moments {m.shape} and magnetic_forces {force.shape} must both be (n, 3).")
    along = float((m * force).sum())
    return float((llg.cross(m, force) ** 2).sum() / (2.0 * K_B * along)) if along != 0.0 else float("nan")


def lattice_temperature(atoms: Atoms) -> float:
    """Kinetic temperature of the atoms, K: 2 E_kin / (k_B × degrees of freedom); constraints take theirs away."""
    return float(atoms.get_temperature())


def _heisenberg(atoms: Atoms) -> tuple[Array, Array]:
    """Torques (eV/rad, (n, 3)) and Laplacians of the energy (eV, (n,)) of a spin model."""
    heisenberg, wrappers = spin_model_calculator(atoms.calc)
    assert heisenberg is not None
    model = heisenberg.to_model(atoms)
    external = MU_B * model.magnitudes[:, None] * total_field(model, wrappers)
    moments = get_moments(atoms)
    e = llg.normalised(moments)
    exchange = model.exchange_field(e)
    tensor = model.anisotropy
    single = np.einsum("ia,iab,ib->i", e, tensor, e)
    field = exchange + 2.0 * np.einsum("iab,ib->ia", tensor, e) + external
    along = np.einsum("ia,ia->i", e, field) - 2.0 * single
    trace = np.trace(tensor, axis1=1, axis2=2) * (model.magnitudes > 0.0)
    return llg.cross(e, field), 2.0 * along + 6.0 * single - 2.0 * trace


def _probed(atoms: Atoms, probes: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Torques, and Laplacians from second differences along random tangents, right on average."""
    original = get_moments(atoms)
    field = AtomsField(atoms)
    e = llg.normalised(original)
    lengths = field.lengths[:, None]
    try:
        torque = lengths * llg.cross(e, field(e))
        laplacian = np.zeros(len(atoms))
        for _ in range(probes):
            tangent = llg.cross(e, rng.standard_normal(e.shape))  # of unit variance along both directions across e
            speed = np.linalg.norm(tangent, axis=1)[:, None]
            cosine, sine = np.cos(_TILT * speed), np.sin(_TILT * speed)
            side = _TILT * np.sinc(_TILT * speed / np.pi) * tangent
            for sign in (1.0, -1.0):  # slope of the energy at both ends of the arc, along the arc
                force = lengths * field(cosine * e + sign * side)
                slope = -(force * (cosine * tangent - sign * sine * speed * e)).sum(axis=1)
                laplacian += sign * slope / (2.0 * _TILT)
    finally:
        put_moments(atoms, original)
    return torque, laplacian / probes
