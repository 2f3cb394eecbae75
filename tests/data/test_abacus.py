"""ABACUS logs: made-up ones with a known content."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from ase.units import GPa, Rydberg

from deepspin_ase.data import FrameError, guess_format, read_frames
from deepspin_ase.errors import InputError


def _write(directory: Path, name: str, text: str) -> Path:
    out = directory / "OUT.ABACUS"
    out.mkdir(exist_ok=True)
    path = out / name
    path.write_text(text)
    return path


@pytest.fixture
def scf(tmp_path, abacus, abacus_steps) -> Path:
    text = abacus.header() + abacus.coordinates(abacus_steps[0]["fractions"]) + abacus.step(abacus_steps[0])
    return _write(tmp_path, "running_scf.log", text + abacus.footer)


@pytest.fixture
def relax(tmp_path, abacus, abacus_steps) -> Path:
    text = abacus.header()
    for number, step in enumerate(abacus_steps, start=1):
        text += abacus.coordinates(step["fractions"]) + abacus.step(step, relaxation=number)
    return _write(tmp_path, "running_relax.log", text + abacus.coordinates(0.3 + step["fractions"]) + abacus.footer)


@pytest.fixture
def md(tmp_path, abacus, abacus_steps) -> Path:
    text, dump = abacus.header() + abacus.coordinates(abacus_steps[0]["fractions"]), ""
    for number, step in enumerate(abacus_steps):
        text += f" STEP OF MOLECULAR DYNAMICS : {number}\n" + abacus.step(step)
        dump += abacus.dump(number, step["fractions"] @ abacus.cell, step["forces"])
    _write(tmp_path, "MD_dump", dump)
    return _write(tmp_path, "running_md.log", text + abacus.footer)


def test_scf(scf, abacus, abacus_steps):
    assert guess_format(scf) == guess_format(scf.parent) == guess_format(scf.parent.parent) == "abacus"
    (frame,) = read_frames(scf.parent.parent)
    step = abacus_steps[0]
    assert list(frame.atoms.symbols) == ["Fe", "O"]  # the label Fe1 is iron
    assert frame.labels.energy == step["energy"]
    np.testing.assert_array_equal(frame.labels.forces, step["forces"])
    np.testing.assert_array_equal(frame.moments, step["moments"])
    np.testing.assert_array_equal(frame.labels.magnetic_forces, step["fields"])
    np.testing.assert_allclose(frame.atoms.cell.array, abacus.cell, rtol=1e-5)
    np.testing.assert_allclose(frame.atoms.get_scaled_positions(), step["fractions"], atol=1e-9)


def test_stress_is_minus_what_abacus_prints(scf, abacus_steps):
    kbar = abacus_steps[0]["kbar"]
    stress = read_frames(scf)[0].labels.stress
    np.testing.assert_allclose(stress[[0, 5]], -0.1 * GPa * kbar[0, :2], rtol=1e-12)


def test_structure_file_gives_the_digits_of_the_cell(scf, abacus):
    rough = read_frames(scf)[0].atoms.cell.array
    (scf.parent.parent / "STRU").write_text(abacus.stru())
    fine = read_frames(scf)[0].atoms.cell.array
    assert np.abs(rough - abacus.cell).max() > 1e-7
    np.testing.assert_allclose(fine, abacus.cell, rtol=1e-11)


def test_structure_file_of_another_cell_is_not_used(scf, abacus):
    before = read_frames(scf)[0].atoms.cell.array
    (scf.parent.parent / "STRU").write_text(abacus.stru().replace("LATTICE_CONSTANT\n1.8902", "LATTICE_CONSTANT\n1.9"))
    np.testing.assert_array_equal(read_frames(scf)[0].atoms.cell.array, before)


def test_relaxation_uses_the_coordinates_printed_before_each_step(relax, abacus_steps):
    frames = read_frames(relax)
    assert [f.info["step"] for f in frames] == [1, 2, 3]
    for frame, step in zip(frames, abacus_steps, strict=True):
        assert frame.labels.energy == step["energy"]
        np.testing.assert_array_equal(frame.labels.forces, step["forces"])
        np.testing.assert_allclose(frame.atoms.get_scaled_positions(), step["fractions"], atol=1e-9)


def test_md_takes_positions_from_the_dump(md, abacus, abacus_steps):
    frames = read_frames(md)
    assert [f.info["step"] for f in frames] == [0, 1, 2]
    np.testing.assert_allclose(frames[2].atoms.positions, abacus_steps[2]["fractions"] @ abacus.cell, atol=1e-9)
    np.testing.assert_array_equal(frames[2].labels.magnetic_forces, abacus_steps[2]["fields"])


def test_md_log_under_another_name_still_needs_the_dump(md):
    log = md.rename(md.with_name("log.txt"))
    assert len(read_frames(log)) == 3
    (md.parent / "MD_dump").unlink()
    with pytest.raises(FrameError, match="MD_dump"):
        read_frames(log)


def test_coordinates_are_not_carried_over_to_the_next_step(relax):
    head, middle, tail = relax.read_text().partition("STEP OF RELAXATION : 1")
    relax.write_text(head + middle + tail.replace("DIRECT COORDINATES", "coordinates"))
    with pytest.raises(FrameError, match=r"frame 1, .*no coordinates before this step"):
        read_frames(relax)


def test_md_with_a_sparse_dump_gives_the_dumped_steps(md, abacus, abacus_steps):
    dump = md.parent / "MD_dump"
    dump.write_text("".join(
        abacus.dump(k, abacus_steps[k]["fractions"] @ abacus.cell, abacus_steps[k]["forces"]) for k in (0, 2)
    ))  # fmt: skip
    frames = read_frames(md)
    assert [f.info["step"] for f in frames] == [0, 2]
    assert frames[1].labels.energy == abacus_steps[2]["energy"]


def test_md_dump_of_another_run_is_noticed(md, abacus, abacus_steps):
    step = abacus_steps[0]
    (md.parent / "MD_dump").write_text(abacus.dump(0, step["fractions"] @ abacus.cell, step["forces"] + 0.1))
    with pytest.raises(FrameError, match="differ between the log and MD_dump"):
        read_frames(md)
    (md.parent / "MD_dump").write_text(abacus.dump(9, step["fractions"] @ abacus.cell, step["forces"]))
    with pytest.raises(FrameError, match="no step of the log is in MD_dump"):
        read_frames(md)
    (md.parent / "MD_dump").unlink()
    with pytest.raises(FrameError, match="MD_dump, which is not beside the log"):
        read_frames(md)


def test_truncated_dump(md, caplog):
    dump = md.parent / "MD_dump"
    dump.write_text("\n".join(dump.read_text().rstrip().splitlines()[:-1]))
    with pytest.raises(FrameError, match=r"MD_dump, line \d+: .* 1 atoms, the log has 2"):
        read_frames(md)
    with caplog.at_level(logging.WARNING):
        assert len(read_frames(md, incomplete="skip")) == 2
    assert "left out" in caplog.text


def test_units_of_magnetic_forces(tmp_path, abacus, abacus_steps):
    start = abacus.header() + abacus.coordinates(abacus_steps[0]["fractions"])
    path = _write(tmp_path, "running_scf.log", start + abacus.step(abacus_steps[0], unit="Ry/uB") + abacus.footer)
    np.testing.assert_allclose(read_frames(path)[0].labels.magnetic_forces, Rydberg * abacus_steps[0]["fields"])
    path.write_text(start + abacus.step(abacus_steps[0], unit="T") + abacus.footer)
    with pytest.raises(FrameError, match="unit 'T'"):
        read_frames(path)


def test_collinear_run_has_one_column(tmp_path, abacus, abacus_steps):
    text = abacus.header() + abacus.coordinates(abacus_steps[0]["fractions"])
    path = _write(tmp_path, "running_scf.log", text + abacus.step(abacus_steps[0], columns=1) + abacus.footer)
    frame = read_frames(path)[0]
    np.testing.assert_array_equal(frame.moments[:, 2], abacus_steps[0]["moments"][:, 2])
    assert not frame.moments[:, :2].any()
    assert not frame.labels.magnetic_forces[:, :2].any()


def test_unconverged_steps(tmp_path, abacus, abacus_steps, caplog):
    abacus_steps[1]["converged"] = False
    text = abacus.header()
    for number, step in enumerate(abacus_steps, start=1):
        text += abacus.coordinates(step["fractions"]) + abacus.step(step, relaxation=number)
    path = _write(tmp_path, "running_relax.log", text + abacus.footer)
    with pytest.raises(FrameError, match=r"frame 1, line .* did not converge.*incomplete='skip'"):
        read_frames(path)
    with caplog.at_level(logging.WARNING):
        frames = read_frames(path, incomplete="skip")
    assert [f.info["step"] for f in frames] == [1, 3]
    assert frames[1].labels.energy == abacus_steps[2]["energy"]
    assert "did not converge" in caplog.text
    with pytest.raises(InputError, match="'error' or 'skip'"):
        read_frames(path, incomplete="maybe")


def test_log_cut_anywhere_is_refused_or_gives_its_complete_steps(relax, same_frame):
    """A cut log is an error; with incomplete='skip' only whole steps are left, unchanged, with all labels."""
    whole = read_frames(relax)
    lines = relax.read_text().splitlines(keepends=True)
    sizes = []
    for end in range(1, len(lines) - 1):
        relax.write_text("".join(lines[:end]))
        with pytest.raises(FrameError, match=r"running_relax\.log"):
            read_frames(relax, "abacus")
        try:
            frames = read_frames(relax, "abacus", incomplete="skip")
        except FrameError:
            assert not sizes  # only before the end of the first step
            continue
        sizes.append(len(frames))
        for frame, reference in zip(frames, whole, strict=False):
            same_frame(frame, reference)
    assert sizes == sorted(sizes)
    assert set(sizes) == {1, 2, 3}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda s: s.replace("Total Magnetism (uB)", "something"), "DeltaSpin .* was off"),
        (
            lambda s: s.replace("number of atom for this type = 1", "number of atom for this type = 2", 1),
            "atom count",
        ),
        (lambda s: s.replace("   O1  ", "   O1  9.0 "), "row 2 of 2"),
        (lambda s: s.replace("   O1  ", "   O1  ****", 1), "not numbers"),
        (lambda s: s.replace("   Fe  ", "   Fe  0.1 0.2 0.3\n   Fe  ", 1), "more rows than the 2 atoms"),
        (lambda s: s.replace("atom label = O", "atom label = Xx1"), "no chemical symbols"),
        (lambda s: s.replace("final etot is", "final is"), "without a 'final etot'"),
        (lambda s: s.replace("atom label", "label").replace("number of atom", "count"), "no atom types"),
        (lambda s: s.replace("DIRECT COORDINATES", "COORDS"), "no coordinates"),
        (lambda s: s.replace("final etot is -4000.5", "final etot is high"), "expected a number"),
    ],
)
def test_damaged_logs(scf, damage, says):
    scf.write_text(damage(scf.read_text()))
    with pytest.raises(FrameError, match=says):
        read_frames(scf, "abacus")


def test_directory_with_several_logs(scf, relax):
    with pytest.raises(FrameError, match="several logs, name one"):
        read_frames(scf.parent)


def test_directory_without_logs(tmp_path):
    with pytest.raises(FrameError, match="no running_"):
        read_frames(tmp_path, "abacus")
