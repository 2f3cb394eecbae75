"""Geodesic Hamiltonian Monte Carlo: several temperatures side by side, points on spheres and in flat space.

A point is a set of rows of three numbers: unit vectors (curved rows) or positions and the like (flat rows). The kernel
leaves exp(-βE) dx invariant, where dx is the area on the sphere and the volume in flat space. With

    H(x, v) = βE(x) + ½ Σ_k M_k v_k²

a trajectory starts with v drawn from exp(-½ Σ M v²), repeats

    v ← v - ½ε β ∇E/M;    x, v ← along the geodesic for a time ε;    v ← v - ½ε β ∇E/M

and its end is accepted with probability min(1, exp(-ΔH)). Great circles and straight lines are followed exactly, so a
step is reversible and keeps volume, whatever ε.

========  ==================================================  =========================
symbol    meaning                                             variable
========  ==================================================  =========================
x         unit vectors and flat coordinates                   ``points`` (R, K, 3)
v         velocities, tangent on curved rows                  ``velocities`` (R, K, 3)
∇E        gradient, tangent on curved rows, eV per unit       ``gradients`` (R, K, 3)
β         1/k_B T, 1/eV                                       ``beta`` (R,)
M         masses, per kind of row                             ``masses`` (R, K)
ε         step                                                ``steps`` (R,)
========  ==================================================  =========================

Sources: S. Duane et al., Phys. Lett. B 195, 216 (1987); S. Byrne, M. Girolami, Scand. J. Stat. 40, 825 (2013) for
geodesics. M_k = 1 + <|β∇E|²>/d_k, with d the dimension of the row (2 or 3), is the mean curvature of βE plus one: with
it all kinds of rows, soft or stiff, have frequencies of order one, and the same ε suits them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.vectors import Array

Integers = NDArray[np.int64]
Evaluate = Callable[[Integers, Array], tuple[Array, Array]]
"""Replicas (r,) and their points (r, K, 3) -> energies (r,), eV, and gradients (r, K, 3), eV per unit."""

_ACCEPTANCE = 0.8
_FIRST_STEP = 0.1
_LARGEST_STEP = 1.0
_FORGET = 0.05  # weight of the newest gradient in the masses
_LARGEST_DRIFT = 1.0  # Å or µB in one step: a trajectory that goes further is rejected
_DIVERGED = 500.0  # |ΔH| above which a trajectory is not followed any further
_ARRAYS = ("points", "energies", "gradients", "steps", "mean_squares")


class HamiltonianMonteCarlo:
    """R replicas of one system, each at its own temperature.

    Parameters
    ----------
    evaluate
        Energies and gradients of some of the replicas.
    points
        Start, (R, K, 3); curved rows are unit vectors.
    beta
        1/k_B T, 1/eV, (R,).
    curved
        Which rows are unit vectors, (K,).
    kinds
        Number of the kind of each row, (K,), 0, 1, ...; rows of a kind share their mass.
    leapfrog_steps
        Mean number of steps of a trajectory; the number varies by a half either way, against periodic orbits.
    rng
        Source of all random numbers.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        points: Array,
        beta: Array,
        curved: NDArray[np.bool_],
        kinds: Integers,
        *,
        leapfrog_steps: int,
        rng: np.random.Generator,
    ) -> None:
        self._evaluate = evaluate
        self._curved = curved
        self._member = np.eye(int(kinds.max()) + 1)[kinds]  # (K, kinds)
        self._leapfrog_steps = leapfrog_steps
        self.rng = rng
        self.beta = beta
        self.points = points.copy()
        self.energies, self.gradients = self._look(np.arange(len(beta)), self.points)
        self.steps = np.full(len(beta), _FIRST_STEP)
        self.mean_squares = self._squares()
        self.adaptations = 0

    @property
    def masses(self) -> Array:
        """M of every row, (R, K)."""
        return 1.0 + self.mean_squares @ self._member.T

    def draw_velocities(self) -> Array:
        """Velocities from their thermal distribution, (R, K, 3)."""
        return self._tangent(self.points, self.rng.normal(size=self.points.shape) / np.sqrt(self.masses)[..., None])

    def trajectory(self, velocities: Array, steps: int) -> tuple[Array, Array, Array, Array, Array]:
        """Follow Hamilton's equations; the replicas themselves stay where they are.

        Parameters
        ----------
        velocities
            Start, (R, K, 3).
        steps
            Number of leapfrog steps.

        Returns
        -------
        points, velocities, energies, gradients, change
            At the end; change is ΔH, (R,), infinite where the trajectory was given up.
        """
        x, v = self.points.copy(), velocities.copy()
        energy, gradient = self.energies.copy(), self.gradients.copy()
        mass = self.masses[..., None]
        start = self._hamiltonian(energy, v, mass)
        change = np.zeros(len(x))
        kick = (0.5 * self.steps * self.beta)[:, None, None] / mass
        alive = np.arange(len(x))
        for _ in range(steps):
            v[alive] -= kick[alive] * gradient[alive]
            drift = self.steps[alive, None] * np.linalg.norm(v[alive], axis=2)
            fine = np.all((drift <= _LARGEST_DRIFT) | self._curved, axis=1)
            change[alive[~fine]] = np.inf
            alive = alive[fine]
            if not len(alive):
                break
            x[alive], v[alive] = self._geodesic(x[alive], v[alive], self.steps[alive, None, None])
            energy[alive], gradient[alive] = self._look(alive, x[alive])
            v[alive] -= kick[alive] * gradient[alive]
            gap = self._hamiltonian(energy, v, mass)[alive] - start[alive]
            change[alive] = np.where(np.abs(gap) < _DIVERGED, gap, np.inf)  # not a number counts as diverged
            alive = alive[np.isfinite(change[alive])]
        return x, v, energy, gradient, change

    def sweep(self) -> Array:
        """One trajectory per replica with Metropolis acceptance; returns the acceptance probabilities (R,)."""
        spread = self._leapfrog_steps // 2
        steps = int(self.rng.integers(self._leapfrog_steps - spread, self._leapfrog_steps + spread + 1))
        x, _, energy, gradient, change = self.trajectory(self.draw_velocities(), steps)
        probability = np.exp(-np.maximum(change, 0.0))
        accepted = self.rng.random(len(x)) < probability
        self.points[accepted] = x[accepted]
        self.energies[accepted] = energy[accepted]
        self.gradients[accepted] = gradient[accepted]
        return probability

    def adapt(self, probability: Array) -> None:
        """Adjust steps (to an acceptance of 0.8) and masses. Not while measuring: it spoils detailed balance."""
        self.adaptations += 1
        gain = self.adaptations**-0.5
        self.steps = np.minimum(self.steps * np.exp(gain * (probability - _ACCEPTANCE)), _LARGEST_STEP)
        self.mean_squares += _FORGET * (self._squares() - self.mean_squares)

    def swap(self, first: Integers) -> Array:
        """Offer to exchange the points of replicas k and k + 1 for every k in ``first``; returns probabilities.

        Parallel tempering: min(1, exp[(β_k - β_{k+1})(E_k - E_{k+1})]).
        """
        second = first + 1
        exponent = (self.beta[first] - self.beta[second]) * (self.energies[first] - self.energies[second])
        probability = np.exp(np.minimum(exponent, 0.0))
        done = self.rng.random(len(first)) < probability
        a, b = first[done], second[done]
        for array in (self.points, self.energies, self.gradients):
            array[a], array[b] = array[b], array[a]
        return probability

    def state(self) -> dict[str, Any]:
        """Arrays and the random generator: all that a restart needs."""
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        return arrays | {"adaptations": self.adaptations, "rng": self.rng.bit_generator.state}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state` returned."""
        for name in _ARRAYS:
            setattr(self, name, np.array(state[name]))
        self.adaptations = int(state["adaptations"])
        self.rng.bit_generator.state = state["rng"]

    def _look(self, replicas: Integers, points: Array) -> tuple[Array, Array]:
        energy, gradient = self._evaluate(replicas, points)
        return energy, self._tangent(points, gradient)

    def _tangent(self, points: Array, vectors: Array) -> Array:
        along = np.einsum("rka,rka->rk", points, vectors)[..., None]
        return vectors - np.where(self._curved[:, None], along, 0.0) * points

    def _geodesic(self, x: Array, v: Array, time: Array) -> tuple[Array, Array]:
        speed = np.linalg.norm(v, axis=2, keepdims=True)
        angle = speed * time
        turned = np.cos(angle) * x + time * np.sinc(angle / np.pi) * v
        turned /= np.linalg.norm(turned, axis=2, keepdims=True)
        ahead = np.cos(angle) * v - speed * np.sin(angle) * x
        curved = self._curved[:, None]
        return np.where(curved, turned, x + time * v), self._tangent(turned, np.where(curved, ahead, v))

    def _hamiltonian(self, energy: Array, v: Array, mass: Array) -> Array:
        return np.asarray(self.beta * energy + 0.5 * np.einsum("rka,rka->r", mass * v, v))

    def _squares(self) -> Array:
        """Mean of |β∇E|² per dimension over the rows of each kind, (R, kinds)."""
        square = np.square(self.beta[:, None, None] * self.gradients).sum(axis=2) / np.where(self._curved, 2.0, 3.0)
        return np.asarray(square @ self._member / self._member.sum(axis=0))
