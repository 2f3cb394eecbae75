"""Dynamic spin correlations S(q, ω) of spin waves, one intensity tensor per mode.

S^{ab}(q, ω) = Σ_ν v^a v^b* [n(ω_ν) + 1] δ(ω - ω_ν(q)) + Σ_ν w^a w^b* n(ω_ν) δ(ω + ω_ν(-q)), where v and w are the
coefficients of b_ν(q) and b†_ν(-q) in Σ_i F_i(Q) e^{-iQ·r_i} √(S_i/2) (a_i p_i + a†_i p̄_i). Spins have length |m|/2
(g = 2), so the unit is ħ² per magnetic cell; times 4 it is µB². Positive energies are lost by the neutron.

Source: S. Lovesey, Theory of Neutron Scattering from Condensed Matter, vol. 2; G. L. Squires, Introduction to the
Theory of Thermal Neutron Scattering, eq. 7.33 (form factor: eq. 7.16, dipole approximation with g = 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.quantities import K_B
from deepspin_ase.stored_result import StoredResult
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.magnons.fourier import Complex, as_qpoints, reciprocal
from deepspin_plugins.magnons.lswt import SpinWaves
from deepspin_plugins.magnons.qpoints import QPath
from deepspin_plugins.magnons.spectra import Spectrum, broadened

Component = Literal["neutron", "total", "chiral", "xx", "yy", "zz", "xy", "xz", "yx", "yz", "zx", "zy"]


@dataclass(frozen=True, eq=False)
class SpinCorrelations(StoredResult):
    """Energies and intensities of all modes at each wavevector.

    Attributes
    ----------
    q
        (Q, 3), fractions of the reciprocal magnetic cell; may lie outside the first zone.
    wavevector
        (Q, 3), Cartesian, 1/Å.
    energies
        (Q, M), meV; negative: the neutron gains energy (only at T > 0).
    tensor
        (Q, M, 3, 3), complex, ħ² per magnetic cell, with form factors and Bose factors.
    temperature
        K.
    distance, ticks, labels
        Of the path, if there is one.
    """

    q: Array
    wavevector: Array
    energies: Array
    tensor: Complex
    temperature: float
    distance: Array
    ticks: Array
    labels: tuple[str, ...]

    def intensity(self, component: Component = "neutron") -> Array:
        """Intensity of each mode, (Q, M).

        Parameters
        ----------
        component
            ``"neutron"``: Σ (δ_ab - Q̂_a Q̂_b) S^{ab}, unpolarised (at Q = 0 the trace). ``"total"``: the trace.
            ``"chiral"``: i Q̂·(S x S*), the part that depends on the polarisation of the beam along Q.
            ``"xy"``, ...: the real part of that element.
        """
        return component_intensity(self.tensor, self.wavevector, component)

    def spectrum(
        self,
        energy: ArrayLike | None = None,
        *,
        fwhm: float | ArrayLike | None = None,
        component: Component = "neutron",
    ) -> Spectrum:
        """Intensity against energy, with the resolution of an instrument.

        Parameters
        ----------
        energy
            (E,), meV; default 400 points over all modes.
        fwhm
            Gaussian resolution, meV: a number, or (E,) for one that depends on energy. Default 2 % of the range.
        component
            See :meth:`intensity`.
        """
        visible = np.maximum(self.energies, -8e3 * K_B * self.temperature)  # below, nothing is thermally excited
        grid, width = default_grid(visible, energy, fwhm)
        image = broadened(self.energies, self.intensity(component), grid, width)
        return Spectrum(
            distance=self.distance,
            ticks=self.ticks,
            labels=self.labels,
            energy=grid,
            intensity=image,
            error=None,
            component=component,
            axis="wavevector" if len(self.labels) else "wavevector along the list (1/Å)",
        )


def spin_correlations(
    waves: SpinWaves, q: ArrayLike | QPath, *, temperature: float = 0.0, ions: Mapping[str, int] | None = None
) -> SpinCorrelations:
    """Energies and S^{ab} of every mode.

    Parameters
    ----------
    waves
        ``SpinWaves``, or ``SpiralWaves``: then there are modes at q, q - k and q + k.
    q
        Path, or (Q, 3) in fractions of the reciprocal magnetic cell, in any zone.
    temperature
        K.
    ions
        Charges for magnetic form factors, ``{"Ni": 2}``; default none, F = 1.

    Raises
    ------
    InputError
        Negative temperature, a species without a form factor.
    """
    if not temperature >= 0.0:
        raise InputError(f"temperature = {temperature} K; allowed: zero or more.")
    points = q.q if isinstance(q, QPath) else as_qpoints(q)
    recip = reciprocal(waves.to_atoms().cell.complete().array)
    wavevector = points @ recip
    factor = _site_factors(waves, ions, np.linalg.norm(wavevector, axis=1))
    phase = np.exp(-1j * wavevector @ waves.positions.T) * factor * np.sqrt(waves.magnitudes) / 2  # √(S/2) = √|m|/2
    frames = np.concatenate([waves.frames, waves.frames.conj()]).T  # (3, 2n)
    amplitude = np.concatenate([phase, phase], axis=1)[:, None, :] * frames
    energies, tensors = [], []
    for shift, projection in waves.channels:
        modes = waves.modes(points + shift)
        v = projection @ amplitude @ modes.transformation
        level = np.concatenate([modes.energies, -modes.negative], axis=1)
        weight = bose_weight(level, temperature)
        keep = level.shape[1] if temperature > 0.0 else level.shape[1] // 2
        energies.append(level[:, :keep])
        tensors.append(np.einsum("qm,qam,qbm->qmab", weight, v, v.conj())[:, :keep])
    path = q if isinstance(q, QPath) else None
    step = np.linalg.norm(np.diff(wavevector, axis=0), axis=1)
    return SpinCorrelations(
        q=points,
        wavevector=wavevector,
        energies=np.concatenate(energies, axis=1),
        tensor=np.concatenate(tensors, axis=1),
        temperature=float(temperature),
        distance=np.concatenate([[0.0], np.cumsum(step)]) if path is None else path.distance,
        ticks=np.zeros(0) if path is None else path.ticks,
        labels=() if path is None else path.labels,
    )


def powder_average(
    waves: SpinWaves,
    wavenumber: ArrayLike,
    energy: ArrayLike | None = None,
    *,
    fwhm: float | ArrayLike | None = None,
    directions: int = 400,
    temperature: float = 0.0,
    ions: Mapping[str, int] | None = None,
    component: Component = "neutron",
) -> Spectrum:
    """Spectrum of a powder.

    Parameters
    ----------
    waves
        Spin waves.
    wavenumber
        |Q|, (K,), 1/Å.
    energy, fwhm, component
        See :meth:`SpinCorrelations.spectrum`.
    directions
        Points on the sphere (a Fibonacci lattice).
    temperature, ions
        See :func:`spin_correlations`.

    Returns
    -------
    Spectrum
        With an error: the difference to half as many directions.
    """
    lengths = np.atleast_1d(as_finite(wavenumber, "wavenumber"))
    to_fraction = np.linalg.inv(reciprocal(waves.to_atoms().cell.complete().array))
    if energy is None or fwhm is None:
        probe = spin_correlations(waves, lengths.max() * _sphere(200) @ to_fraction, temperature=temperature)
        energy, fwhm = default_grid(probe.energies, energy, fwhm)
    grid, width = default_grid(np.zeros((1, 1)), energy, fwhm)
    image, error = np.zeros((2, len(lengths), len(grid)))
    for row, length in enumerate(lengths):
        means = []
        for count in (directions, max(directions // 2, 1)):
            found = spin_correlations(waves, length * _sphere(count) @ to_fraction, temperature=temperature, ions=ions)
            levels, intensity = found.energies.reshape(1, -1), found.intensity(component).reshape(1, -1)
            means.append(broadened(levels, intensity, grid, width)[0] / count)
        image[row], error[row] = means[0], np.abs(means[0] - means[1])
    return Spectrum(
        distance=lengths,
        ticks=np.zeros(0),
        labels=(),
        energy=grid,
        intensity=image,
        error=error,
        component=component,
        axis="|Q| (1/Å)",
    )


def component_intensity(tensor: Complex, wavevector: Array, component: Component) -> Array:
    """Intensities (Q, M) of tensors (Q, M, 3, 3) at wavevectors (Q, 3) in 1/Å; see ``SpinCorrelations.intensity``."""
    length = np.linalg.norm(wavevector, axis=1, keepdims=True)
    unit = wavevector / np.where(length > 1e-12, length, 1.0) * (length > 1e-12)
    trace = np.einsum("qmaa->qm", tensor).real
    if component == "total":
        return trace
    if component == "neutron":
        return trace - np.einsum("qa,qmab,qb->qm", unit, tensor, unit).real
    if component == "chiral":
        antisymmetric = np.stack([tensor[..., b, c] - tensor[..., c, b] for b, c in ((1, 2), (2, 0), (0, 1))], axis=-1)
        return -np.einsum("qa,qma->qm", unit, antisymmetric.imag)
    axes = ["xyz".find(letter) for letter in component]
    if len(axes) != 2 or -1 in axes:
        raise InputError(f"component = {component!r}; allowed: neutron, total, chiral, or two of x, y, z.")
    return tensor[..., axes[0], axes[1]].real


def form_factor(symbol: str, charge: int, wavenumber: ArrayLike) -> Array:
    """Magnetic form factor ⟨j0(Q)⟩ of an ion, from the International Tables as kept by periodictable.

    Parameters
    ----------
    symbol, charge
        For instance ``"Ni", 2``.
    wavenumber
        |Q|, 1/Å.
    """
    import periodictable

    try:
        table = periodictable.elements.symbol(symbol).magnetic_ff
    except (AttributeError, ValueError) as problem:
        raise InputError(f"periodictable has no magnetic form factor of {symbol}.") from problem
    if charge not in table:
        raise InputError(f"no magnetic form factor of {symbol} with charge {charge}; known charges: {sorted(table)}.")
    return np.asarray(table[charge].j0_Q(np.asarray(wavenumber, dtype=float)))


def bose_weight(energy: Array, temperature: float) -> Array:
    """Detailed balance: n + 1 for positive energies (meV), n for negative ones; 1 and 0 at T = 0."""
    if temperature == 0.0:
        return np.asarray(energy >= 0.0, dtype=float)
    x = np.where(np.abs(energy) > 1e-9, energy, 1e-9) / (1e3 * K_B * temperature)
    with np.errstate(over="ignore"):
        return np.abs(1.0 / -np.expm1(-x))


def default_grid(
    levels: Array, energy: ArrayLike | None, fwhm: float | ArrayLike | None
) -> tuple[Array, float | Array]:
    """Energies and resolution (meV), checked, or from the range of the levels."""
    top, bottom = float(levels.max(initial=0.0)), float(levels.min(initial=0.0))
    span = max(top - bottom, 1e-6)
    grid = (
        np.linspace(bottom - 0.05 * span * (bottom < 0), top + 0.05 * span, 400)
        if energy is None
        else as_finite(energy, "energy")
    )
    width = 0.02 * span if fwhm is None else as_finite(fwhm, "fwhm")
    if grid.ndim != 1 or np.any(np.asarray(width) <= 0.0) or (np.ndim(width) and np.shape(width) != grid.shape):
        raise InputError(
            f"energy has shape {grid.shape} and fwhm shape {np.shape(width)}; allowed: (E,) in meV, and a positive "
            "number or (E,)."
        )
    return grid, width


def _site_factors(waves: SpinWaves, ions: Mapping[str, int] | None, wavenumber: Array) -> Array:
    """F_i(|Q|), (Q, n)."""
    result = np.ones((len(wavenumber), len(waves)))
    if ions is None:
        return result
    for number in np.unique(waves.numbers):
        symbol = chemical_symbols[number]
        if symbol not in ions:
            raise InputError(f"ions = {dict(ions)} has no charge for {symbol}; every magnetic species needs one.")
        result[:, waves.numbers == number] = form_factor(symbol, ions[symbol], wavenumber)[:, None]
    return result


def _sphere(count: int) -> Array:
    """Fibonacci lattice, (count, 3) unit vectors."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    phi = np.pi * (3 - np.sqrt(5)) * k
    rho = np.sqrt(1 - z**2)
    return np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=1)
