"""Imaginary modes of a crystal whose double well is known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic

from deepspin_plugins.phonons import PhononResult, phonons
from deepspin_plugins.phonons.imaginary import FollowedMode, ImaginaryModes, follow_mode, imaginary_modes

SOFT, QUARTIC, COUPLING, STIFF = 1.0, 8.0, 0.4, 6.0
SIDE, REST, MASS = 4.0, 1.2, 40.0
DEPTH = SOFT**2 / (4 * QUARTIC)  # eV per primitive cell
WIDTH = np.sqrt(SOFT / QUARTIC)  # Å


class DoubleWell(Calculator):
    """Two atoms u, v of equal mass per simple cubic cell; d = v - u less its rest value, s = (u + v)/2.

    E = Σ_cells [-½ a d² + ¼ b d⁴] + ½ c Σ_<cells> (d + d')² + ½ k Σ_<cells> (s - s')².
    The coupling c costs nothing if d alternates, so that the crystal is unstable at (½, ½, ½) only; there d = √(a/b)
    gains a²/4b per cell, in any direction.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        u, v = np.flatnonzero(self.atoms.numbers == 55), np.flatnonzero(self.atoms.numbers == 17)
        partner, d = self.pairs(u, v, np.full(3, REST))
        v = v[partner]
        square = (d**2).sum(axis=1, keepdims=True)
        energy = (-SOFT / 2 * square + QUARTIC / 4 * square**2).sum()
        slope = -SOFT * d + QUARTIC * square * d
        forces = np.zeros((len(self.atoms), 3))
        for step in SIDE * np.eye(3):
            there, du = self.pairs(u, u, step)
            dv = find_mic(self.atoms.positions[v[there]] - self.atoms.positions[v] - step, self.atoms.cell)[0]
            plus, shift = d + d[there], (du + dv) / 2
            energy += (COUPLING / 2 * plus**2 + STIFF / 2 * shift**2).sum()
            slope += COUPLING * plus
            slope[there] += COUPLING * plus
            for group in (u, v):
                forces[group] += STIFF / 2 * shift
                forces[group[there]] -= STIFF / 2 * shift
        forces[v] -= slope
        forces[u] += slope
        self.results = {"energy": float(energy), "forces": forces}

    def pairs(self, start, end, offset):
        """For every atom of ``start`` the one of ``end`` nearest to it plus the offset, and the vector left over."""
        apart = self.atoms.positions[end][None] - self.atoms.positions[start][:, None] - offset
        vectors, lengths = find_mic(apart.reshape(-1, 3), self.atoms.cell)
        nearest = lengths.reshape(len(start), len(end)).argmin(axis=1)
        return nearest, vectors.reshape(len(start), len(end), 3)[np.arange(len(start)), nearest]


@pytest.fixture(scope="module")
def result() -> PhononResult:
    crystal = Atoms("CsCl", positions=[[0, 0, 0], [REST] * 3], cell=[SIDE] * 3, pbc=True, masses=[MASS, MASS])
    return phonons(crystal, DoubleWell(), supercell=2, distance=1e-3)


def optical(q: tuple[float, float, float]) -> float:
    """Frequency of the modes of d in closed form, THz; negative if imaginary. The reduced mass is MASS/2."""
    stiffness = -SOFT + 2 * COUPLING * (3 + np.cos(2 * np.pi * np.array(q)).sum())
    omega = np.sign(stiffness) * np.sqrt(abs(stiffness) / (MASS / 2) * units._e / units._amu) * 1e10
    return float(omega / (2 * np.pi) * 1e-12)


def test_every_imaginary_mode_is_found(result: PhononResult) -> None:
    found = imaginary_modes(result)
    assert (len(found), found.searched) == (3, 8)  # at (½, ½, ½) only, all three directions of d
    assert found.commensurate.all()
    np.testing.assert_allclose(np.abs(found.q), 0.5)
    np.testing.assert_allclose(found.frequency, optical((0.5, 0.5, 0.5)), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.eigenvector, axis=(1, 2)), 1.0)
    turns = found.q @ result.primitive.get_scaled_positions().T
    motion = found.eigenvector * np.exp(2j * np.pi * turns)[:, :, None]
    np.testing.assert_allclose(motion[:, 0], -motion[:, 1], atol=1e-6)  # d moves, s does not
    assert "fits into the supercell" in str(found)


def test_a_mesh_adds_interpolated_points_once(result: PhononResult) -> None:
    found = imaginary_modes(result, mesh=(4, 4, 4))
    assert found.searched == 64
    assert found.commensurate.sum() == 3
    assert len(found) > 3  # this supercell is too small to interpolate, and the result says where it does
    assert np.all(np.diff(found.frequency) >= 0)


def test_a_stable_crystal_has_none(result: PhononResult) -> None:
    found = imaginary_modes(result, tolerance=10.0)
    assert len(found) == 0
    assert "no imaginary modes" in str(found)
    found.plot()


def test_following_a_mode_finds_the_bottom_of_the_well(result: PhononResult) -> None:
    mode = imaginary_modes(result)
    followed = follow_mode(result, DoubleWell(), mode.q[0], int(mode.band[0]))
    assert round(abs(np.linalg.det(followed.supercell))) == 2
    np.testing.assert_allclose(followed.curvature_frequency, mode.frequency[0], rtol=2e-3)
    np.testing.assert_allclose(followed.energy_gain, DEPTH, rtol=1e-4)
    assert followed.residual_force < 1e-3
    relaxed = followed.to_atoms()
    assert set(relaxed.get_masses()) == {MASS}
    length = np.linalg.norm(DoubleWell.pairs(_with(relaxed), *_groups(relaxed), np.full(3, REST))[1], axis=1)
    np.testing.assert_allclose(length, WIDTH, rtol=1e-3)
    again = phonons(relaxed, DoubleWell(), supercell=1, distance=1e-3, relax="none")
    assert again.frequencies([0, 0, 0]).min() > -0.05  # the wells are on a sphere: free rotation of d, no lower mode


def test_energy_along_the_mode_is_the_quartic_well(result: PhononResult) -> None:
    mode = imaginary_modes(result)
    followed = follow_mode(result, DoubleWell(), mode.q[0], int(mode.band[0]))
    d = 2 * followed.amplitude  # both atoms move by half of d
    np.testing.assert_allclose(followed.energy, -SOFT / 2 * d**2 + QUARTIC / 4 * d**4, atol=1e-9)


def test_following_a_stable_mode_leads_nowhere(result: PhononResult) -> None:
    followed = follow_mode(result, DoubleWell(), (0.0, 0.0, 0.0), 5)
    assert followed.energy_gain == 0.0
    np.testing.assert_allclose(followed.curvature_frequency, optical((0, 0, 0)), rtol=5e-3)
    np.testing.assert_allclose(followed.positions, result.primitive.positions, atol=1e-9)


def test_results_survive_a_file(result: PhononResult, tmp_path: Path) -> None:
    found = imaginary_modes(result)
    found.save(tmp_path / "modes.npz")
    again = ImaginaryModes.load(tmp_path / "modes.npz")
    np.testing.assert_array_equal(again.eigenvector, found.eigenvector)
    followed = follow_mode(result, DoubleWell(), (0.5, 0.5, 0.5), 0, steps=3)
    followed.save(tmp_path / "followed.npz")
    assert FollowedMode.load(tmp_path / "followed.npz").energy_gain == followed.energy_gain
    followed.plot().figure.savefig(tmp_path / "followed.png")


def _groups(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    return np.flatnonzero(atoms.numbers == 55), np.flatnonzero(atoms.numbers == 17)


def _with(atoms: Atoms) -> DoubleWell:
    calc = DoubleWell()
    calc.get_potential_energy(atoms)
    return calc
