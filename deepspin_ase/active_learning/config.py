"""The file of ``deepspin learn``: every option, its default and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from ase import Atoms
from pydantic import Field, field_validator, model_validator

from deepspin_ase.data.frames import Frame
from deepspin_ase.errors import InputError
from deepspin_ase.moments import ferromagnet, get_moments, set_moments
from deepspin_ase.sections import Section, absolute_path, read_yaml, validated
from deepspin_ase.structure_file import read_structures
from deepspin_ase.training.config import LossSection, ModelSection, OptimizerSection, RuntimeSection

Window = tuple[float, float]


class CommitteeSection(Section):
    """How the models are trained; the sections are those of ``deepspin train``."""

    members: int = Field(default=4, ge=2, le=20)
    warm_start: bool = True
    model: ModelSection = ModelSection()
    loss: LossSection = LossSection()
    optimizer: OptimizerSection
    continued: OptimizerSection | None = None
    runtime: RuntimeSection = RuntimeSection()

    @field_validator("runtime")
    @classmethod
    def _no_output(cls, value: RuntimeSection) -> RuntimeSection:
        if value.output:
            raise ValueError("output of the trainings is decided by the loop; leave runtime.output out")
        return value


class ExplorerSection(Section):
    """One explorer, and the iterations in which it is at work."""

    kind: str
    first: int = Field(default=0, ge=0)
    last: int | None = Field(default=None, ge=0)
    options: dict[str, Any] = Field(default_factory=dict)

    def active(self, iteration: int) -> bool:
        """Whether it is at work in an iteration."""
        return self.first <= iteration and (self.last is None or iteration <= self.last)


class TrustSection(Section):
    """Low and high level of the committee deviation: numbers, or from the error distribution."""

    forces: Window | Literal["auto"] = "auto"
    magnetic_perp: Window | Literal["auto"] = "auto"

    @property
    def automatic(self) -> bool:
        """Whether one of them comes from the error distribution."""
        return "auto" in (self.forces, self.magnetic_perp)

    @field_validator("forces", "magnetic_perp")
    @classmethod
    def _ordered(cls, value: Window | Literal["auto"]) -> Window | Literal["auto"]:
        if value != "auto" and not 0 < value[0] < value[1]:
            raise ValueError("give a low and a higher level, both positive, or auto")
        return value


class SelectionSection(Section):
    """How many structures get labels in one iteration."""

    labels: int = Field(default=20, ge=1)
    validation: int = Field(default=10, ge=1)
    trust: TrustSection = TrustSection()


class LabelingSection(Section):
    """Which engine labels, and on how many processes of this machine."""

    engine: str
    options: dict[str, Any] = Field(default_factory=dict)
    workers: int = Field(default=1, ge=1)


class StopSection(Section):
    """When it is enough (accurate, and errors on fresh frames), and what it may cost at most (iterations, labels)."""

    accurate: float = Field(default=0.95, gt=0, le=1)
    iterations: int = Field(default=10, ge=1)
    labels: int | None = Field(default=None, ge=1)
    errors: dict[str, float] = Field(default_factory=dict)

    @field_validator("errors")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        if value:
            from deepspin_ase.training.metrics import QUANTITIES, metric_key  # needs torch

            allowed = [metric_key(quantity, "rmse") for quantity in QUANTITIES]
            if unknown := sorted(set(value) - set(allowed)):
                raise ValueError(f"unknown {', '.join(unknown)}; allowed: {', '.join(allowed)}")
        return value


class LearningConfig(Section):
    """A whole file of ``deepspin learn``."""

    structures: list[str] = Field(min_length=1)
    moments: dict[str, float] = Field(default_factory=dict)
    data: list[str] = Field(default_factory=list)
    initial: int = Field(default=20, ge=0)
    committee: CommitteeSection
    explorers: list[ExplorerSection] = Field(min_length=1)
    selection: SelectionSection = SelectionSection()
    labeling: LabelingSection
    stop: StopSection = StopSection()
    seed: int = Field(default=0, ge=0)
    output: str = ""

    @model_validator(mode="after")
    def _something_to_begin_with(self) -> LearningConfig:
        if not self.data and self.initial == 0:
            raise ValueError("give labelled frames (data) or a number of initial labels")
        return self

    @classmethod
    def from_dict(cls, values: Any, *, source: str = "learning config") -> LearningConfig:
        """Validate plain values.

        Raises
        ------
        InputError
            Names every wrong option, what was given and what is allowed.
        """
        return validated(cls, values, source)

    @classmethod
    def from_file(cls, path: str | Path) -> LearningConfig:
        """Read a YAML file; paths in it are relative to it.

        Raises
        ------
        InputError
            No YAML, or wrong values.
        FileNotFoundError
            No such file.
        """
        path = Path(path)
        return cls.from_dict(read_yaml(path), source=str(path)).resolved(path.parent)

    def resolved(self, folder: Path) -> LearningConfig:
        """The same with absolute paths, relative ones being taken from ``folder``; ``output`` stays as it is."""
        options = dict(self.labeling.options)
        factory = options.get("factory")
        if isinstance(factory, str) and ".py:" in factory:
            file, _, name = factory.rpartition(":")
            options["factory"] = f"{absolute_path(file, folder)}:{name}"
        return self.model_copy(
            update={
                "structures": [absolute_path(name, folder) for name in self.structures],
                "data": [absolute_path(name, folder) for name in self.data],
                "labeling": self.labeling.model_copy(update={"options": options}),
            }
        )

    def to_yaml(self) -> str:
        """YAML text that reads back as the same configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def read_structures(self) -> tuple[Atoms, ...]:
        """All frames of the structure files, with moments.

        Raises
        ------
        InputError
            A file that is missing or that ASE cannot read, a structure without atoms or moments, or with NaN.
        """
        found = []
        for name in self.structures:
            for index, atoms in enumerate(read_structures(Path(name))):
                if self.moments:
                    set_moments(atoms, ferromagnet(atoms, self.moments))
                if not get_moments(atoms).any():
                    raise InputError(f"{name}, frame {index}: no moments; write them into the file, or set moments:")
                found.append(Frame(atoms, source=name, index=index).atoms)  # which checks it
        return tuple(found)
