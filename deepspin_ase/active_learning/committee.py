"""Several models of one surface: trained with different seeds, they disagree where the data say little.

For each atom i and K models

    σ_F(i) = √( Σ_k |F_k(i) - <F(i)>|² / (K-1) ),

and likewise σ_⊥(i) with the parts of the magnetic forces across the moment, on magnetic atoms. A structure counts with
its largest atom. Source: Y. Zhang et al., Comput. Phys. Commun. 253, 107206 (2020) (DP-GEN), there with K under the
root and for forces only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.calculator import DeepSpin
from deepspin_ase.data import Frame
from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.quantities import FORCES, MAGNETIC_FORCES

Array = NDArray[np.float64]

_NOTHING = 1e-9  # eV/Å, eV/µB; deviations below are those of equal models
_SMALL = 1e-3  # µB; a shorter moment has no direction


@dataclass(frozen=True)
class Levels:
    """One number for forces (eV/Å) and one for transverse magnetic forces (eV/µB)."""

    forces: float
    magnetic_perp: float


@dataclass(frozen=True, eq=False)
class WorstAtoms:
    """Per structure the largest number over its atoms; forces in eV/Å, transverse magnetic forces in eV/µB."""

    forces: Array
    magnetic_perp: Array

    def quantile(self, q: float) -> Levels:
        """Quantile over the structures."""
        return Levels(float(np.quantile(self.forces, q)), float(np.quantile(self.magnetic_perp, q)))

    def rms(self) -> Levels:
        """Root mean square over the structures."""
        return Levels(*(float(np.sqrt(np.mean(values**2))) for values in (self.forces, self.magnetic_perp)))


class Committee:
    """Models of the same architecture.

    Parameters
    ----------
    models
        Model files, two at least.
    device
        As for :class:`~deepspin_ase.calculator.DeepSpin`.

    Raises
    ------
    InputError
        Fewer than two models, or models that do not fit together.
    """

    def __init__(self, models: Sequence[str | Path], *, device: str = "auto") -> None:
        if len(models) < 2:
            raise InputError(f"a committee needs two models at least, got {len(models)}")
        self.models = tuple(Path(model) for model in models)
        self._device = device
        self._members = [DeepSpin(model, device=device, dtype="float32") for model in models]

    @property
    def magnetic(self) -> tuple[int, ...]:
        """Atomic numbers of the magnetic species."""
        return tuple(self._members[0].config.magnetic)

    def calculator(self) -> DeepSpin:
        """A calculator that gives the mean over the models."""
        return DeepSpin(self.models, device=self._device, dtype="float32")

    def deviations(self, structures: Sequence[Atoms]) -> WorstAtoms:
        """Largest disagreement of the models in each structure."""
        members = [member.evaluate_many(structures) for member in self._members]
        forces, perp = [], []
        for i, atoms in enumerate(structures):
            force = np.array([results[i][FORCES] for results in members])
            field = np.array([results[i][MAGNETIC_FORCES] for results in members])
            forces.append(_spread(force).max())
            perp.append((_spread(across(field, atoms)) * self._directed(atoms)).max())
        return WorstAtoms(np.array(forces), np.array(perp))

    def errors(self, frames: Sequence[Frame]) -> WorstAtoms:
        """Largest error of the mean over the models in each labelled frame; missing labels count as no error."""
        structures = [frame.atoms for frame in frames]
        members = [member.evaluate_many(structures) for member in self._members]
        forces, perp = [], []
        for i, frame in enumerate(frames):
            found: dict[str, Any] = {
                name: np.mean([results[i][name] for results in members], axis=0) for name in (FORCES, MAGNETIC_FORCES)
            }
            force, field = (_difference(found[name], getattr(frame.labels, name)) for name in (FORCES, MAGNETIC_FORCES))
            forces.append(np.linalg.norm(force, axis=1).max())
            perp.append((np.linalg.norm(across(field, frame.atoms), axis=1) * self._directed(frame.atoms)).max())
        return WorstAtoms(np.array(forces), np.array(perp))

    def error_per_deviation(self, frames: Sequence[Frame]) -> Levels:
        """Root mean square of the errors in units of that of the deviations; above one the committee is too sure."""
        wrong, spread = self.errors(frames).rms(), self.deviations([frame.atoms for frame in frames]).rms()
        return Levels(
            wrong.forces / max(spread.forces, _NOTHING), wrong.magnetic_perp / max(spread.magnetic_perp, _NOTHING)
        )

    def _directed(self, atoms: Atoms) -> NDArray[np.bool_]:
        """Atoms of magnetic species whose moment has a direction, (n,)."""
        length = np.linalg.norm(get_moments(atoms), axis=1)
        directed: NDArray[np.bool_] = np.isin(atoms.numbers, self.magnetic) & (length > _SMALL)
        return directed


def label_sizes(frames: Sequence[Frame]) -> Levels:
    """Root mean square of the labels themselves, as vectors: the errors of a model that predicts zero."""
    forces = [f.labels.forces for f in frames if f.labels.forces is not None]
    fields = [across(f.labels.magnetic_forces, f.atoms) for f in frames if f.labels.magnetic_forces is not None]
    return Levels(_vector_rms(forces), _vector_rms(fields))


def across(vectors: Array, atoms: Atoms) -> Array:
    """Part of vectors (..., n, 3) across the moments of a structure; all of them where a moment is zero."""
    moments = get_moments(atoms)
    length = np.linalg.norm(moments, axis=1, keepdims=True)
    unit = np.where(length > _SMALL, moments / np.maximum(length, _SMALL), 0.0)
    across_: Array = vectors - (vectors * unit).sum(axis=-1, keepdims=True) * unit
    return across_


def _spread(members: Array) -> Array:
    """Standard deviation of vectors over the first index, (k, n, 3) -> (n,)."""
    result: Array = np.sqrt(members.var(axis=0, ddof=1).sum(axis=-1))
    return result


def _difference(found: Array, label: Array | None) -> Array:
    return np.zeros_like(found) if label is None else np.nan_to_num(found - label)


def _vector_rms(arrays: Sequence[Array]) -> float:
    vectors = [array[np.isfinite(array).all(axis=1)] for array in arrays]
    rows = np.concatenate(vectors) if vectors else np.zeros((0, 3))
    return float(np.sqrt((rows**2).sum(axis=1).mean())) if len(rows) else 0.0
