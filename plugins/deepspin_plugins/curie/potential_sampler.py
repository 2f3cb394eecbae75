"""Direct Monte Carlo of a potential at many temperatures at once: the engine behind ``sample_potential``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.quantities import K_B
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.curie.checkpoint import read_checkpoint, write_checkpoint
from deepspin_plugins.curie.direct_samples import DirectSamples
from deepspin_plugins.curie.hmc import HamiltonianMonteCarlo
from deepspin_plugins.curie.phase_space import PhaseSpace

_MEASURED = ("energy", "order", "length", "acceptance", "exchange")
_SAVE_EVERY = 20  # sweeps


class PotentialSampler:
    """Hamiltonian Monte Carlo of moments (and positions) in the energy of any calculator with magnetic forces.

    One sweep is one trajectory per temperature. All temperatures are evaluated in one batch if the calculator has
    ``evaluate_many``. Methods are those of :class:`MonteCarlo`.

    Parameters
    ----------
    atoms, temperatures, lattice, longitudinal, weights, leapfrog_steps, tempering, seed
        See :func:`sample_potential`.

    Attributes
    ----------
    sweeps
        Sweeps since the start, equilibration included.

    Raises
    ------
    InputError
        No calculator or moments, temperatures that are not positive and increasing, weights of a wrong shape.
    """

    def __init__(
        self,
        atoms: Atoms,
        temperatures: ArrayLike,
        *,
        lattice: bool = False,
        longitudinal: bool = False,
        weights: ArrayLike | None = None,
        leapfrog_steps: int = 3,
        tempering: int = 1,
        seed: int = 0,
    ) -> None:
        kelvin = np.atleast_1d(as_finite(temperatures, "temperatures"))
        if kelvin.ndim != 1 or not len(kelvin) or kelvin[0] <= 0.0 or np.any(np.diff(kelvin) < 0.0):
            raise InputError(f"temperatures = {kelvin.tolist()}; allowed: positive numbers in K, in increasing order.")
        if leapfrog_steps < 1 or tempering < 0:
            raise InputError(
                f"leapfrog_steps = {leapfrog_steps}, tempering = {tempering}; allowed: at least 1, and at least 0."
            )
        self.temperatures = kelvin
        self._space = PhaseSpace(atoms, lattice=lattice, longitudinal=longitudinal)
        self._weights = _checked_weights(weights, self._space)
        start = np.repeat(self._space.point(self._space.reference)[None], len(kelvin), axis=0)
        self._kernel = HamiltonianMonteCarlo(
            self._space.evaluate,
            start,
            1.0 / (K_B * kelvin),
            self._space.curved,
            self._space.kinds,
            leapfrog_steps=int(leapfrog_steps),
            rng=np.random.default_rng(seed),
        )
        self._tempering = int(tempering)
        self._settings = {
            "kind": "direct sampling",
            "temperatures": kelvin.tolist(),
            "numbers": atoms.numbers.tolist(),
            "cell": np.round(atoms.cell.array, 9).tolist(),
            "magnetic": self._space.magnetic.tolist(),
            "lengths": np.round(self._space.lengths, 9).tolist(),
            "weights": np.round([self._weights.real, self._weights.imag], 9).tolist(),
            "lattice": bool(lattice),
            "longitudinal": bool(longitudinal),
            "leapfrog_steps": int(leapfrog_steps),
            "tempering": int(tempering),
        }
        self.sweeps = 0
        self.clear()

    def thermalize(self, sweeps: int, checkpoint: str | Path | None = None) -> None:
        """Sweep without measuring; only here do steps and masses adapt (to an acceptance of 0.8)."""
        for number in track(range(1, sweeps + 1), "direct sampling: equilibration"):
            self._sweep(adapt=True)
            if checkpoint is not None and (number % _SAVE_EVERY == 0 or number == sweeps):
                self.save(checkpoint)

    def run(self, sweeps: int, checkpoint: str | Path | None = None) -> DirectSamples:
        """Sweep, measure after each sweep, and return these measurements.

        On Ctrl-C the sweep at hand is undone and KeyboardInterrupt raised; ``series`` has what was measured, and
        another ``run`` goes on as if nothing had happened.
        """
        for number in track(range(1, sweeps + 1), "direct sampling"):
            acceptance, exchange = self._sweep(adapt=False)
            moments = self._space.moments(self._kernel.points)
            psi = np.einsum("pi,ria->rpa", self._weights, moments)
            order = np.linalg.norm(psi, axis=2) / self._full
            length = np.linalg.norm(moments, axis=2).mean(axis=1)
            self._rows.append((self._kernel.energies.copy(), order, length, acceptance, exchange))
            if checkpoint is not None and (number % _SAVE_EVERY == 0 or number == sweeps):
                self.save(checkpoint)
        return self._samples(self._rows[len(self) - sweeps :])

    @property
    def series(self) -> DirectSamples:
        """All measurements since the start (or the last ``clear``)."""
        return self._samples(self._rows)

    def _samples(self, rows: list[tuple[Array, ...]]) -> DirectSamples:
        if not rows:
            raise InputError("nothing has been measured; use run(sweeps) with at least one sweep.")
        columns = zip(*rows, strict=True)
        energy, order, length, acceptance, exchange = (np.array(values).swapaxes(0, 1) for values in columns)
        reference = self._space.reference
        return DirectSamples(
            temperatures=self.temperatures,
            energy=energy,
            order=order,
            saturation=self._full / len(self._space.magnetic),
            sites=len(self._space.magnetic),
            length=length,
            acceptance=acceptance.mean(axis=1),
            exchange_rates=_rates(exchange),
            steps=self._kernel.steps,
            numbers=reference.numbers,
            cell=reference.cell.array,
            pbc=reference.pbc,
            positions=np.array([self.structure(r).positions for r in range(len(self.temperatures))]),
            moments=np.array([self.moments(r) for r in range(len(self.temperatures))]),
            lattice=self._space.lattice,
            longitudinal=self._space.longitudinal,
            complete=True,
        )

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget the measurements, not the state."""
        self._rows: list[tuple[Array, ...]] = []

    @property
    def exchange_rates(self) -> Array:
        """Share of accepted exchanges between neighbouring temperatures, (T-1,); zero if none were offered."""
        return self.series.exchange_rates

    def moments(self, number: int) -> Array:
        """Moments at temperature ``number``, µB, (n, 3)."""
        return np.array(self.structure(number).get_initial_magnetic_moments())

    def structure(self, number: int) -> Atoms:
        """Present structure at temperature ``number``, with its moments."""
        return self._space.structure(self._kernel.points[number])

    def save(self, path: str | Path) -> None:
        """Write a checkpoint (state, random numbers, measurements); an older file is replaced at once or not at all."""
        state = self._kernel.state()
        arrays = {f"state/{name}": np.asarray(value) for name, value in state.items() if name != "rng"}
        arrays |= {"rng": np.array(json.dumps(state["rng"])), "sweeps": np.array(self.sweeps)}
        columns = zip(*self._rows, strict=True)
        arrays |= {f"measured/{name}": np.array(values) for name, values in zip(_MEASURED, columns, strict=False)}
        write_checkpoint(path, self._settings, arrays)

    def restore(self, path: str | Path) -> None:
        """Go on from a checkpoint of the same structure, temperatures and moves, bit for bit.

        Raises
        ------
        InputError
            The file is damaged or belongs to another run.
        """
        stored = read_checkpoint(path, self._settings)
        state: dict[str, Any] = {
            name.removeprefix("state/"): array for name, array in stored.items() if name.startswith("state/")
        }
        self._kernel.load_state(state | {"rng": json.loads(str(stored["rng"]))})
        columns = [stored.get(f"measured/{name}", np.zeros(0)) for name in _MEASURED]
        self._rows = [tuple(row) for row in zip(*columns, strict=True)]
        self.sweeps = int(stored["sweeps"])

    @property
    def _full(self) -> Array:
        """Σ_i |w_i| |m_i| of the start, µB, (p,)."""
        return np.asarray(np.abs(self._weights) @ self._space.lengths)

    def _sweep(self, *, adapt: bool) -> tuple[Array, Array]:
        """One trajectory and one round of exchanges; their probabilities (T,) and (T-1,), not a number where none."""
        before = self._kernel.state()
        exchange = np.full(len(self.temperatures) - 1, np.nan)
        try:
            probability = self._kernel.sweep()
            if adapt:
                self._kernel.adapt(probability)
            if self._tempering and self.sweeps % self._tempering == 0:
                pairs = np.arange(self.sweeps // self._tempering % 2, len(exchange), 2)
                exchange[pairs] = self._kernel.swap(pairs)
        except BaseException:
            self._kernel.load_state(before)
            raise
        self.sweeps += 1
        return probability, exchange


def _rates(exchange: Array) -> Array:
    """Mean probabilities (T-1,) out of (T-1, s), where not a number means that none was offered."""
    return np.asarray(np.nansum(exchange, axis=1) / np.maximum(np.isfinite(exchange).sum(axis=1), 1))


def _checked_weights(weights: ArrayLike | None, space: PhaseSpace) -> NDArray[np.complex128]:
    """Weights of the magnetic atoms, (p, k)."""
    n = len(space.reference)
    given = np.ones(n) if weights is None else np.asarray(weights, dtype=complex)
    table = np.atleast_2d(given).astype(complex)
    if table.ndim != 2 or table.shape[1] != n or not np.isfinite(table).all():
        raise InputError(
            f"weights have shape {given.shape}; allowed for {n} atoms: ({n},) or (p, {n}), finite numbers."
        )
    chosen = table[:, space.magnetic]
    if np.any(np.abs(chosen).sum(axis=1) == 0.0):
        raise InputError("an order parameter has weight zero on every magnetic atom.")
    return chosen
