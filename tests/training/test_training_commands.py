"""``deepspin train`` and ``deepspin evaluate`` as a user sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepspin_ase.cli import app
from deepspin_ase.data import Frame, write_frames
from deepspin_ase.training.config import TrainingConfig


def deepspin(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def test_init_writes_a_valid_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = deepspin("train", "--init")
    assert code == 0, text
    assert TrainingConfig.from_file("train.yaml").data[0].path == str(tmp_path / "frames.extxyz")
    code, text = deepspin("train", "--init")
    assert code == 2
    assert "train.yaml exists" in text


def test_train_then_evaluate(settings_file: Callable[..., Path], iron_file: Path, tmp_path: Path) -> None:
    code, text = deepspin("train", settings_file(), "--output", tmp_path / "here")
    assert code == 0, text
    assert "iron, validation" in text
    assert "F⊥ (meV/µB)" in text
    model, out = tmp_path / "here" / "model.pt", tmp_path / "errors.json"
    code, text = deepspin("evaluate", "--model", model, "--frames", iron_file, "--json", out)
    assert code == 0, text
    assert "MAE" in text
    found = json.loads(out.read_text(encoding="utf-8"))
    for kind in ("rmse", "mae"):
        for key in (
            "energy_{}_mev_per_atom",
            "force_{}_mev_per_ang",
            "magnetic_force_{}_mev_per_mub",
            "magnetic_force_perp_{}_mev_per_mub",
            "magnetic_force_par_{}_mev_per_mub",
            "torque_{}_mev",
            "stress_{}_mev_per_ang3",
        ):
            assert found[key.format(kind)] > 0, key
    assert found["n_frames"] == 40


def test_several_files_are_also_evaluated_together(
    settings_file: Callable[..., Path], iron_frames: list[Frame], tmp_path: Path
) -> None:
    deepspin("train", settings_file())
    write_frames(tmp_path / "a.extxyz", iron_frames[:10])
    write_frames(tmp_path / "b.extxyz", iron_frames[10:])
    out = tmp_path / "errors.json"
    files = ("--frames", tmp_path / "a.extxyz", "--frames", tmp_path / "b.extxyz")
    code, text = deepspin("evaluate", "--model", tmp_path / "run" / "model.pt", *files, "--json", out)
    assert code == 0, text
    found = json.loads(out.read_text(encoding="utf-8"))
    parts = list(found["files"].values())
    assert [part["n_frames"] for part in parts] == [10, 30]
    key = "force_rmse_mev_per_ang"
    assert found[key] ** 2 == pytest.approx((parts[0][key] ** 2 + 3 * parts[1][key] ** 2) / 4)


def test_mistakes_end_in_one_line(settings_file: Callable[..., Path], iron_file: Path, tmp_path: Path) -> None:
    path = settings_file(optimizer={"batch": 3})
    for words, message in (
        (("train",), "deepspin train --init"),
        (("train", tmp_path / "no.yaml"), "No such file"),
        (("train", path), "optimizer.batch: unknown option; did you mean 'batch_size'"),
        (("evaluate", "--model", "nothing", "--frames", iron_file), "there is no model 'nothing'"),
        (("evaluate", "--model", iron_file, "--frames", iron_file), "is not a model of deepspin-ase"),
        (("evaluate", "--model", iron_file, "--frames", iron_file, "--dtype", "half"), "--dtype must be"),
    ):
        code, text = deepspin(*words)
        assert code == 2, text
        assert message in text
        assert "Traceback" not in text
