"""Exchange constants of labelled frames: least squares on energies and magnetic forces.

Per neighbour shell s, with unit vectors e_i = m_i/|m_i| and every ordered pair counted,

    E = E_0 - ½ Σ_s Σ_{ij in s} [J_s e_i·e_j + B_s (e_i·e_j)² + d_s r̂_ij·(e_i x e_j)]

E is linear in J, B, d, and so are the magnetic forces across the moments, F⊥_i = P_i h_i/|m_i|, h_i = -∂E/∂e_i. The
part of a magnetic force along the moment belongs to the length of the moment and is not fitted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.data import Frame
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg.mapping import SiteMap
from deepspin_ase.heisenberg.spins import directions
from deepspin_ase.progress import track
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.fit_result import FitResult
from deepspin_plugins.exchange.fit_shells import FitShells, find_shells, mean_structure

_RIDGES = np.array([0.0, *np.logspace(-10, -1, 19)])


def fit_heisenberg(
    frames: Iterable[Frame | Atoms],
    *,
    cutoff: float,
    reference: Atoms | None = None,
    biquadratic: bool = False,
    dmi: bool = False,
    ridge: float | None = None,
    energy_weight: float = 1.0,
    tolerance: float = 0.1,
    minimum_moment: float = 0.05,
) -> FitResult:
    """Fit a Heisenberg model to energies and magnetic forces.

    Parameters
    ----------
    frames
        Labelled frames (``read_frames(path)``), or structures with a calculator. Supercells of ``reference``; each has
        an energy, magnetic forces or both.
    cutoff
        Longest bond, Å.
    reference
        Crystal that defines the shells, for instance the primitive cell; default the mean structure of the frames.
    biquadratic, dmi
        Add B_s (e_i·e_j)², and D_ij = d_s r̂_ij, per shell.
    ridge
        Penalty on the sum of squared constants, relative to the largest eigenvalue of the normal matrix; default: the
        one with the smallest error on frames left out.
    energy_weight
        Weight of energies against magnetic forces; with 1 both sets of labels count the same, each in units of its own
        spread. 0 leaves energies out.
    tolerance
        Å; distances closer than this belong to one shell.
    minimum_moment
        Shorter moments (µB) belong to atoms that are not magnetic.

    Returns
    -------
    FitResult
        Constants with jackknife errors (frames left out one by one), residuals, and ``.to_model()``.

    Raises
    ------
    InputError
        Fewer than three frames, no labels, frames that are no supercells of one crystal, no pairs within the cutoff.
    """
    listed = [frame if isinstance(frame, Frame) else Frame.from_calculation(frame) for frame in frames]
    if len(listed) < 3:
        raise InputError(f"{len(listed)} frames; at least three are needed for constants with errors.")
    if energy_weight < 0.0 or (ridge is not None and ridge < 0.0):
        raise InputError(f"energy_weight = {energy_weight}, ridge = {ridge}; neither may be negative.")
    structures = [frame.atoms for frame in listed]
    crystal = mean_structure(structures, minimum_moment) if reference is None else reference
    shells = find_shells(crystal, structures, cutoff, tolerance, minimum_moment)
    terms = ("J", *(("B",) if biquadratic else ()), *(("d",) if dmi else ()))
    rows = _all_rows(listed, shells, terms, minimum_moment)
    blocks = _blocks(rows, energy_weight)
    penalty = _choose_ridge(blocks, len(terms) * len(shells)) if ridge is None else ridge
    values = _solve(blocks.matrix.sum(0), blocks.target.sum(0), penalty, blocks.free)
    left_out = np.array([_solve(*blocks.without(k), penalty, blocks.free) for k in range(len(listed))])
    count = len(listed)
    errors = np.sqrt((count - 1) / count * ((left_out - left_out.mean(0)) ** 2).sum(0))
    constants = {term: values[k * len(shells) : (k + 1) * len(shells)] for k, term in enumerate(terms)}
    spread = {term: errors[k * len(shells) : (k + 1) * len(shells)] for k, term in enumerate(terms)}
    zero = np.zeros(len(shells))
    return FitResult(
        reference=replace(shells.reference_model, magnitudes=_mean_lengths(rows, len(shells.reference_model))),
        shell=shells.shell_of_bond,
        species=shells.species,
        distances=shells.distances,
        multiplicities=shells.multiplicities,
        exchange=constants["J"],
        exchange_errors=spread["J"],
        biquadratic=constants.get("B", zero),
        biquadratic_errors=spread.get("B", zero),
        dmi=constants.get("d", zero),
        dmi_errors=spread.get("d", zero),
        ridge=float(penalty),
        frames=count,
        **_quality(rows, values, len(terms) * len(shells)),
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """Linear equations of one frame: energy (eV, with its composition) and transverse magnetic forces (eV/µB).

    ``site`` and ``length`` say which site of the reference every atom is, and how long its moment (µB).
    """

    energy: float | None
    energy_row: Array
    composition: tuple[int, ...]
    sites: int
    force: Array
    force_rows: Array
    site: NDArray[np.int64]
    length: Array


def _all_rows(frames: list[Frame], shells: FitShells, terms: tuple[str, ...], minimum_moment: float) -> list[_Rows]:
    rows: list[_Rows] = []
    found: SiteMap | None = None
    for frame in track(frames, "Equations of the frames"):
        try:
            found = shells.match(frame.atoms, found)
        except InputError as problem:
            raise InputError(f"frame {frame.index} of {frame.source or 'the list'}: {problem}") from None
        rows.append(_rows(frame, shells, found, terms, minimum_moment))
    if all(row.energy is None and not len(row.force) for row in rows):
        raise InputError("no frame has an energy or magnetic forces; there is nothing to fit.")
    return rows


def _rows(frame: Frame, shells: FitShells, found: SiteMap, terms: tuple[str, ...], minimum_moment: float) -> _Rows:
    length, e = directions(frame.moments)
    shell, i, j, antisymmetric = shells.bonds_of(frame.atoms, found)
    short = np.flatnonzero(np.isin(np.arange(len(e)), i) & (length < minimum_moment))
    if len(short):
        raise InputError(
            f"atom {short[0]} of frame {frame.index} has a moment of {length[short[0]]:.3f} µB, but it is magnetic in "
            "the reference; take the frame out, or lower minimum_moment."
        )
    n, s = len(e), len(shells)
    dot = np.einsum("ba,ba->b", e[i], e[j])
    energy_rows, field_rows = [], []
    for term in terms:
        if term == "d":
            vector = np.einsum("bac,bc->ba", antisymmetric, e[j])
            value = np.einsum("ba,ba->b", e[i], vector)
        else:
            value = dot if term == "J" else dot**2
            vector = e[j] if term == "J" else 2 * dot[:, None] * e[j]
        energy_rows.append(-0.5 * np.bincount(shell, weights=value, minlength=s))
        sums = [np.bincount(shell * n + i, weights=vector[:, a], minlength=s * n) for a in range(3)]
        field_rows.append(np.stack(sums, axis=-1).reshape(s, n, 3))
    fields = np.concatenate(field_rows)
    label = frame.labels.magnetic_forces
    use = np.isin(np.arange(n), i) & (False if label is None else ~np.isnan(label).any(axis=1))
    across = np.eye(3) - e[use, :, None] * e[use, None, :]
    rows = np.einsum("iab,kib->iak", across / length[use, None, None], fields[:, use]).reshape(-1, len(fields))
    target = np.zeros(0) if label is None else np.einsum("iab,ib->ia", across, label[use]).ravel()
    composition = tuple(np.bincount(frame.atoms.numbers, minlength=119).tolist())
    return _Rows(
        energy=frame.labels.energy,
        energy_row=np.concatenate(energy_rows),
        composition=composition,
        sites=len(np.unique(i)),
        force=target,
        force_rows=rows,
        site=found.site,
        length=length,
    )


def _mean_lengths(rows: list[_Rows], n: int) -> Array:
    """Mean length of the moment of every site, µB; zero where there are no bonds."""
    site = np.concatenate([row.site for row in rows])
    length = np.concatenate([row.length for row in rows])
    return np.bincount(site, weights=length, minlength=n) / np.bincount(site, minlength=n)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Normal equations of every frame: matrix (f, p, p) and target (f, p); the last ``free`` unknowns are offsets.

    ``square`` (f,) is the weighted sum of squared labels, so that errors of a frame follow from the solution alone.
    """

    matrix: Array
    target: Array
    square: Array
    free: int

    def without(self, frame: int) -> tuple[Array, Array]:
        """Normal equations without one frame."""
        return self.matrix.sum(0) - self.matrix[frame], self.target.sum(0) - self.target[frame]

    def error(self, frame: int, values: Array) -> float:
        """Weighted sum of squared residuals of one frame."""
        return float(values @ self.matrix[frame] @ values - 2 * values @ self.target[frame] + self.square[frame])


def _blocks(rows: list[_Rows], energy_weight: float) -> _Blocks:
    compositions = sorted({row.composition for row in rows if row.energy is not None})
    p = len(rows[0].energy_row)
    use_energy = energy_weight > 0.0 and len(compositions) > 0
    offsets = len(compositions) if use_energy else 0
    weight_e, weight_f = _weights(rows, energy_weight)
    matrix = np.zeros((len(rows), p + offsets, p + offsets))
    target = np.zeros((len(rows), p + offsets))
    square = np.zeros(len(rows))
    means = {c: np.mean([r.energy for r in rows if r.energy is not None and r.composition == c]) for c in compositions}
    for k, row in enumerate(rows):
        matrix[k, :p, :p] += weight_f * row.force_rows.T @ row.force_rows
        target[k, :p] += weight_f * row.force @ row.force_rows
        square[k] += weight_f * row.force @ row.force
        if use_energy and row.energy is not None:
            full = np.zeros(p + offsets)
            full[:p] = row.energy_row / row.sites
            full[p + compositions.index(row.composition)] = 1.0 / row.sites
            energy = (row.energy - means[row.composition]) / row.sites
            matrix[k] += weight_e * np.outer(full, full)
            target[k] += weight_e * energy * full
            square[k] += weight_e * energy**2
    return _Blocks(matrix, target, square, offsets)


def _weights(rows: list[_Rows], energy_weight: float) -> tuple[float, float]:
    """One over (number of labels times their variance), for energies per magnetic atom and for forces."""
    energies = []
    for composition in {row.composition for row in rows}:
        own = [row.energy / row.sites for row in rows if row.composition == composition and row.energy is not None]
        energies += [value - np.mean(own) for value in own]
    forces = np.concatenate([row.force for row in rows])
    square_e, square_f = float(np.square(energies).sum()), float(forces @ forces)
    return (energy_weight / square_e if square_e > 0.0 else 0.0), (1.0 / square_f if square_f > 0.0 else 0.0)


def _solve(matrix: Array, target: Array, ridge: float, free: int) -> Array:
    """Solution of the normal equations with a ridge on all unknowns but the last ``free``."""
    p = len(matrix) - free
    scale = np.sqrt(np.where(np.diag(matrix) > 0.0, np.diag(matrix), 1.0))
    penalty = np.zeros(len(matrix))
    penalty[:p] = ridge * np.linalg.eigvalsh(matrix[:p, :p])[-1]
    regular = (matrix + np.diag(penalty)) / np.outer(scale, scale)
    return np.asarray(np.linalg.lstsq(regular, target / scale, rcond=1e-13)[0] / scale)


def _choose_ridge(blocks: _Blocks, constants: int) -> float:
    """The ridge with the smallest error on frames that were left out."""
    scores = []
    for ridge in _RIDGES:
        solved = [_solve(*blocks.without(k), ridge, blocks.free) for k in range(len(blocks.matrix))]
        scores.append(sum(blocks.error(k, values) for k, values in enumerate(solved)))
    return float(_RIDGES[int(np.argmin(scores))])


def _quality(rows: list[_Rows], values: Array, p: int) -> dict[str, float]:
    """Root mean square residuals and the fraction of the labels' variance that is explained."""
    force = np.concatenate([row.force for row in rows])
    residual = force - np.concatenate([row.force_rows @ values[:p] for row in rows])
    label, error = [], []
    for composition in {row.composition for row in rows if row.energy is not None}:
        own = [row for row in rows if row.energy is not None and row.composition == composition]
        energy = np.array([row.energy for row in own]) / own[0].sites
        gap = energy - np.array([row.energy_row @ values[:p] for row in own]) / own[0].sites
        label += list(energy - energy.mean())
        error += list(gap - gap.mean())
    return {
        "rmse_energy": _rms(error),
        "rmse_force": _rms(residual),
        "explained_energy": _explained(label, error),
        "explained_force": _explained(force, residual),
    }


def _rms(values: Array | list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")


def _explained(label: Array | list[float], error: Array | list[float]) -> float:
    total = float(np.square(label).sum())
    return 1.0 - float(np.square(error).sum()) / total if total > 0.0 else float("nan")
