"""Input, results, files, restart and executors of the phonons plugin."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from deepspin_ase import set_moments
from deepspin_ase.errors import InputError
from deepspin_plugins.phonons import (
    PhononBands,
    PhononDos,
    PhononResult,
    ThermalProperties,
    elastic_constants,
    match_atoms,
    moment_axis,
    phonons,
    to_ase,
    to_phonopy,
)
from tests.phonon_cases import nickel_oxide, rocksalt_springs
from tests.potentials import random_calculator

A = 4.2


@pytest.fixture
def salt() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=A)
    atoms.calc = rocksalt_springs(A, 3.0, 0.6)
    return atoms


@pytest.fixture(scope="module")
def aluminium() -> PhononResult:
    atoms = bulk("Al", a=3.995)
    atoms.calc = EMT()
    return phonons(atoms, supercell=(4, 4, 4), relax="cell")


# ---------------------------------------------------------------------- the bridge


def test_numbers_stay_numbers_and_vectors_vectors() -> None:
    atoms = bulk("Fe", "bcc", a=2.87, cubic=True)
    for moments in ([2.0, -2.0], [[0, 0, 2.0], [0, 1.0, 1.0]]):
        set_moments(atoms, moments)
        back = to_ase(to_phonopy(atoms))
        assert back.arrays["initial_magmoms"].shape == np.shape(moments)
        assert np.array_equal(back.arrays["initial_magmoms"], moments)
    set_moments(atoms, [[0, 1.0, 1.0], [0, -2.0, -2.0]])
    axis = moment_axis(atoms)
    assert axis == pytest.approx(np.array([0, 1, 1]) / np.sqrt(2))
    cell = to_phonopy(atoms, axis=axis)
    assert cell.magnetic_moments == pytest.approx([np.sqrt(2), -2 * np.sqrt(2)])
    assert to_ase(cell, axis=axis).arrays["initial_magmoms"] == pytest.approx(atoms.arrays["initial_magmoms"])


def test_structure_without_moments_stays_without() -> None:
    atoms = bulk("Cu")
    assert not to_ase(to_phonopy(atoms)).has("initial_magmoms")
    assert moment_axis(atoms) is None


def test_masses_positions_and_species_survive() -> None:
    atoms = bulk("NaCl", "rocksalt", a=A)
    atoms.set_masses([22.0, 37.0])
    atoms.positions += [0.1, -3.0, 9.0]
    back = to_ase(to_phonopy(atoms))
    assert back.get_masses() == pytest.approx([22.0, 37.0])
    assert back.positions == pytest.approx(atoms.positions)
    assert back.symbols.get_chemical_formula() == "ClNa"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.set_pbc([True, True, False]), "need a crystal"),
        (lambda atoms: atoms.__delitem__(slice(None)), "0 atoms"),
        (lambda atoms: atoms.positions.__setitem__((0, 0), np.nan), "finite"),
        (lambda atoms: atoms.numbers.__setitem__(0, 0), "element"),
        (lambda atoms: atoms.set_array("initial_magmoms", np.array([np.nan, 0.0])), "NaN"),
    ],
)
def test_structures_that_are_refused(salt: Atoms, change: Any, message: str) -> None:
    change(salt)
    with pytest.raises(InputError, match=message):
        phonons(salt)


def test_molecule_is_sent_elsewhere() -> None:
    with pytest.raises(InputError, match=r"ase\.vibrations"):
        phonons(molecule("H2O"), EMT())


def test_axis_that_moments_do_not_share() -> None:
    atoms = nickel_oxide((1, 0, 0))
    with pytest.raises(InputError, match="do not lie along"):
        to_phonopy(atoms, axis=(0, 0, 1))


def test_matching_needs_the_same_crystal(salt: Atoms) -> None:
    with pytest.raises(InputError, match="share number"):
        match_atoms(salt, salt.repeat(2))
    other = salt.copy()
    other.positions += 1.05
    with pytest.raises(InputError, match="one to one"):
        match_atoms(salt, other)


# ---------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "displacements, random, hessian"),
        ({"state": "free"}, "frozen, directions, relaxed"),
        ({"relax": "all"}, "positions, cell, none"),
        ({"distance": 0.0}, "positive number"),
        ({"distance": float("nan")}, "positive number"),
        ({"snapshots": 4}, "'random'"),
        ({"supercell": (2, 0, 2)}, "positive"),
        ({"supercell": (2.5, 2, 2)}, "integers"),
        ({"supercell": "big"}, "auto"),
        ({"supercell": [[1, 2], [3, 4]]}, "matrix"),
        ({"state": "relaxed"}, "magnetic_forces"),
    ],
)
def test_options_that_are_refused(salt: Atoms, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        phonons(salt, **options)


def test_no_calculator(salt: Atoms) -> None:
    salt.calc = None
    with pytest.raises(InputError, match="no calculator"):
        phonons(salt)


def test_hessian_route_needs_a_hessian() -> None:
    with pytest.raises(InputError, match="get_hessian"):
        phonons(bulk("Cu"), EMT(), method="hessian", supercell=2)


def test_moments_must_be_there_to_follow() -> None:
    atoms = nickel_oxide()
    set_moments(atoms, 0.0)
    with pytest.raises(InputError, match="no moments"):
        phonons(atoms, random_calculator(), state="relaxed", supercell=1)


def test_structure_that_is_not_at_rest_is_refused() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0] += 0.1
    with pytest.raises(InputError, match="not at rest"):
        phonons(atoms, EMT(), relax="none", supercell=1)


def test_relaxation_comes_first_and_leaves_the_input_alone() -> None:
    atoms = bulk("Cu", a=3.7, cubic=True)
    atoms.positions[0] += 0.05
    before = atoms.copy()
    result = phonons(atoms, EMT(), relax="cell", supercell=2)
    assert atoms == before
    assert result.residual_force < 1e-3
    assert result.unitcell.get_volume() / 4 == pytest.approx(3.594**3 / 4, rel=0.01)  # EMT's copper


def test_automatic_supercell_keeps_the_symmetry() -> None:
    result = PhononResult.from_force_constants(
        nickel_oxide(), "auto", np.zeros((4, 4 * round(_volume(nickel_oxide(), "auto")), 3, 3))
    )
    assert 60 <= len(result.supercell) <= 130
    per_cell = len(result.supercell) // 4
    assert len(result.phonon.symmetry.symmetry_operations["rotations"]) == 24 * per_cell  # R-3m and spin reversal


def _volume(atoms: Atoms, supercell: Any) -> float:
    from deepspin_plugins.phonons.cells import supercell_matrix

    return float(np.linalg.det(supercell_matrix(atoms, supercell)))


# ---------------------------------------------------------------------- forces


def test_restart_takes_what_is_there(salt: Atoms, tmp_path: Path) -> None:
    folder = tmp_path / "forces"
    first = phonons(salt, supercell=2, folder=folder)
    files = sorted(folder.glob("*.npy"))
    assert len(files) == 3  # at rest, Na moved, Cl moved
    calls = []

    class Counting(type(salt.calc)):  # type: ignore[misc]
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            calls.append(1)
            super().calculate(*args, **kwargs)

    def again() -> int:
        calls.clear()
        calc = Counting(salt.calc.vectors, salt.calc.matrices)
        result = phonons(salt, calc, supercell=2, folder=folder, relax="none")
        assert result.frequencies((0.1, 0.2, 0.3)) == pytest.approx(first.frequencies((0.1, 0.2, 0.3)), abs=1e-9)
        return len(calls)

    assert again() == 1  # the energy at rest, which names the run
    for file in files:
        file.write_bytes(b"cut off")
    assert again() == 3
    assert again() == 1


def test_other_moments_do_not_take_them(salt: Atoms, tmp_path: Path) -> None:
    phonons(salt, supercell=2, folder=tmp_path)
    set_moments(salt, [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])  # the same energy, as the springs know no moments
    phonons(salt, supercell=2, folder=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 6


def test_another_calculator_does_not_take_them(tmp_path: Path) -> None:
    soft, hard = random_calculator(seed=0), random_calculator(seed=1)
    crystal = nickel_oxide()
    one = phonons(crystal, soft, supercell=1, relax="none", folder=tmp_path)
    two = phonons(crystal, hard, supercell=1, relax="none", folder=tmp_path)
    alone = phonons(crystal, hard, supercell=1, relax="none")
    assert two.frequencies((0, 0, 0)) == pytest.approx(alone.frequencies((0, 0, 0)))
    assert np.abs(two.frequencies((0, 0, 0)) - one.frequencies((0, 0, 0))).max() > 0.1


def test_executor_gives_the_same(aluminium: PhononResult) -> None:
    with ThreadPoolExecutor(1) as pool:
        other = phonons(aluminium.unitcell, EMT(), supercell=(4, 4, 4), executor=pool)
    assert np.array_equal(other.frequencies((0.2, 0.3, 0.4)), aluminium.frequencies((0.2, 0.3, 0.4)))


def test_forces_that_are_not_finite_are_refused(salt: Atoms) -> None:
    class Broken(type(salt.calc)):  # type: ignore[misc]
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            self.results["forces"] = np.full_like(self.results["forces"], np.nan)

    with pytest.raises(InputError, match="not finite"):
        phonons(salt, Broken(salt.calc.vectors, salt.calc.matrices), supercell=2, relax="none")


# ---------------------------------------------------------------------- results


def test_a_calculator_without_moments_will_do(aluminium: PhononResult) -> None:
    """EMT's aluminium: sound and stress agree, the Debye temperature is of the order of aluminium's."""
    assert aluminium.lowest_frequency() > -1e-4
    assert not aluminium.supercell.has("initial_magmoms")
    stress = elastic_constants(aluminium.unitcell, EMT())
    assert stress.stiffness == pytest.approx(aluminium.sound().stiffness, abs=0.3)
    assert 250 < aluminium.debye_temperature < 450


def test_results_are_stored_and_drawn(aluminium: PhononResult, tmp_path: Path) -> None:
    results = (aluminium.bands(spacing=0.1), aluminium.dos(8), aluminium.thermal([0.0, 300.0], 8), aluminium.sound())
    for number, result in enumerate(results):
        path = tmp_path / f"{number}.npz"
        result.save(path)
        back = type(result).load(path)
        for name, value in vars(result).items():
            assert np.array_equal(getattr(back, name), value)
            assert not isinstance(value, np.ndarray) or not value.flags.writeable
        axes = result.plot()
        assert axes.get_xlabel()
        assert axes.get_ylabel()
    with pytest.raises(InputError, match="PhononBands"):
        PhononBands.load(tmp_path / "1.npz")
    assert isinstance(results[1].plot(upright=True).get_xlabel(), str)
    assert aluminium.plot().get_ylabel() == "frequency (THz)"


def test_density_of_states_counts_the_modes(salt: Atoms) -> None:
    dos: PhononDos = phonons(salt, supercell=2).dos(10)
    assert np.trapezoid(dos.density, dos.frequency) == pytest.approx(6.0, rel=0.01)
    assert dos.projected.sum(axis=0) == pytest.approx(dos.density)
    assert dos.species == ("Na", "Cl")
    each = np.trapezoid(dos.projected, dos.frequency)
    assert each == pytest.approx([3.0, 3.0], rel=0.02)


def test_thermal_limits(salt: Atoms) -> None:
    thermal: ThermalProperties = phonons(salt, supercell=2).thermal([0.0, 3000.0], mesh=7)
    assert thermal.entropy[0] == pytest.approx(0.0, abs=1e-9)
    assert thermal.heat_capacity == pytest.approx([0.0, 3.0], abs=0.02)
    frequencies = phonons(salt, supercell=2).phonon.run_mesh([7, 7, 7], is_gamma_center=True)
    mean = np.average(frequencies.frequencies.sum(axis=1), weights=frequencies.weights) / 2
    assert thermal.free_energy[0] == pytest.approx(0.5 * 4.135667696e-3 * mean, rel=1e-3)  # ½ h ν per mode


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.frequencies([0.1, 0.2]), "shape"),
        (lambda r: r.frequencies([np.nan, 0, 0]), "NaN"),
        (lambda r: r.thermal([-1.0]), "kelvin"),
        (lambda r: r.thermal([]), "kelvin"),
        (lambda r: r.dos(0), "mesh"),
        (lambda r: r.bands("GQ"), "unknown point"),
        (lambda r: r.bands(spacing=0.2).at("Q"), "no point"),
        (lambda r: elastic_constants(r.unitcell, EMT(), strain=0.5), "strain"),
        (lambda r: elastic_constants(r.unitcell), "stress"),
    ],
)
def test_wrong_questions(aluminium: PhononResult, call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(aluminium)


def test_force_constants_from_elsewhere(aluminium: PhononResult) -> None:
    constants = aluminium.phonon.force_constants
    other = PhononResult.from_force_constants(aluminium.unitcell, (4, 4, 4), constants)
    assert np.array_equal(other.frequencies((0.1, 0.2, 0.3)), aluminium.frequencies((0.1, 0.2, 0.3)))
    with pytest.raises(InputError, match="shape"):
        PhononResult.from_force_constants(aluminium.unitcell, (2, 2, 2), constants)


def test_phonopy_carries_on_with_our_yaml(aluminium: PhononResult, tmp_path: Path) -> None:
    """phonopy's own command reads the file, passes over our notes, and finds the same frequencies."""
    aluminium.save(tmp_path / "phonopy.yaml")
    code = "from phonopy.scripts.phonopy_load import run; run()"
    command = [sys.executable, "-c", code, "phonopy.yaml", "--qpoints", "0.5 0.5 0.5 0.1 0.2 0.3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    import yaml

    written = yaml.safe_load((tmp_path / "qpoints.yaml").read_text())
    found = [[band["frequency"] for band in point["band"]] for point in written["phonon"]]
    assert np.array(found) == pytest.approx(aluminium.frequencies([[0.5, 0.5, 0.5], [0.1, 0.2, 0.3]]), abs=1e-5)


@pytest.mark.parametrize("content", ["", "a: [1, 2", "unit_cell: 3\n"])
def test_foreign_yaml(tmp_path: Path, content: str) -> None:
    path = tmp_path / "phonopy.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match="phonopy"):
        PhononResult.load(path)
    with pytest.raises(InputError, match="no file"):
        PhononResult.load(tmp_path / "other.yaml")


def test_truncated_yaml(aluminium: PhononResult, tmp_path: Path) -> None:
    path = tmp_path / "phonopy.yaml"
    aluminium.save(path)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"phonopy\.yaml"):
        PhononResult.load(path)


def test_import_is_light() -> None:
    code = (
        "import sys, deepspin_plugins.phonons, deepspin_plugins.phonons.plugin;"
        "print([m for m in ('phonopy', 'torch', 'ase', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
