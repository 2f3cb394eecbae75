"""VASP DeltaSpin and ABACUS: inputs that our readers understand, and results in the order of the structure."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io.vasp import write_vasp

from deepspin_ase.data.abacus import _stru_cell
from deepspin_ase.data.vasp_output import incar_vectors, parse_incar
from deepspin_ase.errors import InputError
from deepspin_ase.labeling import FailedLabel, campaign_status, label_all
from deepspin_ase.moments import get_moments, set_moments
from deepspin_plugins.labelers import AbacusLabeler, AbacusSettings, VaspDeltaSpinLabeler, VaspDeltaSpinSettings

VASP = VaspDeltaSpinSettings(sphere_radii={"Ni": 1.286, "O": 0.82})
ABACUS = AbacusSettings(pseudopotentials={"Ni": "Ni.upf", "O": "O.upf"}, orbitals={"Ni": "Ni.orb", "O": "O.orb"})


@pytest.fixture
def oxide() -> Atoms:
    """Four atoms, species interleaved, canted moments on nickel."""
    atoms = bulk("NiO", "rocksalt", 4.17) * (2, 1, 1)
    atoms.positions += np.random.default_rng(0).normal(0, 0.02, (4, 3))
    set_moments(atoms, [[1.0, 0.0, 1.2], [0, 0, 0], [0.3, -0.4, -1.5], [0, 0, 0]])
    return atoms


def vasp_summary(atoms: Atoms, energy: float, forces: np.ndarray, magnetic: np.ndarray) -> str:
    """The summary that the patched program prints at its end."""
    sections = {
        "Energy": [energy],
        "Magnetization": get_moments(atoms),
        "Atomic Force": forces,
        "Magnetic Force": magnetic,
    }
    return "".join(
        f"{title}:\n{' '.join(f'{x:.12E}' for x in np.ravel(values))}\n" for title, values in sections.items()
    )


def test_incar_asks_for_the_moments(tmp_path: Path, oxide: Atoms) -> None:
    VaspDeltaSpinLabeler(VASP).label(oxide, tmp_path)
    tags = parse_incar(tmp_path / "INCAR")
    grouped = get_moments(oxide)[[0, 2, 1, 3]]
    np.testing.assert_allclose(incar_vectors(tags, "M_CONSTR", 4), grouped, atol=1e-9)
    np.testing.assert_allclose(incar_vectors(tags, "MAGMOM", 4), grouped, atol=1e-9)
    assert tags["CONSTRL"] == ["1"] * 6 + ["0"] * 6
    assert tags["RWIGS"] == ["1.286", "0.82"]
    assert tags["I_CONSTRAINED_M"] == ["2"]
    assert (tmp_path / "POSCAR").read_text().split("\n")[5].split() == ["Ni", "O"]
    assert not (tmp_path / "POTCAR").exists()


def test_potcar_is_put_together(tmp_path: Path, oxide: Atoms) -> None:
    for symbol in ("Ni", "O"):
        (tmp_path / f"POTCAR.{symbol}").write_text(f"{symbol}\n")
    settings = VaspDeltaSpinSettings(sphere_radii=VASP.sphere_radii, potcar=str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    VaspDeltaSpinLabeler(settings).label(oxide, run)
    assert (run / "POTCAR").read_text() == "Ni\nO\n"


def test_stru_and_input_of_abacus(tmp_path: Path, oxide: Atoms) -> None:
    AbacusLabeler(ABACUS).label(oxide, tmp_path)
    np.testing.assert_allclose(_stru_cell(tmp_path / "STRU"), oxide.cell.array, atol=1e-9)
    stru = (tmp_path / "STRU").read_text()
    rows = [line for line in stru.splitlines() if " mag " in line]
    moments = [[float(x) for x in row.split()[7:10]] for row in rows]
    np.testing.assert_allclose(moments, get_moments(oxide)[[0, 2, 1, 3]])
    places = np.array([[float(x) for x in row.split()[:3]] for row in rows])
    np.testing.assert_allclose(places @ oxide.cell.array, oxide.positions[[0, 2, 1, 3]], atol=1e-9)
    assert [row.split("sc ")[1] for row in rows] == ["1 1 1", "1 1 1", "0 0 0", "0 0 0"]
    given = dict(line.split() for line in (tmp_path / "INPUT").read_text().splitlines()[1:])
    assert given["sc_mag_switch"] == "1"
    assert given["nspin"] == "4"
    assert given["cal_force"] == "1"


def test_without_a_program_inputs_wait_and_are_collected_later(tmp_path: Path, oxide: Atoms) -> None:
    labeler = VaspDeltaSpinLabeler(VASP)
    report = label_all([oxide], labeler, tmp_path)
    assert report.failures[0].prepared
    assert campaign_status(tmp_path)["prepared"] == 1
    (directory,) = (path for path in tmp_path.iterdir() if path.is_dir())
    grouped = oxide[[0, 2, 1, 3]]
    forces, magnetic = np.arange(12.0).reshape(4, 3) * 0.01, np.arange(12.0).reshape(4, 3) * 0.001
    (directory / "stdout.log").write_text(vasp_summary(grouped, -23.5, forces, magnetic))
    (frame,) = label_all([oxide], labeler, tmp_path).frames
    assert frame.labels.energy == -23.5
    np.testing.assert_allclose(frame.atoms.positions, oxide.positions)
    np.testing.assert_allclose(frame.labels.forces[[0, 2, 1, 3]], forces)
    np.testing.assert_allclose(frame.labels.magnetic_forces[[0, 2]], magnetic[:2])
    np.testing.assert_allclose(frame.moments, get_moments(oxide))


def test_program_is_run_and_its_failure_reported(tmp_path: Path, oxide: Atoms) -> None:
    labeler = AbacusLabeler(ABACUS, command=(sys.executable, "-c", "raise SystemExit(3)"))
    result = labeler.label(oxide, tmp_path)
    assert isinstance(result, FailedLabel)
    assert not result.prepared
    assert "status 3" in result.reason


def test_missed_target_is_refused(tmp_path: Path, oxide: Atoms) -> None:
    wrong = oxide[[0, 2, 1, 3]]
    set_moments(wrong, get_moments(wrong)[:, [2, 1, 0]])
    text = vasp_summary(wrong, -1.0, np.zeros((4, 3)), np.zeros((4, 3)))
    (tmp_path / "stdout.log").write_text(text)
    write_vasp(tmp_path / "POSCAR", wrong, direct=False)
    result = VaspDeltaSpinLabeler(VASP).label(oxide, tmp_path)
    assert isinstance(result, FailedLabel)
    assert "off its direction" in result.reason


def test_settings_may_not_overrule_what_constraints_need(tmp_path: Path, oxide: Atoms) -> None:
    with pytest.raises(InputError, match="must not set ISYM"):
        VaspDeltaSpinSettings(sphere_radii={}, incar={"ISYM": 2})
    with pytest.raises(InputError, match="must not set nspin"):
        AbacusSettings(pseudopotentials={}, parameters={"nspin": 1})
    with pytest.raises(InputError, match="lack Ni, O"):
        VaspDeltaSpinLabeler(VaspDeltaSpinSettings(sphere_radii={})).label(oxide, tmp_path)
    with pytest.raises(InputError, match="lack Ni, O"):
        AbacusLabeler(AbacusSettings(pseudopotentials={})).label(oxide, tmp_path)
    orbitals = AbacusSettings(pseudopotentials={"Ni": "Ni.upf", "O": "O.upf"}, orbitals={"Ni": "Ni.orb"})
    with pytest.raises(InputError, match="orbitals lack O"):
        AbacusLabeler(orbitals).label(oxide, tmp_path)


def test_a_molecule_is_refused(tmp_path: Path) -> None:
    atoms = Atoms("Ni", cell=np.eye(3) * 5)
    set_moments(atoms, 1.0)
    with pytest.raises(InputError, match="periodic in three directions"):
        AbacusLabeler(ABACUS).label(atoms, tmp_path)
