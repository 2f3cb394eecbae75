"""The labeler of the settings file, and labels of a labeler that cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from deepspin_ase import Frame, Labels, ferromagnet, set_moments
from deepspin_ase.active_learning import make_labeler
from deepspin_ase.labeling import FailedLabel, label_all
from tests.active_learning.conftest import calls, iron


@pytest.fixture
def structures(rng: np.random.Generator) -> list[Atoms]:
    made = []
    for _ in range(4):
        atoms = iron()
        set_moments(atoms, ferromagnet(atoms, 2.2) + rng.normal(0, 0.2, (4, 3)))
        made.append(atoms)
    return made


def test_another_identity_does_not_reuse_labels(structures: list[Atoms], workplace: Path, tmp_path: Path) -> None:
    factory = f"{workplace / 'reference.py'}:reference"
    energies = [
        label_all(
            structures[:1],
            make_labeler("calculator", {"factory": factory, "arguments": {"strength": strength}}),
            tmp_path / "labels",
        ).frames[0].labels.energy
        for strength in (0.01, 0.02)
    ]  # fmt: skip
    assert energies[0] != energies[1]
    assert calls(workplace) == 2


class Broken:
    """Fails in a different way for each structure."""

    identity = "broken"

    def __init__(self) -> None:
        self.asked = 0

    def label(self, atoms: Atoms, directory: Path) -> Frame | FailedLabel:
        self.asked += 1
        n = len(atoms)
        results = [
            lambda: FailedLabel(atoms, "SCF did not converge"),
            lambda: Frame(atoms, Labels(energy=1.0, forces=np.zeros((n, 3)))),
            lambda: Frame(atoms, Labels(energy=1.0, forces=np.zeros((n, 3)), magnetic_forces=np.full((n, 3), 500.0))),
            lambda: 1 / 0,
        ]
        return results[self.asked - 1]()  # type: ignore[return-value]


def test_failures_have_reasons_and_are_not_tried_again(structures: list[Atoms], tmp_path: Path) -> None:
    labeler = Broken()
    report = label_all(structures, labeler, tmp_path / "labels")
    assert report.frames == []
    reasons = [failure.reason for failure in report.failures]
    assert reasons[0] == "SCF did not converge"
    assert reasons[1] == "the result lacks magnetic_forces"
    assert "eV/µB" in reasons[2]
    assert reasons[3] == "ZeroDivisionError: division by zero"
    again = label_all(structures, labeler, tmp_path / "labels")
    assert [failure.reason for failure in again.failures] == reasons
    assert labeler.asked == 4
