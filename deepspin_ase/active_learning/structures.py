"""Explorer ``states``: strained, swollen and shaken copies of the start structures in many magnetic states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, field_validator

from deepspin_ase.active_learning.exploration import Exploration
from deepspin_ase.active_learning.storage import bare
from deepspin_ase.moments import get_moments, random_directions, set_moments, tilt
from deepspin_ase.sections import Section
from deepspin_ase.vectors import rotation_matrix

Array = NDArray[np.float64]
State = Literal["ordered", "tilted", "spiral", "collinear", "random"]

_SHORTEST = 0.1  # of the length of a moment


class StateExplorer(Section):
    """Random structures around the start structures; no model is needed.

    Parameters
    ----------
    count
        How many.
    states
        Magnetic states and their weights. ``ordered``: the moments of the start structure; ``tilted``: each turned by
        up to a random angle; ``spiral``: turned about a random axis by 2π q·r, with q a small vector of the reciprocal
        cell; ``collinear``: random signs along one axis; ``random``: random directions.
    tilt
        Degrees; the largest angle of ``tilted``.
    length_spread
        Relative standard deviation of |m|.
    displacement
        Å; standard deviation of each coordinate, drawn anew for each structure between 0 and this.
    strain
        Standard deviation of the components of the strain.
    volume
        Smallest and largest volume, relative to the start structure.
    """

    count: int = Field(default=200, ge=1)
    states: dict[State, float] = Field(
        default={"ordered": 1, "tilted": 3, "spiral": 1, "collinear": 1, "random": 2}, min_length=1
    )
    tilt: float = Field(default=90.0, gt=0, le=180)
    length_spread: float = Field(default=0.08, ge=0, le=0.5)
    displacement: float = Field(default=0.08, ge=0, le=1)
    strain: float = Field(default=0.01, ge=0, le=0.2)
    volume: tuple[float, float] = (0.94, 1.06)

    @field_validator("states")
    @classmethod
    def _weights(cls, value: dict[State, float]) -> dict[State, float]:
        if min(value.values()) < 0 or not sum(value.values()) > 0:
            raise ValueError("weights must not be negative, and one at least positive")
        return value

    @field_validator("volume")
    @classmethod
    def _range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.3 <= value[0] <= value[1] <= 3:
            raise ValueError("give the smallest and the largest relative volume, between 0.3 and 3")
        return value

    @property
    def needs_model(self) -> bool:
        """No."""
        return False

    def size(self, structures: int) -> int:
        """Number of structures."""
        return self.count

    def explore(self, task: Exploration) -> list[Atoms]:
        """Make the structures."""
        weights = np.array(list(self.states.values())) / sum(self.states.values())
        made = []
        for _ in range(self.count):
            start = task.structures[int(task.rng.integers(len(task.structures)))]
            state: State = list(self.states)[int(task.rng.choice(len(weights), p=weights))]
            made.append(self._one(start, state, task.rng))
        return made

    def _one(self, start: Atoms, state: State, rng: np.random.Generator) -> Atoms:
        atoms = bare(start, explorer="states", state=state)
        swelling = rng.uniform(*self.volume) ** (1 / 3)
        deformation = swelling * (np.eye(3) + self.strain * _symmetric(rng))
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=False)
        atoms.positions = atoms.positions @ deformation
        atoms.positions += rng.uniform(0, self.displacement) * rng.normal(size=(len(atoms), 3))
        moments = get_moments(start)
        if state == "tilted":
            moments = tilt(moments, rng.uniform(0, self.tilt), rng, uniform=True)
        elif state != "ordered":
            moments = _STATES[state](atoms, moments, rng)
        factor = np.maximum(1.0 + self.length_spread * rng.normal(size=len(atoms)), _SHORTEST)
        set_moments(atoms, moments * factor[:, None])
        return atoms


def _symmetric(rng: np.random.Generator) -> Array:
    matrix = rng.normal(size=(3, 3))
    return (matrix + matrix.T) / 2


def _spiral(atoms: Atoms, moments: Array, rng: np.random.Generator) -> Array:
    """Moments turned about a random axis by 2π q·r, q a vector of the reciprocal cell with components -1, 0, 1."""
    periodic = np.flatnonzero(atoms.pbc)
    q = np.zeros(3)
    while len(periodic) and not q.any():
        q[periodic] = rng.integers(-1, 2, size=len(periodic))
    turns = atoms.cell.complete().scaled_positions(atoms.positions) @ q if q.any() else rng.random(len(atoms))
    axis = rng.normal(size=3)
    return np.array([rotation_matrix(360.0 * t, axis) @ m for t, m in zip(turns, moments, strict=True)])


def _collinear(atoms: Atoms, moments: Array, rng: np.random.Generator) -> Array:
    axis = rng.normal(size=3)
    signs = rng.choice([-1.0, 1.0], size=len(atoms))
    return (signs * np.linalg.norm(moments, axis=1))[:, None] * axis / np.linalg.norm(axis)


def _random(atoms: Atoms, moments: Array, rng: np.random.Generator) -> Array:
    return random_directions(atoms, np.linalg.norm(moments, axis=1), rng)


_STATES: Final[dict[str, Callable[[Atoms, Array, np.random.Generator], Any]]] = {
    "spiral": _spiral,
    "collinear": _collinear,
    "random": _random,
}
