"""Checkpoints of SpinDynamics: bit for bit restarts, also of a killed run, and files that are refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms

from deepspin_ase import Heisenberg, HeisenbergModel, ferromagnet, get_moments, set_moments, tilt
from deepspin_ase.errors import InputError
from deepspin_plugins.spin_dynamics import ImplicitMidpoint, RescaledTemperature, SpinDynamics
from deepspin_plugins.spin_dynamics.checkpoint import read_checkpoint, write_checkpoint

FS = 0.2 * units.fs


def model(**terms) -> HeisenbergModel:
    cell = bulk("Fe", a=2.8665, cubic=True)
    return HeisenbergModel.from_shells(cell, [0.03, 0.01], magnitudes=2.2, **terms)


def iron(cells: int = 2, **terms) -> Atoms:
    atoms = bulk("Fe", a=2.8665, cubic=True).repeat(cells)
    set_moments(atoms, tilt(ferromagnet(atoms, 2.2), 20, rng=1))
    atoms.calc = Heisenberg(model(**terms))
    return atoms


@pytest.mark.parametrize("statistics", ["classical", "coloured", RescaledTemperature(1000.0, 2.0)])
def test_restart_is_bit_for_bit_the_same_trajectory(tmp_path, statistics):
    options = {"damping": {"Fe": 0.1}, "temperature": 200.0, "rng": 5, "statistics": statistics}
    atoms = iron(2, field=(0, 0, 3))
    dynamics = SpinDynamics(atoms, FS, integrator="semi-implicit", **options)
    dynamics.attach(dynamics.save_checkpoint, 10, tmp_path / "run.npz")
    dynamics.run(17)
    again = SpinDynamics.from_checkpoint(tmp_path / "run.npz", Heisenberg(model(field=(0, 0, 3))))
    assert (again.nsteps, again.temperature, again.dt) == (10, 200.0, FS)
    again.run(7)
    np.testing.assert_array_equal(get_moments(again.atoms), get_moments(atoms))
    dynamics.run(30)
    again.run(30)
    np.testing.assert_array_equal(get_moments(again.atoms), get_moments(atoms))


def test_checkpoint_keeps_the_structure(tmp_path):
    atoms = iron(1)
    atoms.set_constraint(FixAtoms([1]))
    atoms.set_momenta(np.ones((2, 3)), apply_constraint=False)
    atoms.set_masses([50.0, 57.0])
    dynamics = SpinDynamics(atoms, FS, integrator=ImplicitMidpoint(tolerance=1e-9))
    dynamics.save_checkpoint(tmp_path / "c")
    again = SpinDynamics.from_checkpoint(tmp_path / "c", Heisenberg(model()))
    assert again.integrator == ImplicitMidpoint(tolerance=1e-9)
    assert again.atoms.constraints[0].index.tolist() == [1]
    for name in atoms.arrays:
        np.testing.assert_array_equal(again.atoms.arrays[name], atoms.arrays[name])
    assert again.atoms.cell.array.tobytes() == atoms.cell.array.tobytes()
    assert list(tmp_path.iterdir()) == [tmp_path / "c"]  # nothing is left beside it


def test_wrong_checkpoints_are_refused(tmp_path):
    atoms = iron(1)
    dynamics = SpinDynamics(atoms, FS)
    good = tmp_path / "good"
    dynamics.save_checkpoint(good)
    (tmp_path / "cut").write_bytes(good.read_bytes()[:200])
    (tmp_path / "text").write_text("no checkpoint")
    np.savez(tmp_path / "foreign.npz", a=1)
    for name in ("cut", "text", "foreign.npz"):
        with pytest.raises(InputError, match="no checkpoint"):
            SpinDynamics.from_checkpoint(tmp_path / name, Heisenberg(model()))
    write_checkpoint(tmp_path / "other", "AnotherDriver", atoms, {}, {})
    with pytest.raises(InputError, match=r"AnotherDriver\.from_checkpoint"):
        SpinDynamics.from_checkpoint(tmp_path / "other", Heisenberg(model()))
    with pytest.raises(FileNotFoundError):
        SpinDynamics.from_checkpoint(tmp_path / "missing", Heisenberg(model()))
    with pytest.raises(TypeError, match="settings"):
        write_checkpoint(tmp_path / "good", "SpinDynamics", atoms, {"bad": object()}, {})
    assert read_checkpoint(good, "SpinDynamics").settings["nsteps"] == 0  # the old file has survived


def test_custom_integrators_run_but_are_not_checkpointed(tmp_path):
    class Standstill:
        name = "standstill"

        def step(self, e, field, timestep, *, damping=0.0, noise=None):
            return e

    atoms = iron(1)
    before = get_moments(atoms)
    dynamics = SpinDynamics(atoms, FS, integrator=Standstill())
    dynamics.run(2)
    np.testing.assert_array_equal(get_moments(atoms), before)
    with pytest.raises(InputError, match="of your own"):
        dynamics.save_checkpoint(tmp_path / "c")


_RUN = """
import sys
from ase import units
from ase.build import bulk
from deepspin_ase import Heisenberg, HeisenbergModel, ferromagnet, set_moments
from deepspin_plugins.spin_dynamics import SpinDynamics

atoms = bulk("Fe", a=2.8665, cubic=True).repeat(2)
set_moments(atoms, ferromagnet(atoms, 2.2))
atoms.calc = Heisenberg(HeisenbergModel.from_shells(bulk("Fe", a=2.8665, cubic=True), [0.03, 0.01], magnitudes=2.2))
dynamics = SpinDynamics(atoms, 0.2 * units.fs, damping=0.1, temperature=300, rng=9)
dynamics.attach(dynamics.save_checkpoint, 50, sys.argv[1])
dynamics.run(10**9)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_run_that_is_killed_goes_on_bit_for_bit(tmp_path):
    path = tmp_path / "run.npz"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", _RUN, str(path)], env=environment)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if path.exists() and read_checkpoint(path, "SpinDynamics").settings["nsteps"] >= 150:
                break
            time.sleep(0.01)
    finally:
        process.kill()  # SIGKILL
        process.wait()
    calculator = Heisenberg(model())
    resumed = SpinDynamics.from_checkpoint(path, calculator)
    assert resumed.nsteps >= 150
    resumed.run(40)
    straight = bulk("Fe", a=2.8665, cubic=True).repeat(2)
    set_moments(straight, ferromagnet(straight, 2.2))
    straight.calc = Heisenberg(model())
    SpinDynamics(straight, FS, damping=0.1, temperature=300, rng=9).run(resumed.nsteps)
    np.testing.assert_array_equal(get_moments(resumed.atoms), get_moments(straight))
