"""UppASD input: E = -Σ_{i≠j} [J e_i·e_j + D·(e_i x e_j) + e_i·J^S·e_j] + Σ_i k (e_i·n)², mRy, both orders, no ½.

So exchange is half of ours, and an easy axis has a negative k. Source: the UppASD manual, "Core input files" and
"Hamiltonian parameters". Files: ``inpsd.dat`` with the names of ``posfile``, ``momfile``, ``exchange`` (jfile), and
where needed ``dm``, ``pd`` and ``anisotropy``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel, dm_tensor
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.formats.terms import (
    MRY,
    TOLERANCE,
    both_orders,
    magnetic_sites,
    numbers,
    read_lines,
    refuse_field,
    spin_directions,
    split,
    uniaxial_part,
    write_lines,
)

_TO_OURS = 2 * MRY  # a pair occurs twice in the sum, and our sum has a factor ½
_SYMMETRIC = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
_CLOSE = 1e-3  # in units of the cell: how far a vector may miss a site


def read_uppasd(
    directory: str | Path, *, lattice_constant: float | None = None, species: str | list[str] = "X"
) -> HeisenbergModel:
    """Model from the input files of UppASD.

    Parameters
    ----------
    directory
        Where ``inpsd.dat`` is (or that file).
    lattice_constant
        Å, by which the cell is multiplied; default ``alat`` of the file (metres).
    species
        Chemical symbols (the format has none): one for all, or one per site.

    Raises
    ------
    InputError
        A file that is missing or incomplete; couplings reduced by symmetry (``sym`` other than 0), random alloys,
        tensorial input (``do_tensor``); no lattice constant.
    """
    given = Path(directory)
    source = given / "inpsd.dat" if given.is_dir() else given
    keys = _keywords(source)
    for key, allowed in {"sym": "0", "do_ralloy": "0", "do_tensor": "0"}.items():
        if keys.get(key, [allowed])[0] != allowed:
            raise InputError(f"{source}: {key} {keys[key][0]}; this reader takes {key} {allowed} only.")
    scale = 1e10 * numbers(keys["alat"], 1, source, "alat")[0] if "alat" in keys else lattice_constant
    scale = lattice_constant if lattice_constant is not None else scale
    if scale is None:
        raise InputError(f"{source} has no alat; give lattice_constant= in Å.")
    if "cell" not in keys:
        raise InputError(f"{source}: there is no cell.")
    cell = numbers(keys["cell"], 9, source, "cell").reshape(3, 3)
    folder = source.parent
    cartesian = keys.get("posfiletype", ["C"])[0].upper() != "D"
    fractions, types = _positions(_file(folder, keys, "posfile"), cell, cartesian=cartesian)
    lengths = _moments(_file(folder, keys, "momfile"), len(fractions))
    reader = _Couplings(cell, fractions, types, cartesian=cartesian, by_atom=keys.get("maptype", ["1"])[0] == "2")
    parts = [reader.read(_file(folder, keys, "exchange"), 1, lambda v: v[0] * np.eye(3))]
    if "dm" in keys:
        parts.append(reader.read(_file(folder, keys, "dm"), 3, dm_tensor))
    if "pd" in keys:
        parts.append(reader.read(_file(folder, keys, "pd"), 6, _from_six))
    bonds = _add(parts, _file(folder, keys, "exchange"))
    symbols = [species] * len(fractions) if isinstance(species, str) else species
    periodic = [word.upper() == "P" for word in keys.get("bc", ["P", "P", "P"])[:3]]
    atoms = Atoms(symbols, positions=scale * fractions @ cell, cell=scale * cell, pbc=periodic)
    anisotropy = np.zeros((len(atoms), 3, 3))
    if "anisotropy" in keys:
        anisotropy = _anisotropy(_file(folder, keys, "anisotropy"), len(atoms))
    return HeisenbergModel.from_bonds(atoms, bonds, magnitudes=lengths, anisotropy=anisotropy)


def write_uppasd(
    directory: str | Path,
    model: HeisenbergModel,
    moments: ArrayLike | None = None,
    *,
    cells: tuple[int, int, int] = (12, 12, 12),
) -> None:
    """Write input files of UppASD: ``inpsd.dat``, ``posfile``, ``momfile``, ``jfile``, and where needed others.

    Parameters
    ----------
    directory
        Is made if it does not exist.
    model
        Anisotropy must be uniaxial; a field has no place there.
    moments
        Directions of the moments, (n, 3); default along z.
    cells
        Number of cells of the simulation.
    """
    refuse_field(model, "UppASD")
    sites, kept = magnetic_sites(model)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    alat = float(np.linalg.norm(sites.cell[0]))
    fractions = np.linalg.solve(sites.cell.T, sites.positions.T).T
    count = len(sites)
    spins = spin_directions(moments, model)[kept]
    bonds = sites.bonds
    scalar, dmi, symmetric = split(bonds)
    place = [f"{i + 1} {j + 1} {s[0]} {s[1]} {s[2]}" for i, j, s in zip(bonds.i, bonds.j, bonds.image, strict=True)]
    distance = np.linalg.norm(bonds.vectors(sites.positions, sites.cell), axis=1) / alat
    names = {"posfile": "posfile", "momfile": "momfile", "exchange": "jfile"}
    write_lines(folder / "posfile", (f"{n + 1} {n + 1} {_row(fractions[n])}" for n in range(count)))
    write_lines(folder / "momfile", (f"{n + 1} 1 {sites.magnitudes[n]:.8f} {_row(spins[n])}" for n in range(count)))
    values = [f"{p} {_row([v / _TO_OURS])} {d:.6f}" for p, v, d in zip(place, scalar, distance, strict=True)]
    write_lines(folder / "jfile", values)
    if np.abs(dmi).max(initial=0.0) > TOLERANCE:
        names["dm"] = "dmfile"
        write_lines(folder / "dmfile", (f"{p} {_row(v / _TO_OURS)}" for p, v in zip(place, dmi, strict=True)))
    if np.abs(symmetric).max(initial=0.0) > TOLERANCE:
        names["pd"] = "pdfile"
        rows = (_row([t[a, b] / _TO_OURS for a, b in _SYMMETRIC]) for t in symmetric)
        write_lines(folder / "pdfile", (f"{p} {row}" for p, row in zip(place, rows, strict=True)))
    parts = [uniaxial_part(tensor, n, "UppASD") for n, tensor in enumerate(sites.anisotropy)]
    if any(abs(strength) > TOLERANCE for strength, _ in parts):
        names["anisotropy"] = "kfile"
        rows = (f"{n + 1} 1 {_row([-k / MRY])} 0.0 {_row(axis)} 0.0" for n, (k, axis) in enumerate(parts))
        write_lines(folder / "kfile", rows)
    repeats = np.where(sites.pbc, cells, 1)
    lines = ["simid deepspin", "ncell " + " ".join(str(int(x)) for x in repeats)]
    lines += ["BC " + " ".join("P" if periodic else "0" for periodic in sites.pbc)]
    lines += ["cell " + _row(sites.cell[0] / alat), *("     " + _row(row / alat) for row in sites.cell[1:])]
    lines += [f"alat {alat * 1e-10:.10e}", "Sym 0", "posfiletype D", "maptype 2"]
    lines += [f"{key} ./{name}" for key, name in names.items()]
    write_lines(folder / "inpsd.dat", [*lines, "Initmag 3"])


class _Couplings:
    """Reader of lines ``i j x y z values...`` in the four ways that UppASD knows to give the vector."""

    def __init__(self, cell: Array, fractions: Array, types: Array, *, cartesian: bool, by_atom: bool) -> None:
        self.cell, self.fractions, self.types = cell, fractions, types
        self.cartesian, self.by_atom = cartesian, by_atom

    def read(self, source: Path, count: int, make: object) -> dict[tuple[int, ...], Array]:
        """Tensors in eV by (i, j, S)."""
        found: dict[tuple[int, ...], Array] = {}
        for line in read_lines(source, "#"):
            words = line.split()
            values = numbers(words, 5 + count, source, "a coupling (i j x y z values)")
            tensor = _TO_OURS * make(values[5:])  # type: ignore[operator]
            for key in self._keys(int(values[0]), int(values[1]), values[2:5], source, line):
                if key in found:
                    raise InputError(f"{source}: the coupling {line!r} is listed twice.")
                found[key] = tensor
        if not found:
            raise InputError(f"{source} lists no couplings.")
        return found

    def _keys(self, i: int, j: int, vector: Array, source: Path, line: str) -> list[tuple[int, ...]]:
        if self.by_atom:
            self._check(i, j, len(self.fractions), source, line)
            return [(i - 1, j - 1, *(int(x) for x in np.rint(vector)))]
        self._check(i, j, int(self.types.max()), source, line)
        step = np.linalg.solve(self.cell.T, vector) if self.cartesian else vector
        keys = []
        for a in np.flatnonzero(self.types == i):
            target = self.fractions[a] + step
            for b in np.flatnonzero(self.types == j):
                shift = np.rint(target - self.fractions[b])
                if np.abs(target - self.fractions[b] - shift).max() < _CLOSE:
                    keys.append((int(a), int(b), *(int(x) for x in shift)))
        if not keys:
            raise InputError(f"{source}: no atom of type {j} at the end of {line!r}; check posfiletype and maptype.")
        return keys

    @staticmethod
    def _check(i: int, j: int, highest: int, source: Path, line: str) -> None:
        if not (1 <= i <= highest and 1 <= j <= highest):
            raise InputError(f"{source}: {line!r} names a site outside 1 to {highest}.")


def _keywords(source: Path) -> dict[str, list[str]]:
    """Lower-case keyword -> words; the cell takes nine numbers over three lines."""
    lines = read_lines(source, "#")
    keys: dict[str, list[str]] = {}
    for at, line in enumerate(lines):
        words = line.split()
        keys.setdefault(words[0].lower(), words[1:])
        if words[0].lower() == "cell":
            rows = [words[1:], *(other.split() for other in lines[at + 1 : at + 3])]
            keys["cell"] = [word for row in rows for word in row[:3]]
    return keys


def _file(folder: Path, keys: dict[str, list[str]], key: str) -> Path:
    if not keys.get(key):
        raise InputError(f"{folder / 'inpsd.dat'}: the keyword {key} with a file name is missing.")
    return folder / keys[key][0]


def _positions(source: Path, cell: Array, *, cartesian: bool) -> tuple[Array, Array]:
    rows = np.array(
        [numbers(line.split(), 5, source, "a site (number type x y z)") for line in read_lines(source, "#")]
    )
    if not len(rows) or not np.array_equal(rows[:, 0], np.arange(1, len(rows) + 1)):
        raise InputError(f"{source}: sites must be numbered 1, 2, 3, ..., each once.")
    fractions = np.linalg.solve(cell.T, rows[:, 2:].T).T if cartesian else rows[:, 2:]
    return fractions, rows[:, 1].astype(np.int64)


def _moments(source: Path, count: int) -> Array:
    rows = [numbers(line.split(), 3, source, "a moment (site type magnitude ...)") for line in read_lines(source, "#")]
    if [int(row[0]) for row in rows] != list(range(1, count + 1)):
        raise InputError(f"{source}: it must list the moments of sites 1 to {count} in order.")
    return np.array([row[2] for row in rows])


def _anisotropy(source: Path, count: int) -> Array:
    result = np.zeros((count, 3, 3))
    for line in read_lines(source, "#"):
        site, kind, first, second, *axis = numbers(line.split(), 7, source, "an anisotropy (site type K1 K2 x y z)")
        if kind != 1 or second != 0.0:
            raise InputError(f"{source}: {line!r}; only uniaxial anisotropy (type 1) without K2 can be read.")
        if not 1 <= site <= count:
            raise InputError(f"{source}: {line!r} names a site outside 1 to {count}.")
        n = np.array(axis) / max(float(np.linalg.norm(axis)), 1e-300)
        result[int(site) - 1] -= MRY * first * np.outer(n, n)
    return result


def _add(parts: list[dict[tuple[int, ...], Array]], source: Path) -> Bonds:
    keys = sorted(set().union(*parts))
    tensors = np.array([sum(part.get(key, np.zeros((3, 3))) for part in parts) for key in keys])
    table = np.array(keys)
    return both_orders(table[:, 0], table[:, 1], table[:, 2:], tensors, source)


def _from_six(values: Array) -> Array:
    tensor = np.zeros((3, 3))
    for (a, b), value in zip(_SYMMETRIC, values, strict=True):
        tensor[a, b] = tensor[b, a] = value
    return tensor


def _row(values: ArrayLike) -> str:
    return " ".join(f"{x:.10f}" for x in np.asarray(values, dtype=float))
