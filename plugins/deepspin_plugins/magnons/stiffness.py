"""Long wavelengths: spin-wave stiffness of ferro- and ferrimagnets, spin-wave velocity of antiferromagnets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array, as_finite, as_text, unit_vector
from deepspin_plugins.magnons.lswt import SpinWaves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEP = 5e-3
"""Wavevector of the finite differences in units of 1/(longest bond)."""


@dataclass(frozen=True, eq=False)
class Stiffness(StoredResult):
    """Stiffness tensor D of ħω = gap + q·D·q.

    Attributes
    ----------
    tensor
        (3, 3), meV Å².
    error
        (3, 3), meV Å²: without damping the change when the outermost bonds are left out, with damping the difference
        between the extrapolations by polynomials of second and third degree, and their scatter.
    damping
        (H,), 1/Å: the damping constants η, empty if there is none.
    damped
        (H, 3, 3), meV Å²: D with exchange J e^{-ηr}.
    """

    tensor: Array
    error: Array
    damping: Array
    damped: Array

    @property
    def mean(self) -> float:
        """A third of the trace, meV Å²."""
        return float(np.trace(self.tensor) / 3)

    @property
    def mean_error(self) -> float:
        """Error of :attr:`mean`, meV Å²."""
        return float(np.trace(self.error) / 3)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the damped stiffnesses and the extrapolated one."""
        ax = new_axes() if ax is None else ax
        ax.plot(self.damping, np.einsum("haa->h", self.damped) / 3, "o", color="C0", label="J exp(-ηr)")
        ax.errorbar([0.0], [self.mean], [self.mean_error], fmt="s", color="C3", capsize=3, label="result")
        ax.set_xlabel("damping η (1/Å)")
        ax.set_ylabel("stiffness D (meV Å²)")
        ax.legend()
        return ax


def stiffness_tensor(waves: SpinWaves, *, damping: Sequence[float] | None = None) -> Stiffness:
    """Stiffness of the lowest mode at Γ.

    Parameters
    ----------
    waves
        Spin waves with a quadratic lowest mode: a ferro- or ferrimagnet.
    damping
        Constants η (1/Å, four or more, positive) for slowly decaying exchange: D is calculated with J e^{-ηr} and
        extrapolated to η = 0 by a polynomial of second degree. Default: the exchange as it is.

    Raises
    ------
    InputError
        The lowest mode is not quadratic (an antiferromagnet), or the damping constants cannot be used.

    Notes
    -----
    Source of the damping: M. Pajda et al., PRB 64, 174402 (2001), eqs. 13 and 14.
    """
    length = _bond_lengths(waves)
    if damping is None:
        tensor = _curvature(waves)
        shorter = _scaled(waves, (length < length.max(initial=0.0) - 1e-3).astype(float))
        error = np.abs(tensor - _curvature(shorter)) if np.ptp(length) > 1e-3 else np.zeros((3, 3))
        return Stiffness(tensor=tensor, error=error, damping=np.zeros(0), damped=np.zeros((0, 3, 3)))
    eta = as_finite(damping, "damping")
    if eta.ndim != 1 or len(eta) < 4 or np.any(eta <= 0.0):
        raise InputError(f"damping = {as_text(eta)}; allowed: four or more positive constants in 1/Å.")
    damped = np.array([_curvature(_scaled(waves, np.exp(-x * length))) for x in eta])
    flat = damped.reshape(len(eta), 9)
    second, third = (np.polynomial.polynomial.polyfit(eta, flat, degree) for degree in (2, 3))
    scatter = (flat - np.polynomial.polynomial.polyval(eta, second).T).std(axis=0)
    error = np.hypot(second[0] - third[0], scatter)
    return Stiffness(tensor=second[0].reshape(3, 3), error=error.reshape(3, 3), damping=eta, damped=damped)


def spin_wave_velocity(waves: SpinWaves, direction: ArrayLike | str = "x") -> Array:
    """Slopes ħω/q at Γ along a Cartesian direction, meV Å, (n,), ascending; modes with a gap have NaN."""
    step = _STEP / max(float(_bond_lengths(waves).max(initial=0.0)), 1e-6) * unit_vector(direction, "direction")
    gap, one, two = waves.energies(_fractions(waves, np.array([0.0 * step, step, 2 * step])))
    size = float(np.linalg.norm(step))
    slope = (4 * one / size - two / (2 * size)) / 3  # removes the term in q³
    return np.where(gap < 1e-3 * np.maximum(one, 1e-300), slope, np.nan)


def _curvature(waves: SpinWaves) -> Array:
    """Second-order coefficients of the lowest mode, meV Å², (3, 3), exact up to q⁶ terms."""
    size = _STEP / max(float(_bond_lengths(waves).max(initial=0.0)), 1e-6)
    pairs = [(a, b) for a in range(3) for b in range(a, 3)]
    steps = np.array([np.eye(3)[a] + (np.eye(3)[b] if a != b else 0.0) for a, b in pairs]) * size
    levels = waves.energies(_fractions(waves, np.concatenate([np.zeros((1, 3)), steps, 2 * steps, -steps])))[:, 0]
    one, two, back = (levels[1:] - levels[0]).reshape(3, 6)
    scale = max(float(np.abs(one).max()), 1e-12)
    if np.abs(two - 4 * one).max() > 0.05 * scale or np.abs(one - back).max() > 1e-3 * scale:
        raise InputError(
            "the lowest magnon at Γ is not quadratic in q, so it has no stiffness; an antiferromagnet has a velocity, "
            "see spin_wave_velocity(waves, direction)."
        )
    value = (16 * one - two) / 12 / size**2
    tensor = np.zeros((3, 3))
    for (a, b), d in zip(pairs, value, strict=True):
        if a == b:
            tensor[a, a] = d
    for (a, b), d in zip(pairs, value, strict=True):
        if a != b:
            tensor[a, b] = tensor[b, a] = (d - tensor[a, a] - tensor[b, b]) / 2
    return tensor


def _bond_lengths(waves: SpinWaves) -> Array:
    return np.linalg.norm(waves.bonds.vectors(waves.positions, waves.cell), axis=1)


def _fractions(waves: SpinWaves, wavevector: Array) -> Array:
    """Cartesian wavevectors (1/Å) as fractions of the reciprocal cell."""
    return wavevector @ waves.to_atoms().cell.complete().array.T / (2 * np.pi)


def _scaled(waves: SpinWaves, factor: Array) -> SpinWaves:
    """Spin waves with every bond multiplied by a factor (b,); the fields on the sites follow."""
    b = waves.bonds
    e = waves.directions
    change = np.einsum("ba,bac,bc,b->b", e[b.i], b.tensor, e[b.j], factor - 1.0)
    shift = np.bincount(b.i, weights=change, minlength=len(waves))
    bonds = Bonds(b.i, b.j, b.image, b.tensor * factor[:, None, None])
    return replace(waves, bonds=bonds, onsite=waves.onsite + shift[:, None, None] * np.eye(3))
