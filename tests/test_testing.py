"""The conformance kit finds what is wrong, and only that."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase.heisenberg import Exponential, Heisenberg, Landau, Morse
from deepspin_ase.moments import get_moments, random_directions, set_moments
from deepspin_ase.testing import (
    ConformanceError,
    check_cache_invalidation,
    check_cutoff_smoothness,
    check_extensivity,
    check_forces,
    check_inversion,
    check_magnetic_forces,
    check_permutation,
    check_results,
    check_rotation,
    check_spin_rotation,
    check_stress,
    check_time_reversal,
    check_torques,
    check_translation,
    check_zero_moment_smoothness,
    run_conformance,
)
from deepspin_ase.testing.run import CHECKS


class Good(Heisenberg):
    """A calculator that obeys everything without spin-orbit coupling."""

    def __init__(self, **options):
        super().__init__(
            exchange=Exponential(strength=0.01, r0=2.5, decay=0.5, cutoff=4.2),
            landau={"Fe": Landau(-0.1, 0.01), "Co": Landau(-0.05, 0.02)},
            lattice=Morse(depth=0.4, r0=2.5, stiffness=1.3, cutoff=4.5),
            normalise=False,
            **options,
        )


class Scaled(Good):
    """Multiply results by factors."""

    factors: dict[str, float] = {}  # noqa: RUF012

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        for name, factor in self.factors.items():
            self.results[name] = factor * self.results[name]


def scaled(**factors: float) -> type[Scaled]:
    return type("Scaled", (Scaled,), {"factors": factors})


class Added(Good):
    """Add an energy with the right derivatives: self-consistent, but against a symmetry."""

    def extra(self, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        raise NotImplementedError

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        energy, forces, field = self.extra(self.atoms)
        self.results["energy"] = self.results["free_energy"] = self.results["energy"] + energy
        self.results["forces"] = self.results["forces"] + forces
        self.results["magnetic_forces"] = self.results["magnetic_forces"] + field
        torque = np.cross(get_moments(self.atoms), self.results["magnetic_forces"])
        self.results["magnetic_torques"] = torque
        self.results["energies"] = self.results["energies"] + energy / len(self.atoms)


class OddInMoments(Added):
    """An external field: breaks time reversal and rotations, keeps the rest."""

    def extra(self, atoms):
        m = get_moments(atoms)
        return -0.01 * m[:, 2].sum(), 0.0, np.tile([0, 0, 0.01], (len(m), 1))


class PinnedInSpace(Added):
    """An external potential: breaks translation."""

    def extra(self, atoms):
        x = atoms.positions[:, 0]
        forces = np.zeros((len(x), 3))
        forces[:, 0] = -2e-3 * x
        return 1e-3 * (x**2).sum(), forces, 0.0


class OrderMatters(Added):
    """The first atom is special: breaks permutation."""

    def extra(self, atoms):
        m = get_moments(atoms)
        field = np.zeros_like(m)
        field[0] = -0.02 * m[0]
        return 0.01 * m[0] @ m[0], 0.0, field


class PolarMoments(Added):
    """E = r·(m x m') of one pair: breaks the inversion with axial moments, but not time reversal."""

    def extra(self, atoms):
        m = get_moments(atoms)
        v = atoms.get_distance(0, 1, mic=True, vector=True)
        c = np.cross(m[0], m[1])
        field = np.zeros_like(m)
        field[0], field[1] = -0.01 * np.cross(m[1], v), -0.01 * np.cross(v, m[0])
        forces = np.zeros_like(m)
        forces[1], forces[0] = -0.01 * c, 0.01 * c
        return 0.01 * c @ v, forces, field


class NotExtensive(Added):
    """An energy that grows with the square of the number of atoms."""

    def extra(self, atoms):
        m = get_moments(atoms)
        total = (m * m).sum()
        return 1e-4 * total**2, 0.0, -4e-4 * total * m


class Stale(Good):
    """Notices no change of some inputs."""

    ignored: tuple[str, ...] = ()

    def check_state(self, atoms, tol=1e-15):
        return [change for change in super().check_state(atoms, tol) if change not in self.ignored]


class KeepsPairs(Good):
    """Keeps its neighbour list when positions or cell change."""

    def __init__(self):
        super().__init__()
        update = self._pairs.update
        self._pairs.update = lambda atoms: None if hasattr(self._pairs, "i") else update(atoms)


class Unswitched(Exponential):
    """An exchange function that is cut off without a switch."""

    def evaluate(self, r):
        value, slope = self.bare(np.asarray(r, dtype=float))
        inside = np.asarray(r) < self.cutoff
        return np.where(inside, value, 0.0), np.where(inside, slope, 0.0)


@pytest.fixture
def atoms(rng: np.random.Generator) -> Atoms:
    structure = bulk("Fe", a=2.8665, cubic=True).repeat((2, 2, 1))
    structure.symbols[[1, 6]] = "Co"
    structure.positions += rng.normal(scale=0.05, size=(8, 3))
    set_moments(structure, random_directions(structure, {"Fe": 2.2, "Co": 1.7}, rng))
    return structure


def failing(report) -> set[str]:
    return {result.name for result in report.failures}


FAST = ("cutoff_smoothness",)


def test_good_calculator_passes_everything(atoms):
    report = run_conformance(Good, atoms)
    report.raise_if_failed()
    assert report.passed
    assert [r.name for r in report] == list(CHECKS)
    assert {r.status for r in report} == {"passed"}
    assert all(0 <= r.deviation <= 1 for r in report)


def test_good_instance_passes_as_well_as_a_factory(atoms):
    run_conformance(Good(), atoms, skip=FAST).raise_if_failed()
    run_conformance(lambda: Good(), atoms, skip=FAST).raise_if_failed()


def test_structure_and_calculator_are_left_as_they_were(atoms):
    atoms.calc = calc = Good()
    energy = atoms.get_potential_energy()
    before = atoms.copy()
    run_conformance(calc, atoms, skip=FAST)
    assert atoms == before
    np.testing.assert_array_equal(get_moments(atoms), get_moments(before))
    assert atoms.get_potential_energy() == energy


def test_clusters_and_partly_periodic_cells_are_checked_too(atoms):
    atoms.pbc = False
    atoms.cell = None
    report = run_conformance(Good, atoms, skip=FAST)
    report.raise_if_failed()
    assert report["stress"].status == "skipped"
    assert report["extensivity"].status == "passed"
    slab = bulk("Fe", a=2.8665, cubic=True)
    slab.center(vacuum=5, axis=2)
    slab.pbc = (True, True, False)
    set_moments(slab, 2.2)
    run_conformance(Good, slab, skip=FAST).raise_if_failed()


@pytest.mark.parametrize("perturb", [True, False])
def test_perturbation_is_what_makes_a_perfect_crystal_a_sharp_test(perturb):
    crystal = bulk("Fe", a=2.8665, cubic=True)
    set_moments(crystal, 2.2)
    report = run_conformance(scaled(forces=-1.0), crystal, perturb=perturb, skip=FAST)
    assert ("forces" in failing(report)) == perturb


# one error at a time: exactly the checks that must see it do


@pytest.mark.parametrize(
    ("factors", "expected", "message"),
    [
        ({"magnetic_forces": -1.0}, {"magnetic_forces", "torques"}, "sign is reversed"),
        ({"magnetic_forces": 2.0, "magnetic_torques": 2.0}, {"magnetic_forces"}, "twice the expected value"),
        ({"magnetic_forces": 0.5, "magnetic_torques": 0.5}, {"magnetic_forces"}, "half the expected value"),
        ({"magnetic_torques": -1.0}, {"torques"}, "sign is reversed"),
        ({"stress": -1.0}, {"stress"}, "sign is reversed"),
        ({"stress": 160.21766}, {"stress"}, "It is 160.2 times"),
        ({"forces": -1.0}, {"forces"}, "sign is reversed"),
        ({"forces": 1.001}, {"forces"}, "difference"),
        ({"energies": 0.5}, {"results"}, "half the expected value"),
        ({"free_energy": 1.1}, {"results"}, "the energy is"),
        ({"magmoms": 1.1}, {"results"}, "given were"),
    ],
)
def test_wrong_factors_are_found_and_named(atoms, factors, expected, message):
    report = run_conformance(scaled(**factors), atoms, skip=FAST)
    assert failing(report) == expected
    assert any(message in result.message for result in report.failures)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (OddInMoments, {"rotation", "time_reversal", "spin_rotation", "zero_moment_smoothness"}),
        # the stress of these two lacks the extra term on purpose
        (PinnedInSpace, {"stress", "translation", "rotation", "extensivity"}),
        (PolarMoments, {"stress", "permutation", "inversion", "spin_rotation", "extensivity"}),
        (OrderMatters, {"permutation", "extensivity"}),
        (NotExtensive, {"extensivity"}),
    ],
)
def test_broken_symmetries_are_found(atoms, broken, expected):
    assert failing(run_conformance(broken, atoms, skip=FAST)) == expected


@pytest.mark.parametrize(
    ("ignored", "what"),
    [
        (("positions",), "positions"),
        (("initial_magmoms",), "moments"),
        (("cell",), "cell"),
        (("numbers",), "species"),
    ],
)
@pytest.mark.parametrize("factory", [True, False])
def test_stale_results_are_found_and_the_change_is_named(atoms, ignored, what, factory):
    broken = type("Stale", (Stale,), {"ignored": ignored})
    with pytest.raises(ConformanceError, match=f"stale after {what} changed in place"):
        check_cache_invalidation(broken if factory else broken(), atoms)


def test_stale_neighbour_list_inside_is_found(atoms):
    with pytest.raises(ConformanceError, match="stale after positions changed in place"):
        check_cache_invalidation(KeepsPairs, atoms)


def test_sharp_cutoff_is_found_with_its_distance(atoms):
    function = Unswitched(strength=0.01, r0=2.5, decay=0.5, cutoff=3.71)
    with pytest.raises(ConformanceError, match=r"of Fe-Fe jumps .* at 3\.7100"):
        check_cutoff_smoothness(Heisenberg(exchange=function), atoms)


def test_inner_kink_of_the_forces_is_found(atoms):
    class Shifted(Unswitched):
        def bare(self, r):
            value, slope = super().bare(r)
            return value - super().bare(np.array(self.cutoff))[0], slope

    exchange = Shifted(strength=0.01, r0=2.5, decay=0.5, cutoff=3.3)
    calc = Heisenberg(exchange=exchange, lattice=Morse(depth=0.4, r0=2.5, stiffness=1.3, cutoff=5.0))
    with pytest.raises(ConformanceError, match="jumps"):
        check_cutoff_smoothness(calc, atoms)


def test_non_interacting_atoms_have_no_jump(atoms):
    assert check_cutoff_smoothness(Heisenberg(landau={"Fe": Landau(-0.1, 0.01)}), atoms) == 0.0


def test_directions_are_not_smooth_at_zero_moment(atoms):
    calc = Heisenberg(exchange=Exponential(strength=0.01, r0=2.5, decay=0.5, cutoff=4.2))
    with pytest.raises(ConformanceError, match="stops with InputError"):
        check_zero_moment_smoothness(calc, atoms)

    class Cusp(Added):
        def extra(self, structure):
            m = get_moments(structure)
            length = np.linalg.norm(m, axis=1, keepdims=True)
            return 1e-3 * length.sum(), 0.0, -1e-3 * m / np.maximum(length, 1e-300)

    with pytest.raises(ConformanceError, match=r"smoothness at \|m\| = 0"):
        check_zero_moment_smoothness(Cusp, atoms)


def test_error_names_quantity_atom_and_both_numbers(atoms):
    class OneAtom(Good):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.results["forces"][6, 1] += 0.5

    with pytest.raises(ConformanceError, match=r"forces of atom 6 \(Co\), component y is .* eV/Å") as info:
        check_forces(OneAtom, atoms)
    error = info.value
    assert isinstance(error, AssertionError)
    assert (error.quantity, error.atom) == ("forces", 6)
    assert error.got - error.expected == pytest.approx(0.5, abs=1e-6)
    assert f"{error.got:.10g}" in str(error)
    assert f"{error.expected:.10g}" in str(error)


@pytest.mark.parametrize(
    "check",
    [
        check_results,
        check_forces,
        check_stress,
        check_magnetic_forces,
        check_torques,
        check_translation,
        check_permutation,
        check_rotation,
        check_inversion,
        check_time_reversal,
        check_spin_rotation,
        check_extensivity,
        check_cache_invalidation,
        check_zero_moment_smoothness,
    ],
)
def test_each_check_can_be_called_alone(atoms, check):
    assert 0.0 <= check(Good(), atoms) < 1.0


def test_not_a_number_is_a_failure(atoms):
    report = run_conformance(scaled(magnetic_forces=np.nan), atoms, skip=FAST)
    assert {"magnetic_forces", "torques", "translation"} <= failing(report)


def test_wrong_shapes_are_failures(atoms):
    class Full(Good):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.results["stress"] = np.zeros((3, 3))

    with pytest.raises(ConformanceError, match=r"stress has shape \(3, 3\), expected \(6,\)"):
        check_stress(Full, atoms)


def test_spin_orbit_skips_the_rotation_of_moments_alone(atoms):
    class Coupled(Good):
        def __init__(self):
            function = Exponential(strength=1e-3, r0=2.5, decay=0.5, cutoff=4.0)
            super().__init__(pseudo_dipolar=function)

    assert failing(run_conformance(Coupled, atoms, skip=FAST)) == {"spin_rotation"}
    report = run_conformance(Coupled, atoms, spin_orbit=True, skip=FAST)
    report.raise_if_failed()
    assert report["spin_rotation"].status == "skipped"


def test_calculator_without_magnetic_forces_fails_with_a_reason(atoms):
    class Plain(Good):
        implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    report = run_conformance(Plain, atoms, skip=FAST)
    assert report["forces"].status == "passed"
    assert report["magnetic_forces"].status == "failed"
    assert "magnetic_forces" in report["magnetic_forces"].message
    assert report["torques"].status == "skipped"


def test_exception_of_the_calculator_is_reported_and_the_rest_goes_on(atoms):
    class Fragile(Good):
        def calculate(self, structure=None, *args, **kwargs):
            if len(structure) > 8:
                raise MemoryError("too large")
            super().calculate(structure, *args, **kwargs)

    report = run_conformance(Fragile, atoms, skip=FAST)
    assert failing(report) == {"extensivity"}
    assert report["extensivity"].status == "error"
    assert report["extensivity"].message == "MemoryError: too large"


def test_report_shows_a_table_and_raises_once_with_everything(atoms):
    report = run_conformance(scaled(forces=-1.0, stress=-1.0), atoms, skip=FAST)
    text = str(report)
    assert "Scaled on Co2Fe6" in text
    assert "forces                  failed" in text
    assert "cutoff_smoothness       skipped" in text
    with pytest.raises(ConformanceError, match="fails 2 of 15 checks") as info:
        report.raise_if_failed()
    assert "stress" in str(info.value)
    assert "forces" in str(info.value)
    with pytest.raises(KeyError, match="no check 'speed'"):
        report["speed"]
    with pytest.raises(AttributeError):
        report.results = ()


def test_wrong_arguments_are_refused(atoms):
    with pytest.raises(ValueError, match=r"unknown checks: spin; known: results"):
        run_conformance(Good, atoms, skip=["spin"])
    with pytest.raises(TypeError, match="an ASE calculator"):
        run_conformance("deepspin", atoms)
    bare = atoms.copy()
    set_moments(bare, 0.0)
    with pytest.raises(ValueError, match="carries no moments"):
        run_conformance(Good, bare)
    with pytest.raises(ValueError, match="carries no moments"):
        check_magnetic_forces(Good, bare)
    atoms.pbc, atoms.cell = False, None
    with pytest.raises(ValueError, match="no three-dimensional cell"):
        check_stress(Good, atoms)


def test_tolerances_can_be_loosened_for_single_precision(atoms):
    class Single(Good):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            for name, value in self.results.items():
                self.results[name] = np.float32(value).astype(float)

    assert not run_conformance(Single, atoms, skip=FAST).passed
    report = run_conformance(Single, atoms, energy_tol=1e-5, rtol=2e-2, skip=[*FAST, "zero_moment_smoothness"])
    report.raise_if_failed()


def test_kit_does_not_need_pytest():
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['pytest'] = None; import deepspin_ase.testing; "
        "assert not any(name.startswith('torch') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
