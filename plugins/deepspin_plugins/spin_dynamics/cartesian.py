"""Moments as Cartesian vectors with inertia: directions and lengths sample one ensemble, one evaluation per step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.quantities import K_B
from deepspin_ase.vectors import resolve_magnitude
from deepspin_plugins.spin_dynamics.barostat import CellRescaling
from deepspin_plugins.spin_dynamics.bath_records import Bath
from deepspin_plugins.spin_dynamics.fields import check_magnetic, put_moments
from deepspin_plugins.spin_dynamics.lattice_bath import LatticeBath, LatticeLangevin
from deepspin_plugins.spin_dynamics.lattice_driver import LatticeDriver, random_streams
from deepspin_plugins.spin_dynamics.nose_hoover import Chain, NoseHooverChain

Array = NDArray[np.float64]
MomentMass = float | Mapping[str, float] | ArrayLike
"""Mass µ in eV t²/µB² (t: ASE's unit of time): one number, a number per species, or (n,)."""

_MOMENTA = "moment_momenta"


class CartesianMomentDynamics(LatticeDriver):
    """Atoms and moments as particles, H = Σ p²/2M + Σ π²/2µ + E(R, m): moments change direction and length.

    The motion of the moments is not the physical precession: it is a way to sample E(R, m), lengths included, with the
    lattice, where the potential knows the energy of the length (a Landau term, or a network trained on it). One
    evaluation per step; steps of 1 fs are usual. Velocity Verlet, with half a step of the baths before and after::

        p ← p + ½ Δt F,   π ← π + ½ Δt F^m
        R ← R + Δt p/M,   m ← m + Δt π/µ,       evaluation
        p ← p + ½ Δt F,   π ← π + ½ Δt F^m

    =========  ====================================  ============================================
    symbol     meaning                               variable
    =========  ====================================  ============================================
    R, p, M    positions, momenta, masses            on the atoms
    m          moments, µB                           ``get_moments(atoms)``
    π          their momenta, eV t/µB                ``atoms.arrays["moment_momenta"]``
    µ          their masses, eV t²/µB²               ``moment_masses`` (n,)
    F, F^m     forces, magnetic forces               from the calculator
    Δt         time step                             ``dt``, ASE units
    =========  ====================================  ============================================

    Source: Z. Huang, H. Wang and B. Xu, arXiv:2506.12877 (TSPIN).

    Parameters
    ----------
    atoms
        Structure with moments, momenta, and a calculator that gives forces and magnetic forces.
    timestep
        ASE units: ``1.0 * ase.units.fs``.
    moment_mass
        µ, e.g. ``10 * ase.units.fs**2`` (10 eV fs²/µB²), ``{"Fe": 10 * fs**2}`` or (n,). Averages do not depend on it;
        a moment in an energy of curvature k swings with the period 2π √(µ/k), which should be 15 steps or more. Moments
        of mass zero stay as they are, and so do those of length zero if one number is given for all.
    lattice_bath
        ``LatticeLangevin(temperature, friction)``, ``NoseHooverChain(temperature, time)`` or None.
    moment_bath
        The same for the moments; the two temperatures may differ.
    barostat
        Constant pressure: ``CellRescaling(...)`` or None.
    rng
        Seed or generator of all noise.
    trajectory, logfile, loginterval, append_trajectory
        As in :class:`~deepspin_plugins.spin_dynamics.spin_lattice.SpinLatticeDynamics`.

    Raises
    ------
    InputError
        Wrong options; no calculator, forces or magnetic forces that it does not give, no moments.
    """

    _array_options = ("moment_mass",)

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        *,
        moment_mass: MomentMass,
        lattice_bath: LatticeLangevin | NoseHooverChain | None = None,
        moment_bath: LatticeLangevin | NoseHooverChain | None = None,
        barostat: CellRescaling | None = None,
        rng: int | np.random.Generator | None = None,
        trajectory: Any = None,
        logfile: IO[str] | str | Path | None = None,
        loginterval: int = 1,
        append_trajectory: bool = False,
    ) -> None:
        check_magnetic(atoms)
        self.moment_masses = _masses(atoms, moment_mass)
        noisy = [
            bath for bath in (lattice_bath, moment_bath, barostat) if bath and not isinstance(bath, NoseHooverChain)
        ]
        streams = random_streams(rng, noisy)
        lattice_freedom = atoms.get_number_of_degrees_of_freedom()
        self.lattice_bath = _start(lattice_bath, atoms, streams[0], lattice_freedom)
        self.moment_bath = _start(moment_bath, atoms, streams[1], 3 * int((self.moment_masses > 0.0).sum()))
        self.barostat = None if barostat is None else barostat.start(atoms, streams[2])
        super().__init__(
            atoms,
            timestep,
            trajectory=trajectory,
            logfile=logfile,
            loginterval=loginterval,
            append_trajectory=append_trajectory,
        )
        if not atoms.has(_MOMENTA):
            atoms.set_array(_MOMENTA, np.zeros((len(atoms), 3)))

    # ------------------------------------------------------------------ state

    @property
    def moment_momenta(self) -> Array:
        """Momenta π of the moments, eV t/µB, (n, 3), a copy."""
        return np.array(self.atoms.arrays[_MOMENTA])

    def set_moment_temperature(self, temperature: float, rng: int | np.random.Generator) -> None:
        """Draw momenta of the moments from Maxwell's distribution at a temperature (K)."""
        width = np.sqrt(self.moment_masses * K_B * temperature)[:, None]
        self.atoms.arrays[_MOMENTA] = width * np.random.default_rng(rng).standard_normal((len(self.atoms), 3))

    @property
    def moment_kinetic_energy(self) -> float:
        """Σ π²/2µ, eV."""
        return 0.5 * float((self.moment_momenta**2 * self._inverse).sum())

    @property
    def moment_temperature(self) -> float:
        """Kinetic temperature of the moments, K."""
        return 2.0 * self.moment_kinetic_energy / (3.0 * K_B * int((self.moment_masses > 0.0).sum()))

    @property
    def conserved_energy(self) -> float | None:
        """Potential energy, both kinetic energies and those of Nose-Hoover chains, eV; None with noise."""
        baths = [bath for bath in self._baths.values() if bath is not None]
        chains = [bath for bath in baths if isinstance(bath, Chain)]
        if len(chains) < len(baths):
            return None
        return float(self.atoms.get_total_energy() + self.moment_kinetic_energy + sum(chain.energy for chain in chains))

    @property
    def _inverse(self) -> Array:
        masses = self.moment_masses
        return np.divide(1.0, masses, out=np.zeros_like(masses), where=masses > 0.0)[:, None]

    # ------------------------------------------------------------------ one step

    def _advance(self) -> None:
        half, atoms = 0.5 * self.dt, self.atoms
        self._thermostat(half)
        self._push(half, self._magnetic_forces(0.0, known=True))
        self._drift(self.dt)
        put_moments(atoms, get_moments(atoms) + self.dt * atoms.arrays[_MOMENTA] * self._inverse)
        self._push(half, self._magnetic_forces(1.0))
        self._thermostat(half)
        if self.barostat is not None and (self.nsteps + 1) % self.barostat.settings.interval == 0:
            self.barostat(atoms, self.dt)
            self._magnetic_forces(1.0)

    def _push(self, time: float, magnetic_forces: Array) -> None:
        self._kick(time)
        moving = (self.moment_masses > 0.0)[:, None]
        self.atoms.arrays[_MOMENTA] = self.atoms.arrays[_MOMENTA] + time * moving * magnetic_forces

    def _thermostat(self, time: float) -> None:
        atoms = self.atoms
        if self.lattice_bath is not None:
            atoms.set_momenta(self.lattice_bath(atoms.get_momenta(), self.masses[:, 0], time))
        if self.moment_bath is not None:
            atoms.arrays[_MOMENTA] = self.moment_bath(atoms.arrays[_MOMENTA], self.moment_masses, time)

    # ------------------------------------------------------------------ checkpoints

    @property
    def _baths(self) -> dict[str, Bath | None]:
        return {"lattice_bath": self.lattice_bath, "moment_bath": self.moment_bath, "barostat": self.barostat}

    def _state(self) -> dict[str, Array]:
        return {"moment_mass": self.moment_masses}


def _masses(atoms: Atoms, moment_mass: MomentMass) -> Array:
    masses = resolve_magnitude(atoms, moment_mass, name="moment_mass")  # type: ignore[arg-type]
    if np.any(masses < 0.0):
        raise InputError(
            f"moment_mass = {masses.min()}; allowed: numbers that are not negative (0: the moment is fixed)."
        )
    if not isinstance(moment_mass, Mapping) and np.ndim(moment_mass) == 0:
        masses = np.where(np.any(get_moments(atoms), axis=1), masses, 0.0)
    if not masses.any():
        raise InputError("every moment_mass is zero: no moment would move. Give e.g. 10 * ase.units.fs**2.")
    return masses


def _start(
    bath: LatticeLangevin | NoseHooverChain | None, atoms: Atoms, rng: np.random.Generator, freedom: int
) -> LatticeBath | Chain | None:
    if bath is None:
        return None
    return bath.start(freedom) if isinstance(bath, NoseHooverChain) else bath.start(atoms, rng)
