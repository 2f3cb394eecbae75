"""Picture of a run: moments, temperatures and energies against time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepspin_ase.vectors import Array
from deepspin_plugins.spin_dynamics.observers import TimeSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_history(series: TimeSeries, *, title: str = "") -> Figure:
    """Moments, temperatures and energies of a log against time.

    Parameters
    ----------
    series
        What :func:`read_log` returns.
    title
        Above the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 8.0), layout="constrained")
    moment, temperature, energy = figure.subplots(3, 1, sharex=True)
    time, unit = (series.times, "fs") if series.times.max(initial=0.0) < 1000.0 else (1e-3 * series.times, "ps")

    for name, color in (("Mx", "C1"), ("My", "C2"), ("Mz", "C0")):
        moment.plot(time, series[name], color=color, linewidth=0.9, label=f"$M_{name[1]}$")
    moment.plot(time, series["M"], color="black", label="|M|")
    if np.isfinite(series["order"]).any():
        moment.plot(time, series["order"], color="C3", label="order left of the start")
    moment.plot(time, series["length"], color="0.6", linestyle=":", label="mean |m|")
    moment.set_ylabel("moment per magnetic atom (µB)")

    for name, color, label in (("T_spin", "C3", "spins"), ("T_lattice", "C0", "lattice")):
        values = np.where(np.isfinite(series[name]), series[name], np.nan)
        if np.isfinite(values).any() and np.any(values != 0.0):
            temperature.plot(time, values, ".", color=color, markersize=2, alpha=0.35)
            smooth, at = running_mean(values, time)
            temperature.plot(at, smooth, color=color, label=label)
    _focus(temperature, [line.get_ydata() for line in temperature.lines])
    temperature.set_ylabel("temperature (K)")

    moving = bool(np.any(series["E_kinetic"] != 0.0))
    start = series["E_total"][0] if len(series) else 0.0
    energy.plot(time, 1e3 * (series["E_total"] - start), color="black", label="total")
    if moving:
        for name, color in (("potential", "C0"), ("kinetic", "C1")):
            part = series[f"E_{name}"]
            energy.plot(time, 1e3 * (part - part[0]), color=color, linewidth=0.9, label=name)
    energy.set_ylabel("energy − first value (meV/atom)")
    energy.set_xlabel(f"time ({unit})")

    for axes in (moment, temperature, energy):
        axes.grid(alpha=0.25)
        axes.margins(x=0.01)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def running_mean(values: Array, times: Array, *, windows: int = 40) -> tuple[Array, Array]:
    """Mean over about a fortieth of the series, and the times it belongs to; short series stay as they are."""
    count = max(1, len(values) // windows)
    kernel = np.full(count, 1.0 / count)
    return np.convolve(values, kernel, mode="valid"), np.convolve(times, kernel, mode="valid")


def _focus(axes: Axes, curves: list[Any]) -> None:
    """Limit the y axis to the bulk of the points: single configurations can have a temperature far off."""
    finite = np.concatenate([c[np.isfinite(c)] for c in (np.asarray(curve, dtype=float) for curve in curves)] or [[]])
    if len(finite) > 1:
        low, high = np.percentile(finite, [1.0, 99.0])
        margin = 0.15 * max(high - low, 1e-3 * abs(high), 1e-9)
        axes.set_ylim(min(low, 0.0) - margin * (low < 0.0), high + margin)
