"""Bogoliubov transformation of quadratic boson Hamiltonians, many at once.

H = ½ Ψ† h Ψ with Ψ = (a_1 … a_n, a†_1 … a†_n) and [Ψ, Ψ†] = η = diag(1, -1). With h = K†K (Cholesky) the Hermitian
matrix K η K† has the eigenvalues (ω, -ω′), and T = K⁻¹ U √|L| is para-unitary, T† η T = η, T† h T = diag(ω, ω′).

Source: J. H. P. Colpa, Physica A 93, 327 (1978), section 4. Where h has zero modes (Goldstone modes) the Cholesky
factor is replaced by K = √Λ V† of the eigendecomposition h = V Λ V†. Its zero rows give exact zeros, so that no
shift of the spectrum is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepspin_ase.errors import DeepSpinError
from deepspin_ase.vectors import Array, as_text
from deepspin_plugins.magnons.fourier import Complex, Integers

_ROUND_OFF = 1e-13
"""Eigenvalues of h this much smaller than its terms are round-off: zero modes."""
_SMALL_PIVOT = 1e-10
"""Squared Cholesky pivots below this part of the terms of h: the eigendecomposition takes over."""


class UnstableStateError(DeepSpinError):
    """The magnetic structure is no minimum of the energy. ``q`` is a wavevector along which it decays."""

    def __init__(self, q: Array, eigenvalue: float) -> None:
        super().__init__(
            f"the magnetic structure is not a minimum of the energy: at q = {as_text(q)} (fractions of the reciprocal "
            f"magnetic cell) the energy is lowered by a spin wave (lowest eigenvalue {eigenvalue:.4g} meV). Start from "
            "the ground state: relax the moments from a slightly tilted state, or in a cell that holds this q."
        )
        self.q = q
        self.eigenvalue = eigenvalue


@dataclass(frozen=True, eq=False)
class Modes:
    """Normal modes at wavevectors q.

    Attributes
    ----------
    energies
        (Q, n), meV, ascending.
    transformation
        T, (Q, 2n, 2n): Ψ = T (b_1 … b_n, b†_1 … b†_n). Columns up to n belong to ``energies``, the rest to modes at -q.
    negative
        (Q, n), meV: energies of the modes at -q, in the order of the columns from n on.
    """

    energies: Array
    transformation: Complex
    negative: Array


def energies(
    h: Complex, q: Array, *, scale: float, tolerance: float, sectors: Sequence[Integers] | None = None
) -> Array:
    """Energies (Q, n), ascending, in the unit of h.

    Parameters
    ----------
    h
        (Q, 2n, 2n), Hermitian.
    q
        (Q, 3), for the message.
    scale
        Size of the terms that h is summed up from; round-off is measured by it.
    tolerance
        Eigenvalues of h above -tolerance·scale count as zero.
    sectors
        Groups of bosons that h does not couple, see ``FourierSum.sectors``; each is diagonalised by itself.

    Raises
    ------
    UnstableStateError
        h has a negative eigenvalue.
    """
    metric = np.repeat([1.0, -1.0], h.shape[1] // 2)
    found = []
    for sector in [np.arange(h.shape[1])] if sectors is None else sectors:
        part, sign = h[:, sector[:, None], sector], metric[sector]
        if np.all(sign < 0):  # what a sector of -q says already
            continue
        if np.all(sign > 0):  # a†a alone: nothing to transform
            found.append(np.asarray(np.linalg.eigvalsh(part), dtype=float))
            _check_stable(found[-1], q, scale, tolerance)
            continue
        lower = _cholesky(part, scale)
        k = np.conj(lower.swapaxes(1, 2)) if lower is not None else _root(part, q, scale, tolerance)[0]
        found.append(np.linalg.eigvalsh(_metric(k, sign))[:, np.count_nonzero(sign < 0) :])
    return np.maximum(np.sort(np.concatenate(found, axis=1), axis=1), 0.0)


def modes(h: Complex, q: Array, *, scale: float, tolerance: float) -> Modes:
    """Energies and para-unitary transformations; parameters as in :func:`energies`."""
    n = h.shape[1] // 2
    metric = np.repeat([1.0, -1.0], n)
    lower = _cholesky(h, scale)
    if lower is not None:
        k = np.conj(lower.swapaxes(1, 2))
        level, u = np.linalg.eigh(_metric(k, metric))
        t = np.linalg.solve(k, u * np.sqrt(np.abs(level))[:, None, :])
    else:
        # A zero mode has no normalisable vector: the smallest stiffness that is not round-off stands in for it.
        k, value, vector = _root(h, q, scale, tolerance)
        root = np.sqrt(np.maximum(value, max(_ROUND_OFF * scale, np.finfo(float).tiny)))
        level, u = np.linalg.eigh(_metric(root[:, :, None] * np.conj(vector.swapaxes(1, 2)), metric))
        t = (vector / root[:, None, :]) @ (u * np.sqrt(np.abs(level))[:, None, :])
        level = np.linalg.eigvalsh(_metric(k, metric))
    order = np.concatenate([np.arange(n, 2 * n), np.arange(n - 1, -1, -1)])
    return Modes(np.maximum(level[:, n:], 0.0), t[:, :, order], np.maximum(-level[:, n - 1 :: -1], 0.0))


def _cholesky(h: Complex, scale: float) -> Complex | None:
    """Lower factors, or None if one of the matrices is not safely positive."""
    try:
        lower = np.linalg.cholesky(h)
    except np.linalg.LinAlgError:
        return None
    pivots = np.einsum("qii->qi", lower).real ** 2
    return np.asarray(lower, dtype=complex) if pivots.min(initial=scale) > _SMALL_PIVOT * scale else None


def _root(h: Complex, q: Array, scale: float, tolerance: float) -> tuple[Complex, Array, Complex]:
    """K with K†K = h for positive semidefinite h, and the eigensystem of h with round-off removed."""
    value, vector = np.linalg.eigh(h)
    _check_stable(value, q, scale, tolerance)
    value = np.where(value > _ROUND_OFF * scale, value, 0.0)
    return np.sqrt(value)[:, :, None] * np.conj(vector.swapaxes(1, 2)), value, vector


def _check_stable(value: Array, q: Array, scale: float, tolerance: float) -> None:
    """Refuse eigenvalues (Q, k), ascending, that are negative beyond the tolerance."""
    lowest = value[:, 0] if value.size else np.zeros(1)
    worst = int(np.argmin(lowest))
    if lowest[worst] < -tolerance * scale:
        raise UnstableStateError(q[worst], float(lowest[worst]))


def _metric(k: Complex, metric: Array) -> Complex:
    """K η K†."""
    return np.asarray((k * metric) @ np.conj(k.swapaxes(1, 2)))
