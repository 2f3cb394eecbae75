"""What a sampler hands on to the analysis: energies and order parameters, sweep by sweep, at every temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Series(StoredResult):
    """Time series of one supercell in equilibrium at T temperatures.

    Attributes
    ----------
    temperatures
        K, (T,).
    energy
        Total energy of the supercell, eV, (T, s) for s measurements.
    order
        Absolute values of the p order parameters, between 0 and 1, (T, s, p):
        |Σ_i w_i m_i| / Σ_i |w_i| |m_i|, where the m_i are moments (so that larger moments weigh more) and the w_i
        weights. An order along one axis with weights of modulus one reaches 1, a helix with w_i = exp(2πi q·r_i) 1/√2.
    saturation
        Σ_i |w_i| |m_i| / n, µB per magnetic site, (p,): ``order * saturation`` is in µB per magnetic site.
    sites
        Number n of magnetic sites of the supercell.
    """

    temperatures: Array
    energy: Array
    order: Array
    saturation: Array
    sites: int

    def __len__(self) -> int:
        return self.energy.shape[1]

    def plot(self, ax: Axes | None = None) -> Axes:
        """First order parameter against the measurement, one line per temperature."""
        axes = new_axes() if ax is None else ax
        for temperature, values in zip(self.temperatures, self.order[:, :, 0], strict=True):
            axes.plot(values, lw=0.8, label=f"{temperature:g} K")
        axes.set(xlabel="measurement", ylabel="order parameter (fraction of saturation)", ylim=(0, 1))
        return axes
