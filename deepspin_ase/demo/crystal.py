"""The crystals of the demo: NiO, antiferromagnet of type II, and bcc iron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

LATTICE_CONSTANT: Final = 4.186
"""Å; the lattice constant of the first-principles data behind the model ``nio``."""

MOMENT: Final = 1.2737
"""µB on Ni; the constrained length in those data (the projection on an atomic sphere, not the full moment)."""

MAGNETIC_CELL: Final = ((0, 1, 1), (1, 0, 1), (1, 1, 0))
"""Smallest cell of the antiferromagnet, two Ni and two O, in vectors of the primitive cell."""


IRON_LATTICE_CONSTANT: Final = 2.8665
"""Å; measured at room temperature."""

IRON_MOMENT: Final = 2.2
"""µB."""


def nickel_oxide(supercell: Sequence[Sequence[int]] = ((2, 2, 0), (0, 2, 2), (2, 0, 2))) -> Atoms:
    """NiO with ferromagnetic (111) sheets of alternating direction (AFM II), moments along z; 32 atoms by default."""
    from ase.build import bulk, make_supercell

    from deepspin_ase import collinear_order, set_moments

    primitive = bulk("NiO", "rocksalt", a=LATTICE_CONSTANT)
    atoms = make_supercell(primitive, supercell)
    moments = collinear_order(atoms, {"Ni": MOMENT, "O": 0.0}, (0.5, 0.5, 0.5), cell=primitive.cell.array)
    set_moments(atoms, moments)
    return atoms


def iron() -> Atoms:
    """Ferromagnetic bcc iron, one atom."""
    from ase.build import bulk

    from deepspin_ase import set_moments

    atoms = bulk("Fe", a=IRON_LATTICE_CONSTANT)
    set_moments(atoms, IRON_MOMENT)
    return atoms


def disturb(atoms: Atoms, seed: int) -> None:
    """Displace all atoms by 0.03 Å (rms per component) and tilt all moments by 20° at random."""
    import numpy as np

    from deepspin_ase import get_moments, set_moments, tilt

    rng = np.random.default_rng(seed)
    atoms.positions += rng.normal(0, 0.03, (len(atoms), 3))
    set_moments(atoms, tilt(get_moments(atoms), 20.0, rng))


def bond_misalignment(atoms: Atoms) -> float:
    """Largest deviation from 180° between the moments of two Ni on either side of an O, in degrees.

    These bonds (J2) make the order. The four simple cubic lattices of Ni that they connect are coupled to each other
    only weakly, since their other exchange fields cancel: nearly free angles, which a relaxation leaves where they are.
    """
    import numpy as np
    from ase.neighborlist import neighbor_list

    from deepspin_ase import get_moments

    i, j, distance = neighbor_list("ijd", atoms, 1.15 * LATTICE_CONSTANT)
    across = (atoms.numbers[i] == 28) & (atoms.numbers[j] == 28) & (distance > 0.85 * LATTICE_CONSTANT)
    unit = get_moments(atoms)[np.stack([i, j])[:, across]]
    unit = unit / np.linalg.norm(unit, axis=2, keepdims=True)
    return float(np.degrees(np.arccos(np.clip(-(unit[0] * unit[1]).sum(1).max(), -1, 1))))
