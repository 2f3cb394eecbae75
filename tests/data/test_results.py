"""Results on disk: nothing is lost, and a run that is interrupted leaves a readable file."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet
from ase.units import fs

from deepspin_ase.data import (
    FrameError,
    ResultsWriter,
    StoredResults,
    read_frames,
    read_results,
    write_results,
)
from deepspin_ase.errors import InputError
from deepspin_ase.moments import set_moments
from deepspin_ase.quantities import ALL_PROPERTIES

SUFFIXES = pytest.mark.parametrize("suffix", ["extxyz", "traj"])


@SUFFIXES
def test_round_trip_keeps_everything(tmp_path, toy, suffix):
    path = tmp_path / f"a.{suffix}"
    images = [toy(seed=k) for k in range(3)]
    images[1].info["note"] = "hot"
    images[2].set_momenta(np.arange(12.0).reshape(4, 3))
    write_results(path, images, calculate=True)
    back = read_results(path)
    assert len(back) == 3
    for a, b in zip(images, back, strict=True):
        np.testing.assert_array_equal(b.positions, a.positions)
        np.testing.assert_array_equal(b.get_initial_magnetic_moments(), a.get_initial_magnetic_moments())
        for name in (
            "energy",
            "free_energy",
            "forces",
            "stress",
            "magmoms",
            "magnetic_forces",
            "magnetic_torques",
        ):
            expected = a.calc.get_property(name, a)
            np.testing.assert_allclose(b.calc.get_property(name, b), expected, rtol=1e-15, atol=1e-16, err_msg=name)
        np.testing.assert_array_equal(b.calc.get_magnetic_forces(b), a.calc.get_magnetic_forces(a))
    assert back[1].info == {"note": "hot"}
    assert back[0].info == {}
    np.testing.assert_array_equal(back[2].get_momenta(), images[2].get_momenta())


@SUFFIXES
def test_collinear_moments_stay_collinear(tmp_path, nio, suffix):
    set_moments(nio, [1.0, -1.0, 0.0, 0.0])
    nio.calc = StoredResults(nio, energy=-1.0, magnetic_forces=np.ones((4, 3)))
    write_results(tmp_path / f"a.{suffix}", nio)
    (back,) = read_results(tmp_path / f"a.{suffix}")
    assert back.get_initial_magnetic_moments().tolist() == [1.0, -1.0, 0.0, 0.0]
    assert back.get_magnetic_moments().shape == (4,)
    np.testing.assert_array_equal(back.calc.get_magnetic_torques(back)[1], np.cross([0, 0, -1], [1, 1, 1]))


@SUFFIXES
def test_append_and_structures_without_results(tmp_path, toy, suffix):
    path = tmp_path / f"a.{suffix}"
    bare = toy()
    bare.calc = None
    write_results(path, [bare], append=True)
    write_results(path, toy(), append=True, calculate=True)
    write_results(path, toy().repeat((2, 1, 1)), append=True)
    back = read_results(path)
    assert [len(a) for a in back] == [4, 4, 8]
    assert back[0].calc is None
    assert back[1].calc is not None
    write_results(path, toy())
    assert len(read_results(path)) == 1


def test_stale_results_are_not_written(tmp_path, toy):
    atoms = toy()
    atoms.get_potential_energy()
    moments = atoms.get_initial_magnetic_moments()
    moments[0] *= 1.1
    atoms.set_initial_magnetic_moments(moments)
    write_results(tmp_path / "a.extxyz", atoms)
    assert read_results(tmp_path / "a.extxyz")[0].calc is None


def test_stored_results_belong_to_one_state(toy):
    atoms = toy()
    atoms.calc = StoredResults(atoms, energy=-1.0, magnetic_forces=np.ones((4, 3)))
    assert atoms.get_potential_energy() == -1.0
    assert set(atoms.calc.implemented_properties) <= set(ALL_PROPERTIES)
    moments = atoms.get_initial_magnetic_moments()
    moments[0, 0] += 1e-3
    atoms.set_initial_magnetic_moments(moments)
    with pytest.raises(PropertyNotImplementedError):
        atoms.calc.get_magnetic_forces(atoms)


def test_stored_results_are_checked(toy):
    with pytest.raises(InputError, match="unknown property 'colour'"):
        StoredResults(toy(), colour=1.0)
    with pytest.raises(InputError, match="forces has 3 entries"):
        StoredResults(toy(), forces=np.zeros((3, 3)))


def test_other_programs_see_ordinary_files(tmp_path, toy):
    atoms = toy()
    write_results(tmp_path / "a.extxyz", atoms, calculate=True)
    write_results(tmp_path / "a.traj", atoms)
    for name in ("a.extxyz", "a.traj"):
        seen = ase.io.read(tmp_path / name)
        assert seen.get_potential_energy() == atoms.get_potential_energy()
        np.testing.assert_array_equal(seen.get_forces(), atoms.get_forces())
        np.testing.assert_array_equal(seen.get_stress(), atoms.get_stress())
        np.testing.assert_array_equal(seen.get_initial_magnetic_moments(), atoms.get_initial_magnetic_moments())
    assert "magnetic_forces" in ase.io.read(tmp_path / "a.extxyz").arrays
    assert "magnetic_forces" in ase.io.read(tmp_path / "a.traj").info
    frame = read_frames(tmp_path / "a.extxyz")[0]
    assert frame.labels.available == ("energy", "forces", "stress", "magnetic_forces")


@SUFFIXES
def test_files_of_other_programs_can_be_read(tmp_path, toy, suffix):
    atoms = toy()
    atoms.get_potential_energy()
    path = tmp_path / f"a.{suffix}"
    ase.io.write(path, [atoms, atoms])
    back = read_results(path)
    assert len(back) == 2
    assert back[1].get_potential_energy() == pytest.approx(atoms.get_potential_energy(), rel=1e-9)


@SUFFIXES
def test_writer_follows_a_run_and_survives_an_interruption(tmp_path, toy, suffix):
    atoms = toy()
    path = tmp_path / f"run.{suffix}"
    atoms.positions[0] += 0.05
    dyn = VelocityVerlet(atoms, 1 * fs, logfile=None)
    writer = ResultsWriter(path, atoms)
    dyn.attach(writer, interval=2)

    def stop() -> None:
        if dyn.nsteps == 7:
            raise KeyboardInterrupt

    dyn.attach(stop, interval=1)
    with pytest.raises(KeyboardInterrupt):
        dyn.run(100)
    images = read_results(path)  # the writer is still open
    assert len(images) == 4
    for image in images:
        assert image.calc.get_magnetic_forces(image).shape == (4, 3)
        assert image.get_momenta().shape == (4, 3)
    writer.close()
    with ResultsWriter(path, atoms, append=True) as again:
        again()
    assert len(read_results(path)) == 5
    np.testing.assert_array_equal(read_results(path)[-1].positions, atoms.positions)


def test_bad_names_and_damaged_files(tmp_path, toy):
    with pytest.raises(InputError, match=r"must end in .extxyz, .xyz or .traj"):
        write_results(tmp_path / "a.json", toy())
    with pytest.raises(InputError, match="no structures"):
        write_results(tmp_path / "a.traj", [])
    with pytest.raises(FileNotFoundError):
        read_results(tmp_path / "nothing.traj")
    (tmp_path / "b.traj").write_bytes(b"not a trajectory at all, but long enough for the header to be looked at")
    with pytest.raises(FrameError, match="ASE trajectory"):
        read_results(tmp_path / "b.traj")
    write_results(tmp_path / "c.extxyz", toy(), calculate=True)
    text = (tmp_path / "c.extxyz").read_text()
    (tmp_path / "c.extxyz").write_text(text[: text.rindex("Fe")])
    with pytest.raises(FrameError, match="truncated"):
        read_results(tmp_path / "c.extxyz")
