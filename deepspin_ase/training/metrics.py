"""Errors in physical units: sums that can be added up over batches and processes."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from deepspin_ase.training.loss import split_parallel
from deepspin_ase.training.preparation import SMALL_MOMENT

QUANTITIES: Final[dict[str, str]] = {
    "energy": "mev_per_atom",
    "force": "mev_per_ang",
    "stress": "mev_per_ang3",
    "magnetic_force": "mev_per_mub",
    "magnetic_force_perp": "mev_per_mub",
    "magnetic_force_par": "mev_per_mub",
    "torque": "mev",
}
"""Error quantities and the units in the names of their keys."""

UNIT_TEXT: Final[dict[str, str]] = {
    "mev_per_atom": "meV/atom",
    "mev_per_ang": "meV/Å",
    "mev_per_ang3": "meV/Å³",
    "mev_per_mub": "meV/µB",
    "mev": "meV",
}

_NAMES: Final = tuple(QUANTITIES)


def metric_key(quantity: str, kind: str) -> str:
    """Key of an error, such as ``force_rmse_mev_per_ang``; ``kind`` is rmse or mae."""
    return f"{quantity}_{kind}_{QUANTITIES[quantity]}"


class ErrorSums:
    """Sums of squares, of absolute values and counts, per quantity.

    Definitions, with Δ = prediction - label: energy ΔE/n of each frame, without any shift; all others over
    Cartesian components: force ΔF, stress its six numbers, magnetic force ΔF^m, its transverse vector ΔF^m -
    (ΔF^m·m̂)m̂, its parallel number ΔF^m·m̂, torque m × ΔF^m. The magnetic ones count magnetic atoms with a
    label only; the transverse mean is over all three components of its vectors. A moment below 1e-3 µB has no
    direction: its error is transverse.
    """

    def __init__(self) -> None:
        self.sums = torch.zeros(len(_NAMES), 3, dtype=torch.float64)
        self.frames = 0

    def add(self, predicted: dict[str, Tensor], labels: dict[str, Tensor], *, magnetic: Tensor, atoms: Tensor) -> None:
        """Add one batch.

        Parameters
        ----------
        predicted
            Output of a :class:`~deepspin_ase.model.potential.Potential`.
        labels
            ``energy`` (g,), ``forces`` (n, 3), ``stress`` (g, 6), ``magnetic_forces`` (n, 3), ``moments`` (n,
            3); eV, Å, µB; NaN where missing.
        magnetic
            Whether each atom is magnetic, (n,).
        atoms
            Atoms per graph, (g,).
        """
        self.frames += len(atoms)
        for name, difference in component_errors(predicted, labels, magnetic=magnetic, atoms=atoms).items():
            finite = difference[torch.isfinite(difference)]
            row = torch.stack([finite.square().sum(), finite.abs().sum(), finite.new_tensor(float(finite.numel()))])
            self.sums[_NAMES.index(name)] += row.cpu()

    def __iadd__(self, other: ErrorSums) -> ErrorSums:
        self.sums += other.sums
        self.frames += other.frames
        return self

    def as_dict(self) -> dict[str, float]:
        """RMSE and MAE of every quantity for which there are labels, in meV units; ``n_frames``."""
        result: dict[str, float] = {}
        for name, (square, absolute, count) in zip(_NAMES, self.sums.tolist(), strict=True):
            if count > 0:
                result[metric_key(name, "rmse")] = 1e3 * (square / count) ** 0.5
                result[metric_key(name, "mae")] = 1e3 * absolute / count
        result["n_frames"] = self.frames
        return result


def component_errors(
    predicted: dict[str, Tensor], labels: dict[str, Tensor], *, magnetic: Tensor, atoms: Tensor
) -> dict[str, Tensor]:
    """Errors by quantity (see :class:`ErrorSums`), float64, NaN where a label is missing; eV, Å, µB."""
    delta = {name: (predicted[name].detach().double() - labels[name].double()) for name in _LABELS}
    moments = labels["moments"].double()[magnetic]
    magnetic_error = delta["magnetic_forces"][magnetic]
    perp, par = split_parallel(magnetic_error, unit_moments(moments))
    return {
        "energy": delta["energy"] / atoms,
        "force": delta["forces"],
        "stress": delta["stress"],
        "magnetic_force": magnetic_error,
        "magnetic_force_perp": perp,
        "magnetic_force_par": par,
        "torque": torch.linalg.cross(moments, magnetic_error),
    }


_LABELS: Final = ("energy", "forces", "stress", "magnetic_forces")


def unit_moments(moments: Tensor) -> Tensor:
    """Directions m̂ of moments (n, 3) in µB; zero where |m| is too small to have one."""
    length = moments.norm(dim=1, keepdim=True)
    return torch.where(length > SMALL_MOMENT, moments / length.clamp(min=SMALL_MOMENT), torch.zeros_like(moments))
