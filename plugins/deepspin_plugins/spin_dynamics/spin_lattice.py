"""Spin-lattice dynamics as an ASE driver: atoms and moments move together, two evaluations per step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.moments import get_moments
from deepspin_plugins.spin_dynamics import llg
from deepspin_plugins.spin_dynamics.barostat import CellRescaling
from deepspin_plugins.spin_dynamics.bath_records import Bath
from deepspin_plugins.spin_dynamics.baths import SpinBath, SpinLangevin
from deepspin_plugins.spin_dynamics.coupled_leapfrog import couple, fluctuate
from deepspin_plugins.spin_dynamics.fields import check_magnetic, put_moments
from deepspin_plugins.spin_dynamics.lattice_bath import LatticeBath, LatticeLangevin
from deepspin_plugins.spin_dynamics.lattice_driver import LatticeDriver, random_streams
from deepspin_plugins.spin_dynamics.timestep import AngleWatch

Array = NDArray[np.float64]


class SpinLatticeDynamics(LatticeDriver):
    """Motion of atoms (Newton) and of the directions of their moments (Gilbert) in one energy surface E(R, m).

    Symmetric splitting around the coupled leapfrog (``coupled_leapfrog.py``); without baths the energy does not drift::

        p ← p + ½ Δt F(R, e)                    forces and magnetic forces of the last evaluation
        ẽ half a step in the field of e         with a spin bath noise after it
        R ← R + ½ Δt p/M
        first evaluation, at (R, ẽ):
        e a whole step in the field of ẽ        with a spin bath noise in its middle
        p ← c p + √((1-c²) M k_B T) ξ           with a lattice bath
        R ← R + ½ Δt p/M
        second evaluation, at (R, e):
        ẽ half a step in the field of e         and coupling
        p ← p + ½ Δt F(R, e)

    Without a spin this is velocity Verlet, with a lattice bath BAOAB. Two evaluations per step, whatever the number of
    atoms, and a third where the volume changes. Energies and forces that observers ask for are those of the last one.

    =========  ====================================  ============================================
    symbol     meaning                               variable
    =========  ====================================  ============================================
    R, p, M    positions, momenta, masses            on the atoms
    e, ẽ       directions m/|m| and their twin       ``_directions``, ``_twin`` (n, 3)
    F          forces -∂E/∂R                         ``atoms.get_forces(md=True)``
    Δt         time step                             ``dt``, ASE units
    =========  ====================================  ============================================

    Parameters
    ----------
    atoms
        Structure with moments, a calculator that gives forces and magnetic forces, and momenta
        (``ase.md.velocitydistribution``; without any the atoms start at rest). Constraints are obeyed; moments of fixed
        atoms move.
    timestep
        ASE units: ``1.0 * ase.units.fs``.
    spin_bath
        Damping and temperature of the moments: ``SpinLangevin(300, damping={"Fe": 0.01})``; None: undamped.
    lattice_bath
        Friction and temperature of the atoms: ``LatticeLangevin(300, 0.01 / units.fs)``; None: none.
    barostat
        Constant pressure: ``CellRescaling(...)``; None: constant volume.
    rng
        Seed or generator of all noise.
    trajectory, logfile, loginterval
        As in ASE; the log has time, energies, magnetisation, spin and lattice temperature.
    append_trajectory
        Go on with an existing trajectory file.

    Raises
    ------
    InputError
        Wrong options; no calculator, forces or magnetic forces that it does not give, no moments.

    Examples
    --------
    >>> dynamics = SpinLatticeDynamics(
    ...     atoms,
    ...     1.0 * units.fs,
    ...     spin_bath=SpinLangevin(300, damping=0.01),
    ...     lattice_bath=LatticeLangevin(300, 0.01 / units.fs),
    ...     rng=1,
    ... )  # doctest: +SKIP
    >>> dynamics.run(1000)  # doctest: +SKIP
    """

    _written: Array
    _lengths: Array
    _directions: Array
    _twin: Array

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        *,
        spin_bath: SpinLangevin | None = None,
        lattice_bath: LatticeLangevin | None = None,
        barostat: CellRescaling | None = None,
        rng: int | np.random.Generator | None = None,
        trajectory: Any = None,
        logfile: IO[str] | str | Path | None = None,
        loginterval: int = 1,
        append_trajectory: bool = False,
    ) -> None:
        check_magnetic(atoms)
        streams = random_streams(rng, [bath for bath in (spin_bath, lattice_bath, barostat) if bath is not None])
        self.spin_bath: SpinBath | None = None if spin_bath is None else spin_bath.start(atoms, streams[0])
        self.lattice_bath: LatticeBath | None = None if lattice_bath is None else lattice_bath.start(atoms, streams[1])
        self.barostat = None if barostat is None else barostat.start(atoms, streams[2])
        super().__init__(
            atoms,
            timestep,
            trajectory=trajectory,
            logfile=logfile,
            loginterval=loginterval,
            append_trajectory=append_trajectory,
        )
        self._watch_angle = AngleWatch()
        self._read_moments()

    @property
    def conserved_energy(self) -> float | None:
        """Potential plus kinetic energy, eV; None with a bath or a barostat."""
        if any(bath is not None for bath in self._baths.values()):
            return None
        return float(self.atoms.get_total_energy())

    def todict(self) -> dict[str, Any]:
        """Settings, for the header of a trajectory."""
        baths = {"spin": self.spin_bath, "lattice": self.lattice_bath}
        return super().todict() | {f"{name}_temperature": bath.temperature for name, bath in baths.items() if bath}

    def _advance(self) -> None:
        if not np.array_equal(self.atoms.get_initial_magnetic_moments(), self._written):
            check_magnetic(self.atoms)  # somebody gave the structure other moments
            self._read_moments()
        bath, half = self.spin_bath, 0.5 * self.dt
        damping: float | Array = 0.0 if bath is None else bath.damping
        e, twin = self._directions, self._twin

        force = self._magnetic_forces(0.0, known=True)
        self._kick(half)
        twin = llg.rotate(twin, half * llg.angular_velocity(e, force, damping))
        if bath is not None:
            e, twin = fluctuate(e, twin, bath, self._lengths, half)
        self._drift(half)

        put_moments(self.atoms, self._lengths[:, None] * twin)
        force = self._magnetic_forces(0.5)
        turn = half * llg.angular_velocity(twin, force, damping)
        e = llg.rotate(e, turn)
        if bath is not None:
            e, twin = fluctuate(e, twin, bath, self._lengths, half)
        e = llg.rotate(e, turn)
        if self.lattice_bath is not None:
            momenta = self.lattice_bath(self.atoms.get_momenta(), self.masses[:, 0], self.dt)
            self.atoms.set_momenta(momenta)
        self._drift(half)

        written = self._lengths[:, None] * e
        put_moments(self.atoms, written)
        force = self._magnetic_forces(1.0)
        twin = couple(llg.rotate(twin, half * llg.angular_velocity(e, force, damping)), e, damping)
        self._kick(half)
        if self.barostat is not None and (self.nsteps + 1) % self.barostat.settings.interval == 0:
            self.barostat(self.atoms, self.dt)
            self._magnetic_forces(1.0)
        magnetic = self._lengths > 0.0
        noisy = bath is not None and bath.temperature > 0.0
        self._watch_angle(self._directions, e, magnetic=magnetic, thermal=noisy, step=self.nsteps + 1)
        self._directions, self._twin, self._written = e, twin, written

    def _read_moments(self) -> None:
        self._written = get_moments(self.atoms)
        put_moments(self.atoms, self._written)
        self._lengths = np.linalg.norm(self._written, axis=1)
        self._directions = self._twin = llg.normalised(self._written)

    @property
    def _baths(self) -> dict[str, Bath | None]:
        return {"spin_bath": self.spin_bath, "lattice_bath": self.lattice_bath, "barostat": self.barostat}

    def _state(self) -> dict[str, Array]:
        return {"directions": self._directions, "twin": self._twin, "lengths": self._lengths}

    def _restore(self, state: Mapping[str, Array]) -> None:
        self._directions, self._twin, self._lengths = (state[name] for name in ("directions", "twin", "lengths"))
