"""SpinLatticeDynamics and CartesianMomentDynamics as ASE drivers: options, restart, constraints, interruption."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read
from ase.md.verlet import VelocityVerlet

from deepspin_ase import DeepSpin, Heisenberg, ferromagnet, get_moments, set_moments
from deepspin_ase.errors import InputError
from deepspin_plugins.spin_dynamics.barostat import CellRescaling
from deepspin_plugins.spin_dynamics.baths import SpinLangevin
from deepspin_plugins.spin_dynamics.cartesian import CartesianMomentDynamics
from deepspin_plugins.spin_dynamics.lattice_bath import LatticeLangevin
from deepspin_plugins.spin_dynamics.lattice_driver import LatticeDriver
from deepspin_plugins.spin_dynamics.nose_hoover import NoseHooverChain
from deepspin_plugins.spin_dynamics.spin_lattice import SpinLatticeDynamics
from deepspin_plugins.spin_dynamics.timestep import TimestepWarning
from deepspin_plugins.spin_dynamics.zeeman import ZeemanField
from tests.spin_lattice_cases import MORSE, cartesian, fs, iron, soft_iron, spin_lattice


def state(dynamics: LatticeDriver) -> list[np.ndarray]:
    atoms = dynamics.atoms
    return [atoms.positions, atoms.get_momenta(), get_moments(atoms), atoms.cell.array]


def assert_same(one: LatticeDriver, other: LatticeDriver) -> None:
    for a, b in zip(state(one), state(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("make", "structure"), [(spin_lattice, iron), (cartesian, soft_iron)])
def test_restart_goes_on_bit_for_bit(make: Any, structure: Any, tmp_path: Path) -> None:
    whole = make(structure())
    whole.run(23)
    first = make(structure())
    first.run(10)
    first.save_checkpoint(tmp_path / "run.npz")
    again = type(first).from_checkpoint(tmp_path / "run.npz", structure().calc)
    assert (again.nsteps, again.evaluations) == (10, first.evaluations)
    again.run(13)
    assert_same(again, whole)
    assert again.nsteps == 23


def test_restart_of_a_network_with_a_neighbour_list_is_bitwise(nio: Atoms, tmp_path: Path) -> None:
    """The list of the first run was made elsewhere; results must not depend on that."""
    calc = DeepSpin("nio", device="cpu", skin=0.05)

    def make() -> SpinLatticeDynamics:
        atoms = nio.copy()
        atoms.set_momenta(np.random.default_rng(0).normal(0, 3.0, (4, 3)))
        atoms.calc = calc
        return SpinLatticeDynamics(atoms, 1.0 * fs, lattice_bath=LatticeLangevin(300.0, 0.02 / fs), rng=1)

    whole = make()
    whole.run(16)
    first = make()
    first.run(9)
    first.save_checkpoint(tmp_path / "run.npz")
    again = SpinLatticeDynamics.from_checkpoint(tmp_path / "run.npz", DeepSpin("nio", device="cpu", skin=0.05))
    again.run(7)
    assert_same(again, whole)


SCRIPT = """
import os, signal, sys
from tests.spin_lattice_cases import iron, spin_lattice
dynamics = spin_lattice(iron())
dynamics.attach(dynamics.save_checkpoint, 5, sys.argv[1])
dynamics.attach(lambda: os.kill(os.getpid(), signal.SIGKILL), -13)
dynamics.run(100)
"""


def test_killed_run_goes_on_bit_for_bit(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], cwd=repository, timeout=300)
    assert done.returncode == -signal.SIGKILL
    again = SpinLatticeDynamics.from_checkpoint(path, iron().calc)
    assert again.nsteps == 10
    again.run(10)
    whole = spin_lattice(iron())
    whole.run(20)
    assert_same(again, whole)


def test_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    spin_lattice(iron()).save_checkpoint(tmp_path / "run.npz")
    with pytest.raises(InputError, match="written by SpinLatticeDynamics"):
        CartesianMomentDynamics.from_checkpoint(tmp_path / "run.npz", iron().calc)
    (tmp_path / "run.npz").write_bytes((tmp_path / "run.npz").read_bytes()[:2000])
    with pytest.raises(InputError, match="damaged"):
        SpinLatticeDynamics.from_checkpoint(tmp_path / "run.npz", iron().calc)


def test_without_moments_that_matter_it_is_velocity_verlet() -> None:
    def structure() -> Atoms:
        atoms = iron()
        atoms.calc = Heisenberg(field=(0, 0, 1.0), lattice=MORSE)
        return atoms

    ours, theirs = structure(), structure()
    SpinLatticeDynamics(ours, 2.0 * fs).run(20)
    VelocityVerlet(theirs, 2.0 * fs).run(20)
    np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-11)
    np.testing.assert_allclose(ours.get_momenta(), theirs.get_momenta(), atol=1e-9)


@pytest.mark.parametrize(("make", "structure"), [(SpinLatticeDynamics, iron), (cartesian, soft_iron)])
def test_fixed_atoms_stay_and_their_moments_move(make: Any, structure: Any) -> None:
    atoms = structure()
    atoms.set_constraint(FixAtoms([0, 3]))
    before, moments = atoms.get_positions(), get_moments(atoms)
    dynamics = make(atoms, 1.0 * fs) if make is SpinLatticeDynamics else make(atoms)
    dynamics.run(10)
    np.testing.assert_array_equal(atoms.positions[[0, 3]], before[[0, 3]])
    np.testing.assert_array_equal(atoms.get_momenta()[[0, 3]], 0.0)
    moved = np.abs(atoms.positions - before).max(axis=1) > 1e-4
    assert moved.sum() == len(atoms) - 2
    assert (np.abs(get_moments(atoms) - moments).max(axis=1) > 1e-4).all()


def test_fixed_atoms_leave_lattice_noise_alone() -> None:
    atoms = iron()
    atoms.set_constraint(FixAtoms([0]))
    dynamics = SpinLatticeDynamics(atoms, 1.0 * fs, lattice_bath=LatticeLangevin(900.0, 0.1 / fs), rng=1)
    start = atoms.positions[0].copy()
    dynamics.run(10)
    np.testing.assert_array_equal(atoms.positions[0], start)


def test_friction_acts_on_its_species_only() -> None:
    atoms = iron()
    atoms.symbols[::2] = "Ni"
    atoms.calc = Heisenberg(field=(0, 0, 1.0))  # no forces
    set_moments(atoms, ferromagnet(atoms, 1.0))
    before = atoms.get_momenta()
    bath = LatticeLangevin(0.0, {"Ni": 0.05 / fs, "Fe": 0.0})
    SpinLatticeDynamics(atoms, 1.0 * fs, lattice_bath=bath).run(10)
    np.testing.assert_allclose(atoms.get_momenta()[1::2], before[1::2], rtol=1e-12)
    np.testing.assert_allclose(atoms.get_momenta()[::2], before[::2] * np.exp(-0.5), rtol=1e-12)


def test_two_evaluations_per_step_observers_included() -> None:
    atoms = iron()
    calls = []
    calculate = atoms.calc.calculate
    atoms.calc.calculate = lambda *given: (calls.append(1), calculate(*given))[1]  # type: ignore[method-assign]
    dynamics = SpinLatticeDynamics(atoms, 1.0 * fs)
    dynamics.attach(lambda: (atoms.get_total_energy(), atoms.get_forces(), atoms.calc.get_magnetic_forces(atoms)))
    dynamics.run(10)
    assert len(calls) == 1 + 2 * 10
    assert dynamics.evaluations == 20


def test_static_field_costs_no_more_evaluations() -> None:
    atoms = iron()
    calls = []
    calculate = atoms.calc.calculate
    atoms.calc.calculate = lambda *given: (calls.append(1), calculate(*given))[1]  # type: ignore[method-assign]
    atoms.calc = ZeemanField(atoms.calc, (0, 0, 5.0))
    SpinLatticeDynamics(atoms, 0.7 * fs).run(10)
    assert len(calls) == 1 + 2 * 10


def test_interrupted_step_leaves_the_structure_as_it_was() -> None:
    atoms = iron()
    dynamics = SpinLatticeDynamics(atoms, 1.0 * fs)
    dynamics.run(3)
    before = [array.copy() for array in state(dynamics)]
    calculate, calls = atoms.calc.calculate, []

    def interrupted(*given: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        calculate(*given)

    atoms.calc.calculate = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        dynamics.run(1)
    for a, b in zip(state(dynamics), before, strict=True):
        np.testing.assert_array_equal(a, b)
    whole = SpinLatticeDynamics(iron(), 1.0 * fs)
    whole.run(4)
    dynamics.run(1)
    np.testing.assert_allclose(dynamics.atoms.positions, whole.atoms.positions, atol=1e-13)
    np.testing.assert_allclose(get_moments(atoms), get_moments(whole.atoms), atol=1e-13)


def test_interrupted_step_leaves_a_chain_as_it_was() -> None:
    atoms = soft_iron()
    chain = NoseHooverChain(300.0, 50 * fs)
    dynamics = CartesianMomentDynamics(atoms, 1.0 * fs, moment_mass=10.0 * fs**2, lattice_bath=chain)
    dynamics.run(3)
    before = dynamics.lattice_bath.speeds.copy()

    def interrupted(*given: Any) -> None:
        raise KeyboardInterrupt

    calculate, atoms.calc.calculate = atoms.calc.calculate, interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        dynamics.run(1)
    np.testing.assert_array_equal(dynamics.lattice_bath.speeds, before)
    atoms.calc.calculate = calculate  # type: ignore[method-assign]
    dynamics.run(1)
    assert dynamics.nsteps == 4


def test_moments_changed_between_steps_are_taken_over() -> None:
    atoms = iron()
    dynamics = SpinLatticeDynamics(atoms, 1.0 * fs)
    dynamics.run(2)
    set_moments(atoms, 1.5 * get_moments(atoms))
    fresh_atoms = atoms.copy()
    fresh_atoms.calc = iron().calc
    dynamics.run(2)
    SpinLatticeDynamics(fresh_atoms, 1.0 * fs).run(2)
    np.testing.assert_array_equal(get_moments(atoms), get_moments(fresh_atoms))
    assert np.linalg.norm(get_moments(atoms), axis=1) == pytest.approx(np.full(16, 3.3))


def test_temperature_can_be_changed_during_a_run() -> None:
    dynamics = spin_lattice(iron())
    dynamics.spin_bath.temperature = 10.0
    dynamics.lattice_bath.temperature = 20.0
    dynamics.run(1)
    assert dynamics.todict()["spin_temperature"] == 10.0
    with pytest.raises(InputError, match="not negative"):
        dynamics.lattice_bath.temperature = -1.0


def test_trajectory_and_log_are_written_and_continued(tmp_path: Path) -> None:
    names = {"trajectory": str(tmp_path / "run.traj"), "logfile": str(tmp_path / "run.log"), "loginterval": 2}
    dynamics = spin_lattice(iron(), **names)
    dynamics.run(4)
    dynamics.save_checkpoint(tmp_path / "run.npz")
    dynamics.close()
    again = SpinLatticeDynamics.from_checkpoint(tmp_path / "run.npz", iron().calc, **names)
    again.run(4)
    again.close()
    frames = read(tmp_path / "run.traj", ":")
    assert len(frames) == 5
    np.testing.assert_array_equal(frames[-1].positions, again.atoms.positions)
    assert len((tmp_path / "run.log").read_text(encoding="utf-8").splitlines()) == 1 + 5


def test_too_long_step_is_warned_about() -> None:
    atoms = iron(strength=0.05)
    with pytest.warns(TimestepWarning, match=r"too long"):
        SpinLatticeDynamics(atoms, 6.0 * fs).run(200)


def test_moments_that_turn_far_in_a_step_are_warned_about() -> None:
    """With a bath there is no conserved energy to tell."""
    dynamics = SpinLatticeDynamics(iron(strength=0.05), 6.0 * fs, spin_bath=SpinLangevin(0.0, damping=0.1))
    with pytest.warns(TimestepWarning, match=r"the fastest moments turned by"):
        dynamics.run(2)


def test_wrong_options_say_what_is_allowed() -> None:
    atoms = iron()
    for timestep in (0.0, -1.0, np.nan):
        with pytest.raises(InputError, match="positive time"):
            SpinLatticeDynamics(atoms, timestep)
    with pytest.raises(InputError, match="needs random numbers"):
        SpinLatticeDynamics(atoms, fs, lattice_bath=LatticeLangevin(300.0, 0.01 / fs))
    with pytest.raises(InputError, match="friction 0"):
        SpinLatticeDynamics(atoms, fs, lattice_bath=LatticeLangevin(300.0, 0.0), rng=1)
    with pytest.raises(InputError, match="no entry for Fe"):
        SpinLatticeDynamics(atoms, fs, lattice_bath=LatticeLangevin(300.0, {"O": 0.1}), rng=1)
    with pytest.raises(InputError, match="not negative"):
        LatticeLangevin(-1.0, 0.1)
    with pytest.raises(InputError, match="not negative"):
        SpinLatticeDynamics(atoms, fs, lattice_bath=LatticeLangevin(1.0, -0.1), rng=1)
    with pytest.raises(InputError, match="positive number"):
        NoseHooverChain(0.0, 10 * fs)
    with pytest.raises(InputError, match="interval"):
        CellRescaling(300.0, 100 * fs, 1.0, interval=0)
    with pytest.raises(InputError, match="every moment_mass is zero"):
        CartesianMomentDynamics(atoms, fs, moment_mass=0.0)


def test_structures_that_cannot_move_are_refused() -> None:
    bare = iron()
    set_moments(bare, np.zeros((16, 3)))
    with pytest.raises(InputError, match="no moments"):
        SpinLatticeDynamics(bare, fs)
    wrong = iron()
    wrong.calc = EMT()
    with pytest.raises(InputError, match="magnetic_forces"):
        SpinLatticeDynamics(wrong, fs)
    broken = iron()
    broken.set_momenta(np.full((16, 3), np.nan))
    with pytest.raises(InputError, match="NaN"):
        SpinLatticeDynamics(broken, fs)
    barostat = CellRescaling(0.0, 100 * fs, 1.0)
    open_cell = iron()
    open_cell.pbc = (True, True, False)
    with pytest.raises(InputError, match="periodic in three directions"):
        SpinLatticeDynamics(open_cell, fs, barostat=barostat)
    fixed = iron()
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(InputError, match="constraints"):
        SpinLatticeDynamics(fixed, fs, barostat=barostat)
