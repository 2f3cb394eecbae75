"""Constants of spin dynamics in ASE's units: eV, Å, µB and ASE's unit of time (``ase.units.fs`` is one femtosecond)."""

from __future__ import annotations

from typing import Final

from ase import units

from deepspin_ase.quantities import GAMMA, MU_B

FEMTOSECOND: Final = float(units.fs)
"""One femtosecond in ASE's unit of time."""

PRECESSION: Final = GAMMA / MU_B * 1e-15 / FEMTOSECOND
"""γ/µB: angular velocity (rad per ASE unit of time) in a magnetic force of 1 eV/µB; 1 meV/µB is 3.042 rad/ps."""
