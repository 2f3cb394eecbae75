"""``exchange_tensors``, ``moment_hessian``: supercells, symmetry, results on disk, wrong input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT

from deepspin_ase import Heisenberg, HeisenbergModel, get_moments, set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, Exponential, dm_tensor, interfacial_dmi, uniaxial
from deepspin_ase.moments import ferromagnet
from deepspin_ase.plugin import PluginError, check_calculator
from deepspin_plugins.exchange import ExchangeResult, exchange_tensors, moment_hessian, symmetrised
from deepspin_plugins.exchange.plugin import plugin
from deepspin_plugins.exchange.supercell import make_supercell, shortest_period
from tests.plugins.exchange_cases import Biquadratic, low_symmetry_crystal, nickel_oxide, random_model


@pytest.fixture
def iron() -> Atoms:
    atoms = bulk("Fe", a=2.87)
    set_moments(atoms, [2.2])
    return atoms


@pytest.fixture
def shells(iron: Atoms) -> Heisenberg:
    """J1 = 20, J2 = 10 meV and Dzyaloshinskii-Moriya vectors of 2 meV along the nearest-neighbour bonds."""
    return Heisenberg(HeisenbergModel.from_shells(iron, [0.02, 0.01], dmi=[0.002]))


@pytest.fixture
def result(iron: Atoms, shells: Heisenberg) -> ExchangeResult:
    return exchange_tensors(iron, shells, cutoff=3.0)


class TestSupercell:
    """Which supercell, and which image."""

    @pytest.mark.parametrize("cutoff", [2.0, 4.3, 6.0, 9.0])
    def test_automatic_supercell_holds_the_cutoff_and_is_not_wasteful(self, cutoff: float) -> None:
        big = make_supercell(nickel_oxide(), "auto", cutoff)
        assert big.largest_cutoff >= cutoff - 2e-3
        sphere = 4 / 3 * np.pi * cutoff**3
        assert big.atoms.get_volume() < 4 * sphere + 30

    def test_first_cell_comes_first_and_keeps_its_place(self) -> None:
        atoms = nickel_oxide()
        big = make_supercell(atoms, [[2, -1, 0], [0, 2, 0], [0, 1, 2]], 1.0)
        np.testing.assert_allclose(big.atoms.positions[:4], atoms.positions)
        np.testing.assert_array_equal(big.atoms.numbers, np.tile(atoms.numbers, 8))
        expected = atoms.positions[big.site] + big.offset @ atoms.cell.array
        np.testing.assert_allclose(big.atoms.positions, expected)
        np.testing.assert_array_equal(get_moments(big.atoms)[:, 2], np.tile([1.2737, -1.2737, 0, 0], 8))

    @pytest.mark.parametrize("seed", range(3))
    def test_images_are_the_nearest_ones_of_a_skewed_cell(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        atoms = Atoms("Fe3", positions=rng.uniform(-9, 9, (3, 3)), pbc=True)
        atoms.set_cell(np.array([[3.0, 0, 0], [7.5, 3.0, 0], [-5.2, 8.1, 3.5]]))
        set_moments(atoms, 1.0)
        big = make_supercell(atoms, 2, 0.1)
        row, atom, offset, vector, weight = big.images(np.array([0, 1]))
        np.testing.assert_allclose(np.bincount(row, weights=weight), len(big.atoms))
        ranges = (range(-40, 41), range(-12, 13), range(-4, 5))
        shift = np.array(np.meshgrid(*ranges)).reshape(3, -1).T @ big.atoms.cell.array
        for a in range(len(big.atoms)):
            brute = np.linalg.norm(big.atoms.positions[a] + shift - atoms.positions[1], axis=1).min()
            own = (row == 1) & (atom == a)
            np.testing.assert_allclose(np.linalg.norm(vector[own], axis=1), brute, atol=2e-3)
        ends = atoms.positions[big.site[atom]] + offset @ atoms.cell.array - atoms.positions[row]
        np.testing.assert_allclose(vector, ends, atol=1e-9)

    def test_open_directions_are_not_repeated(self) -> None:
        slab = fcc111("Ni", (1, 1, 2), a=3.52, vacuum=4.0)
        set_moments(slab, 0.6)
        big = make_supercell(slab, "auto", 4.0)
        assert big.matrix[2].tolist() == [0, 0, 1]
        assert big.largest_cutoff >= 4.0
        exchange = Exponential(strength=0.01, r0=2.5, decay=0.5, cutoff=4.0)
        found = exchange_tensors(slab, Heisenberg(exchange=exchange), cutoff=3.9)
        expected = Heisenberg(exchange=exchange).to_model(slab)
        np.testing.assert_allclose(found.bonds.tensor[:, 0, 0].sum(), expected.bonds.tensor[:, 0, 0].sum(), rtol=1e-3)

    def test_absurd_cutoffs_are_refused_before_anything_is_built(self, iron: Atoms) -> None:
        with pytest.raises(InputError, match=r"needs a supercell of .* atoms"):
            make_supercell(iron, "auto", 45.0)

    def test_a_molecule_needs_no_supercell(self) -> None:
        dimer = Atoms("Fe2", positions=[[0, 0, 0], [2.2, 0, 0]])
        set_moments(dimer, [2.0, -2.0])
        calc = Heisenberg(exchange=Exponential(strength=0.01, r0=2.2, decay=0.5, cutoff=8.0))
        found = exchange_tensors(dimer, calc, cutoff=5.0)
        assert len(found) == 2
        assert found.isotropic == pytest.approx([0.01, 0.01])
        assert shortest_period(dimer) == np.inf

    def test_cutoff_beyond_half_the_supercell_is_refused_with_advice(self, iron: Atoms, shells: Heisenberg) -> None:
        with pytest.raises(InputError, match=r"half the shortest period.*supercell=\[\[") as problem:
            exchange_tensors(iron, shells, cutoff=4.1, supercell=3)
        matrix = eval(str(problem.value).split("supercell=")[1].split(" (")[0])
        assert exchange_tensors(iron, shells, cutoff=4.1, supercell=matrix).cutoff == 4.1

    @pytest.mark.parametrize(
        ("supercell", "message"),
        [
            ("big", "allowed"),
            ((2, 2), "allowed"),
            (1.5, "allowed"),
            (-2, "positive"),
            (np.zeros((3, 3)), "positive"),
        ],
    )
    def test_wrong_supercells(self, iron: Atoms, shells: Heisenberg, supercell: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            exchange_tensors(iron, shells, cutoff=2.0, supercell=supercell)  # type: ignore[arg-type]


class TestSymmetry:
    """``symmetrise``, on a triangular layer on a substrate: inversion is broken, sixfold axis along z."""

    @pytest.fixture
    def layer(self) -> Atoms:
        cell = [[2.7, 0, 0], [-1.35, 1.35 * np.sqrt(3), 0], [0, 0, 12.0]]
        atoms = Atoms("CoPt", positions=[[0, 0, 0], [0, 0, 2.1]], cell=cell, pbc=(True, True, False))
        set_moments(atoms, {"Co": 1.8, "Pt": 0.0})
        return atoms

    @pytest.fixture
    def interface(self, layer: Atoms) -> Heisenberg:
        dmi = [interfacial_dmi(0.002, "z")]
        model = HeisenbergModel.from_shells(layer, [0.02, 0.005], dmi=dmi, anisotropy={"Co": uniaxial(5e-4)})
        return Heisenberg(model)

    def test_symmetric_tensors_stay(self, layer: Atoms, interface: Heisenberg) -> None:
        plain = exchange_tensors(layer, interface, cutoff=4.7)
        clean = exchange_tensors(layer, interface, cutoff=4.7, symmetrise=True)
        np.testing.assert_allclose(clean.bonds.tensor, plain.bonds.tensor, atol=1e-9)
        np.testing.assert_allclose(clean.anisotropy, plain.anisotropy, atol=1e-9)
        assert np.abs(clean.dmi).max() > 1e-3

    def test_noise_is_averaged_and_counts_as_error(
        self, layer: Atoms, interface: Heisenberg, rng: np.random.Generator
    ) -> None:
        plain = exchange_tensors(layer, interface, cutoff=4.7)
        b = plain.bonds
        noise = rng.normal(size=b.tensor.shape) * 1e-4
        back = np.lexsort((*(-b.image.T[::-1]), b.i, b.j))
        noise = (noise + noise[back].transpose(0, 2, 1)) / 2
        clean = symmetrised(replace(plain, bonds=Bonds(b.i, b.j, b.image, b.tensor + noise)))
        rest = np.linalg.norm(clean.bonds.tensor - b.tensor)
        assert 0.0 < rest < 0.5 * np.linalg.norm(noise)
        assert clean.errors.max() > 1e-5
        np.testing.assert_allclose(symmetrised(clean).bonds.tensor, clean.bonds.tensor, atol=1e-15)

    def test_what_the_lattice_forbids_is_removed_and_counts_as_error(
        self, iron: Atoms, shells: Heisenberg, result: ExchangeResult
    ) -> None:
        """bcc has inversion centres in the middle of all bonds: no Dzyaloshinskii-Moriya vectors."""
        assert np.abs(result.dmi).max() > 1e-3
        clean = exchange_tensors(iron, shells, cutoff=3.0, symmetrise=True)
        assert np.abs(clean.dmi).max() < 1e-12
        assert clean.errors.max() == pytest.approx(np.abs(result.dmi).max(), rel=1e-6)

    def test_collinear_state_without_spin_orbit_has_the_symmetry_of_the_lattice(self) -> None:
        """NiO along z: the direction means nothing, so all nearest neighbours of one kind are equivalent."""
        atoms = nickel_oxide()
        model = HeisenbergModel.from_shells(atoms, [0.001, -0.016])
        found = exchange_tensors(atoms, Heisenberg(model), cutoff=4.2, symmetrise=True)
        assert not found.spin_orbit
        assert [shell.multiplicity for shell in found.shells()] == [12, 6]
        assert max(shell.spread for shell in found.shells()) < 1e-10

    def test_structure_without_a_cell_is_refused(self) -> None:
        dimer = Atoms("Fe2", positions=[[0, 0, 0], [2.2, 0, 0]])
        set_moments(dimer, 2.0)
        calc = Heisenberg(exchange=Exponential(strength=0.01, r0=2.2, decay=0.5, cutoff=8.0))
        with pytest.raises(InputError, match="three cell vectors"):
            exchange_tensors(dimer, calc, cutoff=5.0, symmetrise=True)


class TestResult:
    """The frozen result."""

    def test_parts_add_up_to_the_tensor(self, rng: np.random.Generator) -> None:
        found = exchange_tensors(low_symmetry_crystal(), Heisenberg(random_model(rng)), cutoff=3.2)
        parts = found.isotropic[:, None, None] * np.eye(3) + dm_tensor(found.dmi) + found.symmetric
        np.testing.assert_allclose(parts, found.bonds.tensor)
        np.testing.assert_allclose(np.trace(found.symmetric, axis1=1, axis2=2), 0.0, atol=1e-15)

    def test_shells_and_table(self, result: ExchangeResult) -> None:
        first, second = result.shells()
        assert (first.species, first.multiplicity, second.multiplicity) == (("Fe", "Fe"), 8, 6)
        assert first.exchange == pytest.approx(0.02)
        assert first.dmi == pytest.approx(0.002)
        assert first.spread < 1e-9
        table = result.table()
        assert "20.0000" in table
        assert "with spin-orbit coupling" in table
        assert "left out beyond 3 Å" in table

    def test_different_species_are_counted_per_atom_of_the_first(self) -> None:
        atoms = bulk("FeCo", "cesiumchloride", a=2.85)
        set_moments(atoms, {"Fe": 2.8, "Co": 1.7})
        model = HeisenbergModel.from_shells(atoms, {("Fe", "Co"): {1: 0.03}, ("Fe", "Fe"): {1: 0.01}})
        shells = exchange_tensors(atoms, Heisenberg(model), cutoff=2.9).shells()
        assert [(s.species, s.multiplicity, round(s.exchange, 9)) for s in shells] == [
            (("Co", "Fe"), 8, 0.03),
            (("Co", "Co"), 6, 0.0),
            (("Fe", "Fe"), 6, 0.01),
        ]

    def test_save_and_load_are_exact(self, result: ExchangeResult, tmp_path: Path) -> None:
        path = tmp_path / "exchange"
        result.save(path)
        again = ExchangeResult.load(path)
        assert again.table() == result.table()
        np.testing.assert_array_equal(again.bonds.tensor, result.bonds.tensor)
        np.testing.assert_array_equal(again.onsite, result.onsite)
        assert again.spin_orbit is True

    @pytest.mark.parametrize("kind", ["foreign", "truncated", "text"])
    def test_other_files_are_refused(self, result: ExchangeResult, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "file.npz"
        result.save(path)
        if kind == "foreign":
            np.savez(path, energy=np.array(1.0))
        elif kind == "truncated":
            path.write_bytes(path.read_bytes()[:500])
        else:
            path.write_text("J = 1", encoding="utf-8")
        with pytest.raises(InputError, match="no file of"):
            ExchangeResult.load(path)

    def test_arrays_are_read_only(self, result: ExchangeResult) -> None:
        with pytest.raises(ValueError, match="read-only"):
            result.errors[0] = 1.0

    def test_plot_has_units_and_shows_both_kinds_of_exchange(self, result: ExchangeResult) -> None:
        axes = result.plot()
        assert axes.get_xlabel() == "distance (Å)"
        assert axes.get_ylabel() == "J, |D| (meV)"
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert sorted(labels) == ["Fe-Fe J", "Fe-Fe |D|"]

    def test_shorter_cutoff_counts_what_is_left_out(self, result: ExchangeResult) -> None:
        shorter = result.within(2.6)
        assert len(shorter) == 8
        assert shorter.beyond == pytest.approx(0.01)
        assert len(shorter.to_model().bonds) == 8

    def test_model_takes_a_field_and_skips_atoms_without_moment(self) -> None:
        atoms = nickel_oxide()
        model = HeisenbergModel.from_shells(atoms, [0.001, -0.016])
        built = exchange_tensors(atoms, Heisenberg(model), cutoff=4.2).to_model(field=(0, 0, 2.0))
        assert built.magnitudes.tolist() == pytest.approx([1.2737, 1.2737, 0, 0])
        assert built.field.tolist() == [0, 0, 2.0]


class TestHessian:
    """``moment_hessian``."""

    def test_calculator_that_can_give_rows_is_asked_for_rows(self, iron: Atoms) -> None:
        asked = []

        class Rows(Biquadratic):
            def get_hessian(self, atoms: Atoms, *, kind: str, rows: np.ndarray) -> np.ndarray:
                asked.append((kind, rows.tolist()))
                return np.zeros((len(rows), 3, len(atoms), 3))

        found = moment_hessian(iron.repeat(2), Rows(0.01, 0.0, 2.6), sites=[3])
        assert asked == [("moments", [3])]
        assert found.rows.shape == (1, 3, 8, 3)
        assert found.method == "autograd"

    def test_structure_and_calculator_state_are_left_alone(self, iron: Atoms, shells: Heisenberg) -> None:
        before = get_moments(iron)
        moment_hessian(iron, shells, method="finite-differences")
        np.testing.assert_array_equal(get_moments(iron), before)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"method": "magic"}, "allowed: auto"),
            ({"method": "autograd"}, "has no get_hessian"),
            ({"sites": [5]}, "0 to 0"),
            ({"sites": []}, "at least one"),
            ({"step": 0.0}, "positive"),
            ({"step": float("nan")}, "positive"),
        ],
    )
    def test_wrong_options(self, iron: Atoms, shells: Heisenberg, options: dict[str, object], message: str) -> None:
        with pytest.raises(InputError, match=message):
            moment_hessian(iron, shells, **options)  # type: ignore[arg-type]


class TestWrongInput:
    """Errors that say what to do."""

    def test_no_magnetic_forces(self, iron: Atoms) -> None:
        with pytest.raises(PluginError, match="magnetic_forces"):
            exchange_tensors(iron, EMT(), cutoff=2.6)
        with pytest.raises(PluginError, match="calculator"):
            exchange_tensors(iron, cutoff=2.6)
        with pytest.raises(PluginError):
            check_calculator(plugin, EMT())

    def test_no_moments(self, shells: Heisenberg) -> None:
        with pytest.raises(InputError, match="set_moments"):
            exchange_tensors(bulk("Fe", a=2.87).repeat(1).copy()[:0], shells, cutoff=2.6)
        bare = bulk("Fe", a=2.87)
        set_moments(bare, 0.0)
        with pytest.raises(InputError, match="no atom has a moment"):
            exchange_tensors(bare, shells, cutoff=2.6)

    @pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan"), float("inf")])
    def test_cutoff(self, iron: Atoms, shells: Heisenberg, cutoff: float) -> None:
        with pytest.raises(InputError, match="cutoff"):
            exchange_tensors(iron, shells, cutoff=cutoff)

    def test_external_field_would_look_like_anisotropy(self, iron: Atoms) -> None:
        model = HeisenbergModel.from_shells(iron, [0.02], field=(0, 0, 1.0), anisotropy=uniaxial(1e-4))
        with pytest.raises(InputError, match="field"):
            exchange_tensors(iron, Heisenberg(model), cutoff=2.6)

    def test_results_that_are_not_finite(self, iron: Atoms) -> None:
        with pytest.raises(InputError, match="NaN"):
            exchange_tensors(iron, Biquadratic(np.nan, 0.0, 2.6), cutoff=2.6)

    def test_periodic_without_a_lattice_vector(self, shells: Heisenberg) -> None:
        atoms = Atoms("Fe", pbc=True)
        set_moments(atoms, 2.0)
        with pytest.raises(InputError, match="zero"):
            exchange_tensors(atoms, shells, cutoff=2.6)


def test_state_at_any_angle_gives_the_same_isotropic_exchange(iron: Atoms) -> None:
    model = HeisenbergModel.from_shells(iron, [0.02, 0.01])
    for direction in ((1, 0, 0), (1, 1, 1), (0.3, -0.5, 0.2)):
        set_moments(iron, ferromagnet(iron, 2.2, direction))
        found = exchange_tensors(iron, Heisenberg(model), cutoff=3.0)
        assert [shell.exchange for shell in found.shells()] == pytest.approx([0.02, 0.01], abs=1e-10)
        assert np.abs(found.symmetric).max() < 1e-10
