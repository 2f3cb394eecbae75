"""Which time step to take, and warnings when it was too long."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.vectors import Array
from deepspin_plugins.spin_dynamics import llg
from deepspin_plugins.spin_dynamics.constants import FEMTOSECOND, PRECESSION
from deepspin_plugins.spin_dynamics.fields import field_of, put_moments

if TYPE_CHECKING:
    from deepspin_plugins.spin_dynamics.dynamics import SpinDynamics

MAX_ANGLE = 0.5
"""Largest angle per step, rad, beyond which drivers warn."""

MAX_THERMAL_ANGLE = 0.3
"""Root mean square angle per step under thermal noise, rad, beyond which drivers warn."""

_MAX_DRIFT = 1e-3  # eV per atom
_INTERVAL = 100


class TimestepWarning(UserWarning):
    """The time step is too long for the moments."""


def suggest_timestep(
    atoms: Atoms, *, angle: float = 0.1, iterations: int = 20, rng: int | np.random.Generator = 0
) -> float:
    """Time step in which the fastest mode of the moments advances by a given angle.

    The fastest frequency is γ/µB times the largest effective field. Of it two estimates are made, and the larger one
    counts: the largest transverse magnetic force of the present state, and the largest curvature of the energy about
    it, λ = max |d²E/dδ²|/|m| (the local field and the coupling to the neighbours, as in linear spin-wave theory), by
    power iteration with differences of magnetic forces.

    Parameters
    ----------
    atoms
        Structure with moments and calculator; left as it was. Take a typical state: an ordered one for a magnet below
        its ordering temperature, a disordered one above.
    angle
        Rad per step. 0.1 gives about 60 steps per period of the fastest mode.
    iterations
        Power iterations, one evaluation each. The estimate approaches the largest frequency from below; 20 are
        good to about 10 %.
    rng
        Seed of the first direction.

    Returns
    -------
    float
        ASE units; divide by ``ase.units.fs`` for femtoseconds.

    Raises
    ------
    InputError
        No calculator, no moments, or no magnetic force at all on the moments.
    """
    if not angle > 0.0:
        raise InputError(f"angle = {angle} rad; allowed: a positive number.")
    original = get_moments(atoms)
    field = field_of(atoms)
    e = llg.normalised(original)
    magnetic = field.lengths > 0.0
    generator = np.random.default_rng(rng)
    try:
        force = field(e)
        fastest = np.linalg.norm(llg.cross(e, force), axis=1)[magnetic].max()
        trial = llg.cross(e, generator.standard_normal(e.shape))
        for _ in range(iterations):
            tilt = 1e-3 * trial / np.linalg.norm(trial, axis=1).max()
            turned = llg.normalised(e + tilt)
            trial = llg.cross(e, llg.cross(turned, field(turned)) - llg.cross(e, force))  # Hessian times tilt, tangent
            rate = np.linalg.norm(trial) / np.linalg.norm(tilt)
            if not rate > 0.0:
                break
            fastest = max(fastest, rate)
    finally:
        put_moments(atoms, original)
    if not fastest > 0.0:
        raise InputError(
            "no magnetic force acts on the moments, so any time step will do; is this the right calculator?"
        )
    return float(angle / (PRECESSION * fastest))


class AngleWatch:
    """Warns once if moments turn far in one step: any of them, or under thermal noise the typical one."""

    def __init__(self) -> None:
        self._warned = False

    def __call__(self, before: Array, after: Array, *, magnetic: NDArray[np.bool_], thermal: bool, step: int) -> None:
        """Look at directions (n, 3) before and after a step; those of ``magnetic`` atoms count."""
        if self._warned:
            return
        difference = after - before
        square = np.einsum("ia,ia->i", difference, difference)[magnetic]
        chord = float(np.sqrt(square.mean() if thermal else square.max(initial=0.0)))
        limit = MAX_THERMAL_ANGLE if thermal else MAX_ANGLE
        if chord > limit:
            self._warned = True
            angle, which = 2 * np.arcsin(min(chord / 2, 1.0)), "typical" if thermal else "the fastest"
            warnings.warn(
                f"{which} moments turned by {angle:.2f} rad in step {step}, more than {limit} rad: the time step is "
                "too long. Use suggest_timestep(atoms).",
                TimestepWarning,
                stacklevel=4,
            )


class EnergyWatch:
    """Observer that warns once if the energy of an undamped run leaves its first value by more than 1 meV per atom.

    It looks at every hundredth step, so that its price is small.

    Parameters
    ----------
    dynamics
        Driver without damping.
    """

    def __init__(self, dynamics: SpinDynamics) -> None:
        self._dynamics = dynamics
        self._first: float | None = None
        self._warned = False

    def __call__(self) -> None:
        """Look at the energy if it is time to."""
        dynamics = self._dynamics
        if self._warned or dynamics.nsteps % _INTERVAL:
            return
        energy = dynamics.atoms.get_potential_energy() / len(dynamics.atoms)
        if self._first is None:
            self._first = energy
        if abs(energy - self._first) > _MAX_DRIFT:
            self._warned = True
            warnings.warn(
                f"the energy has changed by {1e3 * (energy - self._first):.2g} meV/atom at step {dynamics.nsteps}, and "
                f"there is no damping: the time step of {dynamics.dt / FEMTOSECOND:.3g} fs is too long for "
                f"{dynamics.integrator.name}. Use suggest_timestep(atoms), or the implicit-midpoint integrator.",
                TimestepWarning,
                stacklevel=3,
            )
