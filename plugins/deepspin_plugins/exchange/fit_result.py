"""Exchange constants from a fit, with their errors and what the fit leaves unexplained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel
from deepspin_ase.heisenberg.spins import directions
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array, as_finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BONDS = ("i", "j", "image", "tensor")
_SITES = ("cell", "pbc", "positions", "numbers", "magnitudes", "anisotropy", "field")


@dataclass(frozen=True, eq=False)
class FitResult(StoredResult):
    """Constants per neighbour shell in the convention of ``docs/conventions.md``; arrays are read-only.

    Attributes
    ----------
    reference
        Crystal, mean lengths of the moments and bonds; its tensors are those of r̂_ij·(e_i x e_j).
    shell
        Shell of every bond, (b,).
    species, distances, multiplicities
        Of every shell: the two species, Å, neighbours per atom of the first species.
    exchange, exchange_errors
        J, eV, (s,): J > 0 is ferromagnetic, each bond counted once. Errors are jackknife standard errors.
    biquadratic, biquadratic_errors
        B of -½ Σ B (e_i·e_j)², eV, (s,); zero if it was not fitted.
    dmi, dmi_errors
        d of D_ij = d r̂_ij, eV, (s,); zero if it was not fitted.
    ridge
        Penalty that was used.
    frames
        Number of frames.
    rmse_energy, rmse_force
        Residuals: eV per magnetic atom, and eV/µB per component of the magnetic force across the moment.
    explained_energy, explained_force
        Fraction of the labels' variance that the model explains; NaN where there are no labels.
    """

    reference: HeisenbergModel
    shell: NDArray[np.int64]
    species: tuple[tuple[str, str], ...]
    distances: Array
    multiplicities: Array
    exchange: Array
    exchange_errors: Array
    biquadratic: Array
    biquadratic_errors: Array
    dmi: Array
    dmi_errors: Array
    ridge: float
    frames: int
    rmse_energy: float
    rmse_force: float
    explained_energy: float
    explained_force: float

    def to_model(self, moments: ArrayLike | None = None) -> HeisenbergModel:
        """Spin model on the reference crystal.

        Parameters
        ----------
        moments
            Only with biquadratic terms: the collinear state, (n, 3), about which they are expanded. J + 2 B (e_i·e_j)
            has the same second derivatives there.

        Raises
        ------
        InputError
            There are biquadratic terms, and moments are missing or not collinear.
        """
        bonds = self.reference.bonds
        scalar = self.exchange[self.shell]
        if self.biquadratic.any():
            scalar = scalar + 2 * self.biquadratic[self.shell] * self._cosines(moments)
        tensor = scalar[:, None, None] * np.eye(3) + self.dmi[self.shell][:, None, None] * bonds.tensor
        return replace(self.reference, bonds=Bonds(bonds.i, bonds.j, bonds.image, tensor))

    def _cosines(self, moments: ArrayLike | None) -> Array:
        if moments is None:
            raise InputError(
                "the fit has biquadratic terms, which a Heisenberg model cannot hold; give the collinear state about "
                "which to expand them, to_model(moments)."
            )
        given = as_finite(moments, "moments")
        if given.shape != (len(self.reference), 3):
            raise InputError(f"moments have shape {given.shape}; allowed: ({len(self.reference)}, 3).")
        _, e = directions(given)
        cosine = np.einsum("ba,ba->b", e[self.reference.bonds.i], e[self.reference.bonds.j])
        if np.abs(np.abs(cosine) - 1).max() > 1e-6:
            raise InputError("moments are not collinear; biquadratic terms can only be expanded about such a state.")
        return cosine

    def table(self) -> str:
        """Constants with errors per shell, and how well they describe the labels."""
        terms: list[tuple[str, Array, Array]] = [("J", self.exchange, self.exchange_errors)]
        terms += [("B", self.biquadratic, self.biquadratic_errors)] if self.biquadratic.any() else []
        terms += [("d", self.dmi, self.dmi_errors)] if self.dmi.any() else []
        head = "shell   pair  distance (Å)  bonds per atom" + "".join(f"{f'{name} (meV)':>22}" for name, _, _ in terms)
        lines = [head]
        for s, pair in enumerate(self.species):
            constants = "".join(f"{1e3 * v[s]:12.4f} ± {1e3 * e[s]:7.4f}" for _, v, e in terms)
            bonds = f"{self.multiplicities[s]:g}"
            lines.append(f"{s + 1:5d} {'-'.join(pair):>6}  {self.distances[s]:12.4f}  {bonds:>14}{constants}")
        lines.append(
            f"{self.frames} frames, ridge {self.ridge:.1e}; residuals {1e3 * self.rmse_energy:.4f} meV per magnetic "
            f"atom and {1e3 * self.rmse_force:.4f} meV/µB across the moments; explained variance "
            f"{self.explained_energy:.5f} and {self.explained_force:.5f}"
        )
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw J (and B, d if there are any) with errors against the distance."""
        ax = ax or new_axes()
        parts: Sequence[tuple[str, Array, Array, str]] = (
            ("J", self.exchange, self.exchange_errors, "o"),
            ("B", self.biquadratic, self.biquadratic_errors, "^"),
            ("d", self.dmi, self.dmi_errors, "s"),
        )
        for name, values, errors, marker in parts:
            for number, pair in enumerate(sorted(set(self.species))):
                own = [s for s, species in enumerate(self.species) if species == pair]
                if name != "J" and not values[own].any():
                    continue
                label = f"{'-'.join(pair)} {name}"
                y, error = 1e3 * values[own], 1e3 * errors[own]
                ax.errorbar(self.distances[own], y, error, fmt=marker, color=f"C{number}", capsize=3, label=label)
        ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set_xlabel("distance (Å)")
        ax.set_ylabel("J, B, d (meV)")
        ax.legend()
        return ax

    def _parts(self) -> dict[str, Any]:
        parts = super()._parts() | {f"bond_{name}": getattr(self.reference.bonds, name) for name in _BONDS}
        parts |= {f"site_{name}": getattr(self.reference, name) for name in _SITES}
        del parts["reference"]
        return parts

    @classmethod
    def _from_parts(cls, parts: dict[str, Any]) -> FitResult:
        bonds = Bonds(*(parts.pop(f"bond_{name}") for name in _BONDS))
        sites = {name: parts.pop(f"site_{name}") for name in _SITES}
        return cls(**parts, reference=HeisenbergModel(bonds=bonds, **sites))
