"""Spin dynamics at a fixed lattice as an ASE driver."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.md.md import MolecularDynamics
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.progress import track
from deepspin_plugins.spin_dynamics.bath_records import options, pack, restore
from deepspin_plugins.spin_dynamics.baths import Damping, SpinBath, SpinLangevin, Statistics
from deepspin_plugins.spin_dynamics.checkpoint import read_checkpoint, write_checkpoint
from deepspin_plugins.spin_dynamics.fields import (
    check_magnetic,
    field_of,
    put_moments,
    spin_model_calculator,
    tell_time,
)
from deepspin_plugins.spin_dynamics.integrators import INTEGRATORS, SpinIntegrator, get_integrator
from deepspin_plugins.spin_dynamics.llg import normalised
from deepspin_plugins.spin_dynamics.timestep import AngleWatch, EnergyWatch

Array = NDArray[np.float64]


class SpinDynamics(MolecularDynamics):
    """Motion of the moments of a structure whose atoms stay where they are (Gilbert's equation).

    Moments live on the atoms (``get_moments(atoms)``); the driver turns them and keeps their lengths. ``attach``,
    ``run``, ``irun`` and trajectories work as in every ASE driver. With a ``Heisenberg`` calculator the same steps run
    as compiled loops, good for a million spins; a change of its field or of the structure is noticed.

    Parameters
    ----------
    atoms
        Structure with moments and a calculator that gives magnetic forces.
    timestep
        ASE units: ``1.0 * ase.units.fs``. See :func:`~deepspin_plugins.spin_dynamics.timestep.suggest_timestep`.
    integrator
        ``"depondt-mertens"``, ``"semi-implicit"``, ``"implicit-midpoint"`` (no energy drift), ``"heun"``, or an
        integrator object; see ``integrators.py``.
    damping
        Gilbert damping α: a number, ``{"Fe": 0.1}`` by species, or (n,).
    temperature
        K; None or 0: no thermal noise. Can be changed during a run: ``dynamics.temperature = 300``.
    statistics
        Of the thermal noise: ``"classical"``, ``"coloured"`` or a ``RescaledTemperature``; see ``baths.py``.
    rng
        Seed or generator of the noise.
    trajectory, logfile, loginterval
        As in ASE; the log has time, energy, magnetisation and spin temperature.
    append_trajectory
        Go on with an existing trajectory file.

    Raises
    ------
    InputError
        Wrong options; no calculator, no magnetic forces, no moments.

    Examples
    --------
    >>> dynamics = SpinDynamics(atoms, 0.5 * units.fs, damping=0.1, temperature=300, rng=1)  # doctest: +SKIP
    >>> dynamics.attach(dynamics.save_checkpoint, 1000, "run.npz")  # doctest: +SKIP
    >>> dynamics.run(10_000)  # doctest: +SKIP
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        *,
        integrator: str | SpinIntegrator = "depondt-mertens",
        damping: Damping = 0.0,
        temperature: float | None = None,
        statistics: Statistics = "classical",
        rng: int | np.random.Generator | None = None,
        trajectory: Any = None,
        logfile: IO[str] | str | Path | None = None,
        loginterval: int = 1,
        append_trajectory: bool = False,
    ) -> None:
        if not (np.isfinite(timestep) and timestep > 0.0):
            raise InputError(f"timestep = {timestep}; allowed: a positive time in ASE units, e.g. 1.0 * ase.units.fs.")
        check_magnetic(atoms)
        self.integrator = get_integrator(integrator)
        self.bath: SpinBath = SpinLangevin(temperature or 0.0, damping, statistics).start(atoms, rng)
        super().__init__(
            atoms, float(timestep), trajectory=trajectory, loginterval=loginterval, append_trajectory=append_trajectory
        )
        self._watch_angle = AngleWatch()
        self._read_moments()
        self._bind()
        tell_time(atoms, 0.0)
        if logfile is not None:
            from deepspin_plugins.spin_dynamics.log import SpinLogger

            self.attach(self.closelater(SpinLogger(self, logfile)), loginterval)

    @property
    def temperature(self) -> float:
        """Temperature of the bath, K; may be set during a run."""
        return self.bath.temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self.bath.temperature = value

    @property
    def evaluations(self) -> int:
        """How many times magnetic forces were evaluated so far."""
        return self._earlier_evaluations + self._field.evaluations

    def run(self, steps: int = 50) -> bool:
        """Make steps, with a progress bar on a terminal.

        Raises
        ------
        ConvergenceError
            From the implicit midpoint rule, if the time step is too long.
        """
        watch = EnergyWatch(self) if self._conserves_energy() else None
        for _ in track(self.irun(steps), "spin dynamics", total=steps + 1):
            if watch is not None:
                watch()
        return True

    def step(self) -> None:
        """Make one step. If it is interrupted, the moments are those from before."""
        self._follow_changes()
        time, before = self.get_time(), self._directions
        self._field.begin_step(time, self.dt)
        noise = self.bath.noise(self._lengths, self.dt)
        try:
            after = self.integrator.step(before, self._field, self.dt, damping=self.bath.damping, noise=noise)
            self._watch_angle(
                before, after, magnetic=self._lengths > 0.0, thermal=noise is not None, step=self.nsteps + 1
            )
        except BaseException:
            put_moments(self.atoms, self._written)
            raise
        self._write_moments(after)
        tell_time(self.atoms, time + self.dt)

    def save_checkpoint(self, path: str | Path) -> None:
        """Write all that is needed to go on bit for bit; an older file is replaced at once or not at all.

        Every thousand steps: ``dynamics.attach(dynamics.save_checkpoint, 1000, "run.npz")``.
        """
        if type(self.integrator) is not INTEGRATORS.get(self.integrator.name):
            raise InputError(f"{self.integrator!r} is an integrator of your own, which a checkpoint cannot hold.")
        self._follow_changes()
        baths, arrays = pack({"spins": self.bath})
        settings = {
            "timestep": self.dt,
            "nsteps": self.nsteps,
            "integrator": self.integrator.name,
            "integrator_options": asdict(self.integrator),  # type: ignore[call-overload]
            "baths": baths,
        }
        arrays |= {"directions": self._directions, "lengths": self._lengths}
        write_checkpoint(path, type(self).__name__, self.atoms, settings, arrays)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        calculator: BaseCalculator,
        *,
        trajectory: Any = None,
        logfile: IO[str] | str | Path | None = None,
        loginterval: int = 1,
    ) -> SpinDynamics:
        """Go on where a checkpoint was written: the same trajectory, bit for bit.

        Parameters
        ----------
        path
            File that :meth:`save_checkpoint` wrote.
        calculator
            The calculator, made as in the first run.
        trajectory, logfile, loginterval
            As in the constructor; existing files are continued. Observers have to be attached again.

        Raises
        ------
        InputError
            The file is no checkpoint of this driver, or damaged.
        """
        checkpoint = read_checkpoint(path, cls.__name__)
        settings, arrays, atoms = checkpoint.settings, checkpoint.arrays, checkpoint.atoms
        atoms.calc = calculator
        spins = options(settings["baths"], arrays)["spins"]
        dynamics = cls(
            atoms,
            settings["timestep"],
            integrator=INTEGRATORS[settings["integrator"]](**settings["integrator_options"]),
            damping=spins.damping,
            temperature=spins.temperature,
            statistics=spins.statistics,
            rng=0,
            trajectory=trajectory,
            logfile=logfile,
            loginterval=loginterval,
            append_trajectory=True,
        )
        dynamics.nsteps = settings["nsteps"]
        dynamics._directions, dynamics._lengths = arrays["directions"], arrays["lengths"]
        dynamics._bind()
        restore({"spins": dynamics.bath}, settings["baths"], arrays)
        tell_time(atoms, dynamics.get_time())
        return dynamics

    def todict(self) -> dict[str, Any]:
        """Settings, for the header of a trajectory."""
        return {**super().todict(), "integrator": self.integrator.name, "temperature": self.temperature}

    def _refresh_properties(self) -> None:
        """Evaluate nothing for observers that may not be there (ASE's drivers ask for forces after every step)."""

    def _read_moments(self) -> None:
        moments = get_moments(self.atoms)
        self._lengths: Array = np.linalg.norm(moments, axis=1)
        self._directions: Array = normalised(moments)
        self._written = moments
        put_moments(self.atoms, moments)

    def _write_moments(self, directions: Array) -> None:
        self._directions = directions
        self._written = self._lengths[:, None] * directions
        put_moments(self.atoms, self._written)

    def _bind(self) -> None:
        """Ask the structure as it is now for the fastest field."""
        self._earlier_evaluations = self.evaluations if hasattr(self, "_field") else 0
        self._field = field_of(self.atoms)
        self._field.lengths = self._lengths
        self._bound_calc = self.atoms.calc
        self._bound_structure = self._structure()

    def _structure(self) -> tuple[Array, ...]:
        """What a spin model depends on beside the moments; the calculator looks itself at everything else."""
        heisenberg = spin_model_calculator(self.atoms.calc)[0]
        if heisenberg is None:
            return ()
        cell = self.atoms.cell.array
        return self.atoms.positions.copy(), cell.copy(), self.atoms.numbers.copy(), self._lengths, heisenberg.field

    def _follow_changes(self) -> None:
        """Notice moments, positions, fields and calculators that somebody changed since the last step."""
        if not np.array_equal(self.atoms.get_initial_magnetic_moments(), self._written):
            check_magnetic(self.atoms)
            self._read_moments()
            self._field.lengths = self._lengths
        same = self.atoms.calc is self._bound_calc
        if not (same and all(map(np.array_equal, self._structure(), self._bound_structure))):
            check_magnetic(self.atoms)
            self._bind()

    def _conserves_energy(self) -> bool:
        return not self.bath.damping.any() and not hasattr(self.atoms.calc, "set_time")
