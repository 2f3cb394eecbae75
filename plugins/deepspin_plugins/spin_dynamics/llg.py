"""Gilbert's equation of motion for directions, and the two rotations that integrators are made of.

With the magnetic force F = -∂E/∂m (a field of F/µB) and γ' = γ/(µB (1 + α²)) the explicit form reads

    de/dt = -γ' e × F - α γ' e × (e × F) = Ω × e,      Ω = γ' (t × e + α t),      t = e × F

Without noise Ω is across e: the part of F along e, which does not turn the moment, drops out before anything is
rotated. (In a learned potential that part belongs to the length of the moment and may be large.)

=========  ====================================================  ==================================
symbol     meaning                                               variable, shape, unit
=========  ====================================================  ==================================
e          direction m/|m|; zero where there is no moment        ``e`` (n, 3)
F          magnetic force -∂E/∂m                                 ``force`` (n, 3), eV/µB
α          Gilbert damping                                       ``damping`` scalar or (n,)
γ/µB       3.042 rad/ps per meV/µB                               ``constants.PRECESSION``
Ω          angular velocity                                      (n, 3), rad per ASE unit of time
w          rotation vector, Ω Δt                                 ``turn`` (n, 3), rad
=========  ====================================================  ==================================

All functions take and return (n, 3) arrays; directions of length zero (atoms without a moment) stay zero. They are
compiled loops, on several threads if there are many spins (``fast.py``).

Source: T. L. Gilbert, IEEE Trans. Magn. 40, 3443 (2004); docs/conventions.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepspin_plugins.spin_dynamics.constants import PRECESSION
from deepspin_plugins.spin_dynamics.fast import compiled, share

Array = NDArray[np.float64]

_NO_NOISE = np.empty((0, 3))


def angular_velocity(e: Array, force: Array, damping: float | Array = 0.0, noise: Array | None = None) -> Array:
    """Angular velocity Ω of every moment.

    Parameters
    ----------
    e
        Directions, (n, 3). For vectors of another length than one, t is divided by |e|² in t × e, so that only the
        damping feels the length.
    force
        Magnetic forces -∂E/∂m, eV/µB, (n, 3).
    damping
        Gilbert damping α, one number or (n,).
    noise
        Thermal magnetic forces ξ, eV/µB, (n, 3), added to F. Their part along e is kept in Ω: turning about the whole
        random vector leaves an isotropic distribution isotropic at any step, and makes thermal averages converge
        much faster with the step.

    Returns
    -------
    ndarray
        (n, 3), rad per ASE unit of time; de/dt = Ω × e.
    """
    alpha = np.array(np.broadcast_to(np.asarray(damping, dtype=float), len(e)))
    rate = PRECESSION / (1.0 + alpha**2)
    out = np.empty(e.shape)
    random = _NO_NOISE if noise is None else np.ascontiguousarray(noise)
    share(_angular_velocity, len(e), np.ascontiguousarray(e), np.ascontiguousarray(force), random, alpha, rate, out)
    return out


def velocity(e: Array, force: Array, damping: float | Array = 0.0) -> Array:
    """Right-hand side of Gilbert's equation, de/dt = Ω × e, (n, 3), per ASE unit of time."""
    return cross(angular_velocity(e, force, damping), e)


def rotate(e: Array, turn: Array) -> Array:
    """Turn directions by rotation vectors (Rodrigues).

    Parameters
    ----------
    e
        Directions, (n, 3).
    turn
        Rotation vectors w, (n, 3): the axis times the angle in rad, right-handed.

    Returns
    -------
    ndarray
        e cos w + (ŵ × e) sin w + ŵ (ŵ·e)(1 - cos w), (n, 3), normalised.
    """
    out = np.empty(e.shape)
    share(_rotate, len(e), np.ascontiguousarray(e), np.ascontiguousarray(turn), out)
    return out


def cayley(e: Array, turn: Array) -> Array:
    """Turn directions by Cayley's rotation, the solution e' of e' - e = w × (e + e')/2.

    Parameters
    ----------
    e
        Directions, (n, 3).
    turn
        Vectors w, (n, 3); the angle is 2 arctan(|w|/2).

    Returns
    -------
    ndarray
        (n, 3), normalised.
    """
    out = np.empty(e.shape)
    share(_cayley, len(e), np.ascontiguousarray(e), np.ascontiguousarray(turn), out)
    return out


def normalised(vectors: Array) -> Array:
    """Vectors divided by their lengths, (n, 3); zero stays zero."""
    length = np.sqrt(np.einsum("ia,ia->i", vectors, vectors))[:, None]
    return vectors / np.where(length > 0.0, length, 1.0)


def cross(a: Array, b: Array) -> Array:
    """Cross product of (n, 3) arrays; several times faster than ``numpy.cross``."""
    result = np.empty(np.broadcast_shapes(a.shape, b.shape))
    for x, y, z in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        result[..., x] = a[..., y] * b[..., z] - a[..., z] * b[..., y]
    return result


@compiled
def _angular_velocity(start, stop, e, force, noise, damping, rates, out):  # type: ignore[no-untyped-def]
    noisy = len(noise) > 0
    for i in range(start, stop):
        x, y, z = e[i, 0], e[i, 1], e[i, 2]
        f0, f1, f2 = force[i, 0], force[i, 1], force[i, 2]
        along = 0.0
        if noisy:
            f0, f1, f2 = f0 + noise[i, 0], f1 + noise[i, 1], f2 + noise[i, 2]
            along = x * noise[i, 0] + y * noise[i, 1] + z * noise[i, 2]
        t0, t1, t2 = y * f2 - z * f1, z * f0 - x * f2, x * f1 - y * f0
        square = x * x + y * y + z * z
        inverse = 1.0 / square if square > 0.0 else 0.0
        alpha, rate = damping[i], rates[i]
        out[i, 0] = rate * ((t1 * z - t2 * y + along * x) * inverse + alpha * t0)
        out[i, 1] = rate * ((t2 * x - t0 * z + along * y) * inverse + alpha * t1)
        out[i, 2] = rate * ((t0 * y - t1 * x + along * z) * inverse + alpha * t2)


@compiled
def _store_normalised(x, y, z, out, i):  # type: ignore[no-untyped-def]
    length = np.sqrt(x * x + y * y + z * z)
    inverse = 1.0 / length if length > 0.0 else 1.0
    out[i, 0], out[i, 1], out[i, 2] = x * inverse, y * inverse, z * inverse


@compiled
def _rotate(start, stop, e, turn, out):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        x, y, z = e[i, 0], e[i, 1], e[i, 2]
        u, v, w = turn[i, 0], turn[i, 1], turn[i, 2]
        square = u * u + v * v + w * w
        if square < 1e-3:  # series of cos w, sin w / w and (1 - cos w) / w², exact to the last digit here
            versine = 0.5 * (1.0 - square / 12.0 * (1.0 - square / 30.0 * (1.0 - square / 56.0)))
            cosine = 1.0 - square * versine
            sine = 1.0 - square / 6.0 * (1.0 - square / 20.0 * (1.0 - square / 42.0))
        else:
            angle = np.sqrt(square)
            cosine = np.cos(angle)
            sine = np.sin(angle) / angle
            versine = (1.0 - cosine) / square
        along = versine * (u * x + v * y + w * z)
        _store_normalised(
            cosine * x + sine * (v * z - w * y) + along * u,
            cosine * y + sine * (w * x - u * z) + along * v,
            cosine * z + sine * (u * y - v * x) + along * w,
            out,
            i,
        )


@compiled
def _cayley(start, stop, e, turn, out):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        x, y, z = e[i, 0], e[i, 1], e[i, 2]
        u, v, w = 0.5 * turn[i, 0], 0.5 * turn[i, 1], 0.5 * turn[i, 2]
        own = 1.0 - (u * u + v * v + w * w)
        along = 2.0 * (u * x + v * y + w * z)
        _store_normalised(
            own * x + along * u + 2.0 * (v * z - w * y),
            own * y + along * v + 2.0 * (w * x - u * z),
            own * z + along * w + 2.0 * (u * y - v * x),
            out,
            i,
        )
