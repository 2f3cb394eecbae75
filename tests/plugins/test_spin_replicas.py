"""Replicas side by side: batches, independence of the neighbours, errors and interruption."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.md.verlet import VelocityVerlet

from deepspin_ase import DeepSpin, get_moments, set_moments
from deepspin_ase.errors import InputError
from deepspin_plugins.spin_dynamics.baths import SpinLangevin
from deepspin_plugins.spin_dynamics.dynamics import SpinDynamics
from deepspin_plugins.spin_dynamics.lattice_bath import LatticeLangevin
from deepspin_plugins.spin_dynamics.replicas import ReplicaSpinDynamics
from deepspin_plugins.spin_dynamics.spin_lattice import SpinLatticeDynamics
from deepspin_plugins.spin_dynamics.zeeman import RotatingField, ZeemanField
from tests.spin_lattice_cases import fs, iron


class Counting(DeepSpin):
    """Model that writes down how large its batches are."""

    def evaluate_many(self, structures: Iterable[Atoms], **options: Any) -> list[dict[str, Any]]:
        given = list(structures)
        self.__dict__.setdefault("batches", []).append(len(given))
        return super().evaluate_many(given, **options)


@pytest.fixture
def tilted(nio: Atoms) -> Atoms:
    """NiO with moments out of order."""
    moments = get_moments(nio)
    moments[0] = [0.4, 0.5, 1.0]
    set_moments(nio, moments)
    return nio


def spin_lattice(atoms: Atoms, calc: Any, seed: int) -> SpinLatticeDynamics:
    copy = atoms.copy()
    copy.calc = calc
    temperature = 50.0 * (seed + 1)
    return SpinLatticeDynamics(
        copy,
        1.0 * fs,
        spin_bath=SpinLangevin(temperature, damping=0.1),
        lattice_bath=LatticeLangevin(temperature, 0.02 / fs),
        rng=seed,
    )


def spins(atoms: Atoms, calc: Any, seed: int, integrator: str = "depondt-mertens") -> SpinDynamics:
    copy = atoms.copy()
    copy.calc = calc
    return SpinDynamics(copy, 0.5 * fs, integrator=integrator, damping=0.1, temperature=50.0 * (seed + 1), rng=seed)


@pytest.mark.parametrize("make", [spin_lattice, spins])
def test_replica_moves_as_it_would_alone(make: Any, tilted: Atoms) -> None:
    calc = Counting("nio", device="cpu")
    together = ReplicaSpinDynamics([make(tilted, calc, seed) for seed in range(3)])
    together.run(5)
    assert calc.batches[1:] == [3] * (len(calc.batches) - 1)
    for seed, replica in enumerate(together.replicas):
        alone = make(tilted, DeepSpin("nio", device="cpu"), seed)
        alone.run(5)
        np.testing.assert_allclose(get_moments(replica.atoms), get_moments(alone.atoms), atol=1e-12)
        np.testing.assert_allclose(replica.atoms.positions, alone.atoms.positions, atol=1e-12)
        assert replica.nsteps == 5
        assert replica.evaluations == alone.evaluations


def test_replicas_that_ask_more_often_are_batched_with_those_that_do(tilted: Atoms) -> None:
    """Implicit steps take different numbers of evaluations; no replica moves ahead or waits for ever."""
    calc = Counting("nio", device="cpu")
    replicas = [spins(tilted, calc, 0, "implicit-midpoint"), spins(tilted, calc, 1), spins(tilted, calc, 2)]
    ReplicaSpinDynamics(replicas).run(2)
    assert [replica.nsteps for replica in replicas] == [2, 2, 2]
    assert calc.batches[-1] == 1
    alone = spins(tilted, DeepSpin("nio", device="cpu"), 0, "implicit-midpoint")
    alone.run(2)
    np.testing.assert_allclose(get_moments(replicas[0].atoms), get_moments(alone.atoms), atol=1e-11)


def test_drivers_of_ase_can_be_replicas(tilted: Atoms) -> None:
    calc, replicas = Counting("nio", device="cpu"), []
    for seed in range(2):
        replicas.append(VelocityVerlet(tilted.copy(), 1.0 * fs))
        replicas[-1].atoms.set_momenta(np.random.default_rng(seed).normal(0, 2.0, (4, 3)))
        replicas[-1].atoms.calc = calc
    ReplicaSpinDynamics(replicas).run(3)
    assert calc.batches == [2] * 4
    alone = tilted.copy()
    alone.set_momenta(np.random.default_rng(1).normal(0, 2.0, (4, 3)))
    alone.calc = DeepSpin("nio", device="cpu")
    VelocityVerlet(alone, 1.0 * fs).run(3)
    np.testing.assert_allclose(replicas[1].atoms.positions, alone.positions, atol=1e-12)


def test_observers_of_a_replica_see_its_own_results(tilted: Atoms) -> None:
    calc = Counting("nio", device="cpu")
    replicas = [spin_lattice(tilted, calc, seed) for seed in range(2)]
    together = ReplicaSpinDynamics(replicas)
    energies: list[list[float]] = [[], []]
    for replica, row in zip(replicas, energies, strict=True):
        replica.attach(lambda a=replica.atoms, row=row: row.append(a.get_potential_energy()))
    together.run(3)
    assert together.batches == len(calc.batches) == 1 + 2 * 3
    check = tilted.copy()
    check.positions, check.calc = replicas[1].atoms.positions, DeepSpin("nio", device="cpu")
    set_moments(check, get_moments(replicas[1].atoms))
    assert energies[1][-1] == pytest.approx(check.get_potential_energy(), abs=1e-10)
    assert energies[0][-1] != energies[1][-1]


def test_rotating_fields_keep_their_clocks(tilted: Atoms) -> None:
    field = RotatingField((20.0, 0, 0), frequency=30.0, axis="z")
    calc = Counting("nio", device="cpu")
    replicas = [spins(tilted, ZeemanField(calc, field), seed) for seed in range(2)]
    ReplicaSpinDynamics(replicas).run(4)
    assert set(calc.batches[1:]) == {2}
    alone = spins(tilted, ZeemanField(DeepSpin("nio", device="cpu"), field), 1)
    alone.run(4)
    np.testing.assert_allclose(get_moments(replicas[1].atoms), get_moments(alone.atoms), atol=1e-12)


def test_error_of_one_replica_stops_all_at_whole_steps(tilted: Atoms) -> None:
    calc = Counting("nio", device="cpu")
    replicas = [spin_lattice(tilted, calc, seed) for seed in range(3)]
    together = ReplicaSpinDynamics(replicas)

    def fail() -> None:
        if replicas[1].nsteps == 2:
            raise ArithmeticError("no more")

    replicas[1].attach(fail)
    with pytest.raises(ArithmeticError, match="no more"):
        together.run(5)
    assert [replica.nsteps for replica in replicas] == [2, 2, 1]
    for replica in replicas:
        np.testing.assert_array_equal(get_moments(replica.atoms), replica._written)
    replicas[1].observers.clear()
    together.run(1)


def test_interrupted_replicas_can_go_on(tilted: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    calc = Counting("nio", device="cpu")
    together = ReplicaSpinDynamics([spins(tilted, calc, seed) for seed in range(2)])
    evaluate = Counting.evaluate_many

    def interrupt(self: Counting, structures: Iterable[Atoms], **options: Any) -> Any:
        if len(getattr(self, "batches", ())) == 3:
            raise KeyboardInterrupt
        return evaluate(self, structures, **options)

    monkeypatch.setattr(Counting, "evaluate_many", interrupt)
    with pytest.raises(KeyboardInterrupt):
        together.run(5)
    monkeypatch.undo()
    assert {replica.nsteps for replica in together.replicas} == {1}
    together.run(2)
    assert {replica.nsteps for replica in together.replicas} == {3}


def test_calculators_without_batches_take_turns() -> None:
    atoms = [iron(), iron()]
    replicas = [SpinLatticeDynamics(one, 1.0 * fs) for one in atoms]
    ReplicaSpinDynamics(replicas).run(3)
    alone = SpinLatticeDynamics(iron(), 1.0 * fs)
    alone.run(3)
    np.testing.assert_array_equal(get_moments(atoms[1]), get_moments(alone.atoms))


def test_wrong_replicas_are_refused(tilted: Atoms) -> None:
    with pytest.raises(InputError, match="no replicas"):
        ReplicaSpinDynamics([])
    one = iron()
    with pytest.raises(InputError, match="same structure"):
        ReplicaSpinDynamics([SpinLatticeDynamics(one, fs), SpinLatticeDynamics(one, fs)])
