"""Vampire unit cell files (``.ucf``) with their material file (``.mat``), energies in joule.

E = -Σ_{i<j} e_i·J·e_j - Σ_i k (e_i·n)²: energies are ours; the file lists both orders. Source: the Vampire manual,
"Unit cell files" and "Material file".
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.formats.terms import (
    JOULE,
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

_COMPONENTS = {"isotropic": 1, "vectorial": 3, "tensorial": 9}
_OLD_NAMES = {"0": "isotropic", "1": "vectorial", "2": "tensorial"}
_MATERIAL = re.compile(r"^material\[(\d+)\]:([\w-]+)\s*=\s*(.*)$")


def read_vampire(path: str | Path, *, material_file: str | Path | None = None) -> HeisenbergModel:
    """Model from a unit cell file of Vampire and its material file.

    Parameters
    ----------
    path
        The ``.ucf`` file.
    material_file
        Moments, elements and uniaxial anisotropies; default: the same name with ``.mat``.

    Raises
    ------
    InputError
        Interactions that are ``normalised-...`` (their strength is elsewhere), a file that is incomplete, no material
        file.
    """
    source = Path(path)
    lines = read_lines(source, "#")
    if len(lines) < 6:
        raise InputError(f"{source} has {len(lines)} lines; it is no unit cell file, or truncated.")
    size = numbers(lines[0].split(), 3, source, "the size of the unit cell")
    cell = size[:, None] * np.array([numbers(line.split(), 3, source, "a unit cell vector") for line in lines[1:4]])
    count = _count(lines[4], source, "the number of atoms")
    if len(lines) < 6 + count:
        raise InputError(f"{source} promises {count} atoms, but it ends before; it is truncated.")
    fractions, kinds = np.zeros((count, 3)), [0] * count
    for line in lines[5 : 5 + count]:
        words = line.split()
        site = _count(line, source, "an atom")
        if not 0 <= site < count:
            raise InputError(f"{source}: the atom {line!r} is outside 0 to {count - 1}.")
        fractions[site] = numbers(words[1:], 3, source, "the position of an atom")
        kinds[site] = int(words[4]) if len(words) > 4 else 0
    keys, tensors = _interactions(lines[5 + count :], source, count)
    bonds = both_orders(keys[:, 0], keys[:, 1], keys[:, 2:], JOULE * tensors, source)
    materials = _Materials(Path(material_file) if material_file is not None else source.with_suffix(".mat"))
    atoms = Atoms([materials.element(k) for k in kinds], positions=fractions @ cell, cell=cell, pbc=True)
    lengths = np.array([materials.moment(k) for k in kinds])
    anisotropy = np.array([materials.anisotropy(k) for k in kinds])
    return HeisenbergModel.from_bonds(atoms, bonds, magnitudes=lengths, anisotropy=anisotropy)


def write_vampire(path: str | Path, model: HeisenbergModel, moments: ArrayLike | None = None) -> None:
    """Write a model as a unit cell file and a material file of Vampire.

    Parameters
    ----------
    path
        The ``.ucf`` file; the material file gets the same name with ``.mat``. Every site is a material of its own.
    model
        Anisotropy must be uniaxial; a field has no place there.
    moments
        Directions of the moments, (n, 3), for the initial state; default along z.
    """
    refuse_field(model, "Vampire")
    if not model.pbc.all():
        raise InputError("a unit cell file of Vampire is periodic in three directions; the model is not.")
    sites, kept = magnetic_sites(model)
    target = Path(path)
    count, bonds = len(sites), sites.bonds
    size = np.linalg.norm(sites.cell, axis=1)
    fractions = np.linalg.solve(sites.cell.T, sites.positions.T).T
    fractions -= np.floor(fractions.round(12))  # Vampire wants atoms inside the cell
    shift = np.rint(np.linalg.solve(sites.cell.T, sites.positions.T).T - fractions).astype(np.int64)
    image = bonds.image + shift[bonds.j] - shift[bonds.i]
    _, dmi, symmetric = split(bonds)
    isotropic = max(np.abs(dmi).max(initial=0.0), np.abs(symmetric).max(initial=0.0)) <= TOLERANCE
    lines = ["# Unit cell size (Angstrom):", " ".join(f"{x:.10f}" for x in size), "# Unit cell vectors:"]
    lines += [" ".join(f"{x:.10f}" for x in row / length) for row, length in zip(sites.cell, size, strict=True)]
    lines += ["# Atoms num, num_materials; id cx cy cz mat lc hc", f"{count} {count}"]
    lines += [f"{n} " + " ".join(f"{x:.10f}" for x in fractions[n]) + f" {n} 0 0" for n in range(count)]
    lines += ["# Interactions n exctype; id i j dx dy dz Jij (J)"]
    lines += [f"{len(bonds)} {'isotropic' if isotropic else 'tensorial'}"]
    for b, tensor in enumerate(bonds.tensor / JOULE):
        values = [np.trace(tensor) / 3] if isotropic else tensor.ravel()
        place = " ".join(str(x) for x in (b, bonds.i[b], bonds.j[b], *image[b]))
        lines.append(place + " " + " ".join(f"{x:.10e}" for x in values))
    write_lines(target, lines)
    spins = spin_directions(moments, model)[kept]
    write_lines(target.with_suffix(".mat"), _material_lines(sites, spins))


def _material_lines(sites: HeisenbergModel, spins: Array) -> list[str]:
    symbols = sites.to_atoms().get_chemical_symbols()
    lines = [f"material:num-materials={len(sites)}"]
    for n, symbol in enumerate(symbols):
        name = f"material[{n + 1}]"
        strength, axis = uniaxial_part(sites.anisotropy[n], n, "Vampire")
        lines += [f"{name}:material-name={symbol}{n + 1}", f"{name}:material-element={symbol}"]
        lines += [f"{name}:damping-constant=1.0", f"{name}:atomic-spin-moment={sites.magnitudes[n]:.8f} !muB"]
        lines += [f"{name}:initial-spin-direction=" + ",".join(f"{x:.8f}" for x in spins[n])]
        if abs(strength) > TOLERANCE:
            lines += [f"{name}:uniaxial-anisotropy-constant={strength / JOULE:.10e}"]
            lines += [f"{name}:uniaxial-anisotropy-direction=" + ",".join(f"{x:.8f}" for x in axis)]
    return lines


class _Materials:
    """Settings of a material file, by number from 0."""

    def __init__(self, source: Path) -> None:
        if not source.is_file():
            raise InputError(f"there is no material file {source}; it has the moments. Give it with material_file=.")
        self.source = source
        self.values: dict[tuple[int, str], str] = {}
        for line in read_lines(source, "#"):
            found = _MATERIAL.match(line)
            if found:
                self.values[int(found.group(1)) - 1, found.group(2)] = found.group(3).split("!")[0].strip()
                if "!" in line and found.group(2) == "atomic-spin-moment" and "!muB" not in line.replace(" ", ""):
                    raise InputError(f"{source}: {line!r}; moments are read in !muB only.")

    def moment(self, material: int) -> float:
        """Moment in µB."""
        if (material, "atomic-spin-moment") not in self.values:
            raise InputError(f"{self.source}: material {material + 1} has no atomic-spin-moment.")
        return float(numbers([self.values[material, "atomic-spin-moment"]], 1, self.source, "atomic-spin-moment")[0])

    def element(self, material: int) -> str:
        """Chemical symbol, X if there is none."""
        return self.values.get((material, "material-element"), "X")

    def anisotropy(self, material: int) -> Array:
        """K in eV, (3, 3)."""
        words = [self.values.get((material, "uniaxial-anisotropy-constant"), "0.0").split()[0]]
        strength = numbers(words, 1, self.source, "uniaxial-anisotropy-constant")[0]
        direction = self.values.get((material, "uniaxial-anisotropy-direction"), "0,0,1").split(",")
        axis = numbers(direction, 3, self.source, "uniaxial-anisotropy-direction")
        return np.asarray(JOULE * strength * np.outer(axis, axis) / (axis @ axis))


def _interactions(lines: list[str], source: Path, atoms: int) -> tuple[np.ndarray, Array]:
    words = lines[0].split()
    total = _count(lines[0], source, "the number of interactions")
    kind = words[1] if len(words) > 1 else "isotropic"
    kind = _OLD_NAMES.get(kind, kind)
    if kind not in _COMPONENTS:
        raise InputError(
            f"{source}: interactions are {kind!r}; allowed: {', '.join(_COMPONENTS)} with energies in joule. "
            "Normalised ones take their strength from the material file and are not read."
        )
    if len(lines) - 1 < total:
        raise InputError(f"{source} promises {total} interactions, but lists {len(lines) - 1}; it is truncated.")
    count = _COMPONENTS[kind]
    rows = np.array([numbers(line.split(), 6 + count, source, "an interaction") for line in lines[1 : 1 + total]])
    rows = rows.reshape(total, 6 + count)
    keys = rows[:, 1:6].astype(np.int64)
    if len(keys) and (keys[:, :2].min() < 0 or keys[:, :2].max() >= atoms):
        raise InputError(f"{source}: an interaction names an atom outside 0 to {atoms - 1}.")
    values = rows[:, 6:]
    if count == 9:
        return keys, values.reshape(-1, 3, 3)
    return keys, values[:, :, None] * np.eye(3)  # one number, or the diagonal


def _count(line: str, source: Path, what: str) -> int:
    word = line.split()[0]
    if not word.isdigit():
        raise InputError(f"{source}: {what} should be a whole number at the start of {line!r}.")
    return int(word)
