"""The training file: what it accepts, and what it says when it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepspin_ase.data import Frame, write_frames
from deepspin_ase.errors import InputError
from deepspin_ase.training.config import DataSection, TrainingConfig
from deepspin_ase.training.datasets import load_split
from deepspin_ase.training.template import TEMPLATE

MINIMAL: dict[str, Any] = {"data": [{"path": "a.extxyz"}], "optimizer": {"epochs": 1}}


def test_template_states_the_defaults() -> None:
    values = yaml.safe_load(TEMPLATE)
    config = TrainingConfig.from_dict(values)
    plain = TrainingConfig.from_dict({"data": values["data"], "optimizer": {"max_minutes": 30}})
    assert config.model_dump() == plain.model_dump()


def test_config_survives_yaml(tmp_path: Path) -> None:
    config = TrainingConfig.from_dict({**MINIMAL, "runtime": {"compile": False}}).resolved(tmp_path)
    (tmp_path / "copy.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert TrainingConfig.from_file(tmp_path / "copy.yaml") == config
    assert config.runtime.compile == "off"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": {"epochs": 1, "learning_rat": 1}}, r"optimizer\.learning_rat: .*'learning_rate'.*batch_size"),
        ({"optimizer": {"epochs": 1, "max_minutes": 1}}, r"exactly one of .*epochs and max_minutes"),
        ({"optimizer": {}}, r"exactly one of .*none"),
        ({"optimizer": {"epochs": 0}}, r"optimizer\.epochs: .*greater than or equal to 1, got 0"),
        ({"model": {"cutoff": 50}}, r"model\.cutoff: .*12"),
        ({"runtime": {"precision": "half"}}, r"runtime\.precision: .*float32.*float64.*'half'"),
        ({"runtime": {"device": "tpu"}}, r"runtime\.device: .*cpu"),
        ({"data": []}, r"data: .*at least 1"),
        ({"data": [{"file": "x"}]}, r"data\[0\]\.path: required"),
        ({"data": [{"path": "x", "validation": 1.5}]}, r"data\[0\]\.validation: .*\[0, 1\)"),
        ({"data": [{"path": "x"}, {"path": "b/x"}]}, r"different names; x occurs twice"),
        ({"modle": {}}, r"modle: unknown option; did you mean 'model'"),
    ],
)
def test_wrong_options_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig.from_dict({**MINIMAL, **change})


def test_file_that_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("data: [", encoding="utf-8")
    with pytest.raises(InputError, match="not valid YAML"):
        TrainingConfig.from_file(path)
    path.write_text("just text", encoding="utf-8")
    with pytest.raises(InputError, match="expected a table of options"):
        TrainingConfig.from_file(path)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMES_HERE", str(tmp_path / "elsewhere"))
    path = tmp_path / "sub" / "t.yaml"
    path.parent.mkdir()
    values = {**MINIMAL, "data": [{"path": "../a.extxyz"}, {"path": "$FRAMES_HERE/b.extxyz"}]}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    config = TrainingConfig.from_file(path)
    assert [section.path for section in config.data] == [
        str(tmp_path / "a.extxyz"),
        str(tmp_path / "elsewhere" / "b.extxyz"),
    ]


def section(path: Path, **options: Any) -> DataSection:
    return DataSection.model_validate({"path": str(path), **options})


def test_validation_frames_are_drawn_once_for_all(iron_file: Path) -> None:
    first, again = load_split(section(iron_file)), load_split(section(iron_file))
    other = load_split(section(iron_file, seed=1))
    assert first.validation_indices == again.validation_indices != other.validation_indices
    assert (len(first.training), len(first.validation)) == (36, 4)
    used = {frame.index for frame in first.training} | set(first.validation_indices)
    assert used == set(range(40))


def test_where_selects_and_indices_are_those_of_the_file(iron_file: Path) -> None:
    split = load_split(section(iron_file, where={"part": 1}, validation=[2, 31, 35]))
    assert split.validation_indices == (31, 35)
    assert [frame.index for frame in split.training] == [30, 32, 33, 34, 36, 37, 38, 39]
    ranged = load_split(section(iron_file, where={"part": {"max": 0.5}}, validation=0))
    assert len(ranged.training) == 30
    assert not ranged.validation


def test_selection_errors_say_what_there_is(iron_file: Path) -> None:
    with pytest.raises(InputError, match=r"no frame has 'iteration'; known keys: .*part"):
        load_split(section(iron_file, where={"iteration": 1}))
    with pytest.raises(InputError, match=r"part selects no frame; values seen: 0, 1"):
        load_split(section(iron_file, where={"part": [7]}))
    with pytest.raises(InputError, match=r"frames \[40\], but .* has frames 0 to 39"):
        load_split(section(iron_file, validation=[40]))
    with pytest.raises(InputError, match="no such file"):
        load_split(section(iron_file.with_name("nothing.extxyz")))


def test_validation_file(iron_file: Path, iron_frames: list[Frame], tmp_path: Path) -> None:
    write_frames(tmp_path / "held.extxyz", iron_frames[:3])
    split = load_split(section(iron_file, validation=str(tmp_path / "held.extxyz")))
    assert (len(split.training), len(split.validation), split.validation_indices) == (40, 3, ())


def test_species_must_fit(settings: Callable[..., dict[str, Any]]) -> None:
    from deepspin_ase.training.assembly import assemble

    for model, message in (
        ({"species": ["Ni"]}, r"model\.species lacks Fe"),
        ({"magnetic": ["Ni"]}, r"model\.magnetic: Ni is not"),
        ({"magnetic": ["iron"]}, r"\['iron'\] are no chemical symbols"),
    ):
        with pytest.raises(InputError, match=message):
            assemble(TrainingConfig.from_dict(settings(model=model)))
