"""Single-q structures of any pitch in the rotating frame: no supercell, and incommensurate wavevectors are exact.

The moments are e_i(R) = Rot(n, 2π k·R) e_i(0) in the cell at R. If exchange, anisotropy and field do not change under
rotations about n, the energy in the frame that turns along is that of a structure with one cell and the exchange
J_ij(S) Rot(n, 2π k·S). In the laboratory the modes are seen at q (motion along n) and at q ± k (across n), because

    Rot(n, φ) = n nᵀ + e^{iφ} R₁ + e^{-iφ} R₁*,   R₁ = ½ (1 - n nᵀ - i [n]ₓ)

Source: S. Toth and B. Lake, J. Phys.: Condens. Matter 27, 166002 (2015), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel
from deepspin_ase.vectors import Array, as_finite, as_text, unit_vector
from deepspin_plugins.magnons.fourier import Complex
from deepspin_plugins.magnons.lswt import SpinWaves

_INVARIANT = 1e-8


@dataclass(frozen=True, eq=False)
class SpiralWaves(SpinWaves):
    """Spin waves of a single-q structure; make it with :meth:`from_spiral`.

    ``energies(q)`` are those of the rotating frame, ω(q). In the laboratory they appear at q, q + k and q - k:
    ``laboratory_energies(q)`` lists what is seen at q.
    """

    k: Array = field(default_factory=lambda: np.zeros(3))
    axis: Array = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))

    @classmethod
    def from_spiral(
        cls,
        model: HeisenbergModel,
        moments: ArrayLike,
        k: ArrayLike,
        axis: ArrayLike | str = "z",
        *,
        tolerance: float = 1e-7,
    ) -> SpiralWaves:
        """Spin waves about moments that turn by 2π k·R about ``axis`` from cell to cell.

        Parameters
        ----------
        model
            Model of the crystal's own cell.
        moments
            Directions in the cell at R = 0, (n, 3); they may include any angle with the axis (cones).
        k
            Fractions of the reciprocal cell, any real numbers.
        axis
            Rotation axis.
        tolerance
            See :class:`SpinWaves`.

        Raises
        ------
        InputError
            The model is not invariant under rotations about the axis, or the state is not stationary.
        """
        wave, n = as_finite(k, "k"), unit_vector(axis, "axis")
        frame = rotating_frame(model, wave, n)
        base = SpinWaves.from_model(frame, moments, tolerance=tolerance)
        return cls(**{name: getattr(base, name) for name in SpinWaves.__dataclass_fields__}, k=wave, axis=n)

    @property
    def channels(self) -> tuple[tuple[Array, Complex], ...]:
        """Shifts of the wavevector and projections: motion along the axis at q, across it at q ∓ k."""
        along = np.outer(self.axis, self.axis).astype(complex)
        across = (np.eye(3) - along - 1j * _cross(self.axis)) / 2
        return (np.zeros(3), along), (-self.k, across), (self.k, across.conj())

    def laboratory_energies(self, q: ArrayLike) -> Array:
        """Energies at q, q - k and q + k of the rotating frame, meV, (Q, 3, n)."""
        points = np.atleast_2d(np.asarray(q, dtype=float))
        return np.stack([self.energies(points + shift) for shift, _ in self.channels], axis=1)


def rotating_frame(model: HeisenbergModel, k: ArrayLike, axis: ArrayLike | str = "z") -> HeisenbergModel:
    """Model whose one-cell states have the energy per cell of spirals of the given one.

    Parameters
    ----------
    model
        Exchange, anisotropy and field must not change under rotations about the axis.
    k
        Propagation vector, fractions of the reciprocal cell.
    axis
        Rotation axis.

    Raises
    ------
    InputError
        The model lacks the symmetry; use a supercell for it.
    """
    wave, n = as_finite(k, "k"), unit_vector(axis, "axis")
    if wave.shape != (3,):
        raise InputError(f"k has shape {wave.shape}; allowed: three fractions of the reciprocal cell.")
    if np.any((wave != 0.0) & ~model.pbc):
        raise InputError(f"k = {as_text(wave)} has a component along a direction that is not periodic.")
    turn = _cross(n)
    for name, tensor in (("exchange", model.bonds.tensor), ("anisotropy", model.anisotropy)):
        change = np.abs(turn @ tensor - tensor @ turn).max(initial=0.0)
        if change > _INVARIANT * np.abs(tensor).max(initial=0.0):
            raise InputError(
                f"the {name} of the model changes under rotations about {as_text(n)} by up to {1e3 * change:.3g} meV, "
                "so the structure is no single spiral about this axis; use a supercell, model.repeat(...)."
            )
    if np.linalg.norm(np.cross(n, model.field)) > _INVARIANT * np.linalg.norm(model.field):
        raise InputError(f"the field {as_text(model.field)} T must lie along the rotation axis {as_text(n)}.")
    b = model.bonds
    phi = 2 * np.pi * (b.image @ wave)[:, None, None]
    rotation = np.eye(3) + np.sin(phi) * turn + (1 - np.cos(phi)) * (turn @ turn)
    return replace(model, bonds=Bonds(b.i, b.j, b.image, b.tensor @ rotation))


def _cross(n: Array) -> Array:
    """[n]ₓ, the matrix with [n]ₓ v = n x v."""
    return np.array([[0, -n[2], n[1]], [n[2], 0, -n[0]], [-n[1], n[0], 0]])
