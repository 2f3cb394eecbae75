"""Exchange against distance: J of every bond while the crystal is strained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.exchange.hessian import Method, calculator_of
from deepspin_plugins.exchange.result import ExchangeResult
from deepspin_plugins.exchange.supercell import SupercellLike, make_supercell
from deepspin_plugins.exchange.tensors import exchange_tensors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALLEST_SLOPE = 1e-6  # Å per unit strain: shorter changes of a distance give no slope


@dataclass(frozen=True, eq=False)
class StrainedExchange(StoredResult):
    """Isotropic exchange of the same bonds at several strains; arrays are read-only.

    Attributes
    ----------
    strains
        (k,).
    species
        Species of both ends, (b, 2).
    distances
        Å, (k, b).
    exchange
        J, eV, (k, b).
    """

    strains: Array
    species: tuple[tuple[str, str], ...]
    distances: Array
    exchange: Array

    @property
    def slopes(self) -> tuple[Array, Array]:
        """dJ/dr at zero strain and its standard error, eV/Å, (b,), from a polynomial; NaN if a distance stays."""
        return _slopes(self.strains, self.distances, self.exchange)

    def table(self, tolerance: float = 0.01) -> str:
        """J and dJ/dr per shell at the strain closest to zero."""
        at = int(np.argmin(np.abs(self.strains)))
        slope, error = self.slopes
        lines = ["  pair  distance (Å)  bonds      J (meV)    dJ/dr (meV/Å)"]
        for pair, own in _groups(self.species, self.distances[at], tolerance):
            number = f"{1e3 * slope[own].mean():10.3f} ± {1e3 * error[own].max():.3f}"
            values = (
                f"{self.distances[at, own].mean():12.4f}  {len(own):5d}  {1e3 * self.exchange[at, own].mean():11.4f}"
            )
            lines.append(f"{pair:>6}  {values}  {number}")
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw J of every bond against its distance, one line per bond through all strains."""
        ax = ax or new_axes()
        for number, pair in enumerate(sorted({"-".join(sorted(pair)) for pair in self.species})):
            own = np.array(["-".join(sorted(p)) == pair for p in self.species])
            lines = ax.plot(self.distances[:, own], 1e3 * self.exchange[:, own], ".-", color=f"C{number}", lw=0.8)
            lines[0].set_label(pair)
        ax.set_xlabel("distance (Å)")
        ax.set_ylabel("J (meV)")
        ax.legend()
        return ax


def exchange_under_strain(
    atoms: Atoms,
    calc: Any = None,
    *,
    cutoff: float,
    strains: Sequence[float] = (-0.02, -0.01, 0.0, 0.01, 0.02),
    direction: ArrayLike = ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    supercell: SupercellLike = "auto",
    method: Method = "auto",
) -> StrainedExchange:
    """Isotropic exchange of every bond while the crystal is strained, moments fixed.

    Parameters
    ----------
    atoms, calc, supercell, method
        As in :func:`exchange_tensors`.
    cutoff
        Longest bond of the structure without strain, Å.
    strains
        Strains ε; the cell becomes cell·(1 + ε·direction) and atoms move along.
    direction
        Symmetric (3, 3) tensor; default the same strain in all directions.

    Raises
    ------
    InputError
        Fewer than three different strains, a direction that is no symmetric tensor.
    """
    shape, values = as_finite(direction, "direction"), as_finite(strains, "strains")
    if shape.shape != (3, 3) or not np.allclose(shape, shape.T) or not shape.any():
        raise InputError(f"direction has shape {shape.shape}; allowed: a symmetric (3, 3) tensor that is not zero.")
    if values.ndim != 1 or len(np.unique(values)) < 3:
        raise InputError(f"strains = {values.tolist()}; at least three different ones are needed for a slope.")
    calculator = calculator_of(atoms, calc)
    eigenvalues = np.linalg.eigvalsh(shape)
    longest = float(np.max(np.outer(values, eigenvalues)))
    widest = (1 + max(longest, 0.0)) / (1 + min(float(np.min(np.outer(values, eigenvalues))), 0.0))
    matrix = make_supercell(atoms, supercell, cutoff * widest).matrix
    rest = exchange_tensors(atoms, calculator, cutoff=cutoff, supercell=matrix, method=method)
    wanted = np.column_stack([rest.bonds.i, rest.bonds.j, rest.bonds.image])
    distances, exchange = [], []
    for strain in track(values, "Strains"):
        deformed = atoms.copy()
        deformed.set_cell(atoms.cell.array @ (np.eye(3) + strain * shape), scale_atoms=True)
        reach = cutoff * (1 + float((strain * eigenvalues).max()))
        found = exchange_tensors(
            deformed, calculator, cutoff=reach, supercell=matrix, method=method, spin_orbit=rest.spin_orbit
        )
        pick = _find(found, wanted)
        distances.append(found.distances[pick])
        exchange.append(found.isotropic[pick])
    symbols = np.array(rest.symbols)
    species = tuple(zip(symbols[rest.bonds.i].tolist(), symbols[rest.bonds.j].tolist(), strict=True))
    return StrainedExchange(values, species, np.array(distances), np.array(exchange))


def _find(result: ExchangeResult, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of every wanted bond (i, j, S) in a result."""
    keys = np.ascontiguousarray(np.column_stack([result.bonds.i, result.bonds.j, result.bonds.image]))
    place = {key.tobytes(): number for number, key in enumerate(keys)}
    try:
        return np.array([place[key.tobytes()] for key in np.ascontiguousarray(wanted)], dtype=np.int64)
    except KeyError:
        raise InputError(
            "a bond near the border of the supercell is not the nearest image at every strain; lower the cutoff a "
            "little, or take a larger supercell."
        ) from None


def _slopes(strains: Array, distances: Array, exchange: Array) -> tuple[Array, Array]:
    """dJ/dr and its error from dJ/dε and dr/dε."""
    degree = min(len(np.unique(strains)) - 2, 3)
    design = np.vander(strains, degree + 1, increasing=True)
    inverse = np.linalg.pinv(design)
    rate = inverse @ exchange
    residual = exchange - design @ rate
    free = max(len(strains) - degree - 1, 1)
    error = np.sqrt((residual**2).sum(axis=0) / free * (inverse[1] ** 2).sum())
    stretch = (inverse @ distances)[1]
    stretch = np.where(np.abs(stretch) > _SMALLEST_SLOPE, stretch, np.nan)
    return rate[1] / stretch, error / np.abs(stretch)


def _groups(
    species: tuple[tuple[str, str], ...], distance: Array, tolerance: float
) -> list[tuple[str, NDArray[np.int64]]]:
    """Bonds of every shell, by pair of species and distance."""
    names = np.array(["-".join(sorted(pair)) for pair in species])
    found = []
    for name in np.unique(names):
        use = np.flatnonzero(names == name)
        use = use[np.argsort(distance[use], kind="stable")]
        jumps = np.flatnonzero(np.diff(distance[use]) > tolerance) + 1
        found += [(str(name), use[a:b]) for a, b in pairwise([0, *jumps.tolist(), len(use)])]
    return sorted(found, key=lambda group: float(distance[group[1]].mean()))
