"""Models on disk: weights, architecture, species, units and the training card in one file.

Only tensors and plain values are stored, so that a file is loaded with ``weights_only=True`` and can run no
code.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, Final

import torch

from deepspin_ase.errors import DeepSpinError, InputError
from deepspin_ase.model.config import ModelConfig
from deepspin_ase.model.elements import SYMBOLS
from deepspin_ase.model.potential import Potential

FORMAT: Final = "deepspin-ase model"
VERSION: Final = 1
UNITS: Final = {
    "energy": "eV",
    "length": "Å",
    "moment": "µB",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    "magnetic_forces": "eV/µB",
}
_KEYS: Final = ("config", "species", "units", "card", "state_dict")


class CheckpointError(InputError):
    """A model file cannot be used; the message says why."""


def save_checkpoint(path: str | Path, potential: Potential, card: dict[str, Any] | None = None) -> None:
    """Write a model; an existing file is replaced in one go.

    Parameters
    ----------
    path
        File, usually ending in ``.pt``.
    potential
        Model; stored in its own precision, on no particular device.
    card
        How it was made: nested dicts and lists of plain values.

    Raises
    ------
    DeepSpinError
        If the card holds something else than plain values.
    """
    path = Path(path)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "config": potential.config.as_dict(),
        "species": [SYMBOLS[z] for z in potential.config.species],
        "units": dict(UNITS),
        "card": _plain(card or {}, "card"),
        "state_dict": {name: value.detach().cpu().clone() for name, value in potential.state_dict().items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        torch.save(content, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(
    path: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> tuple[Potential, dict[str, Any]]:
    """Read a model.

    Parameters
    ----------
    path
        File written by :func:`save_checkpoint`.
    device, dtype
        Where the weights go and in which precision; by default the stored one.

    Returns
    -------
    potential, card
        The model in evaluation mode, and how it was made.

    Raises
    ------
    CheckpointError
        No such model, a foreign or truncated file, or a version that this release does not know.
    """
    content = _read(Path(path), mmap=False)
    state = content["state_dict"]
    try:
        config = ModelConfig.from_dict(content["config"])
        potential = Potential(config)
        place(potential, dtype=state["network.on_site.mix.weight"].dtype)
        potential.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as problem:
        raise CheckpointError(f"{path}: the weights do not fit the stored architecture: {problem}") from None
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise CheckpointError(f"{path}: some weights are not finite; the training must have diverged")
    place(potential, device=device, dtype=dtype)
    return potential.eval(), content["card"]


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What a model file says about itself: ``config``, ``species``, ``units``, ``card``, ``version``; quick.

    Raises
    ------
    CheckpointError
        As :func:`load_checkpoint`.
    """
    content = _read(Path(path), mmap=True)
    return {key: value for key, value in content.items() if key not in ("state_dict", "format")}


def place(
    potential: Potential, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Potential:
    """Move a model, in place. Unlike ``potential.to(dtype)`` this leaves reference energies in float64.

    Parameters
    ----------
    potential
        Model.
    device
        Target device; None keeps it.
    dtype
        Precision of the weights, torch.float32 or torch.float64; None keeps it.
    """
    if dtype not in (None, torch.float32, torch.float64):
        raise InputError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    if device is not None:
        potential.to(device=device)
    return potential if dtype is None else potential.cast(dtype)


def _read(path: Path, *, mmap: bool) -> dict[str, Any]:
    """The checked content of a model file."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such model file")
    foreign = f"{path} is not a model of deepspin-ase; such files are written by `deepspin train` as model.pt"
    if not zipfile.is_zipfile(path):
        with path.open("rb") as stream:
            cut = stream.read(2) == b"PK"
        raise CheckpointError(f"{path} is truncated; copy it again" if cut else foreign)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError:
        raise CheckpointError(foreign) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as problem:
        raise CheckpointError(f"{path} is damaged ({problem}); copy it again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(foreign)
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {content.get('version')!r}; this release reads version {VERSION}. "
            "Update deepspin-ase, or train the model again."
        )
    if missing := [key for key in _KEYS if key not in content]:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; it is damaged")
    if content["units"] != UNITS:
        raise CheckpointError(f"{path} uses other units ({content['units']}); this release uses {UNITS}")
    return content


def _plain(value: Any, where: str) -> Any:
    """Copy of nested plain values; anything else would need unsafe loading."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)  # of a subclass, the plain value
    if isinstance(value, dict):
        return {str(key): _plain(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
    raise DeepSpinError(f"{where} is a {type(value).__name__}; a card holds dicts, lists, text and numbers only")
