"""Linear spin-wave theory of general non-collinear structures with any number of sublattices.

With unit vectors e, local right-handed frames (u, v, e) and p = u + i v, the deviation of a moment is
(a p + a† p̄)/√(2S), S = |m|/2 (g = 2). To second order the energy is ½ Ψ† h(q) Ψ with

    h(q) = W† [Λ - J(q)] W,   W = (p_i, p̄_i)/√(2 S_i),
    Λ_i = e_i·h_i - 2 K_i,    h_i = Σ_j J_ij e_j + 2 K_i e_i + |m_i| µB B

==========  =========================================================
symbol      variable
==========  =========================================================
J_ij(S)     ``bonds.tensor`` (eV)
Λ_i         ``onsite`` (eV, 3x3)
e_i, |m_i|  ``directions``, ``magnitudes`` (µB)
p_i         ``_frames(directions)``
h(q)        ``hamiltonian(q)`` (meV)
==========  =========================================================

A moment turns right-handedly about its field, ħ de/dt = (2/|m|) e x ∂E/∂e, which makes a = √(S/2) (x - i y). For one
ferromagnetic sublattice the result is ħω = (2/|m|) [J(0) - J(q)]. Source of the scheme: S. Toth and B. Lake,
J. Phys.: Condens. Matter 27, 166002 (2015); S. Petit, Collection SFN 12, 105 (2011).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel
from deepspin_ase.moments import set_moments
from deepspin_ase.quantities import MU_B
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.magnons import bosons
from deepspin_plugins.magnons.fourier import Complex, FourierSum, as_qpoints

_STATIONARY = 1e-6
"""Largest torque of a stationary state, as a part of the largest field times moment."""
_CHUNK_BYTES = 4e6

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class SpinWaves:
    """Spin waves of one magnetic structure; make it with :meth:`from_model`. q is in fractions of its reciprocal cell.

    Parameters
    ----------
    cell, pbc
        Magnetic cell, Å, (3, 3), and periodic directions.
    positions, numbers, magnitudes, directions
        Of the n magnetic sites: Å (n, 3), atomic numbers (n,), |m| in µB (n,), unit vectors (n, 3).
    bonds
        J_ij(S), eV.
    onsite
        Λ_i, eV, (n, 3, 3).
    tolerance
        Stiffnesses down to -tolerance times the largest one count as zero; a negative one beyond it raises
        :class:`UnstableStateError`. Loosen it for a state or a Hessian that is not exact.
    """

    cell: Array
    pbc: NDArray[np.bool_]
    positions: Array
    numbers: NDArray[np.int64]
    magnitudes: Array
    directions: Array
    bonds: Bonds
    onsite: Array
    tolerance: float = 1e-7

    @classmethod
    def from_model(cls, model: HeisenbergModel, moments: ArrayLike, *, tolerance: float = 1e-7) -> SpinWaves:
        """Spin waves of a spin model about a stationary state.

        Parameters
        ----------
        model
            Its cell is the magnetic cell; see ``HeisenbergModel.repeat``.
        moments
            State: (n, 3), or (n,) along z. Only directions count, the lengths are ``model.magnitudes``.
        tolerance
            See the class.

        Raises
        ------
        InputError
            The state is not stationary, has the wrong shape, or leaves a magnetic site without a direction.
        """
        e = checked_directions(model, moments)
        field = model.exchange_field(e) + 2 * np.einsum("iab,ib->ia", model.anisotropy, e)
        field += model.magnitudes[:, None] * MU_B * model.field
        along = np.einsum("ia,ia->i", e, field)
        _check_stationary(np.cross(e, field), float(np.abs(field).max(initial=0.0)))
        keep = np.flatnonzero(model.magnitudes)
        return cls(
            cell=model.cell,
            pbc=model.pbc,
            positions=model.positions[keep],
            numbers=model.numbers[keep],
            magnitudes=model.magnitudes[keep],
            directions=e[keep],
            bonds=_renumbered(model.bonds, keep, len(model)),
            onsite=(along[:, None, None] * np.eye(3) - 2 * model.anisotropy)[keep],
            tolerance=tolerance,
        )

    def __len__(self) -> int:
        return len(self.magnitudes)

    @property
    def channels(self) -> tuple[tuple[Array, Complex], ...]:
        """Wavevector shifts and projections from the frame of the calculation to the laboratory: none here."""
        return ((np.zeros(3), np.eye(3, dtype=complex)),)

    def to_atoms(self) -> Atoms:
        """Magnetic sites as a structure with moments."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        set_moments(atoms, self.magnitudes[:, None] * self.directions)
        return atoms

    def hamiltonian(self, q: ArrayLike) -> Complex:
        """Boson Hamiltonian h(q), meV, (Q, 2n, 2n)."""
        return self._fourier(as_qpoints(q))

    def energies(self, q: ArrayLike, *, executor: Executor | None = None) -> Array:
        """Magnon energies.

        Parameters
        ----------
        q
            (3,) or (Q, 3), fractions of the reciprocal magnetic cell.
        executor
            Runs blocks of wavevectors, for instance a ``ThreadPoolExecutor``.

        Returns
        -------
        ndarray
            (Q, n), meV, ascending.

        Raises
        ------
        UnstableStateError
            The state is no minimum; the message names q.
        """
        parts = self._blocks(self._energies, as_qpoints(q), executor)
        return np.concatenate(parts) if parts else np.zeros((0, len(self)))

    def modes(self, q: ArrayLike, *, executor: Executor | None = None) -> bosons.Modes:
        """Energies and para-unitary eigenvectors; parameters as in :meth:`energies`."""
        parts = self._blocks(self._modes, as_qpoints(q), executor)
        return bosons.Modes(*(np.concatenate([getattr(p, k) for p in parts]) for k in _MODE_FIELDS))

    def velocities(self, q: ArrayLike) -> Array:
        """Group velocities ∂(ħω)/∂q, meV Å, (Q, n, 3); times 1.519e2 they are in m/s.

        Within a degenerate subspace the modes are those that a small step along (1, 2, 3) splits.
        """
        points = as_qpoints(q)
        modes = self.modes(points)
        n = len(self)
        t = modes.transformation[:, :, :n]
        slopes = [np.conj(t.swapaxes(1, 2)) @ d @ t for d in self._fourier.gradient(points, self.cell)]
        result = np.zeros((len(points), n, 3))
        scale = max(float(modes.energies.max(initial=0.0)), np.finfo(float).tiny)
        for k, level in enumerate(modes.energies):
            for group in np.split(np.arange(n), np.flatnonzero(np.diff(level) > 1e-6 * scale) + 1):
                blocks = [slope[k][np.ix_(group, group)] for slope in slopes]
                _, vector = np.linalg.eigh(blocks[0] + 2 * blocks[1] + 3 * blocks[2])
                for axis, block in enumerate(blocks):
                    result[k, group, axis] = np.einsum("ai,ab,bi->i", vector.conj(), block, vector).real
        return result

    @cached_property
    def frames(self) -> Complex:
        """p = u + i v of every site, (n, 3): u, v and the direction are right-handed."""
        e = self.directions
        trial = np.where(np.abs(e[:, :1]) < 0.9, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
        u = trial - np.einsum("ia,ia->i", trial, e)[:, None] * e
        u /= np.linalg.norm(u, axis=1)[:, None]
        return u + 1j * np.cross(e, u)

    @cached_property
    def _fourier(self) -> FourierSum:
        n, b = len(self), self.bonds
        site = np.arange(n)
        i, j = np.concatenate([b.i, site]), np.concatenate([b.j, site])
        image = np.concatenate([b.image, np.zeros((n, 3), dtype=np.int64)])
        tensor = 1e3 * np.concatenate([-b.tensor, self.onsite])
        scaled = self.frames / np.sqrt(self.magnitudes)[:, None]  # √(2S) = √|m|
        w = np.stack([scaled, scaled.conj()])  # (2, n, 3)
        value = np.einsum("sba,bac,tbc->stb", w[:, i].conj(), tensor, w[:, j])
        shift = n * np.arange(2)
        row = np.broadcast_to(i + shift[:, None, None], value.shape)
        column = np.broadcast_to(j + shift[None, :, None], value.shape)
        images = np.broadcast_to(image, (2, 2, *image.shape))
        return FourierSum(row.ravel(), column.ravel(), images.reshape(-1, 3), value.ravel(), (2 * n, 2 * n))

    @cached_property
    def _sectors(self) -> list[NDArray[np.int64]]:
        """Bosons that never mix: in collinear states with axial symmetry those that turn the spin up or down."""
        return self._fourier.sectors()

    @cached_property
    def _scale(self) -> float:
        """Largest term of h, meV."""
        return 1e3 * max(
            float(np.abs(np.einsum("iab->i", np.abs(self.onsite)) / self.magnitudes).max()),
            float(np.abs(self.bonds.tensor).max(initial=0.0) / self.magnitudes.min()),
        )

    def _energies(self, q: Array) -> Array:
        return bosons.energies(self._fourier(q), q, scale=self._scale, tolerance=self.tolerance, sectors=self._sectors)

    def _modes(self, q: Array) -> bosons.Modes:
        return bosons.modes(self._fourier(q), q, scale=self._scale, tolerance=self.tolerance)

    def _blocks(self, function: Callable[[Array], T], q: Array, executor: Executor | None) -> list[T]:
        size = max(1, int(_CHUNK_BYTES / (64 * len(self) ** 2)))
        pieces = [q[start : start + size] for start in range(0, max(len(q), 1), size)]
        _ = self._sectors  # made once, before threads ask for it
        return list(map(function, pieces) if executor is None else executor.map(function, pieces))


_MODE_FIELDS = ("energies", "transformation", "negative")


def checked_directions(model: HeisenbergModel, moments: ArrayLike) -> Array:
    """Unit vectors (n, 3) of a state (n, 3), or (n,) along z; zero on sites without a magnitude."""
    m = as_finite(moments, "moments")
    if m.shape == (len(model),):
        m = np.outer(m, [0.0, 0.0, 1.0])
    if m.shape != (len(model), 3):
        raise InputError(
            f"moments have shape {m.shape}; allowed: ({len(model)}, 3), or ({len(model)},) along z, one per site "
            "of the model. For a larger magnetic cell use model.repeat(...)."
        )
    if not model.magnitudes.any():
        raise InputError("no site of the model is magnetic (all magnitudes are zero), so there are no spin waves.")
    length = np.linalg.norm(m, axis=1)
    missing = np.flatnonzero((length == 0.0) & (model.magnitudes > 0.0))
    if len(missing):
        raise InputError(f"site {missing[0]} is magnetic but its moment is zero; give every magnetic site a direction.")
    return m / np.where(length > 0.0, length, 1.0)[:, None] * (model.magnitudes > 0.0)[:, None]


def _check_stationary(torque: Array, scale: float) -> None:
    size = np.linalg.norm(torque, axis=1)
    worst = int(np.argmax(size))
    if size[worst] > _STATIONARY * scale:
        raise InputError(
            f"the magnetic structure is not stationary: the torque on site {worst} is {1e3 * size[worst]:.4g} meV/rad "
            f"(allowed: {1e3 * _STATIONARY * scale:.1g}). Spin waves are oscillations about a minimum of the energy; "
            "relax the directions first, for instance with magnons.relax_directions(model, moments)."
        )


def _renumbered(bonds: Bonds, keep: NDArray[np.int64], total: int) -> Bonds:
    """Bonds in the numbering of the sites that are kept."""
    new = np.zeros(total, dtype=np.int64)
    new[keep] = np.arange(len(keep))
    return Bonds(new[bonds.i], new[bonds.j], bonds.image, bonds.tensor)
