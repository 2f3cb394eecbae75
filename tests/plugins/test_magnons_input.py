"""Magnons: input that cannot be used is refused with a message that helps; edge cases have the right answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase.errors import DeepSpinError, InputError
from deepspin_ase.heisenberg import Heisenberg, HeisenbergModel, dm_tensor, uniaxial
from deepspin_ase.moments import get_moments, set_moments, tilt
from deepspin_plugins.magnons import (
    SpinWaves,
    SpiralWaves,
    UnstableStateError,
    band_structure,
    density_of_states,
    form_factor,
    magnon_thermodynamics,
    ordering_temperatures,
    q_mesh,
    q_path,
    relax_directions,
    rotating_frame,
    spin_correlations,
    spin_waves_from_potential,
    stiffness_tensor,
    trajectory_spectrum,
)

D = 2.5


def chain(j: float = 0.01, cells: int = 1, **options: object) -> HeisenbergModel:
    atoms = Atoms("Fe", cell=[D, 9, 9], pbc=[True, False, False]).repeat((cells, 1, 1))
    return HeisenbergModel.from_shells(atoms, [j], magnitudes=2.0, **options)  # type: ignore[arg-type]


@pytest.fixture
def waves() -> SpinWaves:
    return SpinWaves.from_model(HeisenbergModel.from_shells(bulk("Fe", a=2.8665), [0.03], magnitudes=2.2), [1.0])


def test_an_unstable_state_names_the_wavevector():
    """A ferromagnet with antiferromagnetic exchange is stationary, but q = ½ lowers the energy most."""
    waves = SpinWaves.from_model(chain(-0.01), [1.0])
    with pytest.raises(UnstableStateError, match=r"q = \(0.5, 0, 0\)") as caught:
        waves.energies([[0.1, 0, 0], [0.5, 0, 0], [0.3, 0, 0]])
    np.testing.assert_array_equal(caught.value.q, [0.5, 0, 0])
    assert caught.value.eigenvalue == pytest.approx(-40.0)
    assert isinstance(caught.value, DeepSpinError)


def test_a_state_with_torques_is_refused_and_relaxation_helps():
    model = chain(-0.01, cells=2, anisotropy=uniaxial(1e-4))
    wrong = [[0, 0, 1.0], [0.3, 0, -1.0]]
    with pytest.raises(InputError, match=r"not stationary.*relax_directions"):
        SpinWaves.from_model(model, wrong)
    relaxed = relax_directions(model, wrong)
    assert SpinWaves.from_model(model, relaxed).energies((0, 0, 0))[0, 0] > 0
    np.testing.assert_allclose(np.linalg.norm(relaxed, axis=1), 2.0)


def test_relaxation_finds_the_spiral_of_a_frustrated_chain():
    tensor = 0.01 * (np.eye(3) + dm_tensor([0, 0, np.tan(2 * np.pi / 6)]))
    cell = Atoms("Fe", cell=[D, 9, 9], pbc=[True, False, False])
    model = HeisenbergModel.from_bonds(cell, [(0, 0, (1, 0, 0), tensor)], magnitudes=2.0).repeat((6, 1, 1))
    state = relax_directions(model, starts=4, rng=3)
    assert model.energy(state) / 6 == pytest.approx(-0.02, abs=1e-12)
    SpinWaves.from_model(model, state).energies((0.3, 0, 0))


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ([1.0, 1.0], "allowed: \\(1, 3\\)"),
        ([[0, 0, 0]], "moment is zero"),
        ([[np.nan, 0, 0]], "NaN"),
        (np.zeros((0, 3)), "allowed"),
    ],
)
def test_wrong_moments(moments, message):
    with pytest.raises(InputError, match=message):
        SpinWaves.from_model(chain(), moments)


def test_a_model_without_moments_has_no_spin_waves():
    model = HeisenbergModel.from_bonds(Atoms("O", cell=[D] * 3, pbc=True), [], magnitudes=0.0)
    with pytest.raises(InputError, match="no site of the model is magnetic"):
        SpinWaves.from_model(model, [0.0])


@pytest.mark.parametrize("q", [(0.0, 0.0), [[np.inf, 0, 0]], [[[0, 0, 0]]], "GX"])
def test_wrong_wavevectors(waves, q):
    with pytest.raises(InputError):
        waves.energies(q)


def test_one_wavevector_many_none_and_threads(waves, rng):
    assert waves.energies((0.1, 0, 0)).shape == (1, 1)
    assert waves.energies(np.zeros((0, 3))).shape == (0, 1)
    q = rng.uniform(size=(5000, 3))
    with ThreadPoolExecutor(2) as pool:
        np.testing.assert_array_equal(waves.energies(q, executor=pool), waves.energies(q))


def test_sites_without_a_moment_are_left_out():
    atoms = Atoms("OFeO", cell=[D, 9, 9], positions=[[1, 3, 0], [0, 0, 0], [1, 5, 0]], pbc=[True, False, False])
    model = HeisenbergModel.from_shells(atoms, [0.01], magnitudes={"Fe": 2.0, "O": 0.0})
    mixed = SpinWaves.from_model(model, [0.0, 1.0, 0.0])
    q = [[0.2, 0, 0]]
    np.testing.assert_allclose(mixed.energies(q), SpinWaves.from_model(chain(), [1.0]).energies(q))
    assert len(mixed) == 1
    assert spin_correlations(mixed, q).intensity("total").sum() == pytest.approx(1.0)


def test_an_isolated_spin_precesses_and_a_free_one_does_not():
    free = HeisenbergModel.from_bonds(Atoms("Fe"), [], magnitudes=2.0)
    assert SpinWaves.from_model(free, [1.0]).energies((0, 0, 0)) == pytest.approx(0.0)
    field = HeisenbergModel.from_bonds(Atoms("Fe"), [], magnitudes=2.0, field=(0, 0, 10.0))
    assert SpinWaves.from_model(field, [1.0]).energies((0, 0, 0))[0, 0] == pytest.approx(1.1576764, rel=1e-7)
    with pytest.raises(UnstableStateError):
        SpinWaves.from_model(field, [-1.0]).energies((0, 0, 0))


def test_eigenvectors_are_para_unitary_also_in_degenerate_subspaces(rng):
    """T† η T = η and T† h T = diag(ω), for four-fold degenerate bands of a supercell with a Goldstone mode."""
    model = chain(-0.01, cells=8)
    waves = SpinWaves.from_model(model, np.tile([1.0, -1.0], 4))
    q = np.array([[0.0, 0, 0], [0.13, 0, 0], [0.5, 0, 0]])
    modes = waves.modes(q)
    eta = np.diag(np.repeat([1.0, -1.0], 8))
    t = modes.transformation
    np.testing.assert_allclose(t[1:].conj().swapaxes(1, 2) @ eta @ t[1:], np.tile(eta, (2, 1, 1)), atol=1e-9)
    diagonal = t[1:].conj().swapaxes(1, 2) @ waves.hamiltonian(q[1:]) @ t[1:]
    levels = np.concatenate([modes.energies, modes.negative], axis=1)[1:]
    np.testing.assert_allclose(diagonal, levels[:, :, None] * np.eye(16), atol=1e-9)
    np.testing.assert_allclose(modes.energies, waves.energies(q), atol=1e-9)
    np.testing.assert_allclose(modes.negative, waves.energies(-q), atol=1e-9)


def test_spirals_that_the_model_does_not_allow():
    model = chain(0.01, anisotropy=uniaxial(1e-3, "x"))
    with pytest.raises(InputError, match="anisotropy of the model changes under rotations about \\(0, 0, 1\\)"):
        rotating_frame(model, (0.1, 0, 0), "z")
    with pytest.raises(InputError, match="must lie along the rotation axis"):
        rotating_frame(chain(field=(1.0, 0, 0)), (0.1, 0, 0), "z")
    with pytest.raises(InputError, match="not periodic"):
        rotating_frame(chain(), (0, 0.1, 0), "z")
    cell = Atoms("Fe", cell=[D, 9, 9], pbc=[True, False, False])
    tensor = 0.01 * (np.eye(3) + dm_tensor([0, 0, 1.0]))
    dmi = HeisenbergModel.from_bonds(cell, [(0, 0, (1, 0, 0), tensor)], magnitudes=2.0)
    wrong_sense = SpiralWaves.from_spiral(dmi, [[1.0, 0, 0]], (-1 / 8, 0, 0))
    with pytest.raises(UnstableStateError):
        wrong_sense.energies((0.2, 0, 0))


# ------------------------------------------------------------------ paths and meshes


def test_path_of_seekpath_is_in_the_cell_that_was_given():
    """NiO-like order doubles the cell: the zone is that of the magnetic lattice, in fractions of the given cell."""
    atoms = bulk("Fe", a=2.8665)
    set_moments(atoms, 2.2)
    path = q_path(atoms, spacing=0.1)
    assert path.labels[0] == "Γ"
    recip = 2 * np.pi * np.linalg.inv(atoms.cell.array).T
    h = path.q[int(np.argmin(np.abs(path.distance - path.ticks[1])))] @ recip
    assert np.linalg.norm(h) == pytest.approx(2 * np.pi / 2.8665)
    anti = bulk("Fe", a=2.8665, cubic=True)
    set_moments(anti, [2.2, -2.2])
    assert "X" in {letter for label in q_path(anti).labels for letter in label}  # primitive cubic now


def test_own_paths():
    atoms = Atoms("Fe", cell=[D, 9, 9], pbc=[True, False, False])
    path = q_path(atoms, "GX,GX", points={"X": (0.5, 0, 0)}, spacing=0.2)
    assert path.labels == ("Γ", "X|Γ", "X")
    assert path.ticks[-1] == pytest.approx(2 * np.pi / D)
    listed = q_path(atoms, [[("start", (0, 0, 0)), (0.25, 0, 0)]])
    assert listed.labels == ("start", "(0.25, 0, 0)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": None}, "three periodic directions"),
        ({"path": "GX"}, "three periodic directions"),
        ({"path": "G"}, "two points or more"),
        ({"path": [["G", "Y"]]}, "unknown point 'Y'"),
        ({"path": [["G", (0.5, 0)]]}, "three fractions"),
        ({"path": "GG", "spacing": 0.0}, "spacing"),
    ],
)
def test_wrong_paths(arguments, message):
    with pytest.raises(InputError, match=message):
        q_path(Atoms("Fe", cell=[D, 9, 9], pbc=[True, False, False]), **arguments)


def test_meshes():
    assert q_mesh((2, 1, 3)).shape == (6, 3)
    assert np.all(q_mesh((2, 1, 1))[:, 1:] == 0.0)
    assert np.abs(np.linalg.norm(q_mesh(4), axis=1)).min() > 0.1
    with pytest.raises(InputError, match="positive integers"):
        q_mesh(0)


# ------------------------------------------------------------------ the rest


def test_other_input(waves):
    model = HeisenbergModel.from_shells(bulk("Fe", a=2.8665), [0.03], magnitudes=2.2)
    with pytest.raises(InputError, match="temperature"):
        spin_correlations(waves, (0.1, 0, 0), temperature=-1.0)
    with pytest.raises(InputError, match="has no charge for Fe"):
        spin_correlations(waves, (0.1, 0, 0), ions={"Ni": 2})
    with pytest.raises(InputError, match="known charges"):
        form_factor("Ni", 7, 1.0)
    with pytest.raises(InputError, match="no magnetic form factor"):
        form_factor("H", 0, 1.0)
    with pytest.raises(InputError, match="allowed: neutron"):
        spin_correlations(waves, (0.1, 0, 0)).intensity("abc")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="fwhm"):
        spin_correlations(waves, (0.1, 0, 0)).spectrum(fwhm=-1.0)
    with pytest.raises(InputError, match="fwhm"):
        density_of_states(waves, 4, fwhm=0.0)
    with pytest.raises(InputError, match="four or more"):
        stiffness_tensor(waves, damping=[0.1])
    with pytest.raises(InputError, match="even numbers"):
        magnon_thermodynamics(waves, 10.0, 5)
    with pytest.raises(InputError, match="temperature"):
        magnon_thermodynamics(waves, -10.0, 4)
    with pytest.raises(InputError, match="multiples of 4"):
        ordering_temperatures(model, [1.0], 6)
    with pytest.raises(InputError, match="one and two dimensions"):
        ordering_temperatures(chain(), [1.0])
    with pytest.raises(InputError, match="collinear"):
        ordering_temperatures(model.repeat((2, 1, 1)), [[0, 0, 1.0], [1.0, 0, 0]])
    with pytest.raises(InputError, match="does not favour order"):
        ordering_temperatures(HeisenbergModel.from_shells(bulk("Fe", a=2.8), [-0.03], magnitudes=2.0), [1.0])
    frustrated = HeisenbergModel.from_shells(bulk("Fe", a=2.8), [0.01, -0.013], magnitudes=2.0)
    with pytest.raises(InputError, match="not stable"):
        ordering_temperatures(frustrated, [1.0], 8)
    with pytest.raises(InputError, match="no point 'X'"):
        band_structure(waves, "GG").at("X")


def test_trajectories_that_cannot_be_used():
    atoms = Atoms("Fe", cell=[D] * 3, pbc=True).repeat((4, 1, 1))
    moments = np.zeros((100, 4, 3))
    options = {"time_step": 1.0, "cell": D * np.eye(3)}
    with pytest.raises(InputError, match="allowed: \\(frames, 4, 3\\)"):
        trajectory_spectrum(moments[:, :3], atoms, (0.25, 0, 0), **options)
    with pytest.raises(InputError, match=r"q = \(0\.3, 0, 0\) makes \(1\.2, 0, 0\) turns"):
        trajectory_spectrum(moments, atoms, (0.3, 0, 0), **options)
    with pytest.raises(InputError, match="fewer blocks"):
        trajectory_spectrum(moments[:20], atoms, (0.25, 0, 0), **options)
    with pytest.raises(InputError, match="positive time"):
        trajectory_spectrum(moments, atoms, (0.25, 0, 0), time_step=0.0)
    with pytest.raises(InputError, match="temperature"):
        trajectory_spectrum(moments, atoms, (0.25, 0, 0), temperature=0.0, **options)
    with pytest.raises(InputError, match="positions"):
        trajectory_spectrum(moments, atoms, (0.25, 0, 0), positions=np.zeros((3, 4, 3)), **options)


def test_potential_in_a_state_with_torques_or_without_moments():
    atoms = bulk("Fe", a=2.8665, cubic=True)
    calc = Heisenberg(HeisenbergModel.from_shells(atoms, [0.03], magnitudes=2.2))
    set_moments(atoms, 2.2)
    set_moments(atoms, tilt(get_moments(atoms), 10.0, 1))
    with pytest.raises(InputError, match="not stationary"):
        spin_waves_from_potential(atoms, calc, supercell=1)
    set_moments(atoms, 0.0)
    with pytest.raises(InputError, match="no atom has a moment"):
        spin_waves_from_potential(atoms, calc, supercell=1)
