"""The plugin ``point``: what it reports is what the calculator says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.io import write
from typer.testing import CliRunner, Result

import deepspin_ase
from deepspin_ase.cli import app
from deepspin_ase.plugin import PluginError
from deepspin_plugins.point import SinglePoint, single_point
from deepspin_plugins.point.plugin import format_table


@pytest.fixture
def atoms(bcc_fe: Atoms, spring: type[Calculator]) -> Atoms:
    bcc_fe.positions += 0.1
    deepspin_ase.set_moments(bcc_fe, np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    bcc_fe.calc = spring()
    return bcc_fe


@pytest.fixture
def result(atoms: Atoms) -> SinglePoint:
    return single_point(atoms)


def test_result_is_what_the_calculator_says(atoms: Atoms, result: SinglePoint) -> None:
    assert result.symbols == ("Fe", "Fe")
    assert result.energy == pytest.approx(atoms.get_potential_energy())
    np.testing.assert_array_equal(result.forces, -atoms.positions)
    np.testing.assert_array_equal(result.stress, np.arange(6.0))
    np.testing.assert_array_equal(result.magnetic_forces, [[2.0, -1.0, 0.0], [2.0, 0.0, 0.0]])


def test_torque_and_parallel_part_follow_the_conventions(result: SinglePoint) -> None:
    np.testing.assert_allclose(result.magnetic_torques, [[0.0, 0.0, -2.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(result.parallel_magnetic_forces, [-1.0, 0.0])
    np.testing.assert_allclose(result.fields_tesla[0, 0], 2e3 * 17.276, rtol=1e-4)


def test_largest_values(atoms: Atoms, result: SinglePoint) -> None:
    assert result.max_torque == pytest.approx(2.0)
    assert result.max_force == pytest.approx(np.linalg.norm(atoms.positions, axis=1).max())


def test_stress_is_nan_without_full_periodicity(atoms: Atoms) -> None:
    atoms.pbc = (True, True, False)
    assert np.isnan(single_point(atoms).stress).all()


def test_arrays_are_read_only_and_own(atoms: Atoms, result: SinglePoint) -> None:
    with pytest.raises(ValueError, match="read-only"):
        result.forces[0, 0] = 1.0
    atoms.calc.results["magnetic_forces"][:] = 0.0
    assert result.max_torque == pytest.approx(2.0)


def test_constraints_do_not_hide_forces(atoms: Atoms) -> None:
    from ase.constraints import FixAtoms

    atoms.set_constraint(FixAtoms([0, 1]))
    assert single_point(atoms).max_force > 0.1


def test_save_and_load_are_exact(result: SinglePoint, tmp_path: Path) -> None:
    path = tmp_path / "result"
    result.save(path)
    again = SinglePoint.load(path)
    assert (again.symbols, again.energy) == (result.symbols, result.energy)
    for name in ("forces", "stress", "moments", "magnetic_forces"):
        np.testing.assert_array_equal(getattr(again, name), getattr(result, name))


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", energy=np.array(1.0))
    with pytest.raises(ValueError, match=r"no file of SinglePoint\.save"):
        SinglePoint.load(tmp_path / "other.npz")


def test_plot_draws_force_torque_and_parallel_part(result: SinglePoint) -> None:
    axes = result.plot()
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [2000.0, 0.0])
    assert len(axes.lines) == 3


def test_calculator_without_magnetic_forces_is_refused(bcc_fe: Atoms) -> None:
    bcc_fe.calc = EMT()
    with pytest.raises(PluginError, match="needs magnetic_forces"):
        single_point(bcc_fe)


def test_table_shows_every_atom_or_says_how_many_are_missing(result: SinglePoint) -> None:
    full = format_table(result)
    assert "    0 Fe" in full
    assert "    1 Fe" in full
    assert "2000.0000" in full
    short = format_table(result, max_rows=1)
    assert "    0 Fe" in short
    assert "    1 Fe" not in short
    assert "1 atoms with smaller torques are not shown" in short


class TestCommand:
    """``deepspin point``."""

    @pytest.fixture(autouse=True)
    def _model(self, monkeypatch: pytest.MonkeyPatch, spring: type[Calculator]) -> None:
        monkeypatch.setitem(vars(deepspin_ase), "DeepSpin", spring)

    @pytest.fixture
    def structure(self, atoms: Atoms, tmp_path: Path) -> Path:
        path = tmp_path / "fe.extxyz"
        write(path, atoms.copy())
        return path

    def run(self, *arguments: object) -> Result:
        return CliRunner().invoke(app, ["point", *map(str, arguments)], prog_name="deepspin")

    def test_prints_energy_and_table(self, structure: Path, result: SinglePoint) -> None:
        done = self.run(structure, "--model", "spring")
        assert done.exit_code == 0, done.output
        assert f"{result.energy:.8f} eV" in done.stdout
        assert "2000.0000" in done.stdout

    def test_moments_option_sets_them_along_z(self, structure: Path) -> None:
        done = self.run(structure, "--model", "spring", "--moments", "Fe=2.2")
        assert done.exit_code == 0, done.output
        assert "2.2000" in done.stdout

    @pytest.mark.parametrize("suffix", ["extxyz", "traj"])
    def test_output_keeps_the_magnetic_forces(self, structure: Path, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"out.{suffix}"
        done = self.run(structure, "--model", "spring", "--output", path)
        assert done.exit_code == 0, done.output
        (again,) = deepspin_ase.read_results(path)
        np.testing.assert_allclose(
            again.calc.results["magnetic_forces"], [[2.0, -1.0, 0.0], [2.0, 0.0, 0.0]], atol=1e-7
        )

    def test_picture_is_written(self, structure: Path, tmp_path: Path) -> None:
        path = tmp_path / "point.png"
        done = self.run(structure, "--model", "spring", "--picture", path)
        assert done.exit_code == 0, done.output
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_missing_file_is_a_clean_error(self, tmp_path: Path) -> None:
        done = self.run(tmp_path / "none.xyz", "--model", "spring")
        assert done.exit_code == 2
        assert "There is no file" in done.stderr

    def test_unreadable_file_is_a_clean_error(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.xyz"
        path.write_text("no structure\n", encoding="utf-8")
        done = self.run(path, "--model", "spring")
        assert done.exit_code == 2
        assert "ASE cannot read frame -1" in done.stderr

    def test_bad_moments_are_a_usage_error(self, structure: Path) -> None:
        done = self.run(structure, "--model", "spring", "--moments", "Fe:2")
        assert done.exit_code == 2
        assert "SYMBOL=NUMBER" in done.stderr


def test_shipped_model_from_the_command_line(nio: Atoms, tmp_path: Path) -> None:
    path = tmp_path / "nio.extxyz"
    write(path, nio)
    done = CliRunner().invoke(app, ["point", str(path), "--model", "nio", "--device", "cpu"], prog_name="deepspin")
    assert done.exit_code == 0, done.output
    assert "4 atoms" in done.stdout
