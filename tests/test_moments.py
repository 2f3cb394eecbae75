"""Setting, building and turning moments."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

from deepspin_ase.moments import (
    collinear_order,
    cone,
    ferromagnet,
    get_moments,
    random_directions,
    rotate_with_moments,
    set_moments,
    spiral,
    tilt,
)


def angles_to(moments: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.rad2deg(np.arccos(moments @ axis / np.linalg.norm(moments, axis=1)))


def test_vectors_replace_the_scalar_moments_of_bulk():
    atoms = bulk("Fe", cubic=True)
    assert atoms.get_initial_magnetic_moments().shape == (2,)
    with pytest.raises(ValueError, match="shape"):
        atoms.set_initial_magnetic_moments(np.ones((2, 3)))  # what makes the helper necessary
    set_moments(atoms, [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(get_moments(atoms), [[0, 0, 1], [1, 0, 0]])
    set_moments(atoms, 2.0)
    np.testing.assert_array_equal(atoms.get_initial_magnetic_moments(), [2, 2])


def test_scalar_array_and_dict_are_collinear_along_z(nio):
    for given, expected in (
        (1.5, [1.5] * 4),
        ([1, -1, 0, 0], [1, -1, 0, 0]),
        ({"Ni": 1.7, "O": 0.0}, [1.7, 1.7, 0, 0]),
        ({"Ni": -1, "O": 0, "Fe": 2}, [-1, -1, 0, 0]),
    ):
        set_moments(nio, given)
        assert nio.get_initial_magnetic_moments().shape == (4,)
        np.testing.assert_array_equal(get_moments(nio)[:, 2], expected)
        np.testing.assert_array_equal(get_moments(nio)[:, :2], 0)


def test_integers_are_stored_as_floats(bcc_fe):
    set_moments(bcc_fe, np.array([[0, 0, 2], [0, 2, 0]]))
    bcc_fe.arrays["initial_magmoms"] *= 0.5
    np.testing.assert_array_equal(get_moments(bcc_fe), [[0, 0, 1], [0, 1, 0]])


def test_structure_without_moments_has_zeros(bcc_fe):
    np.testing.assert_array_equal(get_moments(bcc_fe), np.zeros((2, 3)))


def test_result_of_get_moments_is_a_copy(bcc_fe):
    set_moments(bcc_fe, ferromagnet(bcc_fe, 1.0))
    get_moments(bcc_fe)[:] = 7
    np.testing.assert_array_equal(get_moments(bcc_fe)[:, 2], 1)


def test_the_given_array_is_not_shared(bcc_fe):
    given = np.ones((2, 3))
    set_moments(bcc_fe, given)
    given[:] = 5
    np.testing.assert_array_equal(get_moments(bcc_fe), 1)


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ({"Ni": 1.7}, "no entry for O; it lists Ni"),
        ({"Ni": 1.7, "O": 0, "nickel": 1}, "no chemical symbols: nickel"),
        ({"Ni": [0, 0, 1], "O": 0}, r"moments\['Ni'\] has shape \(3,\)"),
        ([1, 2, 3], r"shape \(3,\); allowed for 4 atoms"),
        (np.zeros((4, 2)), r"shape \(4, 2\)"),
        ([np.nan, 0, 0, 0], r"NaN or infinity \(first at index \(0,\)\)"),
        ([[0, 0, 0], [0, np.inf, 0], [0, 0, 0], [0, 0, 0]], r"\(1, 1\)"),
        (float("nan"), "NaN"),
        ([[1, 2], [3]], "not an array of numbers"),
        ("up", "not an array of numbers"),
    ],
)
def test_wrong_moments_are_refused_with_a_reason(nio, moments, message):
    before = get_moments(nio)
    with pytest.raises(ValueError, match=message):
        set_moments(nio, moments)
    np.testing.assert_array_equal(get_moments(nio), before)


def test_ferromagnet_with_species_numbers_and_direction(nio):
    moments = ferromagnet(nio, {"Ni": 2.0, "O": 0.0}, (1, 1, 0))
    np.testing.assert_allclose(moments[:2], 2 / np.sqrt(2) * np.array([[1, 1, 0]] * 2))
    np.testing.assert_array_equal(moments[2:], 0)
    np.testing.assert_array_equal(ferromagnet(nio, [1, -1, 0, 0], "x")[:, 0], [1, -1, 0, 0])
    np.testing.assert_array_equal(ferromagnet(nio, 1.0, "-y"), ferromagnet(nio, -1.0, "y"))


@pytest.mark.parametrize("direction", [(0, 0, 0), "w", (1, 0), "--x"])
def test_wrong_direction_is_refused(nio, direction):
    with pytest.raises(ValueError, match="direction"):
        ferromagnet(nio, 1.0, direction)


def test_collinear_order_makes_sheets_of_nio_in_a_supercell():
    primitive = bulk("NiO", "rocksalt", a=4.17)
    atoms = primitive.repeat(2)
    magnitude = {"Ni": 1.7, "O": 0.0}
    moments = collinear_order(atoms, magnitude, (0.5, 0.5, 0.5), "x", cell=primitive.cell)
    nickel = atoms.numbers == 28
    sheet = np.rint(atoms.positions[nickel] @ (1, 1, 1) / 4.17).astype(int)
    np.testing.assert_allclose(moments[nickel, 0], 1.7 * (-1.0) ** sheet)
    np.testing.assert_array_equal(moments[~nickel], 0)
    assert abs(moments.sum()) < 1e-12


def test_wave_that_does_not_fit_says_how_to_repeat():
    atoms = bulk("Fe", a=2.87)
    with pytest.raises(ValueError, match=r"repeat\(\(2, 1, 1\)\)"):
        collinear_order(atoms, 2.2, (0.5, 0, 0))
    with pytest.raises(ValueError, match=r"repeat\(\(3, 1, 5\)\)"):
        spiral(atoms, 2.2, (1 / 3, 0, 0.4))
    assert spiral(atoms.repeat((3, 1, 5)), 2.2, (1 / 3, 0, 0.4), cell=atoms.cell).shape == (15, 3)


def test_waves_need_not_fit_along_open_directions():
    chain = Atoms("Fe8", positions=[[2.5 * k, 0, 0] for k in range(8)], cell=[20, 0, 0], pbc=False)
    moments = spiral(chain, 1.0, (1.7, 0, 0))
    np.testing.assert_allclose(moments[1, 0], np.cos(2 * np.pi * 1.7 / 8))
    with pytest.raises(ValueError, match="missing cell vector"):
        spiral(chain, 1.0, (0, 1, 0))


def test_ambiguous_sign_is_an_error_that_names_the_atom():
    chain = Atoms("Fe4", positions=[[2.5 * k, 0, 0] for k in range(4)], cell=[10, 9, 9], pbc=True)
    with pytest.raises(ValueError, match=r"ambiguous.*atom 1 \(Fe\) and 1 more"):
        collinear_order(chain, 1.0, (1, 0, 0))
    up_up_down_down = collinear_order(chain, 1.0, (1, 0, 0), phase=-45)
    np.testing.assert_array_equal(up_up_down_down[:, 2], [1, 1, -1, -1])


def test_spiral_turns_right_handedly_and_keeps_the_length():
    chain = Atoms("Fe8", positions=[[2.5 * k, 0, 0] for k in range(8)], cell=[20, 9, 9], pbc=True)
    moments = spiral(chain, 2.2, (1, 0, 0), "z")
    np.testing.assert_allclose(np.linalg.norm(moments, axis=1), 2.2)
    np.testing.assert_allclose(np.cross(moments[0], moments[1])[2], 2.2**2 * np.sin(np.pi / 4))
    np.testing.assert_allclose(moments[2], [0, 2.2, 0], atol=1e-12)
    np.testing.assert_allclose(spiral(chain, 2.2, (-1, 0, 0), "z")[2], [0, -2.2, 0], atol=1e-12)
    cycloid = spiral(chain, 1.0, (1, 0, 0), axis=(0, 1, 0), start="z")
    np.testing.assert_allclose(cycloid[2], [1, 0, 0], atol=1e-12)


def test_spiral_refuses_a_start_that_is_not_perpendicular(bcc_fe):
    with pytest.raises(ValueError, match="not perpendicular"):
        spiral(bcc_fe, 1.0, (1, 0, 0), axis="z", start=(1, 0, 0.2))


def test_cone_keeps_its_angle_and_contains_both_limits(bcc_fe):
    atoms = bcc_fe.repeat((2, 1, 1))
    axis = np.array([1.0, 2.0, 2.0]) / 3
    moments = cone(atoms, 2.0, (1, 0, 0), 30.0, axis)
    np.testing.assert_allclose(angles_to(moments, axis), 30.0)
    np.testing.assert_allclose(cone(atoms, 2.0, (1, 0, 0), 0.0, axis), ferromagnet(atoms, 2.0, axis), atol=1e-12)
    np.testing.assert_allclose(cone(atoms, 2.0, (1, 0, 0), 90.0, axis), spiral(atoms, 2.0, (1, 0, 0), axis), atol=1e-12)


def test_random_directions_are_uniform_reproducible_and_use_the_generator(rng):
    atoms = Atoms("Fe20000", positions=np.zeros((20000, 3)))
    moments = random_directions(atoms, 2.2, 7)
    np.testing.assert_allclose(np.linalg.norm(moments, axis=1), 2.2)
    assert np.abs(moments.mean(axis=0)).max() < 5 * 2.2 / np.sqrt(3 * 20000)
    np.testing.assert_allclose((moments**2).mean(axis=0), 2.2**2 / 3, rtol=0.03)
    np.testing.assert_array_equal(moments, random_directions(atoms, 2.2, 7))
    assert not np.array_equal(random_directions(atoms, 1, rng), random_directions(atoms, 1, rng))


def test_tilt_turns_by_the_angle_and_leaves_zeros(nio, rng):
    moments = get_moments(nio)
    tilted = tilt(moments, 20.0, rng)
    np.testing.assert_allclose(np.linalg.norm(tilted, axis=1), np.linalg.norm(moments, axis=1))
    np.testing.assert_allclose(angles_to(tilted[:1], np.array([0, 0, 1.0])), 20.0)
    np.testing.assert_allclose(angles_to(tilted[1:2], np.array([0, 0, -1.0])), 20.0)
    assert np.abs(tilted[:2, :2]).max() > 0.1
    np.testing.assert_array_equal(tilted[2:], 0)
    many = tilt(np.tile([0, 0, 2.0], (5000, 1)), 30.0, rng, uniform=True)
    angle = angles_to(many, np.array([0, 0, 1.0]))
    assert angle.max() <= 30.0 + 1e-9
    # uniform on the cap: cos is uniform between cos 30° and 1
    np.testing.assert_allclose(np.cos(np.deg2rad(angle)).mean(), (1 + np.cos(np.pi / 6)) / 2, atol=2e-3)
    with pytest.raises(ValueError, match=r"\(n, 3\)"):
        tilt([1.0, 2.0], 10.0, rng)


def test_rotation_turns_positions_cell_momenta_and_moments(nio):
    nio.set_momenta(np.arange(12.0).reshape(4, 3))
    before = nio.copy()
    rotate_with_moments(nio, 90, "x")
    np.testing.assert_allclose(get_moments(nio)[0], [0, -1.27, 0], atol=1e-12)
    np.testing.assert_allclose(nio.get_momenta()[0], [0, -2, 1], atol=1e-12)
    np.testing.assert_allclose(nio.get_scaled_positions(), before.get_scaled_positions(), atol=1e-12)
    np.testing.assert_allclose(nio.get_all_distances(mic=True), before.get_all_distances(mic=True), atol=1e-9)
    rotate_with_moments(nio, -90, "x")
    np.testing.assert_allclose(nio.positions, before.positions, atol=1e-12)
    np.testing.assert_allclose(nio.cell, before.cell, atol=1e-12)
    np.testing.assert_allclose(get_moments(nio), get_moments(before), atol=1e-12)


def test_rotation_agrees_with_ase_for_positions_and_cell(nio):
    reference = nio.copy()
    reference.rotate(33.0, (1, 2, 3), center=(1, 0, 2), rotate_cell=True)
    rotate_with_moments(nio, 33.0, (1, 2, 3), center=(1, 0, 2))
    np.testing.assert_allclose(nio.positions, reference.positions)
    np.testing.assert_allclose(nio.cell, reference.cell)


def test_mirror_treats_moments_as_axial_vectors(bcc_fe):
    set_moments(bcc_fe, [[1, 2, 3], [0, 0, 1]])
    rotate_with_moments(bcc_fe, np.diag([1, 1, -1]))
    np.testing.assert_allclose(get_moments(bcc_fe), [[-1, -2, 3], [0, 0, 1]])
    rotate_with_moments(bcc_fe, -np.eye(3))
    np.testing.assert_allclose(get_moments(bcc_fe), [[-1, -2, 3], [0, 0, 1]])


def test_rotation_without_moments_adds_none(bcc_fe):
    rotate_with_moments(bcc_fe, 45, "z")
    assert not bcc_fe.has("initial_magmoms")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, 3)),), "not orthogonal"),
        ((45.0,), "angle in degrees with an axis"),
        ((np.eye(3), "z"), "Leave axis out"),
        (([1, 0, 0], "z"), r"shape \(3,\)"),
    ],
)
def test_wrong_rotation_is_refused(bcc_fe, arguments, message):
    with pytest.raises(ValueError, match=message):
        rotate_with_moments(bcc_fe, *arguments)


def test_supercells_and_slices_carry_moments(nio):
    moments = get_moments(nio)
    np.testing.assert_array_equal(get_moments(nio.repeat((1, 2, 1))), np.tile(moments, (2, 1)))
    np.testing.assert_array_equal(get_moments(nio[[2, 0]]), moments[[2, 0]])
    big = make_supercell(nio, [[1, 1, 0], [0, 2, 0], [0, 0, 1]])
    assert np.linalg.norm(get_moments(big), axis=1).sum() == pytest.approx(4 * 1.27)
