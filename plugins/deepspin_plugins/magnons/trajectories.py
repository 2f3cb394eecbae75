"""S(q, ω) at finite temperature from trajectories of spin dynamics, with or without a moving lattice.

With A^a(q, t) = Σ_i S_i^a(t) e^{-iq·r_i}, spins of length |m|/2 and N cells, a Hann-windowed Fourier transform of each
block gives S^{ab}(q, ω) = <A^a(q, ω) A^b(q, ω)*>/N. Classical correlations are symmetric in ω; the factor
βħω/(1 - e^{-βħω}) makes harmonic ones quantum mechanical, so that they can be compared with LSWT and with neutrons.

Source of the factor: D. Dahlbom et al., PRB 109, 014427 (2024), section II; windows: F. J. Harris, Proc. IEEE 66, 51
(1978).
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.quantities import HBAR, K_B
from deepspin_ase.vectors import Array, as_finite, as_text
from deepspin_plugins.magnons.correlations import Component, component_intensity
from deepspin_plugins.magnons.fourier import Complex, as_qpoints, reciprocal
from deepspin_plugins.magnons.qpoints import QPath
from deepspin_plugins.magnons.spectra import Spectrum

_HBAR = 1e18 * HBAR
"""ħ in meV fs."""
_COMMENSURATE = 1e-6


def trajectory_spectrum(
    moments: ArrayLike,
    atoms: Atoms,
    q: ArrayLike | QPath,
    *,
    time_step: float,
    cell: ArrayLike | None = None,
    positions: ArrayLike | None = None,
    temperature: float | None = None,
    blocks: int = 8,
    component: Component = "total",
    max_energy: float | None = None,
) -> Spectrum:
    """Dynamic correlations of a trajectory.

    Parameters
    ----------
    moments
        (F, N, 3), µB, at equal intervals of time.
    atoms
        Supercell: its positions are the sites r_i.
    q
        Path or (Q, 3), in fractions of the reciprocal cell of ``cell``. Wavevectors must fit into the supercell.
    time_step
        fs between frames.
    cell
        Cell (Å, (3, 3)) that q refers to; default the one of the supercell. The intensity is per this cell.
    positions
        (F, N, 3), Å, unwrapped: of a moving lattice. Default: the sites.
    temperature
        K, for the classical-to-quantum factor; default none (classical intensities).
    blocks
        Independent pieces for the error; they overlap by half, which the error accounts for.
    component
        See ``SpinCorrelations.intensity``.
    max_energy
        meV; default up to the Nyquist energy π ħ / time_step.

    Returns
    -------
    Spectrum
        Positive and negative energies, resolution 1.44 · 2πħ/(duration of a block), errors from blocks.

    Raises
    ------
    InputError
        Wrong shapes, a wavevector that does not fit, too few frames.
    """
    m = as_finite(moments, "moments")
    if m.ndim != 3 or m.shape[1:] != (len(atoms), 3):
        raise InputError(f"moments have shape {m.shape}; allowed: (frames, {len(atoms)}, 3).")
    if not time_step > 0.0 or blocks < 2:
        raise InputError(
            f"time_step = {time_step} fs, blocks = {blocks}; allowed: a positive time and two or more blocks."
        )
    small = atoms.cell.complete().array if cell is None else as_finite(cell, "cell")
    points = q.q if isinstance(q, QPath) else as_qpoints(q)
    wavevector = points @ reciprocal(small)
    _check_commensurate(points, wavevector, atoms)
    where = atoms.positions if positions is None else as_finite(positions, "positions")
    if where.shape not in ((len(atoms), 3), m.shape):
        raise InputError(f"positions have shape {where.shape}; allowed: {m.shape}.")
    length = 2 * len(m) // (blocks + 1)  # overlapping by half
    if length < 8:
        raise InputError(
            f"{len(m)} frames give blocks of {length}; at least 8 are needed: fewer blocks, or more frames."
        )
    starts = [k * length // 2 for k in range(blocks)]
    cells = abs(np.linalg.det(atoms.cell.complete().array) / np.linalg.det(small))
    energy = np.fft.fftshift(2 * np.pi * _HBAR * np.fft.fftfreq(length, time_step))
    keep = np.ones(length, dtype=bool) if max_energy is None else np.abs(energy) <= max_energy
    window = np.hanning(length + 1)[:-1]
    # ∫ S dE is the equal-time correlation: divide by Σ w² and by the spacing of energies
    norm = 1.0 / (np.square(window).sum() * cells * (2 * np.pi * _HBAR / time_step))
    mean, error = np.zeros((2, len(points), int(keep.sum())))
    for row, vector in enumerate(track(wavevector, "S(q, ω)", total=len(wavevector))):
        phase = np.exp(-1j * where @ vector)[..., None]  # (N, 1) or (F, N, 1)
        amplitude = (m * phase).sum(axis=1) / 2
        found = np.array(
            [
                _block_intensity(amplitude[start : start + length], window, vector, component)[keep] * norm
                for start in starts
            ]
        )
        mean[row] = found.mean(axis=0)
        error[row] = found.std(axis=0, ddof=1) * np.sqrt(_OVERLAP / blocks)
    grid = energy[keep]
    if temperature is not None:
        factor = quantum_factor(grid, temperature)
        mean, error = mean * factor, error * factor
    path = q if isinstance(q, QPath) else None
    step = np.linalg.norm(np.diff(wavevector, axis=0), axis=1)
    return Spectrum(
        distance=np.concatenate([[0.0], np.cumsum(step)]) if path is None else path.distance,
        ticks=np.zeros(0) if path is None else path.ticks,
        labels=() if path is None else path.labels,
        energy=grid,
        intensity=mean,
        error=error,
        component=component,
        axis="wavevector" if path is not None else "wavevector along the list (1/Å)",
    )


_OVERLAP = 1 + 2 * (1 / 6) ** 2
"""Variance of a mean over Hann windows that overlap by half, relative to independent ones (P. D. Welch, 1967)."""


def quantum_factor(energy: ArrayLike, temperature: float) -> Array:
    """βE/(1 - e^{-βE}), E in meV, temperature in K: from classical to quantum correlations of harmonic motion."""
    if not temperature > 0.0:
        raise InputError(f"temperature = {temperature} K; allowed: a positive number.")
    x = np.asarray(energy, dtype=float) / (1e3 * K_B * temperature)
    safe = np.where(np.abs(x) > 1e-8, x, 1e-8)
    with np.errstate(over="ignore"):
        return np.asarray(safe / -np.expm1(-safe))


def _block_intensity(amplitude: Complex, window: Array, vector: Array, component: Component) -> Array:
    """Intensity (E,) of one block of A(q, t), (T, 3), without its mean (elastic scattering)."""
    moving = (amplitude - amplitude.mean(axis=0)) * window[:, None]
    transform = np.fft.fftshift(np.fft.ifft(moving, axis=0), axes=0) * len(window)
    tensor = np.einsum("ea,eb->eab", transform, transform.conj())
    return component_intensity(tensor[:, None], np.broadcast_to(vector, (len(tensor), 3)), component)[:, 0]


def _check_commensurate(points: Array, wavevector: Array, atoms: Atoms) -> None:
    turns = wavevector @ atoms.cell.array[atoms.pbc].T / (2 * np.pi)
    wrong = np.flatnonzero(np.any(np.abs(turns - np.rint(turns)) > _COMMENSURATE, axis=1))
    if len(wrong):
        raise InputError(
            f"q = {as_text(points[wrong[0]])} makes {as_text(turns[wrong[0]])} turns along the vectors of the "
            "supercell, not whole numbers; only wavevectors that fit into the supercell can be seen in it."
        )
