"""Small data sets with exact labels from the Heisenberg calculator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk

from deepspin_ase.data import Frame, write_frames
from deepspin_ase.heisenberg import Heisenberg
from deepspin_ase.heisenberg.terms import Exponential, Landau, Morse
from deepspin_ase.moments import set_moments


def iron(rng: np.random.Generator, repeat: tuple[int, int, int] = (2, 2, 2)) -> Atoms:
    """Displaced bcc iron with tilted moments of varied length."""
    atoms = bulk("Fe", "bcc", a=2.87) * repeat
    del atoms.arrays["initial_magmoms"]
    atoms.positions += rng.normal(0, 0.05, (len(atoms), 3))
    directions = rng.normal(0, 0.4, (len(atoms), 3)) + np.array([0.0, 0.0, 1.0])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    set_moments(atoms, directions * rng.uniform(1.8, 2.4, (len(atoms), 1)))
    return atoms


def label(atoms: Atoms, index: int = 0, **info: Any) -> Frame:
    """A frame with energy, forces, stress and magnetic forces of a model with J(r), a Landau term and Morse bonds."""
    atoms.calc = Heisenberg(
        exchange=Exponential(strength=0.01, r0=2.5, decay=0.8, cutoff=4.0),
        landau={"Fe": Landau(-0.3, 0.035)},
        lattice=Morse(depth=0.3, r0=2.55, stiffness=1.4, cutoff=4.0),
        normalise=False,
    )
    return Frame.from_calculation(atoms, source="made here", index=index, info=info)


@pytest.fixture(scope="session")
def iron_frames() -> list[Frame]:
    """40 frames of 8 atoms; ``info["part"]`` is 0 for the first 30 and 1 for the rest."""
    rng = np.random.default_rng(5)
    return [label(iron(rng), i, part=int(i >= 30)) for i in range(40)]


@pytest.fixture(scope="session")
def iron_file(iron_frames: list[Frame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in a file."""
    path = tmp_path_factory.mktemp("data") / "iron.extxyz"
    write_frames(path, iron_frames)
    return path


@pytest.fixture
def settings(iron_file: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Plain values of a small and quick training; sections given are merged in."""

    def make(**sections: Any) -> dict[str, Any]:
        values: dict[str, Any] = {
            "data": [{"path": str(iron_file), "validation": 0.2}],
            "model": {"cutoff": 3.6, "channels": 8, "layers": 1, "radial": 5},
            "optimizer": {"epochs": 3, "batch_size": 4, "warmup_steps": 10, "learning_rate": 0.02},
            "runtime": {"output": str(tmp_path / "run"), "device": "cpu", "compile": "off", "threads": 1},
        }
        for name, section in sections.items():
            if isinstance(section, dict) and isinstance(values.get(name), dict):
                values[name] = {**values[name], **section}
            else:
                values[name] = section
        return values

    return make


@pytest.fixture
def settings_file(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """The same as a YAML file."""

    def make(name: str = "train.yaml", **sections: Any) -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(settings(**sections)), encoding="utf-8")
        return path

    return make
