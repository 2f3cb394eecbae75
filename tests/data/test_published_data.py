"""Readers against real files, judged by physics and by each other; skipped where the files are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepspin_ase.data import Frame, inspect_frames, read_frames, write_frames
from deepspin_ase.data.conservation import net_torque_ratio
from deepspin_ase.data.inspect import split_magnetic

SPIN = {"Ni": (0.4, 1.2737)}


@pytest.fixture
def formats(shared_data: Path) -> Path:
    return shared_data / "formats"


def _stretch(frame: Frame) -> np.ndarray:
    """Parallel magnetic forces of atoms with a moment, eV/µB."""
    chosen = np.linalg.norm(frame.moments, axis=1) > 0.1
    return split_magnetic(frame.moments[chosen], frame.labels.magnetic_forces[chosen])[0]


@pytest.mark.parametrize(
    ("name", "frames", "moments", "parallel", "transverse"),
    [
        ("fcc_fe", 353, (1.02, 1.63), 213.4, 38.8),
        ("fcc_fe_sia", 164, (0.02, 1.62), 70.7, 32.6),
        ("nio_large", 80, (1.27, 1.28), 61.2, 26.7),
        ("nio_small", 120, (1.27, 1.29), 20.4, 13.6),
    ],
)
def test_published_sets(shared_data, name, frames, moments, parallel, transverse):
    report = inspect_frames(read_frames(shared_data / "dft" / f"{name}.extxyz"))
    metal = report.species["Fe" if "fe" in name else "Ni"]
    assert report.frames == report.labels["magnetic_forces"] == frames
    assert moments[0] < metal.moment_min < metal.moment_max < moments[1]
    assert metal.parallel == pytest.approx(parallel, abs=0.1)
    assert metal.transverse == pytest.approx(transverse, abs=0.1)
    assert report.net_torque < 0.03
    if name.startswith("nio"):  # labels are about 20 % smaller than the gradient of their energies
        assert report.conservation.slope == pytest.approx(1.26, abs=0.03)
    else:  # thermal displacements hide it: no number rather than a wrong one
        assert report.conservation.slope is None


def test_tensorflow_layout_has_the_frames_of_the_npy_export(shared_data, formats):
    """Six of the twenty pseudo-atom frames are in nio_large: units, scale and order must agree."""
    pseudo = read_frames(formats / "deepmd_tf", "deepmd-tf", species=["Ni", "O"], spin=SPIN)
    assert len(pseudo) == 20
    same = {round(f.labels.energy, 7): f for f in read_frames(shared_data / "dft" / "nio_large.extxyz")}
    pairs = [(f, same[round(f.labels.energy, 7)]) for f in pseudo if round(f.labels.energy, 7) in same]
    assert len(pairs) == 6
    for a, b in pairs:
        np.testing.assert_allclose(a.atoms.positions, b.atoms.positions, atol=1e-7)
        np.testing.assert_allclose(a.moments, b.moments, atol=1e-7)
        np.testing.assert_allclose(a.labels.forces, b.labels.forces, atol=1e-7)
        np.testing.assert_allclose(a.labels.magnetic_forces, b.labels.magnetic_forces, atol=1e-7)
    for frame in pseudo:
        np.testing.assert_allclose(np.linalg.norm(frame.moments[:16], axis=1), 1.2737, atol=1e-6)


def test_tensorflow_layout_is_written_as_it_was(tmp_path, formats):
    frames = read_frames(formats / "deepmd_tf" / "nio20" / "data_0", "deepmd-tf", species=["Ni", "O"], spin=SPIN)
    write_frames(tmp_path / "out", frames, "deepmd-tf", spin=SPIN)
    original = formats / "deepmd_tf" / "nio20" / "data_0"
    assert (tmp_path / "out" / "type.raw").read_text().split() == (original / "type.raw").read_text().split()
    for name in ("coord", "force", "box"):
        ours = np.load(tmp_path / "out" / "set.000" / f"{name}.npy")
        np.testing.assert_allclose(ours, np.load(original / "set.000" / f"{name}.npy"), atol=1e-9, err_msg=name)


def test_deepmd_npy(formats):
    frames = read_frames(formats / "deepmd_npy")
    assert [len(f) for f in frames] == [16, 16]
    for frame in frames:
        assert frame.labels.available == ("energy", "forces", "stress", "magnetic_forces")
        np.testing.assert_allclose(np.linalg.norm(frame.moments, axis=1), 2.2, atol=0.11)
        assert (_stretch(frame) < 0).all()  # |m| is above the equilibrium moment of iron: the force shortens it
        assert net_torque_ratio(frame) < 0.01
        # 11.18 Å³ per atom is compressed iron: it pushes outwards, the stress (tension positive) is negative
        assert frame.atoms.cell.volume / 16 == pytest.approx(11.184, abs=1e-3)
        assert (frame.labels.stress[:3] < -0.03).all()


def test_deepmd_npy_round_trip(tmp_path, formats, same_frame):
    frames = read_frames(formats / "deepmd_npy")
    write_frames(tmp_path / "out", frames, "deepmd-npy")
    write_frames(tmp_path / "out.extxyz", frames)
    for path in ("out", "out.extxyz"):
        for a, b in zip(frames, read_frames(tmp_path / path), strict=True):
            same_frame(a, b, tolerance=1e-15)


def test_abacus_scf(formats):
    (frame,) = read_frames(formats / "abacus_deltaspin" / "OUT.ABACUS" / "running_scf.log")
    assert frame.labels.energy == pytest.approx(-6818.7194095, abs=1e-7)
    np.testing.assert_allclose(frame.atoms.get_scaled_positions()[0], [0.05, 0.1, 0.15], atol=1e-9)
    np.testing.assert_allclose(frame.atoms.cell.lengths(), 2.813288, atol=1e-6)  # STRU: 1.880277359 Bohr x 2.8274254848
    np.testing.assert_allclose(frame.moments[:, 2], 2.4, atol=1e-6)
    assert (_stretch(frame) < -0.3).all()  # 2.4 µB is too long for iron


def test_abacus_sign_and_unit_of_magnetic_forces(formats):
    """From free moments (2.02 µB, F^m = 0) to 2.17 µB the energy rises by about the work against F^m."""
    frames = read_frames(formats / "abacus_deltaspin" / "OUT.ABACUS" / "running_relax.log")
    assert [f.info["step"] for f in frames] == [1, 2, 3]
    free, stretched = frames[0], frames[1]
    assert not free.labels.magnetic_forces.any()
    growth = np.linalg.norm(stretched.moments, axis=1) - np.linalg.norm(free.moments, axis=1)
    np.testing.assert_allclose(growth, 0.14, atol=0.01)
    most = -(_stretch(stretched) * growth).sum()  # if the force were constant; half of it if it grew linearly
    rise = stretched.labels.energy - free.labels.energy
    assert 0.5 * most < rise < 1.05 * most


def test_abacus_md_agrees_with_its_dump(formats):
    frames = read_frames(formats / "abacus_deltaspin" / "OUT.ABACUS" / "running_md.log")
    assert [f.info["step"] for f in frames] == [0, 1, 2, 3]
    for frame in frames:
        np.testing.assert_allclose(frame.labels.forces.sum(axis=0), 0, atol=1e-9)
    assert frames[3].atoms.positions[1, 0] == pytest.approx(1.402145298)
    assert frames[3].labels.energy == pytest.approx(-6825.6046584)
    # displaced along the way, the force of the first atom points back
    assert (frames[3].atoms.positions[0, :2] * frames[3].labels.forces[0, :2] < 0).all()


def test_vasp_deltaspin(shared_data, formats):
    (frame,) = read_frames(formats / "vasp_deltaspin")
    assert frame.labels.energy == -166.30788168
    assert list(frame.atoms.symbols) == ["Ni"] * 16 + ["O"] * 16
    np.testing.assert_allclose(frame.labels.forces.sum(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(frame.moments[:16], axis=1), 1.2737, atol=2e-3)
    assert not frame.labels.magnetic_forces[16:].any()
    assert net_torque_ratio(frame) < 0.05
    assert frame.info["spin_orbit"] is True
    others = read_frames(shared_data / "dft" / "nio_small.extxyz")  # the same cell and method
    np.testing.assert_allclose(frame.atoms.cell.array, others[0].atoms.cell.array, atol=1e-7)
    energies = [f.labels.energy for f in others]
    assert min(energies) < frame.labels.energy < max(energies)
    stretch = np.concatenate([_stretch(f) for f in others])
    assert abs(_stretch(frame).mean() - stretch.mean()) < 2 * stretch.std()
