"""Trajectories survive kills, continue after restarts and stream."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms, units

from deepspin_ase import get_moments, set_moments
from deepspin_ase.errors import InputError
from deepspin_plugins.spin_dynamics.trajectory import MomentTrajectory, MomentTrajectoryWriter


class Steps:
    """A clock of 2 fs steps."""

    def __init__(self, nsteps: int = 0) -> None:
        self.nsteps = nsteps

    def get_time(self) -> float:
        return 2.0 * units.fs * self.nsteps


@pytest.fixture
def atoms() -> Atoms:
    crystal = Atoms("FeO", positions=[[0, 0, 0], [1.5, 0, 0]], cell=[3.0, 4.0, 5.0], pbc=[True, True, False])
    set_moments(crystal, [[2.0, 0, 0], [0, 0, 0]])
    return crystal


def turn(atoms: Atoms, step: int) -> None:
    """State of a step: the moment says which one it is."""
    set_moments(atoms, [[2.0 * np.cos(0.1 * step), 2.0 * np.sin(0.1 * step), 0], [0, 0, 0]])


def write(path: Path, atoms: Atoms, first: int, last: int, **options: object) -> None:
    clock = Steps(first)
    with MomentTrajectoryWriter(path, atoms, clock, **options) as writer:
        for clock.nsteps in range(first, last):
            turn(atoms, clock.nsteps)
            writer()


def test_what_is_written_is_read_back(atoms: Atoms, tmp_path: Path) -> None:
    write(tmp_path / "t.h5", atoms, 0, 2500, dtype="float64")
    with MomentTrajectory(tmp_path / "t.h5") as found:
        assert len(found) == 2500
        assert found.steps.tolist() == list(range(2500))
        np.testing.assert_allclose(found.times, 2.0 * np.arange(2500))
        assert np.isnan(found.energies).all()
        assert found.positions is None
        turn(atoms, 1777)
        np.testing.assert_array_equal(get_moments(found[1777]), get_moments(atoms))
        np.testing.assert_array_equal(get_moments(found[1777 - 2500]), get_moments(atoms))
        assert found[1777].info == {"step": 1777, "time_fs": 3554.0}
        assert found[0].get_chemical_symbols() == ["Fe", "O"]
        assert found[0].pbc.tolist() == [True, True, False]
        np.testing.assert_array_equal(found[0].cell.array, atoms.cell.array)
        assert [frame.info["step"] for frame in found[3:12:4]] == [3, 7, 11]
        with pytest.raises(IndexError):
            found[2500]


@pytest.mark.parametrize(("start", "stop", "step"), [(0, None, 1), (5, 2400, 7), (-10, None, 3), (0, 0, 1)])
def test_streaming_equals_slicing(atoms: Atoms, tmp_path: Path, start: int, stop: int | None, step: int) -> None:
    write(tmp_path / "t.h5", atoms, 0, 2500)
    with MomentTrajectory(tmp_path / "t.h5") as found:
        rows = list(found.iter_moments(start, stop, step))
        expected = found.moments[()][slice(start, stop, step)]
        np.testing.assert_array_equal(np.array(rows).reshape(expected.shape), expected)


def test_positions_cell_and_energies_are_kept_when_asked_for(atoms: Atoms, tmp_path: Path) -> None:
    from deepspin_ase import Heisenberg

    atoms.calc = Heisenberg(field=(100.0, 0, 0))
    clock = Steps()
    with MomentTrajectoryWriter(tmp_path / "t.h5", atoms, clock, positions=True, energies=True) as writer:
        writer()
        atoms.set_cell(1.1 * atoms.cell.array, scale_atoms=True)
        atoms.positions += 0.25
        clock.nsteps = 1
        writer()
    with MomentTrajectory(tmp_path / "t.h5") as found:
        np.testing.assert_allclose(found[1].positions, atoms.positions, rtol=1e-6)
        np.testing.assert_allclose(found[1].cell.array, atoms.cell.array)
        np.testing.assert_allclose(found[0].positions[1], [1.5, 0, 0])
        assert found[1].info["potential_energy"] == pytest.approx(atoms.get_potential_energy())


def test_restart_from_a_checkpoint_leaves_no_duplicates(atoms: Atoms, tmp_path: Path) -> None:
    """Written to step 1499, checkpoint at 1200: the continued file is that of one uninterrupted run."""
    write(tmp_path / "one.h5", atoms, 0, 2000)
    write(tmp_path / "two.h5", atoms, 0, 1500)
    write(tmp_path / "two.h5", atoms, 1200, 1201, mode="a")  # frame 1200 itself again: never doubled by a driver, but
    with MomentTrajectory(tmp_path / "two.h5") as found:  # here it is, right after its twin
        assert found.steps[-2:].tolist() == [1200, 1200]
    clock = Steps(1199)
    with MomentTrajectoryWriter(tmp_path / "two.h5", atoms, clock, mode="a") as writer:
        assert len(writer) == 1200
        for clock.nsteps in range(1200, 2000):
            turn(atoms, clock.nsteps)
            writer()
    with MomentTrajectory(tmp_path / "one.h5") as one, MomentTrajectory(tmp_path / "two.h5") as two:
        np.testing.assert_array_equal(one.steps, two.steps)
        np.testing.assert_array_equal(one.moments[()], two.moments[()])


CHILD = """
import sys, time
from ase import Atoms
from deepspin_ase import set_moments
from deepspin_plugins.spin_dynamics.trajectory import MomentTrajectoryWriter
atoms = Atoms("FeO", positions=[[0, 0, 0], [1.5, 0, 0]], cell=[3.0, 4.0, 5.0], pbc=[True, True, False])
writer, step = MomentTrajectoryWriter(sys.argv[1], atoms, positions=True), 0
while True:
    set_moments(atoms, [[step, 0, 0], [0, 0, 0]])
    writer.write(step, 2.0 * step)
    step += 1
    if step == 5000:
        print("go", flush=True)
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A file whose writer was killed with SIGKILL while it wrote as fast as it could."""
    path = tmp_path / "killed.h5"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "go\n"
        time.sleep(0.3)
        with MomentTrajectory(path) as growing:  # readable while it grows
            assert len(growing) >= 4096
        child.kill()
        child.wait()
    return path


def test_killed_run_leaves_a_readable_file_that_can_be_continued(killed: Path, atoms: Atoms) -> None:
    with MomentTrajectory(killed) as found:
        frames = len(found)
        assert frames >= 4096
        assert found.steps.tolist() == list(range(frames))
        np.testing.assert_array_equal(found.moments[:frames, 0, 0], np.arange(frames))
        assert found.positions.shape[0] >= frames
    clock = Steps(4000)
    with MomentTrajectoryWriter(killed, atoms, clock, mode="a", positions=True) as writer:
        clock.nsteps = 4001
        writer()
    with MomentTrajectory(killed) as found:
        assert found.steps.tolist() == list(range(4002))
        np.testing.assert_array_equal(found.moments[:4001, 0, 0], np.arange(4001))
    assert list(killed.parent.iterdir()) == [killed]


@pytest.mark.parametrize("frames", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_long_runs_do_not_sit_in_memory(tmp_path: Path, frames: int) -> None:
    """20 moments per frame: 5 or 24 MB on disk; writer and reader need the same small part of that."""
    atoms = Atoms("Fe20", positions=np.arange(60.0).reshape(20, 3))
    set_moments(atoms, 2.0)
    clock = Steps()
    with MomentTrajectoryWriter(tmp_path / "t.h5", atoms, clock) as writer:
        tracemalloc.start()
        for clock.nsteps in range(frames):
            writer()
        peak_writing = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (tmp_path / "t.h5").stat().st_size > 240 * frames
    with MomentTrajectory(tmp_path / "t.h5") as found:
        tracemalloc.start()
        total = sum(float(m[0, 2]) for m in found.iter_moments())
        peak_reading = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert total == 2.0 * frames
    assert max(peak_writing, peak_reading) < 2.5e6


@pytest.mark.parametrize("content", ["truncated", "foreign", "text", "empty"])
def test_damaged_and_foreign_files_are_refused(atoms: Atoms, tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.h5"
    if content == "truncated":
        write(path, atoms, 0, 3000)
        os.truncate(path, path.stat().st_size // 2)
    elif content == "foreign":
        with h5py.File(path, "w") as file:
            file["step"] = [1, 2]
    else:
        path.write_text("moments" if content == "text" else "")
    with pytest.raises(InputError, match=r"lost its end|no moment trajectory|no HDF5 file"):
        MomentTrajectory(path)
    with pytest.raises(InputError):
        MomentTrajectoryWriter(path, atoms, mode="a")


def test_truncated_file_of_a_killed_run_is_refused(killed: Path) -> None:
    os.truncate(killed, killed.stat().st_size // 3)
    with pytest.raises(InputError, match="lost its end"):
        MomentTrajectory(killed)


def test_wrong_use_is_explained(atoms: Atoms, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    with pytest.raises(InputError, match="no file"):
        MomentTrajectory(path)
    with pytest.raises(InputError, match="no clock"), MomentTrajectoryWriter(path, atoms) as writer:
        writer()
    write(path, atoms, 0, 3)
    with pytest.raises(InputError, match="another structure"):
        MomentTrajectoryWriter(path, atoms[:1], mode="a")
    with pytest.raises(InputError, match="positions=False"):
        MomentTrajectoryWriter(path, atoms, mode="a", positions=True)
    with pytest.raises(InputError, match="mode"):
        MomentTrajectoryWriter(path, atoms, mode="r")
    with pytest.raises(InputError, match="no atoms"):
        MomentTrajectoryWriter(path, Atoms())
    with MomentTrajectory(path) as found, pytest.raises(InputError, match="step"):
        list(found.iter_moments(step=-1))
