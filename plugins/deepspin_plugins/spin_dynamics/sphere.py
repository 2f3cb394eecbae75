"""Geometry of unit vectors, one per row: tangent planes, great circles, and L-BFGS on a product of spheres.

Minimisation and minimum-energy paths share it. Arrays have shape (..., 3); the leading axes are arbitrary.

========  ==================================================  ==============
symbol    meaning                                             variable
========  ==================================================  ==============
e         unit vector                                         ``unit``
v         tangent vector, v·e = 0, radians                    ``step``
exp_e(v)  e cos|v| + v sin|v|/|v|                             ``exponential``
log_e(e') tangent vector at e that leads to e'                ``logarithm``
========  ==================================================  ==============

Sources: P.-A. Absil, R. Mahony, R. Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), section 5.4;
A. V. Ivanov, V. M. Uzdin, H. Jónsson, Comput. Phys. Commun. 260, 107749 (2021) for spins.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from deepspin_ase.vectors import Array


def tangent(unit: Array, vectors: Array) -> Array:
    """Part of vectors that is perpendicular to the unit vectors."""
    return vectors - np.sum(unit * vectors, axis=-1, keepdims=True) * unit


def exponential(unit: Array, step: Array) -> Array:
    """Go along great circles by tangent vectors (radians); normalised against round-off."""
    angle = np.linalg.norm(step, axis=-1, keepdims=True)
    moved = np.cos(angle) * unit + np.sinc(angle / np.pi) * step
    return moved / np.linalg.norm(moved, axis=-1, keepdims=True)


def logarithm(unit: Array, target: Array) -> Array:
    """Tangent vectors that lead along the shorter great circle to the target; zero for opposite vectors."""
    along = np.sum(unit * target, axis=-1, keepdims=True)
    across = target - along * unit
    sine = np.linalg.norm(across, axis=-1, keepdims=True)
    return np.arctan2(sine, along) * across / np.where(sine > 0.0, sine, 1.0)


def angles(unit: Array, target: Array) -> Array:
    """Angles between unit vectors, radians, accurate for small ones and for those close to π."""
    return 2.0 * np.arctan2(np.linalg.norm(unit - target, axis=-1), np.linalg.norm(unit + target, axis=-1))


def transport(unit: Array, step: Array, vectors: Array) -> Array:
    """Carry tangent vectors in parallel along exp_e(t v), t from 0 to 1."""
    angle = np.linalg.norm(step, axis=-1, keepdims=True)
    direction = step / np.where(angle > 0.0, angle, 1.0)
    along = np.sum(direction * vectors, axis=-1, keepdims=True)
    return vectors + along * ((np.cos(angle) - 1.0) * direction - np.sin(angle) * unit)


class SphereLBFGS:
    """Directions of limited-memory BFGS; the history is carried along with the spins.

    Parameters
    ----------
    memory
        Number of remembered steps.
    curvature
        First guess of the second derivative, eV/rad².
    """

    def __init__(self, memory: int = 8, curvature: float = 1.0) -> None:
        self._pairs: deque[tuple[Array, Array]] = deque(maxlen=memory)
        self._curvature = curvature

    def direction(self, gradient: Array) -> Array:
        """Descent direction -H g for a tangent gradient (eV/rad); radians."""
        q = gradient.copy()
        used = []
        for s, y in reversed(self._pairs):
            rho = 1.0 / np.vdot(s, y)
            a = rho * np.vdot(s, q)
            q -= a * y
            used.append((a, rho, s, y))
        scale = 1.0 / self._curvature
        if self._pairs:
            s, y = self._pairs[-1]
            scale = float(np.vdot(s, y) / np.vdot(y, y))
        q *= scale
        for a, rho, s, y in reversed(used):
            q += (a - rho * np.vdot(y, q)) * s
        return -q

    def accept(self, unit: Array, step: Array, old_gradient: Array, new_gradient: Array) -> None:
        """Take a step into the history, at the point where it ends."""
        pairs = [*self._pairs, (step, -old_gradient)]
        moved = [(transport(unit, step, s), transport(unit, step, y)) for s, y in pairs]
        s, y = moved.pop()
        y = y + new_gradient
        if np.vdot(s, y) > 1e-10 * np.linalg.norm(s) * np.linalg.norm(y):
            moved.append((s, y))
        self._pairs.clear()
        self._pairs.extend(moved)

    def forget(self) -> None:
        """Start again with steepest descent."""
        self._pairs.clear()
