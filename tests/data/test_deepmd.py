"""The two DeePMD-kit layouts."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from deepspin_ase.data import Frame, FrameError, Labels, guess_format, read_frames, write_frames
from deepspin_ase.errors import InputError
from deepspin_ase.moments import set_moments

SPIN = {"Ni": (0.4, 1.2737)}


@pytest.fixture
def system(tmp_path):
    """A hand-made npy system: two sets (2 + 1 frames) of FeO in a box of 4 x 4 x 4 Å."""
    root = tmp_path / "system"
    root.mkdir()
    (root / "type.raw").write_text("1\n0\n")
    (root / "type_map.raw").write_text("O\nFe\n")
    for name, frames in (("set.000", 2), ("set.001", 1)):
        d = root / name
        d.mkdir()
        np.save(d / "coord.npy", np.tile([0.0, 0, 0, 2.0, 0, 0], (frames, 1)))
        np.save(d / "box.npy", np.tile(4 * np.eye(3).ravel(), (frames, 1)))
        np.save(d / "energy.npy", -1.0 - np.arange(frames).reshape(-1, 1))
        np.save(d / "force.npy", np.tile(np.arange(6.0), (frames, 1)).astype(np.float32))
        np.save(d / "spin.npy", np.tile([0.1, 0, 2.0, 0, 0, 0], (frames, 1)))
        np.save(d / "force_mag.npy", np.tile([0.01, 0.02, -0.3, 0, 0, 0], (frames, 1)))
        np.save(d / "virial.npy", np.tile([6.4, 0, 3.2, 0, 0, 0, 3.2, 0, -6.4], (frames, 1)))
    return root


def test_npy_layout(system):
    assert guess_format(system) == guess_format(system.parent) == "deepmd-npy"
    frames = read_frames(system.parent)
    assert [f.index for f in frames] == [0, 1, 2]
    assert [f.labels.energy for f in frames] == [-1.0, -2.0, -1.0]
    frame = frames[2]
    assert list(frame.atoms.symbols) == ["Fe", "O"]
    assert frame.atoms.pbc.all()
    np.testing.assert_array_equal(frame.moments, [[0.1, 0, 2], [0, 0, 0]])
    np.testing.assert_array_equal(frame.labels.magnetic_forces[0], [0.01, 0.02, -0.3])
    np.testing.assert_array_equal(frame.labels.forces[1], [3, 4, 5])
    np.testing.assert_allclose(frame.labels.stress, [-0.1, 0, 0.1, 0, -0.05, 0], atol=1e-15)


def test_npy_labels_may_be_missing(system):
    for name in ("energy", "force", "virial", "spin", "force_mag"):
        for directory in system.glob("set.*"):
            (directory / f"{name}.npy").unlink()
    frame = read_frames(system)[0]
    assert frame.labels.available == ()
    assert not frame.moments.any()


def test_npy_mixed_types_and_padding(system):
    for directory in system.glob("set.*"):
        count = len(np.load(directory / "coord.npy"))
        np.save(directory / "real_atom_types.npy", np.tile([1, -1], (count, 1)))
    np.save(system / "set.000" / "real_atom_types.npy", np.array([[1, 0], [0, 1]]))
    frames = read_frames(system)
    assert [str(f.atoms.symbols) for f in frames] == ["FeO", "OFe", "Fe"]
    assert frames[2].labels.forces.shape == (1, 3)


def test_npy_isolated_system(system):
    (system / "nopbc").touch()
    for directory in system.glob("set.*"):
        (directory / "box.npy").unlink()
        (directory / "virial.npy").unlink()
    assert not read_frames(system)[0].atoms.pbc.any()


def _cut(file):
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda d: (d / "type.raw").write_text("1\n0\n0\n"),
            r"coord.npy: has shape \(2, 6\); expected \(frames, 9\)",
        ),
        (lambda d: (d / "type.raw").write_text("1\n2\n"), "type 2 has no name.*deepmd-tf"),
        (lambda d: (d / "type.raw").write_text("1\nx\n"), "integers"),
        (lambda d: (d / "type.raw").write_text(""), "type index"),
        (lambda d: (d / "type_map.raw").write_text("O Feo\n"), "no chemical symbols"),
        (lambda d: (d / "type_map.raw").unlink(), "give species="),
        (lambda d: _cut(d / "set.000" / "spin.npy"), "spin.npy: cannot be read, is it truncated"),
        (lambda d: (d / "set.000" / "spin.npy").write_bytes(b""), "spin.npy: cannot be read"),
        (lambda d: (d / "set.000" / "coord.npy").unlink(), "coord.npy is missing"),
        (lambda d: (d / "set.001" / "box.npy").unlink(), "box.npy is missing"),
        (lambda d: (d / "set.001" / "spin.npy").unlink(), "force_mag.npy without spin.npy"),
        (lambda d: np.save(d / "set.001" / "energy.npy", np.zeros((2, 1))), "energy.npy: has 2 frames, but"),
        (lambda d: np.save(d / "set.000" / "force.npy", np.diag([np.inf, 0, 0, 0, 0, 0])[:2]), "is infinite"),
        (lambda d: np.save(d / "set.000" / "coord.npy", np.zeros((2, 6))), "atoms 0 .* are 0.0000 Å apart"),
    ],
)
def test_damaged_npy_systems_are_refused(system, damage, says):
    damage(system)
    with pytest.raises(FrameError, match=says):
        read_frames(system, "deepmd-npy")


def test_npy_round_trip(tmp_path, make_frames, same_frame):
    frames = make_frames(5)
    write_frames(tmp_path / "out", frames, "deepmd-npy", set_size=2)
    assert len(list((tmp_path / "out").glob("set.*"))) == 3
    for a, b in zip(frames, read_frames(tmp_path / "out"), strict=True):
        same_frame(a, b, tolerance=1e-15)


def test_npy_writer_separates_what_one_system_cannot_hold(tmp_path, make_frames):
    frames = make_frames(2) + make_frames(1, stress=False)
    frames.append(Frame(Atoms("Fe", cell=[3, 3, 3], pbc=True), Labels(energy=-1.0)))
    frames.append(Frame(Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 2]]), Labels(energy=-2.0)))
    write_frames(tmp_path / "out", frames, "deepmd-npy")
    systems = sorted(tmp_path.glob("out/system.*"))
    assert len(systems) == 4
    assert len({(s / "type_map.raw").read_text() for s in systems}) == 1
    back = read_frames(tmp_path / "out")
    assert [f.labels.available for f in back] == [f.labels.available for f in frames]
    assert not back[-1].atoms.pbc.any()


def test_old_systems_are_not_mixed_with_new_ones(tmp_path, make_frames):
    write_frames(tmp_path / "out", make_frames(1) + make_frames(1, stress=False), "deepmd-npy")
    frames = make_frames(1)
    with pytest.raises(InputError, match="already holds 2 deepmd system"):
        write_frames(tmp_path / "out", frames, "deepmd-npy")
    write_frames(tmp_path / "out", frames, "deepmd-npy", overwrite=True)
    assert len(read_frames(tmp_path / "out")) == 1


def test_npy_writer_refuses_what_would_be_lost(tmp_path, nio):
    field = np.zeros((4, 3))
    field[3] = np.nan  # no moment there: fine
    write_frames(tmp_path / "a", [Frame(nio, Labels(magnetic_forces=field))], "deepmd-npy")
    assert read_frames(tmp_path / "a")[0].labels.magnetic_forces[3].tolist() == [0, 0, 0]
    field[0] = np.nan
    with pytest.raises(FrameError, match="atom 0 has a moment but no magnetic force"):
        write_frames(tmp_path / "b", [Frame(nio, Labels(magnetic_forces=field))], "deepmd-npy")
    nio.pbc = [True, True, False]
    with pytest.raises(FrameError, match="periodic"):
        write_frames(tmp_path / "c", [Frame(nio)], "deepmd-npy")
    with pytest.raises(FrameError, match=r"\['O'\] not in type_map"):
        write_frames(tmp_path / "d", [Frame(nio)], "deepmd-npy", type_map=["Ni"])


@pytest.fixture
def pseudo(tmp_path):
    """A hand-made TensorFlow system: Fe Co O with two magnetic species; one pseudo atom is wrapped."""
    root = tmp_path / "tf"
    (root / "set.000").mkdir(parents=True)
    (root / "type.raw").write_text("0 1 2 3 4\n")
    real = np.array([[0.0, 0, 0], [2.0, 0, 0], [2.0, 2.0, 0]])
    moments = np.array([[0.0, 0.0, -2.0], [1.0, 0.0, 0.0]])
    ghosts = real[:2] + moments * np.array([[0.3 / 2.2], [0.2 / 1.6]])
    ghosts[0, 2] += 4.0
    forces = np.arange(15.0).reshape(5, 3) / 100
    np.save(root / "set.000" / "coord.npy", np.concatenate([real, ghosts]).reshape(1, -1))
    np.save(root / "set.000" / "box.npy", 4 * np.eye(3).reshape(1, 9))
    np.save(root / "set.000" / "energy.npy", np.array([-3.0]))
    np.save(root / "set.000" / "force.npy", forces.reshape(1, -1))
    return root


TWO = {"Co": (0.2, 1.6), "Fe": (0.3, 2.2)}


def test_pseudo_atoms_become_moments(pseudo):
    assert guess_format(pseudo) == "deepmd-tf"
    frame = read_frames(pseudo, species=["Fe", "Co", "O"], spin=TWO)[0]
    np.testing.assert_allclose(frame.moments, [[0, 0, -2], [1, 0, 0], [0, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(frame.labels.forces, np.arange(9.0).reshape(3, 3) / 100)
    np.testing.assert_allclose(frame.labels.magnetic_forces[:2], np.arange(9.0, 15.0).reshape(2, 3) / 100)
    np.testing.assert_array_equal(frame.labels.magnetic_forces[2], 0.0)


@pytest.mark.parametrize("names", ["Fe Co O", "Fe Co O Fe_spin Co_spin"])
def test_names_of_types_may_be_in_the_directory(pseudo, names):
    (pseudo / "type_map.raw").write_text("\n".join(names.split()))
    assert str(read_frames(pseudo, "deepmd-tf", spin=TWO)[0].atoms.symbols) == "FeCoO"


@pytest.mark.parametrize(
    ("types", "options", "says"),
    [
        ("0 1 2 3 4", {"species": ["Fe", "Co", "O"]}, "needs the option 'spin'"),
        ("0 1 2 3 4", {"spin": TWO}, "give species="),
        ("0 1 2 3 4", {"species": ["Fe", "Co", "O"], "spin": {"Ni": (1, 1)}}, "spin names 'Ni'"),
        ("0 1 2 3 4", {"species": ["Fe", "Co", "O"], "spin": {"Fe": (0.3, 2.2)}}, "type 4 is neither"),
        (
            "0 1 2 3 3",
            {"species": ["Fe", "Co", "O"], "spin": TWO},
            "1 Fe atoms, but 2 pseudo atoms of type 3",
        ),
        ("0 1 3 2 4", {"species": ["Fe", "Co", "O"], "spin": TWO}, "real atoms must come first"),
        ("0 1 2 3", {"species": ["Fe", "Co", "O"], "spin": TWO}, "1 Co atoms, but 0"),
        ("0 1 2 3 4", {"species": ["Fe", "Co", "O"], "spin": {**TWO, "Fe": (0.0, 2.2)}}, "both > 0"),
    ],
)
def test_pseudo_atoms_that_do_not_fit(pseudo, types, options, says):
    (pseudo / "type.raw").write_text(types)
    with pytest.raises(InputError, match=says):
        read_frames(pseudo, "deepmd-tf", **options)


def test_wrong_virtual_length_is_noticed_by_the_size_of_the_moments(pseudo):
    with pytest.raises(FrameError, match=r"\|m\| of atom 0"):
        read_frames(pseudo, species=["Fe", "Co", "O"], spin={"Co": (0.2, 1.6), "Fe": (0.003, 2.2)})


def _reordered(frame, order):
    labels = frame.labels.as_dict()
    labels.update({name: labels[name][order] for name in ("forces", "magnetic_forces")})
    return Frame(frame.atoms[order], Labels(**labels))


def test_tf_round_trip_sorts_by_species(tmp_path, make_frames, same_frame):
    frames = [_reordered(f, [2, 0, 3, 1]) for f in make_frames(3)]
    write_frames(tmp_path / "out", frames, "deepmd-tf", spin=SPIN, species=["Ni", "O"])
    back = read_frames(tmp_path / "out", "deepmd-tf", spin=SPIN)
    assert str(back[0].atoms.symbols) == "Ni2O2"
    for a, b in zip(frames, back, strict=True):
        same_frame(_reordered(a, [1, 3, 0, 2]), b, tolerance=1e-14)


def test_tf_pseudo_positions(tmp_path, make_frames):
    frame = make_frames(1)[0]
    write_frames(tmp_path / "out", [frame], "deepmd-tf", spin=SPIN)
    coord = np.load(tmp_path / "out" / "set.000" / "coord.npy").reshape(6, 3)
    np.testing.assert_allclose(coord[4:], frame.atoms.positions[:2] + 0.4 / 1.2737 * frame.moments[:2], rtol=1e-14)
    assert (tmp_path / "out" / "type.raw").read_text().split() == ["0", "0", "1", "1", "2", "2"]


def test_tf_writer_refuses_what_would_be_lost(tmp_path, make_frames):
    frame = make_frames(1)[0]
    half = Frame(frame.atoms, Labels(forces=frame.labels.forces))
    with pytest.raises(FrameError, match="both or neither"):
        write_frames(tmp_path / "a", [half], "deepmd-tf", spin=SPIN)
    atoms = frame.atoms.copy()
    set_moments(atoms, 0.1)
    with pytest.raises(FrameError, match="their moments would be lost"):
        write_frames(tmp_path / "a", [Frame(atoms)], "deepmd-tf", spin=SPIN)
    assert not (tmp_path / "a").exists()
