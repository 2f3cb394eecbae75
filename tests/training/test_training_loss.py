"""Loss, metrics and the training step against plain formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from torch_geometric.data import Batch

from deepspin_ase.data import Frame, Labels, frames_to_graphs
from deepspin_ase.model.checkpoint import place
from deepspin_ase.model.config import ModelConfig
from deepspin_ase.model.potential import Inputs, Outputs, Potential, energy_and_derivatives
from deepspin_ase.training.assembly import Assembly, assemble, training_module
from deepspin_ase.training.batches import (
    ShapeBatchSampler,
    StepInputs,
    batches_of_one_set,
    size_classes,
    slots_of,
    step_inputs,
)
from deepspin_ase.training.compiled_step import StepRunner, StepSetup
from deepspin_ase.training.config import LossSection, TrainingConfig
from deepspin_ase.training.evaluation import evaluate
from deepspin_ase.training.loss import LossWeights, Targets, huber_of_square, split_parallel, training_loss
from deepspin_ase.training.metrics import QUANTITIES, ErrorSums, metric_key
from deepspin_ase.training.preparation import Norms, attach_targets, fit_references, frame_weights

FULL = LossWeights(energy=1.3, forces=0.7, stress=0.4, magnetic_perp=1.7, magnetic_par=0.6, huber=0.5)


def random_rotation(seed: int) -> torch.Tensor:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return torch.from_numpy(q * np.linalg.det(q))


def random_problem(seed: int = 0) -> tuple[Outputs, torch.Tensor, Targets]:
    """Predictions and labels of two graphs with 3 and 4 atoms."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    direction = torch.nn.functional.normalize(draw(7, 3), dim=1)
    direction[2] = 0.0
    out = Outputs(draw(7), draw(7, 3), draw(2, 6), draw(7, 3))
    ones = torch.ones(7, dtype=torch.float64)
    targets = Targets(
        *(draw(2), draw(7, 3), draw(2, 6), draw(7, 3), direction, ones[:2], ones, ones[:2], ones),
        torch.tensor([3.0, 4.0], dtype=torch.float64),
        torch.tensor([0, 0, 0, 1, 1, 1, 1]),
    )
    return out, torch.tensor([0, 0, 0, 1, 1, 1, 1]), targets


def test_parts_add_up_to_the_whole() -> None:
    _, _, targets = random_problem()
    perp, par = split_parallel(targets.magnetic_forces, targets.direction)
    torch.testing.assert_close(perp + par.unsqueeze(1) * targets.direction, targets.magnetic_forces)
    torch.testing.assert_close((perp * targets.direction).sum(1), torch.zeros(7, dtype=torch.float64))
    torch.testing.assert_close(perp[2], targets.magnetic_forces[2])  # no direction: all of it is transverse


def test_equal_weights_give_the_plain_mean_square() -> None:
    out, batch, targets = random_problem()
    weights = LossWeights(energy=0.0, forces=0.0, stress=0.0, huber=None)
    loss, terms = training_loss(out, batch, targets, weights, Norms(magnetic=2.0))
    expected = ((out.magnetic_forces - targets.magnetic_forces) / 2.0).square().mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(terms[3] + terms[4], expected)


def test_huber_is_square_then_line() -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    expected = 2 * torch.nn.functional.huber_loss(x, torch.zeros_like(x), reduction="none", delta=0.8)
    torch.testing.assert_close(huber_of_square(x.square(), 0.8), expected)
    zero = torch.zeros(1, requires_grad=True)
    huber_of_square(zero.square(), 0.8).sum().backward()
    assert zero.grad is not None
    assert zero.grad.item() == 0.0


def test_loss_does_not_depend_on_the_axes() -> None:
    out, batch, targets = random_problem()
    lattice, spin = random_rotation(1), random_rotation(2)
    voigt = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]

    def turn(stress: torch.Tensor) -> torch.Tensor:
        full = torch.zeros(len(stress), 3, 3, dtype=torch.float64)
        for k, (a, b) in enumerate(voigt):
            full[:, a, b] = full[:, b, a] = stress[:, k]
        full = lattice @ full @ lattice.T
        return torch.stack([full[:, a, b] for a, b in voigt], dim=1)

    turned_out = Outputs(out.energies, out.forces @ lattice.T, turn(out.stress), out.magnetic_forces @ spin.T)
    turned = targets._replace(
        forces=targets.forces @ lattice.T,
        stress=turn(targets.stress),
        magnetic_forces=targets.magnetic_forces @ spin.T,
        direction=targets.direction @ spin.T,
    )
    before, _ = training_loss(out, batch, targets, FULL, Norms())
    after, _ = training_loss(turned_out, batch, turned, FULL, Norms())
    torch.testing.assert_close(after, before)


def test_scale_acts_on_its_data_set_only() -> None:
    out, batch, targets = random_problem()
    log_scale = torch.tensor([0.0, np.log(0.8)], dtype=torch.float64)
    factor = torch.where(targets.dataset == 1, 0.8, 1.0).unsqueeze(1)
    scaled = out._replace(magnetic_forces=out.magnetic_forces * factor)
    expected, _ = training_loss(scaled, batch, targets, FULL, Norms())
    found, _ = training_loss(out, batch, targets, FULL, Norms(), log_scale)
    torch.testing.assert_close(found, expected)


@pytest.fixture
def assembly(settings: Callable[..., dict[str, Any]]) -> Assembly:
    return assemble(TrainingConfig.from_dict(settings(runtime={"precision": "float64"})))


def make_step(assembly: Assembly, count: int = 3, *, extra: int = 0) -> StepInputs:
    graphs = assembly.training[:count]
    padded = sum(int(graph.num_nodes) for graph in graphs) + extra
    slots = slots_of(assembly.training) + (2 if extra else 0)
    return step_inputs(assembly.potential, Batch.from_data_list(graphs), slots=slots, padded=padded)


def runner(assembly: Assembly, *, compiled: bool = False) -> tuple[StepRunner, list[torch.Tensor]]:
    network = assembly.potential.network
    setup = StepSetup(assembly.potential.config.cutoff, FULL, assembly.norms)
    return StepRunner(network, setup, compiled=compiled), list(network.parameters())


def test_step_gradients_are_those_of_a_plain_backward(assembly: Assembly) -> None:
    step = make_step(assembly)
    run, params = runner(assembly)
    loss, terms, *gradients = run(params, step)
    out = energy_and_derivatives(
        assembly.potential.network, Inputs(*step.inputs), cutoff=assembly.potential.config.cutoff, create_graph=True
    )
    plain, plain_terms = training_loss(out, step.inputs.batch, step.targets, FULL, assembly.norms)
    plain.backward()
    torch.testing.assert_close(loss, plain.detach())
    torch.testing.assert_close(terms, plain_terms)
    for parameter, gradient in zip(params, gradients, strict=True):
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient, expected)


def test_padding_changes_nothing(assembly: Assembly) -> None:
    run, params = runner(assembly)
    for a, b in zip(run(params, make_step(assembly)), run(params, make_step(assembly, extra=5)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.slow
def test_compiled_step_is_used_and_agrees(assembly: Assembly) -> None:
    compiled, params = runner(assembly, compiled=True)
    plain, _ = runner(assembly)
    for _ in range(2):
        step = make_step(assembly, 2)
        for a, b in zip(compiled(params, step), plain(params, step), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    assert compiled.compiled_shapes == 1


def test_step_runs_without_a_compiler(
    assembly: Assembly, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no C++\n compiler\nlong story")

    monkeypatch.setattr("deepspin_ase.training.compiled_step._compile", broken)
    compiled, params = runner(assembly, compiled=True)
    plain, _ = runner(assembly)
    step = make_step(assembly)
    for _ in range(2):
        torch.testing.assert_close(compiled(params, step), plain(params, step))
    assert [r.message for r in caplog.records] == ["training steps are not compiled: RuntimeError: no C++ compiler"]


def test_wrong_compiled_results_are_refused(
    assembly: Assembly, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(function: Any, *_: Any) -> Any:
        def call(*args: Any) -> Any:
            loss, terms, *gradients = function(*args)
            return (loss, terms, *(1.001 * g for g in gradients))

        return call

    monkeypatch.setattr("deepspin_ase.training.compiled_step._compile", wrong)
    compiled, params = runner(assembly, compiled=True)
    plain, _ = runner(assembly)
    step = make_step(assembly)
    torch.testing.assert_close(compiled(params, step), plain(params, step))
    assert compiled.compiled_shapes == 0
    assert "differs by" in caplog.text


def test_weights_average_to_one_and_those_of_missing_labels_are_zero(iron_frames: list[Frame]) -> None:
    frames = [Frame(f.atoms, Labels(energy=f.labels.energy)) if i % 2 else f for i, f in enumerate(iron_frames)]
    graphs = frames_to_graphs(frames, 3.6)
    magnetic = torch.ones(119)
    norms = attach_targets(graphs, np.ones(40), torch.zeros(119, dtype=torch.float64), magnetic)
    for name in ("energy_weight", "forces_weight", "magnetic_weight"):
        assert float(torch.cat([g[name] for g in graphs]).mean()) == pytest.approx(1.0), name
    for i, graph in enumerate(graphs):
        assert bool((graph.forces_weight == 0).all()) == bool(i % 2)
        assert torch.isfinite(graph.forces).all()
    labels = np.concatenate([f.labels.magnetic_forces for f in iron_frames[::2]])
    assert norms.magnetic == pytest.approx(np.sqrt((labels**2).mean()))


def test_references_reproduce_energies_that_are_sums() -> None:
    frames = [
        Frame(Atoms(f"Ni{a}O{b}", positions=np.eye(a + b, 3) * 3), Labels(energy=-7.0 * a - 4.0 * b))
        for a, b in ((1, 1), (2, 1), (1, 2))
    ]
    np.testing.assert_allclose(fit_references(frames, [8, 28], np.ones(3)), [-4.0, -7.0])


def test_extreme_frames_weigh_less(iron_frames: list[Frame]) -> None:
    largest = [float(np.linalg.norm(f.labels.forces, axis=1).max()) for f in iron_frames]  # type: ignore[arg-type]
    limit = float(np.median(largest))
    weights = frame_weights(iron_frames, [2.0] * 40, LossSection(max_force=limit))
    for force, weight in zip(largest, weights, strict=True):
        assert weight == pytest.approx(2.0 * min(1.0, limit / force) ** 2)
    energies = np.array([f.energy_per_atom for f in iron_frames])
    by_energy = frame_weights(iron_frames, [1.0] * 40, LossSection(energy_window=0.01))
    assert by_energy[energies.argmin()] == 1.0
    assert by_energy[energies.argmax()] == pytest.approx((0.01 / np.ptp(energies)) ** 2)


def test_sampler_depends_on_seed_and_epoch_only() -> None:
    sizes = [32] * 10 + [33] * 7 + [8] * 3
    sampler = ShapeBatchSampler(sizes, 4, seed=3)
    sampler.set_epoch(5)
    first = list(sampler)
    other = ShapeBatchSampler(sizes, 4, seed=3)
    assert list(other) != first
    other.set_epoch(5)
    assert list(other) == first
    assert len(first) == len(sampler) == 5
    for batch in first:
        assert len({size_classes(sizes)[sizes[i]] for i in batch}) == 1
    used = [i for batch in first for i in batch]
    assert len(used) == len(set(used)) == 19
    halves = [ShapeBatchSampler(sizes, 4, seed=3, rank=rank, world=2) for rank in (0, 1)]
    for half in halves:
        half.set_epoch(5)
    assert [list(half) for half in halves] == [first[0:4:2], first[1:4:2]]


def test_errors_of_shifted_labels(iron_frames: list[Frame]) -> None:
    """A model compared with its own predictions plus known errors must report just these."""
    potential = place(
        Potential(ModelConfig(species=(26,), magnetic=(26,), channels=8, cutoff=3.6)), dtype=torch.float64
    )
    graphs = frames_to_graphs(iron_frames[:4], 3.6)
    rng = np.random.default_rng(0)
    sums, n = ErrorSums(), 8
    de, df = rng.normal(size=4), rng.normal(size=(4, n, 3))
    dm, ds = rng.normal(size=(4, n, 3)), rng.normal(size=(4, 6))
    m = np.array([f.moments for f in iron_frames[:4]])
    for k, graph in enumerate(graphs):
        out = potential(Batch.from_data_list([graph]))
        labels = {
            "energy": out["energy"].detach() - de[k],
            "forces": out["forces"] - torch.from_numpy(df[k]),
            "stress": out["stress"] - torch.from_numpy(ds[k : k + 1]),
            "magnetic_forces": out["magnetic_forces"] - torch.from_numpy(dm[k]),
            "moments": graph.moments,
        }
        sums.add(out, labels, magnetic=torch.ones(n, dtype=torch.bool), atoms=torch.tensor([n]))
    unit = m / np.linalg.norm(m, axis=2, keepdims=True)
    par = (dm * unit).sum(2)
    expected = {
        "energy": de / n,
        "force": df,
        "stress": ds,
        "magnetic_force": dm,
        "magnetic_force_par": par,
        "magnetic_force_perp": dm - par[..., None] * unit,
        "torque": np.cross(m, dm),
    }
    errors = sums.as_dict()
    assert set(expected) == set(QUANTITIES)
    assert errors["n_frames"] == 4
    for name, delta in expected.items():
        assert errors[metric_key(name, "rmse")] == pytest.approx(1e3 * np.sqrt(np.mean(delta**2))), name
        assert errors[metric_key(name, "mae")] == pytest.approx(1e3 * np.mean(np.abs(delta))), name
    whole, perp, par_ = (errors[metric_key(f"magnetic_force{part}", "rmse")] ** 2 for part in ("", "_perp", "_par"))
    assert whole == pytest.approx(perp + par_ / 3)


def test_missing_labels_leave_out_their_keys(iron_frames: list[Frame]) -> None:
    potential = Potential(ModelConfig(species=(26,), magnetic=(26,), channels=8, cutoff=3.6))
    frames = [
        Frame(iron_frames[0].atoms, Labels(energy=iron_frames[0].labels.energy)),
        Frame(iron_frames[1].atoms, Labels(forces=iron_frames[1].labels.forces)),
    ]
    errors = evaluate(potential, frames).errors
    assert "energy_rmse_mev_per_atom" in errors
    assert "force_mae_mev_per_ang" in errors
    assert not any("magnetic" in key or "stress" in key or "torque" in key for key in errors)
    assert errors["energy_rmse_mev_per_atom"] == evaluate(potential, frames[:1]).errors["energy_mae_mev_per_atom"]


def test_score_weighs_data_sets_alike_however_large_their_errors(
    assembly: Assembly, settings: Callable[..., Any]
) -> None:
    module = training_module(assembly, TrainingConfig.from_dict(settings()))
    small, large = ({metric_key("force", "rmse"): value} for value in (10.0, 1000.0))
    halved = {key: value / 2 for key, value in small.items()}
    assert module.score([halved, large]) == pytest.approx(module.score([small, large]) / 2)  # half of ln 4 per set
    assert module.score([small, {}]) == pytest.approx(module.score([small]))


def test_validation_batches_hold_one_data_set_each(assembly: Assembly) -> None:
    graphs = [graph.clone() for graph in assembly.validation for _ in range(30)]
    for index, graph in enumerate(graphs):
        graph.dataset = torch.tensor([index % 2])
    batches = batches_of_one_set(graphs)
    assert sorted(index for batch in batches for index in batch) == list(range(len(graphs)))
    assert all(len({int(graphs[index].dataset) for index in batch}) == 1 for batch in batches)
    assert max(sum(int(graphs[index].num_nodes) for index in batch) for batch in batches) <= 512
    assert len(batches) > 2
