"""Magnetisation, order, recorders and the text log."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, make_supercell

from deepspin_ase import (
    Heisenberg,
    HeisenbergModel,
    collinear_order,
    ferromagnet,
    get_moments,
    random_directions,
    set_moments,
    spiral,
    tilt,
)
from deepspin_ase.errors import InputError
from deepspin_ase.quantities import MU_B
from deepspin_ase.vectors import rotation_matrix
from deepspin_plugins.spin_dynamics.dynamics import SpinDynamics
from deepspin_plugins.spin_dynamics.log import COLUMNS, SpinLogger, read_log
from deepspin_plugins.spin_dynamics.observers import (
    Magnetization,
    OrderParameter,
    Recorder,
    TimeSeries,
    energy_partition,
    mean_length,
)
from deepspin_plugins.spin_dynamics.zeeman import ZeemanField


@pytest.fixture
def oxide() -> tuple[Atoms, Atoms]:
    """NiO of 32 atoms with its antiferromagnet, and the primitive cell."""
    primitive = bulk("NiO", "rocksalt", a=4.18)
    atoms = make_supercell(primitive, [[2, 2, 0], [0, 2, 2], [2, 0, 2]])
    order = collinear_order(atoms, {"Ni": 1.7, "O": 0.0}, (0.5, 0.5, 0.5), (1, 1, 1), cell=primitive.cell.array)
    set_moments(atoms, order)
    return atoms, primitive


@pytest.fixture
def dynamics() -> SpinDynamics:
    iron = bulk("Fe", a=2.8665)
    set_moments(iron, 2.2)
    atoms = iron.repeat(3)
    atoms.calc = Heisenberg(HeisenbergModel.from_shells(iron, [0.03]))
    set_moments(atoms, tilt(get_moments(atoms), 20.0, 1))
    return SpinDynamics(atoms, 0.5 * units.fs, damping=0.1, temperature=100, rng=1)


def test_total_species_and_sublattice_moments(oxide: tuple[Atoms, Atoms]) -> None:
    atoms, _ = oxide
    moments = get_moments(atoms)
    moments[atoms.symbols == "O"] = [0, 0, 0.1]
    set_moments(atoms, moments)
    np.testing.assert_allclose(Magnetization(atoms)(atoms), moments.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(Magnetization(atoms, "Ni")(atoms), 0.0, atol=1e-14)
    np.testing.assert_allclose(Magnetization(atoms, "O")(atoms), [0, 0, 0.1])
    up = np.flatnonzero(moments[:, 0] > 0)
    for select in (up, moments[:, 0] > 0):
        np.testing.assert_allclose(Magnetization(atoms, select)(atoms), 1.7 / np.sqrt(3), rtol=1e-12)


def test_staggered_moment_does_not_depend_on_the_origin(oxide: tuple[Atoms, Atoms]) -> None:
    """cos(2π q·r) of a shifted crystal can vanish on every site; the sublattices are still told apart."""
    atoms, primitive = oxide
    for shift in ((0, 0, 0), (4.18 / 4, 4.18 / 4, 4.18 / 4), (0.3, -1.7, 0.9)):
        moved = atoms.copy()
        moved.positions += shift
        order = Magnetization(moved, "Ni", q=(0.5, 0.5, 0.5), cell=primitive.cell)
        assert np.linalg.norm(order(moved)) == pytest.approx(1.7)
        assert np.linalg.norm(order(_with(moved, ferromagnet(moved, {"Ni": 1.7, "O": 0})))) == pytest.approx(
            0, abs=1e-12
        )


def test_staggered_moment_of_a_spiral_is_its_amplitude() -> None:
    atoms = Atoms("Fe", cell=[2.0, 9, 9], pbc=[True, False, False]).repeat((12, 1, 1))
    for start in ("x", "y", (1, 2, 0)):
        set_moments(atoms, spiral(atoms, 2.0, (1, 0, 0), start=start))
        assert np.linalg.norm(Magnetization(atoms, q=(1, 0, 0))(atoms)) == pytest.approx(2.0)


def test_order_parameter_of_rigidly_turned_states(oxide: tuple[Atoms, Atoms], rng: np.random.Generator) -> None:
    atoms, _ = oxide
    chain = Atoms("Fe", cell=[2.0, 9, 9], pbc=[True, False, False]).repeat((12, 1, 1))
    set_moments(chain, spiral(chain, 1.7, (1, 0, 0)))
    iron = bulk("Fe", cubic=True).repeat(3)
    set_moments(iron, random_directions(iron, 1.7, rng))  # a frozen glass counts as order, too
    for reference in (atoms, chain, iron):
        order = OrderParameter(reference)
        turned = get_moments(reference) @ rotation_matrix(123.0, (1, 2, 3)).T
        assert order(_with(reference, turned)) == pytest.approx(1.7, rel=1e-12)
        assert order(_with(reference, 0.5 * turned)) == pytest.approx(0.85, rel=1e-12)


def test_order_parameter_of_tilted_and_of_disordered_moments(rng: np.random.Generator) -> None:
    iron = bulk("Fe", cubic=True).repeat(8)
    set_moments(iron, ferromagnet(iron, 2.0))
    order = OrderParameter(iron)
    state = _with(iron, tilt(get_moments(iron), 30.0, rng))
    assert order(state) == pytest.approx(np.linalg.norm(Magnetization(iron)(state)), rel=1e-12)
    assert order(_with(iron, random_directions(iron, 2.0, rng))) < 4 * 2.0 / np.sqrt(len(iron))


def test_mean_length_counts_magnetic_atoms_only(oxide: tuple[Atoms, Atoms]) -> None:
    atoms, _ = oxide
    assert mean_length(atoms) == pytest.approx(1.7)
    set_moments(atoms, 0.0)
    assert mean_length(atoms) == 0.0


def test_energy_partition_adds_up(oxide: tuple[Atoms, Atoms]) -> None:
    atoms, _ = oxide
    set_moments(atoms, ferromagnet(atoms, {"Ni": 1.7, "O": 0.0}))
    atoms.calc = ZeemanField(Heisenberg(field=(0, 0, 0)), (0, 0, 30.0))
    atoms.set_momenta(np.ones((32, 3)))
    parts = energy_partition(atoms)
    assert parts["zeeman"] == pytest.approx(-16 * 1.7 * 30 * MU_B)
    assert parts["total"] == pytest.approx(parts["potential"] + parts["kinetic"])
    assert parts["kinetic"] == pytest.approx(atoms.get_kinetic_energy())


def test_recorder_keeps_what_the_run_showed(dynamics: SpinDynamics, tmp_path: Path) -> None:
    seen: list[np.ndarray] = []
    recorder = Recorder(dynamics, {"M": Magnetization(dynamics.atoms), "E": lambda atoms: atoms.get_potential_energy()})
    dynamics.attach(recorder, 5)
    dynamics.attach(lambda: seen.append(get_moments(dynamics.atoms).mean(axis=0)), 5)
    dynamics.run(50)
    series = recorder.series()
    np.testing.assert_allclose(series.times, 2.5 * np.arange(11))
    np.testing.assert_allclose(series["M"], seen, atol=1e-14)
    assert series["E"].shape == (11,)
    half = series.after(12.5)
    assert half.times[0] == pytest.approx(12.5)
    assert half.mean("E").value == pytest.approx(half["E"].mean())
    series.save(tmp_path / "s")
    again = TimeSeries.load(tmp_path / "s")
    np.testing.assert_array_equal(again["M"], series["M"])
    assert "ps" in series.plot().get_xlabel()
    with pytest.raises(ValueError, match="read-only"):
        again.times[0] = 1.0


def test_log_can_be_read_back_and_agrees_with_the_structure(dynamics: SpinDynamics, tmp_path: Path) -> None:
    logger = SpinLogger(dynamics, tmp_path / "log.txt", reference=dynamics.atoms.copy())
    with logger:
        dynamics.attach(logger, 10)
        dynamics.run(40)
    log = read_log(tmp_path / "log.txt")
    assert log["step"].tolist() == [0, 10, 20, 30, 40]
    moments = get_moments(dynamics.atoms)
    np.testing.assert_allclose([log[k][-1] for k in ("Mx", "My", "Mz")], moments.mean(axis=0), atol=1e-6)
    assert log["E_potential"][-1] == pytest.approx(dynamics.atoms.get_potential_energy() / 27, abs=1e-8)
    assert log["order"][0] == pytest.approx(2.2)
    assert set(log.values) | {"time"} == set(COLUMNS)


def test_log_drops_a_broken_last_line_and_continues_after_a_restart(dynamics: SpinDynamics, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with SpinLogger(dynamics, path) as logger:
        dynamics.attach(logger, 10)
        dynamics.run(20)
        dynamics.save_checkpoint(tmp_path / "c.npz")
        dynamics.run(30)
    whole = path.read_text()
    path.write_text(whole[:-40])  # killed in the middle of a line
    assert read_log(path)["step"].tolist() == [0, 10, 20, 30, 40]
    again = SpinDynamics.from_checkpoint(tmp_path / "c.npz", Heisenberg(dynamics.atoms.calc.model))
    with SpinLogger(again, path) as logger:
        again.attach(logger, 10)
        again.run(30)
    assert path.read_text() == whole


def test_log_to_an_open_file_and_to_the_screen(dynamics: SpinDynamics, capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    SpinLogger(dynamics, stream)()
    SpinLogger(dynamics, "-", temperature=False)()
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == stream.getvalue().splitlines()[0]
    assert "nan" in shown.splitlines()[1]


def test_drivers_write_this_log(tmp_path: Path) -> None:
    atoms = Atoms("Fe")
    set_moments(atoms, [[1.0, 0, 0]])
    atoms.calc = Heisenberg(field=(0, 0, 10.0))
    SpinDynamics(atoms, 1.0 * units.fs, logfile=tmp_path / "l", loginterval=5).run(10)
    assert read_log(tmp_path / "l")["step"].tolist() == [0, 5, 10]


def test_foreign_files_and_wrong_input(dynamics: SpinDynamics, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("hello\n")
    with pytest.raises(InputError, match="no log"):
        read_log(tmp_path / "other")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(InputError, match=r"no file of TimeSeries\.save"):
        TimeSeries.load(tmp_path / "other.npz")
    atoms = dynamics.atoms
    with pytest.raises(InputError, match="no Ni in the structure"):
        Magnetization(atoms, "Ni")
    for wrong in (np.zeros(27, dtype=bool), [27], [-1], [0.5], []):
        with pytest.raises(InputError, match="select"):
            Magnetization(atoms, wrong)
    with pytest.raises(InputError, match="shape"):
        Magnetization(atoms, q=(1, 2))
    with pytest.raises(InputError, match="observables is empty"):
        Recorder(dynamics, {})
    with pytest.raises(InputError, match="recorded are M"):
        TimeSeries(np.zeros(1), {"M": np.zeros(1)})["E"]
    with pytest.raises(InputError, match="2 values"):
        TimeSeries(np.zeros(1), {"M": np.zeros(2)})
    atoms.arrays["initial_magmoms"][3, 1] = np.nan
    with pytest.raises(InputError, match="finite"):
        OrderParameter(atoms)


def _with(atoms: Atoms, moments: np.ndarray) -> Atoms:
    copy = atoms.copy()
    set_moments(copy, moments)
    return copy
