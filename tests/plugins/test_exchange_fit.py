"""``fit_heisenberg``: constants and their errors from labelled frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase import Heisenberg, HeisenbergModel, random_directions, set_moments
from deepspin_ase.data import Frame, Labels
from deepspin_ase.errors import InputError
from deepspin_plugins.exchange import FitResult, fit_heisenberg
from tests.plugins.exchange_cases import Biquadratic


@pytest.fixture
def iron() -> Atoms:
    atoms = bulk("Fe", a=2.87)
    set_moments(atoms, [2.2])
    return atoms


def random_frames(cell: Atoms, calc: object, count: int, *, noise: float = 0.0, shake: float = 0.0) -> list[Frame]:
    """Labelled frames of random directions, with noise on energies (eV per atom) and magnetic forces (eV/µB)."""
    frames = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        atoms = cell.copy()
        set_moments(atoms, random_directions(atoms, np.linalg.norm(atoms.get_initial_magnetic_moments()[0]), rng))
        atoms.positions += rng.normal(0, shake, atoms.positions.shape) if shake else 0.0
        atoms.calc = calc
        labels = Frame.from_calculation(atoms).labels
        energy = labels.energy + noise * len(atoms) * rng.normal()
        forces = labels.magnetic_forces + noise * rng.normal(size=(len(atoms), 3))
        frames.append(Frame(atoms, Labels(energy=energy, magnetic_forces=forces), index=seed))
    return frames


def test_constants_of_a_model_come_back(iron: Atoms) -> None:
    model = HeisenbergModel.from_shells(iron, [0.04, 0.02, -0.003], dmi=[0.002, 0.001])
    frames = random_frames(iron.repeat(3), Heisenberg(model), 4)
    fit = fit_heisenberg(frames, cutoff=4.2, reference=iron, dmi=True, biquadratic=True)
    np.testing.assert_allclose(fit.exchange, [0.04, 0.02, -0.003], atol=1e-10)
    np.testing.assert_allclose(fit.dmi, [0.002, 0.001, 0.0], atol=1e-10)
    np.testing.assert_allclose(fit.biquadratic, 0.0, atol=1e-10)
    assert fit.multiplicities.tolist() == [8, 6, 12]
    assert fit.explained_force == pytest.approx(1.0)
    assert fit.rmse_energy < 1e-10


def test_biquadratic_constants_and_their_expansion(iron: Atoms) -> None:
    fit = fit_heisenberg(
        random_frames(iron.repeat(3), Biquadratic(0.02, 0.003, 2.6), 4), cutoff=2.6, reference=iron, biquadratic=True
    )
    np.testing.assert_allclose([fit.exchange[0], fit.biquadratic[0]], [0.02, 0.003], atol=1e-10)
    with pytest.raises(InputError, match="collinear state"):
        fit.to_model()
    model = fit.to_model([[0, 0, 2.2]])
    np.testing.assert_allclose(model.bonds.tensor, np.tile(0.026 * np.eye(3), (8, 1, 1)), atol=1e-10)


@pytest.mark.parametrize("energy_weight", [0.0, 1.0, 1e3])
def test_energies_or_forces_alone_are_enough(iron: Atoms, energy_weight: float) -> None:
    model = HeisenbergModel.from_shells(iron, [0.04, 0.02])
    frames = random_frames(iron.repeat(3), Heisenberg(model), 6)
    fit = fit_heisenberg(frames, cutoff=2.9, reference=iron, energy_weight=energy_weight)
    np.testing.assert_allclose(fit.exchange, [0.04, 0.02], atol=1e-9)
    only_energy = [Frame(f.atoms, Labels(energy=f.labels.energy)) for f in frames]
    only_force = [Frame(f.atoms, Labels(magnetic_forces=f.labels.magnetic_forces)) for f in frames]
    for part in (only_energy, only_force):
        np.testing.assert_allclose(fit_heisenberg(part, cutoff=2.9, reference=iron).exchange, [0.04, 0.02], atol=1e-9)
    assert np.isnan(fit_heisenberg(only_energy, cutoff=2.9, reference=iron).rmse_force)


def test_errors_cover_the_truth(iron: Atoms) -> None:
    """Over many noisy data sets the deviations are as large as the errors say."""
    model = HeisenbergModel.from_shells(iron, [0.04, 0.02])
    clean = random_frames(iron.repeat(2), Heisenberg(model), 60)
    pulls = []
    for group in range(6):
        frames = []
        for frame in clean[group::6]:
            rng = np.random.default_rng(1000 + frame.index)
            forces = frame.labels.magnetic_forces + 2e-3 * rng.normal(size=(len(frame), 3))
            frames.append(replace(frame, labels=Labels(frame.labels.energy, magnetic_forces=forces)))
        fit = fit_heisenberg(frames, cutoff=2.9, reference=iron, energy_weight=0.0, ridge=0.0)
        pulls.append((fit.exchange - [0.04, 0.02]) / fit.exchange_errors)
    assert 0.5 < np.sqrt(np.mean(np.square(pulls))) < 1.8


def test_a_ridge_tames_shells_that_the_data_cannot_tell_apart(iron: Atoms) -> None:
    model = HeisenbergModel.from_shells(iron, [0.04])
    frames = random_frames(iron.repeat(2), Heisenberg(model), 5, noise=1e-3)
    fit = fit_heisenberg(frames, cutoff=7.5, reference=iron)  # 8 atoms, many shells fall on the same pairs
    assert np.abs(fit.exchange).max() < 0.06
    strong = fit_heisenberg(frames, cutoff=7.5, reference=iron, ridge=10.0)
    assert np.linalg.norm(strong.exchange) < 0.5 * np.linalg.norm(fit.exchange)


def test_mean_structure_defines_the_shells_of_displaced_frames(iron: Atoms) -> None:
    model = HeisenbergModel.from_shells(iron, [0.04, 0.02])
    frames = random_frames(iron.repeat(3), Heisenberg(model), 6, shake=0.03)
    for number, frame in enumerate(frames):  # wrapped differently in every frame
        frame.atoms.positions += frame.atoms.cell.array[number % 3] * (np.arange(27) % 2)[:, None]
    fit = fit_heisenberg(frames, cutoff=2.95, tolerance=0.2)
    np.testing.assert_allclose(fit.exchange, [0.04, 0.02], atol=1e-3)
    np.testing.assert_allclose(fit.distances, [2.485, 2.87], atol=0.03)


def test_frames_of_different_sizes_and_a_missing_label(iron: Atoms) -> None:
    model = HeisenbergModel.from_shells(iron, [0.04, 0.02])
    calc = Heisenberg(model)
    frames = random_frames(iron.repeat(2), calc, 3) + random_frames(iron.repeat((3, 2, 2)), calc, 3)
    forces = frames[0].labels.magnetic_forces.copy()
    forces[2] = np.nan
    frames[0] = Frame(frames[0].atoms, Labels(frames[0].labels.energy, magnetic_forces=forces))
    fit = fit_heisenberg(frames, cutoff=2.9, reference=iron)
    np.testing.assert_allclose(fit.exchange, [0.04, 0.02], atol=1e-9)


def test_model_of_a_fit_has_the_lengths_of_the_frames(iron: Atoms) -> None:
    model = HeisenbergModel.from_shells(iron, [0.04, 0.02], dmi=[0.002])
    frames = random_frames(iron.repeat(3), Heisenberg(model), 4)
    crystal = bulk("Fe", a=2.87)
    set_moments(crystal, 0.0)  # the reference carries none
    built = fit_heisenberg(frames, cutoff=2.9, reference=crystal, dmi=True).to_model()
    assert built.magnitudes.tolist() == pytest.approx([2.2])
    order = np.lexsort((*built.bonds.image.T, built.bonds.j))
    np.testing.assert_allclose(built.bonds.tensor[order], model.bonds.tensor[order], atol=1e-9)


def test_table_plot_and_file(iron: Atoms, tmp_path: Path) -> None:
    model = HeisenbergModel.from_shells(iron, [0.04, 0.02], dmi=[0.002])
    fit = fit_heisenberg(random_frames(iron.repeat(3), Heisenberg(model), 4), cutoff=2.9, reference=iron, dmi=True)
    table = fit.table()
    assert "40.0000 ±  0.0000" in table
    assert "d (meV)" in table
    assert "B (meV)" not in table
    assert fit.plot().get_ylabel() == "J, B, d (meV)"
    fit.save(tmp_path / "fit")
    again = FitResult.load(tmp_path / "fit")
    assert again.table() == table
    np.testing.assert_array_equal(again.to_model().bonds.tensor, fit.to_model().bonds.tensor)
    (tmp_path / "other").write_text("?", encoding="utf-8")
    with pytest.raises(InputError, match="no file of"):
        FitResult.load(tmp_path / "other")
    with pytest.raises(ValueError, match="read-only"):
        fit.exchange[0] = 0.0


class TestWrongInput:
    """Errors that say what to do."""

    @pytest.fixture
    def frames(self, iron: Atoms) -> list[Frame]:
        return random_frames(iron.repeat(2), Heisenberg(HeisenbergModel.from_shells(iron, [0.04])), 3)

    def test_too_few(self, frames: list[Frame]) -> None:
        with pytest.raises(InputError, match="at least three"):
            fit_heisenberg(frames[:2], cutoff=2.6)

    def test_no_labels(self, frames: list[Frame]) -> None:
        with pytest.raises(InputError, match="nothing to fit"):
            fit_heisenberg([Frame(f.atoms) for f in frames], cutoff=2.6)

    @pytest.mark.parametrize("cutoff", [0.0, 1.0, float("nan")])
    def test_cutoff(self, frames: list[Frame], cutoff: float) -> None:
        with pytest.raises(InputError, match="cutoff"):
            fit_heisenberg(frames, cutoff=cutoff)

    def test_negative_options(self, frames: list[Frame]) -> None:
        with pytest.raises(InputError, match="negative"):
            fit_heisenberg(frames, cutoff=2.6, ridge=-1.0)

    def test_frames_of_another_crystal(self, frames: list[Frame]) -> None:
        other = bulk("Fe", "fcc", a=3.6)
        set_moments(other, [2.2])
        with pytest.raises(InputError, match="frame 0 of the list"):
            fit_heisenberg(frames, cutoff=2.7, reference=other)

    def test_frames_that_differ_need_a_reference(self, frames: list[Frame], iron: Atoms) -> None:
        more = random_frames(iron.repeat(3), Heisenberg(HeisenbergModel.from_shells(iron, [0.04])), 1)
        with pytest.raises(InputError, match="reference="):
            fit_heisenberg([*frames, *more], cutoff=2.6)

    def test_vanishing_moment(self, frames: list[Frame], iron: Atoms) -> None:
        moments = frames[1].moments
        moments[3] = 0.0
        set_moments(frames[1].atoms, moments)
        with pytest.raises(InputError, match="atom 3 of frame 1"):
            fit_heisenberg(frames, cutoff=2.6, reference=iron)
