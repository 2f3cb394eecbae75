"""TB2J ``exchange.out``: E = -Σ_{i≠j} [J e_i·e_j + e_i·J_ani·e_j + D·(e_i x e_j)], meV, both orders, no ½.

So every energy is half of ours. Source: TB2J documentation, "Conventions of Heisenberg Model", and its text output.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import HeisenbergModel, dm_tensor
from deepspin_ase.moments import set_moments
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.formats.terms import (
    MEV,
    both_orders,
    numbers,
    read_lines,
    refuse,
    refuse_field,
    spin_directions,
    split,
    write_lines,
)

_TO_OURS = 2 * MEV  # a pair occurs twice in the sum, and our sum has a factor ½
_PAIR = re.compile(r"^(\w+)\s+(\w+)\s+\(\s*(-?\d+),\s*(-?\d+),\s*(-?\d+)\)\s+(\S+)\s+\(([^)]*)\)")
_DMI = re.compile(r"DMI:\s*\(([^)]*)\)")
_RULE = "=" * 90
_LINE = "-" * 88


def read_tb2j(path: str | Path) -> HeisenbergModel:
    """Model from TB2J's ``exchange.out``.

    Parameters
    ----------
    path
        The file, or the directory (``TB2J_results``) it is in.

    Returns
    -------
    HeisenbergModel
        Magnitudes are the M(x), M(y), M(z) of the file; atoms without pairs are not magnetic.

    Raises
    ------
    InputError
        The file is incomplete, truncated, or not of this kind.
    """
    source = Path(path)
    source = source / "exchange.out" if source.is_dir() else source
    lines = read_lines(source)
    if not any("TB2J" in line for line in lines[:5]):
        raise InputError(f"{source} does not say that TB2J wrote it; allowed: TB2J's exchange.out.")
    atoms, labels = _atoms(lines, source)
    pairs, tensors = _pairs(lines, source, labels)
    bonds = both_orders(pairs[:, 0], pairs[:, 1], pairs[:, 2:], tensors, source)
    lengths = np.linalg.norm(atoms.get_initial_magnetic_moments(), axis=1)
    magnetic = np.isin(np.arange(len(atoms)), pairs[:, :2])
    return HeisenbergModel.from_bonds(atoms, bonds, magnitudes=np.where(magnetic, lengths, 0.0))


def write_tb2j(path: str | Path, model: HeisenbergModel, moments: ArrayLike | None = None) -> None:
    """Write a model as TB2J's ``exchange.out``.

    Parameters
    ----------
    path
        The file.
    model
        Anisotropy and field have no place there: they must be zero.
    moments
        Directions of the moments, (n, 3); default along z.
    """
    refuse(
        float(np.abs(model.anisotropy - _traces(model.anisotropy)).max(initial=0.0)), "single-ion anisotropy", "TB2J"
    )
    refuse_field(model, "TB2J")
    atoms = model.to_atoms()
    symbols = atoms.get_chemical_symbols()
    labels = [f"{symbol}{symbols[: n + 1].count(symbol)}" for n, symbol in enumerate(symbols)]
    spins = spin_directions(moments, model) * model.magnitudes[:, None]
    lines = [_RULE, "Information: ", "Exchange parameters in the format of TB2J, written by deepspin-ase.", _RULE]
    lines += ["Cell (Angstrom):", *(" ".join(f"{x:13.8f}" for x in row) for row in model.cell), "", _RULE, "Atoms:  "]
    lines += ["(Note: charges are not known and set to zero.)"]
    lines += [f"{'Atom_number':<12}" + "".join(f"{h:>13}" for h in ("x", "y", "z", "w_charge", "M(x)", "M(y)", "M(z)"))]
    for label, position, spin in zip(labels, model.positions, spins, strict=True):
        lines.append(f"{label:<12}" + "".join(f"{x:13.6f}" for x in (*position, 0.0, *spin)))
    lines.append(f"{'Total':<12}" + " " * 39 + "".join(f"{x:13.6f}" for x in (0.0, *spins.sum(axis=0))))
    lines += ["", _RULE, "Exchange: "]
    lines.append("    i      j          R        J_iso(meV)          vector          distance(A) ")
    bonds = model.bonds
    scalar, dmi, symmetric = split(bonds)
    vectors = bonds.vectors(model.positions, model.cell)
    distance = np.linalg.norm(vectors, axis=1)
    for b in np.argsort(distance, kind="stable"):
        cell = ", ".join(f"{x:3d}" for x in bonds.image[b])
        vector = ", ".join(f"{x:.6f}" for x in vectors[b])
        value = scalar[b] / _TO_OURS
        lines.append(_LINE)
        lines.append(
            f"{labels[bonds.i[b]]:>6} {labels[bonds.j[b]]:>6}  ({cell}) {value:.8f}  ({vector}) {distance[b]:.6f}"
        )
        lines.append(f"J_iso: {value:.8f} ")
        lines.append("[Experimental!] DMI: (" + " ".join(f"{x:.8f}" for x in dmi[b] / _TO_OURS) + ")")
        rows = ["[" + " ".join(f"{x:.8f}" for x in row) + "]" for row in symmetric[b] / _TO_OURS]
        lines += ["[Experimental!]J_ani:", f"[{rows[0]}", f" {rows[1]}", f" {rows[2]}]"]
    write_lines(Path(path), lines)


def _atoms(lines: list[str], source: Path) -> tuple[Atoms, dict[str, int]]:
    cell_at = _index(lines, "Cell (Angstrom)", source)
    cell = np.array([numbers(line.split(), 3, source, "a cell vector") for line in lines[cell_at + 1 : cell_at + 4]])
    labels: dict[str, int] = {}
    positions, moments = [], []
    for line in lines[_index(lines, "Atom_number", source) + 1 :]:
        words = line.split()
        if words[0] == "Total":
            break
        values = numbers(words[1:], 7, source, "a line of atoms (x y z charge Mx My Mz)")
        if words[0] in labels:
            raise InputError(f"{source}: the atom {words[0]} is listed twice.")
        labels[words[0]] = len(labels)
        positions.append(values[:3])
        moments.append(values[4:])
    else:
        raise InputError(f"{source}: the list of atoms does not end; the file is truncated.")
    symbols = [label.rstrip("0123456789") for label in labels]
    unknown = [symbol for symbol in symbols if symbol not in atomic_numbers]
    if unknown:
        raise InputError(f"{source}: {unknown[0]!r} is no chemical symbol.")
    atoms = Atoms(symbols, positions=positions, cell=cell, pbc=True)
    set_moments(atoms, np.array(moments))
    return atoms, labels


def _pairs(lines: list[str], source: Path, labels: dict[str, int]) -> tuple[np.ndarray, Array]:
    start = _index(lines, "Exchange:", source)
    keys: list[tuple[int, ...]] = []
    tensors: list[Array] = []
    for at in range(start, len(lines)):
        line = lines[at]
        found = _PAIR.match(line)
        if found:
            first, second, *cell = found.groups()[:5]
            if first not in labels or second not in labels:
                raise InputError(f"{source}: the pair {first} {second} names an atom that is not listed.")
            keys.append((labels[first], labels[second], *map(int, cell)))
            tensors.append(numbers([found.group(6)], 1, source, "J_iso")[0] * np.eye(3))
        elif "DMI:" in line and tensors:
            vector = _DMI.search(line)
            if vector is None:
                raise InputError(f"{source}: the line {line!r} has no vector in brackets.")
            tensors[-1] = tensors[-1] + dm_tensor(numbers(vector.group(1).split(), 3, source, "DMI"))
        elif "J_ani:" in line and tensors:
            words = " ".join(lines[at + 1 : at + 4]).replace("[", " ").replace("]", " ").split()
            part = numbers(words, 9, source, "J_ani").reshape(3, 3)
            tensors[-1] = tensors[-1] + (part + part.T) / 2
    if not keys:
        raise InputError(f"{source}: no pairs of atoms after 'Exchange:'; the file is truncated or of another version.")
    return np.array(keys), _TO_OURS * np.array(tensors)


def _index(lines: list[str], start: str, source: Path) -> int:
    for number, line in enumerate(lines):
        if line.startswith(start):
            return number
    raise InputError(f"{source}: there is no line {start!r}; the file is truncated or not TB2J's exchange.out.")


def _traces(tensors: Array) -> Array:
    return np.trace(tensors, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3
