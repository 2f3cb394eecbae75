"""Thermodynamics of non-interacting magnons: Bose statistics on a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.quantities import K_B
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.magnons.lswt import SpinWaves
from deepspin_plugins.magnons.qpoints import q_mesh

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLOCK = 512


@dataclass(frozen=True, eq=False)
class MagnonThermodynamics(StoredResult):
    """Magnons against temperature. Errors are the change against a mesh with half as many points per direction.

    Attributes
    ----------
    temperature
        (T,), K.
    moments, moments_error
        (T, n), µB: lengths of the ordered moments, with quantum (g = 2, S = |m|/2) and thermal reduction.
    energy, energy_error
        (T,), meV per magnetic cell, above the zero-point energy.
    heat_capacity, heat_capacity_error
        (T,), k_B per magnetic cell.
    zero_point_energy, zero_point_energy_error
        meV per magnetic cell: ½ Σ ω - ½ tr A, the quantum correction of the classical energy (negative).
    mesh
        Points per direction of the finer mesh.
    """

    temperature: Array
    moments: Array
    moments_error: Array
    energy: Array
    energy_error: Array
    heat_capacity: Array
    heat_capacity_error: Array
    zero_point_energy: float
    zero_point_energy_error: float
    mesh: Array

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the mean ordered moment with its error."""
        ax = new_axes() if ax is None else ax
        mean, error = self.moments.mean(axis=1), self.moments_error.mean(axis=1)
        ax.errorbar(self.temperature, mean, error, color="C0", capsize=2)
        ax.set_xlabel("temperature (K)")
        ax.set_ylabel("ordered moment, mean over sites (µB)")
        return ax


def magnon_thermodynamics(
    waves: SpinWaves,
    temperature: ArrayLike,
    mesh: int | Sequence[int] = 24,
    *,
    executor: Executor | None = None,
) -> MagnonThermodynamics:
    """Ordered moments, energy and heat capacity of free magnons.

    Parameters
    ----------
    waves
        Spin waves.
    temperature
        K, a number or (T,).
    mesh
        Even numbers of points per direction. In three dimensions moments are extrapolated from this mesh and the one of
        half the size, which removes the leading error of a Goldstone mode: 1/N at T > 0, 1/N² at T = 0.
    executor
        Runs blocks of wavevectors.

    Notes
    -----
    Isotropic magnets in one and two dimensions have no order at T > 0: their moments drop with the size of the mesh
    without end, which shows as an error as large as the reduction.
    """
    kelvin = np.atleast_1d(as_finite(temperature, "temperature"))
    if kelvin.ndim != 1 or np.any(kelvin < 0.0):
        raise InputError("temperature must be a number or a list of numbers, zero or more, in K.")
    counts = np.where(waves.pbc, np.broadcast_to(np.asarray(mesh, dtype=int), (3,)), 1)
    if np.any((counts > 1) & (counts % 2 == 1)):
        raise InputError(f"mesh = {counts.tolist()}; allowed: even numbers (half the mesh is used for the error).")
    fine = _sums(waves, counts, kelvin, executor)
    coarse = _sums(waves, np.maximum(counts // 2, 1), kelvin, executor)
    zero, zero_error = _limit(fine.zero_point, coarse.zero_point, 2 if waves.pbc.all() else None)
    thermal, thermal_error = _limit(fine.thermal, coarse.thermal, 1 if waves.pbc.all() else None)
    return MagnonThermodynamics(
        temperature=kelvin,
        moments=waves.magnitudes - 2 * (zero + thermal),
        moments_error=2 * (zero_error + thermal_error),
        energy=fine.energy,
        energy_error=np.abs(fine.energy - coarse.energy),
        heat_capacity=fine.heat_capacity,
        heat_capacity_error=np.abs(fine.heat_capacity - coarse.heat_capacity),
        zero_point_energy=fine.zero_point_energy,
        zero_point_energy_error=abs(fine.zero_point_energy - coarse.zero_point_energy),
        mesh=counts,
    )


class _Sums(NamedTuple):
    """Means over a mesh, per cell: ⟨a†a⟩ at T = 0 (n,) and what T adds (T, n), energies meV, heat capacity k_B."""

    zero_point: Array
    thermal: Array
    energy: Array
    heat_capacity: Array
    zero_point_energy: float


def _sums(waves: SpinWaves, mesh: NDArray[np.int64], kelvin: Array, executor: Executor | None) -> _Sums:
    q = q_mesh(mesh)
    n = len(waves)
    still = np.zeros(n)
    thermal = np.zeros((len(kelvin), n))
    energy, capacity = np.zeros((2, len(kelvin)))
    shift = 0.0
    blocks = [q[start : start + _BLOCK] for start in range(0, len(q), _BLOCK)]
    for block in track(blocks, "magnons"):
        modes = waves.modes(block, executor=executor)
        weight = np.abs(modes.transformation[:, :n]) ** 2  # |u|² and |v|² of a_i
        diagonal = np.einsum("qii->q", waves.hamiltonian(block)[:, :n, :n]).real
        shift += 0.5 * float(modes.energies.sum() - diagonal.sum())
        still += weight[:, :, n:].sum(axis=(0, 2))
        for t, kT in enumerate(1e3 * K_B * kelvin):
            up, down = _bose(modes.energies, kT), _bose(modes.negative, kT)
            thermal[t] += np.einsum("qim,qm->i", weight, np.concatenate([up, down], axis=1))
            energy[t] += (modes.energies * up).sum()
            capacity[t] += ((modes.energies / kT) ** 2 * up * (up + 1)).sum() if kT > 0.0 else 0.0
    total = len(q)
    return _Sums(still / total, thermal / total, energy / total, capacity / total, shift / total)


def _limit(fine: Array, coarse: Array, order: int | None) -> tuple[Array, Array]:
    """Limit of a dense mesh and its error: extrapolated where the leading error 1/N^order is known."""
    if order is None:
        return fine, np.abs(fine - coarse)
    step = (fine - coarse) / (2**order - 1)
    return fine + step, np.abs(step)


def _bose(energy: Array, kT: float) -> Array:
    """Occupation; a zero mode counts as empty (shifted meshes avoid it)."""
    if kT == 0.0:
        return np.zeros_like(energy)
    with np.errstate(over="ignore", divide="ignore"):
        return np.where(energy > 1e-9, 1 / np.expm1(np.maximum(energy, 1e-9) / kT), 0.0)
