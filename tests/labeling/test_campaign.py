"""Many structures: results, resume after a kill, failures that stay visible."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from deepspin_ase.data import Frame
from deepspin_ase.errors import InputError
from deepspin_ase.labeling import CalculatorLabeler, FailedLabel, campaign_status, label_all
from deepspin_ase.moments import get_moments, set_moments
from tests.plugins.labeler_cases import heisenberg, iron_structures

REPOSITORY = Path(__file__).resolve().parents[2]


class CountingLabeler:
    """Labels with the Heisenberg calculator, counts, and fails where |m| exceeds 3 µB."""

    identity = "counting"

    def __init__(self) -> None:
        self.calls = 0
        self.inner = CalculatorLabeler(heisenberg())

    def label(self, atoms: Atoms, directory: Path) -> Frame | FailedLabel:
        self.calls += 1
        if np.linalg.norm(get_moments(atoms), axis=1).max() > 3:
            raise RuntimeError("moment too long for this engine")
        return self.inner.label(atoms, directory)


def test_labels_are_the_calculators(tmp_path: Path) -> None:
    structures = iron_structures(3)
    report = label_all(structures, CalculatorLabeler(heisenberg()), tmp_path)
    for atoms, frame in zip(structures, report.frames, strict=True):
        atoms.calc = heisenberg()
        assert frame.labels.energy == pytest.approx(atoms.get_potential_energy())
        np.testing.assert_allclose(frame.labels.magnetic_forces, atoms.calc.get_magnetic_forces(atoms))
        np.testing.assert_allclose(frame.moments, get_moments(atoms))


def test_finished_ones_are_not_repeated_and_come_back_exactly(tmp_path: Path) -> None:
    labeler, structures = CountingLabeler(), iron_structures(4)
    first = label_all(structures, labeler, tmp_path)
    again = label_all(structures[::-1], labeler, tmp_path)
    assert labeler.calls == 4
    for one, other in zip(first.frames, again.frames[::-1], strict=True):
        assert one.labels.energy == other.labels.energy
        np.testing.assert_array_equal(one.labels.magnetic_forces, other.labels.magnetic_forces)


def test_equal_structures_are_calculated_once(tmp_path: Path) -> None:
    labeler, (atoms,) = CountingLabeler(), iron_structures(1)
    report = label_all([atoms, atoms.copy()], labeler, tmp_path)
    assert labeler.calls == 1
    assert len(report.frames) == 2


def test_another_identity_is_another_calculation(tmp_path: Path) -> None:
    labeler, structures = CountingLabeler(), iron_structures(1)
    label_all(structures, labeler, tmp_path)
    labeler.identity = "counting, finer"
    label_all(structures, labeler, tmp_path)
    assert labeler.calls == 2


def test_one_that_fails_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    labeler, structures = CountingLabeler(), iron_structures(3)
    set_moments(structures[1], 3.5)
    report = label_all(structures, labeler, tmp_path)
    assert [isinstance(result, Frame) for result in report.results] == [True, False, True]
    assert report.failures[0].reason == "RuntimeError: moment too long for this engine"
    assert "structure 1: RuntimeError" in report.summary()
    assert campaign_status(tmp_path) == {"finished": 2, "failed": 1, "prepared": 0, "running": 0}
    label_all(structures, labeler, tmp_path)
    assert labeler.calls == 3
    label_all(structures, labeler, tmp_path, retry_failed=True)
    assert labeler.calls == 4


@pytest.mark.parametrize("damage", ["frame cut", "frame lost", "state cut", "state lost"])
def test_half_written_results_are_calculated_again(tmp_path: Path, damage: str) -> None:
    labeler, structures = CountingLabeler(), iron_structures(1)
    expected = label_all(structures, labeler, tmp_path).frames[0].labels.energy
    (directory,) = (path for path in tmp_path.iterdir() if path.is_dir())
    file = directory / ("frame.extxyz" if "frame" in damage else "state.json")
    if "cut" in damage:
        file.write_bytes(file.read_bytes()[:-40])
    else:
        file.unlink()
    assert label_all(structures, labeler, tmp_path).frames[0].labels.energy == expected
    assert labeler.calls == 2


def test_an_executor_gives_the_same(tmp_path: Path) -> None:
    structures = iron_structures(5)
    serial = label_all(structures, CalculatorLabeler(heisenberg()), tmp_path / "serial")
    with ThreadPoolExecutor(1) as pool:
        pooled = label_all(structures, CalculatorLabeler(heisenberg()), tmp_path / "pool", executor=pool)
    assert [f.labels.energy for f in serial.frames] == [f.labels.energy for f in pooled.frames]


def test_dask_cluster(tmp_path: Path) -> None:
    import distributed

    with distributed.Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        report = label_all(
            iron_structures(2), CalculatorLabeler(heisenberg()), tmp_path, executor=client.get_executor()
        )
    assert len(report.frames) == 2


SLOW = """
import sys, time
from deepspin_ase.labeling import CalculatorLabeler, label_all
from tests.plugins.labeler_cases import heisenberg, iron_structures

class Slow(CalculatorLabeler):
    def label(self, atoms, directory):
        (directory / "calls").open("a").write("x")
        time.sleep(0.3)
        return super().label(atoms, directory)

print(len(label_all(iron_structures(5), Slow(heisenberg(), "slow"), sys.argv[1]).frames))
"""


def test_killed_and_started_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment) as process:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("*/frame.extxyz"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    done = {file: file.read_bytes() for file in tmp_path.glob("*/frame.extxyz")}
    assert campaign_status(tmp_path)["running"] <= 1
    finished = [path.parent for path in tmp_path.glob("*/state.json") if "finished" in path.read_text()]
    output = subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True)
    assert output.stdout.strip() == "5"
    assert all((directory / "calls").read_text() == "x" for directory in finished)
    assert all((directory / "frame.extxyz").read_bytes() == done[directory / "frame.extxyz"] for directory in finished)
    assert campaign_status(tmp_path) == {"finished": 5, "failed": 0, "prepared": 0, "running": 0}


def test_two_campaigns_do_not_share_a_directory(tmp_path: Path) -> None:
    class Nested(CountingLabeler):
        def label(self, atoms: Atoms, directory: Path) -> Frame | FailedLabel:
            with pytest.raises(InputError, match="another labelling is at work"):
                label_all([atoms], CountingLabeler(), directory.parent)
            return super().label(atoms, directory)

    assert len(label_all(iron_structures(1), Nested(), tmp_path).frames) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda atoms: set_moments(atoms, 0.0), "structure 1 has no moments"),
        (lambda atoms: atoms.positions.__setitem__((0, 0), np.nan), "structure 1: positions are not finite"),
        (lambda atoms: atoms.__delitem__([0, 1]), "structure 1 has no atoms"),
    ],
)
def test_wrong_structures_are_refused_before_work_starts(tmp_path: Path, spoil, message: str) -> None:
    structures = iron_structures(2)
    spoil(structures[1])
    labeler = CountingLabeler()
    with pytest.raises(InputError, match=message):
        label_all(structures, labeler, tmp_path)
    assert labeler.calls == 0


def test_calculator_without_magnetic_forces_is_refused() -> None:
    with pytest.raises(InputError, match="EMT gives no magnetic forces"):
        CalculatorLabeler(EMT())


def test_status_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no directory"):
        campaign_status(tmp_path / "missing")
    assert json.dumps(campaign_status(tmp_path)) == json.dumps(
        dict.fromkeys(("finished", "failed", "prepared", "running"), 0)
    )


def test_no_structures(tmp_path: Path) -> None:
    assert label_all([], CountingLabeler(), tmp_path).results == ()


def test_structure_keeps_its_own_moments_when_collinear(tmp_path: Path) -> None:
    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments([2.2, -2.2])
    (frame,) = label_all([atoms], CalculatorLabeler(heisenberg()), tmp_path).frames
    np.testing.assert_allclose(frame.moments, [[0, 0, 2.2], [0, 0, -2.2]])
