"""What direct sampling of a potential gives: time series at every temperature, and how they came about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.moments import set_moments
from deepspin_ase.statistics import autocorrelation_time, mean_with_error
from deepspin_ase.vectors import Array
from deepspin_plugins.curie.series import Series


@dataclass(frozen=True, eq=False)
class DirectSamples(Series):
    """Time series of moments (and positions) in the energy of a potential; arrays are read-only.

    Attributes
    ----------
    temperatures, energy, order, saturation, sites
        As in :class:`Series`. With ``longitudinal`` the order is relative to the moments of the start and may exceed 1.
    length
        Mean |m| of the magnetic atoms, µB, (T, s).
    acceptance
        Mean acceptance of the trajectories, (T,).
    exchange_rates
        Share of accepted exchanges between neighbouring temperatures, (T-1,).
    steps
        Step ε of the trajectories after adaptation, (T,); see ``hmc.py``.
    numbers, cell, pbc, positions, moments
        The last structures: (n,), (3, 3) Å, (3,), (T, n, 3) Å, (T, n, 3) µB.
    lattice, longitudinal
        What moved besides the directions of the moments.
    complete
        False if Ctrl-C ended the run early.
    """

    length: Array
    acceptance: Array
    exchange_rates: Array
    steps: Array
    numbers: NDArray[np.int64]
    cell: Array
    pbc: NDArray[np.bool_]
    positions: Array
    moments: Array
    lattice: bool
    longitudinal: bool
    complete: bool

    def structure(self, number: int) -> Atoms:
        """Last structure at temperature ``number``, with its moments."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions[number], cell=self.cell, pbc=self.pbc)
        set_moments(atoms, self.moments[number])
        return atoms

    def table(self) -> str:
        """Means with standard errors, autocorrelation times in sweeps, acceptance; one line per temperature."""
        what = " and positions" * self.lattice + " and lengths of moments" * self.longitudinal
        lines = [
            f"direct sampling of {len(self.numbers)} atoms, {self.sites} magnetic: directions{what}; {len(self)} sweeps"
            + ("" if self.complete else " (interrupted)"),
            "temperature (K)  energy (meV per magnetic atom)      order parameter   τ (sweeps)  acceptance",
        ]
        for kelvin, energy, order, accepted in zip(
            self.temperatures, self.energy, self.order[:, :, 0], self.acceptance, strict=True
        ):
            mean, psi = mean_with_error(1e3 * energy / self.sites), mean_with_error(order)
            time = max(autocorrelation_time(x).value for x in (energy, order)) if len(self) > 1 else np.nan
            doubtful = "" if mean.reliable and psi.reliable else "  run too short for its errors"
            lines.append(
                f"{kelvin:15.1f}  {mean.value:18.3f} ± {mean.error:8.3f}  {psi.value:9.4f} ± {psi.error:7.4f}  "
                f"{time:10.1f}  {accepted:10.2f}{doubtful}"
            )
        return "\n".join(lines)
