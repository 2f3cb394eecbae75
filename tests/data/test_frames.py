"""Labels, frames, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from deepspin_ase.data import Frame, FrameError, Labels, PlausibleLimits, StoredResults, check_plausible
from deepspin_ase.data.frames import stress_to_virial, virial_to_stress
from deepspin_ase.errors import DeepSpinError, InputError
from deepspin_ase.moments import set_moments


def test_labels_are_read_only_copies():
    forces = np.ones((2, 3))
    labels = Labels(forces=forces)
    forces[:] = 5.0
    assert labels.forces.max() == 1.0
    with pytest.raises(ValueError, match="read-only"):
        labels.forces[0, 0] = 2.0
    assert labels.available == ("forces",)


def test_labels_that_are_nan_throughout_are_missing():
    labels = Labels(float("nan"), np.full((2, 3), np.nan), np.full(6, np.nan), np.full((2, 3), np.nan))
    assert labels.available == ()


def test_magnetic_forces_may_lack_rows_but_not_components():
    values = np.zeros((2, 3))
    values[1] = np.nan
    np.testing.assert_array_equal(Labels(magnetic_forces=values).magnetic_forces, values)
    values[1, 0] = 1.0
    with pytest.raises(FrameError, match="atom 1"):
        Labels(magnetic_forces=values)


@pytest.mark.parametrize(
    "labels",
    [
        {"energy": np.inf},
        {"energy": np.zeros(2)},
        {"forces": np.zeros(3)},
        {"forces": [[0, 0, np.nan], [0, 0, 0]]},
        {"forces": [[0, 0, np.inf]]},
        {"stress": np.zeros(5)},
        {"stress": [1, 2, 3, np.nan, 0, 0]},
        {"stress": [[0, 1, 0], [0, 0, 0], [0, 0, 0]]},
        {"magnetic_forces": np.zeros((2, 2))},
    ],
    ids=str,
)
def test_malformed_labels_are_refused(labels):
    with pytest.raises(FrameError):
        Labels(**labels)


def test_stress_matrix_becomes_voigt():
    matrix = [[1, 6, 5], [6, 2, 4], [5, 4, 3]]
    np.testing.assert_array_equal(Labels(stress=matrix).stress, [1, 2, 3, 4, 5, 6])


def test_virial_is_minus_volume_times_stress():
    stress = np.array([0.1, 0.2, 0.3, 0.01, 0.02, 0.03])
    virial = stress_to_virial(stress, 50.0)
    assert virial[0, 0] == pytest.approx(-5.0)
    assert virial[1, 2] == virial[2, 1] == pytest.approx(-0.5)
    np.testing.assert_allclose(virial_to_stress(virial, 50.0), stress, rtol=1e-14)


def test_frame_owns_its_state_and_moments_become_vectors():
    atoms = Atoms("FeO", positions=[[0, 0, 0], [0, 0, 2]])
    atoms.set_initial_magnetic_moments([2.0, 0.0])
    frame = Frame(atoms)
    atoms.positions += 1
    np.testing.assert_array_equal(frame.atoms.positions[0], 0)
    np.testing.assert_array_equal(frame.moments, [[0, 0, 2], [0, 0, 0]])
    assert frame.atoms.get_initial_magnetic_moments().shape == (2, 3)
    assert len(frame) == 2
    assert frame.energy_per_atom is None


@pytest.mark.parametrize("what", ["positions", "moments", "labels", "no atoms"])
def test_inconsistent_frames_are_refused_with_their_place(what):
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 2]])
    labels = Labels()
    if what == "positions":
        atoms.positions[1, 0] = np.nan
    elif what == "moments":
        atoms.set_initial_magnetic_moments([[0, 0, 0], [0, np.inf, 0]])
    elif what == "labels":
        labels = Labels(forces=np.zeros((3, 3)))
    else:
        atoms = Atoms()
    with pytest.raises(FrameError, match="somewhere, frame 4: ") as caught:
        Frame(atoms, labels, source="somewhere", index=4)
    assert caught.value.frame == 4


def test_frame_error_is_a_value_error_of_this_package():
    error = FrameError("wrong", source="a.xyz", frame=0, line=3)
    assert isinstance(error, (InputError, ValueError))
    assert isinstance(error, DeepSpinError)
    assert str(error) == "a.xyz, frame 0, line 3: wrong"


def test_frame_from_calculation_takes_what_the_calculator_has(nio):
    nio.calc = StoredResults(nio, energy=-1.0, forces=np.ones((4, 3)), magnetic_forces=np.full((4, 3), 0.2))
    frame = Frame.from_calculation(nio, source="run", info={"step": 3})
    assert frame.labels.available == ("energy", "forces", "magnetic_forces")
    np.testing.assert_array_equal(frame.labels.magnetic_forces, 0.2)
    assert frame.info == {"step": 3}
    with pytest.raises(InputError, match="no calculator"):
        Frame.from_calculation(frame.atoms)


def test_frame_to_atoms_returns_all_labels(make_frames):
    frame = make_frames(1)[0]
    atoms = frame.to_atoms()
    assert atoms.get_potential_energy() == frame.labels.energy
    np.testing.assert_array_equal(atoms.get_forces(), frame.labels.forces)
    np.testing.assert_array_equal(atoms.get_stress(), frame.labels.stress)
    np.testing.assert_array_equal(atoms.calc.get_property("magnetic_forces", atoms), frame.labels.magnetic_forces)
    torques = np.cross(frame.moments, frame.labels.magnetic_forces)
    np.testing.assert_allclose(atoms.calc.get_property("magnetic_torques", atoms), torques, atol=1e-15)


def _broken(frame: Frame, what: str) -> Frame:
    atoms, labels = frame.atoms.copy(), frame.labels.as_dict()
    if what == "atom listed twice":
        atoms.positions[3] = atoms.positions[2] + atoms.cell[0]
    elif what == "nanometres":
        atoms.set_cell(0.1 * atoms.cell.array, scale_atoms=True)
    elif what == "fractions":
        atoms = atoms.repeat(2)
        atoms.positions = atoms.get_scaled_positions()
        labels = {}
    elif what == "no cell":
        atoms.cell[:] = 0
    elif what == "flat cell":
        atoms.cell[2] = atoms.cell[1]
    elif what == "moment":
        set_moments(atoms, 50 * frame.moments)
    elif what == "force":
        labels["forces"] = labels["forces"] * 1e5
    elif what == "magnetic force":
        labels["magnetic_forces"] = labels["magnetic_forces"] * 1.7e4
    elif what == "stress":
        labels["stress"] = labels["stress"] * 1.6e5
    elif what == "energy":
        labels["energy"] = 1e8
    elif what == "moments not read":
        set_moments(atoms, 0.0)
    return Frame(atoms, Labels(**labels), source="x", index=2)


IMPLAUSIBLE = (
    "atom listed twice, nanometres, fractions, no cell, flat cell, moment, force, magnetic force, stress, "
    "energy, moments not read"
)


@pytest.mark.parametrize("what", IMPLAUSIBLE.split(", "))
def test_implausible_frames_are_refused(make_frames, what):
    frame = make_frames(1)[0]
    check_plausible(frame)
    with pytest.raises(FrameError, match="x, frame 2: "):
        check_plausible(_broken(frame, what))


def test_distance_check_names_both_atoms_and_sees_periodic_images(make_frames):
    with pytest.raises(FrameError, match=r"atoms 2 \(O\) and 3 \(O\) are 0.0000 Å apart"):
        check_plausible(_broken(make_frames(1)[0], "atom listed twice"))


@pytest.mark.parametrize("pbc", [False, True, (True, True, False)])
def test_sparse_and_isolated_systems_are_plausible(pbc):
    check_plausible(Frame(Atoms("Fe", cell=[30, 30, 30], pbc=pbc)))
    check_plausible(Frame(Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 25]], cell=[30, 30, 30], pbc=pbc)))


def test_close_atoms_are_found_as_a_full_neighbour_list_finds_them(rng):
    """Skewed cells, atoms outside of the cell, partial periodicity; against ASE's neighbour list."""
    outcomes = set()
    for trial in range(60):
        pbc = rng.integers(0, 2, 3).astype(bool)
        cell = 3 * np.eye(3) + 1.5 * rng.standard_normal((3, 3))
        atoms = Atoms("Fe6", positions=6 * rng.standard_normal((6, 3)), cell=cell, pbc=pbc)
        if (atoms.cell.lengths() < 1.0).any() or 1 / np.linalg.norm(np.linalg.inv(cell), axis=0).max() < 1.0:
            continue
        close = len(neighbor_list("d", atoms, 0.8)) > 0
        outcomes.add(close)
        try:
            check_plausible(Frame(atoms), PlausibleLimits(distance=0.8))
        except FrameError:
            assert close, trial
        else:
            assert not close, trial
    assert outcomes == {True, False}


def test_limits_can_be_changed(make_frames):
    frame = make_frames(1)[0]
    with pytest.raises(FrameError, match=r"limit 0.1"):
        check_plausible(frame, PlausibleLimits(moment=0.1))
    check_plausible(_broken(frame, "force"), PlausibleLimits(force=1e7))
