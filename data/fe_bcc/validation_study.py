"""A potential of bcc iron with what its studies have in common, and what a study gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from ase import Atoms
from direct_points import LATTICE_CONSTANT, MOMENT, iron
from matplotlib.figure import Figure
from scipy.optimize import brentq

from deepspin_ase.data import Frame
from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_plugins.curie import CurieResult, ordering_temperature
from deepspin_plugins.exchange import ExchangeResult, exchange_tensors

CUTOFF: Final = 7.5  # Å; the ten shells that Pajda et al. list
SWEEPS, ACCURACY = 2000, 0.01  # Monte Carlo of the spin model
SIZES: tuple[int, ...] | None = None  # as the study chooses: about 500, 1700, 4100 atoms
_LENGTHS = np.linspace(1.2, 3.0, 19)  # µB, where an equilibrium |m| is looked for


class Row(NamedTuple):
    """One line of the table."""

    quantity: str
    unit: str
    value: float
    error: float = float("nan")
    beside: str = ""
    remark: str = ""


class Study(NamedTuple):
    """Rows of the table, and a picture where there is one."""

    rows: list[Row]
    figure: Figure | None = None


@dataclass(frozen=True)
class Iron:
    """A potential of iron with what studies have in common.

    Parameters
    ----------
    calc
        Calculator with magnetic forces.
    frames
        Direct points by name, see ``direct_points.py``; some or all may be missing.
    """

    calc: Any
    frames: Mapping[str, Frame]

    def energy(self, atoms: Atoms) -> float:
        """eV per atom."""
        return float(self.calc.get_property("energy", atoms)) / len(atoms)

    def direct_energy(self, point: str) -> float:
        """eV per atom; NaN if there is no such point."""
        frame = self.frames.get(point)
        return float("nan") if frame is None else labelled_energy(frame)

    def equilibrium_moment(self, a: float) -> float:
        """|m| of the ferromagnet at which the energy is lowest, µB, the one next to 2.2; lattice constant in Å."""

        def along(moment: float) -> float:
            return float(self.calc.get_property("magnetic_forces", iron(a, moment))[0, 2])

        values = np.array([along(moment) for moment in _LENGTHS])
        falls = np.flatnonzero((values[:-1] > 0) & (values[1:] <= 0))
        if not len(falls):
            raise InputError(
                f"no equilibrium |m| between {_LENGTHS[0]} and {_LENGTHS[-1]} µB at a = {a:.4f} Å (-dE/d|m| from "
                f"{values[0]:.3f} to {values[-1]:.3f} eV/µB)"
            )
        place = falls[np.abs(_LENGTHS[falls] - MOMENT).argmin()]
        return float(brentq(along, *_LENGTHS[place : place + 2], xtol=1e-6))

    @cached_property
    def ferromagnet(self) -> Atoms:
        """The primitive cell at the measured lattice constant with the potential's own |m|."""
        return iron(LATTICE_CONSTANT, self.equilibrium_moment(LATTICE_CONSTANT))

    @cached_property
    def state(self) -> str:
        """What :attr:`ferromagnet` is, for remarks."""
        return f"a = {LATTICE_CONSTANT} Å, |m| = {get_moments(self.ferromagnet)[0, 2]:.3f} µB, the model's own"

    @cached_property
    def exchange(self) -> ExchangeResult:
        """Exchange about that state."""
        return exchange_tensors(self.ferromagnet, self.calc, cutoff=CUTOFF, spin_orbit=False)

    @cached_property
    def exchange_route(self) -> CurieResult:
        """Monte Carlo of the spin model."""
        return ordering_temperature(self.exchange, sizes=SIZES, sweeps=SWEEPS, accuracy=ACCURACY)


def labelled_energy(frame: Frame) -> float:
    """eV per atom; NaN if there is no label."""
    return float("nan") if frame.labels.energy is None else frame.labels.energy / len(frame.atoms)
