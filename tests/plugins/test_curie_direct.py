"""Direct sampling: wrong input, restart bit for bit, Ctrl-C, batches, files."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

from deepspin_ase import Heisenberg, HeisenbergModel, get_moments, set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Exponential, Morse
from deepspin_plugins.curie.direct import sample_potential
from deepspin_plugins.curie.direct_samples import DirectSamples
from deepspin_plugins.curie.potential_sampler import PotentialSampler
from deepspin_plugins.curie.series import Series


def crystal() -> Atoms:
    """CsCl cells of Fe and a non-magnetic atom; exchange and lattice follow the atoms."""
    atoms = Atoms("FeAl", positions=[[0, 0, 0], [1.4, 1.4, 1.4]], cell=[2.8, 2.8, 2.8], pbc=True).repeat((2, 2, 1))
    set_moments(atoms, {"Fe": 2.0, "Al": 0.0})
    atoms.calc = Heisenberg(
        exchange={("Fe", "Fe"): Exponential(strength=0.02, r0=2.8, decay=0.5, cutoff=3.5)},
        lattice=Morse(depth=0.4, r0=2.6, stiffness=1.3, cutoff=3.6),
    )
    return atoms


class Batched(Heisenberg):
    """Counts what it is asked for in batches; breaks off after some of them."""

    def __init__(self, *args: Any, stop_after: int = 10**9, **options: Any) -> None:
        super().__init__(*args, **options)
        self.batches: list[int] = []
        self.stop_after = stop_after

    def evaluate_many(self, structures: Sequence[Atoms]) -> list[dict[str, Any]]:
        if len(self.batches) >= self.stop_after:
            raise KeyboardInterrupt
        self.batches.append(len(structures))
        return [dict(self.calculate_properties(s, ["energy", "forces", "magnetic_forces"])) for s in structures]


def batched(stop_after: int = 10**9) -> Atoms:
    cell = Atoms("Fe", cell=[2.5, 2.5, 2.5], pbc=True)
    set_moments(cell, 2.0)
    atoms = cell.repeat((3, 1, 1))
    atoms.calc = Batched(HeisenbergModel.from_shells(cell, [0.01]), stop_after=stop_after)
    return atoms


def assert_equal(a: DirectSamples, b: DirectSamples) -> None:
    for name in ("energy", "order", "length", "positions", "moments", "steps", "acceptance", "exchange_rates"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_result_has_the_shapes_of_a_series_and_leaves_the_structure_alone() -> None:
    atoms = crystal()
    positions, moments = atoms.positions.copy(), get_moments(atoms)
    samples = sample_potential(atoms, [200, 400, 600], lattice=True, equilibration=10, sweeps=7, seed=1)
    assert isinstance(samples, Series)
    assert samples.energy.shape == (3, 7)
    assert samples.order.shape == (3, 7, 1)
    assert samples.sites == 4
    assert samples.saturation == pytest.approx([2.0])
    assert len(samples) == 7
    assert samples.complete
    assert not samples.energy.flags.writeable
    np.testing.assert_array_equal(atoms.positions, positions)
    np.testing.assert_array_equal(get_moments(atoms), moments)
    last = samples.structure(2)
    assert np.abs(last.positions - positions).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(get_moments(last), axis=1), np.linalg.norm(moments, axis=1), atol=1e-12)
    last.calc = crystal().calc
    assert last.get_potential_energy() == pytest.approx(samples.energy[2, -1], abs=1e-10)


def test_positions_and_lengths_stay_unless_asked() -> None:
    atoms = crystal()
    samples = sample_potential(atoms, [300], equilibration=5, sweeps=5)
    np.testing.assert_array_equal(samples.positions[0], atoms.positions)
    np.testing.assert_allclose(samples.length, 2.0, atol=1e-12)


def test_order_parameters_take_complex_weights_and_moments_of_different_length() -> None:
    atoms = Atoms("Fe4", positions=3.0 * np.arange(4)[:, None] * [1, 0, 0])
    set_moments(atoms, [[1, 0, 0], [0, 2, 0], [-3, 0, 0], [0, 0, 0]])
    atoms.calc = Heisenberg(field=[0, 0, 1e-6])
    sampler = PotentialSampler(atoms, [300], weights=[[1, 1, 1, 1], [1, 1j, -1, 5]])
    sampler._kernel.steps[:] = 0.0  # nothing moves
    samples = sampler.run(1)
    np.testing.assert_allclose(samples.order[0, 0], [np.sqrt(8) / 6, np.sqrt(20) / 6])
    np.testing.assert_allclose(samples.saturation, [2.0, 2.0])


def test_same_seed_same_numbers() -> None:
    runs = [sample_potential(crystal(), [300, 500], lattice=True, equilibration=4, sweeps=4, seed=s) for s in (3, 3, 4)]
    assert_equal(runs[0], runs[1])
    assert np.abs(runs[0].energy - runs[2].energy).max() > 1e-6


def test_engine_returns_the_new_measurements_and_keeps_all() -> None:
    sampler = PotentialSampler(crystal(), [300, 500], lattice=True)
    with pytest.raises(InputError, match="nothing has been measured"):
        _ = sampler.series
    first = sampler.run(3)
    travelled = pickle.loads(pickle.dumps(sampler))
    second = sampler.run(2)
    assert (len(first), len(second), len(sampler.series)) == (3, 2, 5)
    np.testing.assert_array_equal(sampler.series.energy, np.hstack([first.energy, second.energy]))
    assert_equal(travelled.run(2), second)
    sampler.clear()
    assert len(sampler) == 0
    assert sampler.sweeps == 5


def test_all_temperatures_go_into_one_batch() -> None:
    atoms = batched()
    sample_potential(atoms, [100, 200, 300], equilibration=5, sweeps=5)
    assert set(atoms.calc.batches) == {3}


def test_batches_and_single_evaluations_give_the_same() -> None:
    atoms, single = batched(), batched()
    single.calc = Heisenberg(atoms.calc.model)
    options: dict[str, Any] = {"equilibration": 5, "sweeps": 10, "seed": 2}
    assert_equal(sample_potential(atoms, [100, 300], **options), sample_potential(single, [100, 300], **options))


@pytest.mark.parametrize("first", [(4, 1), (8, 5)], ids=["stopped in equilibration", "stopped while measuring"])
def test_restart_goes_on_bit_for_bit(tmp_path: Path, first: tuple[int, int]) -> None:
    options: dict[str, Any] = {"lattice": True, "longitudinal": False, "seed": 5}
    whole = sample_potential(crystal(), [300, 450, 600], equilibration=8, sweeps=12, **options)
    path = tmp_path / "run.npz"
    sampler = PotentialSampler(crystal(), [300, 450, 600], **options)
    sampler.thermalize(first[0])
    if first[0] == 8:
        sampler.run(first[1])
    sampler.save(path)
    again = sample_potential(crystal(), [300, 450, 600], equilibration=8, sweeps=12, checkpoint=path, **options)
    assert_equal(whole, again)
    more = sample_potential(crystal(), [300, 450, 600], equilibration=8, sweeps=20, checkpoint=path, **options)
    np.testing.assert_array_equal(more.energy[:, :12], whole.energy)


def test_ctrl_c_keeps_what_is_there_and_a_restart_completes_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.npz"
    options: dict[str, Any] = {"equilibration": 5, "sweeps": 20, "seed": 2}
    whole = sample_potential(batched(), [100, 300], **options)
    part = sample_potential(batched(stop_after=50), [100, 300], checkpoint=path, **options)
    assert "interrupted" in caplog.text
    assert not part.complete
    assert 0 < len(part) < 20
    np.testing.assert_array_equal(part.energy, whole.energy[:, : len(part)])
    assert_equal(sample_potential(batched(), [100, 300], checkpoint=path, **options), whole)
    with pytest.raises(KeyboardInterrupt):  # nothing to keep yet
        sample_potential(batched(stop_after=3), [100, 300], **options)


def test_checkpoints_of_other_runs_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    sample_potential(batched(), [100, 300], equilibration=1, sweeps=1, checkpoint=path)
    with pytest.raises(InputError, match="temperatures"):
        sample_potential(batched(), [100, 350], equilibration=1, sweeps=1, checkpoint=path)
    with pytest.raises(InputError, match="weights"):
        sample_potential(batched(), [100, 300], weights=[1, -1, 1], equilibration=1, sweeps=1, checkpoint=path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="damaged"):
        sample_potential(batched(), [100, 300], equilibration=1, sweeps=1, checkpoint=path)


def test_table_says_when_a_run_was_too_short() -> None:
    samples = sample_potential(crystal(), [300, 450], lattice=True, equilibration=20, sweeps=60)
    lines = samples.table().splitlines()
    assert len(lines) == 4
    assert "8 atoms, 4 magnetic: directions and positions; 60 sweeps" in lines[0]
    short = sample_potential(crystal(), [300], equilibration=1, sweeps=1)
    assert "too short" in short.table()


def test_save_and_load(tmp_path: Path) -> None:
    samples = sample_potential(crystal(), [300, 450], lattice=True, equilibration=2, sweeps=3)
    samples.save(tmp_path / "samples.npz")
    loaded = DirectSamples.load(tmp_path / "samples.npz")
    assert_equal(samples, loaded)
    assert loaded.complete is True
    assert loaded.plot().get_xlabel()
    with pytest.raises(InputError):
        Series.load(tmp_path / "samples.npz")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda a: setattr(a, "calc", None), {}, "no calculator"),
        (lambda a: setattr(a, "calc", LennardJones()), {}, "without magnetic_forces"),
        (lambda a: set_moments(a, 0.0), {}, "no moments"),
        (lambda a: a.set_constraint(FixAtoms([0])), {"lattice": True}, "constraints"),
        (lambda a: a.positions.__setitem__((0, 0), np.nan), {}, "NaN"),
        (lambda a: None, {"weights": [1, 2, 3]}, "weights"),
        (lambda a: None, {"weights": [0, 1] * 4}, "weight zero"),
        (lambda a: None, {"leapfrog_steps": 0}, "leapfrog_steps"),
        (lambda a: None, {"sweeps": 0}, "sweeps"),
    ],
)
def test_wrong_input(change: Any, options: dict[str, Any], message: str) -> None:
    atoms = crystal()
    change(atoms)
    with pytest.raises(InputError, match=message):
        sample_potential(atoms, [300], **options)


@pytest.mark.parametrize("temperatures", [[], [0.0], [-5.0], [300, 200], [np.nan], [[300]]])
def test_wrong_temperatures(temperatures: Any) -> None:
    with pytest.raises(InputError, match="temperatures"):
        sample_potential(crystal(), temperatures)
