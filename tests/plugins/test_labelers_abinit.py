"""The ABINIT labeler: inputs, retries, checks; ABINIT itself only in the slow test."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.units import Hartree

from deepspin_ase.data import Frame, read_frames
from deepspin_ase.errors import InputError
from deepspin_ase.labeling import FailedLabel, Tolerance
from deepspin_ase.moments import get_moments, set_moments
from deepspin_plugins.labelers import AbinitLabeler, AbinitSettings
from deepspin_plugins.labelers.abinit_input import abinit_input, kmesh, spin_frame
from deepspin_plugins.labelers.abinit_settings import valence_electrons
from tests.plugins.labeler_cases import OUTPUT, abinit_structure, fake_abinit

COLLINEAR = OUTPUT.with_name("fe1_collinear.abo.gz")


@pytest.fixture
def pseudos(tmp_path: Path) -> str:
    """Directory with the head of a PAW file, which is all that inputs need."""
    folder = tmp_path / "pseudos"
    folder.mkdir()
    (folder / "26fe.lda2.paw").write_text("Paw data\n  26.000  16.000 20120514  : zatom,zion,pspdat\n")
    (folder / "V.xml").write_text('<atom symbol="V" Z="23.00" core="10.0" valence="13.0"/>\n')
    (folder / "O.xml").write_text('<atom symbol="O" Z="8.00" core="2.0" valence="6.0"/>\n')
    return str(folder)


@pytest.fixture
def settings(pseudos: str) -> AbinitSettings:
    return AbinitSettings(pseudo_directory=pseudos)


def variables(text: str) -> dict[str, str]:
    """Input variables by name."""
    joined = re.sub(r"\n (?=[-\d])", " ", text)
    return dict(line.split(maxsplit=1) for line in joined.splitlines())


def test_input_holds_the_structure_and_the_target(tmp_path: Path, settings: AbinitSettings) -> None:
    atoms = abinit_structure(tmp_path)
    given = variables(abinit_input(atoms, settings))
    assert given["acell"] == "3*1.0 Angstrom"
    np.testing.assert_allclose(np.array(given["rprim"].split(), float).reshape(3, 3), atoms.cell.array, atol=1e-11)
    target = np.array(given["spinat"].split(), float).reshape(2, 3)
    np.testing.assert_allclose(target, get_moments(atoms), atol=1e-9)  # the stored structure lies in its own frame
    np.testing.assert_allclose(
        np.array(given["xred"].split(), float).reshape(2, 3) @ atoms.cell.array, atoms.positions, atol=1e-10
    )
    assert given["pawxcdev"] == "0"
    assert given["nspden"] == "4"
    assert given["constraint_kind"] == "1"
    assert given["nband"] == "44"  # 32 electrons, 3 empty bands per atom and spin
    assert given["bandpp"] == given["nband"]  # one block
    assert float(given["tolvrs"]) == pytest.approx(2 * settings.tolvrs)


def test_atoms_without_moments_are_free(tmp_path: Path, settings: AbinitSettings, pseudos: str) -> None:
    settings = AbinitSettings(
        pseudo_directory=pseudos,
        pseudopotentials={"Fe": "26fe.lda2.paw", "O": "O.xml"},
        sphere_radii={"Fe": 2.12, "O": 1.4},
        constraint="directions",
    )
    atoms = bulk("FeO", "rocksalt", 4.3)
    set_moments(atoms, {"Fe": 3.5, "O": 0.0})
    given = variables(abinit_input(atoms, settings))
    assert given["constraint_kind"] == "4 0"
    assert given["znucl"] == "26 8"
    assert given["typat"] == "1 2"
    assert int(given["nband"]) >= 16 + 6 + 4
    assert given["nspden"] == "4"


def test_the_number_of_spinor_bands_is_even(pseudos: str) -> None:
    """ABINIT 9.6.2 stops at odd ones: "When nspinor2 is 2, nbd2 must be even"."""
    settings = AbinitSettings(
        pseudo_directory=pseudos,
        pseudopotentials={"Fe": "26fe.lda2.paw", "V": "V.xml"},
        sphere_radii={"Fe": 2.12, "V": 2.3},
    )
    atoms = bulk("Fe", cubic=True)
    atoms.symbols[1] = "V"
    set_moments(atoms, np.array([[0.0, 0.0, 2.0], [0.8, 0.0, -0.3]]))
    assert variables(abinit_input(atoms, settings))["nband"] == "42"  # 29 electrons, 3 empty bands per atom and spin


def test_collinear_states_are_calculated_with_two_channels_along_z(settings: AbinitSettings) -> None:
    atoms = bulk("Fe", cubic=True)
    set_moments(atoms, np.outer([2.0, -1.5], [0.6, 0.0, -0.8]))
    given = variables(abinit_input(atoms, settings))
    assert (given["nsppol"], given["nspinor"], given["nspden"], given["kptopt"]) == ("2", "1", "2", "1")
    assert "nsym" not in given
    np.testing.assert_allclose(np.array(given["spinat"].split(), float), [0, 0, 2.0, 0, 0, -1.5], atol=1e-12)
    assert int(given["nband"]) >= 16 + 1.75


def test_results_of_a_collinear_calculation_are_turned_back(tmp_path: Path, settings: AbinitSettings) -> None:
    (tmp_path / "stored.txt").write_text(gzip.decompress(COLLINEAR.read_bytes()).decode())
    stored = read_frames(tmp_path / "stored.txt", "abinit")[0]
    force = stored.labels.magnetic_forces[0]
    assert force == pytest.approx([0, 0, -0.001878 * Hartree], rel=1e-3)
    atoms = stored.atoms.copy()
    axis = np.array([0.6, 0.0, -0.8])
    set_moments(atoms, 2.0 * axis[None, :])
    frame = AbinitLabeler(settings, command=fake_abinit(tmp_path, output=COLLINEAR)).label(atoms, tmp_path)
    assert isinstance(frame, Frame)
    np.testing.assert_allclose(frame.labels.magnetic_forces, [force[2] * axis])
    np.testing.assert_allclose(frame.moments, [2.0 * axis])
    assert frame.labels.energy == stored.labels.energy


def test_a_mesh_without_the_symmetry_of_the_crystal(tmp_path: Path, settings: AbinitSettings) -> None:
    """ABINIT ends at once (chksymbreak) where a k-mesh has less symmetry; the last attempt uses none."""
    (tmp_path / "stored.txt").write_text(gzip.decompress(COLLINEAR.read_bytes()).decode())
    atoms = read_frames(tmp_path / "stored.txt", "abinit")[0].atoms
    frame = AbinitLabeler(settings, command=fake_abinit(tmp_path, output=COLLINEAR, fails=2)).label(atoms, tmp_path)
    assert isinstance(frame, Frame), frame.reason
    assert frame.info["attempt"] == "without symmetry"
    assert (tmp_path / "runs").read_text() == "3"
    given = variables((tmp_path / "run.abi").read_text())
    assert (given["nsym"], given["kptopt"], given["nsppol"]) == ("1", "2", "2")


def test_coplanar_states_are_turned_into_the_xz_plane() -> None:
    moments = np.array([[0.3, 2.0, 0.5], [-1.0, 0.4, 1.9]])
    spin = spin_frame(moments)
    inside = spin.to_frame(moments)
    assert spin.rank == 2
    np.testing.assert_allclose(inside[:, 1], 0, atol=1e-12)
    np.testing.assert_allclose(spin.from_frame(inside), moments)
    np.testing.assert_allclose(inside @ inside.T, moments @ moments.T)
    assert np.linalg.det(spin.axes) == pytest.approx(1.0)


def test_ranks_of_spin_frames() -> None:
    assert spin_frame(np.array([[0.0, 0.0, -2.0]])).rank == 1
    assert spin_frame(np.outer([1.0, -2.0, 0.0], [0.6, 0.0, 0.8])).rank == 1
    assert spin_frame(np.eye(3)).rank == 3


def test_left_handed_cell_is_refused(settings: AbinitSettings, tmp_path: Path) -> None:
    atoms = abinit_structure(tmp_path)
    atoms.set_cell(-atoms.cell.array)
    with pytest.raises(InputError, match="left-handed"):
        abinit_input(atoms, settings)


def test_interleaved_species_keep_their_types(pseudos: str) -> None:
    settings = AbinitSettings(
        pseudo_directory=pseudos,
        pseudopotentials={"Fe": "26fe.lda2.paw", "O": "O.xml"},
        sphere_radii={"Fe": 2.12, "O": 1.4},
    )
    atoms = bulk("FeO", "rocksalt", 4.3) * (2, 1, 1)
    set_moments(atoms, {"Fe": 3.5, "O": 0.0})
    assert variables(abinit_input(atoms, settings))["typat"] == "1 2 1 2"


def test_valence_electrons_of_both_formats(pseudos: str) -> None:
    assert valence_electrons(Path(pseudos) / "26fe.lda2.paw") == 16
    assert valence_electrons(Path(pseudos) / "O.xml") == 6
    other = Path(pseudos) / "other"
    other.write_text("nothing\n")
    with pytest.raises(InputError, match="valence electrons"):
        valence_electrons(other)


def test_kmesh_follows_the_reciprocal_cell() -> None:
    cell = np.diag([2.0, 4.0, 8.0])
    assert kmesh(cell, np.pi / 4) == [4, 2, 1]
    skew = cell @ np.array([[1, 0, 0], [0.5, 1, 0], [0, 0, 1]])
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(skew).T, axis=1)
    assert kmesh(skew, 0.3) == [int(np.ceil(x / 0.3)) for x in lengths]


def test_a_converged_run_becomes_a_frame(tmp_path: Path, settings: AbinitSettings) -> None:
    atoms = abinit_structure(tmp_path)
    frame = AbinitLabeler(settings, command=fake_abinit(tmp_path)).label(atoms, tmp_path)
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.atoms.positions, atoms.positions)
    np.testing.assert_allclose(frame.moments, get_moments(atoms))
    assert frame.info["largest_angle_off_deg"] < 0.01
    assert 0 < frame.info["largest_length_off_muB"] < 1e-3
    assert frame.info["attempt"] == "standard"
    assert frame.info["code"] == "ABINIT 9.6.2"
    assert (tmp_path / "runs").read_text() == "1"


@pytest.mark.parametrize(("fails", "attempt", "runs"), [(1, "slow mixing", 2), (2, "from directions", 4)])
def test_fallbacks_are_tried_in_order(
    tmp_path: Path, settings: AbinitSettings, fails: int, attempt: str, runs: int
) -> None:
    labeler = AbinitLabeler(settings, command=fake_abinit(tmp_path, fails=fails))
    frame = labeler.label(abinit_structure(tmp_path), tmp_path)
    assert isinstance(frame, Frame)
    assert frame.info["attempt"] == attempt
    assert (tmp_path / "runs").read_text() == str(runs)
    if attempt == "from directions":
        assert "constraint_kind 4" in (tmp_path / "first.abi").read_text()
        assert 'getden_filepath "firsto_DEN"' in (tmp_path / "run.abi").read_text()


def test_failure_says_what_every_attempt_met(tmp_path: Path, settings: AbinitSettings) -> None:
    result = AbinitLabeler(settings, command=fake_abinit(tmp_path, fails=99)).label(
        abinit_structure(tmp_path), tmp_path
    )
    assert isinstance(result, FailedLabel)
    assert result.reason.count("the SCF did not converge") == 3


def test_missed_target_is_refused(tmp_path: Path, settings: AbinitSettings) -> None:
    atoms = abinit_structure(tmp_path)
    moments = get_moments(atoms)
    set_moments(atoms, moments * 1.02)
    result = AbinitLabeler(settings, command=fake_abinit(tmp_path)).label(atoms, tmp_path)
    assert isinstance(result, FailedLabel)
    assert "|m| of atom 0 is -0.044 µB off" in result.reason
    loose = AbinitLabeler(settings, command=fake_abinit(tmp_path), tolerance=Tolerance(magnitude=0.1))
    assert isinstance(loose.label(atoms, tmp_path), Frame)
    set_moments(atoms, moments[::-1])
    result = AbinitLabeler(settings, command=fake_abinit(tmp_path)).label(atoms, tmp_path)
    assert isinstance(result, FailedLabel)
    assert "off its direction" in result.reason


def test_too_few_bands_are_noticed(tmp_path: Path, settings: AbinitSettings) -> None:
    """The stored result is made to look as if it had 32 bands for 32 electrons."""
    command = fake_abinit(tmp_path, change=("nband          40", "nband          32"))
    result = AbinitLabeler(settings, command=command).label(abinit_structure(tmp_path), tmp_path)
    assert isinstance(result, FailedLabel)
    assert "the highest band is occupied (1.0e+00); raise empty_bands" in result.reason


def test_output_of_another_structure_is_refused(tmp_path: Path, settings: AbinitSettings) -> None:
    atoms = abinit_structure(tmp_path)
    atoms.positions[0] += 0.01
    result = AbinitLabeler(settings, command=fake_abinit(tmp_path)).label(atoms, tmp_path)
    assert isinstance(result, FailedLabel)
    assert "another structure" in result.reason


def test_old_output_is_not_taken_for_a_new_one(tmp_path: Path, settings: AbinitSettings) -> None:
    atoms = abinit_structure(tmp_path)
    AbinitLabeler(settings, command=fake_abinit(tmp_path)).label(atoms, tmp_path)
    result = AbinitLabeler(settings, command=(sys.executable, "-c", "pass")).label(atoms, tmp_path)
    assert isinstance(result, FailedLabel)


def test_program_that_hangs_is_ended(tmp_path: Path, settings: AbinitSettings) -> None:
    script = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    labeler = AbinitLabeler(settings, command=(sys.executable, "-c", script), timeout=1.0)
    result = labeler.label(abinit_structure(tmp_path), tmp_path)
    assert isinstance(result, FailedLabel)
    assert "took longer than 1 s" in result.reason
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_program_that_is_not_there(tmp_path: Path, settings: AbinitSettings) -> None:
    with pytest.raises(InputError, match="there is no program 'abinit-of-nobody'"):
        AbinitLabeler(settings, command=("abinit-of-nobody",)).label(abinit_structure(tmp_path), tmp_path)


def test_identity_follows_the_settings_but_not_the_place(settings: AbinitSettings, tmp_path: Path) -> None:
    elsewhere = AbinitSettings(pseudo_directory=str(tmp_path))
    assert AbinitLabeler(settings).identity == AbinitLabeler(elsewhere).identity
    assert AbinitLabeler(AbinitSettings(kspacing=0.3)).identity != AbinitLabeler(settings).identity


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ecut": 0.0}, "ecut must be a positive number"),
        ({"kspacing": float("nan")}, "kspacing must be a positive number"),
        ({"tolvrs": "1e-7"}, "YAML wants 1.0e-7"),
        ({"pseudopotentials": "Fe.xml"}, "pseudopotentials must be a mapping"),
        ({"constraint": "both"}, "'moments' or 'directions'"),
        ({"pawecutdg": 6.0}, "must not be below ecut"),
        ({"empty_bands": 0}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused(keys: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AbinitSettings(**keys)


def test_elements_that_are_not_covered(tmp_path: Path, settings: AbinitSettings) -> None:
    nickel = bulk("Ni")
    set_moments(nickel, 0.6)
    with pytest.raises(InputError, match="no pseudopotential for Ni"):
        abinit_input(nickel, settings)
    with pytest.raises(InputError, match="there is no file"):
        abinit_input(abinit_structure(tmp_path), AbinitSettings(pseudo_directory="/nowhere"))


def test_slab_is_refused(tmp_path: Path, settings: AbinitSettings) -> None:
    atoms = abinit_structure(tmp_path)
    atoms.pbc = (True, True, False)
    with pytest.raises(InputError, match="periodic in three directions"):
        abinit_input(atoms, settings)


def test_zero_moment_has_no_direction(tmp_path: Path, settings: AbinitSettings, pseudos: str) -> None:
    atoms = abinit_structure(tmp_path)
    set_moments(atoms, [[0, 0, 2.0], [0, 0, 0]])
    with pytest.raises(InputError, match="has no direction"):
        abinit_input(atoms, AbinitSettings(pseudo_directory=pseudos, constraint="directions"))
    assert variables(abinit_input(atoms, settings))["constraint_kind"] == "1"


@pytest.mark.slow
def test_abinit_itself(tmp_path: Path) -> None:
    """One atom, few k-points: torque-free ferromagnet whose longitudinal magnetic force has the right sign."""
    if shutil.which("abinit") is None:
        pytest.skip("needs abinit (apt-get install abinit abinit-data)")
    atoms = bulk("Fe", a=2.87)
    set_moments(atoms, [[1.2, 0.0, 1.6]])
    frame = AbinitLabeler(AbinitSettings(kspacing=1.6)).label(atoms, tmp_path)
    assert isinstance(frame, Frame), frame.reason
    force = frame.labels.magnetic_forces[0]
    direction = get_moments(atoms)[0] / 2.0
    assert np.linalg.norm(force - (force @ direction) * direction) < 2e-3
    assert force @ direction > 0  # below its equilibrium length the moment wants to grow
    assert frame.moments[0] == pytest.approx(get_moments(atoms)[0], abs=2e-3)
