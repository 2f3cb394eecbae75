"""Classical spin models and their ASE calculator: the package's Lennard-Jones, cheap and exact.

``HeisenbergModel`` is the pure model (arrays in, numbers out); ``Heisenberg`` puts it, or exchange that
follows the atoms, behind ASE. Signs and factors: ``docs/conventions.md``; examples: ``docs/heisenberg.md``.
"""

from __future__ import annotations

from deepspin_ase.heisenberg.bonds import Bonds, dm_tensor, dm_vector
from deepspin_ase.heisenberg.calculator import Heisenberg
from deepspin_ase.heisenberg.model import HeisenbergModel
from deepspin_ase.heisenberg.shells import bulk_dmi, interfacial_dmi
from deepspin_ase.heisenberg.terms import (
    BetheSlater,
    CustomPair,
    Exponential,
    Landau,
    Morse,
    PairFunction,
    Polynomial,
    uniaxial,
)

__all__ = [
    "BetheSlater",
    "Bonds",
    "CustomPair",
    "Exponential",
    "Heisenberg",
    "HeisenbergModel",
    "Landau",
    "Morse",
    "PairFunction",
    "Polynomial",
    "bulk_dmi",
    "dm_tensor",
    "dm_vector",
    "interfacial_dmi",
    "uniaxial",
]
