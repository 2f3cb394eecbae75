"""The input file of one ABINIT calculation with constrained moments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_plugins.labelers.abinit_settings import AbinitSettings, valence_electrons

Value = str | float | int


def abinit_input(atoms: Atoms, settings: AbinitSettings, changes: Mapping[str, Value] | None = None) -> str:
    """Text of the input file.

    The eigensolver is LOBPCG with all bands in one block: the default (conjugate gradients, band by band) leaves
    residuals that keep the constraint from converging, and a border between blocks close to the Fermi level leaves
    states that hardly change the energy but the stress by up to 6 %.

    Parameters
    ----------
    atoms
        Periodic structure; its moments are the target.
    settings
        What the labels depend on.
    changes
        Variables that differ, for another attempt; ``settings.extra`` has the last word.

    Raises
    ------
    InputError
        Not periodic, or an element that the settings do not cover.
    """
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise InputError("ABINIT needs a structure that is periodic in three directions")
    if atoms.cell.volume > 0 > np.linalg.det(atoms.cell.array):
        raise InputError("the cell vectors are left-handed, which ABINIT refuses; reverse all three")
    symbols = list(dict.fromkeys(atoms.symbols))
    files = [settings.pseudopotential(symbol) for symbol in symbols]
    electrons = {symbol: valence_electrons(file) for symbol, file in zip(symbols, files, strict=True)}
    moments = get_moments(atoms)
    total = sum(electrons[symbol] for symbol in atoms.symbols)
    spin = spin_frame(moments)
    if spin.rank > 1 or settings.constraint == "directions":
        bands = 2 * (math.ceil(total / 2) + settings.empty_bands * len(atoms))  # of spinors: ABINIT refuses odd numbers
        spins = {"nsppol": "1", "nspinor": "2", "nspden": "4", "pawspnorb": "0", "kptopt": "3", "nsym": "1"}
    else:
        majority = (total + np.linalg.norm(moments, axis=1).sum()) / 2
        bands = math.ceil(majority) + settings.empty_bands * len(atoms)
        spins = {"nsppol": "2", "nspinor": "1", "nspden": "2", "kptopt": "1"}
    numbers = [int(atoms.numbers[list(atoms.symbols).index(symbol)]) for symbol in symbols]
    variables: dict[str, str] = {
        "natom": str(len(atoms)),
        "ntypat": str(len(symbols)),
        "typat": _numbers([symbols.index(s) + 1 for s in atoms.symbols]),
        "znucl": _numbers(numbers),
        "acell": "3*1.0 Angstrom",
        "rprim": _rows(atoms.cell.array),
        "xred": _rows(atoms.get_scaled_positions(wrap=False)),
        "spinat": _rows(spin.to_frame(moments)),
        "ngkpt": _numbers(kmesh(atoms.cell.array, settings.kspacing)),
        "nshiftk": "1",
        "shiftk": _numbers(settings.shift),
        "chkprim": "0",
        "chksymtnons": "0",
        **spins,
        "ecut": repr(settings.ecut),
        "pawecutdg": repr(settings.pawecutdg),
        "pawxcdev": "0",
        "occopt": str(settings.occopt),
        "tsmear": repr(settings.tsmear),
        "nband": str(bands),
        "paral_kgb": "1",
        "wfoptalg": "114",
        "bandpp": str(bands),
        "nline": "2",
        "fftalg": "401",
        "constraint_kind": _numbers(constraint_kinds(atoms, symbols, settings)),
        "magcon_lambda": "0.02",
        "ratsph": _numbers([settings.sphere_radius(symbol) for symbol in symbols]),
        "ratsm": repr(settings.sphere_smearing),
        "iscf": "7",
        "nstep": str(settings.nstep),
        "tolvrs": repr(settings.tolvrs * len(atoms)),
        "optforces": "1",
        **{name: "0" for name in ("prtwf", "prtden", "prteig", "prtgsr", "prtebands")},
    }
    variables |= {name: str(value) for name, value in {**(changes or {}), **settings.extra}.items()}
    lines = [f"{name} {value}" for name, value in variables.items()]
    lines.append(f'pp_dirpath ""\npseudos "{", ".join(str(file) for file in files)}"')
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class SpinFrame:
    """Axes of spin space for a calculation: without spin-orbit coupling all moments may be turned together.

    Parameters
    ----------
    axes
        (3, 3); the rows are the directions x, y, z of the calculation.
    rank
        1: all moments lie along z. 2: they lie in the xz plane. 3: neither.
    """

    axes: NDArray[np.float64]
    rank: int

    def to_frame(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Components along the axes, (n, 3)."""
        return vectors @ self.axes.T

    def from_frame(self, components: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vectors with these components, (n, 3)."""
        return components @ self.axes


def spin_frame(moments: NDArray[np.float64]) -> SpinFrame:
    """The frame for moments, (n, 3), µB.

    Collinear states can be calculated with two spin channels: half the bands each, and the symmetry of the crystal.
    Coplanar ones lie in the xz plane because ABINIT 9.6.2 is wrong about the stress of moments along y.
    """
    _, widths, directions = np.linalg.svd(moments)
    components = moments @ directions.T
    largest = components[np.abs(components).argmax(axis=0), [0, 1, 2]]
    z, x, _ = directions * np.where(largest < 0, -1.0, 1.0)[:, None]
    return SpinFrame(np.array([x, np.cross(z, x), z]), int((widths > 1e-8 * widths[0]).sum()))


def kmesh(cell: ArrayLike, kspacing: float) -> list[int]:
    """Divisions of a k-mesh whose points are at most ``kspacing`` (1/Å, with 2π) apart along each direction."""
    reciprocal = 2 * math.pi * np.linalg.norm(np.linalg.inv(np.asarray(cell, dtype=float)), axis=0)
    return [max(1, math.ceil(length / kspacing - 1e-6)) for length in reciprocal]


def constraint_kinds(atoms: Atoms, symbols: Sequence[str], settings: AbinitSettings) -> list[int]:
    """``constraint_kind`` by element: none where all targets are zero (oxygen of an oxide).

    Raises
    ------
    InputError
        A zero target among non-zero ones where directions are to be constrained.
    """
    kind = 1 if settings.constraint == "moments" else 4
    lengths = np.linalg.norm(get_moments(atoms), axis=1)
    kinds = []
    for symbol in symbols:
        own = lengths[np.array(list(atoms.symbols)) == symbol]
        if kind == 4 and own.any() and not own.all():
            raise InputError(f"a moment of {symbol} is zero: it has no direction; use constraint 'moments'")
        kinds.append(kind if own.any() else 0)
    return kinds


def _numbers(values: ArrayLike) -> str:
    return " ".join(repr(x) for x in np.asarray(values).tolist())


def _rows(values: ArrayLike) -> str:
    return "".join("\n " + " ".join(f"{x:.12f}" for x in row) for row in np.asarray(values))
