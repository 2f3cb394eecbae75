"""Exchange tensors, single-ion anisotropy and how they were found: the result of ``exchange_tensors``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.heisenberg import Bonds, HeisenbergModel, dm_tensor, dm_vector
from deepspin_ase.moments import set_moments
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.shells import Shell, group_shells, shell_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BOND_ARRAYS = ("i", "j", "image", "tensor")


@dataclass(frozen=True, eq=False)
class ExchangeResult(StoredResult):
    """Exchange of a crystal in the convention E = -½ Σ_{i≠j} e_i·J_ij·e_j - Σ_i e_i·K_i·e_i; arrays are read-only.

    Attributes
    ----------
    cell, pbc, positions, numbers, moments
        The structure and the state (µB, (n, 3)) at which the energy was differentiated.
    magnetic
        Which atoms are sites of the spin model, (n,).
    bonds
        Ordered pairs with tensors J_ij, eV.
    errors
        Error of each tensor, eV, (b,): from finite differences, from states that do not agree, from J_ij - J_jiᵀ.
    anisotropy
        K_i without its trace, eV, (n, 3, 3).
    onsite
        On-site curvature |m_i|² P_i [H_ii + (F^m_i·m̂_i)/|m_i|] P_i, eV, (n, 3, 3).
    cutoff
        Longest bond, Å.
    supercell
        Vectors of the supercell in those of the cell, (3, 3).
    beyond
        Largest |J| of a pair in the supercell that is longer than the cutoff, eV: what has been left out.
    spin_orbit
        Whether the energy changes when all moments turn together.
    method
        How second derivatives were made.
    """

    cell: Array
    pbc: NDArray[np.bool_]
    positions: Array
    numbers: NDArray[np.int64]
    moments: Array
    magnetic: NDArray[np.bool_]
    bonds: Bonds
    errors: Array
    anisotropy: Array
    onsite: Array
    cutoff: float
    supercell: NDArray[np.int64]
    beyond: float
    spin_orbit: bool
    method: str

    def __len__(self) -> int:
        return len(self.bonds)

    @property
    def atoms(self) -> Atoms:
        """The structure with the moments of the reference state; a copy."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        set_moments(atoms, self.moments)
        return atoms

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols, length n."""
        return tuple(Atoms(numbers=self.numbers).get_chemical_symbols())

    @cached_property
    def vectors(self) -> Array:
        """Bond vectors from i to j, Å, (b, 3)."""
        return self.bonds.vectors(self.positions, self.cell)

    @cached_property
    def distances(self) -> Array:
        """Lengths of the bonds, Å, (b,)."""
        return np.asarray(np.linalg.norm(self.vectors, axis=1))

    @cached_property
    def isotropic(self) -> Array:
        """Isotropic exchange J = tr(J_ij)/3, eV, (b,)."""
        return np.asarray(np.trace(self.bonds.tensor, axis1=1, axis2=2) / 3)

    @cached_property
    def dmi(self) -> Array:
        """Dzyaloshinskii-Moriya vectors D_ij, eV, (b, 3); E = -½ Σ D_ij·(e_i x e_j)."""
        return dm_vector(self.bonds.tensor)

    @cached_property
    def symmetric(self) -> Array:
        """Symmetric traceless part of J_ij, eV, (b, 3, 3)."""
        return self.bonds.tensor - dm_tensor(self.dmi) - self.isotropic[:, None, None] * np.eye(3)

    def shells(self, tolerance: float = 0.01) -> tuple[Shell, ...]:
        """Averages per neighbour shell; distances closer than ``tolerance`` (Å) belong to one shell."""
        return group_shells(self, tolerance)

    def table(self, tolerance: float = 0.01) -> str:
        """Table of the shells, of the anisotropy if there is any, and of what limits the accuracy."""
        magnetic = np.count_nonzero(self.magnetic)
        lines = [
            "E = -1/2 sum_{i!=j} e_i J_ij e_j - sum_i e_i K_i e_i, unit vectors; J > 0 is ferromagnetic",
            shell_table(self.shells(tolerance)),
        ]
        lines += [
            f"anisotropy of atom {site} ({self.symbols[site]}), eigenvalues of K: "
            + " ".join(f"{1e3 * value:.5f}" for value in np.linalg.eigvalsh(self.anisotropy[site]))
            + " meV"
            for site in np.flatnonzero(self.anisotropy.any(axis=(1, 2)))
        ]
        copies = round(abs(np.linalg.det(self.supercell)))
        lines += [
            f"{magnetic} magnetic atoms of {len(self.numbers)}; second derivatives: {self.method}; "
            f"{'with' if self.spin_orbit else 'no'} spin-orbit coupling",
            f"supercell of {copies} cells {self.supercell.tolist()}; largest |J| left out beyond {self.cutoff:g} Å: "
            f"{1e3 * self.beyond:.4f} meV",
        ]
        return "\n".join(lines)

    def to_model(self, *, field: ArrayLike = (0, 0, 0)) -> HeisenbergModel:
        """Spin model with these tensors.

        Parameters
        ----------
        field
            B, tesla, (3,).

        Returns
        -------
        HeisenbergModel
            On all atoms; those that are not magnetic have magnitude zero. Magnitudes are those of the reference state.
        """
        lengths = np.where(self.magnetic, np.linalg.norm(self.moments, axis=1), 0.0)
        return HeisenbergModel.from_bonds(
            self.atoms, self.bonds, anisotropy=self.anisotropy, field=field, magnitudes=lengths
        )

    def within(self, cutoff: float) -> ExchangeResult:
        """The same without bonds longer than ``cutoff`` (Å); the largest |J| of those counts as left out."""
        keep = self.distances <= cutoff
        beyond = float(np.abs(self.isotropic[~keep]).max(initial=self.beyond))
        arrays = (getattr(self.bonds, name)[keep] for name in _BOND_ARRAYS)
        return replace(self, bonds=Bonds(*arrays), errors=self.errors[keep], cutoff=float(cutoff), beyond=beyond)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw J against the distance, by pair of species, and |D| where there is any.

        Parameters
        ----------
        ax
            Axes to draw in; new ones by default.
        """
        ax = ax or new_axes()
        shells = self.shells()
        for number, pair in enumerate(sorted({shell.species for shell in shells})):
            own = [shell for shell in shells if shell.species == pair]
            draw_shells(ax, own, "-".join(pair), f"C{number}")
        ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set_xlabel("distance (Å)")
        ax.set_ylabel("J, |D| (meV)")
        if shells:
            ax.legend()
        return ax

    def _parts(self) -> dict[str, Any]:
        parts = super()._parts() | {f"bond_{name}": getattr(self.bonds, name) for name in _BOND_ARRAYS}
        del parts["bonds"]
        return parts

    @classmethod
    def _from_parts(cls, parts: dict[str, Any]) -> ExchangeResult:
        bonds = Bonds(*(parts.pop(f"bond_{name}") for name in _BOND_ARRAYS))
        return cls(**parts, bonds=bonds)


def draw_shells(ax: Axes, shells: Sequence[Shell], label: str, colour: str) -> None:
    """Isotropic J of shells with their spread as bars, and |D| as open squares if any is above 1 µeV."""
    distance = [shell.distance for shell in shells]
    spread = [1e3 * shell.spread for shell in shells]
    values = [1e3 * shell.exchange for shell in shells]
    ax.errorbar(distance, values, spread, fmt="o", color=colour, capsize=3, label=f"{label} J")
    if any(shell.dmi > 1e-6 for shell in shells):
        ax.plot(distance, [1e3 * shell.dmi for shell in shells], "s", mfc="none", color=colour, label=f"{label} |D|")
