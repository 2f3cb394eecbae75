"""Models on disk: exact round trip, and clear words about anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ase.data import chemical_symbols

from deepspin_ase.data import Frame, frames_to_graphs
from deepspin_ase.errors import DeepSpinError, InputError
from deepspin_ase.model import zoo
from deepspin_ase.model.checkpoint import CheckpointError, load_checkpoint, place, read_metadata, save_checkpoint
from deepspin_ase.model.config import ModelConfig
from deepspin_ase.model.elements import SYMBOLS
from deepspin_ase.model.potential import Potential


@pytest.fixture
def potential() -> Potential:
    made = Potential(ModelConfig(species=(8, 26), magnetic=(26,), cutoff=3.6, channels=8), seed=1)
    made.network.reference.copy_(torch.tensor([-432.123456789, -8.3000000001], dtype=torch.float64))
    made.network.scale.fill_(0.0123456789123)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_is_exact(
    potential: Potential, dtype: torch.dtype, tmp_path: Path, iron_frames: list[Frame]
) -> None:
    place(potential, dtype=dtype)
    save_checkpoint(tmp_path / "m.pt", potential, {"note": "made here", "numbers": (1, 2.5, None, True)})
    loaded, card = load_checkpoint(tmp_path / "m.pt")
    assert card == {"note": "made here", "numbers": [1, 2.5, None, True]}
    assert loaded.config == potential.config
    graph = frames_to_graphs(iron_frames[:1], 3.6)[0]
    for name, value in potential(graph).items():
        assert torch.equal(loaded(graph)[name], value), name


def test_references_stay_exact_in_any_precision(potential: Potential, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "m.pt", potential)
    for dtype in (torch.float64, torch.float32):
        loaded, _ = load_checkpoint(tmp_path / "m.pt", dtype=dtype)
        assert loaded.dtype == dtype
        assert torch.equal(loaded.network.reference, potential.network.reference)
        assert torch.equal(loaded.network.scale, potential.network.scale)
    with pytest.raises(InputError, match="float16"):
        place(potential, dtype=torch.float16)


def test_metadata_without_weights(potential: Potential, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "m.pt", potential, {"a": 1})
    found = read_metadata(tmp_path / "m.pt")
    assert found["species"] == ["O", "Fe"]
    assert found["card"] == {"a": 1}
    assert found["units"]["magnetic_forces"] == "eV/µB"
    assert "state_dict" not in found


def test_card_must_be_plain(potential: Potential, tmp_path: Path) -> None:
    with pytest.raises(DeepSpinError, match=r"card\.a\[1\] is a Path|card\.a\[1\] is a PosixPath"):
        save_checkpoint(tmp_path / "m.pt", potential, {"a": [1, tmp_path]})
    assert not list(tmp_path.iterdir())


def altered(potential: Potential, path: Path, **changes: Any) -> Path:
    save_checkpoint(path, potential)
    content = torch.load(path, weights_only=True)
    for key, value in changes.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    torch.save(content, path)
    return path


def test_unusable_files_are_explained(potential: Potential, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with pytest.raises(CheckpointError, match="no such model file"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"version 99; this release reads version 1\. Update"):
        load_checkpoint(altered(potential, path, version=99))
    with pytest.raises(CheckpointError, match="lacks card"):
        load_checkpoint(altered(potential, path, card=None))
    with pytest.raises(CheckpointError, match="other units"):
        load_checkpoint(altered(potential, path, units={"energy": "Ry"}))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(altered(potential, path, config={**potential.config.as_dict(), "channels": 16}))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(altered(potential, path, config={**potential.config.as_dict(), "colour": 16}))
    whole = altered(potential, path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        load_checkpoint(path)
    path.write_text("data: []", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not a model of deepspin-ase"):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="is not a model of deepspin-ase"):
        load_checkpoint(path)
    torch.save(potential, path)  # a pickled object: code would have to run
    with pytest.raises(CheckpointError, match="is not a model of deepspin-ase"):
        load_checkpoint(path)


def test_diverged_weights_are_refused(potential: Potential, tmp_path: Path) -> None:
    with torch.no_grad():
        potential.network.on_site.mix.weight[0, 0] = torch.nan
    save_checkpoint(tmp_path / "m.pt", potential)
    with pytest.raises(CheckpointError, match="not finite"):
        load_checkpoint(tmp_path / "m.pt")


def test_symbols_are_those_of_ase() -> None:
    assert list(SYMBOLS) == chemical_symbols


def test_zoo_finds_names_and_files(potential: Potential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path)
    save_checkpoint(tmp_path / "nio.pt", potential)
    assert zoo.available_models() == ["nio"]
    assert zoo.model_path("nio") == zoo.model_path("NiO") == zoo.model_path(tmp_path / "nio.pt")
    with pytest.raises(InputError, match=r"no model 'fe'.*\(nio\)"):
        zoo.model_path("fe")
