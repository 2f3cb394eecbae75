"""A small loop on an exact model: files, settings, and one run that several tests look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from deepspin_ase.active_learning import LearningConfig, LearningResult, learn

REFERENCE = '''
from pathlib import Path

from deepspin_ase.heisenberg import Exponential, Heisenberg, Landau, Morse

CALLS = Path(__file__).with_name("calls.txt")


class Counted(Heisenberg):
    """Writes a line per calculation."""

    def calculate(self, *args, **kwargs):
        with CALLS.open("a") as stream:
            stream.write("calculated\\n")
        super().calculate(*args, **kwargs)


def reference(strength=0.01):
    return Counted(
        exchange=Exponential(strength=strength, r0=2.5, decay=0.8, cutoff=4.0),
        landau={"Fe": Landau(-0.3, 0.035)},
        lattice=Morse(depth=0.3, r0=2.55, stiffness=1.4, cutoff=4.0),
        normalise=False,
    )
'''


def iron() -> Atoms:
    """Four atoms of bcc iron, without moments."""
    atoms = bulk("Fe", a=2.87, cubic=True) * (2, 1, 1)
    del atoms.arrays["initial_magmoms"]
    return atoms


def make_workplace(folder: Path) -> Path:
    """Put structure and reference calculator into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "fe.extxyz", iron())
    (folder / "reference.py").write_text(REFERENCE, encoding="utf-8")
    return folder


def small_settings(folder: Path, **sections: Any) -> dict[str, Any]:
    """Plain values of a quick run in a folder of :func:`make_workplace`; sections given replace others."""
    values: dict[str, Any] = {
        "structures": [str(folder / "fe.extxyz")],
        "moments": {"Fe": 2.2},
        "initial": 8,
        "committee": {
            "members": 2,
            "model": {"cutoff": 3.6, "channels": 4, "layers": 1, "radial": 4, "quadrupoles": 0},
            "optimizer": {"epochs": 30, "batch_size": 4, "warmup_steps": 5, "learning_rate": 0.02},
            "continued": {"epochs": 10, "batch_size": 4, "warmup_steps": 5, "learning_rate": 0.01},
            "runtime": {"device": "cpu", "compile": "off", "threads": 1},
        },
        "explorers": [{"kind": "states", "options": {"count": 30}}],
        "selection": {"labels": 6, "validation": 4},
        "labeling": {"engine": "calculator", "options": {"factory": f"{folder / 'reference.py'}:reference"}},
        "stop": {"iterations": 2, "accurate": 1.0},
        "output": str(folder / "run"),
    }
    return {**values, **sections}


def calls(folder: Path) -> int:
    """How many calculations the reference has made."""
    file = folder / "calls.txt"
    return file.read_text(encoding="utf-8").count("\n") if file.exists() else 0


@dataclass(frozen=True)
class FinishedRun:
    """A folder with a run that nobody disturbed."""

    folder: Path
    result: LearningResult
    lines: list[str]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A whole run."""
    folder = make_workplace(tmp_path_factory.mktemp("learning"))
    lines: list[str] = []
    result = learn(LearningConfig.from_dict(small_settings(folder)), say=lines.append)
    return FinishedRun(folder, result, lines)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with structure and reference."""
    return make_workplace(tmp_path / "work")


@pytest.fixture
def settings(workplace: Path) -> Callable[..., dict[str, Any]]:
    """Settings of a quick run in ``workplace``."""
    return lambda **sections: small_settings(workplace, **sections)
