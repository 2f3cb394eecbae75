"""What a phonon calculation gives: force constants with a name for every question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.band_path import Point, QPath, q_path
from deepspin_ase.errors import InputError
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.phonons.bands import VELOCITY, PhononBands, PhononDos, band_structure, density_of_states, sample
from deepspin_plugins.phonons.bridge import moment_axis, read_yaml, to_ase, write_yaml
from deepspin_plugins.phonons.cells import SupercellLike, build_phonopy
from deepspin_plugins.phonons.force_constants import constants_of, enforce_sum_rule
from deepspin_plugins.phonons.thermal import ThermalProperties, thermal_properties

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from phonopy import Phonopy

    from deepspin_plugins.phonons.sound import SoundElasticity

_MESH_LENGTH = 45.0  # Å; default meshes have this length over the lattice vector points per direction


@dataclass(frozen=True, eq=False)
class PhononResult:
    """Phonons of a crystal in one magnetic state; made by :func:`phonons`.

    Attributes
    ----------
    phonon
        The phonopy object, with force constants. Wavevectors are in fractions of the reciprocal cell of its
        ``primitive``; results of this class leave their last run on it.
    axis
        Line of a collinear (n, 3) state that phonopy knows as numbers, (3,); else None.
    state, method
        As given to :func:`phonons`.
    residual_force
        Largest force on an atom of the undisplaced supercell, eV/Å; nan if not known.
    sum_rule_error
        Largest violation of the acoustic sum rule before it was enforced, eV/Å²; nan if not known.
    """

    phonon: Phonopy
    axis: Array | None = None
    state: str = "frozen"
    method: str = "displacements"
    residual_force: float = float("nan")
    sum_rule_error: float = float("nan")

    @classmethod
    def from_force_constants(
        cls, atoms: Atoms, supercell: SupercellLike, force_constants: ArrayLike, **about: Any
    ) -> PhononResult:
        """Phonons of force constants that came from elsewhere.

        Parameters
        ----------
        atoms, supercell
            As for :func:`phonons`.
        force_constants
            (N, N, 3, 3) in phonopy's atom order of the supercell, or (n, N, 3, 3) for the primitive atoms; eV/Å².
        about
            Further fields of this class.
        """
        axis = moment_axis(atoms)
        phonon = build_phonopy(atoms, supercell, axis=axis)
        array = as_finite(force_constants, "force_constants")
        size = len(phonon.supercell)
        if array.shape not in ((size, size, 3, 3), (len(phonon.primitive), size, 3, 3)):
            raise InputError(
                f"force_constants have shape {array.shape}; allowed: ({size}, {size}, 3, 3) or "
                f"({len(phonon.primitive)}, {size}, 3, 3)."
            )
        phonon.force_constants = array
        return cls(phonon, axis, **about)

    # ------------------------------------------------------------------ structures

    @property
    def unitcell(self) -> Atoms:
        """The cell that was given (relaxed, if that was asked for), with moments."""
        return to_ase(self.phonon.unitcell, axis=self.axis)

    @property
    def primitive(self) -> Atoms:
        """The magnetic primitive cell, which wavevectors refer to."""
        return to_ase(self.phonon.primitive, axis=self.axis)

    @property
    def supercell(self) -> Atoms:
        """The supercell in phonopy's atom order."""
        return to_ase(self.phonon.supercell, axis=self.axis)

    # ------------------------------------------------------------------ modes

    def frequencies(self, q: ArrayLike) -> Array:
        """Frequencies (Q, 3n), THz, ascending; imaginary ones are negative. ``q``: (3,) or (Q, 3)."""
        return np.array(self.phonon.run_qpoints(_points(q)).frequencies)

    def modes(self, q: ArrayLike) -> tuple[Array, Any]:
        """Frequencies (Q, 3n), THz, and eigenvectors (Q, 3n, 3n) of the dynamical matrix, one mode per column."""
        run = self.phonon.run_qpoints(_points(q), with_eigenvectors=True)
        return np.array(run.frequencies), np.array(run.eigenvectors)

    def group_velocities(self, q: ArrayLike) -> Array:
        """Group velocities (Q, 3n, 3), km/s."""
        run = self.phonon.run_qpoints(_points(q), with_group_velocities=True)
        return VELOCITY * np.array(run.group_velocities)

    # ------------------------------------------------------------------ curves

    def path(
        self,
        path: str | Sequence[Sequence[Point]] | None = None,
        *,
        points: Mapping[str, ArrayLike] | None = None,
        spacing: float = 0.02,
    ) -> QPath:
        """Path through the zone of the magnetic primitive cell; options as in ``deepspin_ase.band_path.q_path``."""
        return q_path(self.primitive, path, points=points, spacing=spacing)

    def bands(
        self,
        path: QPath | str | Sequence[Sequence[Point]] | None = None,
        *,
        points: Mapping[str, ArrayLike] | None = None,
        spacing: float = 0.02,
    ) -> PhononBands:
        """Band structure along a path; default that of seekpath for the magnetic primitive cell."""
        chosen = path if isinstance(path, QPath) else self.path(path, points=points, spacing=spacing)
        return band_structure(self.phonon, chosen)

    def dos(self, mesh: int | Sequence[int] | None = None, *, points: int = 200) -> PhononDos:
        """Density of states; ``mesh``: points per direction (one or three), default by the size of the cell."""
        return density_of_states(self.phonon, self._mesh(mesh), points=points)

    def thermal(
        self, temperatures: ArrayLike | None = None, mesh: int | Sequence[int] | None = None
    ) -> ThermalProperties:
        """Free energy, entropy and heat capacity; default 0 to 1000 K in steps of 10 K."""
        kelvin = np.arange(0.0, 1001.0, 10.0) if temperatures is None else temperatures
        return thermal_properties(self.phonon, kelvin, self._mesh(mesh))

    def sound(self) -> SoundElasticity:
        """Elastic constants, sound velocities and Debye temperature from the slopes of the acoustic branches."""
        from deepspin_plugins.phonons.sound import sound_elasticity

        return sound_elasticity(self)

    @property
    def debye_temperature(self) -> float:
        """Debye temperature of the acoustic slopes, K; see :meth:`sound`."""
        return self.sound().debye_temperature

    def lowest_frequency(self, mesh: int | Sequence[int] | None = None) -> float:
        """Lowest frequency on a mesh with Γ, THz; clearly below zero means that the crystal is not stable."""
        return float(sample(self.phonon, self._mesh(mesh)).frequencies.min())

    def range_error(self, mesh: int | Sequence[int] | None = None) -> float:
        """What the size of the supercell may cost: change of the frequencies, THz rms over a mesh, when the outer fifth
        of the force constants is left out.

        The radius is half the shortest period of the supercell, beyond which images overlap. Zero for forces of short
        range; else an estimate, not a bound, of what a much larger supercell would change. Wavevectors that fit into
        the supercell, such as Γ, are exact in any case.
        """
        outer = 0.5 * np.linalg.norm(minkowski_reduce(self.phonon.supercell.cell)[0], axis=1).min()
        shorter = self.phonon.replicate()
        shorter.force_constants = constants_of(self.phonon).copy()
        shorter.set_force_constants_zero_with_radius(0.8 * outer)
        enforce_sum_rule(shorter)
        fine, cut = (sample(one, self._mesh(mesh)) for one in (self.phonon, shorter))
        weights = np.asarray(fine.weights, dtype=float)
        squares = ((fine.frequencies - cut.frequencies) ** 2).mean(axis=1)
        return float(np.sqrt(weights @ squares / weights.sum()))

    # ------------------------------------------------------------------ files and pictures

    def save(self, path: str | Path) -> None:
        """Write phonopy.yaml, with which phonopy's own commands carry on: ``phonopy-load phonopy.yaml``."""
        notes = {
            "axis": None if self.axis is None else [float(x) for x in self.axis],
            "state": self.state,
            "method": self.method,
            "residual_force": float(self.residual_force),
            "sum_rule_error": float(self.sum_rule_error),
        }
        write_yaml(self.phonon, path, notes)

    @classmethod
    def load(cls, path: str | Path) -> PhononResult:
        """Read phonopy.yaml, of :meth:`save` or of phonopy.

        Raises
        ------
        InputError
            No such file, something else, or neither force constants nor forces in it.
        """
        phonon, notes = read_yaml(path)
        axis = notes.pop("axis", None)
        return cls(phonon, None if axis is None else np.array(axis, dtype=float), **notes)

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw the bands along the default path."""
        return self.bands().plot(ax, **style)

    def _mesh(self, mesh: int | Sequence[int] | None) -> NDArray[np.int64]:
        if mesh is None:
            return np.maximum(np.rint(_MESH_LENGTH / np.linalg.norm(self.phonon.primitive.cell, axis=1)), 2).astype(
                np.int64
            )
        sizes = np.broadcast_to(np.asarray(mesh), (3,))
        if not np.issubdtype(sizes.dtype, np.integer) or sizes.min() < 1:
            raise InputError(f"mesh = {mesh!r}; allowed: one or three positive integers.")
        return sizes.astype(np.int64)


def _points(q: ArrayLike) -> Array:
    points = as_finite(q, "q")
    points = points[None] if points.shape == (3,) else points
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"q has shape {points.shape}; allowed: (3,) or (Q, 3), fractions of the reciprocal cell.")
    return points
