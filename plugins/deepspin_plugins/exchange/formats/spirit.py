"""Spirit input files: E = -Σ_pairs [J n_i·n_j + D·(n_i x n_j)] - Σ_i Σ_a K_a (K̂_a·n_i)², meV, each pair once.

Energies are ours. Source: Spirit's documentation, ``core/docs/Input.md``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel, dm_tensor
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.formats.terms import (
    MEV,
    TOLERANCE,
    magnetic_sites,
    numbers,
    read_lines,
    refuse,
    refuse_field,
    split,
    write_lines,
)

_LATTICES = {
    "sc": np.eye(3),
    "bcc": np.array([[0.5, 0.5, -0.5], [-0.5, 0.5, 0.5], [0.5, -0.5, 0.5]]),
    "fcc": np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]),
}


def read_spirit(path: str | Path, *, species: str | list[str] = "X") -> HeisenbergModel:
    """Model from an input file of Spirit with ``hamiltonian heisenberg_pairs``.

    Parameters
    ----------
    path
        The configuration file; pairs and anisotropy may be in files that it names.
    species
        Chemical symbols of the basis (the format has none): one for all, or one per site.

    Raises
    ------
    InputError
        Another Hamiltonian, a Bravais lattice without explicit vectors other than sc, bcc, fcc; a file that is
        incomplete.
    """
    source = Path(path)
    file = _Input(source)
    kind = file.words("hamiltonian", default=["heisenberg_pairs"])[0]
    if kind != "heisenberg_pairs":
        raise InputError(f"{source}: hamiltonian {kind}; allowed: heisenberg_pairs, which lists every pair.")
    cell, fractions = file.geometry()
    moments = file.numbers("mu_s", default=[2.0])
    lengths = np.full(len(fractions), moments[0]) if len(moments) == 1 else moments
    if len(lengths) != len(fractions):
        raise InputError(f"{source}: {len(lengths)} values of mu_s for {len(fractions)} sites of the basis.")
    symbols = [species] * len(fractions) if isinstance(species, str) else species
    periodic = file.numbers("boundary_conditions", default=[1, 1, 1]).astype(bool)
    atoms = Atoms(symbols, positions=fractions @ cell, cell=cell, pbc=periodic)
    entries = [
        (int(row["i"]), int(row["j"]), [int(row[k]) for k in ("da", "db", "dc")], _pair_tensor(row))
        for row in file.block("n_interaction_pairs", ("interaction_pairs_file", "pairs_from_file"))
    ]
    if not entries:
        raise InputError(f"{source}: no interaction pairs (n_interaction_pairs).")
    return HeisenbergModel.from_bonds(
        atoms, Bonds.from_list(entries), magnitudes=lengths, anisotropy=_anisotropy(file, len(atoms))
    )


def write_spirit(path: str | Path, model: HeisenbergModel, *, cells: tuple[int, int, int] = (10, 10, 10)) -> None:
    """Write a model as an input file of Spirit; add the settings of a simulation to it.

    Parameters
    ----------
    path
        The configuration file.
    model
        The symmetric anisotropic part of J and a field have no place there: they must be zero.
    cells
        Number of cells of the simulation.
    """
    refuse_field(model, "Spirit")
    sites, _ = magnetic_sites(model)
    bonds = sites.bonds
    scalar, dmi, symmetric = split(bonds)
    refuse(float(np.abs(symmetric).max(initial=0.0)), "symmetric anisotropic exchange", "Spirit")
    fractions = np.linalg.solve(sites.cell.T, sites.positions.T).T
    repeats = np.where(sites.pbc, cells, 1)
    lines = ["### Written by deepspin-ase; energies in meV, each pair once", "hamiltonian heisenberg_pairs"]
    lines += ["boundary_conditions " + " ".join(str(int(x)) for x in sites.pbc)]
    lines += ["external_field_magnitude 0.0", "external_field_normal 0.0 0.0 1.0", "lattice_constant 1.0"]
    lines += ["bravais_vectors", *(" ".join(f"{x:.10f}" for x in row) for row in sites.cell)]
    lines += ["basis", str(len(sites)), *(" ".join(f"{x:.10f}" for x in row) for row in fractions)]
    lines += ["mu_s " + " ".join(f"{x:.8f}" for x in sites.magnitudes)]
    lines += ["n_basis_cells " + " ".join(str(int(x)) for x in repeats)]
    axes = _axes(sites.anisotropy)
    if axes:
        lines += [f"n_anisotropy {len(axes)}", "i K Kx Ky Kz", *axes]
    once = _once(bonds)
    lines += [f"n_interaction_pairs {len(once)}", "i j da db dc Jij Dijx Dijy Dijz"]
    for b in once:
        place = " ".join(str(x) for x in (bonds.i[b], bonds.j[b], *bonds.image[b]))
        lines.append(place + " " + " ".join(f"{x / MEV:.10f}" for x in (scalar[b], *dmi[b])))
    write_lines(Path(path), lines)


class _Input:
    """A file of keywords with values on the same line, or on the lines after it."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.lines = read_lines(source, "#")
        self.place = {line.split()[0]: number for number, line in reversed(list(enumerate(self.lines)))}

    def words(self, key: str, default: list[str]) -> list[str]:
        """Words after a keyword."""
        return self.lines[self.place[key]].split()[1:] if key in self.place else default

    def numbers(self, key: str, default: list[float]) -> Array:
        """Numbers after a keyword."""
        words = self.words(key, [str(x) for x in default])
        return numbers(words, max(len(words), 1), self.source, key)

    def rows(self, start: int, count: int, columns: int, what: str) -> Array:
        """Numbers in the lines from ``start`` on."""
        if start + count > len(self.lines):
            raise InputError(f"{self.source}: {what} has fewer than {count} lines; the file is truncated.")
        rows = [numbers(line.split(), columns, self.source, what) for line in self.lines[start : start + count]]
        return np.array(rows).reshape(count, columns)

    def geometry(self) -> tuple[Array, Array]:
        """Cell (Å) and fractions of the basis."""
        scale = self.numbers("lattice_constant", [1.0])[0]
        if "bravais_vectors" in self.place:
            vectors = self.rows(self.place["bravais_vectors"] + 1, 3, 3, "bravais_vectors")
        elif "bravais_matrix" in self.place:
            vectors = self.rows(self.place["bravais_matrix"] + 1, 3, 3, "bravais_matrix").T
        else:
            name = self.words("bravais_lattice", ["sc"])[0]
            if name not in _LATTICES:
                raise InputError(f"{self.source}: bravais_lattice {name}; allowed: {', '.join(_LATTICES)}, or vectors.")
            vectors = _LATTICES[name]
        if "basis" not in self.place:
            return scale * vectors, np.zeros((1, 3))
        start = self.place["basis"] + 1
        count = int(self.rows(start, 1, 1, "basis")[0, 0])
        return scale * vectors, self.rows(start + 1, count, 3, "basis")

    def block(self, key: str, files: tuple[str, ...]) -> list[dict[str, float]]:
        """Table with a header, after ``key`` in this file or in a file of its own."""
        lines = self.lines
        named = next((self.words(name, []) for name in files if name in self.place), None)
        if named:
            lines = read_lines(self.source.parent / named[0], "#")
            start = 1 if lines and lines[0].split()[0].startswith("n_") else 0
            count = int(lines[0].split()[1]) if start else len(lines) - 1
        elif key in self.place:
            start = self.place[key] + 1
            count = int(self.numbers(key, [0])[0])
        else:
            return []
        if start + count >= len(lines):
            raise InputError(f"{self.source}: {key} promises {count} lines, but the file ends before; it is truncated.")
        header = lines[start].split()
        rows = lines[start + 1 : start + 1 + count]
        return [dict(zip(header, numbers(row.split(), len(header), self.source, key), strict=True)) for row in rows]


def _pair_tensor(row: dict[str, float]) -> Array:
    scalar = row.get("Jij", row.get("J", 0.0))
    names = next((n for n in (("Dijx", "Dijy", "Dijz"), ("Dx", "Dy", "Dz")) if n[0] in row), None)
    if names is None:
        if any(key.startswith("Dij") for key in row):
            raise InputError("Dij vectors along lattice vectors (Dija Dijb Dijc) are not read; give Dijx Dijy Dijz.")
        return MEV * scalar * np.eye(3)
    vector = np.array([row[name] for name in names])
    strength = row.get("Dij", row.get("D"))
    if strength is not None:  # then the vector is a direction
        vector = strength * vector / max(float(np.linalg.norm(vector)), 1e-300)
    return MEV * (scalar * np.eye(3) + dm_tensor(vector))


def _anisotropy(file: _Input, count: int) -> Array:
    result = np.zeros((count, 3, 3))
    rows = file.block("n_anisotropy", ("anisotropy_file", "anisotropy_from_file"))
    for row in rows:
        axis = np.array([row[name] for name in ("Kx", "Ky", "Kz")])
        length = float(np.linalg.norm(axis))
        if length == 0.0 or not 0 <= int(row["i"]) < count:
            raise InputError(f"{file.source}: the anisotropy {row} has no axis, or names a site that does not exist.")
        result[int(row["i"])] += MEV * row.get("K", length) * np.outer(axis, axis) / length**2
    strength = file.numbers("anisotropy_magnitude", [0.0])[0]
    if not rows and strength:
        axis = file.numbers("anisotropy_normal", [0.0, 0.0, 1.0])
        result += MEV * strength * np.outer(axis, axis) / (axis @ axis)
    return result


def _axes(anisotropy: Array) -> list[str]:
    """One line per axis of every tensor, the smallest eigenvalue of each taken off (it is a constant)."""
    lines = []
    for site, tensor in enumerate(anisotropy):
        values, vectors = np.linalg.eigh(tensor)
        for value, axis in zip(values - values[0], vectors.T, strict=True):
            if value > TOLERANCE:
                lines.append(f"{site} {value / MEV:.10f} " + " ".join(f"{x:.10f}" for x in axis))
    return lines


def _once(bonds: Bonds) -> list[int]:
    """One of every two orders."""
    return [
        b
        for b, key in enumerate(zip(bonds.i.tolist(), bonds.j.tolist(), bonds.image.tolist(), strict=True))
        if key < (key[1], key[0], [-x for x in key[2]])
    ]
