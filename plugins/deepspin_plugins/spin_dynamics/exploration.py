"""Explorer ``spin-lattice`` of active learning: dynamics of atoms and moments with the committee, while it is sure."""

from __future__ import annotations

import logging
import warnings
from itertools import product
from typing import Annotated, Any

import numpy as np
from ase import Atoms, units
from ase.md.md import MolecularDynamics
from pydantic import Field

from deepspin_ase.active_learning.exploration import Domain, Exploration
from deepspin_ase.active_learning.storage import bare
from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.quantities import K_B
from deepspin_ase.sections import Section
from deepspin_plugins.spin_dynamics.barostat import CellRescaling
from deepspin_plugins.spin_dynamics.baths import SpinLangevin
from deepspin_plugins.spin_dynamics.cartesian import CartesianMomentDynamics
from deepspin_plugins.spin_dynamics.lattice_bath import LatticeLangevin
from deepspin_plugins.spin_dynamics.replicas import ReplicaSpinDynamics
from deepspin_plugins.spin_dynamics.spin_lattice import SpinLatticeDynamics

logger = logging.getLogger(__name__)

_PRESSURE_TIME = 300.0  # fs
_MOMENT_FRICTION = 0.02  # 1/fs

BROKEN = (ValueError, ArithmeticError, RuntimeError)
"""What calculators raise for structures that fell apart: InputError, and what neighbour lists say to NaN."""

Kelvin = Annotated[float, Field(gt=0)]
"""A temperature."""


class SpinLatticeExplorer(Section):
    """Trajectories from every start structure at every temperature and pressure, all of them in one batch.

    A trajectory ends when the committee's deviation leaves its domain; the structure where that happened is the last
    that is kept.

    Parameters
    ----------
    temperatures
        K, of atoms and moments.
    pressures
        GPa; none: constant volume.
    steps
        Longest trajectory.
    interval
        Steps between structures that are kept and looked at.
    timestep
        fs.
    lengths
        Whether the lengths of the moments move, too (moments with inertia), or only their directions.
    damping
        Gilbert damping of moments of fixed length.
    friction
        1/fs, of the atoms.
    bulk_modulus
        GPa; a rough value is enough.
    moment_mass
        eV fs²/µB², of moments whose lengths move.
    """

    temperatures: list[Kelvin] = Field(min_length=1)
    pressures: list[float] = Field(default_factory=list)
    steps: int = Field(default=500, ge=1)
    interval: int = Field(default=20, ge=1)
    timestep: float = Field(default=1.0, gt=0, le=5)
    lengths: bool = True
    damping: float = Field(default=0.1, gt=0)
    friction: float = Field(default=0.01, gt=0)
    bulk_modulus: float = Field(default=150.0, gt=0)
    moment_mass: float = Field(default=10.0, gt=0)

    @property
    def needs_model(self) -> bool:
        """Yes."""
        return True

    def size(self, structures: int) -> int:
        """Structures of trajectories that never leave the domain."""
        return structures * len(self.temperatures) * max(len(self.pressures), 1) * (self.steps // self.interval)

    def explore(self, task: Exploration) -> list[Atoms]:
        """Run the trajectories.

        Raises
        ------
        InputError
            There is no committee yet.
        """
        if task.domain is None:
            raise InputError("the explorer spin-lattice needs a committee; it cannot make the first labels")
        calculator = task.domain.committee.calculator()
        pressures: list[float | None] = [*self.pressures] or [None]
        conditions = list(product(task.structures, self.temperatures, pressures))
        replicas, origins = [], []
        for start, temperature, pressure in conditions:
            atoms = start.copy()
            atoms.calc = calculator
            replicas.append(self._driver(atoms, temperature, pressure, task.rng))
            origins.append({"temperature": temperature} | ({} if pressure is None else {"pressure": pressure}))
        found: list[Atoms] = []
        alive = list(range(len(replicas)))
        for block in track(range(self.steps // self.interval), "exploring by dynamics"):
            alive = self._advance({k: replicas[k] for k in alive}, calculator)
            for k in list(alive):
                atoms = bare(replicas[k].atoms, **origins[k], step=(block + 1) * self.interval)
                inside = stays_inside(task.domain, atoms)
                if not inside:
                    alive.remove(k)
                if inside is not None:
                    found.append(atoms)
            if not alive:
                break
        left = len(conditions) - len(alive)
        logger.info("spin-lattice: %d of %d trajectories left the domain", left, len(conditions))
        return found

    def _advance(self, team: dict[int, MolecularDynamics], calculator: Any) -> list[int]:
        """Make the steps of a block together; numbers of the trajectories that survived it."""
        target = next(iter(team.values())).nsteps + self.interval
        for replica in team.values():
            replica.atoms.calc = calculator
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of time steps: the domain decides how far to go
            try:
                ReplicaSpinDynamics(list(team.values())).run(self.interval)
                return list(team)
            except BROKEN:  # one of them broke down: the rest of the block one by one
                return [k for k, replica in team.items() if _survives(replica, target - replica.nsteps)]

    def _driver(
        self, atoms: Atoms, temperature: float, pressure: float | None, rng: np.random.Generator
    ) -> MolecularDynamics:
        spread = np.sqrt(K_B * temperature * atoms.get_masses())[:, None]
        atoms.set_momenta(spread * rng.standard_normal((len(atoms), 3)))
        barostat = None
        if pressure is not None:
            stiffness = 1.0 / (self.bulk_modulus * units.GPa)
            barostat = CellRescaling(temperature, _PRESSURE_TIME * units.fs, stiffness, pressure=pressure * units.GPa)
        bath = LatticeLangevin(temperature, self.friction / units.fs)
        common: dict[str, Any] = {"lattice_bath": bath, "barostat": barostat, "rng": int(rng.integers(2**31))}
        step = self.timestep * units.fs
        if not self.lengths:
            return SpinLatticeDynamics(atoms, step, spin_bath=SpinLangevin(temperature, self.damping), **common)
        heat = LatticeLangevin(temperature, _MOMENT_FRICTION / units.fs)
        driver = CartesianMomentDynamics(
            atoms, step, moment_mass=self.moment_mass * units.fs**2, moment_bath=heat, **common
        )
        driver.set_moment_temperature(temperature, rng)
        return driver


def _survives(replica: MolecularDynamics, steps: int) -> bool:
    """Make steps; False if the structure falls apart."""
    try:
        replica.run(steps)
    except BROKEN as problem:
        logger.info("spin-lattice: a trajectory broke down: %s", problem)
        return False
    return True


def stays_inside(domain: Domain, atoms: Atoms) -> bool | None:
    """Whether a structure is within the domain; None if the committee cannot evaluate it at all."""
    try:
        return domain.contains(atoms)
    except BROKEN:
        return None
