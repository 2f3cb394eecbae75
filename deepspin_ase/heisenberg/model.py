"""Classical spin models: sites, bonds with 3x3 exchange tensors, single-ion anisotropy and a field.

The Hamiltonian is the one of ``docs/conventions.md``, with unit vectors e = m/|m|, every ordered pair counted
and the factor ½ shown:

    E = -½ Σ_{i≠j} e_i·J_ij·e_j - Σ_i e_i·K_i·e_i - Σ_i µB m_i·B

J_ij = J 1 + Jˢ + A(D_ij), where A is antisymmetric, e_i·A·e_j = D_ij·(e_i x e_j).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import bsr_array, csr_array

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg.bonds import BondEntry, Bonds, Integers, site_classes
from deepspin_ase.heisenberg.mapping import SiteMap, match_sites
from deepspin_ase.heisenberg.shells import ShellValues, VectorFunction, function_bonds, shell_bonds
from deepspin_ase.heisenberg.spins import directions, transverse_force, undirected_sites
from deepspin_ase.heisenberg.terms import Anisotropy, anisotropy_tensors
from deepspin_ase.moments import ferromagnet, get_moments, set_moments
from deepspin_ase.quantities import MU_B
from deepspin_ase.vectors import Array, Magnitude, as_finite, resolve_magnitude, rotation_matrix

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class HeisenbergModel:
    """A spin model on the sites of a crystal or a cluster. Arrays are read-only; change it with ``replace``.

    Parameters
    ----------
    cell, pbc
        Cell (Å, (3, 3)) and periodic directions (3,).
    positions, numbers
        Sites: Å, (n, 3), and atomic numbers (n,). Sites without a moment may be listed, too.
    magnitudes
        Lengths of the moments, µB, (n,); 0 marks a site that is not magnetic.
    bonds
        Exchange tensors of ordered pairs, eV.
    anisotropy
        K_i, eV, (n, 3, 3), symmetric.
    field
        B, tesla, (3,).
    """

    cell: Array
    pbc: NDArray[np.bool_]
    positions: Array
    numbers: Integers
    magnitudes: Array
    bonds: Bonds
    anisotropy: Array
    field: Array = dataclass_field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        n = len(self.positions)
        shapes = {
            "cell": (3, 3),
            "pbc": (3,),
            "positions": (n, 3),
            "numbers": (n,),
            "magnitudes": (n,),
            "anisotropy": (n, 3, 3),
            "field": (3,),
        }
        for name, shape in shapes.items():
            array = as_finite(getattr(self, name), name)
            if array.shape != shape:
                raise InputError(f"{name} has shape {array.shape}; allowed for {n} sites: {shape}.")
            if name == "anisotropy":
                array = (array + array.transpose(0, 2, 1)) / 2
            array = array.astype({"pbc": bool, "numbers": np.int64}.get(name, float))
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if np.any(self.magnitudes < 0):
            raise InputError("magnitudes are lengths and must not be negative; signs belong to the moments.")
        if len(self.bonds) and (self.bonds.i.max() >= n or self.bonds.i.min() < 0):
            raise InputError(f"a bond names site {self.bonds.i.max()}; the {n} sites are counted from 0.")
        loose = np.setdiff1d(self.bonds.i, np.flatnonzero(self.magnitudes))
        if len(loose):
            raise InputError(f"site {loose[0]} has bonds but magnitude 0; give it a magnitude or take the bonds out.")

    @classmethod
    def from_shells(
        cls,
        atoms: Atoms,
        exchange: ShellValues,
        *,
        dmi: ShellValues | None = None,
        anisotropy: Anisotropy | None = None,
        field: ArrayLike = (0, 0, 0),
        magnitudes: Magnitude | None = None,
        tolerance: float = 0.01,
    ) -> HeisenbergModel:
        """Model from exchange constants per neighbour shell.

        Parameters
        ----------
        atoms
            Sites. Only atoms with a moment are magnetic, and shells are counted among them.
        exchange
            J in eV, per bond with each bond counted once: ``[J1, J2, ...]``, or ``{1: J1, 2.87: J}`` by shell
            number (int) or distance in Å (float), or either by species, ``{("Fe", "Co"): {1: J}}``. Each J is
            a number, a symmetric (3, 3) tensor, or a function of the bond vectors (b, 3) that returns (b,) or
            (b, 3, 3). Values from codes that count both orders without ½ (TB2J, UppASD, Liechtenstein) are
            multiplied by 2 first.
        dmi
            The same with Dzyaloshinskii-Moriya vectors D_ij: a number d means D = d·r̂, a function of the
            bond vectors returns (b, 3). ``interfacial_dmi(d, normal)`` makes one.
        anisotropy
            (3, 3), ``{"Co": (3, 3)}`` or (n, 3, 3), eV, see ``uniaxial``.
        field
            Tesla.
        magnitudes
            µB; default the lengths of the moments that the atoms carry.
        tolerance
            Å; distances closer than this belong to one shell.

        Raises
        ------
        InputError
            A shell that does not exist (the message lists those that do), atoms without moments, wrong
            shapes.
        """
        lengths = _magnitudes(atoms, magnitudes)
        bonds = shell_bonds(atoms, lengths > 0, exchange, dmi, tolerance=tolerance)
        return cls._on(atoms, lengths, bonds, anisotropy, field)

    @classmethod
    def from_function(
        cls,
        atoms: Atoms,
        exchange: Callable[[Array], ArrayLike],
        cutoff: float | None = None,
        *,
        dmi: VectorFunction | None = None,
        anisotropy: Anisotropy | None = None,
        field: ArrayLike = (0, 0, 0),
        magnitudes: Magnitude | None = None,
    ) -> HeisenbergModel:
        """Model with J(r) between all magnetic sites.

        Parameters
        ----------
        atoms, anisotropy, field, magnitudes
            As in :meth:`from_shells`.
        exchange
            Maps distances (Å) to J (eV).
        cutoff
            Å; default ``exchange.cutoff`` if it has one.
        dmi
            Maps bond vectors (b, 3) to D (b, 3).
        """
        lengths = _magnitudes(atoms, magnitudes)
        radius = getattr(exchange, "cutoff", None) if cutoff is None else cutoff
        if radius is None:
            raise InputError("cutoff is missing: give it in Å, or use a function with one (Exponential, ...).")
        bonds = function_bonds(atoms, lengths > 0, exchange, float(radius), dmi)
        return cls._on(atoms, lengths, bonds, anisotropy, field)

    @classmethod
    def from_bonds(
        cls,
        atoms: Atoms,
        bonds: Bonds | Iterable[BondEntry],
        *,
        anisotropy: Anisotropy | None = None,
        field: ArrayLike = (0, 0, 0),
        magnitudes: Magnitude | None = None,
    ) -> HeisenbergModel:
        """Model from a list of (i, j, image, J), each bond once; see :meth:`from_shells` for the options."""
        listed = bonds if isinstance(bonds, Bonds) else Bonds.from_list(bonds)
        return cls._on(atoms, _magnitudes(atoms, magnitudes), listed, anisotropy, field)

    @classmethod
    def _on(
        cls, atoms: Atoms, lengths: Array, bonds: Bonds, anisotropy: Anisotropy | None, field: ArrayLike
    ) -> HeisenbergModel:
        tensors = anisotropy_tensors(anisotropy, atoms.numbers, lengths > 0)
        return cls(
            cell=atoms.cell.array,
            pbc=atoms.pbc,
            positions=atoms.positions,
            numbers=atoms.numbers,
            magnitudes=lengths,
            bonds=bonds,
            anisotropy=tensors,
            field=np.asarray(field),
        )

    def __len__(self) -> int:
        return len(self.positions)

    def exchange_field(self, spins: Array) -> Array:
        """Σ_j J_ij·s_j, eV, (n, 3), for spin vectors s (n, 3): unit vectors, or whatever J is meant for."""
        operator = self._operator
        if operator.shape[0] == len(self):
            return np.asarray(operator @ spins)
        return np.asarray(operator @ spins.reshape(-1)).reshape(-1, 3)

    def energies(self, moments: ArrayLike) -> Array:
        """Energy per site, eV, (n,): half of each bond goes to either end.

        Parameters
        ----------
        moments
            (n, 3), µB. A moment of length zero has no direction and contributes nothing.
        """
        m, _, e = self._checked(moments)
        tensor = np.einsum("ia,iab,ib->i", e, self.anisotropy, e)
        return -0.5 * np.einsum("ia,ia->i", e, self.exchange_field(e)) - tensor - MU_B * m @ self.field

    def energy(self, moments: ArrayLike) -> float:
        """Energy, eV, for moments (n, 3) in µB."""
        return float(self.energies(moments).sum())

    def magnetic_forces(self, moments: ArrayLike) -> Array:
        """-dE/dm, eV/µB, (n, 3): exchange and anisotropy act across the moment (with 1/|m|), plus µB B.

        Raises
        ------
        InputError
            If a site with exchange or anisotropy has a moment of length zero: the derivative does not exist
            there.
        """
        _, length, e = self._checked(moments)
        h = self.exchange_field(e) + 2.0 * np.einsum("iab,ib->ia", self.anisotropy, e)
        undirected = undirected_sites(length, h, np.asarray(self.anisotropy.any(axis=(1, 2))))
        return transverse_force(h, e, length, undirected) + MU_B * self.field

    def fields(self, moments: ArrayLike) -> Array:
        """Effective fields B = -dE/dm / µB, tesla, (n, 3)."""
        return self.magnetic_forces(moments) / MU_B

    def exchange_matrix(self, q: ArrayLike = (0, 0, 0)) -> NDArray[np.complex128]:
        """J_ij(q) = Σ_S J_ij(S) exp(2πi q·S), eV, (n, n, 3, 3), q in fractions of the reciprocal cell."""
        result = np.zeros((len(self), len(self), 3, 3), dtype=complex)
        phase = np.exp(2j * np.pi * self.bonds.image @ np.asarray(q, dtype=float))
        np.add.at(result, (self.bonds.i, self.bonds.j), phase[:, None, None] * self.bonds.tensor)
        return result

    def to_atoms(self) -> Atoms:
        """Sites as a structure that carries a ferromagnet along z."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        set_moments(atoms, ferromagnet(atoms, self.magnitudes))
        return atoms

    def repeat(self, repeats: int | tuple[int, int, int]) -> HeisenbergModel:
        """Model of a supercell, sites ordered as in ``Atoms.repeat``."""
        return self.on(self.to_atoms().repeat(repeats))

    def on(self, atoms: Atoms, sites: SiteMap | None = None) -> HeisenbergModel:
        """Model on the atoms of a supercell, in any order, displaced or strained: same bonds, same tensors.

        Bonds through a boundary that is open in ``atoms`` are dropped. Magnitudes stay those of the sites.
        ``sites`` is the result of an earlier search.

        Raises
        ------
        InputError
            If the structure is no supercell of this model.
        """
        found = self.match(atoms) if sites is None else sites
        bonds = found.bonds(self.bonds, atoms.pbc)
        return type(self)(
            cell=atoms.cell.array,
            pbc=atoms.pbc,
            positions=atoms.positions,
            numbers=atoms.numbers,
            magnitudes=self.magnitudes[found.site],
            bonds=bonds,
            anisotropy=self.anisotropy[found.site],
            field=self.field,
        )

    def match(self, atoms: Atoms) -> SiteMap:
        """Which site every atom of a supercell is; raises InputError if the structure is none."""
        return match_sites(self.to_atoms(), atoms, self._site_classes)

    def rotated(self, rotation: float | ArrayLike, axis: ArrayLike | str | None = None) -> HeisenbergModel:
        """Lattice, tensors and field turned together, by degrees about an axis or by a (3, 3) matrix."""
        r = rotation_matrix(rotation, axis)
        axial = np.sign(np.linalg.det(r)) * r
        turned = replace_tensors(self.bonds, r @ self.bonds.tensor @ r.T)
        return replace(
            self,
            cell=self.cell @ r.T,
            positions=self.positions @ r.T,
            bonds=turned,
            anisotropy=r @ self.anisotropy @ r.T,
            field=axial @ self.field,
        )

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` file."""
        own = {name: getattr(self, name) for name in _OWN}
        bonds = {f"bond_{name}": getattr(self.bonds, name) for name in ("i", "j", "image", "tensor")}
        with Path(path).open("wb") as file:
            np.savez_compressed(file, format_version=_FORMAT, **own, **bonds)

    @classmethod
    def load(cls, path: str | Path) -> HeisenbergModel:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            if int(data["format_version"]) != _FORMAT:
                raise InputError(f"{path} has format version {data['format_version']}; known: {_FORMAT}.")
            bonds = Bonds(*(data[f"bond_{name}"] for name in ("i", "j", "image", "tensor")))
            return cls(**{name: data[name] for name in _OWN}, bonds=bonds)

    @cached_property
    def _operator(self) -> csr_array | bsr_array:
        """Exchange as a sparse matrix: (n, n) if isotropic, else (3n, 3n)."""
        n, b = len(self), self.bonds
        pointers = np.searchsorted(b.i, np.arange(n + 1))
        if b.isotropic:
            return csr_array((b.tensor[:, 0, 0], b.j, pointers), shape=(n, n))
        return bsr_array((b.tensor, b.j, pointers), shape=(3 * n, 3 * n), blocksize=(3, 3))

    def _site_classes(self) -> Integers:
        own = np.column_stack([self.anisotropy.reshape(-1, 9), self.magnitudes])
        return site_classes(self.bonds, self.bonds.vectors(self.positions, self.cell), own)

    def _checked(self, moments: ArrayLike) -> tuple[Array, Array, Array]:
        m = as_finite(moments, "moments")
        if m.shape != (len(self), 3):
            raise InputError(
                f"moments have shape {m.shape}; allowed: ({len(self)}, 3) in µB. "
                "For a supercell use model.repeat(...) or the calculator Heisenberg(model)."
            )
        return m, *directions(m)


_OWN = ("cell", "pbc", "positions", "numbers", "magnitudes", "anisotropy", "field")


def replace_tensors(bonds: Bonds, tensor: Array) -> Bonds:
    """Return the same bonds with other tensors."""
    return Bonds(bonds.i, bonds.j, bonds.image, tensor)


def _magnitudes(atoms: Atoms, magnitudes: Magnitude | None) -> Array:
    if magnitudes is not None:
        return np.abs(resolve_magnitude(atoms, magnitudes, name="magnitudes"))
    lengths = np.linalg.norm(get_moments(atoms), axis=1)
    if not lengths.any():
        raise InputError(
            "the structure carries no moments, so no site is magnetic; use set_moments(atoms, ...) "
            "first or give "
            'magnitudes=, for instance {"Fe": 2.2}.'
        )
    return lengths
