"""What the demo's studies share: each runs the command of a plugin, and does without it if it must."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from deepspin_ase.errors import DeepSpinError
from deepspin_ase.plugin import load_plugin

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Study:
    """What a study leaves: numbers by name, a picture, and a line that says what they mean."""

    numbers: dict[str, float]
    figure: Figure
    remark: str


def run_plugin(name: str, atoms: Atoms, folder: Path, **options: Any) -> bool:
    """Run the command of a plugin on a structure, quietly; its files go to ``folder``.

    False, with a message, if the plugin is missing or fails: the rest of the demo goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    structure = folder / "magnetic_cell.extxyz"
    atoms.write(structure)
    try:
        with redirect_stdout(io.StringIO()):
            load_plugin(name).command(structure, output=folder, **options)
    except DeepSpinError as problem:
        typer.echo(f"    left out: {problem}")
        return False
    return True
