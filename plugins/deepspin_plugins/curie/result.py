"""What a study of an ordering temperature gives: the number, its error, the curves, and what was checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepspin_ase.errors import InputError
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {
    "order_parameter": "order parameter",
    "susceptibility": "χ (µB/T per site)",
    "heat_capacity": "C (k$_B$ per site)",
    "binder": "Binder cumulant U",
}
_LOGARITHMIC = "susceptibility"


@dataclass(frozen=True, eq=False)
class CurieResult(StoredResult):
    """An ordering temperature and the curves behind it.

    The curves are a table of k rows, one per size and temperature, sorted by size. Averages are (2, k): values, errors.

    Attributes
    ----------
    tc, tc_error
        K; the error is statistical and, in quadrature, that of the extrapolation to infinite size.
    order
        Name of the order parameter.
    method
        How samples were made.
    moment
        µB per magnetic site in perfect order.
    size, sites, temperature
        Linear size L, number of magnetic sites, and K, (k,).
    order_parameter, susceptibility, heat_capacity, binder, energy
        (2, k): 0..1, µB/T per site, k_B per site, dimensionless, meV per site; see :class:`Curves`.
    part_names, parts
        Sublattices and net moment (if there are several sublattices), fractions of their saturation, (names, 2, k).
    crossing_sizes, crossing, crossing_error
        Pairs of sizes (P, 2), and where their cumulants cross, K, (P,); NaN where they do not.
    grid, binder_curves
        Temperatures about T_c, K, (F,), and cumulants of all sizes reweighted to them, (2, sizes, F).
    binder_at_tc
        U* from the scaling fit.
    inverse_nu, beta_over_nu
        Value and error (2,) from slopes of U and from the order at T_c.
    transitions, transition_errors
        All transitions in the scanned range, K: T_c first, then further maxima of the heat capacity.
    mean_field, rpa, rpa_error
        Estimates from exchange alone, K; NaN where they do not apply.
    checked, unchecked
        What was looked at, with its outcome, and what was not.
    complete
        False if the run was interrupted, or ended before the wanted accuracy.
    """

    tc: float
    tc_error: float
    order: str
    method: str
    moment: float
    size: Array
    sites: Array
    temperature: Array
    order_parameter: Array
    susceptibility: Array
    heat_capacity: Array
    binder: Array
    energy: Array
    part_names: tuple[str, ...]
    parts: Array
    crossing_sizes: Array
    crossing: Array
    crossing_error: Array
    grid: Array
    binder_curves: Array
    binder_at_tc: float
    inverse_nu: Array
    beta_over_nu: Array
    transitions: Array
    transition_errors: Array
    mean_field: float
    rpa: float
    rpa_error: float
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]
    complete: bool

    def spin_corrected(self, spin: float) -> tuple[float, float]:
        """T_c and its error times (S + 1)/S, an estimate for quantum spins of length S from classical ones.

        The factor is that of the mean field of quantum spins with the same classical energy J S²; it is an estimate,
        and no part of ``tc``.
        """
        if not spin > 0.0:
            raise InputError(f"spin = {spin}; allowed: a positive number (S = g |m|/2 µB).")
        factor = (spin + 1.0) / spin
        return factor * self.tc, factor * self.tc_error

    def summary(self) -> str:
        """Text for a screen: temperatures with errors, checks, and what was not checked."""
        found = f"T_c = {self.tc:.2f} ± {self.tc_error:.2f} K" if np.isfinite(self.tc) else "no transition found"
        beside = [f"mean field {self.mean_field:.1f} K"] if np.isfinite(self.mean_field) else []
        beside += [f"RPA {self.rpa:.1f} ± {self.rpa_error:.1f} K"] if np.isfinite(self.rpa) else []
        lines = [f"{found} ({self.order}; {self.method})", *filter(None, [", ".join(beside)])]
        lines += [
            f"further transition near {t:.1f} ± {e:.1f} K (maximum of the heat capacity)"
            for t, e in zip(self.transitions[1:], self.transition_errors[1:], strict=True)
        ]
        lines += [f"  checked: {text}" for text in self.checked]
        lines += [f"  NOT checked: {text}" for text in self.unchecked]
        if not self.complete:
            lines.append("  INCOMPLETE: interrupted, or the wanted accuracy was not reached")
        return "\n".join(lines)

    def rows(self, size: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows of the table belong to a size."""
        return np.asarray(self.size == size)

    def to_json(self, path: str | Path) -> None:
        """Write numbers and curves as text; NaN becomes null."""
        values = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        Path(path).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def plot(self, ax: Axes | None = None, quantity: str = "order_parameter") -> Axes:
        """Draw one quantity of all sizes against temperature.

        Parameters
        ----------
        ax
            Axes to draw in; new ones by default.
        quantity
            order_parameter, susceptibility, heat_capacity or binder.
        """
        if quantity not in _LABELS:
            raise InputError(f"quantity = {quantity!r}; allowed: {', '.join(_LABELS)}.")
        axes = new_axes() if ax is None else ax
        values = getattr(self, quantity)
        for number, size in enumerate(np.unique(self.size)):
            rows = self.rows(size)
            style: dict[str, Any] = {"fmt": "o-", "ms": 3, "lw": 0.8, "capsize": 2, "color": f"C{number}"}
            if quantity == "binder":
                style["fmt"] = "o"
                self._draw_reweighted(axes, size, f"C{number}")
            value, error = values[:, rows]
            axes.errorbar(self.temperature[rows], value, error, label=f"L = {size:.3g}", **style)
        if np.isfinite(self.tc):
            axes.axvspan(self.tc - self.tc_error, self.tc + self.tc_error, color="0.85", zorder=0)
            axes.axvline(self.tc, color="0.4", lw=0.8, zorder=0)
        if quantity == _LOGARITHMIC:
            axes.set_yscale("log")
        axes.set(xlabel="temperature (K)", ylabel=_LABELS[quantity])
        axes.legend(fontsize=8)
        return axes

    def _draw_reweighted(self, axes: Axes, size: float, colour: str) -> None:
        for k in np.flatnonzero(np.unique(self.crossing_sizes) == size):
            value, error = self.binder_curves[:, k]
            axes.plot(self.grid, value, color=colour, lw=1.0)
            axes.fill_between(self.grid, value - error, value + error, color=colour, alpha=0.2, lw=0)

    def figure(self) -> Figure:
        """Order parameter, χ, C, and the crossing of the cumulants (enlarged about T_c) in one picture."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10.0, 7.2), layout="constrained")
        for axes, quantity in zip(figure.subplots(2, 2).flat, _LABELS, strict=True):
            self.plot(axes, quantity)
        if np.isfinite(self.tc) and np.isfinite(self.crossing).any():
            low, high = self.binder_curves[0].min(), self.binder_curves[0].max()
            axes.set(xlim=self.grid[[0, -1]], ylim=(low - 0.01, high + 0.01))
        figure.suptitle(f"{self.order}: T$_c$ = {self.tc:.1f} ± {self.tc_error:.1f} K")
        return figure


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
