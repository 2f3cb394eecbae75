"""The training file: every option, its default and its limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from deepspin_ase.sections import Section, absolute_path, read_yaml, validated

Auto = Literal["auto"]


class ModelSection(Section):
    """Architecture; see :class:`~deepspin_ase.model.config.ModelConfig`."""

    cutoff: float = Field(default=5.0, ge=1, le=12)
    channels: int = Field(default=32, ge=4, le=512)
    layers: int = Field(default=2, ge=1, le=6)
    radial: int = Field(default=10, ge=2, le=32)
    quadrupoles: int = Field(default=8, ge=0, le=512)
    spin_orbit: bool = False
    magnetic: list[str] | Auto = "auto"
    species: list[str] | Auto = "auto"


class Range(Section):
    """A closed interval of numbers."""

    min: float = Field(default=float("-inf"), allow_inf_nan=True)
    max: float = Field(default=float("inf"), allow_inf_nan=True)


class DataSection(Section):
    """One file of labelled frames, or a part of it."""

    path: str
    name: str = ""
    format: str = "auto"
    keys: dict[str, str] = Field(default_factory=dict)
    weight: float = Field(default=1.0, gt=0)
    where: dict[str, Range | list[int | float | str] | int | float | str] = Field(default_factory=dict)
    validation: float | list[int] | str = 0.1
    seed: int = Field(default=0, ge=0)
    scale_magnetic_forces: bool = False
    licence: str = ""
    origin: str = ""

    @field_validator("validation")
    @classmethod
    def _fraction(cls, value: float | list[int] | str) -> float | list[int] | str:
        if isinstance(value, float) and not 0 <= value < 1:
            raise ValueError("a fraction must lie in [0, 1); otherwise give a list of frame indices or a file")
        return value


class LossSection(Section):
    """Weights of the normalised errors, and what tames outliers."""

    energy: float = Field(default=1.0, ge=0)
    forces: float = Field(default=1.0, ge=0)
    stress: float = Field(default=0.1, ge=0)
    magnetic_perp: float = Field(default=1.0, ge=0)
    magnetic_par: float = Field(default=1.0, ge=0)
    huber: float | None = Field(default=1.0, gt=0)
    max_force: float | None = Field(default=None, gt=0)
    energy_window: float | None = Field(default=None, gt=0)


class OptimizerSection(Section):
    """How long and how fast. Exactly one of ``epochs``, ``max_minutes``, ``max_cpu_minutes``."""

    learning_rate: float = Field(default=4e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=4, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    max_cpu_minutes: float | None = Field(default=None, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    clip: float | None = Field(default=10.0, gt=0)
    patience: int | None = Field(default=None, ge=1)
    validate_every: int | Auto = "auto"

    @model_validator(mode="after")
    def _one_budget(self) -> OptimizerSection:
        given = [n for n in ("epochs", "max_minutes", "max_cpu_minutes") if getattr(self, n) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"give exactly one of epochs, max_minutes, max_cpu_minutes; found {found}")
        if isinstance(self.validate_every, int) and self.validate_every < 1:
            raise ValueError("validate_every must be at least 1, or auto")
        return self


class RuntimeSection(Section):
    """Where and with what the training runs; of these, only seed and precision touch what is learned."""

    device: str = "auto"
    devices: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    precision: Literal["float32", "float64"] = "float32"
    seed: int = Field(default=0, ge=0)
    compile: Literal["auto", "on", "off"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    workers: int = Field(default=0, ge=0)
    output: str = ""

    @field_validator("compile", mode="before")
    @classmethod
    def _yaml_bool(cls, value: Any) -> Any:
        """YAML reads ``on`` and ``off`` as true and false."""
        return ("off", "on")[value] if isinstance(value, bool) else value

    @field_validator("device")
    @classmethod
    def _device(cls, value: str) -> str:
        if value not in ("auto", "cpu", "cuda"):
            raise ValueError("must be auto, cpu or cuda")
        return value


class TrainingConfig(Section):
    """A whole training file."""

    model: ModelSection = ModelSection()
    data: list[DataSection] = Field(min_length=1)
    loss: LossSection = LossSection()
    optimizer: OptimizerSection
    runtime: RuntimeSection = RuntimeSection()
    init_from: str | None = None

    @model_validator(mode="after")
    def _distinct_names(self) -> TrainingConfig:
        names = [data_name(section) for section in self.data]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"data sets need different names; {', '.join(twice)} occurs twice; set `name:`")
        return self

    @classmethod
    def from_dict(cls, values: Any, *, source: str = "training config") -> TrainingConfig:
        """Validate plain values.

        Raises
        ------
        InputError
            Names every wrong field, what was given and what is allowed.
        """
        return validated(cls, values, source)

    @classmethod
    def from_file(cls, path: str | Path) -> TrainingConfig:
        """Read a YAML file; paths in it are relative to it, and may hold ``~`` and ``$VARIABLES``.

        Raises
        ------
        InputError
            No YAML, or wrong values.
        FileNotFoundError
            No such file.
        """
        path = Path(path)
        return cls.from_dict(read_yaml(path), source=str(path)).resolved(path.parent)

    def resolved(self, folder: Path) -> TrainingConfig:
        """The same with absolute data paths, relative ones being taken from ``folder``."""
        data = []
        for section in self.data:
            update: dict[str, Any] = {"path": _absolute(section.path, folder), "name": data_name(section)}
            if isinstance(section.validation, str):
                update["validation"] = _absolute(section.validation, folder)
            data.append(section.model_copy(update=update))
        changes: dict[str, Any] = {"data": data}
        if self.init_from and any(mark in self.init_from for mark in ("/", "\\", ".pt", "$", "~")):
            changes["init_from"] = _absolute(self.init_from, folder)
        return self.model_copy(update=changes)

    def to_yaml(self) -> str:
        """YAML text that reads back as the same configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def data_name(section: DataSection) -> str:
    """Name of a data set in tables: as given, or the stem of its path."""
    return section.name or Path(section.path).stem


def _absolute(path: str, folder: Path) -> str:
    return absolute_path(os.path.expandvars(path), folder)
