"""Paths through the Brillouin zone of the magnetic cell, for magnons and phonons alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.vectors import Array, as_finite, as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = str | tuple[str, ArrayLike] | ArrayLike


@dataclass(frozen=True, eq=False)
class QPath:
    """A path: wavevectors with their distance along it.

    Attributes
    ----------
    q
        (Q, 3), fractions of the reciprocal magnetic cell.
    distance
        (Q,), 1/Å, cumulative; jumps between segments have no length.
    ticks, labels
        Distances and names of the special points.
    """

    q: Array
    distance: Array
    ticks: Array
    labels: tuple[str, ...]


def q_path(
    atoms: Atoms,
    path: str | Sequence[Sequence[Point]] | None = None,
    *,
    points: Mapping[str, ArrayLike] | None = None,
    spacing: float = 0.02,
) -> QPath:
    """Path through the Brillouin zone of the magnetic cell.

    Parameters
    ----------
    atoms
        Magnetic cell with moments. Atoms with different moments count as different kinds, so that the zone is that
        of the magnetic lattice.
    path
        Letters like ``"GNG,PH"`` (a comma starts a new segment; names of several letters go into a list), or a list of
        segments, each a list of names, (name, q) pairs or vectors. Default: the path of seekpath.
    points
        Names of your own -> fractions of the reciprocal cell; they come before those of seekpath.
    spacing
        1/Å; largest distance between neighbouring wavevectors.

    Raises
    ------
    InputError
        Unknown names, a path that is needed because the structure is not periodic in three directions, or nothing
        that is periodic.

    Notes
    -----
    Source of the default: Y. Hinuma et al., Computational Materials Science 128, 140 (2017).
    """
    if not spacing > 0.0:
        raise InputError(f"spacing = {spacing} 1/Å; allowed: a positive number.")
    known = {"G": (0.0, 0.0, 0.0), "Γ": (0.0, 0.0, 0.0), **(points or {})}
    if path is None or (isinstance(path, str) and any(c not in known for c in path if c != ",")):
        found, standard = _seekpath(atoms)
        known = {**found, **known}
        path = standard if path is None else path
    names = [list(part) for part in path.split(",")] if isinstance(path, str) else [list(part) for part in path]
    segments = [[_resolve(point, known) for point in part] for part in names]
    if not segments or any(len(part) < 2 for part in segments):
        raise InputError(f"path = {path!r}; every segment needs two points or more.")
    return _sample(segments, 2 * np.pi * np.asarray(atoms.cell.complete().reciprocal()), spacing)


def path_segments(distance: Array) -> list[slice]:
    """Slices of a path that are straight: its special points occur twice."""
    edges = [0, *(np.flatnonzero(np.diff(distance) == 0.0) + 1).tolist(), len(distance)]
    return [slice(start, end) for start, end in pairwise(edges)]


def index_of_point(label: str, labels: Sequence[str], ticks: Array, distance: Array) -> int:
    """Where a special point is among the points of a path.

    Raises
    ------
    InputError
        The path does not go there.
    """
    for tick, name in zip(ticks, labels, strict=True):
        if label == name:
            return int(np.argmin(np.abs(distance - tick)))
    raise InputError(f"no point {label!r} on the path; it has {', '.join(labels)}.")


def draw_ticks(ax: Axes, ticks: Array, labels: Sequence[str], distance: Array) -> None:
    """Names and vertical lines of special points on the horizontal axis."""
    ax.set_xticks(ticks, labels)
    for tick in ticks[1:-1]:
        ax.axvline(tick, color="0.8", linewidth=0.8, zorder=0)
    ax.set_xlim(distance[0], distance[-1])
    ax.set_xlabel("wavevector")


def _resolve(point: Point, known: Mapping[str, ArrayLike]) -> tuple[str, Array]:
    name: str
    q: ArrayLike
    if isinstance(point, str):
        if point not in known:
            raise InputError(
                f"unknown point {point!r}; known: {', '.join(sorted(known))}. "
                "Others are given as points={'X': (0.5, 0, 0)}."
            )
        name, q = point, known[point]
    elif isinstance(point, tuple) and len(point) == 2 and isinstance(point[0], str):
        name, q = point
    else:
        name, q = "", cast("ArrayLike", point)
    vector = as_finite(q, f"point {name}")
    if vector.shape != (3,):
        raise InputError(f"point {name!r} has shape {vector.shape}; allowed: three fractions of the reciprocal cell.")
    return _pretty(name) or as_text(vector), vector


def _pretty(name: str) -> str:
    """Γ for G and GAMMA, subscripts for seekpath's underscores."""
    base, _, index = name.partition("_")
    subscript = index.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
    return {"G": "Γ", "GAMMA": "Γ"}.get(base, base) + subscript


def _sample(segments: list[list[tuple[str, Array]]], recip: Array, spacing: float) -> QPath:
    q: list[Array] = []
    distance: list[Array] = []
    ticks: list[float] = []
    labels: list[str] = []
    here = 0.0
    for part in segments:
        if ticks:  # a jump: both names share a tick
            labels[-1] = f"{labels[-1]}|{part[0][0]}" if labels[-1] != part[0][0] else labels[-1]
        else:
            ticks.append(here)
            labels.append(part[0][0])
        for (_, start), (name, end) in pairwise(part):
            length = float(np.linalg.norm((end - start) @ recip))
            steps = max(2, int(np.ceil(length / spacing)) + 1)
            q.append(start + np.linspace(0, 1, steps)[:, None] * (end - start))
            distance.append(here + np.linspace(0, length, steps))
            here += length
            ticks.append(here)
            labels.append(name)
    return QPath(np.concatenate(q), np.concatenate(distance), np.array(ticks), tuple(labels))


def _seekpath(atoms: Atoms) -> tuple[dict[str, Array], list[list[str]]]:
    """Special points and path in the given cell."""
    if not atoms.pbc.all():
        raise InputError(
            f"seekpath needs a structure with three periodic directions, this one has pbc = {atoms.pbc.tolist()}. "
            "Give the path: path='GX', points={'X': (0.5, 0, 0)}."
        )
    import warnings

    import seekpath  # type: ignore[import-untyped]

    kinds = np.column_stack([atoms.numbers, get_moments(atoms).round(3)])
    number = np.unique(kinds, axis=0, return_inverse=True)[1].reshape(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a supercell is what a magnetic cell often is; spglib's deprecations
        result = seekpath.get_path_orig_cell((atoms.cell.array, atoms.get_scaled_positions(), number))
    points = {name: np.asarray(q) for name, q in result["point_coords"].items()}
    points.setdefault("G", points["GAMMA"])
    segments: list[list[str]] = []
    for start, end in result["path"]:
        if segments and segments[-1][-1] == start:
            segments[-1].append(end)
        else:
            segments.append([start, end])
    return points, segments
