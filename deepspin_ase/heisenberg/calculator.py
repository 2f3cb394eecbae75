"""ASE calculator of spin models: the package's Lennard-Jones, cheap and exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, all_changes
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg.bonds import Bonds
from deepspin_ase.heisenberg.mapping import SiteMap, nearest_distance
from deepspin_ase.heisenberg.model import HeisenbergModel
from deepspin_ase.heisenberg.pairs import PairSums
from deepspin_ase.heisenberg.shells import add_bonds
from deepspin_ase.heisenberg.spins import Spins, directions, transverse_force, undirected_sites
from deepspin_ase.heisenberg.terms import (
    Landau,
    PairFunction,
    PairTable,
    SpeciesPair,
    anisotropy_by_species,
    species_number,
)
from deepspin_ase.magnetic_calculator import MagneticCalculator
from deepspin_ase.moments import get_moments
from deepspin_ase.quantities import ALL_PROPERTIES, ENERGIES, MAGNETIC_FORCES, MAGNETIC_TORQUES, MU_B, STRESS
from deepspin_ase.vectors import Array, as_finite

Pairs = PairFunction | Mapping[SpeciesPair, PairFunction]


class Heisenberg(MagneticCalculator):
    """Energies, forces, stress, magnetic forces and torques of a classical spin model.

    Either the exchange is bound to the sites of a crystal (``model``; the tensors are constant, so lattice
    forces vanish), or it follows the atoms (``exchange``; J(r) gives forces and stress, too). Everything else
    is optional:

        E = -½ Σ_{i≠j} J(r_ij) e_i·e_j - ½ Σ_{i≠j} L(r_ij) [(e_i·r̂)(e_j·r̂) - e_i·e_j/3]
            - Σ_i e_i·K_i·e_i - Σ_i µB m_i·B + Σ_i (a m_i² + b m_i⁴ + c m_i⁶) + E_lattice(R)

    Parameters
    ----------
    model
        Spin model. The structure must be a supercell of it: any atom order, displaced, shifted, strained.
    exchange
        J(r) in eV: one function for all pairs of moments, or ``{("Ni", "Ni"): Exponential(...)}`` by species.
    pseudo_dipolar
        L(r) in eV, likewise: the part of spin-orbit coupling that turns with the lattice.
    anisotropy
        K in eV by species, ``{"Co": uniaxial(1e-4, "z")}``; the tensors stay fixed in space.
    field
        B in tesla, (3,); default the one of the model, or none. Change it with :meth:`set_field`.
    landau
        Longitudinal energy by species, ``{"Fe": Landau(a, b)}``.
    lattice
        Energy without spins: a pair function (Morse, ...), a dict of them by species, or any ASE calculator.
    normalise
        True: exchange and anisotropy act on unit vectors e, as in the conventions. False: they act on m
        itself, with J in eV/µB²; then the energy is smooth at |m| = 0, and forces along m appear, too.

    Raises
    ------
    InputError
        On calculation: the structure carries no moments; it is no supercell of the model; or magnetic forces
        are asked for where a coupled moment has length zero while ``normalise`` is true. In the energy such a
        moment has no direction and contributes nothing.
    """

    implemented_properties = list(ALL_PROPERTIES)  # noqa: RUF012

    def __init__(
        self,
        model: HeisenbergModel | None = None,
        *,
        exchange: Pairs | None = None,
        pseudo_dipolar: Pairs | None = None,
        anisotropy: Mapping[str, ArrayLike] | None = None,
        field: ArrayLike | None = None,
        landau: Mapping[str, Landau] | None = None,
        lattice: Pairs | BaseCalculator | None = None,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        if model is not None and not isinstance(model, HeisenbergModel):
            raise TypeError(f"model = {model!r}; allowed: a HeisenbergModel, or exchange=J(r) instead of a model.")
        terms = (model, exchange, pseudo_dipolar, anisotropy, field, landau, lattice)
        if all(term is None for term in terms):
            raise InputError("Heisenberg() has no term; give a model, or exchange=, anisotropy=, field=, ...")
        self.model = model
        self.normalise = bool(normalise)
        self._exchange = None if exchange is None else PairTable(exchange, name="exchange")
        self._dipolar = None if pseudo_dipolar is None else PairTable(pseudo_dipolar, name="pseudo_dipolar")
        self._anisotropy = anisotropy_by_species(anisotropy or {})
        self._landau = {species_number(symbol, "landau"): term for symbol, term in (landau or {}).items()}
        self._lattice_calc = lattice if isinstance(lattice, BaseCalculator) else None
        is_table = lattice is not None and self._lattice_calc is None
        self._lattice = PairTable(lattice, name="lattice") if is_table else None  # type: ignore[arg-type]
        self._field = np.zeros(3)
        self.set_field(field if field is not None else np.zeros(3) if model is None else model.field)
        self._pairs = PairSums(self._exchange, self._dipolar, self._lattice)
        self._map: SiteMap | None = None
        self._bound: HeisenbergModel | None = None
        self._sites = None if model is None else model.to_atoms()
        self._limit = 0.0 if self._sites is None else 0.4 * nearest_distance(self._sites)
        self._check_lattice_calculator()

    def set_field(self, field: ArrayLike) -> None:
        """Set the magnetic field (tesla, (3,)); earlier results are dropped."""
        array = as_finite(field, "field")
        if array.shape != (3,):
            raise InputError(f"field has shape {array.shape}; allowed: (3,) in tesla.")
        self._field = array
        self.reset()

    @property
    def field(self) -> Array:
        """Magnetic field, tesla, (3,); a copy."""
        return self._field.copy()

    def to_model(self, atoms: Atoms) -> HeisenbergModel:
        """Spin model of the present positions: for magnons, Monte Carlo, exports.

        Parameters
        ----------
        atoms
            Structure; the lengths of its moments become the magnitudes.

        Returns
        -------
        HeisenbergModel
            With ``normalise=False`` J_ij is multiplied by |m_i||m_j|, K_i by |m_i|².
        """
        length = np.linalg.norm(get_moments(atoms), axis=1)
        scale = np.where(length > 0.0, 1.0 if self.normalise else length, 0.0)
        parts = []
        anisotropy = np.zeros((len(atoms), 3, 3))
        if self.model is not None:
            bound = self._bind(atoms)
            parts.append((bound.bonds.i, bound.bonds.j, bound.bonds.image, bound.bonds.tensor))
            anisotropy += bound.anisotropy
        if self._exchange is not None or self._dipolar is not None:
            parts.append(self._pairs.exchange_tensors(atoms))
        for number, tensor in self._anisotropy.items():
            anisotropy[atoms.numbers == number] += tensor
        bonds = add_bonds(parts)
        keep = (scale[bonds.i] > 0.0) & (scale[bonds.j] > 0.0) & bonds.tensor.any(axis=(1, 2))
        i, j = bonds.i[keep], bonds.j[keep]
        tensor = bonds.tensor[keep] * (scale[i] * scale[j])[:, None, None]
        return HeisenbergModel.from_bonds(
            atoms,
            Bonds(i, j, bonds.image[keep], tensor),
            anisotropy=anisotropy * scale[:, None, None] ** 2,
            field=self._field,
        )

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Calculate everything; ASE calls this."""
        super().calculate(atoms, list(properties), list(system_changes))
        assert self.atoms is not None
        given = self._given_moments(self.atoms)
        moments = get_moments(self.atoms)
        length, unit = directions(moments)
        spins = Spins(unit if self.normalise else moments)
        virial = np.zeros((3, 3))
        forces = np.zeros_like(moments)
        energies = -MU_B * moments @ self._field
        energies += self._site_terms(spins)
        self._pairs.update(self.atoms)
        self._pairs.add(spins, energies, forces, virial)
        longitudinal = self._landau_terms(moments, energies)

        results: dict[str, Any] = {"forces": forces, "magmoms": given}
        total = float(energies.sum())
        if self._lattice_calc is not None:
            total += self._lattice_part(results, energies, virial)
        results |= {"energy": total, "free_energy": total}
        if ENERGIES in self.implemented_properties:
            results[ENERGIES] = energies
        if self.atoms.cell.rank == 3 and STRESS in self.implemented_properties:
            results[STRESS] = ((virial + virial.T) / 2 / self.atoms.get_volume()).flat[[0, 4, 8, 5, 2, 1]]
        undirected = (
            undirected_sites(length, spins.h, spins.anisotropic)
            if self.normalise
            else np.zeros(len(length), dtype=bool)
        )
        wanted = {MAGNETIC_FORCES, MAGNETIC_TORQUES} & set(properties)
        if wanted or not undirected.any():
            field = transverse_force(spins.h, unit, length, undirected) if self.normalise else spins.h
            magnetic = field + longitudinal + MU_B * self._field
            results |= {MAGNETIC_FORCES: magnetic, MAGNETIC_TORQUES: np.cross(moments, magnetic)}
        self.results = results

    def _site_terms(self, spins: Spins) -> Array:
        """Energies of the bound model and the anisotropies; their part of -dE/ds goes to the spins."""
        assert self.atoms is not None
        s = spins.s
        energies = np.zeros(len(s))
        tensor = np.zeros((len(s), 3, 3))
        if self.model is not None:
            bound = self._bind(self.atoms)
            h = bound.exchange_field(s)
            energies -= 0.5 * np.einsum("ia,ia->i", s, h)
            tensor += bound.anisotropy
            spins.h += h
        for number, k in self._anisotropy.items():
            tensor[self.atoms.numbers == number] += k
        spins.anisotropic |= tensor.any(axis=(1, 2))
        half = np.einsum("iab,ib->ia", tensor, s)
        spins.h += 2.0 * half
        return energies - np.einsum("ia,ia->i", s, half)

    def _landau_terms(self, moments: Array, energies: Array) -> Array:
        """Magnetic forces of the longitudinal energy, which is added to the energies."""
        assert self.atoms is not None
        result = np.zeros_like(moments)
        m2 = np.einsum("ia,ia->i", moments, moments)
        for number, term in self._landau.items():
            who = self.atoms.numbers == number
            energies[who] += term.energy(m2[who])
            result[who] = -2.0 * term.slope(m2[who])[:, None] * moments[who]
        return result

    def _lattice_part(self, results: dict[str, Any], energies: Array, virial: Array) -> float:
        """Add what an ASE calculator for the lattice gives; returns its energy."""
        assert self.atoms is not None
        assert self._lattice_calc is not None
        bare = self.atoms.copy()
        bare.set_array("initial_magmoms", None)
        bare.set_constraint()
        calc = self._lattice_calc
        results["forces"] = results["forces"] + calc.get_property("forces", bare)
        if ENERGIES in self.implemented_properties:
            energies += calc.get_property("energies", bare)
        if STRESS in self.implemented_properties and bare.cell.rank == 3:
            voigt = np.asarray(calc.get_property("stress", bare)) * bare.get_volume()
            virial += voigt[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
        return float(calc.get_property("energy", bare))

    def _check_lattice_calculator(self) -> None:
        """Give only what the calculator of the lattice gives, too."""
        if self._lattice_calc is None:
            return
        offered = self._lattice_calc.implemented_properties
        if MAGNETIC_FORCES in offered or "forces" not in offered:
            raise InputError(
                f"lattice={type(self._lattice_calc).__name__} must give forces and must not depend on "
                "the moments "
                f"(no magnetic_forces); it gives {', '.join(offered)}."
            )
        optional = {ENERGIES, STRESS}
        self.implemented_properties = [p for p in ALL_PROPERTIES if p not in optional or p in offered]

    def _bind(self, atoms: Atoms) -> HeisenbergModel:
        """Model on these atoms; the bonds are kept while every atom stays near its site."""
        assert self.model is not None
        assert self._sites is not None
        if self._bound is not None and self._map is not None and len(self._bound) == len(atoms):
            same_boundaries = np.array_equal(self._bound.pbc, atoms.pbc)
            if same_boundaries and self._map.holds(self._sites, atoms, self._limit):
                return self._bound
        self._map = self.model.match(atoms)
        self._bound = self.model.on(atoms, self._map)
        return self._bound

    @staticmethod
    def _given_moments(atoms: Atoms) -> Array:
        if not atoms.has("initial_magmoms"):
            raise InputError(
                "the structure carries no moments; use set_moments(atoms, ...) first (zeros, if that "
                "is meant). "
                "Copies made by other programs often lose them."
            )
        return atoms.get_initial_magnetic_moments()
