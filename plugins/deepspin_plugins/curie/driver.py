"""Ordering temperature of a spin model by Monte Carlo, from start to end."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from deepspin_ase.errors import DeepSpinError, InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.curie.adaptive import refined, scan_temperatures, window
from deepspin_plugins.curie.analysis import Estimates, Run, Transition, analyse, locate
from deepspin_plugins.curie.curves import averages, measured
from deepspin_plugins.curie.finite_size import NU, crossing_temperature
from deepspin_plugins.curie.monte_carlo import MonteCarlo
from deepspin_plugins.curie.order import MagneticOrder, coupled_axes, find_order
from deepspin_plugins.curie.result import CurieResult
from deepspin_plugins.curie.study import Study
from deepspin_plugins.curie.supercells import cell_shape, checked_sizes, default_sizes
from deepspin_plugins.magnons.ordering import ordering_temperatures

_COUNT = 9  # temperatures in a window; histograms overlap because its width shrinks with the size
_PILOT_WIDTH = 0.07
_PILOT_SHIFTS = 6
_PARTS = (0.125, 0.25, 0.5, 1.0)  # of the sweeps, after which the accuracy is looked at
_FEWEST = 50  # measurements after an interruption
_MIDDLE = 0.8  # of the half width of a window, in which T_c must lie
_CLEAR = 2.0  # difference of two cumulants in standard errors
_NEARLY = 1e-3  # anisotropy below this share of the exchange counts as none
_RPA_SITES, _RPA_MESH = (2, 8, 32), (32, 16, 8)


class HasModel(Protocol):
    """Results of ``exchange_tensors`` and others that can become a spin model."""

    def to_model(self) -> HeisenbergModel:
        """Spin model."""


def ordering_temperature(
    system: HeisenbergModel | HasModel,
    *,
    sizes: Sequence[int] | None = None,
    order: MagneticOrder | None = None,
    temperatures: ArrayLike | None = None,
    accuracy: float = 0.003,
    sweeps: int = 8000,
    sampler: Any = "auto",
    seed: int = 0,
    threads: int | None = None,
    executor: Executor | None = None,
    checkpoint: str | Path | None = None,
) -> CurieResult:
    """Curie or Néel temperature of a spin model by Monte Carlo and finite-size analysis.

    A scan of the smallest size (refined where the order is steep) gives the curves and a first guess, two sizes a
    better one, and all sizes in a narrow window the result: the temperature at which the Binder cumulants of all sizes
    scale with the distance from it.

    Parameters
    ----------
    system
        A spin model, or what has one, such as the result of ``exchange_tensors(atoms, calc, cutoff=...)``.
    sizes
        Repeats L of the cell (short axes are repeated in proportion), at least three; multiples of ``order.period``.
        Default: about 500, 1700 and 4100 magnetic sites.
    order
        Order parameter; default :func:`find_order`.
    temperatures
        K, for the scan; default up to just above the mean-field temperature.
    accuracy
        Relative error of T_c at which sampling ends (with at least 50 independent measurements).
    sweeps
        Largest number of measured sweeps of each size.
    sampler, threads
        See :class:`MonteCarlo`.
    seed
        Results depend on it and not on threads or executor.
    executor
        Runs the sizes side by side.
    checkpoint
        Folder for restarts: after an interruption, the same call goes on from there.

    Returns
    -------
    CurieResult
        Ctrl-C in the last stage ends it early with what there is, and ``complete=False``; before that stage
        KeyboardInterrupt is raised, and nothing is lost if there is a ``checkpoint``. If no cumulants cross, ``tc`` is
        NaN and the curves are what was measured.

    Raises
    ------
    InputError
        No order to find (no exchange, a field, isotropic exchange in less than three dimensions), or sizes that do not
        fit the order.
    """
    model = system if isinstance(system, HeisenbergModel) else system.to_model()
    if not 0.0 < accuracy < 1.0 or sweeps < 10 * _FEWEST or seed < 0:
        raise InputError(
            f"accuracy = {accuracy}, sweeps = {sweeps}, seed = {seed}; allowed: between 0 and 1, at least "
            f"{10 * _FEWEST}, and 0 or more."
        )
    isotropic = _check_model(model)
    pattern = find_order(model) if order is None else order
    shape = cell_shape(model)
    lengths = checked_sizes(default_sizes(model, pattern) if sizes is None else sizes, pattern, shape)
    sites = np.count_nonzero(model.magnitudes) * np.array([np.prod(np.where(shape, shape * s, 1)) for s in lengths])
    edges = sites ** (1.0 / np.count_nonzero(shape))

    def make(size: int, kelvin: Array, own_seed: int) -> MonteCarlo:
        return MonteCarlo(
            model,
            np.where(shape, shape * size, 1).tolist(),
            kelvin,
            weights=pattern.weights,
            wave_vectors=pattern.wave_vectors,
            sampler=sampler,
            seed=own_seed,
            threads=threads,
        )

    study = Study(make, seed=seed, executor=executor, checkpoint=checkpoint)
    estimates = estimated(model, pattern)
    scan = _scan(study, pattern, lengths[0], _scan_grid(temperatures, pattern, estimates), sweeps // 4)
    nu = NU if isotropic else None
    guess, runs = _pilot(study, pattern, lengths[:2], _guess(pattern, scan), float(edges[1]), sweeps)
    complete = False
    if np.isfinite(guess.tc):
        runs, complete = _precise(study, pattern, lengths, guess, float(edges[-1]), sweeps, accuracy, nu)
    return analyse(
        pattern,
        runs,
        scan=scan,
        nu=nu,
        estimates=estimates,
        method="Monte Carlo of a spin model",
        complete=complete,
    )


def estimated(model: HeisenbergModel, order: MagneticOrder) -> Estimates:
    """Mean-field and RPA temperatures; NaN where they do not apply (RPA: collinear, three dimensions)."""
    try:
        repeat, moments = order.moments(model.magnitudes)
        cell = model.repeat(repeat)
        sites = np.count_nonzero(cell.magnitudes)
        found = ordering_temperatures(cell, moments, _RPA_MESH[int(np.searchsorted(_RPA_SITES, sites))])
    except (DeepSpinError, IndexError):  # not collinear, not stable, not periodic; or too many sites
        return Estimates(mean_field=order.mean_field)
    return Estimates(found.mean_field, found.rpa, found.rpa_error)


def _check_model(model: HeisenbergModel) -> bool:
    """Refuse what has no transition; whether the model is isotropic (or so nearly that it shows nowhere near T_c)."""
    if model.field.any():
        raise InputError(f"the model has a field of {model.field.tolist()} T, so it has no sharp transition.")
    axes = np.count_nonzero(coupled_axes(model))
    if not axes:
        raise InputError("exchange connects no periodic images: a cluster or free moments have no transition.")
    tensor = model.bonds.tensor
    rest = tensor - np.einsum("baa->b", tensor)[:, None, None] / 3 * np.eye(3)
    uneven = model.anisotropy - np.einsum("iaa->i", model.anisotropy)[:, None, None] / 3 * np.eye(3)
    largest = max(np.abs(rest).max(), np.abs(uneven).max(initial=0.0))
    isotropic = bool(largest < _NEARLY * np.abs(tensor).max())
    if isotropic and axes < 3:
        raise InputError(
            f"exchange is isotropic and connects cells along {axes} direction(s) only: by Mermin and Wagner nothing "
            "orders above 0 K. Add anisotropy, or the exchange between the layers."
        )
    return isotropic


def _scan_grid(temperatures: ArrayLike | None, order: MagneticOrder, estimates: Estimates) -> Array:
    if temperatures is not None:
        return np.unique(as_finite(temperatures, "temperatures"))
    scale = order.mean_field if np.isfinite(order.mean_field) else estimates.mean_field
    if not np.isfinite(scale):
        raise InputError("there is no mean-field temperature of the given order; give temperatures= for the scan.")
    return scan_temperatures(scale)


def _scan(study: Study, order: MagneticOrder, size: int, grid: Array, sweeps: int) -> list[Run]:
    """The smallest size at all temperatures, and again where something happens."""
    (first,) = study.measure("scan", [size], grid, sweeps, warm=sweeps // 2)
    more = refined(grid, _averages(order, first))
    if not len(more):
        return [first]
    return [first, *study.measure("finer scan", [size], more, sweeps, warm=sweeps // 2)]


def _averages(order: MagneticOrder, run: Run) -> Any:
    return averages(run.series, measured(run.series, order.magnitude(run.series)), order.moment)


def _guess(order: MagneticOrder, scan: Sequence[Run]) -> float:
    """Temperature of the largest susceptibility in the scan, K."""
    tops = []
    for run in scan:
        curve = _averages(order, run).susceptibility.value
        tops.append((float(curve.max()), float(run.series.temperatures[np.argmax(curve)])))
    return max(tops)[1]


def _pilot(
    study: Study, order: MagneticOrder, sizes: Sequence[int], centre: float, edge: float, sweeps: int
) -> tuple[Transition, list[Run]]:
    """Crossing of two sizes; follows the cumulants if they do not cross in the first window, and may end without."""
    stage, shifts, share = 1, 0, sweeps // 8
    grid = window(centre, edge, _COUNT, least=_PILOT_WIDTH)
    while True:
        runs = study.measure(f"pilot {stage}", sizes, grid, share, warm=sweeps // 16)
        found = locate(order, runs)
        better = better_centre(found)
        if np.isfinite(found.tc) or shifts == _PILOT_SHIFTS or (better is None and share >= sweeps):
            return found, runs
        if better is None:
            share = min(2 * share, sweeps)
        else:
            stage, shifts = stage + 1, shifts + 1
            grid = window(better, edge, _COUNT, least=_PILOT_WIDTH)


def _precise(
    study: Study,
    order: MagneticOrder,
    sizes: Sequence[int],
    guess: Transition,
    edge: float,
    sweeps: int,
    accuracy: float,
    nu: float | None,
) -> tuple[list[Run], bool]:
    """All sizes in a narrow window until T_c is accurate enough; False if it is not, or after Ctrl-C."""
    stage, number = "window 1", 1
    grid = window(guess.tc, edge, _COUNT, least=3 * guess.statistical / guess.tc)
    try:
        for share in _PARTS:
            runs = study.measure(stage, sizes, grid, int(share * sweeps), warm=int(_PARTS[0] * sweeps) // 2)
            found = locate(order, runs, nu=nu)
            better = better_centre(found)
            if share < 1.0 and better is not None:
                number += 1
                stage, grid = f"window {number}", window(better, edge, _COUNT)
            elif found.enough and found.error < accuracy * found.tc:
                return runs, True
    except KeyboardInterrupt:
        runs = study.runs(stage)
        if len(runs) < len(sizes) or min(len(run.series) for run in runs) < _FEWEST:
            raise
    return runs, False


def better_centre(found: Transition) -> float | None:
    """Where a window should lie instead, K; None if the transition is in its middle or nothing is clear.

    Below T_c the larger size has the larger cumulant, above it the smaller one. Where only one side is clear, the
    transition is at the other end, or where the curves seem to cross.
    """
    low, high = found.grid[0], found.grid[-1]
    half = (high - low) / 2
    centre, room = found.tc, _MIDDLE * half
    if np.isnan(centre):
        (small, *_, large), (small_error, *_, large_error) = found.curves
        difference = large - small
        clear = difference / np.maximum(np.hypot(small_error, large_error), 1e-12)
        below, above = clear[0] > _CLEAR, clear[-1] < -_CLEAR
        if not below and not above:
            return None
        centre, room = crossing_temperature(found.grid, difference), room / 2
        if np.isnan(centre):
            centre = high if below else low
    return float(centre) if abs(centre - (low + high) / 2) > room else None
