"""Effective force constants of snapshots: harmonic ones come back, quartic bonds stiffen as Gaussian averages say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from deepspin_ase import Heisenberg, ferromagnet, set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import CustomPair, Exponential
from deepspin_plugins.phonons import PhononResult, build_phonopy, phonons
from deepspin_plugins.phonons.averages import AveragedPhonons, average_force_constants, commensurate_points
from deepspin_plugins.phonons.effective import effective_phonons

Array = NDArray[np.float64]
A0 = 3.6
R0 = A0 / np.sqrt(2)
SPRING, QUARTIC = 5.0, 60.0  # eV/Å², eV/Å⁴


@pytest.fixture
def copper() -> Atoms:
    return bulk("Cu", "fcc", a=A0)


def bond_forces(sites: Atoms, u: Array, quartic: float) -> Array:
    """F = -∂/∂u of Σ_bonds [½ k x² + ¼ b x⁴], x = n·(u_j - u_i): nearest neighbours, bonds of fixed direction."""
    i, j, vector = neighbor_list("ijD", sites, 1.1 * R0)
    unit = vector / np.linalg.norm(vector, axis=1, keepdims=True)
    x = ((u[j] - u[i]) * unit).sum(axis=1)
    forces = np.zeros_like(u)
    np.add.at(forces, i, (SPRING * x + quartic * x**3)[:, None] * unit)
    return forces


def snapshots(primitive: Atoms, widths: Array, rng: np.random.Generator, quartic: float) -> list[Atoms]:
    sites = primitive.repeat(3)
    frames = []
    for width in widths:
        u = rng.normal(0.0, width, (len(sites), 3))
        frame = sites.copy()
        frame.positions += u
        frame.calc = SinglePointCalculator(frame, forces=bond_forces(sites, u, quartic))
        frames.append(frame)
    return frames


def closed_form(primitive: Atoms, q: Array, spring: float) -> Array:
    """Frequencies of nearest-neighbour bonds of fixed direction, THz."""
    _, _, vector = neighbor_list("ijD", primitive, 1.1 * R0)
    unit = vector / np.linalg.norm(vector, axis=1, keepdims=True)
    phase = 2 * np.pi * q @ np.linalg.inv(primitive.cell.array).T @ vector.T
    matrix = spring * np.einsum("qb,bi,bj->qij", 1 - np.cos(phase), unit, unit) / primitive.get_masses()[0]
    omega = np.sqrt(np.abs(np.linalg.eigvalsh(matrix)) * units._e / units._amu) * 1e10
    return np.asarray(omega / (2 * np.pi) * 1e-12)


def test_harmonic_snapshots_give_back_their_force_constants(copper: Atoms, rng: np.random.Generator) -> None:
    result = effective_phonons(copper, snapshots(copper, np.full(12, 0.05), rng, 0.0), temperature=300, blocks=4)
    q = commensurate_points(result.mean.phonon)
    frequencies, error = result.frequencies(q)
    np.testing.assert_allclose(frequencies, closed_form(copper, q, SPRING), atol=1e-5)
    assert error.max() < 1e-5
    assert result.misfit < 1e-8
    assert (result.temperature, result.snapshots) == (300.0, 12)


def test_quartic_bonds_stiffen_by_their_mean_square_stretch(copper: Atoms, rng: np.random.Generator) -> None:
    """<x F> / <x²> = k + 3 b <x²> for Gaussian x; independent displacements of width w give <x²> = 2 w²."""
    width = 0.08
    frames = snapshots(copper, np.full(120, width), rng, QUARTIC)
    result = effective_phonons(copper, frames, temperature=600, blocks=20)
    q = commensurate_points(result.mean.phonon)[1:]
    frequencies, error = result.frequencies(q)
    stiff = closed_form(copper, q, SPRING + 6 * QUARTIC * width**2)
    assert stiff.max() > 1.15 * closed_form(copper, q, SPRING).max()
    deviation = (frequencies - stiff) / error
    assert np.abs(deviation).max() < 4.5
    assert 0.5 < np.sqrt(np.mean(deviation**2)) < 1.6  # stated errors are the true ones
    assert 0.02 < result.misfit < 0.5


def test_blocks_shorter_than_the_correlation_time_are_noticed(copper: Atoms, rng: np.random.Generator) -> None:
    """The stiffness of all bonds wanders by 20 %: slowly, so that neighbouring blocks are alike, or fast."""
    slow = 1.0 + 0.2 * np.repeat(rng.choice([-1, 1], 10), 6)
    q = np.array([[1 / 3, 1 / 3, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    ratios = {}
    for name, factors in (("slow", slow), ("fast", rng.permutation(slow))):
        frames = snapshots(copper, np.full(60, 0.02), rng, 0.0)
        for frame, factor in zip(frames, factors, strict=True):
            frame.calc = SinglePointCalculator(frame, forces=factor * frame.get_forces())
        ratios[name] = effective_phonons(copper, frames, temperature=600, blocks=20).correlation_of_blocks(q)
    assert ratios["slow"] > 1.25 > ratios["fast"]


def test_dynamics_of_a_stiff_ferromagnet_gives_its_harmonic_phonons() -> None:
    """Langevin dynamics at 20 K, whose atoms are listed in ASE's order, and phonopy agree."""
    springs = CustomPair(value=lambda r: 3.0 * (r - R0) ** 2, slope=lambda r: 6.0 * (r - R0), cutoff=3.2, onset=3.1)
    exchange = Exponential(strength=0.02, r0=R0, decay=0.4, cutoff=3.2, onset=3.1)
    cell = bulk("Fe", "fcc", a=A0)
    set_moments(cell, ferromagnet(cell, 2.2, "x"))
    cell.calc = Heisenberg(exchange=exchange, lattice=springs)
    atoms = bulk("Fe", "fcc", a=A0, cubic=True).repeat(2)
    set_moments(atoms, ferromagnet(atoms, 2.2, "x"))
    atoms.calc = cell.calc
    rng = np.random.default_rng(3)
    atoms.positions += rng.normal(0, 0.008, (len(atoms), 3))
    atoms.set_constraint(FixCom())
    dynamics = Langevin(atoms, 4 * units.fs, temperature_K=20, friction=0.02 / units.fs, rng=rng, fixcm=False)
    frames = []
    for _ in range(60):
        dynamics.run(15)
        frame = atoms.copy()
        frame.calc = SinglePointCalculator(frame, forces=atoms.get_forces())
        frames.append(frame)
    result = effective_phonons(cell, frames[10:], temperature=20, blocks=10)
    harmonic = phonons(cell, supercell=2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]))
    q = commensurate_points(harmonic.phonon)[1:]
    mean, error = result.frequencies(q)
    np.testing.assert_allclose(mean, harmonic.frequencies(q), atol=0.06)
    assert error.max() < 0.06
    np.testing.assert_allclose(result.mean.primitive.get_initial_magnetic_moments(), [[2.2, 0, 0]])


def test_displacements_of_the_whole_do_not_matter(copper: Atoms, rng: np.random.Generator) -> None:
    frames = snapshots(copper, np.full(6, 0.05), rng, QUARTIC)
    moved = [frame.copy() for frame in frames]
    for number, (old, new) in enumerate(zip(frames, moved, strict=True)):
        new.positions += 0.05 * number * np.array([1.0, -0.5, 0.2])
        new.wrap()
        new.calc = SinglePointCalculator(new, forces=old.get_forces())
    first = effective_phonons(copper, frames, temperature=300, blocks=3)
    second = effective_phonons(copper, moved, temperature=300, blocks=3)
    np.testing.assert_allclose(first.force_constants, second.force_constants, atol=1e-9)


def test_spin_orbit_coupling_lowers_the_symmetry(copper: Atoms, rng: np.random.Generator) -> None:
    set_moments(copper, [[1.0, 0.0, 0.0]])
    frames = snapshots(copper, np.full(12, 0.05), rng, QUARTIC)
    operations, frequencies = [], []
    for spin_orbit in (False, True):
        result = effective_phonons(copper, frames, temperature=300, blocks=4, spin_orbit=spin_orbit)
        operations.append(len(result.mean.phonon.primitive_symmetry.symmetry_operations["rotations"]))
        frequencies.append(result.frequencies((1 / 3, 1 / 3, 0))[0])
        np.testing.assert_allclose(result.mean.primitive.get_initial_magnetic_moments(), [[1.0, 0.0, 0.0]])
    assert operations == [48, 16]  # m-3m and 4/mm'm'
    np.testing.assert_allclose(*frequencies, rtol=0.02)


def test_wrong_snapshots_are_refused(copper: Atoms, rng: np.random.Generator) -> None:
    frames = snapshots(copper, np.full(6, 0.05), rng, 0.0)

    def fails(message: str, changed: list[Atoms], **options: object) -> None:
        with pytest.raises(InputError, match=message):
            effective_phonons(copper, changed, **{"temperature": 300, "blocks": 3, **options})  # type: ignore[arg-type]

    fails("at least 2", frames[:1])
    fails("temperature", frames, temperature=0.0)
    fails("blocks", frames, blocks=7)
    fails("blocks", frames, blocks=1)
    silent = frames[0].copy()
    fails("no forces", [silent, *frames])
    stretched = frames[1].copy()
    stretched.set_cell(stretched.cell * 1.01, scale_atoms=True)
    fails("supercell", [stretched, *frames])
    fails("different cells", [frames[0], stretched])
    hopped = frames[1].copy()
    hopped.positions[3] += 2.0
    hopped.calc = frames[1].calc
    fails("away from its site", [frames[0], hopped])
    broken = frames[1].copy()
    broken.positions[3] = np.nan
    fails("not finite", [frames[0], broken])


def test_too_few_data_are_noticed(copper: Atoms) -> None:
    phonon = build_phonopy(copper, 3, axis=None)
    with pytest.raises(InputError, match="shape"):
        average_force_constants(phonon, np.zeros((2, 3, 3)), np.zeros((2, 3, 3)), blocks=2)
    with pytest.raises(InputError, match="finite"):
        average_force_constants(phonon, np.full((2, 27, 3), np.inf), np.zeros((2, 27, 3)), blocks=2)
    with pytest.raises(InputError, match="sets of displacements"):
        average_force_constants(phonon, np.zeros((2, 27, 3)), np.zeros((3, 27, 3)), blocks=2)


def test_the_average_is_an_ordinary_phonon_result(copper: Atoms, rng: np.random.Generator, tmp_path: Path) -> None:
    frames = snapshots(copper, np.full(8, 0.05), rng, QUARTIC)
    result: AveragedPhonons = effective_phonons(copper, frames, temperature=300, blocks=4)
    assert result.mean.dos(8).density.max() > 0
    result.mean.save(tmp_path / "phonopy.yaml")
    again = PhononResult.load(tmp_path / "phonopy.yaml")
    np.testing.assert_allclose(again.frequencies((0.1, 0.2, 0.3)), result.mean.frequencies((0.1, 0.2, 0.3)), atol=1e-6)
    assert result.plot().get_ylabel() == "frequency (THz)"
