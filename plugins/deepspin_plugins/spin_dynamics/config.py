"""Settings of ``deepspin spin-dynamics``: one flat table, from a YAML file, from options, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from ase.data import atomic_numbers
from pydantic import Field, model_validator

from deepspin_ase.errors import InputError
from deepspin_ase.sections import Section, read_yaml, validated

Vector = tuple[float, float, float]
BySpecies = float | dict[str, float]

TEMPLATE = """\
# Spin dynamics. Run:  deepspin spin-dynamics --config THIS_FILE
# Only structure, steps and either model or spin_model are required; options on the command line win over this file.

structure: nio.extxyz          # any file that ASE reads, relative to this file; with moments, or give them below
model: nio                     # shipped model (`deepspin models`) or checkpoint; several make a committee: [a.pt, b.pt]
# spin_model: model.npz        # instead of model: a spin model written by HeisenbergModel.save
# moments: {Ni: 1.27, O: 0.0}  # µB along +z, if the file has none
# repeat: [2, 2, 2]            # supercell

steps: 1000                    # length of the whole run; --resume with a larger number makes it longer
# timestep: 1.0                # fs; default: from the fastest mode of the moments, at most 1
# replicas: 1                  # independent runs with seeds seed, seed + 1, ..., evaluated in batches
# lattice: false               # true: atoms move, too
# temperature: 300             # K; without it nothing is heated: no thermal noise
# damping: 0.1                 # Gilbert damping, or by species {Ni: 0.1, O: 0}; default 0.1 with a temperature, else 0
# lattice_temperature: 300     # K, of atoms that move; default: temperature
# friction: 0.01               # 1/fs, of atoms that move, or by species; default 0.01 with a temperature, else 0
# integrator: depondt-mertens  # or semi-implicit, implicit-midpoint, heun; for atoms that stay
# statistics: classical        # or coloured: quantum noise, or a rescaled temperature:
# statistics: {kind: rescaled, curie_temperature: 1043, exponent: 2.876}   # K
# pressure: 0                  # GPa, of atoms that move: constant pressure; needs a temperature
# pressure_time: 1000          # fs, relaxation time of the volume
# bulk_modulus: 150            # GPa, a rough value is enough
# moment_mass: 10              # eV fs²/µB²: moments with inertia that change their lengths, too (no precession; TSPIN)
# moment_friction: 0.02        # 1/fs, of moments with inertia
# seed: 0                      # of all random numbers

# field: [0, 0, 10]            # tesla; or one that changes with time:
# field: {kind: rotating, amplitude: 1.0, frequency: 0.5, axis: [0, 0, 1], phase: 0}   # T, THz, degrees
# field: {kind: pulse, amplitude: [2, 0, 0], center: 500, width: 200, frequency: 1.0}   # T, fs, fs, THz

# interval: 10                 # steps between lines of the log and frames of the trajectory
# checkpoint_interval: 1000    # steps
# spin_temperature: true       # measure it for the log: up to three more evaluations per line

# device: auto                 # auto, cpu, cuda
# dtype: float64               # or float32
# spin_orbit: null             # false switches the spin-orbit terms of a model off
# compile: false               # compile the model for this machine
"""


class Rotating(Section):
    """A :class:`RotatingField`."""

    kind: Literal["rotating"]
    amplitude: float
    frequency: float
    axis: Vector = (0.0, 0.0, 1.0)
    phase: float = 0.0


class Pulse(Section):
    """A :class:`PulsedField`."""

    kind: Literal["pulse"]
    amplitude: Vector
    center: float
    width: float = Field(gt=0)
    frequency: float = 0.0


class Rescaled(Section):
    """A :class:`RescaledTemperature`."""

    kind: Literal["rescaled"]
    curie_temperature: float = Field(gt=0)
    exponent: float = Field(gt=0)


class Settings(Section):
    """Every option of a run; units are those of the template above."""

    structure: str
    model: str | list[str] | None = None
    spin_model: str | None = None
    moments: dict[str, float] = Field(default_factory=dict)
    repeat: tuple[int, int, int] = (1, 1, 1)
    steps: int = Field(ge=1)
    replicas: int = Field(default=1, ge=1)
    timestep: float | None = Field(default=None, gt=0)
    lattice: bool = False
    temperature: float | None = Field(default=None, ge=0)
    damping: BySpecies | None = None
    lattice_temperature: float | None = Field(default=None, ge=0)
    friction: BySpecies | None = None
    integrator: Literal["depondt-mertens", "semi-implicit", "implicit-midpoint", "heun"] | None = None
    statistics: Literal["classical", "coloured"] | Rescaled = "classical"
    pressure: float | None = None
    pressure_time: float = Field(default=1000.0, gt=0)
    bulk_modulus: float = Field(default=150.0, gt=0)
    moment_mass: float | None = Field(default=None, gt=0)
    moment_friction: float = Field(default=0.02, gt=0)
    seed: int = Field(default=0, ge=0)
    field: Vector | Rotating | Pulse | None = None
    interval: int = Field(default=10, ge=1)
    checkpoint_interval: int = Field(default=1000, ge=1)
    spin_temperature: bool = True
    device: str = "auto"
    dtype: Literal["float32", "float64"] = "float64"
    spin_orbit: bool | None = None
    compile: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.model is None) == (self.spin_model is None):
            raise ValueError(
                "give either model (a name or a checkpoint) or spin_model (a file of HeisenbergModel.save)"
            )
        if min(self.repeat) < 1:
            raise ValueError(f"repeat = {list(self.repeat)}; allowed: three whole numbers from 1")
        for name in ("damping", "friction"):
            value = getattr(self, name)
            numbers = value.values() if isinstance(value, dict) else [value or 0.0]
            if min(numbers, default=0.0) < 0:
                raise ValueError(f"{name} = {value}; allowed: numbers that are not negative")
        for name in ("moments", "damping", "friction"):
            value = getattr(self, name)
            if unknown := sorted(set(value if isinstance(value, dict) else ()) - set(atomic_numbers)):
                raise ValueError(f"{name} names {', '.join(unknown)}; its keys are chemical symbols")
        if not self.lattice:
            for name in ("lattice_temperature", "friction", "pressure", "moment_mass"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for atoms that move; add lattice: true (--lattice)")
        elif self.integrator is not None:
            raise ValueError("integrator is for atoms that stay; leave it out with lattice: true (--lattice)")
        if self.pressure is not None and self.bath_of_atoms is None:
            raise ValueError("pressure needs a temperature of the atoms: temperature or lattice_temperature")
        if self.moment_mass is not None and (self.damping is not None or self.statistics != "classical"):
            raise ValueError("moments with inertia (moment_mass) have a moment_friction, no damping and no statistics")
        return self

    @property
    def spin_damping(self) -> BySpecies:
        """Gilbert damping, with its default."""
        return self.damping if self.damping is not None else (0.0 if self.temperature is None else 0.1)

    @property
    def bath_of_atoms(self) -> tuple[float, BySpecies] | None:
        """Temperature (K) and friction (1/fs) of the atoms; None without a bath."""
        temperature = self.temperature if self.lattice_temperature is None else self.lattice_temperature
        if temperature is None:
            return None if not self.friction else (0.0, self.friction)
        friction = 0.01 if self.friction is None else self.friction
        return (temperature, friction) if friction else None

    @classmethod
    def from_values(cls, values: dict[str, Any], source: str) -> Settings:
        """Validate plain values.

        Raises
        ------
        InputError
            Names every wrong option, what was given and what is allowed.
        """
        return validated(cls, values, source)

    def to_yaml(self) -> str:
        """YAML text that reads back as the same settings."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_values(path: Path) -> dict[str, Any]:
    """Read a settings file; the files that it names are taken relative to it.

    Raises
    ------
    InputError
        No YAML, or no table of options.
    FileNotFoundError
        No such file.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected options such as structure: and steps:, got {type(values).__name__}.")
    for name in ("structure", "spin_model"):
        if isinstance(values.get(name), str):
            values[name] = _beside(values[name], path.parent)
    given = values.get("model")
    if isinstance(given, (str, list)):
        models = [_model(m, path.parent) for m in ([given] if isinstance(given, str) else given)]
        values["model"] = models if isinstance(given, list) else models[0]
    return values


def _beside(name: str, folder: Path) -> str:
    path = Path(name).expanduser()
    return str(path if path.is_absolute() else folder.absolute() / path)


def _model(name: Any, folder: Path) -> Any:
    """Checkpoint beside the settings file, or the name of a shipped model."""
    beside = isinstance(name, str) and (folder / name).is_file()
    return _beside(name, folder) if beside else name
