"""∂J/∂R: how all exchange constants around an atom change when it is displaced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.hessian import Method, calculator_of
from deepspin_plugins.exchange.states import State, differentiate
from deepspin_plugins.exchange.supercell import Supercell, SupercellLike, make_supercell
from deepspin_plugins.exchange.tensors import magnetic_atoms, refuse_field

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARGIN = 1.5  # the images of the displaced atom move along: keep them away


@dataclass(frozen=True, eq=False)
class ExchangeGradient(StoredResult):
    """∂J_ij/∂R_k for one displaced atom k; arrays are read-only.

    Attributes
    ----------
    atom
        The displaced atom k.
    i, j
        Atoms of the cell at the ends of each bond, (b,).
    offset_i, offset_j
        Cells they are in, with atom k in cell (0, 0, 0), (b, 3).
    species
        Species of both ends, b pairs.
    vectors
        From i to j before the displacement, Å, (b, 3).
    midpoints
        Middle of the bond as seen from atom k, Å, (b, 3).
    exchange
        J at rest, eV, (b,).
    gradient
        ∂J_ij/∂R_k, eV/Å, (b, 3).
    errors
        Error of a component, eV/Å, (b,): twice against once the step.
    """

    atom: int
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    offset_i: NDArray[np.int64]
    offset_j: NDArray[np.int64]
    species: tuple[tuple[str, str], ...]
    vectors: Array
    midpoints: Array
    exchange: Array
    gradient: Array
    errors: Array

    @property
    def ends(self) -> NDArray[np.bool_]:
        """Which bonds begin or end at the displaced atom, (b,)."""
        at_i = (self.i == self.atom) & ~self.offset_i.any(axis=1)
        return at_i | ((self.j == self.atom) & ~self.offset_j.any(axis=1))

    def table(self, rows: int = 20) -> str:
        """The bonds with the largest gradients."""
        size = np.linalg.norm(self.gradient, axis=1)
        lines = ["  pair  distance (Å)  from atom to middle (Å)    J (meV)        dJ/dR (meV/Å)              error"]
        for b in np.argsort(-size, kind="stable")[:rows]:
            pair = "-".join(self.species[b])
            distance, away = np.linalg.norm(self.vectors[b]), np.linalg.norm(self.midpoints[b])
            vector = " ".join(f"{1e3 * x + 0.0:9.4f}" for x in self.gradient[b])
            numbers = f"{distance:12.4f}  {away:23.4f}  {1e3 * self.exchange[b]:9.4f}"
            lines.append(f"{pair:>6}  {numbers}  {vector}  {1e3 * self.errors[b]:.1e}")
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw |∂J/∂R| against the distance between the displaced atom and the middle of the bond."""
        ax = ax or new_axes()
        away = np.linalg.norm(self.midpoints, axis=1)
        size = 1e3 * np.linalg.norm(self.gradient, axis=1)
        for own, label in ((self.ends, "bonds of the atom"), (~self.ends, "other bonds")):
            ax.plot(away[own], size[own], ".", label=label)
        ax.set_xlabel("from the displaced atom to the middle of the bond (Å)")
        ax.set_ylabel("|∂J/∂R| (meV/Å)")
        ax.legend()
        return ax


def exchange_gradient(
    atoms: Atoms,
    calc: Any = None,
    *,
    atom: int,
    cutoff: float,
    supercell: SupercellLike = "auto",
    step: float = 0.01,
    method: Method = "auto",
    minimum_moment: float = 0.05,
) -> ExchangeGradient:
    """∂J_ij/∂R_k: the change of all exchange constants around one atom when it is displaced.

    Parameters
    ----------
    atoms, calc, supercell, method, minimum_moment
        As in :func:`exchange_tensors`.
    atom
        The displaced atom k, magnetic or not (an oxygen that carries superexchange, say).
    cutoff
        Longest bond, and how far from atom k its nearer end may be, Å.
    step
        Displacement, Å.

    Returns
    -------
    ExchangeGradient
        Each bond once. Isotropic exchange is taken from the part of the tensor across the moments.

    Notes
    -----
    Central differences to fourth order: twelve Hessians. Periodic images of atom k move along, so the supercell has to
    be larger than for J alone; the automatic one is made for 1.5 times the cutoff.
    """
    calculator = calculator_of(atoms, calc)
    if not 0 <= atom < len(atoms):
        raise InputError(f"atom = {atom}; allowed: 0 to {len(atoms) - 1}.")
    if not np.isfinite(step) or step <= 0.0:
        raise InputError(f"step = {step}; it must be a positive number of Å.")
    magnetic = magnetic_atoms(atoms, minimum_moment)
    refuse_field(calculator)
    roomy = _MARGIN * cutoff if isinstance(supercell, str) else cutoff
    big = make_supercell(atoms, supercell, roomy)
    _, near_atom, _, near_vector, _ = big.images(np.array([atom]))
    close = np.linalg.norm(near_vector, axis=1) <= cutoff
    rows = np.unique(near_atom[close & magnetic[big.site[near_atom]]])
    row, other, offset, vector, weight = big.images(rows)
    keep = magnetic[big.site[other]] & (other != rows[row]) & (np.linalg.norm(vector, axis=1) <= cutoff)
    keep &= ~np.isin(other, rows) | (rows[row] < other)  # each bond once
    row, other, offset, vector, weight = (x[keep] for x in (row, other, offset, vector, weight))

    def values(displacement: Array) -> Array:
        moved = big.atoms.copy()
        moved.positions[atom] += displacement
        state = differentiate(replace(big, atoms=moved), magnetic, rows, calculator, method=method)
        return _isotropic(state, big)[row, other] * weight

    gradient, coarse = np.zeros((2, len(row), 3))
    for axis in track(range(3), "Displacements"):
        unit = np.eye(3)[axis]
        half, full = (values(h * unit) - values(-h * unit) for h in (step / 2, step))
        coarse[:, axis] = full / (2 * step)
        gradient[:, axis] = (4 * half / step - coarse[:, axis]) / 3
    symbols = np.array(atoms.get_chemical_symbols())
    first, second = big.site[rows[row]], big.site[other]
    start = _nearest(near_atom, near_vector)[rows[row]]
    shift = np.linalg.solve(atoms.cell.complete().T, (start - atoms.positions[first] + atoms.positions[atom]).T).T
    offset_i = np.rint(shift).astype(np.int64)
    return ExchangeGradient(
        atom=int(atom),
        i=first,
        j=second,
        offset_i=offset_i,
        offset_j=offset_i + offset,
        species=tuple(zip(symbols[first].tolist(), symbols[second].tolist(), strict=True)),
        vectors=vector,
        midpoints=start + vector / 2,
        exchange=values(np.zeros(3)),
        gradient=gradient,
        errors=np.abs(gradient - coarse).max(axis=1, initial=0.0),
    )


def _isotropic(state: State, big: Supercell) -> Array:
    """J of all pairs, eV, (r, N): the multiple of P_i P_j that is closest to what the state shows."""
    seen = np.einsum("iab,jbc->ijac", state.projector[big.site[state.rows]], state.projector)[:, big.site]
    return np.asarray(np.einsum("ijab,ijab->ij", state.across, seen) / np.einsum("ijab,ijab->ij", seen, seen))


def _nearest(atom: NDArray[np.int64], vector: Array) -> Array:
    """One of the nearest images of every atom, (N, 3)."""
    _, first = np.unique(atom, return_index=True)
    return vector[first]
