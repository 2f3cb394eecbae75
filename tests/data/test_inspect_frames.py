"""The inspection report, against data whose answers are known."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from ase import Atoms
from matplotlib.figure import Figure

from deepspin_ase.data import Frame, Labels, estimate_conservation, inspect_frames
from deepspin_ase.data.conservation import net_torque_ratio
from deepspin_ase.data.inspect import find_duplicates, split_magnetic
from deepspin_ase.errors import InputError
from deepspin_ase.moments import set_moments


def _toy_frames(toy, count, *, scale=1.0, shake=0.01, tilt=0.15, anisotropy=0.0, rotate=False) -> list[Frame]:
    """Frames around one random state; magnetic-force labels are ``scale`` times the true ones."""
    base = toy(anisotropy=anisotropy)
    start = base.get_initial_magnetic_moments()
    rng = np.random.default_rng(5)
    frames = []
    for index in range(count):
        atoms = base.copy()
        atoms.calc = base.calc
        atoms.positions += shake * rng.standard_normal((4, 3))
        moments = start + tilt * rng.standard_normal((4, 3))
        if rotate:
            q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
            moments = moments @ q
        set_moments(atoms, moments)
        frame = Frame.from_calculation(atoms, index=index)
        labels = replace(frame.labels, magnetic_forces=scale * frame.labels.magnetic_forces)
        frames.append(replace(frame, labels=labels))
    return frames


def test_counts_and_ranges(make_frames):
    frames = make_frames(3) + make_frames(1, stress=False)
    frames.append(Frame(Atoms("Fe", cell=[3, 3, 3], pbc=True), Labels(energy=-1.0)))
    report = inspect_frames(frames)
    assert report.frames == 5
    assert report.formulas == {"Ni2O2": 4, "Fe": 1}
    assert report.atoms_per_frame == (1, 4)
    assert report.labels == {"energy": 5, "forces": 4, "stress": 3, "magnetic_forces": 4}
    energies = [f.energy_per_atom for f in frames]
    assert report.energy_range == (min(energies), max(energies))
    forces = np.concatenate([f.labels.forces for f in frames[:4]])
    assert report.force_rms == pytest.approx(np.sqrt((forces**2).mean()))
    assert report.force_max == pytest.approx(np.linalg.norm(forces, axis=1).max())
    assert report.stress_max == pytest.approx(max(np.abs(f.labels.stress).max() for f in frames[:3]))
    nickel = np.concatenate([np.linalg.norm(f.moments[:2], axis=1) for f in frames[:4]])
    assert report.species["Ni"].moment_min == pytest.approx(nickel.min())
    assert report.species["Ni"].moment_max == pytest.approx(nickel.max())
    assert report.species["Ni"].labelled == 8
    assert report.species["O"].parallel is None
    assert any("stress is missing in 2 of 5" in remark for remark in report.remarks)


def test_parts_of_magnetic_forces():
    along, across = split_magnetic(np.array([[0, 0, 2.0], [3.0, 0, 0]]), np.array([[3.0, 4.0, -1.0], [0.5, 0, 0]]))
    np.testing.assert_allclose(along, [-1.0, 0.5])
    np.testing.assert_allclose(across, [5.0, 0.0])


def test_missing_magnetic_forces_are_counted(nio):
    field = np.full((4, 3), np.nan)
    field[0] = [0, 0.3, 0.4]
    report = inspect_frames([Frame(nio, Labels(magnetic_forces=field))])
    nickel = report.species["Ni"]
    assert (nickel.labelled, nickel.missing) == (1, 1)
    assert nickel.parallel == pytest.approx(400)
    assert nickel.transverse == pytest.approx(300)
    assert "label missing on 1 of 2 atoms" in report.to_text()


def test_duplicates(make_frames):
    frames = make_frames(4)
    twin = Frame(frames[1].atoms, Labels(), index=9)
    turned = frames[1].atoms.copy()
    set_moments(turned, -frames[1].moments)
    assert find_duplicates([*frames, twin, Frame(turned)]) == [(1, 4)]
    nearly = frames[2].atoms.copy()
    nearly.positions += 2e-6
    assert find_duplicates([*frames, Frame(nearly)]) == [(2, 4)]


def test_net_torque_tells_spin_orbit_coupling(toy):
    free = _toy_frames(toy, 5)
    assert max(net_torque_ratio(f) for f in free) < 1e-12
    assert inspect_frames(free).net_torque < 1e-12
    pinned = _toy_frames(toy, 5, anisotropy=0.1)
    assert inspect_frames(pinned).net_torque > 0.1
    assert "spin-orbit" in inspect_frames(pinned).to_text()


def test_net_torque_of_a_collinear_state_is_not_made_up(nio):
    field = np.zeros((4, 3))
    field[:2, 2] = -0.3
    field[0, 0] = 1e-7
    assert net_torque_ratio(Frame(nio, Labels(magnetic_forces=field))) is None


@pytest.mark.parametrize("scale", [1.0, 0.8])
@pytest.mark.parametrize("rotate", [False, True], ids=["one orientation", "any orientation"])
def test_scale_of_labels_is_found(toy, scale, rotate):
    estimate = estimate_conservation(_toy_frames(toy, 60, scale=scale, rotate=rotate))
    assert estimate.reason == ""
    assert estimate.label_scale == pytest.approx(scale, abs=max(3 * estimate.error * scale**2, 0.01))
    assert estimate.error < 0.02
    assert estimate.force_slope == pytest.approx(1.0, abs=3 * estimate.force_error)


def test_orientation_counts_where_there_is_anisotropy(toy):
    """Frames may be turned onto each other only if that costs no energy."""
    estimate = estimate_conservation(_toy_frames(toy, 60, anisotropy=0.1))
    assert estimate.slope == pytest.approx(1.0, abs=0.03)


def test_estimate_is_refused_where_labels_are_noise(toy):
    frames = _toy_frames(toy, 60)
    rng = np.random.default_rng(1)
    noisy = [replace(f, labels=replace(f.labels, magnetic_forces=rng.standard_normal((4, 3)))) for f in frames]
    estimate = estimate_conservation(noisy)
    assert estimate.slope is None
    assert estimate.label_scale is None
    assert "cannot be estimated" in estimate.to_text()


def test_estimate_is_refused_where_positions_dominate(toy):
    frames = _toy_frames(toy, 60, tilt=0.01)
    rng = np.random.default_rng(1)
    wrong = [
        replace(f, labels=replace(f.labels, energy=f.labels.energy + 0.05 * rng.standard_normal())) for f in frames
    ]
    assert "unexplained" in estimate_conservation(wrong).reason


def test_estimate_needs_enough_frames(make_frames, toy):
    assert "fewer than three" in estimate_conservation(make_frames(2)).reason
    assert "only 45 pairs" in estimate_conservation(_toy_frames(toy, 10)).reason
    unlabelled = [Frame(f.atoms) for f in make_frames(5)]
    assert "fewer than three" in estimate_conservation(unlabelled).reason


def test_remarks(nio, make_frames):
    frame = make_frames(1)[0]
    idle = Frame(nio, Labels(magnetic_forces=np.zeros((4, 3))))
    report = inspect_frames([frame, frame, idle])
    text = report.to_text()
    assert "all magnetic forces are exactly 0 in 1 frame(s), first 2" in text
    assert "frames 0 and 1 are the same structure" in text
    assert "forces do not sum to zero" in text
    assert "no frame has moments" in inspect_frames([Frame(Atoms("Fe"))]).to_text()


def test_report_is_frozen_and_saved(tmp_path, make_frames):
    report = inspect_frames(make_frames(3))
    with pytest.raises(FrozenInstanceError):
        report.frames = 0
    with pytest.raises(ValueError, match="read-only"):
        report.histograms["energy:"][0] = 0
    report.save(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["frames"] == 3
    assert content["species"]["Ni"]["labelled"] == 6
    assert content["conservation"]["slope"] is None


def test_picture(tmp_path, make_frames):
    report = inspect_frames(make_frames(4))
    figure = report.plot()
    assert [axis.get_xlabel() for axis in figure.axes][2] == "|m| (µB)"
    figure.savefig(tmp_path / "a.png")
    own = Figure()
    assert report.plot(own) is own
    bare = inspect_frames([Frame(Atoms("Fe"))]).plot()
    assert all("no labels" in axis.texts[0].get_text() for axis in bare.axes)
    bare.savefig(tmp_path / "b.png")


def test_nothing_to_inspect():
    with pytest.raises(InputError, match="no frames"):
        inspect_frames([])
