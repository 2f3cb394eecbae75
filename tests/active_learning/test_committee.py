"""Disagreement of models, by hand and by symmetry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from deepspin_ase import DeepSpin, Frame, Labels, get_moments, rotate_with_moments, set_moments
from deepspin_ase.active_learning import Committee, Domain, Levels
from deepspin_ase.active_learning.committee import across, label_sizes
from deepspin_ase.errors import InputError
from deepspin_ase.model.checkpoint import save_checkpoint
from tests.potentials import disordered_nio, random_potential


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    made = [folder / f"{seed}.pt" for seed in range(3)]
    for seed, path in enumerate(made):
        save_checkpoint(path, random_potential(seed=seed))
    return made


def members(files: Sequence[Path], atoms: Atoms, name: str) -> np.ndarray:
    return np.array([DeepSpin(file).get_property(name, atoms) for file in files])


def test_deviations_are_those_of_the_definition(files: list[Path], rng: np.random.Generator) -> None:
    structures = [disordered_nio(rng) for _ in range(3)]
    found = Committee(files).deviations(structures)
    for i, atoms in enumerate(structures):
        forces = members(files, atoms, "forces")
        per_atom = np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=(0, 2)) / 2)
        assert found.forces[i] == pytest.approx(per_atom.max(), rel=1e-4)
        unit = get_moments(atoms) / np.linalg.norm(get_moments(atoms), axis=1, keepdims=True)
        field = members(files, atoms, "magnetic_forces")
        perp = field - np.einsum("kna,na->kn", field, unit)[..., None] * unit
        per_atom = np.sqrt(((perp - perp.mean(axis=0)) ** 2).sum(axis=(0, 2)) / 2)
        assert found.magnetic_perp[i] == pytest.approx(per_atom[atoms.numbers == 28].max(), rel=1e-4)


def test_deviations_do_not_depend_on_the_axes(files: list[Path], rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    turned = atoms.copy()
    rotate_with_moments(turned, 77.0, (1, -2, 0.5))
    found = Committee(files).deviations([atoms, turned])
    assert found.forces[1] == pytest.approx(found.forces[0], rel=1e-4)
    assert found.magnetic_perp[1] == pytest.approx(found.magnetic_perp[0], rel=1e-4)


def test_equal_models_agree(files: list[Path], rng: np.random.Generator) -> None:
    found = Committee([files[0], files[0]]).deviations([disordered_nio(rng)])
    assert found.forces.max() == found.magnetic_perp.max() == 0.0


def test_collinear_states_have_no_transverse_deviation(files: list[Path], nio: Atoms) -> None:
    found = Committee(files).deviations([nio])
    assert found.magnetic_perp[0] < 1e-6
    tilted = nio.copy()
    moments = get_moments(nio)
    moments[0] = [1.0, 0.0, 0.8]
    set_moments(tilted, moments)
    assert Committee(files).deviations([tilted]).magnetic_perp[0] > 1e-4


def test_errors_compare_the_mean_with_labels(files: list[Path], rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    mean = {name: members(files, atoms, name).mean(axis=0) for name in ("forces", "magnetic_forces")}
    shift = np.zeros((8, 3))
    shift[5] = [0.3, 0.0, -0.4]
    unit = get_moments(atoms) / np.linalg.norm(get_moments(atoms), axis=1, keepdims=True)
    along = Frame(atoms, Labels(forces=mean["forces"] + shift, magnetic_forces=mean["magnetic_forces"] + 0.7 * unit))
    found = Committee(files).errors([along])
    assert found.forces[0] == pytest.approx(0.5, rel=1e-4)
    assert found.magnetic_perp[0] < 1e-5, "errors along the moment do not count"
    assert Committee(files).errors([Frame(atoms, Labels(energy=1.0))]).forces[0] == 0.0
    deviation = Committee(files).deviations([atoms]).forces[0]
    assert Committee(files).error_per_deviation([along]).forces == pytest.approx(0.5 / deviation, rel=1e-4)


def test_label_sizes_are_vector_lengths() -> None:
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [2.5, 0, 0]])
    set_moments(atoms, [[0, 0, 2.0], [0, 0, 2.0]])
    frame = Frame(atoms, Labels(forces=[[3, 4, 0], [0, 0, 0]], magnetic_forces=[[0, 2, 7], [np.nan] * 3]))
    sizes = label_sizes([frame])
    assert sizes.forces == pytest.approx(5 / np.sqrt(2))
    assert sizes.magnetic_perp == pytest.approx(2.0)
    np.testing.assert_allclose(across(np.ones((2, 3)), atoms), [[1, 1, 0], [1, 1, 0]])


def test_domain_ends_where_the_models_disagree(files: list[Path], rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    committee = Committee(files)
    found = committee.deviations([atoms])
    wide = Levels(1.1 * found.forces[0], 1.1 * found.magnetic_perp[0])
    assert Domain(committee, wide).contains(atoms)
    assert not Domain(committee, Levels(0.9 * found.forces[0], wide.magnetic_perp)).contains(atoms)
    assert not Domain(committee, Levels(wide.forces, 0.9 * found.magnetic_perp[0])).contains(atoms)


def test_one_model_is_no_committee(files: list[Path]) -> None:
    with pytest.raises(InputError, match="two models"):
        Committee(files[:1])
