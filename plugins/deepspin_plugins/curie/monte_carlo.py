"""Monte Carlo of a spin model at many temperatures at once: compiled sweeps, parallel tempering, restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel
from deepspin_ase.quantities import K_B
from deepspin_ase.threads import thread_count
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.curie import kernels
from deepspin_plugins.curie.checkpoint import read_checkpoint, write_checkpoint
from deepspin_plugins.curie.interrupts import interrupts_held
from deepspin_plugins.curie.lattice import checked_repeat, make_lattice
from deepspin_plugins.curie.moves import Moves, choose_moves
from deepspin_plugins.curie.random_numbers import generator_states
from deepspin_plugins.curie.series import Series
from deepspin_plugins.curie.weights import order_rows

_FORMAT = "deepspin-monte-carlo-1"
_RENEWAL = 100  # sweeps between energies from scratch without tempering
_ADAPTATION = 10  # sweeps between two adaptations
_TARGET = 0.5  # accepted share of Metropolis trials


class MonteCarlo:
    """Canonical sampling of the directions of the moments in a supercell of a spin model.

    Each temperature has a replica of its own; neighbouring temperatures exchange their replicas now and then. One
    sweep is what ``sampler`` says, see :class:`Moves`; ``moves`` tells what "auto" has chosen.

    Parameters
    ----------
    model
        Spin model; sites with magnitude 0 are left out.
    repeat
        Cells along the three axes; 1 along an open boundary.
    temperatures
        K, (T,), increasing.
    weights
        Weights w of p order parameters on the sites of the model's cell, (p, n) or (n,), real or complex; default
        1 (ferromagnet). See :class:`Series`.
    wave_vectors
        (p, 3), fractions of the reciprocal cell of the model: the weight in cell S is w exp(2πi q·S); default 0. They
        must fit into ``repeat``.
    sampler
        "auto", "heat-bath", "metropolis", "wolff", or :class:`Moves`.
    tempering
        Sweeps between attempts to exchange neighbouring temperatures; 0 switches it off.
    biquadratic
        B_ij of a further term -½ Σ_{i≠j} B_ij (e_i·e_j)², as bonds with isotropic tensors, eV.
    moments
        Start, (n, 3), µB, of the cell or of the supercell (sites as in ``Atoms.repeat``); default random directions.
    seed
        Results depend on it and not on the number of threads.
    threads
        Default: the cores of this process, or OMP_NUM_THREADS.

    Raises
    ------
    InputError
        Anything of the above that does not fit the model.
    """

    def __init__(
        self,
        model: HeisenbergModel,
        repeat: Sequence[int],
        temperatures: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        wave_vectors: ArrayLike | None = None,
        sampler: str | Moves = "auto",
        tempering: int = 5,
        biquadratic: Bonds | None = None,
        moments: ArrayLike | None = None,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        self.temperatures = _checked_temperatures(temperatures)
        if tempering < 0:
            raise InputError(f"tempering = {tempering}; allowed: a number of sweeps, or 0 for no exchange.")
        self.lattice = make_lattice(model, repeat, biquadratic)
        self._cells = checked_repeat(model, repeat)
        self._model = model
        self._sites = np.flatnonzero(np.tile(model.magnitudes, int(np.prod(self._cells))))
        orders = order_rows(model, self._cells, weights, wave_vectors)
        self._rows, self._owner, self._saturation = orders.rows, orders.owner, orders.saturation
        self.moves = choose_moves(sampler, self.lattice, np.sign(self._rows[0]))
        self.tempering = int(tempering) if len(self.temperatures) > 1 else 0
        self._threads = thread_count() if threads is None else max(1, int(threads))

        count = len(self.temperatures)
        self._betas = 1.0 / (K_B * self.temperatures)
        start, *seeds = np.random.SeedSequence(seed).generate_state(3)
        self._spins = self._start(moments, count, int(start))
        self._generators = generator_states(int(seeds[0]), count)
        self._exchanges = np.random.default_rng(int(seeds[1]))
        self._energies = np.empty(count)
        self._slots = np.arange(count)
        self._cones = np.full(count, -1.0)
        self._accepted = np.zeros(count)  # share of the Metropolis trials of the last block
        self._tried_exchanges = np.zeros((2, max(count - 1, 0)), dtype=np.int64)
        self._sweeps = 0
        self._measured: list[tuple[Array, Array]] = []

    def thermalize(self, sweeps: int) -> None:
        """Sweep without measuring; only here do the cones of Metropolis adapt (to half of the trials taken)."""
        none = np.empty((0, 0)), np.empty((0, 0, 0))
        done = 0
        with ThreadPoolExecutor(self._threads) as pool:
            while done < _checked_sweeps(sweeps):
                with interrupts_held():
                    done += self._block(pool, min(sweeps - done, _ADAPTATION), done, 0, none)
                    self._adapt()

    def run(self, sweeps: int, *, every: int = 1) -> Series:
        """Sweep, measure after each ``every`` sweeps and return these measurements.

        On Ctrl-C the block of sweeps at hand is finished and KeyboardInterrupt raised; ``series`` then has all that
        was measured, and another ``run`` goes on from there.
        """
        if every < 1 or _checked_sweeps(sweeps) % every:
            raise InputError(f"sweeps = {sweeps} and every = {every}; allowed: a multiple of every, which is positive.")
        shape = len(self.temperatures), sweeps // every
        energy, order = np.empty(shape), np.empty((*shape, len(self._saturation)))
        done = 0
        try:
            with ThreadPoolExecutor(self._threads) as pool:
                while done < sweeps:
                    with interrupts_held():
                        done += self._block(pool, sweeps - done, done, every, (energy, order))
        finally:
            measured = done // every
            self._measured.append((energy[:, :measured], order[:, :measured]))
        return self._as_series(energy, order)

    @property
    def series(self) -> Series:
        """All measurements since the start or the last ``clear``."""
        shape = (len(self.temperatures), 0)
        parts = [(np.empty(shape), np.empty((*shape, len(self._saturation)))), *self._measured]
        energy, order = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
        return self._as_series(energy, order)

    def clear(self) -> None:
        """Forget the measurements, not the state."""
        self._measured = []

    @property
    def sweeps(self) -> int:
        """Sweeps so far, with those of ``thermalize``."""
        return self._sweeps

    @property
    def exchange_rates(self) -> Array:
        """Share of accepted exchanges between neighbouring temperatures, (T-1,)."""
        tried, accepted = self._tried_exchanges
        return accepted / np.maximum(tried, 1)

    @property
    def cones(self) -> Array:
        """Half angles of the cones of Metropolis trials, rad, (T,); π is the whole sphere."""
        return np.asarray(np.arccos(self._cones))

    def moments(self, number: int) -> Array:
        """Moments at the temperature of this number, µB, (N, 3), sites as in ``Atoms.repeat``."""
        lengths = np.tile(self._model.magnitudes, int(np.prod(self._cells)))
        result = np.zeros((len(lengths), 3))
        replica = int(np.flatnonzero(self._slots == range(len(self._slots))[number])[0])
        result[self._sites] = lengths[self._sites, None] * self._spins[replica]
        return result

    def energy(self, number: int) -> float:
        """Energy at the temperature of this number, eV, from scratch."""
        replica = int(np.flatnonzero(self._slots == range(len(self._slots))[number])[0])
        return float(kernels.total_energy(self.lattice, self._spins[replica]))

    def save(self, path: str | Path) -> None:
        """Write a checkpoint (state, random numbers, measurements); an older one is replaced at once or not at all."""
        names = ("spins", "generators", "energies", "slots", "cones", "tried_exchanges")
        state = {name: getattr(self, f"_{name}") for name in names}
        measured = {"energy": self.series.energy, "order": self.series.order}
        exchanges = np.array(json.dumps(self._exchanges.bit_generator.state))
        state |= measured | {"exchanges": exchanges, "sweeps": np.array(self._sweeps)}
        write_checkpoint(path, self._settings(), state)

    def restore(self, path: str | Path) -> None:
        """Go on from a checkpoint of the same model, supercell, temperatures and moves, bit for bit.

        Raises
        ------
        InputError
            If the file is damaged or belongs to something else.
        """
        stored = read_checkpoint(path, self._settings())
        self._measured = [(stored.pop("energy"), stored.pop("order"))]
        self._exchanges.bit_generator.state = json.loads(str(stored.pop("exchanges")))
        self._sweeps = int(stored.pop("sweeps"))
        for name, array in stored.items():
            setattr(self, f"_{name}", array)

    def _settings(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to fit."""
        digest = sha256()
        for array in (*self.lattice, self._rows, self._owner):
            digest.update(np.ascontiguousarray(array).tobytes())
        return {
            "format": _FORMAT,
            "temperatures": self.temperatures.tolist(),
            "repeat": self._cells,
            "sampler": asdict(self.moves),
            "tempering": self.tempering,
            "model, biquadratic or weights": digest.hexdigest(),
        }

    def _start(self, moments: ArrayLike | None, count: int, seed: int) -> Array:
        """Directions of all replicas, (T, N, 3)."""
        cells = int(np.prod(self._cells))
        n = cells * len(self._model)
        if moments is None:
            rng = np.random.default_rng(seed)
            vectors = rng.normal(size=(count, len(self._sites), 3))
        else:
            given = as_finite(moments, "moments")
            if given.shape not in ((len(self._model), 3), (n, 3)):
                raise InputError(
                    f"moments have shape {given.shape}; allowed: ({len(self._model)}, 3) for the cell or ({n}, 3) "
                    "for the supercell, µB."
                )
            whole = np.tile(given, (cells, 1)) if len(given) != n else given
            vectors = np.tile(whole[self._sites], (count, 1, 1))
        lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
        if np.any(lengths == 0.0):
            raise InputError("moments has a zero vector at a magnetic site; every start needs a direction.")
        return np.ascontiguousarray(vectors / lengths)

    def _block(self, pool: ThreadPoolExecutor, most: int, done: int, every: int, series: tuple[Array, Array]) -> int:
        """Sweep up to the next exchange, or ``most`` sweeps if that is less; return how many."""
        period = self.tempering or _RENEWAL
        if self._sweeps % period == 0:
            self._share(pool, kernels.renew_energies, self.lattice, self._spins, self._energies)
            if self.tempering and self._sweeps:
                self._exchange()
        sweeps = min(period - self._sweeps % period, most)
        passes = np.array([self.moves.heat_bath, self.moves.metropolis, self.moves.overrelaxation])
        state = self._spins, self._generators, self._energies, self._accepted
        self._accepted[:] = 0.0
        self._share(
            pool, kernels.advance, self.lattice, passes, self.moves.clusters, state, self._slots, self._betas,
            self._cones, sweeps, done, every, self._rows, self._owner, series,
        )  # fmt: skip
        self._accepted /= max(1, sweeps * self.moves.metropolis * len(self._sites))
        self._sweeps += sweeps
        return sweeps

    def _share(self, pool: ThreadPoolExecutor, loop: Callable[..., None], *arguments: Any) -> None:
        """Run loop(begin, end, ...) over the replicas, on several threads."""
        pieces = min(self._threads, len(self._slots))
        ends = np.linspace(0, len(self._slots), pieces + 1).astype(int).tolist()
        tasks = [pool.submit(loop, a, b, *arguments) for a, b in pairwise(ends[1:])]
        loop(0, ends[1], *arguments)
        for task in tasks:
            task.result()

    def _exchange(self) -> None:
        """Exchange the replicas of neighbouring temperatures with min(1, exp(Δβ ΔE)), even and odd pairs in turn."""
        at = np.argsort(self._slots)
        first = (self._sweeps // self.tempering) % 2
        for low in range(first, len(at) - 1, 2):
            a, b = at[low], at[low + 1]
            gain = (self._betas[low] - self._betas[low + 1]) * (self._energies[a] - self._energies[b])
            accepted = self._exchanges.random() < np.exp(min(gain, 0.0))
            self._tried_exchanges[:, low] += 1, accepted
            if accepted:
                self._slots[[a, b]] = low + 1, low

    def _adapt(self) -> None:
        """Widen or narrow the cones of Metropolis towards the wanted share of accepted trials."""
        if self.moves.metropolis:
            factor = np.clip(self._accepted / _TARGET, 0.5, 2.0)
            self._cones[:] = 1.0 - np.clip((1.0 - self._cones) * factor, 1e-9, 2.0)

    def _as_series(self, energy: Array, order: Array) -> Series:
        return Series(self.temperatures, energy, order, self._saturation, len(self._sites))


def _checked_temperatures(temperatures: ArrayLike) -> Array:
    values = np.atleast_1d(as_finite(temperatures, "temperatures"))
    if values.ndim != 1 or len(values) == 0 or np.any(values <= 0.0) or np.any(np.diff(values) <= 0.0):
        raise InputError(f"temperatures = {np.asarray(temperatures).tolist()}; allowed: positive, increasing, in K.")
    return values


def _checked_sweeps(sweeps: int) -> int:
    if sweeps < 0:
        raise InputError(f"sweeps = {sweeps}; allowed: 0 or more.")
    return sweeps
