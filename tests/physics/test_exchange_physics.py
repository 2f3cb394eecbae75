"""Exchange from derivatives and from fits: what goes in comes out, by every route."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase import DeepSpin, Heisenberg, HeisenbergModel, get_moments, random_directions, set_moments
from deepspin_ase.data import Frame
from deepspin_ase.heisenberg import Exponential, uniaxial
from deepspin_ase.moments import ferromagnet, tilt
from deepspin_plugins.exchange import ExchangeResult, exchange_tensors, fit_heisenberg, moment_hessian
from tests.plugins.exchange_cases import Biquadratic, low_symmetry_crystal, nickel_oxide, random_model, traceless
from tests.potentials import disordered_nio, random_calculator

NEUTRON = {"J1": 1.37e-3, "J2": -19.01e-3}  # eV, unit vectors, each bond once, J > 0 ferromagnetic


class ExactHeisenberg(Heisenberg):
    """Heisenberg model (J acting on m itself) that gives its exact Hessian, as DeepSpin does."""

    def get_hessian(self, atoms: Atoms, *, kind: str) -> np.ndarray:
        assert kind == "moments"
        assert not self.normalise
        model = self.model.on(atoms)
        result = np.zeros((len(atoms), 3, len(atoms), 3))
        b = model.bonds
        np.add.at(result.transpose(0, 2, 1, 3), (b.i, b.j), -b.tensor)
        site = np.arange(len(atoms))
        np.add.at(result.transpose(0, 2, 1, 3), (site, site), -2 * model.anisotropy)
        return result


@pytest.mark.parametrize("state", ["collinear", "ferrimagnet along [1 2 3]", "random directions"])
@pytest.mark.parametrize(
    ("method", "normalise"), [("autograd", False), ("finite-differences", False), ("finite-differences", True)]
)
def test_tensors_and_anisotropy_of_a_model_come_back(
    method: str, normalise: bool, state: str, rng: np.random.Generator
) -> None:
    atoms = low_symmetry_crystal()
    states = {
        "collinear": ferromagnet(atoms, [2.2, 1.6]),
        "ferrimagnet along [1 2 3]": ferromagnet(atoms, [2.2, -1.6], (1, 2, 3)),
        "random directions": random_directions(atoms, [2.2, 1.6], 3),
    }
    set_moments(atoms, states[state])
    calc = ExactHeisenberg(random_model(rng), normalise=normalise)
    result = exchange_tensors(atoms, calc, cutoff=3.2, method=method)  # type: ignore[arg-type]
    expected = calc.to_model(atoms)
    found = result.to_model()
    tolerance = 1e-8 if normalise else 1e-12  # finite differences of unit vectors have an error in the fourth order
    np.testing.assert_array_equal(found.bonds.image, expected.bonds.image)
    np.testing.assert_allclose(found.bonds.tensor, expected.bonds.tensor, atol=tolerance)
    np.testing.assert_allclose(found.anisotropy, traceless(expected.anisotropy), atol=tolerance)
    np.testing.assert_allclose(found.magnitudes, expected.magnitudes)
    assert result.spin_orbit
    assert result.method == method
    assert np.abs(found.bonds.tensor - expected.bonds.tensor).max() <= result.errors.max() + 1e-14
    if not normalise:
        assert result.errors.max() < 1e-12


def test_energy_of_the_recovered_model_is_that_of_the_calculator(rng: np.random.Generator) -> None:
    atoms = low_symmetry_crystal()
    calc = Heisenberg(random_model(rng))
    model = exchange_tensors(atoms, calc, cutoff=3.2).to_model()
    energies = []
    for seed in range(2):
        set_moments(atoms, random_directions(atoms, [2.2, 1.6], seed))
        energies.append(calc.get_potential_energy(atoms) - model.energy(get_moments(atoms)))
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)  # the trace of the anisotropy is a constant


def test_curvature_term_makes_a_turn_of_everything_cost_nothing() -> None:
    """Leaving out (F^m·m̂)/|m| would leave Σ_j J_ij in place of zero."""
    iron = bulk("Fe", a=2.87)
    set_moments(iron, [2.2])
    for normalise in (True, False):
        calc = Heisenberg(exchange=Exponential(strength=0.01, r0=2.5, decay=0.5, cutoff=4.5), normalise=normalise)
        result = exchange_tensors(iron, calc, cutoff=4.5)
        total = np.zeros((3, 3))
        for tensor in result.bonds.tensor:
            total += tensor
        across = np.diag([1.0, 1.0, 0.0])
        np.testing.assert_allclose(result.onsite[0], across @ total @ across, atol=1e-9)
        assert total[0, 0] > 0.05
        assert not result.anisotropy.any()
        assert not result.spin_orbit


def test_anisotropy_is_not_confused_with_exchange() -> None:
    """The curvature at an easy axis is J(0) + 2 K, and K comes back without its trace."""
    iron = bulk("Fe", a=2.87)
    model = HeisenbergModel.from_shells(iron, [0.02], magnitudes=2.2, anisotropy=uniaxial(1e-4, "z"))
    set_moments(iron, [2.2])
    result = exchange_tensors(iron, Heisenberg(model), cutoff=2.6)
    assert result.onsite[0, 0, 0] == pytest.approx(8 * 0.02 + 2e-4, abs=1e-9)
    np.testing.assert_allclose(result.anisotropy[0], np.diag([-1, -1, 2]) * 1e-4 / 3, atol=1e-10)
    assert [shell.exchange for shell in result.shells()] == pytest.approx([0.02])


def test_pairs_at_half_the_supercell_are_divided_between_their_images() -> None:
    chain = Atoms("Fe", cell=[2.5, 9, 9], pbc=(True, False, False))
    set_moments(chain, [2.0])
    model = HeisenbergModel.from_shells(chain, [0.02, 0.005])
    result = exchange_tensors(chain, Heisenberg(model), cutoff=5.0, supercell=(4, 1, 1))
    assert [(shell.multiplicity, shell.exchange) for shell in result.shells()] == [
        (2.0, pytest.approx(0.02)),
        (2.0, pytest.approx(0.005)),  # +2 and -2 are one atom of the supercell
    ]


def test_what_is_left_out_is_reported() -> None:
    iron = bulk("Fe", a=2.87)
    set_moments(iron, [2.2])
    model = HeisenbergModel.from_shells(iron, [0.02, 0.01, -0.003])
    result = exchange_tensors(iron, Heisenberg(model), cutoff=3.0, supercell=4)
    assert len(result) == 14
    assert result.beyond == pytest.approx(0.003)
    assert exchange_tensors(iron, Heisenberg(model), cutoff=4.1).beyond == pytest.approx(0.0, abs=1e-12)


def test_multi_spin_terms_give_the_exchange_of_small_deviations() -> None:
    """About a collinear state J e·e + B (e·e)² has the second derivatives of J + 2 B (e_i·e_j)."""
    iron = bulk("Fe", a=2.87, cubic=True)
    for sign, expected in ((1, 0.02 + 2 * 0.003), (-1, 0.02 - 2 * 0.003)):
        set_moments(iron, np.array([[0, 0, 2.2], [0, 0, sign * 2.2]]))
        result = exchange_tensors(iron, Biquadratic(0.02, 0.003, 2.6), cutoff=2.6)
        assert [shell.exchange for shell in result.shells()] == pytest.approx([expected], rel=1e-6)


def test_exact_and_finite_difference_hessians_agree(rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    for spin_orbit in (False, True):
        calc = random_calculator(spin_orbit=spin_orbit)
        exact = moment_hessian(atoms, calc, method="autograd")
        numerical = moment_hessian(atoms, calc, sites=[0, 5], method="finite-differences")
        scale = np.abs(exact.rows).max()
        np.testing.assert_allclose(numerical.rows, exact.rows[[0, 5]], atol=1e-6 * scale)
        np.testing.assert_allclose(numerical.magnetic_forces, exact.magnetic_forces)
        assert np.abs(numerical.rows - exact.rows[[0, 5]]).max() < np.abs(numerical.deviation).max()


@pytest.fixture(scope="module")
def result() -> ExchangeResult:
    """Exchange of NiO with the shipped model, three shells."""
    return exchange_tensors(nickel_oxide(), DeepSpin("nio"), cutoff=5.2, method="finite-differences")


class TestNickelOxide:
    """The shipped model ``nio``: one set of exchange constants by three routes."""

    def test_second_neighbours_couple_antiferromagnetically_as_neutrons_say(self, result: ExchangeResult) -> None:
        first, second, *rest = result.shells()
        assert (first.multiplicity, second.multiplicity) == (12, 6)
        assert second.exchange == pytest.approx(NEUTRON["J2"], rel=0.35)
        assert abs(first.exchange) < 3e-3
        assert all(abs(shell.exchange) < 0.05 * abs(second.exchange) for shell in rest)
        assert not result.spin_orbit
        assert max(np.abs(result.dmi).max(), np.abs(result.symmetric).max()) < 1e-6

    def test_supercell_is_large_enough(self, result: ExchangeResult) -> None:
        assert result.beyond < 1e-4

    def test_fit_of_small_deviations_gives_the_same_constants(self, result: ExchangeResult) -> None:
        atoms = nickel_oxide()
        calc = DeepSpin("nio")
        big = atoms.repeat(3)
        order = get_moments(big)
        frames = []
        for seed in range(6):
            set_moments(big, tilt(order, 1.0, seed))
            big.calc = calc
            frames.append(Frame.from_calculation(big))
        fit = fit_heisenberg(frames, cutoff=7.9, reference=atoms)
        shells = result.shells()
        assert fit.exchange[1] == pytest.approx(shells[1].exchange, rel=0.01)
        assert fit.exchange[0] == pytest.approx(shells[0].exchange, abs=0.01 * abs(shells[1].exchange))
        assert fit.exchange_errors[1] < 0.01 * abs(fit.exchange[1])

    @pytest.mark.slow
    def test_exact_hessian_gives_the_same_constants(self, result: ExchangeResult) -> None:
        matrix = np.rint(2 * 4.186 * np.linalg.inv(nickel_oxide().cell.array)).astype(int)  # 64 atoms, cubic
        both = [
            exchange_tensors(nickel_oxide(), DeepSpin("nio"), cutoff=4.186, supercell=matrix, method=method)
            for method in ("autograd", "finite-differences")
        ]
        assert [result.method for result in both] == ["autograd", "finite-differences"]
        np.testing.assert_allclose(both[0].isotropic, both[1].isotropic, atol=1e-8)
        assert both[0].shells()[1].exchange == pytest.approx(result.shells()[1].exchange, rel=0.02)  # smaller cell
