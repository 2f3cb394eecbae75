"""What to watch during a run: magnetisation, order, energies; collected as time series.

An observable is any function of the structure that returns a number or an array. ``Recorder`` calls some of them at an
interval and keeps the values; for long runs and large arrays use ``MomentTrajectoryWriter`` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.statistics import Mean, mean_with_error
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.spin_dynamics.evaluation import ZERO_MOMENT, magnetic_atoms
from deepspin_plugins.spin_dynamics.trajectory import Clock

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Observable = Callable[[Atoms], ArrayLike]


class Magnetization:
    """Mean moment of chosen atoms, or with a propagation vector their staggered moment; µB, (3,).

    With a propagation vector it is Σ m_i cos θ_i / Σ cos² θ_i, θ_i = 2π q·r_i + φ, at the positions given here. The
    phase φ is chosen such that for 2q a reciprocal lattice vector cos θ_i = ±1: one sublattice counts as positive, the
    other as negative, wherever the origin lies. For a spiral the length of the result is the amplitude.

    Parameters
    ----------
    atoms
        Structure with moments.
    select
        A species ("Ni"), a mask (n,) or indices; default all atoms that carry a moment.
    q
        Propagation vector in fractions of the reciprocal cell.
    cell
        Cell (Å, (3, 3)) that q refers to; default the one of the structure. For a supercell give the primitive one.

    Raises
    ------
    InputError
        Nothing is selected, or q has not three components.

    Examples
    --------
    >>> order = Magnetization(atoms, "Ni", q=(0.5, 0.5, 0.5), cell=primitive.cell)  # doctest: +SKIP
    >>> np.linalg.norm(order(atoms))  # doctest: +SKIP
    """

    def __init__(
        self,
        atoms: Atoms,
        select: str | ArrayLike | None = None,
        *,
        q: ArrayLike | None = None,
        cell: ArrayLike | None = None,
    ) -> None:
        self.indices = selected(atoms, select)
        self._weights = np.full(len(self.indices), 1.0 / len(self.indices))
        if q is not None:
            vector = as_finite(q, "q")
            if vector.shape != (3,):
                raise InputError(f"q has shape {vector.shape}; allowed: three fractions of the reciprocal cell.")
            reference = atoms.cell if cell is None else type(atoms.cell).ascell(cell)
            wave = np.linalg.solve(reference.complete().array, vector)
            angle = 2.0 * np.pi * atoms.positions[self.indices] @ wave
            double = np.exp(2j * angle).sum()
            cosine = np.cos(angle - 0.5 * np.angle(double) if abs(double) > 1e-6 * len(angle) else angle)
            self._weights = cosine / (cosine**2).sum()

    def __call__(self, atoms: Atoms) -> Array:
        """Moment of the structure as it is now, µB, (3,)."""
        return self._weights @ get_moments(atoms)[self.indices]


class OrderParameter:
    """How much of a reference order is left, µB per magnetic atom, however it has turned as a whole.

    The largest mean projection max_R (1/N) Σ m_i·R e_i over rigid turns R of the reference directions e_i: the sum of
    the singular values of (1/N) Σ m_i e_iᵀ, the smallest with the sign of the determinant. For a ferromagnet it is |M|,
    for a collinear antiferromagnet the length of the staggered moment, for a spiral its amplitude. Disorder leaves a
    rest of order |m|/√N.

    Parameters
    ----------
    reference
        Structure with the moments of the ordered state, often the one at the start.
    """

    def __init__(self, reference: Atoms) -> None:
        self.indices = magnetic_atoms(reference)
        moments = get_moments(reference)[self.indices]
        self._unit = moments / np.linalg.norm(moments, axis=1, keepdims=True)

    def __call__(self, atoms: Atoms) -> float:
        """Order of the structure as it is now, µB."""
        matrix = get_moments(atoms)[self.indices].T @ self._unit / len(self.indices)
        singular = np.linalg.svd(matrix, compute_uv=False)
        return float(singular[0] + singular[1] + np.sign(np.linalg.det(matrix)) * singular[2])


def mean_length(atoms: Atoms) -> float:
    """Mean length of the moments of atoms that carry one, µB; 0 if there is none."""
    length = np.linalg.norm(get_moments(atoms), axis=1)
    magnetic = length > ZERO_MOMENT
    return float(length[magnetic].mean()) if magnetic.any() else 0.0


def energy_partition(atoms: Atoms) -> dict[str, float]:
    """Energies in eV: ``total`` = ``potential`` + ``kinetic``, and ``zeeman``, the part of ``potential`` due to a
    :class:`ZeemanField` (0 without one).
    """
    potential, kinetic = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
    zeeman = atoms.calc.zeeman_energy(atoms) if hasattr(atoms.calc, "zeeman_energy") else 0.0
    return {"total": potential + kinetic, "potential": potential, "kinetic": kinetic, "zeeman": zeeman}


class Recorder:
    """Collect observables during a run; attach it to a dynamics object.

    Parameters
    ----------
    dynamics
        ASE dynamics with ``atoms``.
    observables
        Name -> function of the structure that returns a number or an array of fixed shape.

    Examples
    --------
    >>> recorder = Recorder(dyn, {"M": Magnetization(atoms), "T": spin_temperature})  # doctest: +SKIP
    >>> dyn.attach(recorder, interval=10)  # doctest: +SKIP
    >>> dyn.run(1000)  # doctest: +SKIP
    >>> recorder.series().mean("T")  # doctest: +SKIP
    """

    def __init__(self, dynamics: Clock, observables: Mapping[str, Observable]) -> None:
        if not observables:
            raise InputError('observables is empty; give for instance {"M": Magnetization(atoms)}.')
        self._dynamics = dynamics
        self._observables = dict(observables)
        self._times: list[float] = []
        self._values: dict[str, list[Array]] = {name: [] for name in self._observables}

    def __call__(self) -> None:
        """Take the present values."""
        atoms: Atoms = self._dynamics.atoms  # type: ignore[attr-defined]
        for name, function in self._observables.items():
            self._values[name].append(np.array(function(atoms), dtype=float))
        self._times.append(self._dynamics.get_time() / units.fs)

    def series(self) -> TimeSeries:
        """Everything recorded so far."""
        return TimeSeries(np.array(self._times), {name: np.array(rows) for name, rows in self._values.items()})


@dataclass(frozen=True, eq=False)
class TimeSeries(StoredResult):
    """Quantities against time; arrays are read-only.

    Attributes
    ----------
    times
        fs, (frames,).
    values
        Name -> (frames, ...).
    """

    times: Array
    values: Mapping[str, Array]

    def __post_init__(self) -> None:
        columns = {name: np.array(array, dtype=float) for name, array in self.values.items()}
        times = np.array(self.times, dtype=float)
        for name, array in columns.items():
            if len(array) != len(times):
                raise InputError(f"{name} has {len(array)} values, but there are {len(times)} times.")
        for array in (times, *columns.values()):
            array.setflags(write=False)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", MappingProxyType(columns))

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, name: str) -> Array:
        """Values of one quantity, (frames, ...)."""
        if name not in self.values:
            raise InputError(f"there is no {name!r}; recorded are {', '.join(self.values) or 'none'}.")
        return self.values[name]

    def after(self, time: float) -> TimeSeries:
        """The part from a time (fs) on, for instance without the equilibration."""
        keep = self.times >= time * (1.0 - 1e-12)  # times are multiples of the step up to round-off
        return TimeSeries(self.times[keep], {name: array[keep] for name, array in self.values.items()})

    def mean(self, name: str) -> Mean:
        """Mean of a quantity that is one number per frame, with an error that knows of correlations."""
        return mean_with_error(self[name])

    def plot(self, ax: Axes | None = None, names: Sequence[str] | None = None) -> Axes:
        """Draw quantities against time in ps; of vectors the length. Default: all of them."""
        ax = ax or new_axes(7, 4)
        for name in names or tuple(self.values):
            array = self[name].reshape(len(self), -1)
            ax.plot(
                1e-3 * self.times, array[:, 0] if array.shape[1] == 1 else np.linalg.norm(array, axis=1), label=name
            )
        ax.set_xlabel("time (ps)")
        ax.legend()
        return ax

    def _parts(self) -> dict[str, Any]:
        return {"times": self.times, **{f"value/{name}": array for name, array in self.values.items()}}

    @classmethod
    def _from_parts(cls, parts: dict[str, Any]) -> TimeSeries:
        names = [name for name in parts if name.startswith("value/")]
        return cls(parts["times"], {name.removeprefix("value/"): parts[name] for name in names})


def selected(atoms: Atoms, select: str | ArrayLike | None) -> NDArray[np.int64]:
    """Indices of a species, a mask, a list of indices, or by default of all atoms that carry a moment."""
    if select is None:
        return magnetic_atoms(atoms)
    if isinstance(select, str):
        chosen = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == select)
        if not len(chosen):
            raise InputError(f"there is no {select} in the structure; it has {', '.join(sorted(set(atoms.symbols)))}.")
        return chosen.astype(np.int64)
    given = np.asarray(select)
    if given.dtype == bool and given.shape == (len(atoms),) and given.any():
        return np.flatnonzero(given).astype(np.int64)
    listed = given.ndim == 1 and len(given) > 0 and np.issubdtype(given.dtype, np.integer)
    if listed and np.all((given >= 0) & (given < len(atoms))):
        return given.astype(np.int64)
    raise InputError(f"select must be a species, a mask of shape ({len(atoms)},) or indices below it; got {select!r}.")
