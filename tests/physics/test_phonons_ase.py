"""ASE's own phonons and vibrations work with the calculators of the package and agree with phonopy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.phonons import Phonons
from ase.vibrations import Vibrations
from numpy.typing import NDArray

from deepspin_ase import Heisenberg, ferromagnet, set_moments
from deepspin_ase.heisenberg import CustomPair, Exponential
from deepspin_plugins.phonons import phonons
from deepspin_plugins.phonons.averages import commensurate_points
from tests.potentials import random_calculator

A0 = 3.6
R0 = A0 / np.sqrt(2)
THZ = 1e-12 / (2 * np.pi * units._hbar / units._e)
"""THz in one eV of a quantum."""
STEP = 1e-3


def ferromagnet_of_springs() -> Atoms:
    springs = CustomPair(value=lambda r: 3.0 * (r - R0) ** 2, slope=lambda r: 6.0 * (r - R0), cutoff=3.2, onset=3.1)
    atoms = bulk("Fe", "fcc", a=A0)
    set_moments(atoms, ferromagnet(atoms, 2.2, (1, 1, 0)))
    atoms.calc = Heisenberg(
        exchange=Exponential(strength=0.02, r0=R0, decay=0.4, cutoff=3.2, onset=3.1), lattice=springs
    )
    return atoms


def rock_salt_in_a_network() -> Atoms:
    """No real solid: the weights are random. Forces vanish by symmetry, frequencies may be imaginary."""
    atoms = bulk("NiO", "rocksalt", a=4.17)
    set_moments(atoms, [[0.0, 0.0, 1.2], [0.0, 0.0, 0.0]])
    atoms.calc = random_calculator()
    return atoms


def squares(frequencies: NDArray[np.complex128] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed squares, THz²; ASE gives complex energies for imaginary modes, or negative numbers."""
    values = np.asarray(frequencies)
    if np.iscomplexobj(values):
        return np.sort((values**2).real)
    return np.sort(np.sign(values) * values**2)


@pytest.mark.parametrize("make", [ferromagnet_of_springs, rock_salt_in_a_network])
def test_ase_phonons_agree_with_phonopy(make, tmp_path: Path) -> None:
    atoms = make()
    ours = phonons(atoms, supercell=2, distance=STEP, relax="none")
    points = commensurate_points(ours.phonon)
    theirs = Phonons(atoms, atoms.calc, supercell=(2, 2, 2), delta=STEP, name=str(tmp_path / "phonon"))
    theirs.run()
    theirs.read(acoustic=True)
    energies = theirs.band_structure(points, verbose=False)
    mine = ours.frequencies(points)
    scale = np.abs(mine).max() ** 2
    for a, b in zip(THZ * np.asarray(energies), mine, strict=True):
        np.testing.assert_allclose(squares(a), squares(b), atol=2e-5 * scale)


@pytest.mark.parametrize("make", [ferromagnet_of_springs, rock_salt_in_a_network])
def test_ase_vibrations_of_the_supercell_have_the_frequencies_of_all_wavevectors_that_fit(make, tmp_path: Path) -> None:
    atoms = make()
    ours = phonons(atoms, supercell=2, distance=STEP, relax="none")
    supercell = ours.supercell
    supercell.calc = atoms.calc
    vibrations = Vibrations(supercell, delta=STEP, name=str(tmp_path / "vibrations"))
    vibrations.run()
    mine = ours.frequencies(commensurate_points(ours.phonon)).ravel()
    theirs = THZ * np.asarray(vibrations.get_energies())
    np.testing.assert_allclose(squares(theirs), squares(mine), atol=2e-5 * np.abs(mine).max() ** 2)


def test_ase_carries_the_moments_into_its_supercell(tmp_path: Path) -> None:
    """With other moments the phonons are other ones: nothing is lost on the way."""
    found = []
    for strength in (2.2, 0.0):
        atoms = ferromagnet_of_springs()
        set_moments(atoms, ferromagnet(atoms, strength))
        theirs = Phonons(atoms, atoms.calc, supercell=(2, 2, 2), delta=STEP, name=str(tmp_path / f"m{strength}"))
        theirs.run()
        theirs.read()
        found.append(THZ * np.asarray(theirs.band_structure([[0.5, 0.5, 0.0]], verbose=False)))
    assert np.abs(found[0] - found[1]).max() > 0.1
