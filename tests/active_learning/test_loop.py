"""Whole runs: they learn, they can be killed, they repeat nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from deepspin_ase import DeepSpin, read_frames
from deepspin_ase.active_learning import LearningConfig, Selection, learn, status
from deepspin_ase.active_learning.committee import label_sizes
from deepspin_ase.active_learning.iteration import Workplace
from deepspin_ase.errors import InputError
from deepspin_ase.labeling import FailedLabel
from deepspin_ase.model.checkpoint import load_checkpoint
from tests.active_learning.conftest import FinishedRun, calls, make_workplace, small_settings

Settings = Callable[..., dict[str, Any]]
PROGRAM = (
    "import sys; from deepspin_ase.active_learning import LearningConfig, learn; "
    "learn(LearningConfig.from_file(sys.argv[1]))"
)


def weights(model: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(model)[0].state_dict())


def test_a_run_learns_and_keeps_count(finished: FinishedRun) -> None:
    first, last = finished.result.iterations
    assert finished.result.reason == "2 iterations are done"
    assert [r["train"]["training_frames"] for r in (first, last)] == [8, 8 + first["select"]["chosen"]]
    assert finished.result.labels == 8 + 4 + first["select"]["chosen"] + 4 == calls(finished.folder)
    assert any("from its last model" in line for line in finished.lines)
    frames = read_frames(finished.result.frames)
    assert sorted({str(frame.info["part"]) for frame in frames}) == ["initial", "training", "validation"]
    assert len(frames) == finished.result.labels
    assert all(frame.info["explorer"] == "states" for frame in frames)
    sizes = label_sizes(frames)
    errors = {key: entry["mean"] for key, entry in last["validate"]["errors"].items()}
    assert errors["force_rmse_mev_per_ang"] < 0.7e3 * sizes.forces / np.sqrt(3)
    assert errors["magnetic_force_perp_rmse_mev_per_mub"] < 0.7e3 * sizes.magnetic_perp / np.sqrt(3)


def test_training_and_validation_frames_are_different(finished: FinishedRun) -> None:
    frames = read_frames(finished.result.frames)
    energies = {
        part: {f.labels.energy for f in frames if f.info["part"] == part} for part in ("training", "validation")
    }
    assert not energies["training"] & energies["validation"]


def test_models_make_a_committee(finished: FinishedRun) -> None:
    atoms = read_frames(finished.result.frames)[0].atoms
    atoms.calc = DeepSpin(finished.result.models)
    assert np.isfinite(atoms.calc.get_magnetic_forces(atoms)).all()
    assert atoms.calc.get_uncertainty(atoms)["forces"].max() > 0


def test_reports_and_pictures(finished: FinishedRun) -> None:
    output = finished.result.output
    for picture in (output / "progress.png", output / "iteration-000" / "deviations.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    text = (output / "report.md").read_text(encoding="utf-8")
    assert "F⊥ (meV/µB)" in text
    assert "Stopped: 2 iterations are done." in text
    assert "| states |" in (output / "iteration-000" / "report.md").read_text(encoding="utf-8")
    report = json.loads((output / "iteration-001" / "report.json").read_text(encoding="utf-8"))
    assert report == finished.result.iterations[1]
    assert sum(report["select"]["fractions"].values()) == pytest.approx(1)
    assert status(output)[-1] == "stopped: 2 iterations are done"


def test_killed_run_goes_on_and_ends_like_an_undisturbed_one(finished: FinishedRun, tmp_path: Path) -> None:
    """Killed in the middle of the second training: same choices, same weights, no label twice."""
    folder = make_workplace(tmp_path / "work")
    values = small_settings(folder)
    (folder / "learn.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    last = folder / "run" / "iteration-001" / "member-0" / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(folder / "learn.yaml")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )
    try:
        end = time.monotonic() + 300
        while not last.is_file():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
    assert not (folder / "run" / "iteration-001" / "train.json").exists()
    assert status(folder / "run")[-1].startswith("not finished")
    result = learn(LearningConfig.from_file(folder / "learn.yaml"), resume=True)
    assert result.labels == finished.result.labels == calls(folder)
    for number in (0, 1):
        ours, theirs = (
            Selection.load(r.output / f"iteration-{number:03d}" / "selection.npz") for r in (result, finished.result)
        )
        np.testing.assert_array_equal(ours.chosen, theirs.chosen)
        np.testing.assert_array_equal(ours.fresh, theirs.fresh)
    for ours, theirs in zip(result.models, finished.result.models, strict=True):
        expected = weights(theirs)
        assert all(torch.equal(value, expected[name]) for name, value in weights(ours).items())


def test_finished_run_repeats_nothing_and_keeps_its_options(finished: FinishedRun, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "work"
    shutil.copytree(finished.folder, folder)
    before = calls(folder)
    values = small_settings(finished.folder, output=str(folder / "run"))
    again = learn(LearningConfig.from_dict(values), resume=True)
    assert again.labels == finished.result.labels
    assert calls(folder) == before
    with pytest.raises(InputError, match="started with another selection"):
        learn(LearningConfig.from_dict({**values, "selection": {"labels": 3}}), resume=True)
    with pytest.raises(InputError, match="--resume"):
        learn(LearningConfig.from_dict(values))


def test_interrupted_labelling_repeats_only_the_label_at_work(
    settings: Settings, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepspin_ase.active_learning.iteration import start
    from deepspin_ase.labeling import CalculatorLabeler

    config = LearningConfig.from_dict(settings())
    place = Workplace.build(config, workplace / "run", None, lambda line: None)
    original, asked = CalculatorLabeler.label, []

    def label(self: CalculatorLabeler, atoms: Any, directory: Path) -> Any:
        asked.append(directory)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return original(self, atoms, directory)

    monkeypatch.setattr(CalculatorLabeler, "label", label)
    with pytest.raises(KeyboardInterrupt):
        start(place)
    assert calls(workplace) == 3
    assert start(place)["frames"] == 8
    assert calls(workplace) == 8
    assert asked[3] == asked[4]
    assert len(set(asked)) == 8


def test_failed_labels_are_kept_with_their_reason(
    settings: Settings, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepspin_ase.active_learning.iteration import start
    from deepspin_ase.labeling import CalculatorLabeler

    place = Workplace.build(LearningConfig.from_dict(settings()), workplace / "run", None, lambda line: None)
    original, count = CalculatorLabeler.label, iter(range(100))

    def label(self: CalculatorLabeler, atoms: Any, directory: Path) -> Any:
        number = next(count)
        if number == 0:
            return FailedLabel(atoms, "no convergence")
        if number == 1:
            raise RuntimeError("the disk is full")
        return original(self, atoms, directory)

    monkeypatch.setattr(CalculatorLabeler, "label", label)
    result = start(place)
    assert result["frames"] == 6
    assert [f["reason"] for f in result["failures"]] == ["no convergence", "RuntimeError: the disk is full"]


def test_all_labels_failing_is_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepspin_ase.labeling import CalculatorLabeler

    monkeypatch.setattr(CalculatorLabeler, "label", lambda self, atoms, directory: FailedLabel(atoms, "no licence"))
    with pytest.raises(InputError, match="all 8 labels failed: no licence"):
        learn(LearningConfig.from_dict(settings()))


def test_prepared_calculations_pause_the_run(
    settings: Settings, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that only writes inputs: the run waits for the results and then goes on."""
    from deepspin_ase.active_learning.iteration import start
    from deepspin_ase.labeling import CalculatorLabeler

    place = Workplace.build(LearningConfig.from_dict(settings()), workplace / "run", None, lambda line: None)
    with monkeypatch.context() as patch:
        patch.setattr(CalculatorLabeler, "label", lambda self, atoms, d: FailedLabel(atoms, "inputs", prepared=True))
        with pytest.raises(InputError, match=r"8 calculations are prepared .* --resume"):
            start(place)
    assert start(place)["frames"] == 8


def stage_results(accurate: float, force: float, *, iteration: int = 0, chosen: int = 5) -> dict[str, Any]:
    fractions = {"accurate": accurate, "candidate": 1 - accurate, "failed": 0.0}
    errors = {"force_rmse_mev_per_ang": {"mean": force, "spread": 1.0}}
    return {
        "iteration": iteration,
        "select": {"fractions": fractions, "chosen": chosen},
        "validate": {"errors": errors},
    }


@pytest.mark.parametrize(
    ("stop", "results", "reason"),
    [
        ({}, stage_results(0.94, 50.0), ""),
        ({}, stage_results(0.96, 50.0), "96.0% of the explored structures are accurate"),
        ({"errors": {"force_rmse_mev_per_ang": 40.0}}, stage_results(0.96, 50.0), ""),
        ({"errors": {"force_rmse_mev_per_ang": 60.0}}, stage_results(0.96, 50.0), "96.0% .* below their limits"),
        ({"errors": {"energy_rmse_mev_per_atom": 60.0}}, stage_results(0.96, 50.0), ""),
        ({"iterations": 3}, stage_results(0.1, 50.0, iteration=2), "3 iterations are done"),
        ({}, stage_results(0.5, 50.0, chosen=0), "no candidates"),
        ({"labels": 30}, stage_results(0.1, 50.0), "budget of 30 labels"),
    ],
)
def test_reasons_to_stop(settings: Settings, stop: dict[str, Any], results: dict[str, Any], reason: str) -> None:
    from deepspin_ase.active_learning.loop import _labels_left, _reason_to_stop

    config = LearningConfig.from_dict(settings(stop=stop))
    found = _reason_to_stop(config, results, _labels_left(config, labels=26))
    assert bool(found) == bool(reason)
    assert re.search(reason, found)


def test_label_budget_keeps_the_next_validation_apart(settings: Settings) -> None:
    from deepspin_ase.active_learning.loop import _labels_left

    config = LearningConfig.from_dict(settings(stop={"labels": 30}))  # 6 to train on, 4 to validate
    assert [_labels_left(config, labels=n) for n in (10, 20, 22, 26)] == [6, 6, 4, 0]
