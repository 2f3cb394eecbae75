"""Minimum-energy paths between magnetic states: geodesic nudged elastic band with a climbing image.

With images ν = 0 ... P, states M^ν = (e_1, ..., e_k) and geodesic distances
L_ν = [Σ_i angle(e_i^ν, e_i^{ν+1})²]^½, the interior images relax along

    F = -∇E|⊥ + κ (L_ν - L_{ν-1}) τ̂

where ⊥ means perpendicular to the tangent τ̂ of the path, and all vectors lie in the tangent planes of the spins. The
highest image climbs: it feels -∇E with the part along τ̂ reversed, and no spring.

==========  =====================================================  ============
symbol      meaning                                                variable
==========  =====================================================  ============
M^ν         directions of image ν, (P + 1, k, 3)                   ``images``
∇E          gradient in the tangent planes, eV/rad                 ``gradients``
τ̂           upwind tangent, normalised over all spins              ``tangents``
κ           spring constant, eV/rad²                               ``spring``
L_ν         distance between neighbours, rad                       ``lengths``
==========  =====================================================  ============

Sources: P. F. Bessarab, V. M. Uzdin, H. Jónsson, Comput. Phys. Commun. 196, 335 (2015); tangents: G. Henkelman,
H. Jónsson, J. Chem. Phys. 113, 9978 (2000); climbing image: 113, 9901 (2000).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.progress import track
from deepspin_ase.vectors import Array, as_finite, unit_vector
from deepspin_plugins.spin_dynamics.evaluation import SpinStates
from deepspin_plugins.spin_dynamics.minimize import LONGEST_STEP, minimize_moments
from deepspin_plugins.spin_dynamics.paths import MinimumEnergyPath
from deepspin_plugins.spin_dynamics.sphere import SphereLBFGS, angles, exponential, logarithm, tangent

_OPPOSITE = 1e-6  # rad; closer than this to 180° a great circle is not defined
_CLIMB_BELOW = 20.0  # the climbing image starts once the band's forces are below this times fmax ...
_CLIMB_PART = 0.1  # ... or below this part of the first ones


def geodesic_path(start: ArrayLike, end: ArrayLike, images: int, *, axis: ArrayLike | str | None = None) -> Array:
    """States on the great circles between two spin states, equally spaced.

    Parameters
    ----------
    start, end
        Moments, (n, 3), µB, with equal lengths.
    images
        Number of states, both ends included.
    axis
        Axis about which moments turn (right-handedly) that are opposite to each other at the two ends; needed only if
        there are any. It must be perpendicular to them.

    Returns
    -------
    ndarray
        (images, n, 3), µB.

    Raises
    ------
    InputError
        Fewer than 3 images, different shapes or lengths, opposite moments without an axis.
    """
    a, b = as_finite(start, "start"), as_finite(end, "end")
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 3:
        raise InputError(f"start and end have shapes {a.shape} and {b.shape}; allowed: (n, 3) both.")
    if images < 3:
        raise InputError(f"images = {images}; allowed: 3 or more, both ends included.")
    length = np.linalg.norm(a, axis=1, keepdims=True)
    if not np.allclose(length[:, 0], np.linalg.norm(b, axis=1), rtol=1e-6, atol=1e-8):
        raise InputError("start and end have moments of different lengths; a path of directions keeps them.")
    unit, target = (m / np.where(length > 0.0, length, 1.0) for m in (a, b))
    step = logarithm(unit, target)
    opposite = (np.pi - angles(unit, target) < _OPPOSITE) & (length[:, 0] > 0.0)
    if opposite.any():
        step[opposite] = np.pi * _turning(unit[opposite], axis, np.flatnonzero(opposite).astype(np.int64))
    fractions = np.linspace(0.0, 1.0, images)[:, None, None]
    path = length * exponential(np.where(length > 0.0, unit, [0.0, 0.0, 1.0]), fractions * step)
    path[-1] = b
    return path


def geodesic_neb(
    start: Atoms,
    end: Atoms,
    *,
    images: int = 11,
    path: ArrayLike | None = None,
    axis: ArrayLike | str | None = None,
    climb: bool = True,
    spring: float | None = None,
    fmax: float = 1e-4,
    steps: int = 2000,
) -> MinimumEnergyPath:
    """Minimum-energy path between two spin states of one structure, and its barrier.

    The two states are relaxed first with :func:`minimize_moments`, and the band between them afterwards, all images in
    one batch if the calculator has ``evaluate_many``.

    Parameters
    ----------
    start, end
        The same structure with two sets of moments of equal lengths; ``start`` carries the calculator. Neither is
        changed.
    images
        Number of states, both ends included.
    path
        First guess, (images, n, 3), µB, whose ends are replaced by the relaxed ones; default the geodesic path. A
        symmetric guess stays symmetric (coherent rotation); for nucleation give one that breaks the symmetry.
    axis
        See :func:`geodesic_path`.
    climb
        Let the highest image climb to the saddle point: then the barrier is that of an image, exact to ``fmax``;
        otherwise it is interpolated.
    spring
        eV/rad²; default so that springs are as stiff as the energy. The result does not depend on it.
    fmax
        Stop when the force on every moment of every image is below this, eV/rad.
    steps
        Largest number of steps of the band.

    Returns
    -------
    MinimumEnergyPath
        With ``converged``; look at it before using the barrier.

    Raises
    ------
    InputError
        Structures that differ in more than the moments, or wrong options.
    """
    if not (fmax > 0 and steps > 0):
        raise InputError(f"fmax = {fmax} eV/rad, steps = {steps}; both must be positive.")
    if spring is not None and not spring > 0:
        raise InputError(f"spring = {spring} eV/rad²; allowed: a positive number.")
    _same_structure(start, end)
    ends = []
    for atoms in (start, end):
        relaxed = atoms.copy()
        relaxed.calc = start.calc
        minimum = minimize_moments(relaxed, fmax=fmax, steps=steps)
        if not minimum.converged:
            raise InputError(f"the {'start' if atoms is start else 'end'} state does not relax ({minimum}).")
        ends.append(minimum.moments)
    reference = start.copy()
    reference.calc = start.calc
    set_moments(reference, ends[0])
    states = SpinStates(reference)
    if path is None:
        guess = geodesic_path(ends[0], ends[1], images, axis=axis)
    else:
        guess = as_finite(path, "path")
        if guess.shape != (images, len(start), 3):
            raise InputError(f"path has shape {guess.shape}; allowed: ({images}, {len(start)}, 3).")
    band = guess[:, states.moving]
    size = np.linalg.norm(band, axis=-1, keepdims=True)
    if not size.all():
        raise InputError("path has moments of length zero on magnetic atoms.")
    band = band / size
    band[0], band[-1] = (end[states.moving] / states.lengths[:, None] for end in ends)
    if angles(band[:-1], band[1:]).max(axis=1).min() < 1e-8:
        raise InputError("two neighbouring images are equal; the two states may have relaxed into the same minimum.")
    return _Band(states, band, spring).relax(climb=climb, fmax=fmax, steps=steps)


@dataclass
class _Forces:
    """What one evaluation of the band says."""

    energies: Array
    gradients: Array
    tangents: Array
    forces: Array  # on the interior images

    @property
    def largest(self) -> float:
        return float(np.linalg.norm(self.forces, axis=-1).max())


class _Band:
    """The images and their relaxation; a helper of one call, not kept."""

    def __init__(self, states: SpinStates, images: Array, spring: float | None) -> None:
        self.states, self.images = states, images
        self.end_values = states(images[[0, -1]])
        energies, gradients = self._evaluate()
        middle = int(np.argmax(energies[1:-1])) + 1
        curvature = max(states.curvature(images[middle], gradients[middle]), 1e-9)
        self.spring = curvature if spring is None else spring
        self.optimizer = SphereLBFGS(curvature=max(curvature, self.spring))
        self.first = (energies, gradients)

    def _evaluate(self) -> tuple[Array, Array]:
        energies, gradients = self.states(self.images[1:-1])
        (e0, e1), (g0, g1) = self.end_values
        return np.array([e0, *energies, e1]), np.array([g0, *gradients, g1])

    def _forces(self, energies: Array, gradients: Array, climbing: int | None) -> _Forces:
        images = self.images
        tangents = upwind_tangents(images, energies)
        lengths = np.sqrt((angles(images[:-1], images[1:]) ** 2).sum(axis=1))
        forces = np.empty_like(images[1:-1])
        for k in range(1, len(images) - 1):
            along = np.vdot(gradients[k], tangents[k])
            if k == climbing:
                forces[k - 1] = -gradients[k] + 2.0 * along * tangents[k]
            else:
                stretch = self.spring * (lengths[k] - lengths[k - 1])
                forces[k - 1] = -gradients[k] + (along + stretch) * tangents[k]
        return _Forces(energies, gradients, tangents, forces)

    def relax(self, *, climb: bool, fmax: float, steps: int) -> MinimumEnergyPath:
        """Force-based L-BFGS with a bounded step; there is no energy that a band minimises."""
        climbing: int | None = None
        now = self._forces(*self.first, climbing)
        threshold = max(_CLIMB_BELOW * fmax, _CLIMB_PART * now.largest)
        history = [now.largest]
        for _ in track(range(steps), "relaxing the path"):
            top = int(np.argmax(now.energies))
            ready = climb and 0 < top < len(self.images) - 1
            if ready and top != climbing and (climbing is not None or now.largest < threshold):
                climbing = top
                self.optimizer.forget()
                now = self._forces(now.energies, now.gradients, climbing)
            if now.largest <= fmax and (climbing is not None or not ready):
                break
            step = self.optimizer.direction(-now.forces)
            if np.vdot(step, now.forces) <= 0.0:
                self.optimizer.forget()
                step = self.optimizer.direction(-now.forces)
            step *= min(1.0, LONGEST_STEP / max(np.linalg.norm(step, axis=-1).max(), 1e-300))
            before = self.images[1:-1]
            self.images = np.concatenate([self.images[:1], exponential(before, step), self.images[-1:]])
            new = self._forces(*self._evaluate(), climbing)
            self.optimizer.accept(before, step, -now.forces, -new.forces)
            now = new
            history.append(now.largest)
        slopes = np.sum(now.gradients * now.tangents, axis=(1, 2))
        lengths = np.sqrt((angles(self.images[:-1], self.images[1:]) ** 2).sum(axis=1))
        return MinimumEnergyPath(
            moments=self.states.moments(self.images),
            energies=now.energies,
            coordinate=np.concatenate([[0.0], np.cumsum(lengths)]),
            slopes=slopes,
            history=np.array(history),
            fmax=fmax,
            climbing=-1 if climbing is None else climbing,
            evaluations=self.states.evaluations,
        )


def upwind_tangents(images: Array, energies: Array) -> Array:
    """Unit tangents of a path, (P + 1, k, 3): towards the higher neighbour, a mixture at extrema."""
    ahead = logarithm(images[:-1], images[1:])  # at image ν, to ν + 1
    behind = -logarithm(images[1:], images[:-1])  # at image ν + 1, from ν
    result = np.empty_like(images)
    result[0], result[-1] = ahead[0], behind[-1]
    for k in range(1, len(images) - 1):
        up, down = energies[k + 1] - energies[k], energies[k] - energies[k - 1]
        if up > 0 and down > 0:
            result[k] = ahead[k]
        elif up < 0 and down < 0:
            result[k] = behind[k - 1]
        else:
            large, small = max(abs(up), abs(down)), min(abs(up), abs(down))
            weights = (large, small) if energies[k + 1] > energies[k - 1] else (small, large)
            if large == 0.0:
                weights = (1.0, 1.0)
            result[k] = weights[0] * ahead[k] + weights[1] * behind[k - 1]
    result = tangent(images, result)
    return result / np.maximum(np.linalg.norm(result, axis=(1, 2), keepdims=True), 1e-300)


def _turning(unit: Array, axis: ArrayLike | str | None, atoms: NDArray[np.int64]) -> Array:
    """Directions in which opposite moments start to turn about an axis."""
    if axis is None:
        raise InputError(
            f"the moment of atom {atoms[0]} (and {len(atoms) - 1} more) is opposite at the two ends, so the "
            'shortest way is not unique; give axis=, for instance axis="x", or a path.'
        )
    along = unit_vector(axis, "axis")
    if np.abs(unit @ along).max() > 1e-3:
        worst = atoms[np.abs(unit @ along).argmax()]
        raise InputError(
            f"axis = {along.tolist()} is not perpendicular to the moment of atom {worst}, which must turn about it; "
            "choose another axis or give a path."
        )
    across = np.cross(along, unit)
    return across / np.linalg.norm(across, axis=1, keepdims=True)


def _same_structure(start: Atoms, end: Atoms) -> None:
    if len(start) != len(end) or not np.array_equal(start.numbers, end.numbers):
        raise InputError("start and end are different structures; they must have the same atoms in the same order.")
    if not (np.allclose(start.positions, end.positions) and np.allclose(start.cell.array, end.cell.array)):
        raise InputError("start and end differ in positions or cell; the path turns moments at a fixed lattice.")
    a, b = (np.linalg.norm(get_moments(atoms), axis=1) for atoms in (start, end))
    if not np.allclose(a, b, rtol=1e-6, atol=1e-8):
        raise InputError("start and end have moments of different lengths; the path keeps them.")
