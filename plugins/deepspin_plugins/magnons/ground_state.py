"""Directions of least energy of a spin model, sharp enough for spin waves."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from deepspin_ase.errors import DeepSpinError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.moments import random_directions
from deepspin_ase.quantities import MU_B
from deepspin_ase.vectors import Array
from deepspin_plugins.magnons.lswt import checked_directions

_NEWTON_STEPS = 20


def relax_directions(
    model: HeisenbergModel,
    moments: ArrayLike | None = None,
    *,
    starts: int = 1,
    rng: int | np.random.Generator = 0,
    torque: float = 1e-11,
) -> Array:
    """Turn the moments downhill into a minimum of the energy.

    Parameters
    ----------
    model
        Its cell is the magnetic cell: modulations that need a larger one are not found.
    moments
        Start, (n, 3), or (n,) along z; default random directions. A symmetric start (all moments along one axis,
        say) may be a saddle: tilt it first.
    starts
        Number of starts; all but the first are random. The lowest result is returned.
    rng
        Seed or generator of the random starts.
    torque
        eV/rad; largest torque that is left, or as small as round-off allows.

    Returns
    -------
    ndarray
        (n, 3), µB, with the magnitudes of the model.

    Raises
    ------
    DeepSpinError
        No start converged.
    """
    generator = np.random.default_rng(rng)
    atoms = model.to_atoms()
    found: list[tuple[float, Array]] = []
    for number in range(max(1, starts)):
        start = (
            moments if number == 0 and moments is not None else random_directions(atoms, model.magnitudes, generator)
        )
        state = _descend(model, checked_directions(model, start), torque)
        if state is not None:
            moment = model.magnitudes[:, None] * state
            found.append((model.energy(moment), moment))
    if not found:
        raise DeepSpinError(
            f"no start of {max(1, starts)} converged to a torque of {torque:g} eV/rad; try more starts."
        )
    return min(found, key=lambda entry: entry[0])[1]


def _descend(model: HeisenbergModel, e: Array, torque: float) -> Array | None:
    """L-BFGS over e = x/|x|, then Newton steps in the tangent planes, which reach round-off."""

    def energy(x: Array) -> tuple[float, Array]:
        vectors = x.reshape(-1, 3)
        unit = _unit(vectors)
        length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300)
        across = _field(model, unit) - _along(model, unit)[:, None] * unit
        return model.energy(model.magnitudes[:, None] * unit), -(across / length).ravel()

    done = minimize(energy, e.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 0.1 * torque})
    e = _unit(done.x.reshape(-1, 3))
    exchange = model.exchange_matrix().real
    scale = max(float(np.abs(_field(model, e)).max(initial=0.0)), 1e-300)
    for _ in range(_NEWTON_STEPS):
        across = _field(model, e) - _along(model, e)[:, None] * e
        if np.linalg.norm(across, axis=1).max(initial=0.0) < max(torque, 1e-15 * scale):
            return e
        e = _unit(e + _newton_step(model, exchange, e, across))
    return None


def _newton_step(model: HeisenbergModel, exchange: Array, e: Array, across: Array) -> Array:
    """Tangent step (n, 3) to the stationary point of the quadratic energy; soft directions stay as they are."""
    n = len(e)
    plane = np.linalg.svd(e[:, None, :])[2][:, 1:]  # (n, 2, 3), an orthonormal basis across e
    hessian = -np.einsum("isa,ijab,jtb->isjt", plane, exchange, plane)
    onsite = _along(model, e)[:, None, None] * np.eye(2) - 2 * np.einsum(
        "isa,iab,irb->isr", plane, model.anisotropy, plane
    )
    hessian[np.arange(n), :, np.arange(n), :] += onsite
    force = np.einsum("isa,ia->is", plane, across).ravel()
    step = np.linalg.lstsq(hessian.reshape(2 * n, 2 * n), force, rcond=1e-9)[0].reshape(n, 2)
    return np.einsum("is,isa->ia", step, plane)


def _along(model: HeisenbergModel, e: Array) -> Array:
    return np.einsum("ia,ia->i", e, _field(model, e))


def _field(model: HeisenbergModel, e: Array) -> Array:
    """-dE/de, eV, (n, 3)."""
    anisotropy = 2 * np.einsum("iab,ib->ia", model.anisotropy, e)
    return model.exchange_field(e) + anisotropy + model.magnitudes[:, None] * MU_B * model.field


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0.0, length, 1.0))
