"""What the drivers that move atoms and moments together have in common."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.md.md import MolecularDynamics
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.quantities import MAGNETIC_FORCES
from deepspin_plugins.spin_dynamics.bath_records import Bath, options, pack, restore
from deepspin_plugins.spin_dynamics.checkpoint import read_checkpoint, write_checkpoint
from deepspin_plugins.spin_dynamics.constants import FEMTOSECOND
from deepspin_plugins.spin_dynamics.fields import check_magnetic, tell_time
from deepspin_plugins.spin_dynamics.timestep import TimestepWarning

Array = NDArray[np.float64]
Driver = TypeVar("Driver", bound="LatticeDriver")

_MAX_DRIFT = 1e-3  # eV per atom
_INTERVAL = 100


class LatticeDriver(MolecularDynamics):
    """Base of drivers that move positions, momenta and moments of a structure.

    A subclass writes :meth:`_advance` and says what belongs into a checkpoint.

    Attributes
    ----------
    evaluations
        How many states the calculator was asked for.
    """

    _array_options: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        *,
        trajectory: Any,
        logfile: IO[str] | str | Path | None,
        loginterval: int,
        append_trajectory: bool,
    ) -> None:
        if not (np.isfinite(timestep) and timestep > 0.0):
            raise InputError(f"timestep = {timestep}; allowed: a positive time in ASE units, e.g. 1.0 * ase.units.fs.")
        check_magnetic(atoms)
        if "forces" not in atoms.calc.implemented_properties:
            raise InputError(f"{type(atoms.calc).__name__} gives no forces, which are needed to move atoms.")
        if atoms.has("momenta") and not np.isfinite(atoms.get_momenta()).all():
            raise InputError("the momenta of the structure contain NaN or infinity.")
        super().__init__(
            atoms, float(timestep), trajectory=trajectory, loginterval=loginterval, append_trajectory=append_trajectory
        )
        self.evaluations = 0
        tell_time(atoms, 0.0)
        if logfile is not None:
            from deepspin_plugins.spin_dynamics.log import SpinLogger

            self.attach(self.closelater(SpinLogger(self, logfile)), loginterval)

    # ------------------------------------------------------------------ running

    def run(self, steps: int = 50) -> bool:
        """Make steps, with a progress bar on a terminal."""
        for _ in track(self.irun(steps), "spin-lattice dynamics", total=steps + 1):
            self._watch_energy()
        return True

    def step(self) -> None:
        """Make one step. If it is interrupted, structure and baths are as before, but for the random numbers drawn."""
        atoms = self.atoms
        arrays = {name: array.copy() for name, array in atoms.arrays.items()}
        cell = atoms.cell.array.copy()
        baths = [(bath, dict(vars(bath))) for bath in self._baths.values() if bath is not None]
        try:
            self._advance()
        except BaseException:
            for bath, values in baths:
                vars(bath).update(values)
            atoms.set_cell(cell)
            for name, array in arrays.items():
                atoms.arrays[name] = array
            raise

    @abstractmethod
    def _advance(self) -> None:
        """Make one step."""

    @property
    @abstractmethod
    def conserved_energy(self) -> float | None:
        """What the equations of motion conserve, eV; None with baths that have no such quantity."""

    def _refresh_properties(self) -> None:
        """Evaluate nothing for observers that may not be there; the last evaluation of a step is that of its result."""

    def _watch_energy(self) -> None:
        """Warn once if the conserved energy moves by more than 1 meV per atom; looks at every hundredth step."""
        if self.nsteps % _INTERVAL or (energy := self.conserved_energy) is None or hasattr(self.atoms.calc, "set_time"):
            return
        if not hasattr(self, "_first_energy"):
            self._first_energy = energy
        change = (energy - self._first_energy) / len(self.atoms)
        if abs(change) > _MAX_DRIFT:
            self._first_energy = np.nan  # which compares as false from here on
            warnings.warn(
                f"the conserved energy has changed by {1e3 * change:.2g} meV/atom up to step {self.nsteps}: the time "
                f"step of {self.dt / FEMTOSECOND:.3g} fs is too long. suggest_timestep(atoms) gives an idea.",
                TimestepWarning,
                stacklevel=3,
            )

    # ------------------------------------------------------------------ parts of a step

    def _magnetic_forces(self, fraction: float, *, known: bool = False) -> Array:
        """Magnetic forces of the present state, eV/µB, (n, 3), at a fraction of the step; forces come with them.

        ``known``: the state is that of the step before, which the calculator remembers.
        """
        self.evaluations += not known
        tell_time(self.atoms, (self.nsteps + fraction) * self.dt)
        return np.array(self.atoms.calc.get_property(MAGNETIC_FORCES, self.atoms), dtype=float)

    def _kick(self, time: float) -> None:
        """Momenta after a time in the present forces."""
        atoms = self.atoms
        atoms.set_momenta(atoms.get_momenta() + time * atoms.get_forces(md=True))

    def _drift(self, time: float) -> None:
        """Positions after a time of free flight; constraints act on positions and momenta."""
        atoms = self.atoms
        start = atoms.get_positions()
        atoms.set_positions(start + time * atoms.get_momenta() / self.masses)
        if atoms.constraints:
            moved = atoms.get_positions() - start
            atoms.set_momenta(moved * self.masses / time, apply_constraint=False)

    # ------------------------------------------------------------------ checkpoints

    def save_checkpoint(self, path: str | Path) -> None:
        """Write all that is needed to go on bit for bit; an older file is replaced at once or not at all.

        Every thousand steps: ``dynamics.attach(dynamics.save_checkpoint, 1000, "run.npz")``.
        """
        baths, arrays = pack(self._baths)
        settings = {"timestep": self.dt, "nsteps": self.nsteps, "evaluations": self.evaluations, "baths": baths}
        write_checkpoint(path, type(self).__name__, self.atoms, settings, {**arrays, **self._state()})

    @classmethod
    def from_checkpoint(
        cls: type[Driver],
        path: str | Path,
        calculator: BaseCalculator,
        *,
        trajectory: Any = None,
        logfile: IO[str] | str | Path | None = None,
        loginterval: int = 1,
    ) -> Driver:
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
        checkpoint.atoms.calc = calculator
        settings, arrays = checkpoint.settings, checkpoint.arrays
        given: dict[str, Any] = options(settings["baths"], arrays)
        given |= {name: arrays[name] for name in cls._array_options} | {"rng": 0}
        dynamics = cls(
            checkpoint.atoms,
            settings["timestep"],
            **given,
            trajectory=trajectory,
            logfile=logfile,
            loginterval=loginterval,
            append_trajectory=True,
        )
        dynamics.nsteps, dynamics.evaluations = settings["nsteps"], settings["evaluations"]
        dynamics._restore(arrays)
        restore(dynamics._baths, settings["baths"], arrays)
        tell_time(dynamics.atoms, dynamics.get_time())
        return dynamics

    @property
    @abstractmethod
    def _baths(self) -> dict[str, Bath | None]:
        """Running baths by the names of their options."""

    @abstractmethod
    def _state(self) -> dict[str, Array]:
        """Arrays of a checkpoint beside structure and baths; those that are options of the constructor go there."""

    def _restore(self, state: Mapping[str, Array]) -> None:
        """Take over what :meth:`_state` gave."""


def random_streams(rng: int | np.random.Generator | None, baths: Sequence[Any]) -> list[np.random.Generator]:
    """Three independent generators, for two baths and a barostat.

    Raises
    ------
    InputError
        There is no seed although one of the baths (settings with a temperature) is above 0 K.
    """
    if rng is None and any(bath.temperature > 0.0 for bath in baths):
        raise InputError("a bath above 0 K needs random numbers: give rng=, a seed or a numpy Generator.")
    return np.random.default_rng(0 if rng is None else rng).spawn(3)
