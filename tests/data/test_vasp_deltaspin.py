"""VASP + DeltaSpin: made-up runs with a known content."""

from __future__ import annotations

import numpy as np
import pytest

from deepspin_ase.data import FrameError, guess_format, read_frames
from deepspin_ase.data.vasp_output import parse_incar
from deepspin_ase.errors import InputError


def test_run_directory(tmp_path, vasp):
    output = vasp.write(tmp_path / "run")
    assert guess_format(output) == guess_format(output.parent) == "vasp-deltaspin"
    (frame,) = read_frames(output.parent)
    reference = vasp.frame
    assert list(frame.atoms.symbols) == ["Ni", "Ni", "O", "O"]
    np.testing.assert_allclose(frame.atoms.positions, reference.atoms.positions, atol=1e-11)
    np.testing.assert_allclose(frame.atoms.cell.array, reference.atoms.cell.array, atol=1e-11)
    np.testing.assert_allclose(frame.moments, reference.moments, atol=1e-11)
    np.testing.assert_allclose(frame.labels.magnetic_forces, reference.labels.magnetic_forces, atol=1e-12)
    np.testing.assert_allclose(frame.labels.forces, reference.labels.forces, atol=1e-11)
    assert frame.labels.energy == pytest.approx(reference.labels.energy, abs=1e-10)
    assert frame.labels.stress is None
    assert frame.info == {"spin_orbit": True, "constraint_rms": 2.4e-4}


@pytest.mark.parametrize("options", [{"units": True, "virial": True}, {"virial": True}])
def test_titles_with_units_and_a_virial(tmp_path, vasp, options):
    (frame,) = read_frames(vasp.write(tmp_path / "run", **options))
    np.testing.assert_allclose(frame.labels.stress, vasp.frame.labels.stress, rtol=1e-9)


def test_without_forces_and_without_incar(tmp_path, vasp):
    output = vasp.write(tmp_path / "run", drop="Atomic Force")
    (tmp_path / "run" / "INCAR").unlink()
    (frame,) = read_frames(output)
    assert frame.labels.available == ("energy", "magnetic_forces")
    assert "spin_orbit" not in frame.info


def test_positions_may_be_wrapped_differently_in_poscar(tmp_path, vasp):
    output = vasp.write(tmp_path / "run")
    shifted = vasp.frame.atoms.positions.copy()
    vasp.frame.atoms.positions[1] += vasp.frame.atoms.cell[0] - vasp.frame.atoms.cell[2]
    (tmp_path / "run" / "POSCAR").write_text(vasp.poscar())
    np.testing.assert_allclose(read_frames(output)[0].atoms.positions, shifted, atol=1e-11)


def test_several_summaries(tmp_path, vasp):
    output = vasp.write(tmp_path / "run")
    vasp.frame.atoms.positions[0, 0] += 0.1
    output.write_text(output.read_text() + vasp.summary())
    frames = read_frames(output)
    assert [f.index for f in frames] == [0, 1]
    assert frames[1].atoms.positions[0, 0] == pytest.approx(frames[0].atoms.positions[0, 0] + 0.1)
    incar = tmp_path / "run" / "INCAR"
    incar.write_text(incar.read_text() + "ISIF = 3\nNSW = 5\n")
    with pytest.raises(FrameError, match="ISIF = 3"):
        read_frames(output)


def test_induced_moments_of_unconstrained_atoms(tmp_path, vasp):
    moments = vasp.frame.moments
    moments[2:] = 0.003
    vasp.frame.atoms.set_initial_magnetic_moments(moments)
    output = vasp.write(tmp_path / "run")
    np.testing.assert_allclose(read_frames(output)[0].moments[2:], 0.003)
    zero = read_frames(output, unconstrained_moments="zero")[0]
    np.testing.assert_array_equal(zero.moments[2:], 0.0)
    np.testing.assert_allclose(zero.moments[:2], moments[:2], atol=1e-11)
    with pytest.raises(InputError, match="'keep' or 'zero'"):
        read_frames(output, unconstrained_moments="drop")


def test_stress_of_outcar(tmp_path, vasp):
    output = vasp.write(tmp_path / "run")
    outcar = tmp_path / "run" / "OUTCAR"
    outcar.write_text("  in kB     160.2176634  -320.4353268  0.0  16.02176634  32.04353268  -16.02176634\n")
    stress = read_frames(output)[0].labels.stress
    np.testing.assert_allclose(stress, [-0.1, 0.2, 0.0, -0.02, 0.01, -0.01], rtol=1e-6, atol=1e-12)
    outcar.write_text(2 * outcar.read_text())
    with pytest.raises(FrameError, match="2 ionic steps with a stress, but 1 summaries"):
        read_frames(output)
    outcar.write_text("  in kB     160.2 -320.4 0.0 *****\n")
    with pytest.raises(FrameError, match="line 1: not six numbers"):
        read_frames(output)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"drop": "Energy"}, "lacks energy"),
        ({"drop": "Magnetization"}, "lacks moments"),
        ({"drop": "Magnetic Force"}, "lacks magnetic_forces"),
        ({"energies": 3}, "3 energies in one summary"),
    ],
)
def test_incomplete_summaries(tmp_path, vasp, options, says):
    with pytest.raises(FrameError, match=says):
        read_frames(vasp.write(tmp_path / "run", **options), "vasp-deltaspin")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda s: s.replace("Magnetization:\n", "Magnetization:\n1.0 "),
            "13 numbers for moments, but POSCAR has 4 atoms",
        ),
        (lambda s: s.replace("Magnetic Force:\n", "Magnetic Force:\n1.0.0 "), "not a number"),
        (lambda s: s.replace("Magnetic Force:", "Magnetic Force: (meV/muB)"), "unit 'meV/muB'"),
        (lambda s: s[: s.index("Magnetic Force:") + 60], "numbers for magnetic forces"),
        (lambda s: s[: s.index("Magnetic Force:")], "no DeltaSpin summary|lacks"),
        (lambda s: s[: s.index("RMS:")], "no DeltaSpin summary"),
    ],
)
def test_damaged_output(tmp_path, vasp, damage, says):
    output = vasp.write(tmp_path / "run")
    damaged = damage(output.read_text())
    assert damaged != output.read_text()
    output.write_text(damaged)
    with pytest.raises(FrameError, match=says):
        read_frames(output, "vasp-deltaspin")


def test_summary_must_agree_with_the_final_multipliers(tmp_path, vasp):
    output = vasp.write(tmp_path / "run")
    lines = output.read_text().splitlines()
    lines[2] = "  1.0D-02  2.0  3.0"
    output.write_text("\n".join(lines))
    with pytest.raises(FrameError, match="not minus the final lambda"):
        read_frames(output)


def test_poscar_of_another_run(tmp_path, vasp):
    output = vasp.write(tmp_path / "run")
    vasp.frame.atoms.positions[2, 1] += 0.01
    (tmp_path / "run" / "POSCAR").write_text(vasp.poscar())
    with pytest.raises(FrameError, match=r"atom 2 is 0.0100 Å from its place in POSCAR"):
        read_frames(output)
    (tmp_path / "run" / "POSCAR").write_text("nothing\n")
    with pytest.raises(FrameError, match="cannot be read as POSCAR"):
        read_frames(output)
    (tmp_path / "run" / "POSCAR").unlink()
    with pytest.raises(FileNotFoundError, match="come from POSCAR"):
        read_frames(output)


def test_poscar_elsewhere(tmp_path, vasp):
    output = vasp.write(tmp_path / "run")
    (tmp_path / "run" / "POSCAR").rename(tmp_path / "start.vasp")
    assert len(read_frames(output, poscar=tmp_path / "start.vasp")) == 1


def test_incar_of_another_run(tmp_path, vasp):
    output = vasp.write(tmp_path / "run")
    incar = tmp_path / "run" / "INCAR"
    incar.write_text(incar.read_text().replace("M_CONSTR = ", "M_CONSTR = 9"))
    with pytest.raises(FrameError, match="M_CONSTR of INCAR"):
        read_frames(output)


def test_directory_without_output_or_with_two(tmp_path, vasp):
    output = vasp.write(tmp_path / "run")
    (tmp_path / "run" / "again.log").write_text(output.read_text())
    with pytest.raises(FrameError, match="several outputs"):
        read_frames(tmp_path / "run")
    output.unlink()
    (tmp_path / "run" / "again.log").unlink()
    with pytest.raises(FrameError, match="no output with a DeltaSpin summary"):
        read_frames(tmp_path / "run")


def test_incar_syntax(tmp_path):
    path = tmp_path / "INCAR"
    path.write_text("A = 1 ; B = .TRUE. # c\nM = 1 2 \\\n 3 ! d\n  4*0.5\nMAG = 2*1 3*-0.5\n# X = 1\n")
    assert parse_incar(path) == {
        "A": ["1"], "B": [".TRUE."], "M": ["1", "2", "3"], "MAG": ["1", "1", "-0.5", "-0.5", "-0.5"],
    }  # fmt: skip
