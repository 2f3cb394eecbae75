"""Pull two atoms apart and look for jumps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import ENERGY, FORCES, MAGNETIC_FORCES, QUANTITIES
from deepspin_ase.testing.compare import Array, evaluate

Profile = Callable[[float], Array]
Point = tuple[float, float]
_PARTS = (ENERGY, *(3 * (FORCES,)), *(6 * (MAGNETIC_FORCES,)))
_CANDIDATES = 3  # intervals to halve per quantity
_SLOPE = 1e-4  # Å, step of the finite differences for slopes
_DIRECTIONS = np.array([[0.36, 0.48, 0.8], [-0.6, 0.64, 0.48]])


@dataclass(frozen=True)
class Jump:
    """Largest jump of a scan, relative to its tolerance."""

    quantity: str
    distance: float
    below: float
    above: float
    tolerance: float

    @property
    def size(self) -> float:
        """Height of the jump."""
        return abs(self.above - self.below)

    @property
    def unit(self) -> str:
        """Unit of the quantity."""
        name = self.quantity.removeprefix("slope of ")
        return QUANTITIES[name].unit + ("/Å" if name != self.quantity else "")


def dimer_profiles(calculator: BaseCalculator, atoms: Atoms) -> Iterator[tuple[str, Profile]]:
    """Energy, force on the second atom and magnetic forces against the distance, per pair of species."""
    lengths = np.linalg.norm(get_moments(atoms), axis=1)
    symbols = np.array(atoms.get_chemical_symbols())
    typical = {str(s): float(lengths[symbols == s].max()) for s in dict.fromkeys(symbols)}
    for pair in combinations_with_replacement(typical, 2):
        moments = _DIRECTIONS * np.array([[typical[symbol]] for symbol in pair])
        yield "-".join(pair), cache(partial(_dimer, calculator, pair, moments))


def _dimer(calculator: BaseCalculator, pair: tuple[str, str], moments: Array, r: float) -> Array:
    dimer = Atoms(pair, positions=[[0, 0, 0], [0.6 * r, 0.64 * r, 0.48 * r]])
    set_moments(dimer, moments)
    total = float(evaluate(calculator, dimer, ENERGY))
    force = evaluate(calculator, dimer, FORCES)[1]
    return np.array([total, *force, *evaluate(calculator, dimer, MAGNETIC_FORCES).ravel()])


def largest_jump(profile: Profile, distances: Array, *, noise: float) -> Jump | None:
    """Find the largest jump of any quantity or of the slope of forces, relative to its tolerance.

    Parameters
    ----------
    profile
        Values at a distance.
    distances
        Grid, Å, equidistant.
    noise
        Smallest tolerance of a value; slopes have noise/1e-4 Å.

    Returns
    -------
    Jump or None
        None if the two atoms do not interact.
    """
    values = np.array([profile(float(r)) for r in distances])
    middle = (distances[1:] + distances[:-1]) / 2
    slopes = np.diff(values, axis=0) / np.diff(distances)[:, None]

    def slope(r: float) -> Array:
        return (profile(r + _SLOPE) - profile(r - _SLOPE)) / (2 * _SLOPE)

    jumps: list[Jump] = []
    for column, quantity in enumerate(_PARTS):
        if np.ptp(values[:, column]) <= noise:
            continue
        search = _Search(profile, column, noise, relative=1e-5, width=1e-7, margin=0.0)
        jumps += search.jumps(quantity, distances, values[:, column])
        if quantity != ENERGY:
            search = _Search(slope, column, noise / _SLOPE, relative=0.05, width=4 * _SLOPE, margin=_SLOPE)
            jumps += search.jumps(f"slope of {quantity}", middle, slopes[:, column])
    return max(jumps, key=lambda jump: jump.size / jump.tolerance, default=None)


@dataclass(frozen=True)
class _Search:
    """Halve suspicious intervals of one column down to ``width``, and compare a ``margin`` outside."""

    profile: Profile
    column: int
    noise: float
    relative: float
    width: float
    margin: float

    def jumps(self, quantity: str, grid: Array, curve: Array) -> list[Jump]:
        result = []
        for start in _suspects(curve):
            tolerance = max(self.noise, self.relative * float(np.ptp(curve[grid > grid[start] - 1.0])))
            bend = np.abs(np.diff(curve[max(0, start - 2) : start + 4], 3)).max(initial=0.0)
            if bend < 0.5 * tolerance:  # a jump that matters would show
                continue
            low, high = self._halve(*grid[start : start + 2], *curve[start : start + 2])
            if self.margin:
                below, above = self._at(low[0] - self.margin), self._at(high[0] + self.margin)
            else:
                below, above = low[1], high[1]
            result.append(Jump(quantity, low[0], below, above, tolerance))
        return result

    def _at(self, r: float) -> float:
        return float(self.profile(r)[self.column])

    def _halve(self, low: float, high: float, below: float, above: float) -> tuple[Point, Point]:
        """Halve an interval towards the larger change."""
        a, b = (float(low), float(below)), (float(high), float(above))
        while b[0] - a[0] > self.width:
            r = (a[0] + b[0]) / 2
            middle = (r, self._at(r))
            if abs(middle[1] - a[1]) > abs(b[1] - middle[1]):
                b = middle
            else:
                a = middle
        return a, b


def _suspects(curve: Array) -> Array:
    """Intervals where the third difference stands out from its surroundings."""
    third = np.abs(np.diff(curve, 3))
    around = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(third, 8, mode="edge"), 17), axis=1)
    score = third / (around + 1e-12 * np.abs(curve).max())
    best = np.argsort(score)[::-1]
    chosen: list[int] = []
    for index in best:
        if all(abs(index - other) > 3 for other in chosen):
            chosen.append(int(index))
        if len(chosen) == _CANDIDATES:
            break
    # a jump inside [k, k + 1] shows in the third differences k - 2 ... k: try the steepest of these intervals
    steps = np.abs(np.diff(curve) - np.median(np.diff(curve)))
    return np.unique([index + int(np.argmax(steps[index : index + 3])) for index in chosen])
