"""From time series of several sizes to an ordering temperature with its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deepspin_ase.errors import InputError
from deepspin_ase.vectors import Array
from deepspin_plugins.curie.adaptive import heat_capacity_maxima
from deepspin_plugins.curie.curves import Measured, averages, measured
from deepspin_plugins.curie.finite_size import NU, BinderCurves, binder_curves, crossings, exponents, scaling_fit
from deepspin_plugins.curie.order import MagneticOrder
from deepspin_plugins.curie.result import CurieResult
from deepspin_plugins.curie.series import Series
from deepspin_plugins.curie.statistics import Estimate

_GRID = 31
_AGREE = 3.0  # standard errors
_ENOUGH = 50  # effective measurements per temperature


@dataclass(frozen=True)
class Run:
    """Measurements of one size.

    Attributes
    ----------
    size
        Linear size L: any number proportional to the edge of the supercell.
    series
        What a sampler gave.
    """

    size: float
    series: Series


class Estimates(NamedTuple):
    """Mean-field and RPA temperatures with the error of the latter, K."""

    mean_field: float = float("nan")
    rpa: float = float("nan")
    rpa_error: float = float("nan")


class Transition(NamedTuple):
    """What finite-size analysis says.

    Attributes
    ----------
    tc, statistical, drift
        K: fit of all sizes, its jackknife error, and the change when the smallest size is left out.
    pairs, crossing, crossing_error
        Pairs of sizes, (P, 2), and crossings, K, (P,).
    binder, inverse_nu, beta_over_nu
        Values and errors.
    grid, curves
        K, (F,), and cumulants of each size there with their errors, (2, S, F).
    effective
        Independent measurements at the slowest temperature of any size.
    """

    tc: float
    statistical: float
    drift: float
    pairs: Array
    crossing: Array
    crossing_error: Array
    binder: float
    inverse_nu: Estimate
    beta_over_nu: Estimate
    grid: Array
    curves: Array
    effective: float

    @property
    def enough(self) -> bool:
        """Whether there are so many independent measurements that errors can be believed."""
        return self.effective >= _ENOUGH

    @property
    def error(self) -> float:
        """Statistical error and drift in quadrature, K."""
        return float(np.hypot(self.statistical, self.drift))


def locate(order: MagneticOrder, runs: Sequence[Run], *, nu: float | None = NU) -> Transition:
    """Find the transition from runs of at least two sizes at the same temperatures; NaN if no cumulants cross.

    Parameters
    ----------
    order
        Order parameter of the runs.
    runs
        One per size.
    nu
        Correlation-length exponent; None fits it.
    """
    temperatures = runs[0].series.temperatures
    sizes = np.array([run.size for run in runs], dtype=float)
    if len(runs) < 2 or len(set(sizes)) < len(sizes):
        raise InputError(f"sizes {sizes.tolist()}; at least two different ones are needed for a crossing.")
    if any(not np.array_equal(run.series.temperatures, temperatures) for run in runs):
        raise InputError("the runs were made at different temperatures; use the same for all sizes.")
    by_size = np.argsort(sizes)
    found = [measured(runs[k].series, order.magnitude(runs[k].series)) for k in by_size]
    effective = min(part.effective for part in found)
    grid = np.linspace(temperatures[0], temperatures[-1], _GRID)
    curves = binder_curves(sizes[by_size], temperatures, found, grid)
    smooth = np.stack([curves.binder[0], curves.error(curves.binder)])
    pairs, crossing = crossings(curves)
    start = _middle(crossing[0])
    nothing = Estimate(np.array(np.nan), np.array(np.nan))
    if np.isnan(start):
        empty = np.full(len(pairs), np.nan)
        nan = float("nan")
        return Transition(nan, nan, nan, np.array(pairs), empty, empty, nan, nothing, nothing, grid, smooth, effective)
    fits = _fits(curves, start, nu)
    tc = fits[:, 0]
    drift = 0.0
    if len(sizes) > 2:
        drift = float(_fits(_without_smallest(curves), start, nu)[0, 0] - tc[0])
    slope, beta = exponents(curves, tc)
    return Transition(
        tc=float(tc[0]),
        statistical=float(curves.error(tc)),
        drift=drift,
        pairs=np.array(pairs),
        crossing=crossing[0],
        crossing_error=curves.error(crossing),
        binder=float(fits[0, 1]),
        inverse_nu=Estimate(slope[0], curves.error(slope)),
        beta_over_nu=Estimate(beta[0], curves.error(beta)),
        grid=grid,
        curves=smooth,
        effective=effective,
    )


def analyse(
    order: MagneticOrder,
    runs: Sequence[Run],
    *,
    scan: Sequence[Run] = (),
    nu: float | None = NU,
    estimates: Estimates | None = None,
    method: str = "given series",
    complete: bool = True,
) -> CurieResult:
    """Ordering temperature and curves from time series.

    Parameters
    ----------
    order
        Order parameter of the runs.
    runs
        About the transition: at least two sizes (three for an error of the extrapolation) at the same temperatures.
    scan
        Other runs, at any temperatures: for the curves, and to look for further transitions.
    nu
        Exponent in the scaling fit; None fits it.
    estimates
        To report beside the result.
    method
        How the series came about, for the summary.
    complete
        Whether everything that was wanted is there.

    Returns
    -------
    CurieResult
        With ``tc`` NaN if the cumulants do not cross.
    """
    found = locate(order, runs, nu=nu)
    table = _table(order, [*scan, *runs])
    extra, extra_error = _further(table, scan, found.tc)
    beside = estimates or Estimates()
    checked, unchecked = _verdicts(found, runs, nu, bool(scan))
    return CurieResult(
        tc=found.tc,
        tc_error=found.error,
        order=order.name,
        method=method,
        moment=order.moment,
        **table,
        part_names=order.parts,
        crossing_sizes=found.pairs,
        crossing=found.crossing,
        crossing_error=found.crossing_error,
        grid=found.grid,
        binder_curves=found.curves,
        binder_at_tc=found.binder,
        inverse_nu=np.array(found.inverse_nu),
        beta_over_nu=np.array(found.beta_over_nu),
        transitions=np.array([found.tc, *extra]),
        transition_errors=np.array([found.error, *extra_error]),
        **beside._asdict(),
        checked=checked,
        unchecked=unchecked,
        complete=complete and bool(np.isfinite(found.tc)),
    )


def _middle(crossing: Array) -> float:
    kept = crossing[np.isfinite(crossing)]
    return float(np.median(kept)) if len(kept) else float("nan")


def _fits(curves: BinderCurves, start: float, nu: float | None) -> Array:
    """T_c and U* of all measurements and of all jackknife cases, (1 + B, 2)."""
    error = curves.error(curves.binder)
    fits = [scaling_fit(curves.sizes, curves.temperatures, u, error, start, nu=nu) for u in curves.binder]
    return np.array([(fit.tc, fit.binder) for fit in fits])


def _without_smallest(curves: BinderCurves) -> BinderCurves:
    return BinderCurves(curves.sizes[1:], curves.temperatures, curves.binder[:, 1:], curves.order[:, 1:])


def _table(order: MagneticOrder, runs: Sequence[Run]) -> dict[str, Any]:
    """Columns of the result, sorted by size and temperature."""
    columns: dict[str, list[Array]] = {}
    for run in runs:
        part = measured(run.series, order.magnitude(run.series))
        curves = averages(run.series, part, order.moment)
        count = len(run.series.temperatures)
        values = {
            "size": np.full(count, float(run.size)),
            "sites": np.full(count, run.series.sites),
            "temperature": run.series.temperatures,
            "order_parameter": np.array(curves.order),
            "susceptibility": np.array(curves.susceptibility),
            "heat_capacity": np.array(curves.heat_capacity),
            "binder": np.array(curves.binder),
            "energy": np.array(curves.energy),
            "parts": _parts(order, run.series, part),
        }
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    joined = {name: np.concatenate(parts, axis=-1) for name, parts in columns.items()}
    rows = np.lexsort((joined["temperature"], joined["size"]))
    return {name: value[..., rows] for name, value in joined.items()}


def _parts(order: MagneticOrder, series: Series, found: Measured) -> Array:
    """Mean of the further order parameters, (parts, 2, T)."""
    if not order.parts:
        return np.zeros((0, 2, len(series.temperatures)))
    values = series.order[:, found.discarded :, -len(order.parts) :]
    blocks = np.array([block.mean(axis=1) for block in np.array_split(values, found.blocks, axis=1)])
    error = blocks.std(axis=0) / np.sqrt(found.blocks - 1)
    return np.stack([values.mean(axis=1).T, error.T], axis=1)


def _further(table: dict[str, Any], scan: Sequence[Run], tc: float) -> tuple[Array, Array]:
    """Maxima of the heat capacity of the scan that are not the one at T_c."""
    if not scan:
        return np.zeros(0), np.zeros(0)
    rows = np.isin(table["size"], [run.size for run in scan])
    at, first = np.unique(table["temperature"][rows], return_index=True)
    value, error = table["heat_capacity"][:, rows][:, first]
    peaks, widths = heat_capacity_maxima(at, Estimate(value, error))
    other = np.abs(peaks - tc) > np.maximum(3 * widths, 0.1 * tc)
    return peaks[other], widths[other]


def _verdicts(
    found: Transition, runs: Sequence[Run], nu: float | None, scanned: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    checked: list[str] = []
    unchecked: list[str] = []
    sizes = ", ".join(f"{run.size:.3g}" for run in sorted(runs, key=lambda run: run.size))
    independent = f"equilibration and correlations: {found.effective:.0f} independent measurements"
    if found.enough:
        checked.append(f"{independent} at the slowest temperature")
    else:
        unchecked.append(f"{independent} at the slowest temperature, {_ENOUGH} are wanted: errors are rough")
    crossing = ", ".join(
        f"{a:.3g}/{b:.3g} at {t:.2f} ± {e:.2f} K"
        for (a, b), t, e in zip(found.pairs, found.crossing, found.crossing_error, strict=True)
        if np.isfinite(t)
    )
    if np.isnan(found.tc):
        unchecked.append(f"a crossing of the cumulants of sizes {sizes}: there is none between the temperatures")
        return tuple(checked), tuple(unchecked)
    checked.append(f"cumulants of sizes {sizes} cross: {crossing}")
    if len(runs) > 2:
        checked.append(f"size: without the smallest one T_c changes by {found.drift:+.2f} K (in the error)")
    else:
        unchecked.append("size: two sizes say nothing about the limit of large ones; take three")
    slopes = f"1/ν = {found.inverse_nu.value:.2f} ± {found.inverse_nu.error:.2f} from the slopes of the cumulants"
    if nu is None:
        checked.append(f"{slopes}; free in the fit")
    elif abs(found.inverse_nu.value - 1 / nu) < _AGREE * found.inverse_nu.error:
        checked.append(f"{slopes} agrees with {1 / nu:.3f} of the Heisenberg class, which the fit takes")
    else:
        unchecked.append(f"{slopes} differs from {1 / nu:.3f} of the Heisenberg class, which the fit takes")
    unchecked.append("quantum statistics of the moments: they are classical (see spin_corrected)")
    if not scanned:
        unchecked.append("other transitions outside the temperatures that were given")
    return tuple(checked), tuple(unchecked)
