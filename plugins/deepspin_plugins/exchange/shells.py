"""Exchange per neighbour shell: averages, spread, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from deepspin_plugins.exchange.result import ExchangeResult

_COLUMNS = ("shell", "pair", "distance", "bonds", "J", "spread", "|D|", "|J^S|", "error")
_UNITS = ("", "", "Å", "per atom", *("meV",) * 5)


@dataclass(frozen=True)
class Shell:
    """One neighbour shell of one pair of species. Energies in eV, internal convention, mean over the bonds.

    Attributes
    ----------
    species
        The two species.
    distance
        Å.
    multiplicity
        Neighbours of the second species per atom of the first (a mean if the atoms differ).
    exchange
        Isotropic J.
    spread
        Largest deviation of an isotropic J of this shell from that mean.
    dmi
        Length of the Dzyaloshinskii-Moriya vector.
    symmetric
        Norm (largest eigenvalue in size) of the symmetric anisotropic part.
    error
        Largest error of a tensor, see ``ExchangeResult.errors``.
    """

    species: tuple[str, str]
    distance: float
    multiplicity: float
    exchange: float
    spread: float
    dmi: float
    symmetric: float
    error: float


def group_shells(result: ExchangeResult, tolerance: float) -> tuple[Shell, ...]:
    """Shells of a result, by distance; distances closer than ``tolerance`` (Å) belong together."""
    symbols = np.array(result.symbols)
    first, second = symbols[result.bonds.i], symbols[result.bonds.j]
    distance = result.distances
    size = np.abs(np.linalg.eigvalsh(result.symmetric)).max(axis=1, initial=0.0)
    dmi = np.linalg.norm(result.dmi, axis=1)
    shells = []
    for a, b in sorted({(str(x), str(y)) for x, y in zip(first, second, strict=True) if x <= y}):
        use = np.flatnonzero((first == a) & (second == b))
        use = use[np.argsort(distance[use], kind="stable")]
        atoms = np.count_nonzero((symbols == a) & result.magnetic)
        jumps = np.flatnonzero(np.diff(distance[use]) > tolerance) + 1
        for start, stop in pairwise([0, *jumps.tolist(), len(use)]):
            own = use[start:stop]
            mean = float(result.isotropic[own].mean())
            shells.append(
                Shell(
                    species=(a, b),
                    distance=float(distance[own].mean()),
                    multiplicity=float(len(own) / atoms),
                    exchange=mean,
                    spread=float(np.abs(result.isotropic[own] - mean).max()),
                    dmi=float(dmi[own].mean()),
                    symmetric=float(size[own].mean()),
                    error=float(result.errors[own].max()),
                )
            )
    return tuple(sorted(shells, key=lambda shell: (round(shell.distance, 6), shell.species)))


def shell_table(shells: Sequence[Shell]) -> str:
    """Text table of shells, one line each, energies in meV."""
    rows: list[tuple[str, ...]] = [_COLUMNS, _UNITS]
    for number, shell in enumerate(shells, start=1):
        energies = (shell.exchange, shell.spread, shell.dmi, shell.symmetric)
        rows.append(
            (
                str(number),
                "-".join(shell.species),
                f"{shell.distance:.4f}",
                f"{shell.multiplicity:g}",
                *(f"{1e3 * value:.4f}" for value in energies),
                f"{1e3 * shell.error:.1e}",
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(_COLUMNS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
