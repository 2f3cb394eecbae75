"""Semi-direct route: exchange of a crystal whose atoms vibrate, averaged over snapshots of direct sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel
from deepspin_ase.moments import set_moments
from deepspin_ase.progress import track
from deepspin_ase.statistics import mean_with_error
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array
from deepspin_plugins.curie.potential_sampler import PotentialSampler
from deepspin_plugins.exchange.hessian import Method
from deepspin_plugins.exchange.result import ExchangeResult
from deepspin_plugins.exchange.states import differentiate, pair_tensors
from deepspin_plugins.exchange.supercell import Supercell, SupercellLike, make_supercell
from deepspin_plugins.exchange.symmetry import symmetrised
from deepspin_plugins.exchange.tensors import exchange_tensors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SAME_DISTANCE = 0.01  # Å


@dataclass(frozen=True, eq=False)
class ThermalExchange(StoredResult):
    """Isotropic exchange averaged over vibrating atoms, E = -½ Σ_{i≠j} J_ij e_i·e_j; arrays are read-only.

    Attributes
    ----------
    temperature
        K, of the vibrations.
    cell, pbc, positions, numbers, moments
        Magnetic cell at rest and the reference state (µB, (n, 3)) about which exchange is defined.
    i, j, image
        Ordered pairs: sites and the cell of the second one, (b,), (b,), (b, 3).
    static
        J of the crystal at rest, eV, (b,).
    snapshots
        J of every snapshot, averaged over the symmetry of the crystal at rest, eV, (s, b).
    displacements
        Root mean square distance of the atoms from their sites in every snapshot, Å, (s,). Compare it with the data a
        potential was trained on; a sudden growth means that the potential has led the atoms astray.
    """

    temperature: float
    cell: Array
    pbc: NDArray[np.bool_]
    positions: Array
    numbers: NDArray[np.int64]
    moments: Array
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    image: NDArray[np.int64]
    static: Array
    snapshots: Array
    displacements: Array

    @cached_property
    def exchange(self) -> Array:
        """Mean over the snapshots, eV, (b,)."""
        return np.asarray(self.snapshots.mean(axis=0))

    @cached_property
    def errors(self) -> Array:
        """Standard errors of the means, with the correlation of successive snapshots, eV, (b,)."""
        return np.array([mean_with_error(series).error for series in self.snapshots.T])

    @property
    def atoms(self) -> Atoms:
        """The magnetic cell at rest with the moments of the reference state; a copy."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        set_moments(atoms, self.moments)
        return atoms

    def to_model(self, *, field: ArrayLike = (0, 0, 0)) -> HeisenbergModel:
        """Spin model of the mean exchange; magnitudes are those of the reference state, field in tesla, (3,)."""
        return HeisenbergModel.from_bonds(self.atoms, self._bonds(self.exchange), field=field)

    def static_model(self, *, field: ArrayLike = (0, 0, 0)) -> HeisenbergModel:
        """Spin model of the crystal at rest, for comparison."""
        return HeisenbergModel.from_bonds(self.atoms, self._bonds(self.static), field=field)

    def table(self) -> str:
        """One line per shell: J at rest, mean and its error, and the spread over snapshots, meV."""
        lines = [
            f"isotropic exchange at {self.temperature:g} K, {len(self.snapshots)} snapshots; "
            f"atoms displaced by {np.sqrt(np.mean(self.displacements**2)):.3f} Å (root mean square)",
            "  pair  distance (Å)  bonds  J at rest (meV)    J thermal (meV)  spread (meV)",
        ]
        for pair, distance, own in self._shells():
            mean = mean_with_error(self.snapshots[:, own].mean(axis=1))
            spread = self.snapshots[:, own].std(axis=0).mean()
            lines.append(
                f"{pair:>6}  {distance:12.4f}  {len(own):5d}  {1e3 * self.static[own].mean():15.4f}  "
                f"{1e3 * mean.value:8.4f} ± {1e3 * mean.error:.4f}  {1e3 * spread:12.4f}"
            )
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw J at rest and the thermal mean with errors against the distance."""
        ax = new_axes() if ax is None else ax
        distance = self._distances
        ax.plot(distance, 1e3 * self.static, "o", mfc="none", label="at rest")
        ax.errorbar(distance, 1e3 * self.exchange, 1e3 * self.errors, fmt=".", label=f"{self.temperature:g} K")
        ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(xlabel="distance at rest (Å)", ylabel="J (meV)")
        ax.legend()
        return ax

    @property
    def _distances(self) -> Array:
        vectors = self._bonds(self.static).vectors(self.positions, self.cell)
        return np.asarray(np.linalg.norm(vectors, axis=1))

    def _bonds(self, exchange: Array) -> Bonds:
        return Bonds(self.i, self.j, self.image, exchange[:, None, None] * np.eye(3))

    def _shells(self) -> list[tuple[str, float, NDArray[np.int64]]]:
        """Species, distance and bonds of every shell, by distance."""
        symbols = np.array(self.atoms.get_chemical_symbols())
        distance = self._distances
        pairs = np.array(["-".join(sorted((symbols[a], symbols[b]))) for a, b in zip(self.i, self.j, strict=True)])
        shells = []
        for pair in np.unique(pairs):
            use = np.flatnonzero(pairs == pair)
            use = use[np.argsort(distance[use], kind="stable")]
            for own in np.split(use, np.flatnonzero(np.diff(distance[use]) > _SAME_DISTANCE) + 1):
                shells.append((str(pair), float(distance[own].mean()), own))
        return sorted(shells, key=lambda shell: shell[1])


def thermal_exchange(
    atoms: Atoms,
    temperature: float,
    *,
    cutoff: float,
    supercell: SupercellLike = "auto",
    snapshots: int = 20,
    interval: int = 5,
    equilibration: int = 200,
    method: Method = "auto",
    seed: int = 0,
) -> ThermalExchange:
    """Exchange of the reference state, averaged over the positions that atoms take at a temperature.

    Parameters
    ----------
    atoms
        Magnetic cell with the moments of the reference state and a calculator with forces and magnetic forces.
    temperature
        K. Positions and directions of the moments are sampled together at this temperature, at fixed cell; then the
        moments are put back into the reference state, so that J_ij is that of ordered spins on a vibrating lattice.
    cutoff
        Longest bond at rest, Å.
    supercell
        As in ``exchange_tensors``; long waves of the lattice need a larger one than the cutoff alone.
    snapshots, interval
        Number of snapshots and sweeps between two of them.
    equilibration
        Sweeps before the first one.
    method
        Second derivatives, as in ``exchange_tensors``.
    seed
        Of the random numbers.

    Returns
    -------
    ThermalExchange
        Means with errors; ``.to_model()`` goes to Monte Carlo, :func:`thermal_exchange` at several temperatures gives
        J(T).

    Raises
    ------
    InputError
        A temperature that is not positive, fewer than two snapshots, and what ``exchange_tensors`` and
        :func:`sample_potential` refuse.

    Notes
    -----
    Only isotropic exchange is kept: what spin-orbit coupling adds is left out. Every cell of the supercell counts as a
    sample of the vibrating crystal.
    """
    if snapshots < 2 or interval < 1 or equilibration < 0:
        raise InputError(
            f"snapshots = {snapshots}, interval = {interval}, equilibration = {equilibration}; allowed: at least 2, 1 "
            "and 0."
        )
    rest = exchange_tensors(atoms, cutoff=cutoff, supercell=supercell, method=method, spin_orbit=False)
    big = make_supercell(atoms, supercell, cutoff)
    big.atoms.calc = atoms.calc
    sampler = PotentialSampler(big.atoms, [temperature], lattice=True, tempering=0, seed=seed)
    sampler.thermalize(equilibration)
    found, displacements = [], []
    for _ in track(range(snapshots), "exchange of snapshots"):
        sampler.run(interval)
        positions = sampler.structure(0).positions
        away = positions - big.atoms.positions
        displacements.append(np.linalg.norm(away - away.mean(axis=0)) / np.sqrt(len(away)))
        found.append(_snapshot(rest, big, positions, atoms.calc, method))
    static = symmetrised(rest)
    return ThermalExchange(
        temperature=float(temperature),
        cell=rest.cell,
        pbc=rest.pbc,
        positions=rest.positions,
        numbers=rest.numbers,
        moments=rest.moments,
        i=rest.bonds.i,
        j=rest.bonds.j,
        image=rest.bonds.image,
        static=static.isotropic,
        snapshots=np.array(found),
        displacements=np.array(displacements),
    )


def _snapshot(rest: ExchangeResult, big: Supercell, positions: Array, calculator: Any, method: Method) -> Array:
    """J of every bond of ``rest``, eV, (b,): mean over the cells of a displaced supercell and over symmetry."""
    moved = big.atoms.copy()
    moved.positions = positions
    rows = np.flatnonzero(rest.magnetic[big.site])
    state = differentiate(replace(big, atoms=moved), rest.magnetic, rows, calculator, method=method)
    tensors, _ = pair_tensors([state], big.site)
    row, atom, offset, vector, weight = big.images(rows)
    keep = rest.magnetic[big.site[atom]] & (atom != rows[row])
    keep &= np.linalg.norm(vector, axis=1) <= rest.cutoff + 1e-3
    row, atom, offset, weight = row[keep], atom[keep], offset[keep], weight[keep]
    keys = np.column_stack([big.site[rows[row]], big.site[atom], offset])
    listed = np.column_stack([rest.bonds.i, rest.bonds.j, rest.bonds.image])
    _, number = np.unique(np.concatenate([listed, keys]), axis=0, return_inverse=True)
    number = number.reshape(-1)
    place = np.empty(number.max() + 1, dtype=np.int64)
    place[number[: len(listed)]] = np.arange(len(listed))
    bond = place[number[len(listed) :]]
    scalar = np.trace(tensors[row, atom], axis1=1, axis2=2) / 3 * weight
    mean = np.bincount(bond, scalar, len(listed)) / np.bincount(bond, minlength=len(listed))
    bonds = Bonds(rest.bonds.i, rest.bonds.j, rest.bonds.image, _even(mean, listed)[:, None, None] * np.eye(3))
    return symmetrised(replace(rest, bonds=bonds)).isotropic


def _even(values: Array, listed: NDArray[np.int64]) -> Array:
    """Mean with the value of the reverse bond; both see the same pairs of atoms."""
    reverse = np.column_stack([listed[:, 1], listed[:, 0], -listed[:, 2:]])
    partner = np.empty(len(listed), dtype=np.int64)
    partner[np.lexsort(reverse.T[::-1])] = np.arange(len(listed))
    return np.asarray((values + values[partner]) / 2)
