"""Extended XYZ: round trips, other people's habits, damaged files."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from deepspin_ase.data import Frame, FrameError, Labels, guess_format, read_frames, write_frames
from deepspin_ase.errors import InputError


def test_round_trip_is_exact(tmp_path, make_frames, same_frame):
    frames = make_frames(3)
    path = tmp_path / "deep" / "frames.extxyz"
    write_frames(path, frames)
    assert guess_format(path) == "extxyz"
    back = read_frames(path)
    assert [f.index for f in back] == [0, 1, 2]
    assert back[1].info == {"run": 7}
    assert back[1].source == str(path)
    for a, b in zip(frames, back, strict=True):
        same_frame(a, b)


def test_compressed_files_are_like_others(tmp_path, make_frames, same_frame):
    frames = make_frames(3)
    path = tmp_path / "frames.extxyz.gz"
    write_frames(path, frames)
    first = path.read_bytes()
    write_frames(path, frames)
    assert path.read_bytes() == first  # no time stamp
    assert guess_format(path) == "extxyz"
    for a, b in zip(frames, read_frames(path), strict=True):
        same_frame(a, b)
    write_frames(path, frames[:1], format="extxyz", append=True)
    assert len(read_frames(path)) == 4
    assert len(ase.io.read(path, ":")) == 4
    path.rename(tmp_path / "no_name_says_so")
    assert len(read_frames(tmp_path / "no_name_says_so")) == 4


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:40] + b"????" + b[44:], lambda b: b[:5]])
def test_damaged_compressed_files_are_refused(tmp_path, make_frames, damage):
    path = tmp_path / "frames.extxyz.gz"
    write_frames(path, make_frames(3))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FrameError, match="truncated or damaged"):
        read_frames(path)


def test_missing_labels_and_other_arrays_survive(tmp_path, nio, same_frame):
    field = np.zeros((4, 3))
    field[2:] = np.nan
    nio.set_array("charge_state", np.arange(4))
    nio.pbc = [True, True, False]
    frame = Frame(nio, Labels(magnetic_forces=field))
    write_frames(tmp_path / "a.xyz", [frame])
    back = read_frames(tmp_path / "a.xyz")[0]
    assert back.labels.available == ("magnetic_forces",)
    np.testing.assert_array_equal(back.labels.magnetic_forces, field)
    np.testing.assert_array_equal(back.atoms.arrays["charge_state"], np.arange(4))
    np.testing.assert_array_equal(back.atoms.pbc, nio.pbc)


def test_ase_reads_what_is_written(tmp_path, make_frames):
    frame = make_frames(1)[0]
    write_frames(tmp_path / "a.extxyz", [frame])
    atoms = ase.io.read(tmp_path / "a.extxyz")
    assert atoms.info["REF_energy"] == frame.labels.energy
    np.testing.assert_array_equal(atoms.arrays["REF_magnetic_forces"], frame.labels.magnetic_forces)
    np.testing.assert_array_equal(atoms.get_initial_magnetic_moments(), frame.moments)
    np.testing.assert_array_equal(atoms.info["REF_stress"], frame.labels.stress)


def test_append(tmp_path, make_frames):
    frames = make_frames(2)
    path = tmp_path / "a.extxyz"
    write_frames(path, frames[:1])
    write_frames(path, frames[1:], append=True)
    assert [f.labels.energy for f in read_frames(path)] == [f.labels.energy for f in frames]


def test_results_that_ase_moves_into_a_calculator_are_labels(tmp_path, nio):
    forces, stress = np.arange(12.0).reshape(4, 3), np.arange(6.0) / 100
    nio.calc = SinglePointCalculator(nio, energy=-3.0, forces=forces, stress=stress)
    ase.io.write(tmp_path / "a.extxyz", nio)
    frame = read_frames(tmp_path / "a.extxyz")[0]
    assert frame.labels.energy == -3.0
    np.testing.assert_allclose(frame.labels.forces, forces)
    np.testing.assert_allclose(frame.labels.stress, stress)
    assert frame.moments[0, 2] == 1.27
    assert frame.info == {}


def _text(header: str, columns: str = "", values: str = "", *, atoms: int = 2) -> str:
    rows = "".join(f"Fe 0 0 {2 * k} {values}\n" for k in range(atoms))
    return f'{atoms}\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3{columns} {header}\n{rows}'


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        (":initial_magmoms:R:3:REF_magnetic_forces:R:3", {}),
        (":REF_magmom:R:3:REF_magforces:R:3", {}),
        (":magmoms:R:3:magforces:R:3", {}),
        (":magmom:R:3:magnetic_forces:R:3", {}),
        (":spin:R:3:force_mag:R:3", {}),
        (":m0:R:3:lambda:R:3", {"moments_key": "m0", "magnetic_forces_key": "lambda"}),
    ],
)
def test_column_names_of_others(tmp_path, columns, key):
    path = tmp_path / "a.xyz"
    path.write_text(_text("dft_energy=-7.5", columns, "1 2 3 0.1 0.2 0.3"))
    frame = read_frames(path, **key)[0]
    assert frame.labels.energy == -7.5
    np.testing.assert_array_equal(frame.moments, [[1, 2, 3]] * 2)
    np.testing.assert_array_equal(frame.labels.magnetic_forces, [[0.1, 0.2, 0.3]] * 2)
    assert set(frame.atoms.arrays) == {"numbers", "positions", "initial_magmoms"}


def test_named_key_wins_over_the_usual_one(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(_text("REF_energy=-1 other=-2 energy=-3"))
    assert read_frames(path)[0].labels.energy == -1
    assert read_frames(path, energy_key="other")[0].labels.energy == -2
    assert read_frames(path, energy_key="energy")[0].labels.energy == -3


@pytest.mark.parametrize("name", ["initial_magmoms", "magmoms", "REF_magmom"])
def test_scalar_moments_are_along_z(tmp_path, name):
    path = tmp_path / "a.xyz"
    path.write_text(_text("", f":{name}:R:1", "-2.2"))
    np.testing.assert_array_equal(read_frames(path)[0].moments, [[0, 0, -2.2]] * 2)


@pytest.mark.parametrize("name", ["virial", "REF_virial"])
def test_virial_becomes_stress(tmp_path, name):
    path = tmp_path / "a.xyz"
    path.write_text(_text(f'{name}="6.4 0 0 0 3.2 0 0 0 0"'))
    np.testing.assert_allclose(read_frames(path)[0].labels.stress, [-0.1, -0.05, 0, 0, 0, 0])


def test_stress_of_nine_components(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(_text('REF_stress="1 6 5 6 2 4 5 4 3"'))
    np.testing.assert_array_equal(read_frames(path)[0].labels.stress, [1, 2, 3, 4, 5, 6])


def test_unknown_key_lists_what_there_is(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(_text("E0=-7.5"))
    with pytest.raises(FrameError, match=r"'nope' \(for energy\); the first one has: E0"):
        read_frames(path, energy_key="nope")


GOOD = _text("REF_energy=-1", ":REF_forces:R:3", "0 0 0")


@pytest.mark.parametrize(
    ("damage", "frame", "line", "says"),
    [
        (lambda s: s[: s.rindex("Fe")], 1, 5, "ends after 1 of 2 atoms"),
        (lambda s: s.rsplit("\n", 3)[0] + "\n", 1, 5, "truncated"),
        (lambda s: s[:-3] + "\n", 1, 8, "6 columns, but Properties announces 7"),
        (lambda s: s.replace("Fe 0 0 0 0 0 0", "Fe 0 0 0 0 0 0 9", 1), 0, 3, "8 columns"),
        (lambda s: s.replace("2\n", "3\n", 1), 0, 5, "columns"),
        (lambda s: s.replace("2\n", "1\n", 1), 1, 4, "expected a number of atoms"),
        (lambda s: s.replace("0 0 0\n", "0 *** 0\n", 1), 0, 3, "cannot be read"),
        (lambda s: s.replace("0 0 0\n", "0 nan 0\n", 1), 0, 1, "not a number"),
        (lambda s: s.replace("Fe", "Qq", 1), 0, 2, "cannot be read"),
        (lambda s: s.replace("REF_energy=-1", "REF_energy=high", 1), 0, 1, "must be one number"),
        (lambda s: s.replace('4"', '"', 1), 0, 2, "cannot be read"),
    ],
)
def test_damaged_files_name_frame_and_line(tmp_path, damage, frame, line, says):
    path = tmp_path / "a.xyz"
    path.write_text(GOOD + GOOD)
    assert len(read_frames(path)) == 2
    path.write_text(damage(GOOD + GOOD))
    with pytest.raises(FrameError, match=says) as caught:
        read_frames(path)
    assert (caught.value.frame, caught.value.line) == (frame, line)
    assert str(path) in str(caught.value)


def test_empty_file_and_missing_file(tmp_path):
    (tmp_path / "a.xyz").write_text("\n")
    with pytest.raises(FrameError, match="no frames"):
        read_frames(tmp_path / "a.xyz", "extxyz")
    with pytest.raises(FileNotFoundError):
        read_frames(tmp_path / "b.xyz")


def test_format_is_recognised_by_content_not_name(tmp_path, make_frames):
    write_frames(tmp_path / "a.dat", make_frames(1), "extxyz")
    assert len(read_frames(tmp_path / "a.dat")) == 1
    (tmp_path / "b.xyz").write_text("hello\n")
    with pytest.raises(FrameError, match="not recognised"):
        read_frames(tmp_path / "b.xyz")


def test_options_and_formats_are_checked(tmp_path, make_frames):
    frames = make_frames(1)
    write_frames(tmp_path / "a.xyz", frames)
    with pytest.raises(InputError, match="no option 'energy'; it has: moments_key"):
        read_frames(tmp_path / "a.xyz", energy="x")
    with pytest.raises(InputError, match="unknown format 'xml'"):
        read_frames(tmp_path / "a.xyz", "xml")
    with pytest.raises(InputError, match="can only be read"):
        write_frames(tmp_path / "a", frames, "abacus")
    with pytest.raises(InputError, match="does not say the format"):
        write_frames(tmp_path / "a", frames)
    with pytest.raises(InputError, match="no frames to write"):
        write_frames(tmp_path / "a.xyz", [])


def test_implausible_file_is_refused(tmp_path):
    write_frames(tmp_path / "a.xyz", [Frame(Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 0.1]]))])
    with pytest.raises(FrameError, match="frame 0: atoms 0"):
        read_frames(tmp_path / "a.xyz")
