"""Quasi-harmonic approximation against closed forms of a nearest-neighbour fcc crystal, summed without phonopy."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from scipy.interpolate import CubicSpline

from deepspin_ase import Heisenberg, set_moments
from deepspin_ase.heisenberg import CustomPair, Exponential
from deepspin_plugins.phonons.qha import Quasiharmonic, quasiharmonic

R0, SPRING, CUBIC = 2.5, 4.0, -12.0
EXCHANGE = Exponential(strength=0.05, r0=R0, decay=0.4, cutoff=3.2, onset=3.1)
BONDS = CustomPair(
    value=lambda r: SPRING / 2 * (r - R0) ** 2 + CUBIC / 6 * (r - R0) ** 3,
    slope=lambda r: SPRING * (r - R0) + CUBIC / 2 * (r - R0) ** 2,
    cutoff=3.2,
    onset=3.1,
)
TEMPERATURES = np.arange(0.0, 601.0, 50.0)
MESH = 9


def crystal(moment: float) -> Atoms:
    atoms = bulk("Fe", "fcc", a=R0 * np.sqrt(2))
    set_moments(atoms, moment)
    atoms.calc = Heisenberg(exchange=EXCHANGE, lattice=BONDS)
    return atoms


def pair(r: float, *, ferromagnet: bool) -> tuple[float, float, float]:
    """Bond energy, slope and curvature; exchange adds -J(r) to every bond of a ferromagnet."""
    x = r - R0
    values = np.array([SPRING / 2 * x**2 + CUBIC / 6 * x**3, SPRING * x + CUBIC / 2 * x**2, SPRING + CUBIC * x])
    if ferromagnet:
        value = EXCHANGE.strength * np.exp(-x / EXCHANGE.decay)
        values -= np.array([value, -value / EXCHANGE.decay, value / EXCHANGE.decay**2])
    return tuple(values)


def free_energy(r: float, temperatures: np.ndarray, *, ferromagnet: bool) -> np.ndarray:
    """Static and vibrational free energy per atom at bond length r, eV."""
    energy, slope, bend = pair(r, ferromagnet=ferromagnet)
    cell = bulk("Fe", "fcc", a=r * np.sqrt(2)).cell.array
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = steps @ cell
    vectors = vectors[np.isclose(np.linalg.norm(vectors, axis=1), r)]
    assert len(vectors) == 12
    unit = vectors / r
    bonds = (bend - slope / r) * unit[:, :, None] * unit[:, None] + slope / r * np.eye(3)
    grid = np.arange(MESH) / MESH
    q = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)[1:]
    wave = 2 * np.pi * q @ np.linalg.inv(cell).T
    matrices = np.einsum("qb,bij->qij", 1 - np.cos(wave @ vectors.T), bonds) / crystal(2.0).get_masses()[0]
    omega = np.sqrt(np.linalg.eigvalsh(matrices)).ravel() * units._hbar * np.sqrt(units._e / units._amu) * 1e10
    omega /= units._e  # eV
    result = []
    for t in temperatures:
        thermal = units.kB * t * np.log1p(-np.exp(-omega / (units.kB * t))) if t > 0 else 0.0
        result.append(6 * energy + (omega / 2 + thermal).sum() / MESH**3)
    return np.array(result)


def reference(temperatures: np.ndarray, *, ferromagnet: bool) -> tuple[np.ndarray, np.ndarray]:
    """Volume per atom (Å³) and bulk modulus (GPa) where the free energy is lowest; no equation of state."""
    r = np.linspace(2.36, 2.62, 27)
    volume = r**3 / np.sqrt(2)
    table = np.array([free_energy(x, temperatures, ferromagnet=ferromagnet) for x in r])
    best, modulus = [], []
    for column in table.T:
        spline = CubicSpline(volume, column)
        roots = spline.derivative().roots(extrapolate=False)
        root = roots[np.argmin(spline(roots))]
        best.append(root)
        modulus.append(root * spline(root, 2) / units.GPa)
    return np.array(best), np.array(modulus)


def calculate(moment: float, **options: object) -> Quasiharmonic:
    ratios = np.linspace(0.96, 1.08, 9) if moment == 0.0 else np.linspace(0.90, 1.04, 11)
    return quasiharmonic(
        crystal(moment),
        supercell=3,
        volume_ratios=ratios,
        temperatures=TEMPERATURES,
        mesh=MESH,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("moment", [0.0, 2.0])
def test_volume_expansion_and_bulk_modulus_are_those_of_the_free_energy(moment: float) -> None:
    result = calculate(moment)
    volume, modulus = reference(TEMPERATURES, ferromagnet=moment > 0)
    assert result.temperature.tolist() == TEMPERATURES.tolist()
    np.testing.assert_allclose(result.volume, volume, rtol=2e-4)
    np.testing.assert_allclose(result.bulk_modulus, modulus, rtol=0.02)
    expansion = np.gradient(volume, TEMPERATURES)[2:-1] / volume[2:-1]
    np.testing.assert_allclose(result.expansion[2:-1], expansion, rtol=0.03)
    assert np.all(np.abs(result.volume - volume) < np.maximum(3 * result.volume_error, 1e-4))
