"""Which of the explored structures are worth a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.active_learning.committee import Levels, WorstAtoms
from deepspin_ase.active_learning.descriptor import fingerprints
from deepspin_ase.stored_result import StoredResult, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

CLASSES: Final = ("accurate", "candidate", "failed")
_ACCURATE = (0.02, 0.1)  # range of automatic low levels, in units of the rms of the labels
_DOMAIN = 0.5  # likewise: a deviation beyond which a model knows nothing
_LEAST_LABELS = Levels(0.01, 0.005)  # eV/Å, eV/µB: smaller labels (perfect or collinear crystals) count as these
_LEFT_OUT = 0.01  # largest fraction of structures that automatic levels call failed
_TYPICAL = 0.95  # quantile of the errors on training frames
_SAME = 1e-6  # distance of fingerprints, in standard deviations, below which two structures are the same


@dataclass(frozen=True)
class Trust:
    """Windows of committee deviations.

    Parameters
    ----------
    low
        Below both of these a structure is accurate.
    high
        Above either of these it has failed: the models know nothing about it.
    """

    low: Levels
    high: Levels

    @classmethod
    def from_errors(cls, errors: WorstAtoms, labels: Levels, error_per_deviation: Levels) -> Trust:
        """Levels from the error distribution.

        An error below the 95 % quantile of the errors on training frames is accurate: a label could hardly teach more
        than those did. This limit is kept between 2 % of the root mean square of the labels (committees that know their
        frames by heart) and 10 % (those that have not learned them yet). An error above half of that root mean square
        has failed. Committees that deviate less than they err are not believed: both limits are divided by
        ``error_per_deviation`` to become levels of the deviation.

        Parameters
        ----------
        errors
            Of the committee on training frames.
        labels
            Root mean square of the labels; at least 0.01 eV/Å and 0.005 eV/µB.
        error_per_deviation
            Of :meth:`~deepspin_ase.active_learning.Committee.error_per_deviation`; below one it counts as one.
        """
        typical = errors.quantile(_TYPICAL)
        labels = Levels(
            max(labels.forces, _LEAST_LABELS.forces), max(labels.magnetic_perp, _LEAST_LABELS.magnetic_perp)
        )
        least, most = _ACCURATE
        forces, perp = (max(1.0, ratio) for ratio in (error_per_deviation.forces, error_per_deviation.magnetic_perp))
        low = Levels(
            min(max(typical.forces, least * labels.forces), most * labels.forces) / forces,
            min(max(typical.magnetic_perp, least * labels.magnetic_perp), most * labels.magnetic_perp) / perp,
        )
        return cls(low, Levels(_DOMAIN * labels.forces / forces, _DOMAIN * labels.magnetic_perp / perp))

    def widened(self, deviations: WorstAtoms) -> Trust:
        """The same with a high level that calls 1 % of the structures failed at most, per quantity."""
        edge = deviations.quantile(1.0 - _LEFT_OUT)
        high = Levels(max(self.high.forces, edge.forces), max(self.high.magnetic_perp, edge.magnetic_perp))
        return Trust(self.low, high)

    def classify(self, deviations: WorstAtoms) -> NDArray[np.int64]:
        """Index into :data:`CLASSES` of each structure."""
        pairs = (
            (deviations.forces, self.low.forces, self.high.forces),
            (deviations.magnetic_perp, self.low.magnetic_perp, self.high.magnetic_perp),
        )
        above_low = np.any([values > low for values, low, _ in pairs], axis=0)
        above_high = np.any([values > high for values, _, high in pairs], axis=0)
        return above_low.astype(np.int64) + above_high

    def score(self, deviations: WorstAtoms) -> Array:
        """Deviation in units of the low level, the larger of both quantities."""
        scaled = [
            values / low
            for values, low in (
                (deviations.forces, self.low.forces),
                (deviations.magnetic_perp, self.low.magnetic_perp),
            )
        ]
        result: Array = np.max(scaled, axis=0)
        return result


@dataclass(frozen=True, eq=False)
class Selection(StoredResult):
    """What became of the explored structures.

    ``forces`` (eV/Å) and ``magnetic_perp`` (eV/µB): committee deviations, (s,). ``low`` and ``high``: trust levels of
    the two, (2,). ``classes``: index into ``CLASSES``, (s,). ``chosen``: indices of the structures to label for
    training, in the order of their choice. ``fresh``: indices of those drawn at random to validate on.
    """

    forces: Array
    magnetic_perp: Array
    low: Array
    high: Array
    classes: NDArray[np.int64]
    chosen: NDArray[np.int64]
    fresh: NDArray[np.int64]

    @property
    def fractions(self) -> dict[str, float]:
        """Fraction of accurate, candidate and failed structures."""
        counts = np.bincount(self.classes, minlength=len(CLASSES)) / max(len(self.classes), 1)
        return {name: float(fraction) for name, fraction in zip(CLASSES, counts, strict=True)}

    def plot(self, ax: Axes | None = None, *, quantity: str = "magnetic_perp") -> Axes:
        """Histogram of the deviations with both levels; ``quantity`` is forces or magnetic_perp.

        Deviations below a hundredth of the low level (those of collinear states, for instance) are in the first bin.
        """
        column = {"forces": 0, "magnetic_perp": 1}[quantity]
        text, unit = (("forces", "eV/Å"), ("transverse magnetic forces", "eV/µB"))[column]
        values = np.maximum(getattr(self, quantity), 0.01 * self.low[column])
        edges = np.geomspace(values.min() * 0.99, max(values.max(), self.high[column]) * 1.01, 41)
        ax = new_axes() if ax is None else ax
        kinds = [values[self.classes == k] for k in range(len(CLASSES))]
        ax.hist(kinds, bins=list(edges), stacked=True, label=CLASSES, color=["#4c9f70", "#e0a030", "#b0413e"])
        for level, style in ((self.low[column], "--"), (self.high[column], ":")):
            ax.axvline(level, color="black", linestyle=style, linewidth=1)
        ax.set(xscale="log", xlabel=f"largest deviation of {text} ({unit})", ylabel="structures")
        ax.legend(title=f"{len(self.chosen)} of {len(values)} to label")
        return ax


def select(
    structures: Sequence[Atoms],
    deviations: WorstAtoms,
    trust: Trust,
    known: Sequence[Atoms],
    *,
    labels: int,
    fresh: int,
    rng: np.random.Generator,
    cutoff: float = 5.0,
) -> Selection:
    """Choose what to label.

    Parameters
    ----------
    structures
        Explored structures.
    deviations
        Of the committee on them.
    trust
        Levels.
    known
        Structures that have labels.
    labels
        How many candidates to choose at most.
    fresh
        How many structures to draw for validation: at random, of those that have not failed.
    rng
        Draws the fresh ones.
    cutoff
        Of the fingerprints, Å.
    """
    classes = trust.classify(deviations)
    usable = np.flatnonzero(classes < CLASSES.index("failed"))
    drawn = np.sort(rng.permutation(usable)[:fresh])
    candidates = np.setdiff1d(np.flatnonzero(classes == CLASSES.index("candidate")), drawn)
    chosen = np.zeros(0, dtype=np.int64)
    if len(candidates) and labels:
        points = fingerprints([*(structures[i] for i in candidates), *known], cutoff)
        score = trust.score(deviations)[candidates]
        chosen = candidates[farthest_points(points[: len(candidates)], points[len(candidates) :], labels, score)]
    return Selection(
        forces=deviations.forces,
        magnetic_perp=deviations.magnetic_perp,
        low=np.array([trust.low.forces, trust.low.magnetic_perp]),
        high=np.array([trust.high.forces, trust.high.magnetic_perp]),
        classes=classes,
        chosen=chosen,
        fresh=drawn,
    )


def farthest_points(points: Array, known: Array, count: int, score: Array) -> NDArray[np.int64]:
    """Pick points one by one, each with the largest product of score and distance to all that are known or picked.

    Parameters
    ----------
    points
        (p, features); features are scaled by their spread over ``points``.
    known
        (k, features), k may be zero.
    count
        How many at most; fewer if the rest only repeats what is there.
    score
        (p,), positive.

    Returns
    -------
    ndarray
        Indices in the order of the choice.
    """
    spread = points.std(axis=0)
    kept = spread > 1e-9 * np.maximum(np.abs(points).max(axis=0), 1e-300)
    scaled, there = points[:, kept] / spread[kept], known[:, kept] / spread[kept]
    distance = np.full(len(points), np.inf)
    for point in there:
        distance = np.minimum(distance, np.linalg.norm(scaled - point, axis=1))
    picked: list[int] = []
    for _ in range(min(count, len(points))):
        finite = np.isfinite(distance).all()
        best = int(np.argmax(distance * score if finite else score))
        if distance[best] < _SAME:
            break
        picked.append(best)
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[best], axis=1))
    return np.array(picked, dtype=np.int64)
