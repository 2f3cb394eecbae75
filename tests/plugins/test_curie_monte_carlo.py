"""The Monte Carlo engine as a program: seeds, threads, restart, Ctrl-C, wrong input."""

from __future__ import annotations

import pickle
import signal
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel, dm_tensor, uniaxial
from deepspin_plugins.curie.interrupts import interrupts_held
from deepspin_plugins.curie.lattice import make_lattice
from deepspin_plugins.curie.monte_carlo import MonteCarlo
from deepspin_plugins.curie.moves import Moves
from deepspin_plugins.curie.random_numbers import fill_uniform, generator_states
from deepspin_plugins.curie.series import Series

TEMPERATURES = [200.0, 250.0, 320.0, 400.0, 500.0]
EVERYTHING = Moves(heat_bath=1, metropolis=1, overrelaxation=1)


@pytest.fixture(scope="module")
def model() -> HeisenbergModel:
    """Simple cubic, two shells."""
    return HeisenbergModel.from_shells(bulk("Po", "sc", a=2.5), [0.02, 0.004], magnitudes=2.0)


@pytest.fixture(scope="module")
def wurtzite() -> HeisenbergModel:
    """Two species, one of them without a moment, Dzyaloshinskii-Moriya vectors and an easy axis."""
    atoms = bulk("MnTe", "wurtzite", a=4.1, c=6.7)
    tensor = np.eye(3) * 0.01 + dm_tensor([0.0, 0.001, 0.002])
    magnetic = [i for i, symbol in enumerate(atoms.symbols) if symbol == "Mn"]
    entries = [(magnetic[0], magnetic[1], (0, 0, 0), tensor), (magnetic[0], magnetic[0], (1, 0, 0), 0.004 * np.eye(3))]
    return HeisenbergModel.from_bonds(
        atoms,
        entries,
        magnitudes={"Mn": 4.0, "Te": 0.0},
        anisotropy={"Mn": uniaxial(1e-3, "z"), "Te": np.zeros((3, 3))},
    )


def make(model: HeisenbergModel, **options: Any) -> MonteCarlo:
    return MonteCarlo(model, (4, 3, 3), TEMPERATURES, **({"threads": 1, "seed": 7} | options))


def assert_same(one: Series, two: Series) -> None:
    np.testing.assert_array_equal(one.energy, two.energy)
    np.testing.assert_array_equal(one.order, two.order)


@pytest.mark.parametrize("sampler", ["auto", "metropolis", "wolff", EVERYTHING])
def test_results_depend_on_the_seed_only(model, sampler):
    runs = []
    for seed, threads in [(7, 1), (7, 3), (8, 1)]:
        run = make(model, sampler=sampler, seed=seed, threads=threads)
        run.thermalize(12)
        runs.append(run.run(31))
    assert_same(runs[0], runs[1])
    assert not np.array_equal(runs[0].energy, runs[2].energy)


def test_replicas_are_independent(model):
    run = make(model, tempering=0)
    run.run(200)
    fluctuation = run.series.energy - run.series.energy.mean(axis=1, keepdims=True)
    correlation = np.corrcoef(fluctuation[:, 50:])
    assert np.abs(correlation - np.eye(5)).max() < 0.5
    assert not np.array_equal(run.moments(0), run.moments(1))


def test_random_numbers_are_uniform_and_independent():
    state = generator_states(1, 2)
    numbers = np.empty((2, 80_000))
    for row, one in zip(numbers, state, strict=True):
        fill_uniform(one, row, len(row))
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert np.sum((counts - 8000) ** 2 / 8000) < 45  # χ² with 19 degrees of freedom
    lanes = numbers.reshape(2, -1, 8)
    correlation = np.corrcoef(np.concatenate([lanes[0].T, lanes[1].T]))
    assert np.abs(correlation - np.eye(16)).max() < 5 / np.sqrt(10_000)
    assert np.abs(np.corrcoef(lanes[0, :-1].ravel(), lanes[0, 1:].ravel())[0, 1]) < 5 / np.sqrt(80_000)


def test_pieces_make_the_same_run(model):
    whole = make(model, sampler=EVERYTHING)
    whole.run(40)
    pieces = make(model, sampler=EVERYTHING)
    for sweeps in (7, 1, 0, 13, 19):
        pieces.run(sweeps)
    assert_same(whole.series, pieces.series)
    assert len(pieces.series) == 40
    pieces.clear()
    assert len(pieces.series) == 0


def test_every_skips_measurements_and_nothing_else(model):
    each, third = make(model), make(model)
    all_of_them = each.run(30)
    some = third.run(30, every=3)
    np.testing.assert_array_equal(all_of_them.energy[:, 2::3], some.energy)
    np.testing.assert_array_equal(all_of_them.order[:, 2::3], some.order)


@pytest.mark.parametrize("sampler", ["auto", "metropolis"])
def test_restart_goes_on_bit_for_bit(wurtzite, sampler, tmp_path):
    options: dict[str, Any] = {"sampler": sampler, "tempering": 3, "weights": [[1, 1, 1, 1], [1, -1, 1j, 1]]}
    straight = make(wurtzite, **options)
    straight.thermalize(10)
    straight.run(40)
    first = make(wurtzite, **options)
    first.thermalize(10)
    first.run(17)
    first.save(tmp_path / "state")
    second = make(wurtzite, **options, threads=2)
    second.restore(tmp_path / "state")
    assert second.sweeps == 27
    second.run(23)
    assert_same(straight.series, second.series)
    np.testing.assert_array_equal(straight.exchange_rates, second.exchange_rates)
    for number in range(len(TEMPERATURES)):
        np.testing.assert_array_equal(straight.moments(number), second.moments(number))


def test_pickled_sampler_goes_on(model):
    run = make(model)
    run.run(8)
    copy = pickle.loads(pickle.dumps(run))
    assert_same(run.run(8), copy.run(8))


def test_checkpoint_of_another_run_or_a_torn_one_is_refused(model, wurtzite, tmp_path):
    path = tmp_path / "state"
    make(model).save(path)
    for other, name in [
        (make(wurtzite), "model"),
        (make(model, sampler="wolff"), "sampler"),
        (make(model, tempering=1), "tempering"),
        (MonteCarlo(model, (4, 3, 3), [*TEMPERATURES[:-1], 600.0]), "temperatures"),
        (MonteCarlo(model, (4, 3, 4), TEMPERATURES), "repeat"),
    ]:
        with pytest.raises(InputError, match=name):
            other.restore(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        make(model).restore(path)
    with pytest.raises(FileNotFoundError):
        make(model).restore(tmp_path / "none")


def test_ctrl_c_keeps_what_was_measured(model, monkeypatch):
    calm = make(model, tempering=5)
    calm.run(40)
    run = make(model, tempering=5)
    exchange = MonteCarlo._exchange

    def pressed(self: MonteCarlo) -> None:
        if self.sweeps == 20:
            signal.raise_signal(signal.SIGINT)
        exchange(self)

    monkeypatch.setattr(MonteCarlo, "_exchange", pressed)
    with pytest.raises(KeyboardInterrupt):
        run.run(40)
    assert len(run.series) == run.sweeps == 25
    run.run(15)
    assert_same(run.series, calm.series)


def test_interrupts_come_after_the_block_and_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    reached = False

    def step() -> None:
        nonlocal reached
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            reached = True

    with pytest.raises(KeyboardInterrupt):
        step()
    assert reached
    assert signal.getsignal(signal.SIGINT) is before


def test_cones_adapt_while_thermalizing_only(model):
    run = make(model, sampler="metropolis")
    run.run(20)
    assert np.all(run.cones == np.pi)
    run.thermalize(200)
    adapted = run.cones
    assert np.all(np.diff(adapted) > 0)  # wider at higher temperature
    run.run(20)
    np.testing.assert_array_equal(run.cones, adapted)


def test_moments_keep_their_lengths_and_order(wurtzite):
    run = make(wurtzite)
    run.run(50)
    supercell = wurtzite.to_atoms().repeat((4, 3, 3))
    for number in range(len(TEMPERATURES)):
        moments = run.moments(number)
        np.testing.assert_allclose(np.linalg.norm(moments, axis=1), np.where(supercell.symbols == "Mn", 4.0, 0.0))
        assert run.energy(number) == pytest.approx(wurtzite.repeat((4, 3, 3)).energy(moments))
        mean = np.linalg.norm(moments.sum(axis=0)) / (4.0 * np.sum(supercell.symbols == "Mn"))
        assert run.series.order[number, -1, 0] == pytest.approx(mean)


def test_start_is_the_given_one(model):
    start = np.random.default_rng(0).normal(size=(36, 3))
    run = make(model, moments=start)
    unit = 2.0 * start / np.linalg.norm(start, axis=1, keepdims=True)
    np.testing.assert_allclose(run.moments(2), unit)
    assert run.run(0).energy.shape == (5, 0)
    np.testing.assert_allclose(make(model, moments=[[0, 0, 1.0]]).moments(0), [[0, 0, 2.0]] * 36)


def test_order_of_a_wave_is_that_of_its_phase(model):
    # 0 at rest, 1 for a collinear wave of modulus one, 1/√2 for a helix
    x = np.repeat(np.arange(4), 9)
    for wave, expected in [((0.5, 0, 0), 1.0), ((0.25, 0, 0), np.sqrt(0.5))]:
        angle = 2 * np.pi * wave[0] * x
        start = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
        run = make(model, moments=start, wave_vectors=[wave, (0, 0, 0)], weights=[[1], [1]])
        order = run.run(0)
        assert order.saturation.tolist() == [2.0, 2.0]
        assert np.linalg.norm(run.moments(0).T @ np.exp(2j * np.pi * wave[0] * x)) / 72 == pytest.approx(expected)
        cold = MonteCarlo(
            model, (4, 3, 3), [1e-6], moments=start, wave_vectors=[wave, (0, 0, 0)], weights=[[1], [1]],
            sampler=Moves(metropolis=1), threads=1,
        )  # fmt: skip
        cold._cones[:] = 1.0 - 1e-12
        assert cold.run(1).order[0, 0] == pytest.approx([expected, 0.0], abs=1e-4)


def test_colours_separate_neighbours_and_bonds_to_oneself_are_no_neighbours(model, wurtzite):
    biquadratic = HeisenbergModel.from_shells(model.to_atoms(), {3: 1e-3}).bonds
    for lattice in (
        make_lattice(model, (4, 4, 4)),
        make_lattice(model, (3, 5, 1), biquadratic),
        make_lattice(model, (1, 1, 1)),
        make_lattice(wurtzite, (1, 2, 3)),
    ):
        colour = np.empty(len(lattice.kind), dtype=int)
        for number in range(len(lattice.colours) - 1):
            colour[lattice.order[lattice.colours[number] : lattice.colours[number + 1]]] = number
        assert sorted(lattice.order) == list(range(len(lattice.kind)))
        for i, kind in enumerate(lattice.kind):
            count = lattice.bounds[kind + 1] - lattice.bounds[kind]
            neighbours = lattice.neighbours[lattice.first[i] : lattice.first[i] + count]
            assert np.all(colour[neighbours] != colour[i])
    assert len(make_lattice(model, (1, 1, 1)).neighbours) == 0


def test_auto_suits_the_model(model, wurtzite):
    assert make(model).moves.clusters == 1
    assert make(wurtzite).moves == Moves(heat_bath=1, overrelaxation=2)
    atoms = bulk("Po", "sc", a=2.5)
    anti = HeisenbergModel.from_shells(atoms, [-0.02], magnitudes=2.0)
    assert MonteCarlo(anti, (4, 4, 4), [300.0], wave_vectors=[0.5] * 3).moves.clusters == 1
    assert MonteCarlo(anti, (4, 4, 4), [300.0]).moves.clusters == 0  # not the order that it favours
    hard = HeisenbergModel.from_shells(atoms, [0.001], magnitudes=2.0, anisotropy=uniaxial(0.02, "z"))
    assert make(hard).moves.metropolis > 0
    free = HeisenbergModel.from_shells(atoms, {}, magnitudes=2.0, field=(0, 0, 1.0))
    assert make(free).moves.heat_bath == 1


def test_series_are_stored(model, tmp_path):
    series = make(model, weights=[[1], [1]]).run(12)
    series.save(tmp_path / "series.npz")
    back = Series.load(tmp_path / "series.npz")
    assert_same(series, back)
    assert (back.sites, len(back)) == (36, 12)
    assert back.order.shape == (5, 12, 2)
    with pytest.raises(ValueError, match="read-only"):
        back.energy[0, 0] = 1.0
    assert "saturation" in series.plot().get_ylabel()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeat": (4, 0, 4)}, "repeat"),
        ({"repeat": (4, 4)}, "repeat"),
        ({"repeat": (4.5, 4, 4)}, "repeat"),
        ({"temperatures": []}, "temperatures"),
        ({"temperatures": [0.0, 10.0]}, "positive"),
        ({"temperatures": [20.0, 10.0]}, "increasing"),
        ({"temperatures": [10.0, np.nan]}, "NaN"),
        ({"weights": [1, 1]}, "weights have shape"),
        ({"weights": [0]}, "zero on every"),
        ({"weights": [np.nan]}, "finite"),
        ({"wave_vectors": [0.1, 0, 0]}, "do not fit"),
        ({"wave_vectors": [[0, 0, 0], [0.5, 0, 0]]}, "wave_vectors have shape"),
        ({"sampler": "gibbs"}, "heat-bath"),
        ({"sampler": "wolff", "biquadratic": Bonds.from_list([(0, 0, (1, 0, 0), 1e-3)])}, "isotropic"),
        ({"biquadratic": Bonds.from_list([(0, 0, (1, 0, 0), np.diag([1, 2, 3]))])}, "one number each"),
        ({"biquadratic": Bonds.from_list([(0, 1, (1, 0, 0), 1e-3)])}, "site 1"),
        ({"tempering": -1}, "tempering"),
        ({"moments": [[0, 0, 0]]}, "zero vector"),
        ({"moments": [[0, 0, 1]] * 5}, "moments have shape"),
        ({"moments": [[0, 0, np.inf]]}, "NaN or infinity"),
    ],
)
def test_wrong_input_is_explained(model, options, message):
    with pytest.raises(InputError, match=message):
        MonteCarlo(**({"model": model, "repeat": (4, 4, 4), "temperatures": TEMPERATURES} | options))


def test_wrong_models_and_numbers_of_sweeps_are_explained(model):
    cluster = HeisenbergModel.from_shells(Atoms("Fe2", positions=[[0, 0, 0], [2, 0, 0]]), [0.02], magnitudes=2.0)
    with pytest.raises(InputError, match="open boundary"):
        MonteCarlo(cluster, (2, 1, 1), [300.0])
    bare = HeisenbergModel.from_shells(bulk("Po", "sc", a=2.5), {}, magnitudes=0.0)
    with pytest.raises(InputError, match="no magnetic site"):
        MonteCarlo(bare, (2, 1, 1), [300.0])
    with pytest.raises(InputError, match="sweeps"):
        make(model).run(-1)
    with pytest.raises(InputError, match="every"):
        make(model).run(10, every=3)
    with pytest.raises(InputError, match="every state"):
        Moves(overrelaxation=3)
    with pytest.raises(InputError, match="not negative"):
        Moves(heat_bath=-1)
