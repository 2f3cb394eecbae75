"""Whole runs: they learn, they survive, they repeat."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deepspin_ase.data import Frame, read_frames, write_frames
from deepspin_ase.errors import InputError
from deepspin_ase.model.checkpoint import load_checkpoint
from deepspin_ase.training import TrainingConfig, TrainingDivergedError, TrainingResult, evaluate, train

Settings = Callable[..., dict[str, Any]]


def run(values: dict[str, Any], **options: Any) -> TrainingResult:
    return train(TrainingConfig.from_dict(values), **options)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(path)[0].state_dict())


def command(path: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "deepspin_ase.cli", "train", str(path), *options]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_training_reduces_all_errors(settings: Settings, iron_frames: list[Frame]) -> None:
    result = run(settings(optimizer={"epochs": 40}))
    found = {entry.part: entry.evaluation.errors for entry in result.errors}["validation"]
    spread = {  # root mean square of the labels themselves, i.e. the errors of a model that predicts zero
        "force_rmse_mev_per_ang": 1e3 * rms(iron_frames, "forces"),
        "magnetic_force_rmse_mev_per_mub": 1e3 * rms(iron_frames, "magnetic_forces"),
    }
    for key, label in spread.items():
        assert found[key] < 0.4 * label, key
    assert found["energy_rmse_mev_per_atom"] < 10.0
    assert found["magnetic_force_perp_rmse_mev_per_mub"] < 10.0


def rms(frames: list[Frame], name: str) -> float:
    return float(sum((getattr(f.labels, name) ** 2).mean() for f in frames) / len(frames)) ** 0.5


def test_run_leaves_model_card_and_pictures(settings: Settings) -> None:
    values = settings()
    values["data"][0].update(licence="CC0", origin="this test")
    result = run(values)
    card = (result.output / "model.md").read_text(encoding="utf-8")
    assert "CC0" in card
    assert "this test" in card
    for index in result.card["data"][0]["validation_indices"]:
        assert str(index) in card
    for name in ("parity.png", "learning_curves.png"):
        assert (result.output / name).read_bytes().startswith(b"\x89PNG")
    report = json.loads((result.output / "report.json").read_text(encoding="utf-8"))
    assert report["errors"][0]["n_frames"] == 32
    potential, stored = load_checkpoint(result.model)
    assert stored["data"] == report["data"]
    assert potential.config.magnetic == (26,)


def test_errors_in_the_report_are_those_of_the_saved_model(settings: Settings, iron_file: Path) -> None:
    result = run(settings())
    potential, card = load_checkpoint(result.model)
    frames = read_frames(iron_file)
    held = [frames[i] for i in card["data"][0]["validation_indices"]]
    reported = next(e for e in card["errors"] if e["part"] == "validation")
    for key, value in evaluate(potential, held).errors.items():
        assert reported[key] == pytest.approx(value, rel=1e-4), key


def test_same_seed_same_weights(settings: Settings, tmp_path: Path) -> None:
    first = run(settings(runtime={"output": str(tmp_path / "a")}))
    second = run(settings(runtime={"output": str(tmp_path / "b")}))
    other = run(settings(runtime={"output": str(tmp_path / "c"), "seed": 1}))
    for name, value in weights(first.model).items():
        assert torch.equal(value, weights(second.model)[name]), name
    assert not torch.equal(
        weights(first.model)["network.on_site.mix.weight"], weights(other.model)["network.on_site.mix.weight"]
    )


def test_killed_and_resumed_run_ends_like_an_uninterrupted_one(
    settings: Settings, settings_file: Callable[..., Path], tmp_path: Path
) -> None:
    options = {"epochs": 25, "validate_every": 2}
    path = settings_file(optimizer=options, runtime={"output": str(tmp_path / "killed")})
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        command(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        wait_for(lambda: last.is_file() and epochs_logged(last.parents[1]) >= 4, process)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    assert not (tmp_path / "killed" / "model.pt").exists()
    done = epochs_logged(last.parents[1])
    stored = torch.load(last, map_location="cpu", weights_only=True)["epoch"] + 1
    assert done - 1 <= stored < 25
    lines: list[str] = []
    resumed = run(
        settings(optimizer=options, runtime={"output": str(tmp_path / "killed")}), resume=True, say=lines.append
    )
    assert any("resuming" in line for line in lines)
    whole = run(settings(optimizer=options, runtime={"output": str(tmp_path / "whole")}))
    assert resumed.card["training"]["steps"] == whole.card["training"]["steps"]
    for name, value in weights(whole.model).items():
        assert torch.equal(value, weights(resumed.model)[name]), name


def epochs_logged(output: Path) -> int:
    files = list(output.glob("logs/*/metrics.csv"))
    return sum(file.read_text(encoding="utf-8").count("\n") - 1 for file in files)


def test_interrupt_saves_the_model(settings_file: Callable[..., Path], tmp_path: Path) -> None:
    path = settings_file(optimizer={"epochs": 100000, "warmup_steps": 1, "learning_rate": 0.001})
    process = subprocess.Popen(
        command(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        wait_for((tmp_path / "run" / "checkpoints" / "last.ckpt").is_file, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "interrupted" in out
    assert load_checkpoint(tmp_path / "run" / "model.pt")[1]["training"]["interrupted"] is True


def test_a_taken_directory_is_not_overwritten_silently(settings: Settings) -> None:
    run(settings(optimizer={"epochs": 1}))
    with pytest.raises(InputError, match="--resume"):
        run(settings(optimizer={"epochs": 1}))
    assert run(settings(optimizer={"epochs": 1}), overwrite=True).card["training"]["epochs"] == 1
    with pytest.raises(InputError, match="another model section"):
        run(settings(model={"channels": 16}), resume=True)


def test_resume_can_prolong_a_finished_run(settings: Settings) -> None:
    run(settings(optimizer={"epochs": 2}))
    assert run(settings(optimizer={"epochs": 4}), resume=True).card["training"]["epochs"] == 4


def test_time_budget_ends_the_run(settings: Settings) -> None:
    options = {"epochs": None, "max_minutes": 0.03}
    started = time.monotonic()
    result = run(settings(optimizer=options))
    assert result.card["training"]["minutes"] == pytest.approx(0.03, abs=0.03)
    assert time.monotonic() - started < 30
    assert result.card["training"]["epochs"] >= 1


def test_frames_may_lack_labels(settings: Settings, iron_frames: list[Frame], tmp_path: Path) -> None:
    from dataclasses import replace

    from deepspin_ase.data import Labels

    poor = []
    for i, frame in enumerate(iron_frames):
        names = [n for k, n in enumerate(("energy", "forces", "stress", "magnetic_forces")) if (i + k) % 3]
        poor.append(replace(frame, labels=Labels(**{n: getattr(frame.labels, n) for n in names})))
    write_frames(tmp_path / "poor.extxyz", poor)
    values = settings(optimizer={"epochs": 25})
    values["data"] = [{"path": str(tmp_path / "poor.extxyz"), "validation": 0.2}]
    result = run(values)
    full = evaluate(result.potential, iron_frames).errors
    assert full["force_rmse_mev_per_ang"] < 0.35e3 * rms(iron_frames, "forces")
    assert full["magnetic_force_rmse_mev_per_mub"] < 0.35e3 * rms(iron_frames, "magnetic_forces")


@pytest.mark.slow
def test_label_scale_is_found(settings: Settings, iron_frames: list[Frame], tmp_path: Path) -> None:
    from dataclasses import replace

    shrunk = [replace(f, labels=replace(f.labels, magnetic_forces=0.8 * f.labels.magnetic_forces)) for f in iron_frames]
    write_frames(tmp_path / "shrunk.extxyz", shrunk)
    values = settings(optimizer={"epochs": 60}, loss={"energy": 5.0})
    values["data"] = [{"path": str(tmp_path / "shrunk.extxyz"), "scale_magnetic_forces": True}]
    result = run(values)
    assert result.card["training"]["magnetic_force_scales"][0] == pytest.approx(0.8, abs=0.06)


def test_fine_tuning_starts_from_the_model(settings: Settings, tmp_path: Path, iron_frames: list[Frame]) -> None:
    base = run(settings(optimizer={"epochs": 20}))
    before = evaluate(base.potential, iron_frames).errors
    values = settings(optimizer={"epochs": 1, "learning_rate": 1e-6}, runtime={"output": str(tmp_path / "tuned")})
    values["init_from"] = str(base.model)
    del values["model"]
    after = evaluate(run(values).potential, iron_frames).errors
    assert after["force_rmse_mev_per_ang"] == pytest.approx(before["force_rmse_mev_per_ang"], rel=0.01)
    values["model"] = {"channels": 12}
    with pytest.raises(InputError, match=r"model\.channels is 12"):
        run(values, overwrite=True)


def test_divergence_is_reported(settings: Settings) -> None:
    values = settings(optimizer={"learning_rate": 1.0, "clip": None, "warmup_steps": 0})
    values["loss"] = {"huber": None, "forces": 1e39}
    with pytest.raises(TrainingDivergedError, match="learning_rate"):
        run(values)


@pytest.mark.slow
def test_two_processes_share_the_batches(settings_file: Callable[..., Path], tmp_path: Path) -> None:
    path = settings_file(runtime={"devices": 2}, optimizer={"epochs": 4})
    done = subprocess.run(command(path), capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    card = load_checkpoint(tmp_path / "run" / "model.pt")[1]
    assert card["training"]["steps"] == 4 * (32 // 4 // 2)
