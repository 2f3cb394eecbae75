"""Structures with which a model of bcc iron is compared, point by point: none of them is in the data set.

``info["point"]`` names them: ``volume 2.70`` (lattice constant, Å), ``moment 1.4`` (|m|, µB), ``spiral G-H 1/2`` (a
flat spiral half-way from Γ to H), ``ferromagnet G-H 1/2`` (in the same cell, so with the same k-points) and
``cone G-H 20`` (at H, moments at 20° from a common axis, in the cell of ``spiral G-H 1``).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.geometry import minkowski_reduce

from deepspin_ase.moments import cone, ferromagnet, get_moments, set_moments
from deepspin_ase.vectors import Array

LATTICE_CONSTANT: Final = 2.8665  # Å, measured
MOMENT: Final = 2.2  # µB
VOLUMES: Final = (2.70, 2.75, 2.80, 2.85, 2.90, 2.94, 2.98)  # lattice constants, Å
MOMENTS: Final = (1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8)  # µB
CONE_ANGLES: Final = (10, 20)  # degrees; a flat spiral has 90
FRACTIONS: Final = (Fraction(1, 2), Fraction(2, 3), Fraction(1))

# from Γ to the end of the line, in 2π/a, and two shortest vectors of a layer across it, in a
LINES: Final = {
    "G-H": ((0.0, 0.0, 1.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))),
    "G-N": ((0.5, 0.5, 0.0), ((0.0, 0.0, 1.0), (0.5, -0.5, 0.5))),
}
_NEXT_LAYER: Final = (0.5, 0.5, 0.5)  # in a; the phase of a spiral at the end of either line turns by π on the way


def direct_points() -> list[Atoms]:
    """All of them, the cheap ones first."""
    points = [named(iron(a, MOMENT), f"volume {a:.2f}") for a in VOLUMES]
    points += [named(iron(LATTICE_CONSTANT, moment), f"moment {moment}") for moment in MOMENTS]
    places = [(line, fraction) for fraction in reversed(FRACTIONS) for line in LINES]  # the short ones first
    for line, fraction in places:
        atoms = spiral_cell(line, fraction)
        set_moments(atoms, ferromagnet(atoms, MOMENT))
        points.append(named(atoms, f"ferromagnet {line} {fraction}"))
    points += [named(cone_cell(line, angle), f"cone {line} {angle}") for angle in CONE_ANGLES for line in LINES]
    points += [named(spiral_cell(line, fraction), f"spiral {line} {fraction}") for line, fraction in places]
    return points


def iron(a: float, moment: float) -> Atoms:
    """The primitive cell of the ferromagnet; lattice constant in Å, µB along z."""
    atoms = bulk("Fe", "bcc", a=a)
    set_moments(atoms, ferromagnet(atoms, moment))
    return atoms


def spiral_cell(line: str, fraction: Fraction, angle: float = 90.0) -> Atoms:
    """A spiral about y in the smallest cell that holds it, compact and right-handed.

    Parameters
    ----------
    line
        Key of ``LINES``.
    fraction
        Of the way from Γ to its end; from layer to layer the moments turn by π times this. Not zero.
    angle
        Degrees between moments and y: 90 is a flat spiral.
    """
    a = LATTICE_CONSTANT
    end, (first, second) = LINES[line]
    layers = (fraction / 2).denominator
    step = np.array(_NEXT_LAYER)
    cell = a * minkowski_reduce(np.array([first, second, layers * step]))[0]
    cell *= np.sign(np.linalg.det(cell))
    atoms = Atoms(f"Fe{layers}", positions=a * np.arange(layers)[:, None] * step, cell=cell, pbc=True)
    wave = float(fraction) * np.array(end)
    set_moments(atoms, cone(atoms, MOMENT, wave, angle, "y", "z", cell=a * np.eye(3)))
    atoms.wrap()
    return atoms


def cone_cell(line: str, angle: float) -> Atoms:
    """The spiral at the end of a line with all moments at an angle (degrees) from y."""
    return spiral_cell(line, Fraction(1), angle)


def cone_amplitude(atoms: Atoms, magnetic_forces: Array, angle: float) -> float:
    """A = dE/dθ / sin 2θ of a cone, meV per atom, from magnetic forces (n, 3), eV/µB.

    With bilinear exchange E(θ) - E(0) = A sin²θ, and A is E(q) - E(0) of the flat spiral.
    """
    theta = np.deg2rad(angle)
    along = get_moments(atoms) * [0.0, 1.0, 0.0]
    outward = get_moments(atoms) - along
    turning = outward / np.tan(theta) - along * np.tan(theta)  # dm/dθ
    return -1e3 * float(np.sum(magnetic_forces * turning)) / len(atoms) / np.sin(2 * theta)


def named(atoms: Atoms, point: str) -> Atoms:
    """The structure with its name."""
    atoms.info = {"point": point}
    return atoms
