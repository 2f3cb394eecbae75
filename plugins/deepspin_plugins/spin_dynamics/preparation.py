"""Structure, calculator and driver of a run from its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from ase import Atoms, units

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Heisenberg, HeisenbergModel
from deepspin_ase.moments import ferromagnet, get_moments, set_moments
from deepspin_ase.quantities import K_B
from deepspin_ase.structure_file import read_structure
from deepspin_plugins.spin_dynamics.barostat import CellRescaling
from deepspin_plugins.spin_dynamics.baths import RescaledTemperature, SpinLangevin, Statistics
from deepspin_plugins.spin_dynamics.cartesian import CartesianMomentDynamics
from deepspin_plugins.spin_dynamics.config import Pulse, Rescaled, Rotating, Settings
from deepspin_plugins.spin_dynamics.dynamics import SpinDynamics
from deepspin_plugins.spin_dynamics.lattice_bath import LatticeLangevin
from deepspin_plugins.spin_dynamics.spin_lattice import SpinLatticeDynamics
from deepspin_plugins.spin_dynamics.zeeman import PulsedField, RotatingField, ZeemanField

Driver = SpinDynamics | SpinLatticeDynamics | CartesianMomentDynamics


class Calculators:
    """Calculators in the field of the settings: a network is loaded once and shared, other calculators are not.

    Parameters
    ----------
    settings
        Options of the run.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._network: Any = None
        if settings.model is not None:
            from deepspin_ase import DeepSpin

            self._network = DeepSpin(
                settings.model,
                device=settings.device,
                dtype=settings.dtype,
                spin_orbit=settings.spin_orbit,
                compile=settings.compile,
            )

    def __call__(self) -> Any:
        """Calculator for one structure."""
        calculator: Any = self._heisenberg() if self._network is None else self._network
        field = self._settings.field
        if isinstance(field, Rotating):
            return ZeemanField(calculator, RotatingField(field.amplitude, field.frequency, field.axis, field.phase))
        if isinstance(field, Pulse):
            return ZeemanField(calculator, PulsedField(field.amplitude, field.center, field.width, field.frequency))
        return calculator if field is None else ZeemanField(calculator, field)

    def _heisenberg(self) -> Heisenberg:
        path = Path(str(self._settings.spin_model))
        try:
            return Heisenberg(HeisenbergModel.load(path))
        except (KeyError, ValueError) as problem:
            raise InputError(f"{path} is no spin model; write one with HeisenbergModel.save.") from problem


def make_dynamics(settings: Settings, atoms: Atoms, timestep: float) -> Driver:
    """Driver of the settings for a structure with a calculator; gives the atoms velocities where they need some.

    Parameters
    ----------
    settings
        Options of the run.
    atoms
        Structure.
    timestep
        fs.
    """
    rng = np.random.default_rng(settings.seed)
    if not settings.lattice:
        return SpinDynamics(
            atoms,
            timestep * units.fs,
            integrator=settings.integrator or "depondt-mertens",
            damping=settings.spin_damping,
            temperature=settings.temperature,
            statistics=_statistics(settings),
            rng=rng,
        )
    bath = settings.bath_of_atoms
    if bath is not None and bath[0] > 0 and not atoms.get_momenta().any():
        spread = np.sqrt(K_B * bath[0] * atoms.get_masses())[:, None]
        atoms.set_momenta(spread * rng.standard_normal((len(atoms), 3)))
    common: dict[str, Any] = {
        "lattice_bath": None if bath is None else LatticeLangevin(bath[0], _per_time(bath[1])),
        "barostat": _barostat(settings),
        "rng": rng,
    }
    if settings.moment_mass is not None:
        heat = settings.temperature
        inertial = CartesianMomentDynamics(
            atoms,
            timestep * units.fs,
            moment_mass=settings.moment_mass * units.fs**2,
            moment_bath=None if heat is None else LatticeLangevin(heat, settings.moment_friction / units.fs),
            **common,
        )
        if heat:
            inertial.set_moment_temperature(heat, rng)
        return inertial
    spins = None
    if settings.spin_damping != 0.0:
        spins = SpinLangevin(settings.temperature or 0.0, settings.spin_damping, _statistics(settings))
    return SpinLatticeDynamics(atoms, timestep * units.fs, spin_bath=spins, **common)


def resumed_dynamics(settings: Settings, checkpoint: Path, calculator: Any) -> Driver:
    """Driver of a checkpoint."""
    if not checkpoint.is_file():
        raise InputError(f"there is no {checkpoint}; start the run without --resume.")
    moving = SpinLatticeDynamics if settings.moment_mass is None else CartesianMomentDynamics
    kind: Any = moving if settings.lattice else SpinDynamics
    return cast(Driver, kind.from_checkpoint(checkpoint, calculator))


def make_structure(settings: Settings) -> Atoms:
    """Structure of the settings, with moments."""
    path = Path(settings.structure)
    atoms = read_structure(path)
    if settings.moments:
        if missing := sorted(set(atoms.symbols) - set(settings.moments)):
            raise InputError(f"moments has no entry for {', '.join(missing)}; 0 means not magnetic.")
        set_moments(atoms, ferromagnet(atoms, settings.moments))
    set_moments(atoms, get_moments(atoms))
    if not get_moments(atoms).any():
        raise InputError(f"{path} carries no moments; write them into it, or give some: --moments Fe=2.2,O=0.")
    return atoms.repeat(settings.repeat)


def _statistics(settings: Settings) -> Statistics:
    given = settings.statistics
    return RescaledTemperature(given.curie_temperature, given.exponent) if isinstance(given, Rescaled) else given


def _barostat(settings: Settings) -> CellRescaling | None:
    if settings.pressure is None or settings.bath_of_atoms is None:
        return None
    return CellRescaling(
        settings.bath_of_atoms[0],
        settings.pressure_time * units.fs,
        1.0 / (settings.bulk_modulus * units.GPa),
        pressure=settings.pressure * units.GPa,
    )


def _per_time(friction: float | dict[str, float]) -> Any:
    """Friction in ASE units from 1/fs."""
    if isinstance(friction, dict):
        return {symbol: value / units.fs for symbol, value in friction.items()}
    return friction / units.fs
