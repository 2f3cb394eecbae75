"""Topological charge of textures that are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from deepspin_ase import ferromagnet, random_directions, rotate_with_moments, set_moments
from deepspin_plugins.spin_dynamics.topology import SkyrmionNumber, find_layers, skyrmion_number

SQUARE = [[2.5, 0, 0], [0, 2.5, 0], [0, 0, 12]]
TRIANGULAR = [[2.5, 0, 0], [1.25, 2.5 * np.sqrt(0.75), 0], [0, 0, 12]]
SKEWED = [[2.5, 0, 0], [5.0, 2.5, 0], [1.0, 2.0, 12]]
N = 24


def layer(cell: list[list[float]], n: int = N, pbc: tuple[bool, bool, bool] = (True, True, False)) -> Atoms:
    atoms = Atoms("Fe", cell=cell, pbc=pbc).repeat((n, n, 1))
    set_moments(atoms, 2.0)
    return atoms


def texture(
    atoms: Atoms,
    *,
    core: int = -1,
    vorticity: int = 1,
    helicity: float = 0.0,
    shift: tuple[float, float] = (0.31, 0.17),
) -> np.ndarray:
    """Skyrmion in the middle of the cell: cos θ from ``core`` to -``core``, azimuth vorticity·φ + helicity."""
    across = atoms.positions - 0.5 * atoms.cell.array[:2].sum(axis=0)
    across = across - np.round(np.linalg.solve(atoms.cell.array.T, across.T).T)[:, :2] @ atoms.cell.array[:2]
    x, y = across[:, 0] + shift[0], across[:, 1] + shift[1]  # as a rule off the lattice sites
    theta = 2.0 * np.arctan2(np.sinh(8.0 / 3.0), np.sinh(np.hypot(x, y) / 3.0))
    azimuth = vorticity * np.arctan2(y, x) + helicity
    return 2.0 * np.stack([np.sin(theta) * np.cos(azimuth), np.sin(theta) * np.sin(azimuth), -core * np.cos(theta)], 1)


@pytest.mark.parametrize("cell", [SQUARE, TRIANGULAR])
@pytest.mark.parametrize(("core", "vorticity"), [(-1, 1), (1, 1), (-1, -1), (1, -1), (-1, 2)])
@pytest.mark.parametrize("helicity", [0.0, np.pi / 2])
def test_charge_is_core_times_vorticity(cell: list, core: int, vorticity: int, helicity: float) -> None:
    """Néel (0) and Bloch (90°): a core that points down in an upward background has -1, an antiskyrmion +1."""
    atoms = layer(cell)
    set_moments(atoms, texture(atoms, core=core, vorticity=vorticity, helicity=helicity))
    np.testing.assert_allclose(skyrmion_number(atoms), [core * vorticity], atol=1e-9)


def test_ferromagnet_has_none_and_any_periodic_state_a_whole_number(rng: np.random.Generator) -> None:
    for cell in (SQUARE, TRIANGULAR, SKEWED):
        atoms = layer(cell, 10)
        charge = SkyrmionNumber(atoms)
        assert len(charge.triangles) == 2 * len(atoms)  # Euler: twice as many triangles as sites on a torus
        assert charge(ferromagnet(atoms, 2.0, (1, 2, 3))) == pytest.approx(0.0, abs=1e-12)
        for _ in range(3):
            found = charge(random_directions(atoms, 2.0, rng))
            assert found == pytest.approx(round(found), abs=1e-9)


def test_charge_does_not_depend_on_shift_order_orientation_or_lengths(rng: np.random.Generator) -> None:
    atoms = layer(TRIANGULAR)
    set_moments(atoms, texture(atoms) * rng.uniform(0.5, 2.0, (len(atoms), 1)))
    shifted = atoms.copy()
    shifted.positions += [3.3, -7.1, 20.0]
    shuffled = atoms[rng.permutation(len(atoms))]
    turned = atoms.copy()
    rotate_with_moments(turned, 71.0, (1, 2, -1))
    for other in (shifted, shuffled, turned):
        np.testing.assert_allclose(skyrmion_number(other), [-1.0], atol=1e-9)


def test_reversal_and_mirror_change_the_sign() -> None:
    atoms = layer(SQUARE)
    moments = texture(atoms)
    charge = SkyrmionNumber(atoms)
    assert charge(-moments) == pytest.approx(-charge(moments))
    assert charge(moments * [1, -1, 1]) == pytest.approx(-charge(moments))


def test_open_layer_counts_the_part_that_it_holds() -> None:
    """Without periodic boundaries a wide layer holds nearly all of a skyrmion; cut through the centre, half of it."""
    atoms = layer(SQUARE, 30, (False, False, False))
    set_moments(atoms, texture(atoms, shift=(0.0, 0.17)))
    (found,) = skyrmion_number(atoms)
    assert found == pytest.approx(-1.0, abs=1e-3)
    half = atoms[atoms.positions[:, 0] <= 0.5 * atoms.cell.array[0, 0]]
    assert skyrmion_number(half)[0] == pytest.approx(-0.5, abs=1e-3)


def test_each_layer_of_a_stack_has_its_own_number() -> None:
    cell = Atoms("Fe3", positions=[[0, 0, 11.9], [1.2, 1.2, 3.9], [0, 0, 8.0]], cell=SQUARE, pbc=True)
    atoms = cell.repeat((N, N, 1))
    set_moments(atoms, ferromagnet(atoms, 2.0))
    layers = find_layers(atoms)
    assert [len(part) for part in layers] == [N * N] * 3
    moments = ferromagnet(atoms, 2.0)
    moments[layers[1]] = texture(atoms[layers[1]])
    set_moments(atoms, moments)
    np.testing.assert_allclose(skyrmion_number(atoms), [0.0, -1.0, 0.0], atol=1e-9)


def test_a_layer_on_the_boundary_is_not_cut() -> None:
    atoms = layer(SQUARE, 6, (True, True, True))
    atoms.positions[::2, 2] = 0.1
    atoms.positions[1::2, 2] = 11.95  # 0.15 Å below, through the boundary
    assert [len(part) for part in find_layers(atoms)] == [36]
